"""The events of the server about the room: who is there, who is host, the desktop, messages, plugins."""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

import msgspec

from neko_trio.protocol import message
from neko_trio.protocol.message import ServerEvent
from neko_trio.protocol.values import (
    BroadcastInfo,
    ChatContent,
    ControlHostInfo,
    FileItem,
    Profile,
    ScreenSize,
    SessionCursorList,
    SessionInfo,
    SessionState,
    Settings,
    WebrtcInfo,
    hidden,
)

__all__ = [
    "BroadcastStatus",
    "ChatInit",
    "ChatMessage",
    "ClipboardUpdated",
    "ControlHost",
    "ControlRequested",
    "FileChooserDialogClosed",
    "FileChooserDialogOpened",
    "FileTransferUpdate",
    "OpenInAppInit",
    "ScreenUpdated",
    "SendBroadcast",
    "SendUnicast",
    "SessionCreated",
    "SessionCursors",
    "SessionDeleted",
    "SessionProfile",
    "SessionStateChanged",
    "SystemAdmin",
    "SystemDisconnect",
    "SystemHeartbeat",
    "SystemInit",
    "SystemSettings",
]

S = TypeVar("S", bound=msgspec.Struct)


class _Id(msgspec.Struct, frozen=True):
    id: str


def _read_beside_id(payload: msgspec.Raw, type_: type[S]) -> tuple[str, S]:
    """The id and the value whose fields stand beside it in one object."""
    head: _Id = message.decode_json(_Id, payload)
    value: S = message.decode_json(type_, payload)
    return head.id, value


def _beside_id(id_: str, value: msgspec.Struct) -> dict[str, Any]:
    return {"id": id_, **msgspec.to_builtins(value)}


class SystemInit(ServerEvent, frozen=True):
    """The first message: who we are and the state of the room. ``sessions`` holds the disconnected ones too."""

    event = "system/init"
    session_id: str
    control_host: ControlHostInfo
    screen_size: ScreenSize
    sessions: dict[str, SessionInfo]
    settings: Settings
    touch_events: bool = False
    screencast_enabled: bool = False
    webrtc: WebrtcInfo = WebrtcInfo()


class SystemAdmin(ServerEvent, frozen=True):
    """For admins, after ``system/init``: the screen sizes the server lists and the state of the broadcast."""

    event = "system/admin"
    screen_sizes_list: tuple[ScreenSize, ...] | None
    broadcast_status: BroadcastInfo


class SystemSettings(ServerEvent, frozen=True):
    """The room's settings changed; ``id`` is the session that changed them. On the wire both are one object."""

    event = "system/settings"
    id: str
    settings: Settings

    @classmethod
    def from_payload(cls, payload: msgspec.Raw) -> SystemSettings:
        return cls(*_read_beside_id(payload, Settings))

    def to_payload(self) -> object:
        return _beside_id(self.id, self.settings)


class SystemDisconnect(ServerEvent, frozen=True):
    """Why the server ends the connection; the TCP connection is dropped next, without a close frame."""

    event = "system/disconnect"
    message: str


class SystemHeartbeat(ServerEvent, frozen=True):
    """Every 10 s, together with a WebSocket ping."""

    event = "system/heartbeat"
    has_payload: ClassVar[bool] = False


class SessionCreated(ServerEvent, frozen=True):
    """A session logged in."""

    event = "session/created"
    id: str
    profile: Profile
    state: SessionState


class SessionDeleted(ServerEvent, frozen=True):
    """A session logged out or was deleted."""

    event = "session/deleted"
    id: str


class SessionProfile(ServerEvent, frozen=True):
    """A session's rights changed. On the wire both are one object."""

    event = "session/profile"
    id: str
    profile: Profile

    @classmethod
    def from_payload(cls, payload: msgspec.Raw) -> SessionProfile:
        return cls(*_read_beside_id(payload, Profile))

    def to_payload(self) -> object:
        return _beside_id(self.id, self.profile)


