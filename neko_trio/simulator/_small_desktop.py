"""The simulator's own desktop: a small one that is alive.

It has a text area that shows what is typed, buttons that react, a list that scrolls, a pointer, a clock, and in the
upper left corner of every picture its `FrameCode`. Drawing is cheap because only what changed is drawn: widgets paint
themselves into a background, and each picture is a copy of it with the pointer, the caret and the code.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from neko_trio.simulator._frame_code import FRAME_CODE_SIZE, FrameCode, draw_frame_code
from neko_trio.simulator._input_events import (
    ButtonDown,
    ButtonUp,
    ClipboardChanged,
    InputEvent,
    KeyDown,
    PointerMoved,
    ScreenResized,
    Touched,
)
from neko_trio.simulator._picture import Picture
from neko_trio.simulator._pointer import draw_pointer
from neko_trio.simulator._widgets import Box, Button, Label, ScrollList, TextArea, Widget

__all__ = ["SmallDesktop"]

BACKDROP = (226, 231, 240)
TITLE = (28, 34, 48)
TITLE_HEIGHT = 40
DOUBLE_CLICK_TIME = 0.4
"""Seconds, as GTK has it."""
DOUBLE_CLICK_DISTANCE = 5
"""Pixels."""
MINIMUM = (320, 200)


class SmallDesktop:
    """The default desktop, ``size`` (width, height) pixels, at least 320 x 200; odd sides are rounded down.

    For tests to look behind the picture: ``text``, ``clicks``, ``double_clicks``, ``pointer``, ``touches``,
    ``list_first``, ``list_chosen``, ``list_opened`` and the places ``text_area``, ``click_button``, ``clear_button``,
    ``list_box``.
    Not safe for two threads at once: see `LockedDesktop`.
    """

    def __init__(self, size: tuple[int, int] = (1280, 720), *, clock: Callable[[], float] = time.time) -> None:
        self._wall = clock
        self.pointer = (size[0] // 2, size[1] // 2)
        self.clicks = 0
        """How often the click button was pressed."""
        self.double_clicks = 0
        """How often the left button was pressed again within 0.4 s and 5 px, be it on nothing; three are two."""
        self.touches: dict[int, tuple[int, int]] = {}
        """Where the fingers are that are down, by their ids."""
        self.clipboard = ""
        self.on_copy: Callable[[str], None] = lambda _text: None
        """Told what is copied here: `open_simulator` makes it the server's clipboard."""
        self.number = 0
        """The number of the last picture drawn."""
        self._pressed: Widget | None = None
        self._last_press: ButtonDown | None = None
        self._lay_out(size)
        self._draw_changes()  # most of the work, and the fonts: not when the first watcher waits

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the pictures."""
        return self._background.size

    @property
    def text(self) -> str:
        """What the text area holds."""
        return self._area.text

    @property
    def list_first(self) -> int:
        """Index of the list's topmost row in sight."""
        return self._list.first

    @property
    def list_chosen(self) -> int | None:
        """Index of the row clicked last."""
        return self._list.chosen

    @property
    def list_opened(self) -> int | None:
        """Index of the row double-clicked last."""
        return self._list.opened

    @property
    def text_area(self) -> Box:
        """(x, y, width, height) of the text area."""
        return self._area.box

    @property
    def click_button(self) -> Box:
        """(x, y, width, height) of the button that counts."""
        return self._buttons[0].box

    @property
    def clear_button(self) -> Box:
        """(x, y, width, height) of the button that empties the text area."""
        return self._buttons[1].box

    @property
    def list_box(self) -> Box:
        """(x, y, width, height) of the list."""
        return self._list.box

    def _lay_out(self, size: tuple[int, int], previous: tuple[TextArea, ScrollList] | None = None) -> None:
        width, height = max(size[0], MINIMUM[0]) & ~1, max(size[1], MINIMUM[1]) & ~1
        self._background = Picture(width, height)
        self._screen = Picture(width, height)
        self._background.paste_rgb(np.full((height, width, 3), BACKDROP, np.uint8), 0, 0)
        self._background.paste_rgb(np.full((TITLE_HEIGHT, width, 3), TITLE, np.uint8), 0, 0)
        font = 20 if width >= 800 else 13
        margin = width // 40 & ~1
        left = width * 11 // 20 & ~1
        top = TITLE_HEIGHT + margin
        button_height = font * 11 // 5 & ~1
        foot = height - margin - button_height - 16 & ~1
        button_width = (left - margin) // 2 & ~1
        area = TextArea((margin, top, left, foot - margin - top & ~1), BACKDROP, font)
        rows = ScrollList(
            (left + 2 * margin, top, width - left - 3 * margin & ~1, foot + button_height - top),
            BACKDROP,
            font,
            [f"Row {row + 1}" for row in range(100)],
        )
        if previous is not None:
            area.resized(previous[0])
            rows.resized(previous[1])
        self._area, self._list = area, rows
        self._buttons = (
            Button((margin, foot, button_width, button_height), BACKDROP, font, self._count, self._clicked),
            Button(
                (2 * margin + button_width, foot, button_width, button_height),
                BACKDROP,
                font,
                lambda: "Clear",
                self._clear,
            ),
        )
        code = FRAME_CODE_SIZE[0] + 12
        clock = int(font * 5.2) & ~1
        self._clock = Label((width - clock - 8, 4, clock, 32), TITLE, (214, 220, 232), font)
        title = Label((code, 4, width - code - clock - 12 & ~1, 32), TITLE, (255, 255, 255), font, "Neko simulator")
        self._widgets: tuple[Widget, ...] = (area, rows, *self._buttons, self._clock, title)
        self._pressed = None

    def _count(self) -> str:
        return f"Clicked {self.clicks}"

    def _clicked(self) -> None:
        self.clicks += 1

    def _clear(self) -> None:
        self._area.clear()

    def on_input(self, event: InputEvent, /) -> None:
        """React to one event."""
        match event:
            case PointerMoved(x, y):
                self.pointer = (x, y)
                if self._pressed is not None:
                    self._pressed.on_drag(x, y)
            case ButtonDown(button, x, y):
                self.pointer = (x, y)
                target = next((widget for widget in self._widgets if widget.contains(x, y)), None)
                if target is not None:
                    target.on_button(button, x, y, down=True)
                double = self._is_double(event)
                if button == 1:
                    self._pressed = target
                    if double:
                        self.double_clicks += 1
                        if target is not None:
                            target.on_double_click(x, y)
            case ButtonUp(button, x, y):
                self.pointer = (x, y)
                if button == 1 and self._pressed is not None:
                    self._pressed.on_button(button, x, y, down=False)
                    self._pressed = None
            case KeyDown():
                self._key(event)
            case ClipboardChanged(text):
                self.clipboard = text
            case ScreenResized(width, height):
                self._lay_out((width, height), (self._area, self._list))
            case Touched("end", touch_id):
                self.touches.pop(touch_id, None)
            case Touched(_, touch_id, x, y):
                self.touches[touch_id] = x, y  # the first finger comes as the mouse, too
            case _:
                pass  # key releases mean nothing here

    def _is_double(self, press: ButtonDown) -> bool:
        last, self._last_press = self._last_press, press
        return (
            last is not None
            and press.button == last.button
            and press.time - last.time < DOUBLE_CLICK_TIME
            and max(abs(press.x - last.x), abs(press.y - last.y)) <= DOUBLE_CLICK_DISTANCE
        )

    def _key(self, event: KeyDown) -> None:
        area = self._area
        if "ctrl" in event.modifiers:
            self._shortcut(event.keysym)
        elif event.text:
            area.insert("\n" if event.text == "\r" else event.text)
        else:
            match event.keysym:  # keysymdef.h: XK_Return, XK_KP_Enter, XK_Tab, XK_BackSpace, XK_Delete, …
                case 0xFF0D | 0xFF8D:
                    area.insert("\n")
                case 0xFF09:
                    area.insert("    ")
                case 0xFF08:
                    area.delete(before=True)
                case 0xFFFF:
                    area.delete(before=False)
                case 0xFF50:
                    area.move(0)
                case 0xFF57:
                    area.move(len(area.text))
                case 0xFF51:
                    area.move(area.caret - 1)
                case 0xFF53:
                    area.move(area.caret + 1)
                case 0xFF55 | 0xFF56:
                    page = self._list.rows_in_sight
                    self._list.scroll(-page if event.keysym == 0xFF55 else page)
                case _:
                    pass  # modifiers and keys without a meaning here

    def _shortcut(self, keysym: int) -> None:
        match chr(keysym).lower() if keysym < 0x80 else "":
            case "a":
                self._area.select_all()
            case "v":
                self._area.insert(self.clipboard)
            case "c" | "x" as key if self._area.all_selected:
                self.clipboard = self._area.text
                self.on_copy(self.clipboard)
                if key == "x":
                    self._area.clear()
            case _:
                pass

    def render(self, now: float, /) -> Picture:
        """The screen at ``now`` (seconds of ``time.monotonic()``): one object, drawn over by the next call."""
        self.number += 1
        self._clock.text = time.strftime("%H:%M:%S", time.localtime(self._wall()))
        self._draw_changes()
        screen = self._screen
        screen.copy_from(self._background)
        if int(now * 2) % 2 == 0:
            screen.fill(*self._area.caret_box, (40, 160, 110))
        lane = max(2, screen.width - 40)  # a mark that runs along the bottom: the picture always moves
        screen.fill(int(now * 160) % lane & ~1, screen.height - 10 & ~1, 40, 6, (97, 189, 90))
        draw_pointer(screen, *self.pointer)
        draw_frame_code(screen.y, FrameCode.of(self.number, now))
        code_width, code_height = FRAME_CODE_SIZE
        screen.fill_chroma(0, 0, code_width, code_height)
        return screen

    def _draw_changes(self) -> None:
        for widget in self._widgets:
            if widget.dirty:
                self._background.paste_rgb(widget.draw(), widget.box[0], widget.box[1])
