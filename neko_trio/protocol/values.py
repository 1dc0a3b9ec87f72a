"""The values that several events carry, as the server's ``pkg/types`` names them.

Durations are in seconds, sizes in pixels, rates in frames per second. Times are RFC 3339 texts with nanoseconds, kept
as text because no Python type holds them. A field that may be missing on the wire is ``None`` then.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "AudioInfo",
    "BroadcastInfo",
    "ChatContent",
    "ControlHostInfo",
    "Cursor",
    "FileItem",
    "Profile",
    "ScreenSize",
    "SessionCursorList",
    "SessionInfo",
    "SessionState",
    "Settings",
    "VideoInfo",
    "WebrtcInfo",
    "hidden",
]


def hidden(text: str | None) -> str:
    """What stands in a repr for text that may be a secret: a clipboard holds passwords as often as not."""
    return "None" if text is None else f"<{len(text)} characters>"


class ControlHostInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who is host. ``id`` is who acted last, empty in ``system/init``; ``host_id`` is there when ``has_host``."""

    id: str
    has_host: bool
    host_id: str | None = None


class ScreenSize(msgspec.Struct, frozen=True):
    """Size of the desktop in pixels and its refresh rate in Hz (not the rate of the video)."""

    width: int
    height: int
    rate: int


class Profile(msgspec.Struct, frozen=True):
    """What a member is and may do. ``plugins`` is ``None`` or a mapping by plugin name."""

    name: str
    is_admin: bool
    can_login: bool
    can_connect: bool
    can_watch: bool
    can_host: bool
    can_share_media: bool
    can_access_clipboard: bool
    sends_inactive_cursor: bool = False
    can_see_inactive_cursors: bool = False
    plugins: dict[str, object] | None = None


class SessionState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a session has a WebSocket (``is_connected``) and a connected peer (``is_watching``), and since when."""

    is_connected: bool
    is_watching: bool
    connected_since: str | None = None
    not_connected_since: str | None = None
    watching_since: str | None = None
    not_watching_since: str | None = None


class SessionInfo(msgspec.Struct, frozen=True):
    """One session of the room, connected or not."""

    id: str
    profile: Profile
    state: SessionState


class Settings(msgspec.Struct, frozen=True):
    """The room's settings. A server that lacks one means false. ``heartbeat_interval`` is in seconds, 0 is off."""

    private_mode: bool = False
    locked_logins: bool = False
    locked_controls: bool = False
    control_protection: bool = False
    implicit_hosting: bool = False
    inactive_cursors: bool = False
    merciful_reconnect: bool = False
    heartbeat_interval: int = 0
    plugins: dict[str, object] | None = None


class WebrtcInfo(msgspec.Struct, frozen=True):
    """The ids of the video streams, best first as the server was configured."""

    videos: tuple[str, ...] = ()


class VideoInfo(msgspec.Struct, frozen=True):
    """The effective video of a peer. ``video`` repeats ``id`` for old clients."""

    disabled: bool = False
    id: str = ""
    video: str = ""
    auto: bool = False


class AudioInfo(msgspec.Struct, frozen=True):
    """The effective audio of a peer."""

    disabled: bool = False


class BroadcastInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the room is broadcast, and where to (admins only)."""

    is_active: bool
    url: str | None = None

    def __repr__(self) -> str:  # the address of a stream is as a rule its key, too
        return f"{type(self).__name__}(is_active={self.is_active}, url={'None' if self.url is None else '<secret>'})"


class Cursor(msgspec.Struct, frozen=True):
    """A position on the desktop in pixels."""

    x: int
    y: int


class SessionCursorList(msgspec.Struct, frozen=True):
    """The cursor positions of one session that is not host, oldest first."""

    id: str
    cursors: tuple[Cursor, ...]


class ChatContent(msgspec.Struct, frozen=True):
    """What was said."""

    text: str


class FileItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file or directory (``type`` is ``file`` or ``dir``); ``size`` in bytes."""

    name: str
    type: str
    size: int = 0
