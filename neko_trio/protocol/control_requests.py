"""The ``control/*`` requests: the host role and, over the WebSocket, input."""

from __future__ import annotations

from typing import Any, ClassVar

from neko_trio.protocol import message
from neko_trio.protocol.client_request import ClientRequest, Int64, UInt8, UInt32
from neko_trio.protocol.go_json import read_object, read_struct
from neko_trio.protocol.malformed import Malformed
from neko_trio.protocol.values import hidden

__all__ = [
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
]


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

    def __repr__(self) -> str:
        return f"ControlPaste(text={hidden(self.text)})"


class ControlSelectAll(ClientRequest, frozen=True):
    """Types Ctrl+A."""

    event = "control/select_all"
    has_payload: ClassVar[bool] = False