class SessionStateChanged(ServerEvent, frozen=True):
    """``session/state``: a session connected, disconnected, began or ended watching. On the wire one object."""

    event = "session/state"
    id: str
    state: SessionState

    @classmethod
    def from_payload(cls, payload: msgspec.Raw) -> SessionStateChanged:
        return cls(*_read_beside_id(payload, SessionState))

    def to_payload(self) -> object:
        return _beside_id(self.id, self.state)


class SessionCursors(ServerEvent, frozen=True):
    """Cursors of those who are not host, every 750 ms, then one empty list. The payload is a list."""

    event = "session/cursors"
    cursors: tuple[SessionCursorList, ...]

    @classmethod
    def from_payload(cls, payload: msgspec.Raw) -> SessionCursors:
        return cls(cursors=message.decode_json(tuple[SessionCursorList, ...], payload))

    def to_payload(self) -> object:
        return self.cursors


class ControlHost(ServerEvent, frozen=True, omit_defaults=True):
    """Who is host now. ``id`` is who acted; ``host_id`` is there when ``has_host``."""

    event = "control/host"
    id: str
    has_host: bool
    host_id: str | None = None


class ControlRequested(ServerEvent, frozen=True):
    """``control/request``: session ``id`` asks us, the host, for control."""

    event = "control/request"
    id: str


class ScreenUpdated(ServerEvent, frozen=True):
    """The desktop's size was set, changed or not, by session ``id``. Pixels and Hz."""

    event = "screen/updated"
    id: str
    width: int
    height: int
    rate: int


class ClipboardUpdated(ServerEvent, frozen=True):
    """The clipboard's text; only the host gets this, also after its own ``clipboard/set``."""

    event = "clipboard/updated"
    text: str

    def __repr__(self) -> str:
        return f"ClipboardUpdated(text={hidden(self.text)})"


class BroadcastStatus(ServerEvent, frozen=True, omit_defaults=True):
    """The broadcast began or ended (admins)."""

    event = "broadcast/status"
    is_active: bool
    url: str | None = None

    __repr__ = BroadcastInfo.__repr__


class SendUnicast(ServerEvent, frozen=True):
    """An opaque message of another client, or of oneself. ``body`` is any JSON value."""

    event = "send/unicast"
    sender: str
    receiver: str
    subject: str
    body: Any


class SendBroadcast(ServerEvent, frozen=True):
    """An opaque message of another client to all others. ``body`` is any JSON value."""

    event = "send/broadcast"
    sender: str
    subject: str
    body: Any


class FileChooserDialogOpened(ServerEvent, frozen=True):
    """A program on the desktop asks for files; ``id`` is the host's session."""

    event = "file_chooser_dialog/opened"
    id: str


class FileChooserDialogClosed(ServerEvent, frozen=True):
    """The file chooser is closed; ``id`` is empty."""

    event = "file_chooser_dialog/closed"
    id: str


class ChatInit(ServerEvent, frozen=True):
    """Whether the chat plugin is on."""

    event = "chat/init"
    enabled: bool


class ChatMessage(ServerEvent, frozen=True):
    """Somebody said something; the sender gets it too."""

    event = "chat/message"
    id: str
    created: str
    content: ChatContent

    @property
    def text(self) -> str:
        """What was said."""
        return self.content.text


class FileTransferUpdate(ServerEvent, frozen=True, omit_defaults=True):
    """The file transfer plugin's state; ``files`` is ``None`` when it is off.

    What ``user_…`` may do are those who are no admins; ``None`` where the server does not say (3.1.4 and before).
    """

    event = "filetransfer/update"
    enabled: bool
    root_dir: str
    files: tuple[FileItem, ...] | None
    user_download: bool | None = None
    user_upload: bool | None = None
    user_delete: bool | None = None


class OpenInAppInit(ServerEvent, frozen=True):
    """Whether the openinapp plugin is on."""

    event = "openinapp/init"
    enabled: bool
