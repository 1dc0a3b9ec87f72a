"""What has changed between two pictures of the screen, beyond the noise of the video codec.

Two pictures of the same screen are never equal: each is coded anew. Measured on real servers, pages of coloured text in
terminals, 720p and 1080p, with and without motion beside them. VP8 at its default bitrate: a single pixel differs by up
to 28 of 255, the mean of a block of 8x8 pixels by up to 5.1, also right after all has changed. H264 at 4 Mbit/s: 3 and
1.0, but 57 and 4.1 between the first picture of a large change and the next. A character typed, a dot, or the blinking
of a cursor are 220; a grey that becomes lighter by 10 all over a button is 10 in each of its blocks. So a change is a
pixel that differs by more than a tolerance, by default 60, or a block whose mean differs by more than an eighth of it.

Works on the planes of the decoder's picture, brightness and both colours, without a conversion. Any thread; NumPy gives
the GIL away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from neko_trio.desktop.regions import Box

if TYPE_CHECKING:
    from neko_trio.media.frames import Frame

Plane: TypeAlias = NDArray[np.uint8]
Sums: TypeAlias = NDArray[np.uint16]

BLOCK = 8
"""Pixels of a block's side; of a plane of colour, which has half of them, 4."""

BLOCK_SHARE = 8
"""A block's mean may differ by the tolerance divided by this."""

BAND = 128
"""Lines that are compared at once: what they need stays in the processor's cache, which makes it 1.5 times as fast."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A part of a picture, prepared to be compared with the same part of others."""

    box: Box
    """In px of the picture."""
    planes: tuple[Plane, ...] = field(repr=False)
    """Brightness, blue, red; those of colour with half of the pixels in both directions."""
    sums: tuple[Sums, ...] = field(repr=False)
    """Of the pixels of each whole block, from the upper left."""


def sight(frame: Frame, box: Box) -> Sight:
    """Prepare the part of a frame that is in ``box``, px of its whole picture."""
    left, top, right, bottom = box
    luma, *colours = frame.planes()
    half = slice(top // 2, -(-bottom // 2)), slice(left // 2, -(-right // 2))
    planes = luma[top:bottom, left:right], *(plane[half] for plane in colours)
    return Sight(
        box, planes, tuple(_sums(plane, BLOCK // 2 if number else BLOCK) for number, plane in enumerate(planes))
    )


def changed(before: Sight, after: Sight, tolerance: float) -> Box | None:
    """The box, px of the picture, around all that differs between two sights of the same part; ``None``: nothing."""
    left, top, right, bottom = after.box
    found: Box | None = None
    for number in range(len(after.planes)):
        scale, side = (2, BLOCK // 2) if number else (1, BLOCK)
        origin = left // scale * scale, top // scale * scale  # a pixel of colour may begin before the part does
        pixels = _box_of_pixels(before.planes[number], after.planes[number], tolerance)
        blocks = _box_of_blocks(before.sums[number], after.sums[number], tolerance, side)
        for box, size in ((pixels, scale), (blocks, BLOCK)):
            if box is not None:
                found = _joined(found, _placed(box, size, origin))
    if found is None:
        return None
    return max(found[0], left), max(found[1], top), min(found[2], right), min(found[3], bottom)


def _sums(plane: Plane, side: int) -> Sums:
    """Of each whole block of ``side`` x ``side`` pixels: at most 64 x 255, which 16 bits hold."""
    height, width = plane.shape[0] // side * side, plane.shape[1] // side * side
    lines: Sums = plane[0:height:side, :width].astype(np.uint16)
    for line in range(1, side):
        lines += plane[line:height:side, :width]
    sums: Sums = lines[:, 0::side].copy()
    for column in range(1, side):
        sums += lines[:, column::side]
    return sums


def _differences(before: Plane, after: Plane) -> Iterator[tuple[int, Plane]]:
    """The first line of each band, and how far its pixels differ."""
    for top in range(0, len(after), BAND):
        one, other = before[top : top + BAND], after[top : top + BAND]
        difference = np.maximum(one, other)
        difference -= np.minimum(one, other)
        yield top, difference


def _box_of_pixels(before: Plane, after: Plane, tolerance: float) -> Box | None:
    box = None
    for top, difference in _differences(before, after):
        if difference.max() > tolerance:
            box = _joined(box, _box_of(difference > tolerance, top))
    return box


def _box_of_blocks(before: Sums, after: Sums, tolerance: float, side: int) -> Box | None:
    if not after.size:
        return None
    difference = np.maximum(before, after) - np.minimum(before, after)
    most = tolerance / BLOCK_SHARE * side * side
    return _box_of(difference > most, 0) if difference.max() > most else None


def _box_of(mask: NDArray[np.bool_], top: int) -> Box:
    """Around what is true, of which there is some."""
    lines, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), top + int(lines[0]), int(columns[-1]) + 1, top + int(lines[-1]) + 1


def _joined(one: Box | None, other: Box) -> Box:
    if one is None:
        return other
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _placed(box: Box, size: int, origin: tuple[int, int]) -> Box:
    left, top, right, bottom = (edge * size for edge in box)
    return origin[0] + left, origin[1] + top, origin[0] + right, origin[1] + bottom
