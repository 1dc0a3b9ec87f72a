"""Readers of the same frames, each with a policy of its own: the newest, or every one; all share one decode."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from neko_trio._ports.frames import EveryFrame, FrameSlot

if TYPE_CHECKING:
    from neko_trio.media.frames import Frame


class Frames(ABC):
    """An async iterator of frames. Ends when its block does."""

    _closed = False

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """The next frame. A checkpoint; cancelling loses nothing. Raises ``SessionLost`` or ``SessionClosed``."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            raise StopAsyncIteration
        return await self._take()

    @property
    @abstractmethod
    def dropped(self) -> int:
        """Frames dropped from the buffer because the reader was slow; always 0 without a buffer."""

    @abstractmethod
    async def _take(self) -> Frame: ...

    def close(self) -> None:
        """End the iteration."""
        self._closed = True


class NewestFrames(Frames):
    """At each step the newest frame, if it is new to this reader, else the next one: skips, is never behind.

    With ``max_rate`` frames per second, nothing is decoded for it before its time has come. Without, decoding goes on
    while the reader is busy with a frame, so that the next one is ready for it; but not for a reader that needs longer
    than :attr:`PAUSE` for a frame.
    """

    PAUSE = 0.25
    """Seconds between two steps from which on nothing is decoded in between."""

    def __init__(self, slot: FrameSlot, max_rate: float | None, *, arrived_after: Callable[[], float] | None = None):
        """``arrived_after``, asked at each step: only frames whose last packet came after (``perf_counter``)."""
        self._slot = slot
        self._interval = 1 / max_rate if max_rate is not None else 0.0
        self._arrived_after = arrived_after
        self._next_at = self._given_at = -math.inf
        self._last = 0
        self._holding = False

    @property
    def dropped(self) -> int:
        return 0

    async def _take(self) -> Frame:
        if self._next_at > trio.current_time():
            await trio.sleep_until(self._next_at)
        quick = trio.current_time() - self._given_at < self.PAUSE
        after = self._arrived_after() if self._arrived_after is not None else -math.inf
        if not quick:
            self._release()
        frame = await self._slot.wait(self._last, arrived_after=after)
        if quick and not self._holding and not self._interval and not self._closed:
            self._slot.hold()
            self._holding = True
        self._last = frame.number
        self._given_at = trio.current_time()
        self._next_at = self._given_at + self._interval
        return frame

    def close(self) -> None:
        super().close()
        self._release()

    def _release(self) -> None:
        if self._holding:
            self._holding = False
            self._slot.release()


class EveryFrames(Frames):
    """Every frame in order, from a bounded buffer that is filled on the decoder's thread."""

    def __init__(self, buffer: EveryFrame) -> None:
        self._buffer = buffer

    @property
    def dropped(self) -> int:
        return self._buffer.dropped

    async def _take(self) -> Frame:
        return await self._buffer.take()


@contextmanager
def newest_frames(
    slot: FrameSlot, max_rate: float | None = None, *, arrived_after: Callable[[], float] | None = None
) -> Iterator[NewestFrames]:
    """A reader of the newest frames for a block. Trio thread."""
    frames = NewestFrames(slot, max_rate, arrived_after=arrived_after)
    try:
        yield frames
    finally:
        frames.close()


@contextmanager
def every_frame(
    slot: FrameSlot, limit: int, max_rate: float | None = None, *, arrived_after: float = -math.inf
) -> Iterator[EveryFrames]:
    """A reader of every frame for a block, ``limit`` of which wait for it; of ``max_rate`` a second. Trio thread."""
    interval = 1 / max_rate if max_rate is not None else 0.0
    with slot.subscribe(limit, interval=interval, arrived_after=arrived_after) as buffer:
        frames = EveryFrames(buffer)
        try:
            yield frames
        finally:
            frames.close()
