"""What the simulator's desktop is told of input: the events that X would deliver to a program.

`desktop.on_input(event)` gets these on the trio thread, one after the other, after the room's rules (host, held keys)
have been applied.  Coordinates are screen pixels, already clamped to the screen.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = [
    "ButtonDown",
    "ButtonUp",
    "ClipboardChanged",
    "FilesDropped",
    "InputEvent",
    "KeyDown",
    "KeyUp",
    "PointerMoved",
    "ScreenResized",
    "Touched",
]


@dataclass(frozen=True, slots=True)
class PointerMoved:
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class ButtonDown:
    """Button codes are X11's: 1 left, 2 middle, 3 right, 4/5 wheel up/down, 6/7 wheel sideways, 8 back, 9 forward.
    The wheel arrives as X gives it to programs: one `ButtonDown` and `ButtonUp` per click."""

    button: int
    x: int
    y: int
    modifiers: frozenset[str] = frozenset()
    """As in `KeyDown`."""
    time: float = field(default=0.0, compare=False)
    """X's timestamp: seconds, in whole milliseconds. What is sent together may have the same."""


@dataclass(frozen=True, slots=True)
class ButtonUp:
    button: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class KeyDown:
    keysym: int
    """The key that was pressed, as sent."""
    text: str = ""
    """What a text field inserts for it under the modifiers held: "" for named keys and for Ctrl, Alt, Super chords."""
    modifiers: frozenset[str] = frozenset()
    """Of "shift", "ctrl", "alt", "super", "altgr", "capslock"."""


@dataclass(frozen=True, slots=True)
class KeyUp:
    keysym: int


@dataclass(frozen=True, slots=True)
class Touched:
    """A touch point began, moved or ended; `pressure` is 0 … 255.

    X shows the first finger to programs that know nothing of touch as the mouse with its left button; here both come,
    this first, and `emulated` says that the pointer and the button follow.
    """

    phase: str
    """ "begin", "update" or "end". """
    touch_id: int
    x: int
    y: int
    pressure: int
    emulated: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class ClipboardChanged:
    """The desktop's clipboard was set from outside; Ctrl+V inserts this text."""

    text: str


@dataclass(frozen=True, slots=True)
class FilesDropped:
    """Files were dropped at (x, y), from outside. The server tells nobody whether a program took them."""

    x: int
    y: int
    files: tuple[tuple[str, bytes], ...] = field(repr=False)
    """Names and bytes."""


@dataclass(frozen=True, slots=True)
class ScreenResized:
    width: int
    height: int


InputEvent: TypeAlias = (
    PointerMoved | ButtonDown | ButtonUp | KeyDown | KeyUp | Touched | ClipboardChanged | FilesDropped | ScreenResized
)
