"""Drawing text with what every machine has: the font in Pillow (ASCII), a wider one of the system when it is there.

A character that no font has is drawn as a box with its code point, so that the picture never lies by leaving it out;
accented letters are put together from the letter and its marks first.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from PIL import ImageFont

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

__all__ = ["Colour", "draw_text", "text_width", "wrap"]

Colour: TypeAlias = tuple[int, int, int]
_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf", "arial.ttf")
# strokes of the combining marks, in hundredths of the font size, around the middle of the letter's top
_MARKS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "\u0300": ((-12, -16, 4, -6),),
    "\u0301": ((12, -16, -4, -6),),
    "\u0302": ((-12, -6, 0, -16), (0, -16, 12, -6)),
    "\u0303": ((-14, -8, -4, -13), (-4, -13, 4, -8), (4, -8, 14, -13)),
    "\u0308": ((-12, -12, -8, -12), (8, -12, 12, -12)),
    "\u030a": ((-6, -6, -6, -16), (-6, -16, 6, -16), (6, -16, 6, -6), (6, -6, -6, -6)),
    "\u030c": ((-12, -16, 0, -6), (0, -6, 12, -16)),
}


@lru_cache
def _fonts(size: int) -> tuple[_Font, ...]:
    fonts: list[_Font] = []
    for name in _SYSTEM_FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size))
            break
        except OSError:
            continue  # not on this machine
    fonts.append(ImageFont.load_default(size))
    return tuple(fonts)


@lru_cache
def _missing(size: int) -> tuple[bytes, ...]:
    """How each font draws what it does not have."""
    return tuple(bytes(font.getmask("\uffff")) for font in _fonts(size))


@lru_cache(maxsize=4096)
def _font_of(character: str, size: int) -> _Font | None:
    for font, missing in zip(_fonts(size), _missing(size), strict=True):
        if character.isspace() or bytes(font.getmask(character)) != missing:
            return font
    return None


@lru_cache(maxsize=4096)
def _pieces(character: str, size: int) -> tuple[_Font | None, str, str]:
    """(font, letter, marks to draw over it); no font: a box."""
    font = _font_of(character, size)
    if font is None:
        parts = unicodedata.normalize("NFD", character)
        letter, marks = parts[0], parts[1:]
        if marks and all(mark in _MARKS for mark in marks) and (font := _font_of(letter, size)) is not None:
            return font, letter, marks
    return font, character, ""


@lru_cache(maxsize=4096)
def _advance(character: str, size: int) -> float:
    font, letter, _ = _pieces(character, size)
    return font.getlength(letter) if font is not None else _box_font(size).getlength("0" * _box_columns(character)) + 6


def _box_font(size: int) -> _Font:
    return ImageFont.load_default(max(6, size * 2 // 5))


def _box_columns(character: str) -> int:
    return (len(f"{ord(character):X}") + 1) // 2


def text_width(text: str, size: int) -> float:
    """Width in pixels of one line."""
    return sum(_advance(character, size) for character in text)


def draw_text(draw: ImageDraw, at: tuple[float, float], text: str, size: int, colour: Colour) -> float:
    """Draw one line with its upper left corner at ``at``; returns the x behind it, in pixels."""
    x, y = at
    run, run_font, run_x = "", None, x
    for character in text:
        font, letter, marks = _pieces(character, size)
        if run and (font is not run_font or font is None or marks):
            draw.text((run_x, y), run, fill=colour, font=run_font)
            run = ""
        if font is None:
            _draw_box(draw, x, y, character, size, colour)
        elif marks:
            draw.text((x, y), letter, fill=colour, font=font)
            top = y + draw.textbbox((0, 0), letter, font=font)[1]
            _draw_marks(draw, x + _advance(letter, size) / 2, top, marks, size, colour)
        else:
            if not run:
                run_font, run_x = font, x
            run += letter
        x += _advance(character, size)
    if run:
        draw.text((run_x, y), run, fill=colour, font=run_font)
    return x


def _draw_marks(draw: ImageDraw, middle: float, top: float, marks: str, size: int, colour: Colour) -> None:
    for mark in marks:
        for x0, y0, x1, y1 in _MARKS[mark]:
            line = [(middle + x * size / 100, top + y * size / 100) for x, y in ((x0, y0), (x1, y1))]
            draw.line(line, fill=colour, width=max(1, size // 12))


def _draw_box(draw: ImageDraw, x: float, y: float, character: str, size: int, colour: Colour) -> None:
    font, columns = _box_font(size), _box_columns(character)
    digits = f"{ord(character):X}".rjust(2 * columns, "0")
    width = font.getlength("0" * columns)
    draw.rectangle((x + 1, y + size * 0.15, x + width + 4, y + size * 1.1), outline=colour)
    for row in range(2):
        part = digits[row * columns : (row + 1) * columns]
        draw.text((x + 3, y + size * (0.2 + 0.43 * row)), part, fill=colour, font=font)


def wrap(text: str, size: int, width: float) -> list[str]:
    """Break text into lines of at most ``width`` pixels, at newlines and between any two characters."""
    lines = []
    for paragraph in text.split("\n"):
        line, used = "", 0.0
        for character in paragraph:
            advance = _advance(character, size)
            if line and used + advance > width:
                lines.append(line)
                line, used = "", 0.0
            line += character
            used += advance
        lines.append(line)
    return lines
