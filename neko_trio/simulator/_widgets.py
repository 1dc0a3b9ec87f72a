"""The things on the simulator's desktop: what each one knows, how it reacts, and what it looks like.

A widget lives in a box of even coordinates, says with ``dirty`` that it has to be drawn again, and draws itself whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from neko_trio.simulator._picture import Bytes2D
from neko_trio.simulator._text import Colour, draw_text, text_width, wrap

__all__ = ["Box", "Button", "Label", "ScrollList", "TextArea", "Widget"]

PAPER: Colour = (255, 255, 255)
INK: Colour = (24, 28, 38)
DIM: Colour = (110, 118, 132)
EDGE: Colour = (176, 184, 198)
ACCENT: Colour = (36, 99, 235)

Box = tuple[int, int, int, int]
"""(x, y, width, height) in pixels, all even."""


class Widget(ABC):
    """Something in a box. ``dirty`` is true from its creation and after each change, until ``draw``."""

    def __init__(self, box: Box, background: Colour) -> None:
        self.box = box
        self.background = background
        self.dirty = True

    def contains(self, x: int, y: int) -> bool:
        """Whether the screen position (pixels) lies inside."""
        left, top, width, height = self.box
        return left <= x < left + width and top <= y < top + height

    def on_button(self, button: int, x: int, y: int, *, down: bool) -> None:
        """A mouse button (X11 code) changed at a place inside this widget, or went up after going down here."""
        return  # most widgets only show something

    def on_double_click(self, x: int, y: int) -> None:
        """The left button went down here once more so soon that the two are a double click; told after `on_button`."""
        return

    def on_drag(self, x: int, y: int) -> None:
        """The pointer is at this place, inside or not, while the left button is held that went down in here."""
        return

    def draw(self) -> Bytes2D:
        """The widget as an (height, width, 3) uint8 RGB array; no longer dirty."""
        image = Image.new("RGB", self.box[2:], self.background)
        self.paint(ImageDraw.Draw(image))
        self.dirty = False
        return np.asarray(image)

    @abstractmethod
    def paint(self, draw: ImageDraw.ImageDraw) -> None:
        """Draw everything; the origin is the box's upper left corner."""


class Label(Widget):
    """One line of text that can change."""

    def __init__(self, box: Box, background: Colour, colour: Colour, size: int, text: str = "") -> None:
        super().__init__(box, background)
        self._colour, self._size, self._text = colour, size, text

    @property
    def text(self) -> str:
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        if text != self._text:
            self._text, self.dirty = text, True

    def paint(self, draw: ImageDraw.ImageDraw) -> None:
        draw_text(draw, (0, (self.box[3] - self._size * 1.3) / 2), self._text, self._size, self._colour)


class Button(Widget):
    """Reacts when the left button goes down and up inside it; sinks in while held."""

    def __init__(
        self, box: Box, background: Colour, size: int, label: Callable[[], str], action: Callable[[], None]
    ) -> None:
        super().__init__(box, background)
        self._size, self._label, self._action = size, label, action
        self._held = False

    @property
    def label(self) -> str:
        """What stands on it now."""
        return self._label()

    def on_button(self, button: int, x: int, y: int, *, down: bool) -> None:
        if button != 1:
            return
        if self._held and not down and self.contains(x, y):
            self._action()
        self._held, self.dirty = down, True

    def paint(self, draw: ImageDraw.ImageDraw) -> None:
        _, _, width, height = self.box
        fill: Colour = (22, 66, 168) if self._held else ACCENT
        draw.rounded_rectangle((0, 0, width - 1, height - 1), 8, fill=fill)
        label = self._label()
        at = ((width - text_width(label, self._size)) / 2, (height - self._size * 1.3) / 2 + self._held)
        draw_text(draw, at, label, self._size, PAPER)


