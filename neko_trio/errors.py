"""Every error that leaves neko-trio, in one tree ordered by who must act.

::

    NekoError
    ├── CallerError                      you: change the call, the password, the order
    │   ├── InvalidInput                 (also a ValueError)
    │   ├── LoginRefused                 wrong password, logins locked, already connected
    │   ├── NotAllowed                   the member lacks a right, or the room is in private mode
    │   ├── HostTaken                    another session is host; ``.holder``
    │   ├── ControlLocked                the room's controls are locked for users
    │   ├── ControlLost                  the host role was taken while it was in use
    │   ├── VideoOff                     a frame was asked of a session opened with ``video="off"``
    │   ├── AudioOff                     sound was asked of a session that was opened without
    │   ├── MicrophoneTaken              the one microphone is another block's, or another client's
    │   ├── EventTimeout                 (also a TimeoutError) what ``expect`` waited for did not come in time
    │   ├── ClipboardEmpty               a picture was asked of a clipboard that has none
    │   ├── FilesRefused                 no program of the desktop took the files
    │   └── SessionClosed                used after its ``async with`` block
    ├── ServerError                      whoever runs the server
    │   ├── NotNeko                      something answers there, but it is no Neko v3 server
    │   ├── ConnectionRejected           refused after the WebSocket upgrade; ``.reason``
    │   │   ├── Kicked                   disconnected or deleted by an admin
    │   │   └── Replaced                 another connection with the same token took over
    │   ├── UnsupportedCodec             no codec in common; ``.offered``
    │   ├── NoOffer                      asked for an offer, none came
    │   ├── VideoStalled                 connected, but no decodable picture came
    │   ├── FeatureOff                   the server is configured without it: a plugin, a list of members
    │   └── ProtocolViolation            the server sent what the protocol does not allow
    ├── NetworkError                     the network between
    │   ├── ServerUnreachable            no address, refused, TLS failed
    │   ├── IceFailed                    no candidate pair works
    │   ├── ConnectTimeout               (also a TimeoutError) no more exact error exists
    │   ├── SessionLost                  the session ended under its caller
    │   └── InputInDoubt                 the connection went away before input was confirmed
    └── MediaThreadLost                  the asyncio thread ended under us

Each has ``step`` (the handshake step or call that failed, or ``None``), ``hint`` (what to change, one sentence, or
``None``) and ``retryable`` (whether the same call may work later without anyone changing anything).
Errors of a connect attempt carry ``timeline``. No error text contains a password, a token or a credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neko_trio._timeline import Timeline

__all__ = [
    "AudioOff",
    "CallerError",
    "ClipboardEmpty",
    "ConnectTimeout",
    "ConnectionRejected",
    "ControlLocked",
    "ControlLost",
    "EventTimeout",
    "FeatureOff",
    "FilesRefused",
    "HostTaken",
    "IceFailed",
    "InputInDoubt",
    "InvalidInput",
    "Kicked",
    "LoginRefused",
    "MediaThreadLost",
    "MicrophoneTaken",
    "NekoError",
    "NetworkError",
    "NoOffer",
    "NotAllowed",
    "NotNeko",
    "ProtocolViolation",
    "Replaced",
    "ServerError",
    "ServerUnreachable",
    "SessionClosed",
    "SessionLost",
    "UnsupportedCodec",
    "VideoOff",
    "VideoStalled",
]


class NekoError(Exception):
    """Root of the tree. ``str(error)`` says what happened, then the hint."""

    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        step: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.step = step
        if retryable is not None:
            self.retryable = retryable
        self.timeline: Timeline | None = None

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class CallerError(NekoError):
    """The caller must change something."""


class ServerError(NekoError):
    """Whoever runs the server must change something."""


class NetworkError(NekoError):
    """The network between client and server failed."""

    retryable = True


class InvalidInput(CallerError, ValueError):
    """An argument is wrong; nothing was sent."""


class LoginRefused(CallerError):
    """``POST /api/login`` was refused: wrong password, locked logins, or the member is connected already."""

    token_unknown: bool = False
    """The server does not know the token (any more): a new login may help."""


class NotAllowed(CallerError):
    """The member's profile or the room's private mode forbids it; the server would have dropped it silently."""


class _HeldByAnother(CallerError):
    """``holder`` is the host's session id, or ``None``."""

    retryable = True

    def __init__(self, message: str, *, holder: str | None = None, hint: str | None = None, step: str | None = None):
        super().__init__(message, hint=hint, step=step)
        self.holder = holder


