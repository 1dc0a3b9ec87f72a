"""Waiting until something shows on the screen, or until nothing changes any more.

Each wait is a reader of the newest frames, as ``screen.frames()`` is: it skips what it has no time for, is never
behind, keeps nothing, and ends when the session does. Pixels are looked at in worker threads, two at a time for a
session; a cancelled wait ends when the thread has put down the picture it is at, some milliseconds later.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import trio

from neko_trio._ports.frames import FrameSlot
from neko_trio.desktop.frame_readers import NewestFrames, newest_frames
from neko_trio.desktop.looking import Change, Check, Match, Reference, Search
from neko_trio.desktop.pixels import Size, seconds
from neko_trio.desktop.regions import Box, Region, checked_region
from neko_trio.errors import InvalidInput, VideoStalled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from neko_trio.desktop.templates import Wanted
    from neko_trio.media.frames import Frame

    Image: TypeAlias = NDArray[np.uint8] | Frame | str | os.PathLike[str]

T = TypeVar("T")

NOISE = 60.0
"""By how much, of 255, a pixel may differ without having changed; see ``comparing``."""

LIKENESS = 20.0
"""By how much, of 255, the pixels of a picture that is looked for may differ from those found, root mean square.

Between a lossless picture and the video of real servers (VP8 and H264, coloured text, from 16x16 to 200x60 pixels) it
was up to 12, as a rule 2; between one piece of text and the one most like it elsewhere 28 to 56."""

SILENCE = 0.5
"""Seconds without any frame after which the screen counts as still. Longer than the repair of a lost packet takes."""

LONGEST = 3600.0
"""Seconds for which a screen may be asked to be still."""

THREADS = 2
"""Worker threads of a session that look at pixels."""

AT_ONCE = 256 * 256
"""Pixels that are compared in a tenth of a millisecond, so not worth a thread."""


class Video(Protocol):
    """What is known of the video: ``_video_switch.VideoSwitch``."""

    paused: bool
    clock: Callable[[], float]

    def new_from(self) -> float:
        """From which arrival on a picture counts as new, if one is asked for now."""
        ...

    async def answers(self) -> bool:
        """Whether the server's media answer."""
        ...


class Waits:
    """The waits of one session's screen; ``Screen`` has the documentation. Trio thread."""

    def __init__(
        self, slot: FrameSlot, video: Callable[[], Video], screen: Callable[[], Size], session: object
    ) -> None:
        """``video`` raises in a session without."""
        self._slot, self._video, self._screen, self._session = slot, video, screen, session
        self._threads = trio.CapacityLimiter(THREADS)

    async def change(self, region: Region | None, since: Frame | None, tolerance: float) -> Change:
        """See ``Screen.wait_change``."""
        reference = self._reference(region, tolerance)
        if since is not None and since.context.session is not self._session:
            raise InvalidInput("since is a frame of another session.")
        with self._frames() as frames:
            first = since if since is not None else await anext(frames)
            await self._look(reference.advance, first, reference.region)
            async for frame in frames:
                if frame.number > first.number:
                    change = await self._look(reference.advance, frame, reference.region)
                    if change is not None:
                        return change
        raise AssertionError("frames end by raising")

    async def stable(self, region: Region | None, for_: float, tolerance: float) -> Frame:
        """See ``Screen.wait_stable``."""
        reference, began = self._reference(region, tolerance), self._video().clock()
        quiet = seconds(for_, "for_", LONGEST)
        with self._frames() as frames:
            frame = await anext(frames)
            still_since = max(began, frame.arrived)
            await self._look(reference.advance, frame, reference.region)
            while frame.arrived < still_since + quiet:
                newer = await self._newer(frames, max(quiet, SILENCE))
                if newer is None:
                    return frame
                frame = newer
                if await self._look(reference.advance, frame, reference.region) is not None:
                    still_since = frame.arrived
        return frame

    async def _newer(self, frames: NewestFrames, quiet: float) -> Frame | None:
        """The next frame; ``None`` when none comes for so many seconds, unless the video is paused.

        A connection that is dead is silent, too: so it is asked first, and while it is made anew nothing is known.
        """
        began = trio.current_time()
        while True:
            left = math.inf if self._video().paused else began + quiet - trio.current_time()
            if left <= 0:
                if await self._video().answers():
                    return None
                left = math.inf
            with trio.move_on_after(left), suppress(VideoStalled):  # that is silence, and no more than that
                return await anext(frames)

    async def match(self, image: Image, region: Region | None, tolerance: float) -> Match:
        """See ``Screen.wait_match``."""
        self._video()
        box, most = checked_region(region, self._screen()), _checked(tolerance)
        search = Search(await self._run(lambda _check: _read(image), math.inf), box, most)
        with self._frames() as frames:
            async for frame in frames:
                match = await self._look(search.match, frame, box)
                if match is not None:
                    return match
        raise AssertionError("frames end by raising")

    @asynccontextmanager
    async def watch(self, region: Region | None, tolerance: float) -> AsyncIterator[Changes]:
        """See ``Screen.watch``."""
        reference = self._reference(region, tolerance)
        with self._frames() as frames:
            await self._look(reference.advance, await anext(frames), reference.region)
            changes = Changes(frames, lambda frame: self._look(reference.advance, frame, reference.region))
            try:
                yield changes
            finally:
                changes.close()

    def _reference(self, region: Region | None, tolerance: float) -> Reference:
        """Checks what the caller gave; raises in a session without video."""
        self._video()
        return Reference(checked_region(region, self._screen()), _checked(tolerance))

    def _frames(self) -> AbstractContextManager[NewestFrames]:
        return newest_frames(self._slot, arrived_after=self._video().new_from)

    async def _look(self, look: Callable[[Frame, Check], T], frame: Frame, region: Box | None) -> T:
        left, top, right, bottom = region or (0, 0, *frame.picture_size)
        return await self._run(lambda check: look(frame, check), (right - left) * (bottom - top))

    async def _run(self, work: Callable[[Check], T], pixels: float) -> T:
        """Do it in a worker thread, which ends before this does.

        Here, if that is no work, or under a mock clock that jumps: such a clock does not wait for threads.
        """
        if pixels <= AT_ONCE or getattr(trio.lowlevel.current_clock(), "autojump_threshold", math.inf) < math.inf:
            await trio.lowlevel.checkpoint()
            return work(lambda: None)
        return await trio.to_thread.run_sync(work, trio.from_thread.check_cancelled, limiter=self._threads)


class Changes:
    """An async iterator of changes. Ends when its block does."""

    def __init__(self, frames: NewestFrames, look: Callable[[Frame], Awaitable[Change | None]]) -> None:
        self._frames, self._look = frames, look

    def __aiter__(self) -> AsyncIterator[Change]:
        return self

    async def __anext__(self) -> Change:
        """What is different now from the change before; waits while nothing is. A checkpoint.

        Cancelling loses at most the change that was being looked at. Raises ``SessionLost`` or ``SessionClosed``.
        """
        while True:
            frame = await anext(self._frames)  # ends with the block
            change = await self._look(frame)
            if change is not None:
                return change

    def close(self) -> None:
        """End the iteration."""
        self._frames.close()


def _read(image: Image) -> Wanted:
    from neko_trio.desktop.templates import wanted

    return wanted(image)


def _checked(tolerance: float) -> float:
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0 <= tolerance <= 255:
        raise InvalidInput(f"tolerance is a number from 0 to 255, not {tolerance!r}.")
    return float(tolerance)
