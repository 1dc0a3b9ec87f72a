"""The input side of the simulated X server: pointer, buttons, keys, touch, clipboard, between the room's rules and the
desktop's `on_input`.

Rules as the server's (`server/pkg/xorg/xorg.go`, `server/internal/desktop/manager.go`): a second down without an up is
refused, an up without a down too; a *press* releases everything held before and after; what is held for 10 s is
released by a check that runs every second; a held key repeats.
"""

import logging
import math
from collections.abc import Callable
from typing import Protocol

import trio

from neko_trio.simulator._clipping import Clipping
from neko_trio.simulator._input_events import (
    ButtonDown,
    ButtonUp,
    ClipboardChanged,
    FilesDropped,
    InputEvent,
    KeyDown,
    KeyUp,
    PointerMoved,
    ScreenResized,
    Touched,
)
from neko_trio.simulator._keyboard import Keyboard

__all__ = ["Desk", "InputReceiver"]

logger = logging.getLogger("neko_trio.simulator")

CHECK_PERIOD = 1.0
REPEAT_DELAY = 0.66
REPEAT_PERIOD = 0.04
MAX_CLICKS = 32767
"""The wheel clicks of one message that are carried out (the data channel can say no more)."""
_CONTROL_L = 0xFFE3
_MAX_COORDINATE = 32767


class InputReceiver(Protocol):
    """What the desk needs of a desktop."""

    def on_input(self, event: InputEvent) -> None: ...


