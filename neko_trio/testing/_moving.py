"""A desktop of which every picture is known beforehand: what a client shows can be compared with what was drawn."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from neko_trio.simulator import FrameCode, InputEvent, read_frame_code
from neko_trio.simulator._frame_code import FRAME_CODE_SIZE, draw_frame_code

__all__ = ["MovingDesktop"]

Pixels: TypeAlias = NDArray[np.uint8]

_GLYPH = (8, 12)  # (width, height) of what looks like a letter, in pixels
_STEP = 2
"""Pixels by which the text scrolls from picture to picture: up, and down when it has reached its end."""


class MovingDesktop:
    """A page of grey text that scrolls in a window over a page that stands still: ``size`` (width, height) pixels.

    Give it to :func:`~neko_trio.simulator.open_simulator` as ``desktop``. Picture n is the same in every process with
    the same ``size`` and ``seed``, so that :meth:`likeness` tells how good a picture is that a client has shown.
    Input does nothing.
    """

    def __init__(self, size: tuple[int, int] = (1280, 720), *, seed: int = 0) -> None:
        width, height = size
        generator = np.random.default_rng(seed)
        self._page = _page(generator, width, height, ink=190)
        self._left, self._top = width // 4 & ~1, height // 4 & ~1
        self._window = height // 3 & ~1
        self._scroll = 4 * self._window
        self._text = _page(generator, width // 2 & ~1, self._scroll + self._window, ink=184)
        self._number = 0

    def render(self, now: float, /) -> Pixels:
        """The next picture, with its :class:`~neko_trio.simulator.FrameCode` in the upper left corner."""
        self._number += 1
        return np.repeat(self.picture(FrameCode.of(self._number, now))[:, :, None], 3, axis=2)

    def on_input(self, event: InputEvent, /) -> None:
        """Nothing."""

    def picture(self, code: FrameCode) -> Pixels:
        """The picture with this code, (height, width) uint8: all three colours are the same."""
        pixels = self._page.copy()
        at = code.number * _STEP % (2 * self._scroll)
        at = min(at, 2 * self._scroll - at)
        part = self._text[at : at + self._window]
        pixels[self._top : self._top + part.shape[0], self._left : self._left + part.shape[1]] = part
        draw_frame_code(pixels, code, black=0, white=255)
        return pixels

    def likeness(self, shown: Pixels) -> tuple[FrameCode, float, float] | None:
        """How like its original a shown picture is: its code, the peak signal-to-noise ratio of the whole in dB, and
        that of its worst 64 x 64 pixels. ``None`` when its code cannot be read.

        ``shown`` is (height, width, 3) uint8 RGB, or (height, width) grey, unscaled. A healthy stream has over 30 dB; a
        picture that was decoded from a broken reference has a part, at least, with far less.
        """
        code = read_frame_code(shown)
        if code is None:
            return None
        grey = shown[:, :, 1] if shown.ndim == 3 else shown
        errors = (self.picture(code).astype(np.int16) - grey) ** 2.0
        width, height = FRAME_CODE_SIZE
        errors[:height, :width] = 0  # its checksum says more
        rows, columns = errors.shape[0] // 64, errors.shape[1] // 64
        tiles = errors[: rows * 64, : columns * 64].reshape(rows, 64, columns, 64).mean(axis=(1, 3))
        return code, _decibels(float(errors.mean())), _decibels(float(tiles.max()))


def _decibels(mean_square: float) -> float:
    return float(10 * np.log10(255**2 / max(mean_square, 1e-3)))


def _page(generator: np.random.Generator, width: int, height: int, *, ink: int) -> Pixels:
    """Something like text: lines of glyphs made of a few strokes, words apart."""
    columns, rows = width // _GLYPH[0] + 1, height // (_GLYPH[1] + 6) + 1
    alphabet = np.full((26, _GLYPH[1], _GLYPH[0]), 232, np.uint8)
    for glyph in alphabet:
        for _ in range(3):
            x, y = generator.integers(0, 5), generator.integers(0, 9)
            if generator.random() < 0.5:
                glyph[y : y + 2, : _GLYPH[0] - 2] = ink
            else:
                glyph[:, x : x + 2] = ink
    page = np.full((rows * (_GLYPH[1] + 6), columns * _GLYPH[0]), 232, np.uint8)
    for row in range(rows):
        top = row * (_GLYPH[1] + 6)
        letters = generator.integers(0, 26, columns)
        written = generator.random(columns) < 0.8
        for column in np.flatnonzero(written):
            left = column * _GLYPH[0]
            page[top : top + _GLYPH[1], left : left + _GLYPH[0]] = alphabet[letters[column]]
    return np.ascontiguousarray(page[:height, :width])
