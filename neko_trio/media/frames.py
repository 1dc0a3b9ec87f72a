"""The picture that callers get: what was seen, when, and its pixels in the form that is asked for.

A :class:`Frame` is immutable and may be used from any thread, several at once, also after its session has ended.
``av.VideoFrame``'s own converters share a cached reformatter, and two threads using one crash the process; hence one
``VideoReformatter`` per call here, on a picture whose transfer and primaries tags have been cleared, because a
reformatter clears and restores them in place while it works.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from time import perf_counter
from typing import TypeAlias, cast

import av
import numpy as np
import trio
from av.video.plane import VideoPlane
from av.video.reformatter import ColorPrimaries, ColorTrc, VideoReformatter
from numpy.typing import NDArray

from neko_trio.errors import InvalidInput
from neko_trio.media.overlay import Overlay
from neko_trio.media.picture_files import encode_jpeg, encode_png

Pixels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FrameContext:
    """What the session knew when the picture's last packet had come."""

    session: object
    """Stands for the session, compared by identity. Not the session itself: a frame must not keep it alive."""
    epoch: int
    """Which peer of the session, counted from 1."""
    screen_size: tuple[int, int]
    """(width, height) of the desktop in px, as last announced: pictures of a new size may come before that."""
    stream: str | None
    """Id of the video stream (``signal/video``), ``None`` before the server named it."""


@dataclass(frozen=True, slots=True)
class _Crop:
    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top

    def apply(self, picture: av.VideoFrame) -> av.VideoFrame:
        part = _to_rgb(picture)[self.top : self.bottom, self.left : self.right]
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(part), format="rgb24")

    def origin(self, x: float, y: float, before: tuple[int, int]) -> tuple[float, float]:
        return x + self.left, y + self.top


@dataclass(frozen=True, slots=True)
class _Scale:
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def apply(self, picture: av.VideoFrame) -> av.VideoFrame:
        # In the picture's own format: scaling YUV and converting the small picture is 2 to 3 times faster than RGB.
        return VideoReformatter().reformat(picture, self.width, self.height, interpolation="AREA", threads=1)

    def origin(self, x: float, y: float, before: tuple[int, int]) -> tuple[float, float]:
        return x * before[0] / self.width, y * before[1] / self.height


@dataclass(frozen=True, slots=True)
class _Laid:
    """Something laid over the picture, whose size it does not change."""

    overlay: Overlay
    size: tuple[int, int]

    def apply(self, picture: av.VideoFrame) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(self.overlay.over(_to_rgb(picture)), format="rgb24")

    def origin(self, x: float, y: float, before: tuple[int, int]) -> tuple[float, float]:
        return x, y


_PLANAR = frozenset({"yuv420p", "yuvj420p"})
"""Pixel formats that are what :meth:`Frame.planes` gives."""


def _plane(plane: VideoPlane) -> Pixels:
    memory = np.frombuffer(cast(memoryview, plane), np.uint8)  # PyAV's types do not say that it is a buffer
    rows = memory.reshape(-1, plane.line_size)[: plane.height, : plane.width]
    rows.flags.writeable = False
    return rows


