"""What the server sends over the WebSocket: one frozen struct for each event, :func:`decode` and :func:`encode`.

Payloads as in the server's ``pkg/types/message/messages.go``, ``pkg/types/event/events.go`` and the ``types.go`` of
its plugins. Python names are snake_case, wire names are the server's. Keys that are not known are ignored.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from neko_trio.protocol import message
from neko_trio.protocol.ice_servers import IceServer, read_ice_servers
from neko_trio.protocol.malformed import Malformed
from neko_trio.protocol.message import Message
from neko_trio.protocol.values import (
    AudioInfo,
    BroadcastInfo,
    ChatContent,
    ControlHostInfo,
    Cursor,
    FileItem,
    Profile,
    ScreenSize,
    SessionCursorList,
    SessionInfo,
    SessionState,
    Settings,
    VideoInfo,
    WebrtcInfo,
)

__all__ = [
    "EVENT_TYPES",
    "AudioInfo",
    "BroadcastInfo",
    "BroadcastStatus",
    "ChatContent",
    "ChatInit",
    "ChatMessage",
    "ClipboardUpdated",
    "ControlHost",
    "ControlHostInfo",
    "ControlRequested",
    "Cursor",
    "FileChooserDialogClosed",
    "FileChooserDialogOpened",
    "FileItem",
    "FileTransferUpdate",
    "IceServer",
    "OpenInAppInit",
    "Profile",
    "ScreenSize",
    "ScreenUpdated",
    "SendBroadcast",
    "SendUnicast",
    "ServerEvent",
    "SessionCreated",
    "SessionCursorList",
    "SessionCursors",
    "SessionDeleted",
    "SessionInfo",
    "SessionProfile",
    "SessionState",
    "SessionStateChanged",
    "Settings",
    "SignalAnswer",
    "SignalAudio",
    "SignalCandidate",
    "SignalClose",
    "SignalOffer",
    "SignalProvide",
    "SignalRestart",
    "SignalVideo",
    "SystemAdmin",
    "SystemDisconnect",
    "SystemHeartbeat",
    "SystemInit",
    "SystemSettings",
    "UnknownEvent",
    "VideoInfo",
    "WebrtcInfo",
    "decode",
    "encode",
]


class ServerEvent(Message, frozen=True):
    """Base of the server's events. ``event`` is the wire name, such as ``control/host``."""


class _Id(msgspec.Struct, frozen=True):
    id: str


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
        head: _Id = message.decode_json(_Id, payload)
        return cls(id=head.id, settings=message.decode_json(Settings, payload))

    def to_payload(self) -> object:
        return {"id": self.id, **msgspec.to_builtins(self.settings)}


class SystemDisconnect(ServerEvent, frozen=True):
    """Why the server ends the connection; the TCP connection is dropped next, without a close frame."""

    event = "system/disconnect"
    message: str


class SystemHeartbeat(ServerEvent, frozen=True):
    """Every 10 s, together with a WebSocket ping."""

    event = "system/heartbeat"
    has_payload: ClassVar[bool] = False


class SignalProvide(ServerEvent, frozen=True):
    """The offer of a new peer connection, with the only ICE servers to use for it."""

    event = "signal/provide"
    sdp: str
    ice_servers: tuple[IceServer, ...] = ()
    video: VideoInfo = VideoInfo()
    audio: AudioInfo = AudioInfo()
    skipped_ice_servers: int = 0
    """Entries and URLs of the server's list left out because they are malformed; not on the wire."""

    @classmethod
    def from_payload(cls, payload: msgspec.Raw) -> SignalProvide:
        raw: dict[str, Any] = message.decode_json(dict[str, Any], payload)
        servers, skipped = read_ice_servers(raw)
        known: _Provide = message.convert_json(raw, _Provide)
        return cls(known.sdp, servers, known.video, known.audio, skipped)

    def to_payload(self) -> object:
        return {"sdp": self.sdp, "iceservers": self.ice_servers, "video": self.video, "audio": self.audio}


class _Provide(msgspec.Struct, frozen=True):
    sdp: str
    video: VideoInfo = VideoInfo()
    audio: AudioInfo = AudioInfo()


class SignalOffer(ServerEvent, frozen=True):
    """Renegotiation on the same peer connection."""

    event = "signal/offer"
    sdp: str


class SignalAnswer(ServerEvent, frozen=True):
    """The answer to a client's ``signal/offer``."""

    event = "signal/answer"
    sdp: str


class SignalRestart(ServerEvent, frozen=True):
    """An offer with an ICE restart, the answer to a client's ``signal/restart``."""

    event = "signal/restart"
    sdp: str


