"""``system/disconnect``: why the server refuses or ends a connection, as a typed error.

The server accepts the upgrade first, says this one message and drops the TCP connection without a close frame. The
texts are those of the server's ``internal/websocket/manager.go``, ``internal/session/{manager,session}.go`` and
``pkg/types/session.go``.
"""

from __future__ import annotations

from collections.abc import Callable

from neko_trio.errors import ConnectionRejected, Kicked, LoginRefused, NekoError, Replaced

__all__ = ["refusal"]

_SHOWN = 200
"""Characters of an unknown reason that go into an error's text."""


def refusal(message: str) -> NekoError:
    """The error for the ``message`` of a ``system/disconnect``; unknown ones are a plain ``ConnectionRejected``.

    ``retryable`` is true only where the same call may work later although nobody changed anything; never for
    ``Replaced`` and ``Kicked``: reconnecting by itself would fight with whoever took over.
    """
    known = _KNOWN.get(message.strip().lower())
    if known is not None:
        return known(message)
    shown = message if len(message) <= _SHOWN else message[:_SHOWN] + "…"
    return ConnectionRejected(f"The server ended the connection: {shown!r}.", reason=message)


def _login(text: str, hint: str, *, token_unknown: bool = False) -> Callable[[str], NekoError]:
    def refused(reason: str) -> NekoError:
        error = LoginRefused(f"{text} ({reason}).", hint=hint)
        error.token_unknown = token_unknown
        return error

    return refused


def _rejected(
    kind: type[ConnectionRejected], text: str, hint: str, *, retryable: bool = False
) -> Callable[[str], NekoError]:
    return lambda reason: kind(f"{text} ({reason}).", reason=reason, hint=hint, retryable=retryable)


_KNOWN: dict[str, Callable[[str], NekoError]] = {
    "session not found": _login(
        "The server does not know this token",
        "It is wrong, or its session was logged out, deleted, or made invalid by a later login: log in again.",
        token_unknown=True,
    ),
    "session login disabled": _login(
        "This member may not log in",
        "Its profile has can_login off: an admin must allow it.",
    ),
    "no authentication provided": _rejected(
        ConnectionRejected,
        "The server saw no credential",
        "A proxy between may have removed the Authorization or Cookie header from the WebSocket's upgrade.",
    ),
    "connection disabled": _rejected(
        ConnectionRejected,
        "This member may not connect",
        "Its profile has can_connect off (API tokens always have): use another member.",
    ),
    "already connected": _rejected(
        ConnectionRejected,
        "Another connection with this token is open",
        "Close it first, or turn on merciful_reconnect at the server; after an abnormal end it is kept for 5 seconds.",
        retryable=True,
    ),
    "connection replaced": _rejected(
        Replaced,
        "Another connection with the same token took this one's place",
        "Use one token per session.",
    ),
    "session disconnected": _rejected(
        Kicked,
        "An admin disconnected this session",
        "Its token stays valid: connect again when that is welcome.",
    ),
    "session deleted": _rejected(
        Kicked,
        "This session was deleted, by an admin or by a logout",
        "Its token is no longer valid: log in again.",
    ),
    "profile changed": _rejected(
        ConnectionRejected,
        "An admin changed this member's profile so that it may no longer connect",
        "Its profile has can_connect off: an admin must allow it.",
    ),
    "connection shutdown": _rejected(
        ConnectionRejected,
        "The server is shutting down",
        "Connect again when it is back.",
        retryable=True,
    ),
}