def _to_rgb(picture: av.VideoFrame) -> Pixels:
    """The picture's pixels; they may be the picture's own memory if it is RGB already."""
    converted = VideoReformatter().reformat(picture, format="rgb24", threads=1)
    return cast(Pixels, converted.to_ndarray())


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Frame:
    """One decoded picture of the desktop. Immutable; any thread; outlives its session. Compared by identity."""

    number: int
    """Counts the session's complete frames, upwards from 1, those included that nobody looked at and that were never
    decoded. Never restarts."""
    arrived: float
    """When its last packet arrived, in seconds of ``time.perf_counter``."""
    context: FrameContext
    """What the session knew when it arrived; its parts are ``epoch``, ``screen_size`` and ``stream``."""
    _picture: av.VideoFrame
    _steps: tuple[_Crop | _Scale | _Laid, ...] = ()
    latency: float = 0.0
    """Seconds from its capture to its arrival, estimated from above: how long ago the server had been told to send when
    the first frame came, and how much later than the promptest of the last ten seconds this one did."""
    key_arrived: float | None = None
    """When the keyframe arrived that it is built on, in seconds of ``time.perf_counter``; ``None`` when that is
    unknown."""

    def __post_init__(self) -> None:
        self._picture.color_trc = ColorTrc.UNSPECIFIED
        self._picture.color_primaries = ColorPrimaries.UNSPECIFIED

    @property
    def epoch(self) -> int:
        """Which peer of the session it came from, counted from 1."""
        return self.context.epoch

    @property
    def screen_size(self) -> tuple[int, int]:
        """(width, height) of the desktop in px when this arrived: the coordinates of input, unlike ``size``."""
        return self.context.screen_size

    @property
    def stream(self) -> str | None:
        """Id of the video stream it belongs to, ``None`` before the server named it."""
        return self.context.stream

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of this picture in px."""
        return self._steps[-1].size if self._steps else (self._picture.width, self._picture.height)

    @property
    def picture_size(self) -> tuple[int, int]:
        """(width, height) in px of the picture as it came, whatever was cut out of it or made smaller since."""
        return self._picture.width, self._picture.height

    @property
    def scale(self) -> tuple[float, float]:
        """How many of its pixels are as wide, and as high, as one of the screen's: 1 unless it is smaller."""
        (left, top), (right, bottom) = self._in_screen(0, 0), self._in_screen(*self.size)
        return self.size[0] / (right - left), self.size[1] / (bottom - top)

    def age(self) -> float:
        """Seconds since its last packet arrived."""
        return perf_counter() - self.arrived

    def crop(self, box: tuple[int, int, int, int]) -> Frame:
        """The part inside ``box``, (left, top, right, bottom) in px of this frame, right and bottom exclusive.

        Lazy: nothing is computed until pixels are asked for. Raises :class:`~neko_trio.errors.InvalidInput` for a box
        that is empty or reaches outside.
        """
        width, height = self.size
        left, top, right, bottom = box
        if not all(isinstance(edge, int) for edge in box):
            raise InvalidInput(f"A box is four whole numbers of pixels, not {box!r}.")
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise InvalidInput(
                f"The box {box!r} is empty or not inside the frame, which is {width}x{height}.",
                hint="A box is (left, top, right, bottom).",
            )
        return replace(self, _steps=(*self._steps, _Crop(left, top, right, bottom)))

    def scaled(self, *, max_edge: int) -> Frame:
        """This picture made smaller, so that neither edge exceeds ``max_edge`` px; never larger. Keeps proportions.

        Lazy: nothing is computed until pixels are asked for. Raises :class:`~neko_trio.errors.InvalidInput` for a
        ``max_edge`` below 1.
        """
        if not isinstance(max_edge, int) or max_edge < 1:
            raise InvalidInput(f"max_edge is a positive whole number of pixels, not {max_edge!r}.")
        width, height = self.size
        longer = max(width, height)
        if longer <= max_edge:
            return self
        new = max(1, round(width * max_edge / longer)), max(1, round(height * max_edge / longer))
        return replace(self, _steps=(*self._steps, _Scale(*new)))

    def overlaid(self, rgba: Pixels, x: int, y: int) -> Frame:
        """This picture with another one laid over it, such as the pointer.

        ``rgba``: shape (height, width, 4), uint8, RGB and straight alpha; its upper left corner comes to the pixel
        (x, y) of the screen, and may be outside. Lazy, as :meth:`crop` is: nothing is computed until pixels are asked
        for. Raises :class:`~neko_trio.errors.InvalidInput` for pixels of another shape or type.
        """
        if rgba.ndim != 3 or rgba.shape[2] != 4 or rgba.dtype != np.uint8 or not rgba.size:
            raise InvalidInput(f"An overlay is (height, width, 4) uint8, not {rgba.shape} {rgba.dtype}.")
        if not (isinstance(x, int) and isinstance(y, int)):
            raise InvalidInput(f"The place of an overlay is two whole numbers of pixels, not ({x!r}, {y!r}).")
        laid = _Laid(Overlay(rgba, x, y, self.screen_size), (self._picture.width, self._picture.height))
        # Before all cutting and scaling, because it goes by the screen; but above what was laid on it before.
        below = sum(1 for step in self._steps if isinstance(step, _Laid))
        return replace(self, _steps=(*self._steps[:below], laid, *self._steps[below:]))

    def to_screen(self, x: float, y: float) -> tuple[int, int]:
        """Where on the desktop the pixel (x, y) of this picture is: what ``mouse.click`` wants.

        Undoes ``crop``, ``scaled`` and a stream that is not as large as the screen. Raises
        :class:`~neko_trio.errors.InvalidInput` for a point outside this picture.
        """
        width, height = self.size
        if not (0 <= x < width and 0 <= y < height):
            raise InvalidInput(f"({x}, {y}) is not inside the frame, which is {width}x{height}.")
        # The pixel's middle: scaling up again must not drift to the upper left.
        across, down = self._in_screen(x + 0.5, y + 0.5)
        return int(across), int(down)

    def _in_screen(self, x: float, y: float) -> tuple[float, float]:
        full = self.picture_size
        sizes = [full, *(step.size for step in self._steps)]
        for step, before in zip(reversed(self._steps), reversed(sizes[:-1]), strict=True):
            x, y = step.origin(x, y, before)
        screen = self.screen_size
        return x * screen[0] / full[0], y * screen[1] / full[1]

    def at(self, x: float, y: float) -> tuple[int, int]:
        """Where on the desktop a part of this picture's width and height is, (0, 0) to (1, 1).

        As ``session.screen.at`` does for the whole screen. Raises :class:`~neko_trio.errors.InvalidInput` for what is
        not between 0 and 1.
        """
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise InvalidInput(f"A part of a picture is a number from 0 to 1, not ({x!r}, {y!r}).")
        width, height = self.size
        return self.to_screen(min(int(x * width), width - 1), min(int(y * height), height - 1))

    def to_ndarray(self) -> Pixels:
        """The pixels: shape (height, width, 3), uint8, RGB; a new array that is yours. Synchronous, any thread.

        About 0.3 ms for 720p and 0.6 ms for 1080p, the GIL released for nearly all of it.
        """
        picture = self._picture
        for step in self._steps:
            picture = step.apply(picture)
        rgb = _to_rgb(picture)  # views memory of a picture that nobody else has, unless no conversion was needed
        return rgb.copy() if picture.format.name == "rgb24" else np.ascontiguousarray(rgb)

    def planes(self) -> tuple[Pixels, Pixels, Pixels]:
        """The picture as it came, as a video codec has it: brightness, and what blue and red are above it.

        Three arrays, uint8, read-only: (height, width), and two of half of both, rounded up. For comparing pictures:
        they are views of the decoder's memory, and nothing is computed (0.01 ms; 0.5 ms for a picture that is not 4:2:0
        YUV). What was cut out, scaled or laid over it is left out of account. Synchronous, any thread.
        """
        picture = self._picture
        if picture.format.name not in _PLANAR:
            picture = VideoReformatter().reformat(picture, format="yuv420p", threads=1)
        luma, blue, red = (_plane(plane) for plane in picture.planes)
        return luma, blue, red

    async def jpeg(self, *, quality: int = 85) -> bytes:
        """A JPEG file of this picture, encoded in a worker thread. ``quality`` is 1 to 100.

        Raises :class:`~neko_trio.errors.InvalidInput` for another quality. Cancelling waits for the encoder (some ms).
        """
        return await trio.to_thread.run_sync(lambda: encode_jpeg(self.to_ndarray(), quality))

    async def png(self) -> bytes:
        """A PNG file of this picture, lossless, encoded in a worker thread. Cancelling waits for the encoder."""
        return await trio.to_thread.run_sync(lambda: encode_png(self.to_ndarray()))

    async def save(self, path: str | PathLike[str]) -> None:
        """Write a picture file, in a worker thread; the suffix (``.png``, ``.jpg``, ``.jpeg``) says which kind.

        Raises :class:`~neko_trio.errors.InvalidInput` for another suffix, and :class:`OSError` when the file cannot be
        written. Cancelling waits until the file is whole.
        """
        file = Path(fspath(path))
        kind = file.suffix.lower()
        if kind not in (".png", ".jpg", ".jpeg"):
            raise InvalidInput(f"A frame is saved as .png, .jpg or .jpeg, not as {file.name!r}.")

        def write() -> None:
            pixels = self.to_ndarray()
            file.write_bytes(encode_png(pixels) if kind == ".png" else encode_jpeg(pixels, 85))

        await trio.to_thread.run_sync(write)

    def __repr__(self) -> str:
        width, height = self.size
        return f"<Frame {self.number} of epoch {self.epoch}, {width}x{height}, {self.age() * 1000:.0f} ms old>"


def frame_from_rgb(rgb: Pixels, *, number: int, context: FrameContext, arrived: float | None = None) -> Frame:
    """A frame made of pixels, shape (height, width, 3), uint8: for peers that have no decoder, such as tests' ones.

    ``arrived`` is in seconds of ``time.perf_counter``; now, if left out. The pixels are copied.
    """
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    at = perf_counter() if arrived is None else arrived
    return Frame(number, at, context, picture, key_arrived=at)