class SignalCandidate(
    ServerEvent,
    frozen=True,
    rename={"sdp_mid": "sdpMid", "sdp_mline_index": "sdpMLineIndex", "username_fragment": "usernameFragment"},
):
    """A candidate of the server, as W3C ``RTCIceCandidate.toJSON()`` has it; may precede the offer. Empty: no more."""

    event = "signal/candidate"
    candidate: str
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None
    username_fragment: str | None = None


class SignalVideo(ServerEvent, frozen=True):
    """The effective video after a change, as of when this was sent."""

    event = "signal/video"
    disabled: bool = False
    id: str = ""
    video: str = ""
    auto: bool = False


class SignalAudio(ServerEvent, frozen=True):
    """The effective audio after a change."""

    event = "signal/audio"
    disabled: bool = False


class SignalClose(ServerEvent, frozen=True):
    """The peer connection is gone. Not sent for a peer that a new ``signal/request`` replaced."""

    event = "signal/close"
    has_payload: ClassVar[bool] = False

    def to_payload(self) -> object:
        return None  # the server sends null here


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
        head: _Id = message.decode_json(_Id, payload)
        return cls(id=head.id, profile=message.decode_json(Profile, payload))

    def to_payload(self) -> object:
        return {"id": self.id, **msgspec.to_builtins(self.profile)}


class SessionStateChanged(ServerEvent, frozen=True):
    """``session/state``: a session connected, disconnected, began or ended watching. On the wire one object."""

    event = "session/state"
    id: str
    state: SessionState

    @classmethod
    def from_payload(cls, payload: msgspec.Raw) -> SessionStateChanged:
        head: _Id = message.decode_json(_Id, payload)
        return cls(id=head.id, state=message.decode_json(SessionState, payload))

    def to_payload(self) -> object:
        return {"id": self.id, **msgspec.to_builtins(self.state)}


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


class BroadcastStatus(ServerEvent, frozen=True, omit_defaults=True):
    """The broadcast began or ended (admins)."""

    event = "broadcast/status"
    is_active: bool
    url: str | None = None


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
    """The file chooser is closed."""

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


class FileTransferUpdate(ServerEvent, frozen=True):
    """The file transfer plugin's state; ``files`` is ``None`` when it is off."""

    event = "filetransfer/update"
    enabled: bool
    root_dir: str
    user_download: bool
    user_upload: bool
    user_delete: bool
    files: tuple[FileItem, ...] | None


class OpenInAppInit(ServerEvent, frozen=True):
    """Whether the openinapp plugin is on."""

    event = "openinapp/init"
    enabled: bool


class UnknownEvent(ServerEvent, frozen=True):
    """An event this version does not know. ``payload`` is the JSON value, ``None`` also when there was none."""

    event: str  # type: ignore[misc]  # the one class whose name belongs to the value
    payload: Any = None

    def to_payload(self) -> object:
        return self.payload


_KNOWN: tuple[type[ServerEvent], ...] = (
    SystemInit,
    SystemAdmin,
    SystemSettings,
    SystemDisconnect,
    SystemHeartbeat,
    SignalProvide,
    SignalOffer,
    SignalAnswer,
    SignalRestart,
    SignalCandidate,
    SignalVideo,
    SignalAudio,
    SignalClose,
    SessionCreated,
    SessionDeleted,
    SessionProfile,
    SessionStateChanged,
    SessionCursors,
    ControlHost,
    ControlRequested,
    ScreenUpdated,
    ClipboardUpdated,
    BroadcastStatus,
    SendUnicast,
    SendBroadcast,
    FileChooserDialogOpened,
    FileChooserDialogClosed,
    ChatInit,
    ChatMessage,
    FileTransferUpdate,
    OpenInAppInit,
)

EVENT_TYPES: dict[str, type[ServerEvent]] = {known.event: known for known in _KNOWN}
"""The class of each event name."""


def decode(text: str | bytes) -> ServerEvent:
    """Read a message of the server; an event that is not known comes back as :class:`UnknownEvent`.

    Raises :class:`Malformed` for everything that is no such message: no JSON, not UTF-8, a missing key, a wrong type,
    deep nesting. Nothing else is raised, whatever ``text`` holds.
    """
    event, payload = message.read_envelope(text)
    known = EVENT_TYPES.get(event)
    with message.malformed_json(event):
        if known is None:
            return UnknownEvent(event, None if payload is None else message.decode_json(Any, payload))
        if not known.has_payload:
            return known()
        if payload is None:
            raise Malformed("has no payload")
        return known.from_payload(payload)


def encode(event: ServerEvent) -> str:
    """Write a message as the server does; the inverse of :func:`decode`. Raises :class:`Malformed`."""
    return message.encode_message(event.event, event.to_payload())
