"""Regions: boxes on the screen, and the same boxes on a picture of it.

A region is (left, top, right, bottom) in pixels of the screen, right and bottom exclusive: the box of ``Frame.crop``,
in the coordinates of the mouse. A picture has other pixels when the stream is not as large as the screen; from one to
the other a box goes here and nowhere else, and outwards, so that nothing of it is left out.
"""

from __future__ import annotations

from typing import SupportsIndex, TypeAlias

from neko_trio.desktop.pixels import Size, whole
from neko_trio.errors import InvalidInput

Region: TypeAlias = tuple[SupportsIndex, SupportsIndex, SupportsIndex, SupportsIndex]
"""(left, top, right, bottom) as a caller writes it."""
Box: TypeAlias = tuple[int, int, int, int]
"""(left, top, right, bottom) in px, right and bottom exclusive, with something inside."""
Extent: TypeAlias = tuple[int, int]
"""(width, height) in px."""


def checked_region(region: Region | None, screen: Size) -> Box | None:
    """The region, ``None`` for all of the screen. Raises :class:`~neko_trio.errors.InvalidInput` for what is none."""
    if region is None:
        return None
    try:
        left, top, right, bottom = region
    except (TypeError, ValueError):
        raise InvalidInput(f"A region is (left, top, right, bottom), not {region!r}.") from None
    box = whole(left, "left"), whole(top, "top"), whole(right, "right"), whole(bottom, "bottom")
    _check_inside(box, (screen.width, screen.height))
    return box


def box_in_picture(region: Box | None, screen: Extent, picture: Extent) -> Box:
    """Where a region is in a picture of the screen.

    Raises :class:`~neko_trio.errors.InvalidInput` when the screen has become too small for it.
    """
    if region is None:
        return 0, 0, *picture
    _check_inside(region, screen)
    return _outwards(region, screen, picture)


def box_on_screen(box: Box, picture: Extent, screen: Extent) -> Box:
    """Where a box of a picture is on the screen that it shows."""
    return _outwards(box, picture, screen)


def _outwards(box: Box, of: Extent, to: Extent) -> Box:
    left, top, right, bottom = box
    return (
        left * to[0] // of[0],
        top * to[1] // of[1],
        -(-right * to[0] // of[0]),
        -(-bottom * to[1] // of[1]),
    )


def _check_inside(box: Box, screen: Extent) -> None:
    left, top, right, bottom = box
    if not (0 <= left < right <= screen[0] and 0 <= top < bottom <= screen[1]):
        raise InvalidInput(
            f"The region {box!r} is empty or not on the screen, which is {screen[0]}x{screen[1]}.",
            hint="A region is (left, top, right, bottom) in pixels of the screen.",
        )