class TextArea(Widget):
    """Shows what is typed, broken into lines; the end stays in sight. ``text`` keeps the last 20,000 characters."""

    LIMIT = 20_000

    def __init__(self, box: Box, background: Colour, size: int) -> None:
        super().__init__(box, background)
        self._size = size
        self.text = ""
        self.caret = 0
        """Where the next character goes: an index into ``text``."""
        self.all_selected = False
        self._caret_at: tuple[int, int] = (0, 0)

    def insert(self, text: str) -> None:
        """Put ``text`` at the caret, in place of the selection."""
        if self.all_selected:
            self.clear()
        joined = self.text[: self.caret] + text + self.text[self.caret :]
        dropped = max(0, len(joined) - self.LIMIT)
        self.text = joined[dropped:]
        self._moved(self.caret + len(text) - dropped)

    def delete(self, *, before: bool) -> None:
        """Backspace or Delete."""
        if self.all_selected:
            self.clear()
            return
        at = self.caret - 1 if before else self.caret
        if 0 <= at < len(self.text):
            self.text = self.text[:at] + self.text[at + 1 :]
            self._moved(at)

    def move(self, to: int) -> None:
        """Put the caret elsewhere; out of range means the nearest end."""
        self._moved(to)

    def select_all(self) -> None:
        self.all_selected, self.dirty = True, True

    def clear(self) -> None:
        self.text = ""
        self._moved(0)

    def resized(self, other: TextArea) -> TextArea:
        """Take over what ``other``, an area of another size, has in it."""
        self.text, self.caret, self.all_selected = other.text, other.caret, other.all_selected
        return self

    @property
    def caret_box(self) -> Box:
        """Where the caret is drawn on the screen, as of the last ``draw``."""
        x, y = self._caret_at
        return (self.box[0] + x) & ~1, (self.box[1] + y) & ~1, 2, self._size * 5 // 4 & ~1

    def on_button(self, button: int, x: int, y: int, *, down: bool) -> None:
        if button == 1 and down:
            self._moved(len(self.text))

    def _moved(self, caret: int) -> None:
        self.caret = min(max(caret, 0), len(self.text))
        self.all_selected, self.dirty = False, True

    def paint(self, draw: ImageDraw.ImageDraw) -> None:
        _, _, width, height = self.box
        draw.rectangle((0, 0, width - 1, height - 1), fill=PAPER, outline=EDGE, width=2)
        step, inner = self._size * 4 // 3, width - 24
        rows = max(1, (height - 16) // step)
        # only what can be seen is measured: no line is narrower than this many characters allow
        most = rows * max(1, inner // 3)
        head = max(0, self.caret - most)
        before = wrap(self.text[head : self.caret], self._size, inner)
        lines = wrap(self.text[head : self.caret + most], self._size, inner)
        first = max(0, min(len(before), len(lines)) - rows)
        for row, line in enumerate(lines[first : first + rows]):
            y = 8 + row * step
            if self.all_selected and line:
                draw.rectangle((12, y, 12 + text_width(line, self._size), y + step - 2), fill=(187, 210, 255))
            draw_text(draw, (12, y), line, self._size, INK)
        if not self.text:
            draw_text(draw, (12, 8), "Type something", self._size, DIM)
        self._caret_at = (int(12 + text_width(before[-1], self._size)), 8 + (len(before) - 1 - first) * step)


class ScrollList(Widget):
    """Rows that scroll with the wheel, one row a click, or by their scroll bar, are chosen with the left button, and
    opened with a double click."""

    BAR = 14
    """Pixels at the right edge that belong to the scroll bar."""

    def __init__(self, box: Box, background: Colour, size: int, rows: Sequence[str]) -> None:
        super().__init__(box, background)
        self._size = size
        self._rows = rows
        self.first = 0
        """Index of the topmost row in sight."""
        self.chosen: int | None = None
        """Index of the row that was clicked last."""
        self.opened: int | None = None
        """Index of the row that was double-clicked last."""
        self._grip: tuple[int, int] | None = None  # where the bar was taken hold of: y, and the topmost row then

    @property
    def row_height(self) -> int:
        """Pixels from one row to the next."""
        return self._size * 3 // 2

    @property
    def rows_in_sight(self) -> int:
        return max(1, (self.box[3] - 4) // self.row_height)

    def resized(self, other: ScrollList) -> ScrollList:
        """Take over where ``other``, a list of another size, stands."""
        self.chosen, self.opened = other.chosen, other.opened
        self.scroll(other.first)
        return self

    def scroll(self, rows: int) -> None:
        """Move down by ``rows`` (negative: up), as far as there are any."""
        first = min(max(self.first + rows, 0), max(0, len(self._rows) - self.rows_in_sight))
        if first != self.first:
            self.first, self.dirty = first, True

    def on_button(self, button: int, x: int, y: int, *, down: bool) -> None:
        if button == 1:
            self._grip = (y, self.first) if down and self._on_bar(x) else None
        if not down:
            return
        if button in (4, 5):
            self.scroll(-1 if button == 4 else 1)
        elif button == 1 and self._grip is None and (row := self._row_at(y)) is not None:
            self.chosen, self.dirty = row, True

    def on_double_click(self, x: int, y: int) -> None:
        if not self._on_bar(x) and (row := self._row_at(y)) is not None:
            self.opened, self.dirty = row, True

    def on_drag(self, x: int, y: int) -> None:
        if self._grip is not None:
            start, first = self._grip
            self.scroll(first + (y - start) * len(self._rows) // (self.box[3] - 4) - self.first)

    def _on_bar(self, x: int) -> bool:
        return x >= self.box[0] + self.box[2] - self.BAR

    def _row_at(self, y: int) -> int | None:
        row = max(0, self.first + (y - self.box[1] - 2) // self.row_height)
        return row if row < len(self._rows) else None

    def paint(self, draw: ImageDraw.ImageDraw) -> None:
        _, _, width, height = self.box
        draw.rectangle((0, 0, width - 1, height - 1), fill=PAPER, outline=EDGE, width=2)
        for place in range(self.rows_in_sight):
            row = self.first + place
            if row >= len(self._rows):
                break
            top = 2 + place * self.row_height
            chosen = row == self.chosen
            if chosen or row % 2:
                fill = ACCENT if chosen else (240, 243, 248)
                draw.rectangle((2, top, width - 15, top + self.row_height - 1), fill=fill)
            text = f"{self._rows[row]} (open)" if row == self.opened else self._rows[row]
            draw_text(draw, (12, top + self._size * 0.1), text, self._size, PAPER if chosen else INK)
        total = max(1, len(self._rows))
        bar = max(12, (height - 4) * self.rows_in_sight // total)
        top = 2 + (height - 4) * self.first // total
        draw.rectangle((width - 12, 2, width - 4, height - 3), fill=(232, 236, 242))
        draw.rectangle((width - 12, top, width - 4, min(top + bar, height - 3)), fill=EDGE)
