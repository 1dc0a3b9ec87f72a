"""A picture to look for, as a caller has it: an array, a frame or a file. Synchronous, any thread."""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neko_trio.desktop.regions import Extent
from neko_trio.desktop.searching import Colours, Template
from neko_trio.errors import InvalidInput

if TYPE_CHECKING:
    from neko_trio.media.frames import Frame

LARGEST = 16_384
"""Pixels of a side: more than any screen has."""

MOST_BYTES = 64 * 1024 * 1024
"""Of a file."""


class Wanted:
    """A picture to look for, and how large its pixels are on the screen."""

    def __init__(self, colours: Colours, scale: tuple[float, float] = (1.0, 1.0)) -> None:
        """``scale``: its pixels by the screen's, in both directions."""
        self._colours, self._scale = colours, scale
        self._made: tuple[Extent, Template] | None = None

    @property
    def size(self) -> Extent:
        """(width, height) in px of the screen."""
        height, width = self._colours.shape[:2]
        return round(width / self._scale[0]), round(height / self._scale[1])

    def template(self, screen: Extent, picture: Extent) -> Template:
        """As it looks in pictures of that size; made anew only when that changes."""
        height, width = self._colours.shape[:2]
        size = (
            max(1, round(width / self._scale[0] * picture[0] / screen[0])),
            max(1, round(height / self._scale[1] * picture[1] / screen[1])),
        )
        if self._made is None or self._made[0] != size:
            colours = self._colours
            if size != (width, height):
                colours = np.asarray(Image.fromarray(colours).resize(size, Image.Resampling.BOX))
            self._made = size, Template(colours)
        return self._made[1]


def wanted(image: NDArray[np.uint8] | Frame | str | os.PathLike[str]) -> Wanted:
    """Read it.

    Raises :class:`~neko_trio.errors.InvalidInput` for what is no such picture, and ``OSError`` for a file that cannot
    be read.
    """
    if isinstance(image, str | os.PathLike):
        return Wanted(_from_file(image))
    if isinstance(image, np.ndarray):
        return Wanted(_from_array(image))
    if not hasattr(image, "to_ndarray"):
        raise InvalidInput(f"A picture to look for is an array, a path or a frame, not {type(image).__name__}.")
    return Wanted(image.to_ndarray(), image.scale)


def _from_file(path: str | os.PathLike[str]) -> Colours:
    if not stat.S_ISREG(os.stat(path).st_mode):  # before opening: that of a pipe would wait for its other end
        raise InvalidInput(f"{os.fspath(path)!r} is no regular file.")
    with open(path, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise InvalidInput(f"{os.fspath(path)!r} is larger than {MOST_BYTES} bytes.")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if max(image.size) > LARGEST:
                raise InvalidInput(f"A picture to look for has at most {LARGEST} pixels a side, not {image.size}.")
            return _from_array(np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")))
    except InvalidInput:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError):
        raise InvalidInput(f"{os.fspath(path)!r} is no picture file.") from None


def _from_array(pixels: NDArray[np.uint8]) -> Colours:
    if pixels.dtype != np.uint8 or not pixels.size or max(pixels.shape) > LARGEST:
        raise InvalidInput(f"A picture to look for is uint8 with some pixels, not {pixels.dtype} {pixels.shape}.")
    match pixels.shape:
        case (_, _):
            return np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
        case (_, _, 3):
            return np.ascontiguousarray(pixels)
        case (_, _, 4):
            if (pixels[:, :, 3] != 255).any():
                raise InvalidInput("A picture to look for has no transparent pixels.", hint="Cut a box without any.")
            return np.ascontiguousarray(pixels[:, :, :3])
        case _:
            raise InvalidInput(f"A picture to look for is (height, width, 3), not {pixels.shape}.")
