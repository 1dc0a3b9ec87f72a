"""The data channel's binary messages, both ways: frozen values, ``encode`` and ``decode``.

Big-endian; a header of ``u8 opcode, u16 length``, then the body. Formats as in the server's
``internal/webrtc/payload`` and ``handler.go``. A message is read by its opcode: the server's own ``length`` fields
count the header too, the client's do not, and a cursor image may be longer than the field can say. What follows the
body is ignored, as the server does.

Timestamps are in milliseconds and go over the wire as two 32-bit numbers, split by 2**32 - 1 (not 2**32).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from neko_trio.protocol.malformed import Malformed

__all__ = [
    "ButtonDown",
    "ButtonUp",
    "ClientMessage",
    "CursorImage",
    "CursorPosition",
    "KeyDown",
    "KeyUp",
    "Move",
    "Ping",
    "Pong",
    "Scroll",
    "ServerMessage",
    "TouchBegin",
    "TouchEnd",
    "TouchUpdate",
    "decode_client",
    "decode_server",
    "encode",
    "encode_server",
]

_SPLIT = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Move:
    """Pointer to ``x``, ``y`` in screen pixels. Above 32767 the server wraps to negative: the pointer goes to 0."""

    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Scroll:
    """Wheel clicks: positive ``delta_y`` is up, positive ``delta_x`` presses button 6. ``control_key`` holds Ctrl."""

    delta_x: int
    delta_y: int
    control_key: bool = False


@dataclass(frozen=True, slots=True)
class KeyDown:
    """Press the key of an X11 ``keysym``."""

    keysym: int


@dataclass(frozen=True, slots=True)
class KeyUp:
    """Release the key of an X11 ``keysym``."""

    keysym: int


@dataclass(frozen=True, slots=True)
class ButtonDown:
    """Press an X11 button: 1 left, 2 middle, 3 right, 4–7 wheel, 8 back, 9 forward."""

    code: int


@dataclass(frozen=True, slots=True)
class ButtonUp:
    """Release an X11 button."""

    code: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a :class:`Pong` with the same ``timestamp`` (ms), which comes after all input before it."""

    timestamp: int


@dataclass(frozen=True, slots=True)
class TouchBegin:
    """A finger ``touch_id`` comes down at ``x``, ``y`` (screen pixels) with ``pressure`` 0–255."""

    touch_id: int
    x: int
    y: int
    pressure: int


@dataclass(frozen=True, slots=True)
class TouchUpdate:
    """A finger moves or presses differently."""

    touch_id: int
    x: int
    y: int
    pressure: int


@dataclass(frozen=True, slots=True)
class TouchEnd:
    """A finger is lifted."""

    touch_id: int
    x: int
    y: int
    pressure: int


@dataclass(frozen=True, slots=True)
class CursorPosition:
    """The host moved the pointer; not sent to the host itself."""

    x: int
    y: int


@dataclass(frozen=True, slots=True)
class CursorImage:
    """The pointer's picture: size and hotspot in pixels, ``image`` a PNG."""

    width: int
    height: int
    hotspot_x: int
    hotspot_y: int
    image: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a :class:`Ping`: its timestamp and the server's clock, both in ms."""

    timestamp: int
    server_timestamp: int


ClientMessage: TypeAlias = (
    Move | Scroll | KeyDown | KeyUp | ButtonDown | ButtonUp | Ping | TouchBegin | TouchUpdate | TouchEnd
)
ServerMessage: TypeAlias = CursorPosition | CursorImage | Pong

_HEADER = struct.Struct(">BH")
_U16X2 = struct.Struct(">HH")
_U16X4 = struct.Struct(">HHHH")
_OLD_SCROLL = struct.Struct(">hh")
_SCROLL = struct.Struct(">hh?")
_U32 = struct.Struct(">I")
_U32X2 = struct.Struct(">II")
_U32X4 = struct.Struct(">IIII")
_TOUCH = struct.Struct(">IiiB")