class Desk:
    """Held keys and buttons, the pointer and the clipboard of one simulated screen.  Everything is synchronous, on the
    trio thread; `run()` does what takes time."""

    def __init__(
        self, desktop: InputReceiver, size: tuple[int, int], *, release_after: float = 10.0, touch: bool = False
    ) -> None:
        self.keyboard = Keyboard()
        self.pointer = (size[0] // 2, size[1] // 2)
        self.clipping: Clipping | None = None
        """None: nothing owns the clipboard."""
        self.on_clipboard: Callable[[], None] = lambda: None
        self.failures = 0
        """Exceptions that the desktop's `on_input` raised: logged and counted, they end nothing."""
        self.refused = 0
        """Downs without an up and ups without a down."""
        self._desktop = desktop
        self._size = size
        self._release_after = release_after
        self._touch = touch
        self._fingers: dict[int, tuple[float, int, int]] = {}
        self._leading: int | None = None
        self._keys: dict[int, float] = {}
        self._buttons: dict[int, float] = {}
        self._repeat_at: tuple[int, float] | None = None
        self._changed = trio.Event()

    @property
    def held(self) -> tuple[frozenset[int], frozenset[int]]:
        """The keysyms and the buttons that are down."""
        return frozenset(self._keys), frozenset(self._buttons)

    @property
    def touches(self) -> frozenset[int]:
        """The ids of the fingers that are down."""
        return frozenset(self._fingers)

    def resize(self, size: tuple[int, int]) -> None:
        self._size = size
        self.pointer = (min(self.pointer[0], size[0] - 1), min(self.pointer[1], size[1] - 1))
        self._tell(ScreenResized(*size))

    def move(self, x: int, y: int) -> None:
        """Beyond the screen is clamped, as X does it; above 32767 a coordinate wraps to negative, that is to 0."""
        self.pointer = (self._clamp(x, self._size[0]), self._clamp(y, self._size[1]))
        self._tell(PointerMoved(*self.pointer))

    def scroll(self, delta_x: int, delta_y: int, *, control: bool = False) -> None:
        """Deltas are wheel clicks: y first; positive y is button 4 (up), positive x button 6."""
        for delta, positive, negative in ((delta_y, 4, 5), (delta_x, 6, 7)):
            for _ in range(min(abs(delta), MAX_CLICKS)):
                button = positive if delta > 0 else negative
                modifiers = self.keyboard.modifiers | ({"ctrl"} if control else frozenset())
                self._tell(ButtonDown(button, *self.pointer, modifiers, _timestamp()))
                self._tell(ButtonUp(button, *self.pointer))

    def button_down(self, button: int) -> bool:
        """False when it was down already."""
        if button in self._buttons:
            self.refused += 1
            return False
        self._buttons[button] = trio.current_time()
        if button != 0:
            self._tell(ButtonDown(button, *self.pointer, self.keyboard.modifiers, _timestamp()))
        self._wake()
        return True

    def button_up(self, button: int) -> bool:
        if self._buttons.pop(button, None) is None:
            self.refused += 1
            return False
        if button != 0:
            self._tell(ButtonUp(button, *self.pointer))
        return True

    def key_down(self, keysym: int) -> bool:
        if keysym in self._keys:
            self.refused += 1
            return False
        now = trio.current_time()
        self._keys[keysym] = now
        if keysym != 0:
            self._type(keysym)
            if not self.keyboard.is_modifier(keysym):
                self._repeat_at = (keysym, now + REPEAT_DELAY)
        self._wake()
        return True

    def key_up(self, keysym: int) -> bool:
        if self._keys.pop(keysym, None) is None:
            self.refused += 1
            return False
        self._release(keysym)
        return True

    def button_press(self, button: int) -> None:
        self.release_all()
        self.button_down(button)
        self.release_all()

    def key_press(self, *keysyms: int) -> None:
        self.release_all()
        for keysym in keysyms:
            self.key_down(keysym)
        self.release_all()

    def chord(self, character: str) -> None:
        """Ctrl with a letter: what `control/cut`, `copy`, `paste` and `select_all` type."""
        self.key_press(_CONTROL_L, ord(character))

    def touch(self, phase: str, touch_id: int, x: int, y: int, pressure: int) -> bool:
        """False when a finger that is down begins, or one that is not moves or ends (`server/pkg/xinput/xinput.go`).

        Nothing happens without a touch driver, and nothing is refused: the server has a dummy then (`dummy.go` there).
        """
        if not self._touch:
            return True
        if (phase == "begin") is (touch_id in self._fingers):
            self.refused += 1
            return False
        right, bottom = self._size[0] - 1, self._size[1] - 1
        self._touched(phase, touch_id, max(0, min(x, right)), max(0, min(y, bottom)), pressure)
        self._wake()
        return True

    def _touched(self, phase: str, touch_id: int, x: int, y: int, pressure: int) -> None:
        """The finger that comes down while none is takes the pointer along, with the left button (X, seen)."""
        if phase == "begin" and not self._fingers:
            self._leading = touch_id
        emulated = touch_id == self._leading
        self._tell(Touched(phase, touch_id, x, y, pressure, emulated))
        if emulated:
            self.move(x, y)
            if phase == "begin":
                self._tell(ButtonDown(1, x, y, self.keyboard.modifiers, _timestamp()))
            elif phase == "end":
                self._tell(ButtonUp(1, x, y))
        if phase == "end":
            del self._fingers[touch_id]
            self._leading = None if emulated else self._leading
        else:
            self._fingers[touch_id] = trio.current_time(), x, y

    def release_all(self) -> None:
        """The server's `ResetKeys`: fingers stay where they are."""
        for button in tuple(self._buttons):
            self.button_up(button)
        for keysym in tuple(self._keys):
            self.key_up(keysym)

    @property
    def clipboard(self) -> str | None:
        """The clipboard's text."""
        return self.clipping.shown if self.clipping is not None else None

    def set_clipboard(self, text: str) -> None:
        """By the server, which runs xclip for it: the room tells the host."""
        self.clip(Clipping.of_xclip(text.encode()))

    def clip(self, clipping: Clipping) -> None:
        """By another program than the desktop itself, which is told."""
        self.clipping = clipping
        self._tell(ClipboardChanged(clipping.shown or ""))
        self.on_clipboard()

    def copied(self, text: str) -> None:
        """By the desktop itself."""
        self.clipping = Clipping(text=text.encode())
        self.on_clipboard()

    def drop(self, files: tuple[tuple[str, bytes], ...]) -> None:
        """Let go of files, names and bytes, where the pointer is."""
        self._tell(FilesDropped(*self.pointer, files))

    async def run(self) -> None:
        """Releases what is held for too long and repeats held keys, until cancelled."""
        epoch = trio.current_time()
        while True:
            self._changed = trio.Event()
            with trio.move_on_at(self._next_deadline(epoch)):
                await self._changed.wait()
                continue
            now = trio.current_time()
            if self._repeat_at is not None and self._repeat_at[1] <= now:
                keysym, due = self._repeat_at
                self._type(keysym)
                self._repeat_at = (keysym, due + REPEAT_PERIOD)
            for held, up in ((self._buttons, self.button_up), (self._keys, self.key_up)):
                for code, since in tuple(held.items()):
                    if self._release_time(epoch, since) <= now:
                        up(code)
            for touch_id, (since, x, y) in tuple(self._fingers.items()):
                if self._release_time(epoch, since) <= now:
                    self._touched("end", touch_id, x, y, 0)

    def _next_deadline(self, epoch: float) -> float:
        fingers = (since for since, _x, _y in self._fingers.values())
        since = (*self._buttons.values(), *self._keys.values(), *fingers)
        deadlines = [self._release_time(epoch, start) for start in since]
        if self._repeat_at is not None:
            deadlines.append(self._repeat_at[1])
        return min(deadlines, default=math.inf)

    def _release_time(self, epoch: float, since: float) -> float:
        """The first tick of the check at which it has been held for long enough."""
        return epoch + math.ceil((since + self._release_after - epoch) / CHECK_PERIOD) * CHECK_PERIOD

    def _type(self, keysym: int) -> None:
        text = self.keyboard.press(keysym)
        if text is None:
            logger.warning("no spare keycode is left for keysym %#x: the key is lost, as at the real server", keysym)
            return
        self._tell(KeyDown(keysym, text, self.keyboard.modifiers))

    def _release(self, keysym: int) -> None:
        if self._repeat_at is not None and self._repeat_at[0] == keysym:
            self._repeat_at = None
        self.keyboard.release(keysym)
        if keysym != 0:
            self._tell(KeyUp(keysym))

    def _tell(self, event: InputEvent) -> None:
        try:
            self._desktop.on_input(event)
        except Exception:  # a user's desktop takes it here: whatever it raises is counted, and the room goes on
            self.failures += 1
            logger.exception("the desktop failed at %r", event)

    def _wake(self) -> None:
        self._changed.set()

    @staticmethod
    def _clamp(value: int, extent: int) -> int:
        return 0 if value > _MAX_COORDINATE else max(0, min(value, extent - 1))


def _timestamp() -> float:
    return math.floor(trio.current_time() * 1000) / 1000
