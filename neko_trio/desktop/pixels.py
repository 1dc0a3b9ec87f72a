"""Places on the screen: whole pixels inside of it, and what stands for one.

The server takes nothing else: it drops a fraction, X moves what lies outside to the edge, and above 32,767 a coordinate
wraps to negative (all seen). The other way of saying a place, the pixel of a picture, is ``Frame.to_screen``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from numbers import Real
from typing import Protocol, SupportsIndex, TypeAlias

from neko_trio.errors import InvalidInput

Point: TypeAlias = tuple[SupportsIndex, SupportsIndex]
"""(x, y) as a caller writes it."""
Pixel: TypeAlias = tuple[int, int]
"""(x, y) of a pixel that is on the screen."""

MOST_POINTS = 10_000
"""Of a path, those in between included."""

MOST_STEPS = 1000
"""From one point of a path to the next."""


class Size(Protocol):
    """Width and height in px: ``State.screen`` is one."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


def pixel(x: SupportsIndex, y: SupportsIndex, screen: Size) -> Pixel:
    """The pixel (x, y) of the screen. Raises :class:`~neko_trio.errors.InvalidInput` for what is none."""
    left, top = whole(x, "x"), whole(y, "y")
    if not (0 <= left < screen.width and 0 <= top < screen.height):
        raise InvalidInput(
            f"({left}, {top}) is outside the screen, which is {screen.width}x{screen.height}.",
            hint="A frame may be smaller than the screen: frame.to_screen(x, y) converts.",
        )
    return left, top


def pixels(points: Iterable[Point], screen: Size, *, least: int = 1) -> list[Pixel]:
    """The pixels of a path. Raises :class:`~neko_trio.errors.InvalidInput`, also for fewer than ``least``."""
    try:
        path = [pixel(x, y, screen) for x, y in islice(points, MOST_POINTS + 1)]
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput("A path is a list of points, each of them (x, y).") from None
    if len(path) < least:
        raise InvalidInput(f"A path has at least {least} points, not {len(path)}.")
    if len(path) > MOST_POINTS:
        raise InvalidInput(f"A path has at most {MOST_POINTS} points.")
    return path


def at_fraction(x: float, y: float, screen: Size) -> Pixel:
    """The pixel at a part of the width and a part of the height: (0, 0) the upper left one, (1, 1) the lower right one.

    Raises :class:`~neko_trio.errors.InvalidInput` for what is not between 0 and 1.
    """
    for part in (x, y):
        if not is_number(part) or not 0 <= part <= 1:
            raise InvalidInput(f"A part of the screen is a number from 0 to 1, not {part!r}.")
    return min(int(x * screen.width), screen.width - 1), min(int(y * screen.height), screen.height - 1)


def is_number(value: object) -> bool:
    """Whether it is a real number, numpy's included; truth values are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def whole(value: SupportsIndex, name: str) -> int:
    """A whole number. Raises :class:`~neko_trio.errors.InvalidInput`, also for a float without a fraction."""
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidInput(f"{name} is a whole number, not {value!r}.", hint="Round it first.") from None


def whole_steps(value: SupportsIndex) -> int:
    """A number of steps. Raises :class:`~neko_trio.errors.InvalidInput`."""
    steps = whole(value, "steps")
    if not 1 <= steps <= MOST_STEPS:
        raise InvalidInput(f"A way is made in 1 to {MOST_STEPS} steps, not {steps}.")
    return steps


def seconds(value: float, name: str, most: float) -> float:
    """A length of time from 0 to ``most`` seconds. Raises :class:`~neko_trio.errors.InvalidInput`."""
    if not is_number(value) or not 0 <= value <= most:
        raise InvalidInput(f"{name} is 0 to {most:g} seconds, not {value!r}.")
    return float(value)


def way(path: list[Pixel], steps: int) -> list[Pixel]:
    """The pixels of a straight way from point to point, without its first, ``steps`` from each to the next.

    What falls on the pixel before is left out: a move to where the pointer is says nothing. Raises
    :class:`~neko_trio.errors.InvalidInput` for a way of too many points.
    """
    if (len(path) - 1) * steps > MOST_POINTS:
        raise InvalidInput(f"A way has at most {MOST_POINTS} points, steps included.", hint="Take fewer steps.")
    found = [path[0]]
    for point in _straight(path, steps):
        if point != found[-1]:
            found.append(point)
    return found[1:]


def _straight(path: list[Pixel], steps: int) -> Iterator[Pixel]:
    for (x0, y0), (x1, y1) in pairwise(path):
        for step in range(1, steps + 1):
            yield round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)


def distance(one: Pixel, other: Pixel) -> float:
    """Pixels from one place to another."""
    return math.dist(one, other)
