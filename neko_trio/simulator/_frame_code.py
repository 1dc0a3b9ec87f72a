"""The code in every frame: its number and the time it was drawn, for machines to read back from the picture.

24 x 4 cells of 8 x 8 pixels in the upper left corner, black for 0 and white for 1, read row by row, most significant
bit first: u32 number, u48 microseconds of ``time.monotonic()`` (one clock for every process of a Linux machine), and
the CRC-16/CCITT of both. Cells are this large and read by the mean of their middle, so that they survive VP8 and H.264
at low bit rates, and 4:2:0.
"""

from __future__ import annotations

import binascii
import struct
from dataclasses import dataclass

import numpy as np

from neko_trio.simulator._picture import Bytes2D

__all__ = ["FRAME_CODE_SIZE", "FrameCode", "draw_frame_code", "read_frame_code"]

_CELL = 8
_COLUMNS, _ROWS = 24, 4
FRAME_CODE_SIZE = (_COLUMNS * _CELL, _ROWS * _CELL)
"""(width, height) of the code in pixels."""

_DATA = struct.Struct(">IQ")


@dataclass(frozen=True, slots=True)
class FrameCode:
    """What one frame says of itself. ``number`` is taken modulo 2**32, ``micros`` modulo 2**48."""

    number: int
    """Which picture of its desktop this is; counts up by one with each."""
    micros: int
    """``time.monotonic()`` at drawing, microseconds."""

    @property
    def seconds(self) -> float:
        """The time of drawing on ``time.monotonic()``'s clock."""
        return self.micros / 1_000_000

    @classmethod
    def of(cls, number: int, seconds: float) -> FrameCode:
        """The code of picture ``number`` drawn at ``seconds`` of ``time.monotonic()``."""
        return cls(number & 0xFFFFFFFF, round(seconds * 1_000_000) & 0xFFFF_FFFF_FFFF)


def draw_frame_code(pixels: Bytes2D, code: FrameCode, *, black: int = 16, white: int = 235) -> None:
    """Draw ``code`` into the upper left corner of ``pixels``, in place.

    ``pixels`` is a luma plane (height, width), where limited range makes black 16 and white 235 (the defaults), or an
    RGB array (height, width, 3), to be given 0 and 255. ``ValueError`` when it is smaller than `FRAME_CODE_SIZE`.
    """
    width, height = FRAME_CODE_SIZE
    if pixels.shape[0] < height or pixels.shape[1] < width:
        raise ValueError(f"a frame code needs {width}x{height} pixels")
    data = _DATA.pack(code.number, code.micros)
    data = data[:4] + data[6:]
    data += binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "big")
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).reshape(_ROWS, _COLUMNS)
    cells = np.where(bits, np.uint8(white), np.uint8(black)).repeat(_CELL, axis=0).repeat(_CELL, axis=1)
    pixels[:height, :width] = cells if pixels.ndim == 2 else cells[:, :, None]


def read_frame_code(pixels: Bytes2D) -> FrameCode | None:
    """The code of a decoded frame, or ``None`` when there is none or it is damaged (its checksum does not agree).

    ``pixels`` is an RGB array (height, width, 3) as `Frame.to_ndarray()` returns it, or a luma plane, uint8, unscaled.
    """
    width, height = FRAME_CODE_SIZE
    if pixels.ndim not in (2, 3) or pixels.shape[0] < height or pixels.shape[1] < width:
        return None
    corner = pixels[:height, :width].astype(np.float32)
    if corner.ndim == 3:
        corner = corner[:, :, :3].mean(axis=2)
    cells = corner.reshape(_ROWS, _CELL, _COLUMNS, _CELL)[:, 2:-2, :, 2:-2].mean(axis=(1, 3))
    data = np.packbits(cells > 127.5).tobytes()
    if binascii.crc_hqx(data[:10], 0xFFFF) != int.from_bytes(data[10:], "big"):
        return None
    number, micros = _DATA.unpack(data[:4] + b"\0\0" + data[4:10])
    return FrameCode(number, micros)
