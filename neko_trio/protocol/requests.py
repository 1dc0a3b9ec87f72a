"""What a client sends over the WebSocket: one frozen struct for each event, :func:`encode` and :func:`decode`.

Payloads as in the server's ``internal/websocket/handler`` and ``pkg/types/message/messages.go``. A field that is
``None`` is left out. There are no replies and no errors on the wire: the server drops what it cannot read, so
:func:`encode` refuses to write it.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Literal

import msgspec

from neko_trio.protocol import message
from neko_trio.protocol.client_request import ClientRequest, Int16, Int64, UInt16
from neko_trio.protocol.control_requests import (
    ControlButtonDown,
    ControlButtonPress,
    ControlButtonUp,
    ControlCopy,
    ControlCut,
    ControlKeyDown,
    ControlKeyPress,
    ControlKeyUp,
    ControlMove,
    ControlPaste,
    ControlRelease,
    ControlRequest,
    ControlScroll,
    ControlSelectAll,
    ControlTouchBegin,
    ControlTouchEnd,
    ControlTouchUpdate,
)
from neko_trio.protocol.go_json import read_object, read_struct
from neko_trio.protocol.malformed import Malformed

__all__ = [
    "REQUEST_TYPES",
    "AudioRequest",
    "ChatMessage",
    "ClientHeartbeat",
    "ClientRequest",
    "ClipboardSet",
    "ControlButtonDown",
    "ControlButtonPress",
    "ControlButtonUp",
    "ControlCopy",
    "ControlCut",
    "ControlKeyDown",
    "ControlKeyPress",
    "ControlKeyUp",
    "ControlMove",
    "ControlPaste",
    "ControlRelease",
    "ControlRequest",
    "ControlScroll",
    "ControlSelectAll",
    "ControlTouchBegin",
    "ControlTouchEnd",
    "ControlTouchUpdate",
    "FileTransferUpdate",
    "KeyboardMap",
    "KeyboardModifiers",
    "LogEntry",
    "ScreenSet",
    "SendBroadcast",
    "SendUnicast",
    "SignalAnswer",
    "SignalAudio",
    "SignalCandidate",
    "SignalOffer",
    "SignalRequest",
    "SignalRestart",
    "SignalVideo",
    "StreamSelector",
    "SystemLogs",
    "UnknownRequest",
    "VideoRequest",
    "decode",
    "encode",
    "encode_raw",
]

SelectorType = Literal["exact", "nearest", "lower", "higher"]


class StreamSelector(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which video stream. ``type`` ``None`` means exact."""

    id: str
    type: SelectorType | None = None


class VideoRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The video wanted. ``None`` leaves the server's default or what is in effect."""

    disabled: bool | None = None
    selector: StreamSelector | None = None
    auto: bool | None = None


class AudioRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The audio wanted. ``None`` leaves the server's default (on)."""

    disabled: bool | None = None


class SignalRequest(ClientRequest, frozen=True):
    """Ask for a peer connection: the server answers with ``signal/provide``, or not at all."""

    event = "signal/request"
    video: VideoRequest = VideoRequest()
    audio: AudioRequest = AudioRequest()

    @classmethod
    def from_json(cls, value: Any) -> SignalRequest:
        found = read_object(value, cls)
        if "video" in found:
            _normalise_selector(found["video"])
        read: SignalRequest = message.convert_json(found, cls)
        return read


class SignalAnswer(ClientRequest, frozen=True):
    """The answer to an offer."""

    event = "signal/answer"
    sdp: str


class SignalOffer(ClientRequest, frozen=True):
    """An offer of the client, to send media of its own."""

    event = "signal/offer"
    sdp: str


class SignalRestart(ClientRequest, frozen=True):
    """Ask for an ICE restart. Media stop at once."""

    event = "signal/restart"
    has_payload: ClassVar[bool] = False


class SignalCandidate(
    ClientRequest,
    frozen=True,
    omit_defaults=True,
    rename={"sdp_mid": "sdpMid", "sdp_mline_index": "sdpMLineIndex", "username_fragment": "usernameFragment"},
):
    """A candidate of the client, with or without ``candidate:`` in front. Before the answer the server rejects it."""

    event = "signal/candidate"
    candidate: str
    sdp_mid: str | None = None
    sdp_mline_index: UInt16 | None = None
    username_fragment: str | None = None


class SignalVideo(ClientRequest, frozen=True, omit_defaults=True):
    """Pause or resume the video, or switch its stream. No answer when nothing changes."""

    event = "signal/video"
    disabled: bool | None = None
    selector: StreamSelector | None = None
    auto: bool | None = None

    @classmethod
    def from_json(cls, value: Any) -> SignalVideo:
        found = read_object(value, cls)
        _normalise_selector(found)
        read: SignalVideo = message.convert_json(found, cls)
        return read


class SignalAudio(ClientRequest, frozen=True, omit_defaults=True):
    """Pause or resume the audio."""

    event = "signal/audio"
    disabled: bool | None = None


class ClipboardSet(ClientRequest, frozen=True):
    """Sets the clipboard's text; host only."""

    event = "clipboard/set"
    text: str


class KeyboardMap(ClientRequest, frozen=True):
    """Sets the keyboard layout, such as ``us`` or ``de``; host only. Frees the spare keycodes."""

    event = "keyboard/map"
    layout: str
    variant: str = ""


