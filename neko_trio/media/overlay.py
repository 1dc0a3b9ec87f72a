"""A small picture, partly transparent, laid over a large one: the pointer on the desktop's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Overlay:
    """``rgba``, (height, width, 4) uint8 with straight alpha, whose upper left corner lies at ``left``, ``top``.

    Those two are in pixels of a screen ``screen`` (width, height) large, and may lie outside; on a picture of another
    size it is laid in proportion.
    """

    rgba: Pixels = field(repr=False)
    left: int
    top: int
    screen: tuple[int, int]

    def over(self, picture: Pixels) -> Pixels:
        """A copy of ``picture``, (height, width, 3) uint8 RGB, with this laid over it. Any thread."""
        height, width, _ = picture.shape
        over, left, top = self._fitted(width, height)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + over.shape[1], width), min(top + over.shape[0], height)
        result = picture.copy()
        if x0 < x1 and y0 < y1:
            part = over[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.uint16)
            alpha = part[..., 3:]
            spot = result[y0:y1, x0:x1]
            spot[:] = (part[..., :3] * alpha + spot * (255 - alpha) + 127) // 255
        return result

    def _fitted(self, width: int, height: int) -> tuple[Pixels, int, int]:
        """The pixels, left and top on a picture of this size."""
        if (width, height) == self.screen:
            return self.rgba, self.left, self.top
        by_x, by_y = width / self.screen[0], height / self.screen[1]
        size = max(1, round(self.rgba.shape[1] * by_x)), max(1, round(self.rgba.shape[0] * by_y))
        scaled = Image.fromarray(self.rgba).resize(size, Image.Resampling.BOX)
        return np.asarray(scaled), round(self.left * by_x), round(self.top * by_y)
