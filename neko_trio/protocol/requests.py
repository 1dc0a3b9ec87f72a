"""What a client sends over the WebSocket: one frozen struct for each event, :func:`encode` and :func:`decode`.

Payloads as in the server's ``internal/websocket/handler`` and ``pkg/types/message/messages.go``. A field that is
``None`` is left out. There are no replies and no errors on the wire: the server drops what it cannot read, so
:func:`encode` refuses to write it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from neko_trio.protocol import message
from neko_trio.protocol.go_json import read_object, read_struct
from neko_trio.protocol.malformed import Malformed
from neko_trio.protocol.message import Message

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

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Int16 = Annotated[int, msgspec.Meta(ge=-(2**15), le=2**15 - 1)]
UInt32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
UInt16 = Annotated[int, msgspec.Meta(ge=0, le=2**16 - 1)]
UInt8 = Annotated[int, msgspec.Meta(ge=0, le=2**8 - 1)]
SelectorType = Literal["exact", "nearest", "lower", "higher"]


class ClientRequest(Message, frozen=True):
    """Base of a client's messages. ``event`` is the wire name, such as ``control/move``."""

    @classmethod
    def from_json(cls, value: Any) -> ClientRequest:
        """Build the request from its decoded payload as the server would. Raises as ``read_struct``."""
        return read_struct(value, cls)


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


class ControlRequest(ClientRequest, frozen=True):
    """Become host; while another is host, they are asked."""

    event = "control/request"
    has_payload: ClassVar[bool] = False


class ControlRelease(ClientRequest, frozen=True):
    """Stop being host. Releases every held key and button."""

    event = "control/release"
    has_payload: ClassVar[bool] = False


class ControlMove(ClientRequest, frozen=True):
    """Pointer to ``x``, ``y`` in screen pixels."""

    event = "control/move"
    x: Int64
    y: Int64


class ControlScroll(ClientRequest, frozen=True):
    """Wheel clicks: positive ``delta_y`` is up, positive ``delta_x`` presses button 6. ``control_key`` holds Ctrl."""

    event = "control/scroll"
    delta_x: Int64
    delta_y: Int64
    control_key: bool = False

    @classmethod
    def from_json(cls, value: Any) -> ControlScroll:
        read = read_struct(value, cls)
        if read.delta_x == 0 and read.delta_y == 0:  # old clients say x and y
            old = read_struct(value, ControlMove)
            return cls(old.x, old.y, read.control_key)
        return read


class _Positioned(ClientRequest, frozen=True, omit_defaults=True, kw_only=True):
    """A message that may move the pointer first. With one coordinate alone the server takes 0 for the other."""

    x: Int64 | None = None
    y: Int64 | None = None

    def to_payload(self) -> object:
        if (self.x is None) != (self.y is None):
            raise Malformed("one coordinate alone", event=self.event)
        return self

    @classmethod
    def from_json(cls, value: Any) -> ClientRequest:
        found = read_object(value, cls)
        # Go makes the embedded position as soon as one of its keys is there, be it null.
        if isinstance(value, dict) and any(key.casefold() in ("x", "y") for key in value):
            found = {"x": 0, "y": 0, **found}
        read: ClientRequest = message.convert_json(found, cls)
        return read


class _Button(_Positioned, frozen=True, omit_defaults=True):
    code: UInt32


class ControlButtonPress(_Button, frozen=True, omit_defaults=True):
    """Press and release an X11 button; **releases every other held key and button** before and after."""

    event = "control/buttonpress"


class ControlButtonDown(_Button, frozen=True, omit_defaults=True):
    """Press an X11 button: 1 left, 2 middle, 3 right, 4–7 wheel, 8 back, 9 forward."""

    event = "control/buttondown"


class ControlButtonUp(_Button, frozen=True, omit_defaults=True):
    """Release an X11 button."""

    event = "control/buttonup"


class _Key(_Positioned, frozen=True, omit_defaults=True):
    keysym: UInt32


class ControlKeyPress(_Key, frozen=True, omit_defaults=True):
    """Press and release a key; **releases every other held key and button** before and after."""

    event = "control/keypress"


class ControlKeyDown(_Key, frozen=True, omit_defaults=True):
    """Press the key of an X11 keysym. Held for 10 s, the server releases it."""

    event = "control/keydown"


class ControlKeyUp(_Key, frozen=True, omit_defaults=True):
    """Release the key of an X11 keysym."""

    event = "control/keyup"


class _Touch(ClientRequest, frozen=True):
    touch_id: UInt32
    x: Int64
    y: Int64
    pressure: UInt8

    @classmethod
    def from_json(cls, value: Any) -> ClientRequest:
        if not isinstance(value, dict) or not any(key.casefold() in ("x", "y") for key in value):
            raise Malformed("a touch without a position")  # the server's handler fails on it
        return read_struct(value, cls)


class ControlTouchBegin(_Touch, frozen=True):
    """A finger comes down; ``pressure`` 0–255."""

    event = "control/touchbegin"


class ControlTouchUpdate(_Touch, frozen=True):
    """A finger moves or presses differently."""

    event = "control/touchupdate"


class ControlTouchEnd(_Touch, frozen=True):
    """A finger is lifted."""

    event = "control/touchend"


class ControlCut(ClientRequest, frozen=True):
    """Types Ctrl+X."""

    event = "control/cut"
    has_payload: ClassVar[bool] = False


class ControlCopy(ClientRequest, frozen=True):
    """Types Ctrl+C."""

    event = "control/copy"
    has_payload: ClassVar[bool] = False


class ControlPaste(ClientRequest, frozen=True, omit_defaults=True):
    """Sets the clipboard if ``text`` is given, then types Ctrl+V."""

    event = "control/paste"
    text: str | None = None


class ControlSelectAll(ClientRequest, frozen=True):
    """Types Ctrl+A."""

    event = "control/select_all"
    has_payload: ClassVar[bool] = False


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
