"""What the server sends over the WebSocket: one frozen struct for each event, :func:`decode` and :func:`encode`.

Payloads as in the server's ``pkg/types/message/messages.go``, ``pkg/types/event/events.go`` and the ``types.go`` of
its plugins. Python names are snake_case, wire names are the server's. Keys that are not known are ignored.
"""

from __future__ import annotations

from typing import Any

from neko_trio.protocol import message
from neko_trio.protocol.ice_servers import IceServer
from neko_trio.protocol.malformed import Malformed
from neko_trio.protocol.message import ServerEvent
from neko_trio.protocol.room_events import (
    BroadcastStatus,
    ChatInit,
    ChatMessage,
    ClipboardUpdated,
    ControlHost,
    ControlRequested,
    FileChooserDialogClosed,
    FileChooserDialogOpened,
    FileTransferUpdate,
    OpenInAppInit,
    ScreenUpdated,
    SendBroadcast,
    SendUnicast,
    SessionCreated,
    SessionCursors,
    SessionDeleted,
    SessionProfile,
    SessionStateChanged,
    SystemAdmin,
    SystemDisconnect,
    SystemHeartbeat,
    SystemInit,
    SystemSettings,
)
from neko_trio.protocol.signal_events import (
    SignalAnswer,
    SignalAudio,
    SignalCandidate,
    SignalClose,
    SignalOffer,
    SignalProvide,
    SignalRestart,
    SignalVideo,
)
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