def encode(message: ClientMessage) -> bytes:
    """Write a client's message. Raises :class:`Malformed` for a number that does not fit its field."""
    match message:
        case Move(x, y):
            return _frame(0x01, _pack(_U16X2, x, y))
        case Scroll(delta_x, delta_y, control_key):
            return _frame(0x02, _pack(_SCROLL, delta_x, delta_y, control_key))
        case KeyDown(keysym):
            return _frame(0x03, _pack(_U32, keysym))
        case KeyUp(keysym):
            return _frame(0x04, _pack(_U32, keysym))
        case ButtonDown(code):
            return _frame(0x05, _pack(_U32, code))
        case ButtonUp(code):
            return _frame(0x06, _pack(_U32, code))
        case Ping(timestamp):
            return _frame(0x07, _pack(_U32X2, *divmod(timestamp, _SPLIT)))
        case TouchBegin(touch_id, x, y, pressure):
            return _frame(0x08, _pack(_TOUCH, touch_id, x, y, pressure))
        case TouchUpdate(touch_id, x, y, pressure):
            return _frame(0x09, _pack(_TOUCH, touch_id, x, y, pressure))
        case TouchEnd(touch_id, x, y, pressure):
            return _frame(0x0A, _pack(_TOUCH, touch_id, x, y, pressure))


def encode_server(message: ServerMessage) -> bytes:
    """Write a server's message, its length field as the server writes it. Raises :class:`Malformed`."""
    match message:
        case CursorPosition(x, y):
            return _frame(0x01, _pack(_U16X2, x, y), header_counts=True)
        case CursorImage(width, height, hotspot_x, hotspot_y, image):
            return _frame(0x02, _pack(_U16X4, width, height, hotspot_x, hotspot_y) + image, header_counts=True)
        case Pong(timestamp, server_timestamp):
            body = _pack(_U32X4, *divmod(timestamp, _SPLIT), *divmod(server_timestamp, _SPLIT))
            return _frame(0x03, body, header_counts=True)


def decode_server(data: bytes) -> ServerMessage:
    """Read a server's message. Raises :class:`Malformed` for an unknown opcode or a body that is too short."""
    opcode, _length = _header(data)
    match opcode:
        case 0x01:
            return CursorPosition(*_unpack(_U16X2, data))
        case 0x02:
            width, height, hotspot_x, hotspot_y = _unpack(_U16X4, data)
            return CursorImage(width, height, hotspot_x, hotspot_y, bytes(data[_HEADER.size + _U16X4.size :]))
        case 0x03:
            high, low, server_high, server_low = _unpack(_U32X4, data)
            return Pong(high * _SPLIT + low, server_high * _SPLIT + server_low)
        case _:
            raise Malformed(f"data channel: unknown opcode {opcode}")


def decode_client(data: bytes) -> ClientMessage:
    """Read a client's message as the server does, the old scroll of length 4 too. Raises :class:`Malformed`."""
    opcode, length = _header(data)
    if opcode == 0x02:
        delta_x, delta_y, *control_key = _unpack(_OLD_SCROLL if length == 4 else _SCROLL, data)
        return Scroll(delta_x, delta_y, any(control_key))
    if opcode == 0x07:
        high, low = _unpack(_U32X2, data)
        return Ping(high * _SPLIT + low)
    known = _PLAIN_CLIENT.get(opcode)
    if known is None:
        raise Malformed(f"data channel: unknown opcode {opcode}")
    build, layout = known
    return build(*_unpack(layout, data))


_PLAIN_CLIENT: dict[int, tuple[Callable[..., ClientMessage], struct.Struct]] = {
    0x01: (Move, _U16X2),
    0x03: (KeyDown, _U32),
    0x04: (KeyUp, _U32),
    0x05: (ButtonDown, _U32),
    0x06: (ButtonUp, _U32),
    0x08: (TouchBegin, _TOUCH),
    0x09: (TouchUpdate, _TOUCH),
    0x0A: (TouchEnd, _TOUCH),
}


def _header(data: bytes) -> tuple[int, int]:
    if len(data) < _HEADER.size:
        raise Malformed("data channel: shorter than its header")
    opcode, length = _HEADER.unpack_from(data)
    return opcode, length


def _unpack(layout: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) < _HEADER.size + layout.size:
        raise Malformed("data channel: body too short")
    return layout.unpack_from(data, _HEADER.size)


def _pack(layout: struct.Struct, *numbers: int) -> bytes:
    try:
        return layout.pack(*numbers)
    except struct.error as error:
        raise Malformed(f"data channel: {error}") from error


def _frame(opcode: int, body: bytes, *, header_counts: bool = False) -> bytes:
    length = len(body) + (_HEADER.size if header_counts else 0)
    # Go's uint16(length) wraps for a large cursor image; readers go by the opcode.
    return _HEADER.pack(opcode, length & 0xFFFF) + body
