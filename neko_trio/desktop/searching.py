"""Finding a small picture in a large one: the place where they differ least, exactly, with NumPy alone.

The difference is the root of the mean squared difference (RMS) of all red, green and blue values, 0 to 255. Every place
is judged, each as cheaply as it allows. Of a window and the template let ``m`` and ``s`` be the mean and the standard
deviation of brightness: their RMS in brightness is at least the distance of the points (m, s). That takes two running
sums over the picture, and leaves of a desktop a few places in a thousand. Of these the same is asked for the window's
parts, 16 and then 256 (means alone), and what still may be near enough is compared in full, the most promising first.
Nothing is ever missed: brightness differs by no more than :data:`BY_COLOUR` times what the colours do.

Measured on a desktop of 1280x720 full of text, templates from 20x20 to 400x300: 23 to 66 ms where they are found, up to
300 ms for a large page of text that is not there. OpenCV's ``matchTemplate`` (TM_SQDIFF, one thread) takes 80 to 200 ms
for colours and 7 to 16 for grey, where a red button is a green one; it is 150 MB to install. So it is not used here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neko_trio.desktop.regions import Box

Colours: TypeAlias = NDArray[np.uint8]
"""(height, width, 3), RGB."""
Sums: TypeAlias = NDArray[np.uint32] | NDArray[np.uint64]
Places: TypeAlias = NDArray[np.intp]

BY_COLOUR = math.sqrt(3 * (0.299**2 + 0.587**2 + 0.114**2))
"""RMS of brightness by RMS of the colours, at most (Cauchy and Schwarz on the weights of ITU-R BT.601)."""

ROUNDING = 1.1
"""RMS that rounding brightness to whole numbers, in both pictures, and single precision may add."""

PARTS = (4, 16)
"""In how many parts a window is looked at, in each direction, first and then."""

SMALLEST_PART = 4
"""Pixels of a part's side, at least."""

LINES = 64
"""Lines that are looked at in one go: what they need stays in the processor's cache."""

PLACES = 32_768
"""Places that are looked at in one go."""

SLICES = 8
"""A window is compared in full in so many slices, of every eighth line: most are found to be none after the first."""

ENOUGH = 4096
"""Windows compared in full after which the best one found is good enough: on a plain ground all are the same."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where a template is in a picture."""

    left: int
    top: int
    difference: float
    """RMS, 0 to 255."""


class _Parts:
    """The means of a template's parts, and how far windows are from them at least."""

    def __init__(self, sums: Sums, parts: int) -> None:
        height, width = sums.shape[0] - 1, sums.shape[1] - 1
        self._lines, self._columns = _edges(height, parts), _edges(width, parts)
        corners = sums[np.ix_(self._lines, self._columns)].astype(np.int64)
        self._areas = np.outer(np.diff(self._lines), np.diff(self._columns))
        self._means = np.diff(np.diff(corners, axis=0), axis=1) / self._areas
        self._size = height * width

    def near(self, sums: Sums, places: Places, columns: int, most: float) -> tuple[Places, NDArray[np.float64]]:
        """Of some places, ``columns`` to a line, those that are near enough, and how far off they are at least."""
        apart = self._apart(sums, *np.divmod(places, columns))
        close = apart <= most
        return places[close], apart[close]

    def _apart(self, sums: Sums, tops: Places, lefts: Places) -> NDArray[np.float64]:
        """The least that each window's mean squared difference in brightness can be."""
        flat, stride = sums.ravel(), sums.shape[1]
        corner = tops * stride + lefts
        squared = np.zeros(len(tops))
        above = None
        for line, down in enumerate(self._lines):
            along = [flat[corner + (down * stride + right)] for right in self._columns]
            between = [end - begin for begin, end in pairwise(along)]
            if above is not None:
                for column, (upper, lower) in enumerate(zip(above, between, strict=True)):
                    area = self._areas[line - 1, column]
                    apart = (lower - upper) * (1 / area) - self._means[line - 1, column]
                    squared += apart * apart * (area / self._size)
            above = between
        return squared


