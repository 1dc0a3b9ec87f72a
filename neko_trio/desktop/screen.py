"""Seeing the desktop."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import outcome
import trio

from neko_trio._ports.frames import FrameSlot
from neko_trio.errors import InvalidInput, NekoError, VideoOff

if TYPE_CHECKING:
    from neko_trio.media.frames import Frame


class Screen:
    """The pictures of one session. All waits end with ``SessionLost`` or ``SessionClosed`` when the session does."""

    def __init__(self, slot: FrameSlot, *, video: bool, session: object) -> None:
        """``session`` is what the frames' context names, compared by identity."""
        self._slot = slot
        self._video = video
        self._session = session

    async def frame(self, *, newer_than: Frame | None = None) -> Frame:
        """The newest frame, waiting for the first; with ``newer_than``, the newest of those that came after it.

        Cancelling is safe. Raises :class:`~neko_trio.errors.VideoOff` in a session opened without video, and
        :class:`~neko_trio.errors.InvalidInput` for a frame of another session.
        """
        self._check_video()
        if newer_than is not None and newer_than.context.session is not self._session:
            raise InvalidInput("newer_than is a frame of another session.")
        return await self._slot.wait(newer_than.number if newer_than is not None else 0)

    @asynccontextmanager
    async def frames(self, *, buffer: int | None = None, max_rate: float | None = None) -> AsyncIterator[Frames]:
        """Iterate over frames, from the newest one there is.

        Without ``buffer`` a slow reader skips and is never behind: each step gives the newest frame, or waits for it.
        With ``buffer`` up to that many frames are kept for it and the oldest dropped (and counted in ``dropped``);
        frames that came faster than this thread could look are skipped there too. ``max_rate`` in frames per second
        is the most that are given. Raises :class:`~neko_trio.errors.VideoOff` and, for options out of range,
        :class:`~neko_trio.errors.InvalidInput`.
        """
        self._check_video()
        if max_rate is not None and not (max_rate > 0 and math.isfinite(max_rate)):
            raise InvalidInput(f"max_rate is a positive number of frames per second, not {max_rate!r}.")
        if buffer is None:
            frames = Frames(self._slot, max_rate)
            try:
                yield frames
            finally:
                frames.close()
            return
        if isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 1:
            raise InvalidInput(f"buffer is a positive number of frames, not {buffer!r}.")
        kept = BufferedFrames(self._slot, max_rate, buffer)
        body: outcome.Outcome[None] = outcome.Value(None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept.fill)
            try:
                yield kept
            except BaseException as error:  # noqa: BLE001, ASYNC103 - raised again below, outside the nursery
                body = outcome.Error(error)
            finally:
                kept.close()
                nursery.cancel_scope.cancel()
        body.unwrap()

    def _check_video(self) -> None:
        if not self._video:
            raise VideoOff("This session was opened without video.", hint='Open it with video="live".')


class Frames:
    """An async iterator of frames: the newest at each step. Ends when its block does."""

    def __init__(self, slot: FrameSlot, max_rate: float | None) -> None:
        self._slot = slot
        self._interval = 1 / max_rate if max_rate is not None else 0.0
        self._next_at = -math.inf
        self._last = 0
        self._closed = False
        self.dropped = 0
        """Frames dropped from the buffer because the reader was slow; always 0 without a buffer."""

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """The next frame. A checkpoint; cancelling loses nothing. Raises ``SessionLost`` or ``SessionClosed``."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            raise StopAsyncIteration
        if self._next_at > trio.current_time():
            await trio.sleep_until(self._next_at)
        frame = await self._take()
        self._next_at = trio.current_time() + self._interval
        return frame

    async def _take(self) -> Frame:
        frame = await self._slot.wait(self._last)
        self._last = frame.number
        return frame

    def close(self) -> None:
        """End the iteration."""
        self._closed = True


class BufferedFrames(Frames):
    """Like :class:`Frames`, with the last few frames kept for a slow reader."""

    def __init__(self, slot: FrameSlot, max_rate: float | None, limit: int) -> None:
        super().__init__(slot, max_rate)
        self._limit = limit
        self._kept: deque[Frame] = deque()
        self._more = trio.Event()
        self._failure: NekoError | None = None

    async def fill(self) -> None:
        """Keep what comes, until cancelled or until the session ends."""
        try:
            while True:
                frame = await super()._take()
                if len(self._kept) >= self._limit:
                    self._kept.popleft()
                    self.dropped += 1
                self._kept.append(frame)
                self._more.set()
        except NekoError as error:
            self._failure = error
            self._more.set()

    async def _take(self) -> Frame:
        await trio.lowlevel.checkpoint()
        while not self._kept:
            if self._failure is not None:
                return await self._slot.wait(self._last)  # raises a fresh error
            self._more = trio.Event()
            await self._more.wait()
        return self._kept.popleft()
