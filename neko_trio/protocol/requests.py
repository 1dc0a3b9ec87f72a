"""What a client sends over the WebSocket: one frozen struct for each event, :func:`encode` and :func:`decode`.

Payloads as in the server's ``internal/websocket/handler`` and ``pkg/types/message/messages.go``. A field that is
``None`` is left out. There are no replies and no errors on the wire: the server drops what it cannot read, so
:func:`encode` refuses to write it.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from neko_trio.protocol import message
from neko_trio.protocol.client_request import ClientRequest
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
from neko_trio.protocol.malformed import Malformed
from neko_trio.protocol.room_requests import (
    ChatMessage,
    ClientHeartbeat,
    ClipboardSet,
    FileTransferUpdate,
    KeyboardMap,
    KeyboardModifiers,
    LogEntry,
    ScreenSet,
    SendBroadcast,
    SendUnicast,
    SystemLogs,
)
from neko_trio.protocol.signal_requests import (
    AudioRequest,
    SignalAnswer,
    SignalAudio,
    SignalCandidate,
    SignalOffer,
    SignalRequest,
    SignalRestart,
    SignalVideo,
    StreamSelector,
    VideoRequest,
)

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