class Template:
    """A picture to look for, (height, width, 3) uint8 RGB."""

    def __init__(self, colours: Colours) -> None:
        self.height, self.width = colours.shape[:2]
        grey = _brightness(colours)
        self._mean, self._spread = float(grey.mean()), float(grey.std())
        sums = _running_sum(grey, np.uint32)
        fitting = [each for each in PARTS if each * SMALLEST_PART <= min(self.height, self.width)]
        self._parts = [_Parts(sums, each) for each in fitting or [1]]
        self._slices = [colours[first::SLICES].astype(np.int16) for first in range(min(SLICES, self.height))]

    def find(
        self,
        picture: Colours,
        tolerance: float,
        *,
        near: Box | None = None,
        check: Callable[[], object] = lambda: None,
    ) -> Found | None:
        """The place with the least difference, if that is at most ``tolerance``; of equals the first, line by line.

        ``near``: only windows that share a pixel with this box of the picture. ``check`` is called every few
        milliseconds, and may raise.
        """
        height, width, _ = picture.shape
        left, top, right, bottom = near or (0, 0, width, height)
        left, top = max(0, left - self.width + 1), max(0, top - self.height + 1)
        right, bottom = min(width, right + self.width - 1), min(height, bottom + self.height - 1)
        if right - left < self.width or bottom - top < self.height:
            return None
        found = self._find(picture[top:bottom, left:right], tolerance, check)
        return Found(left + found.left, top + found.top, found.difference) if found is not None else None

    def _find(self, picture: Colours, tolerance: float, check: Callable[[], object]) -> Found | None:
        grey = _brightness(picture)
        sums = _running_sum(grey, np.uint32)
        check()
        places, columns = self._promising(grey, sums, _most(tolerance), check), grey.shape[1] - self.width + 1
        bounds = np.zeros(len(places))
        for parts in self._parts:
            near = [parts.near(sums, chunk, columns, _most(tolerance)) for chunk in _chunks(places, check)]
            if not near:
                return None
            places, bounds = (np.concatenate(column) for column in zip(*near, strict=True))
        return self._best(picture, places, bounds, tolerance, columns, check)

    def _best(
        self,
        picture: Colours,
        places: Places,
        bounds: NDArray[np.float64],
        tolerance: float,
        columns: int,
        check: Callable[[], object],
    ) -> Found | None:
        best: tuple[float, int] | None = None
        for count, number in enumerate(np.lexsort((places, bounds))):
            if count % 64 == 0:
                check()
            if best is not None and (count >= ENOUGH or bounds[number] > _most(best[0])):
                break
            place = int(places[number])
            limit = tolerance if best is None else best[0]
            difference = self._difference(picture, *divmod(place, columns), limit)
            if difference is not None and (best is None or (difference, place) < best):
                best = difference, place
        return Found(best[1] % columns, best[1] // columns, best[0]) if best is not None else None

    def _difference(self, picture: Colours, top: int, left: int, limit: float) -> float | None:
        """The RMS of a window; ``None`` when it is above the limit."""
        window = picture[top : top + self.height, left : left + self.width]
        values = self.height * self.width * 3
        most, total = limit * limit * values * (1 + 1e-9), 0.0
        for first, template in enumerate(self._slices):
            apart = (window[first::SLICES] - template).ravel().astype(np.float32)
            total += float(apart @ apart)
            if total > most:
                return None
        return math.sqrt(total / values)

    def _promising(
        self, grey: NDArray[np.uint8], sums: Sums, most: float, check: Callable[[], object]
    ) -> NDArray[np.intp]:
        """The places whose mean and standard deviation of brightness are near enough, ``most`` a squared distance."""
        area = self.height * self.width
        squares = _running_sum(np.multiply(grey, grey, dtype=np.uint16), np.uint32 if area <= 2**16 else np.uint64)
        height, columns = grey.shape[0] - self.height + 1, grey.shape[1] - self.width + 1
        found = []
        for first in range(0, height, LINES):
            check()
            lines = slice(first, min(first + LINES, height) + self.height)
            mean, spread = (self._windows(each[lines]) for each in (sums, squares))
            mean *= 1 / area
            spread *= 1 / area
            spread -= mean * mean
            np.sqrt(np.maximum(spread, 0, out=spread), out=spread)
            mean -= self._mean
            spread -= self._spread
            mean *= mean
            spread *= spread
            mean += spread
            found.append(np.flatnonzero(mean <= most) + first * columns)
        return np.concatenate(found)

    def _windows(self, sums: Sums) -> NDArray[np.float32]:
        """The sums of all windows in some lines. Running sums may have wrapped around: the differences are right."""
        below, above = sums[self.height :], sums[: -self.height]
        totals = below[:, self.width :] - below[:, : -self.width]
        totals -= above[:, self.width :]
        totals += above[:, : -self.width]
        return totals.astype(np.float32)


def _most(tolerance: float) -> float:
    """The mean squared difference in brightness up to which that of the colours may be within the tolerance."""
    return (tolerance * BY_COLOUR + ROUNDING) ** 2


def _brightness(colours: Colours) -> NDArray[np.uint8]:
    """(height, width) uint8, by the weights of ITU-R BT.601."""
    return np.asarray(Image.fromarray(colours).convert("L"))


def _edges(length: int, parts: int) -> list[int]:
    """Where the parts of a window begin and end, in one direction."""
    return [length * part // parts for part in range(parts + 1)]


def _chunks(places: Places, check: Callable[[], object]) -> Iterator[Places]:
    for first in range(0, len(places), PLACES):
        check()
        yield places[first : first + PLACES]


def _running_sum(values: NDArray[np.uint8] | NDArray[np.uint16], type_: type[np.uint32] | type[np.uint64]) -> Sums:
    """At [y, x] the sum of all that is above and left of the pixel (x, y): one more line and column than there are.

    What the type cannot hold wraps around.
    """
    height, width = values.shape
    sums = np.zeros((height + 1, width + 1), type_)
    inside = sums[1:, 1:]
    inside[:] = values
    for line in range(1, height):
        inside[line] += inside[line - 1]  # twice as fast as cumsum along this axis
    np.cumsum(inside, axis=1, out=inside)
    return sums
