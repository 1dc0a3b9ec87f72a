"""A picture as video encoders want it: YUV 4:2:0 planes, limited range, in one buffer.

The matrix is the real server's, whose GStreamer takes BT.709 above 576 lines and BT.601 up to there; its VP8 cannot say
which (seen: its 720p VP8 holds the same values as its H264, which is tagged BT.709).
"""

from __future__ import annotations

from typing import TypeAlias

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

__all__ = ["Bytes2D", "Picture"]

SD_LINES = 576
"""Lines up to which a picture is BT.601."""

Bytes2D: TypeAlias = NDArray[np.uint8]


class Picture:
    """Three planes of one buffer: ``y`` (height, width), ``u`` and ``v`` (height / 2, width / 2), all uint8, writable.

    Both sides are even, as 4:2:0 wants; anything else is a ``ValueError``. ``buffer`` is the (height * 3 / 2, width)
    array that encoders take without a copy. A new picture is black.
    """

    __slots__ = ("buffer", "height", "u", "v", "width", "y")

    def __init__(self, width: int, height: int) -> None:
        if width <= 0 or height <= 0 or width % 2 or height % 2:
            raise ValueError(f"a 4:2:0 picture has two even sides, not {width}x{height}")
        self.width, self.height = width, height
        self.buffer: Bytes2D = np.empty((height * 3 // 2, width), np.uint8)
        flat = self.buffer.reshape(-1)
        luma, chroma = width * height, width * height // 4
        self.y = flat[:luma].reshape(height, width)
        self.u = flat[luma : luma + chroma].reshape(height // 2, width // 2)
        self.v = flat[luma + chroma :].reshape(height // 2, width // 2)
        self.y[:] = 16
        self.u[:] = 128
        self.v[:] = 128

    @property
    def matrix(self) -> Colorspace:
        """Which matrix makes RGB of it."""
        return _matrix(self.height)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height

    def copy_from(self, other: Picture) -> None:
        """Overwrite every pixel with ``other``, which has the same size."""
        np.copyto(self.buffer, other.buffer)

    def paste_rgb(self, rgb: Bytes2D, x: int, y: int) -> None:
        """Draw an (h, w, 3) uint8 RGB array with its upper left corner at the even place (x, y); all inside."""
        height, width = rgb.shape[:2]
        if x % 2 or y % 2 or x < 0 or y < 0 or x + width > self.width or y + height > self.height:
            raise ValueError(f"{width}x{height} does not fit at {x},{y} in {self.width}x{self.height}")
        part = self._from_frame(_rgb_frame(rgb), (width, height), self.matrix)
        self.y[y : y + height, x : x + width] = part.y
        self.u[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2] = part.u
        self.v[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2] = part.v

    def fill(self, x: int, y: int, width: int, height: int, yuv: tuple[int, int, int]) -> None:
        """Fill a rectangle of even place and size; what lies outside is cut off."""
        x1, y1 = min(x + width, self.width), min(y + height, self.height)
        x, y = max(x, 0), max(y, 0)
        if x < x1 and y < y1:
            self.y[y:y1, x:x1] = yuv[0]
            self.u[y // 2 : (y1 + 1) // 2, x // 2 : (x1 + 1) // 2] = yuv[1]
            self.v[y // 2 : (y1 + 1) // 2, x // 2 : (x1 + 1) // 2] = yuv[2]

    def fill_chroma(self, x: int, y: int, width: int, height: int) -> None:
        """Take the colour out of a rectangle of even place and size that lies inside."""
        self.u[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2] = 128
        self.v[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2] = 128

    @classmethod
    def from_rgb(cls, rgb: Bytes2D, size: tuple[int, int] | None = None) -> Picture:
        """Convert an (h, w, 3) uint8 RGB array, scaling it to ``size`` (width, height) when given."""
        width, height = size or (rgb.shape[1], rgb.shape[0])
        return cls._from_frame(_rgb_frame(rgb), (width, height), _matrix(height))

    def scaled(self, size: tuple[int, int]) -> Picture:
        """A new picture of another ``size`` (width, height)."""
        return self._from_frame(self.to_frame(), size, _matrix(size[1]))

    @classmethod
    def _from_frame(cls, frame: av.VideoFrame, size: tuple[int, int], matrix: Colorspace) -> Picture:
        picture = cls(*size)
        frame = VideoReformatter().reformat(
            frame,
            width=size[0],
            height=size[1],
            format="yuv420p",
            dst_colorspace=matrix,
            interpolation="FAST_BILINEAR",
        )
        for plane, target in zip(frame.planes, (picture.y, picture.u, picture.v), strict=True):
            lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)  # lines are padded
            target[:] = lines[: target.shape[0], : target.shape[1]]
        return picture

    def to_frame(self) -> av.VideoFrame:
        """A frame for PyAV that may share this picture's memory: done with before the picture changes again."""
        # PyAV 18 takes a buffer of other heights for one that is two lines shorter.
        make = av.VideoFrame.from_ndarray if self.height % 4 else av.VideoFrame.from_numpy_buffer
        frame = make(self.buffer, format="yuv420p")
        frame.colorspace = self.matrix
        return frame

    def to_rgb(self) -> Bytes2D:
        """An (h, w, 3) uint8 RGB array of its own."""
        frame = VideoReformatter().reformat(self.to_frame(), format="rgb24")
        return frame.to_ndarray().astype(np.uint8, copy=False)


def _matrix(height: int) -> Colorspace:
    return Colorspace.ITU601 if height <= SD_LINES else Colorspace.ITU709


def _rgb_frame(rgb: Bytes2D) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