class KeyboardModifiers(ClientRequest, frozen=True, omit_defaults=True):
    """Locks or unlocks modifiers; ``None`` leaves one as it is. Host only."""

    event = "keyboard/modifiers"
    shift: bool | None = None
    capslock: bool | None = None
    control: bool | None = None
    alt: bool | None = None
    numlock: bool | None = None
    meta: bool | None = None
    super: bool | None = None
    altgr: bool | None = None


class ScreenSet(ClientRequest, frozen=True):
    """Sets the desktop's size in pixels and its rate in Hz; admins only."""

    event = "screen/set"
    width: Int64
    height: Int64
    rate: Int16


class SendUnicast(ClientRequest, frozen=True):
    """An opaque message to one session; to oneself it comes back after everything sent before was handled."""

    event = "send/unicast"
    receiver: str
    subject: str
    body: Any


class SendBroadcast(ClientRequest, frozen=True):
    """An opaque message to all other sessions."""

    event = "send/broadcast"
    subject: str
    body: Any


class ChatMessage(ClientRequest, frozen=True):
    """Say something; everyone gets it, the sender too."""

    event = "chat/message"
    text: str


class ClientHeartbeat(ClientRequest, frozen=True):
    """For proxies that cut idle connections; the server ignores it."""

    event = "client/heartbeat"
    has_payload: ClassVar[bool] = False


class LogEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line for the server's log; ``level`` as in zerolog: ``debug``, ``info``, ``warn``, ``error``."""

    level: str
    message: str
    fields: dict[str, Any] | None = None


class SystemLogs(ClientRequest, frozen=True):
    """Lines for the server's log. The payload is a list."""

    event = "system/logs"
    entries: tuple[LogEntry, ...]

    def to_payload(self) -> object:
        return self.entries

    @classmethod
    def from_json(cls, value: Any) -> SystemLogs:
        if not isinstance(value, (list, type(None))):
            raise Malformed("a list is due")
        return cls(entries=tuple(read_struct(entry, LogEntry) for entry in value or ()))


class FileTransferUpdate(ClientRequest, frozen=True):
    """Ask for the list of files."""

    event = "filetransfer/update"
    has_payload: ClassVar[bool] = False


class UnknownRequest(ClientRequest, frozen=True):
    """An event that the server ignores. ``payload`` is the JSON value, ``None`` also when there was none."""

    event: str  # type: ignore[misc]  # the one class whose name belongs to the value
    payload: Any = None

    def to_payload(self) -> object:
        return self.payload


_KNOWN: tuple[type[ClientRequest], ...] = (
    SignalRequest,
    SignalAnswer,
    SignalOffer,
    SignalRestart,
    SignalCandidate,
    SignalVideo,
    SignalAudio,
    ControlRequest,
    ControlRelease,
    ControlMove,
    ControlScroll,
    ControlButtonPress,
    ControlButtonDown,
    ControlButtonUp,
    ControlKeyPress,
    ControlKeyDown,
    ControlKeyUp,
    ControlTouchBegin,
    ControlTouchUpdate,
    ControlTouchEnd,
    ControlCut,
    ControlCopy,
    ControlPaste,
    ControlSelectAll,
    ClipboardSet,
    KeyboardMap,
    KeyboardModifiers,
    ScreenSet,
    SendUnicast,
    SendBroadcast,
    ChatMessage,
    ClientHeartbeat,
    SystemLogs,
    FileTransferUpdate,
)

REQUEST_TYPES: dict[str, type[ClientRequest]] = {known.event: known for known in _KNOWN}
"""The class of each event name."""


def encode(request: ClientRequest) -> str:
    """Write a request. Raises :class:`Malformed` for one the server would drop: a wrong type, a number out of range."""
    with message.malformed_json(request.event):
        message.convert_json(msgspec.to_builtins(request), type(request))  # a struct does not check its arguments
    return encode_raw(request.event, request.to_payload())


def encode_raw(event: str, payload: object = msgspec.UNSET) -> str:
    """Write any event with any JSON value; without ``payload`` the key is left out, ``None`` is ``null``.

    Raises :class:`Malformed` for what JSON cannot say, NaN included.
    """
    text = message.encode_message(event, payload)
    if "null" in text:  # msgspec writes NaN and the infinities as null
        with message.malformed_json(event):
            json.dumps(msgspec.to_builtins((event, payload), str_keys=True), allow_nan=False)
    return text


def decode(text: str | bytes) -> ClientRequest:
    """Read a client's message as the server does; an event it does not know comes back as :class:`UnknownRequest`.

    Raises :class:`Malformed` where the server drops the message: no JSON, a wrong type, a fraction where an integer is
    due, an event without the payload that it takes. ``null`` as payload is a payload of zero values. Bytes that are
    not UTF-8 are replaced, as Go does.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    with message.malformed_json():
        outer = message.decode_json(dict[str, Any] | None, text) or {}
    found = {key.casefold(): value for key, value in outer.items()}
    event = found.get("event")
    event = "" if event is None else event
    if not isinstance(event, str):
        raise Malformed("the event's name is no text")
    known = REQUEST_TYPES.get(event)
    if known is None:
        return UnknownRequest(event, found.get("payload"))
    if not known.has_payload:
        return known()
    if "payload" not in found:
        raise Malformed("has no payload", event=event)
    with message.malformed_json(event):
        return known.from_json(found["payload"])


def _normalise_selector(video: dict[str, Any]) -> None:
    """The server reads the selector's type without regard to case, and an empty one as exact."""
    selector = video.get("selector")
    if selector and isinstance(selector.get("type"), str):
        selector["type"] = selector["type"].lower() or "exact"