class HostTaken(_HeldByAnother):
    """Another session is host. ``holder`` is its session id."""


class ControlLocked(CallerError):
    """The room's controls are locked for users."""


class ControlLost(_HeldByAnother):
    """The host role was taken away while it was in use. ``holder`` is the new host's session id, or ``None``."""


class VideoOff(CallerError):
    """A frame was asked of a session that was opened with ``video="off"``."""


class AudioOff(CallerError):
    """Sound was asked of a session that was opened without ``audio=True``, or given to one without a peer."""


class MicrophoneTaken(CallerError):
    """The microphone is in use: by another block of this session, or, once open, by another client of the server."""

    retryable = True


class EventTimeout(CallerError, TimeoutError):
    """The event that ``session.expect`` waits for at the end of its block did not come in time."""


class ClipboardEmpty(CallerError):
    """A picture was asked of a clipboard that has none."""


class FilesRefused(CallerError):
    """The desktop did not take the files: the program at that place refuses them, or no file chooser is open."""


class SessionClosed(CallerError):
    """Used after the session's ``async with`` block ended."""


class NotNeko(ServerError):
    """Something answers at the URL, but it does not speak Neko v3."""


class ConnectionRejected(ServerError):
    """``system/disconnect`` after the upgrade: the server refused or ended the connection. ``reason`` is its text."""

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        hint: str | None = None,
        step: str | None = None,
        retryable: bool | None = None,
    ):
        super().__init__(message, hint=hint, step=step, retryable=retryable)
        self.reason = reason


class Kicked(ConnectionRejected):
    """An admin disconnected or deleted this session."""


class Replaced(ConnectionRejected):
    """Another connection with the same token took this one's place."""


class UnsupportedCodec(ServerError):
    """The offer holds no video codec that this client decodes. ``offered`` names the server's."""

    def __init__(self, message: str, *, offered: tuple[str, ...], hint: str | None = None, step: str | None = None):
        super().__init__(message, hint=hint, step=step)
        self.offered = offered


class NoOffer(ServerError):
    """An offer was asked for and none came."""


class VideoStalled(ServerError):
    """The peer is connected, but no decodable picture came."""

    retryable = True


class FeatureOff(ServerError):
    """The server is configured without what was asked for: a plugin that is off, members that it does not keep."""


class ProtocolViolation(ServerError):
    """The server sent what the protocol does not allow."""


class ServerUnreachable(NetworkError):
    """No address, connection refused, or TLS failed."""


class IceFailed(NetworkError):
    """No candidate pair worked. ``local`` and ``remote`` list the candidates as text, ``pairs`` what became of each
    pair that was tried."""

    def __init__(
        self,
        message: str,
        *,
        local: tuple[str, ...] = (),
        remote: tuple[str, ...] = (),
        pairs: tuple[str, ...] = (),
        hint: str | None = None,
        step: str | None = None,
    ):
        super().__init__(message, hint=hint, step=step)
        self.local = local
        self.remote = remote
        self.pairs = pairs


class ConnectTimeout(NetworkError, TimeoutError):
    """``connect_timeout`` passed and nothing more exact is known."""


class SessionLost(NetworkError):
    """The session ended under its caller; ``__cause__`` says why."""


class InputInDoubt(NetworkError):
    """The connection, or a host role that is waited for to come back, went away before the input was confirmed."""


class MediaThreadLost(NekoError):
    """The asyncio thread that carries the media ended."""
