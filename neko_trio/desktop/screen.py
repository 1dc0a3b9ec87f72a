"""Seeing the desktop."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol, SupportsIndex

from neko_trio._ports.frames import FrameSlot
from neko_trio.desktop.cursor import Cursor, CursorPort
from neko_trio.desktop.frame_readers import Frames, every_frame, newest_frames
from neko_trio.desktop.looking import Change, Match
from neko_trio.desktop.pixels import Pixel, at_fraction
from neko_trio.desktop.regions import Region
from neko_trio.desktop.screen_calls import ScreenCalls
from neko_trio.desktop.waiting import LIKENESS, NOISE, Changes, Waits
from neko_trio.errors import InvalidInput, VideoOff
from neko_trio.protocol.events import ScreenSize

if TYPE_CHECKING:
    from neko_trio.desktop.waiting import Image
    from neko_trio.media.frames import Frame


class VideoControl(Protocol):
    """The owner of the video at the server: ``_video_switch.VideoSwitch``."""

    paused: bool
    clock: Callable[[], float]

    def new_from(self) -> float:
        """From which arrival on a picture counts as new, if one is asked for now."""
        ...

    async def fresh(self, newer_than: int) -> Frame:
        """A picture captured after all input before had reached the desktop, numbered above ``newer_than``."""
        ...

    def picture(self) -> AbstractContextManager[None]:
        """Have the video on for the block, paused or not."""
        ...

    async def answers(self) -> bool:
        """Whether the server's media answer."""
        ...

    async def pause(self) -> None: ...
    async def resume(self) -> None: ...
    async def select(self, stream: str) -> None: ...
    def neighbour(self, step: int) -> str: ...


class Screen:
    """The pictures of one session. All waits end with ``SessionLost`` or ``SessionClosed`` when the session does.

    Who waits for a picture is told when none comes for 6.5 s although the video is on and the connection is well:
    :class:`~neko_trio.errors.VideoStalled`, or, in a room that has become private,
    :class:`~neko_trio.errors.NotAllowed`. Neither ends anything: ask again, and the next picture comes when it comes.
    While the connection is away, and made anew, everything here but the REST calls waits for it, however long that is.
    """

    def __init__(
        self,
        slot: FrameSlot,
        video: VideoControl | None,
        *,
        streams: Callable[[], tuple[str, ...]],
        session: object,
        cursor: CursorPort,
        calls: ScreenCalls,
    ) -> None:
        """``session`` is what the frames' context names, compared by identity."""
        self._slot, self._switch, self._streams, self._session = slot, video, streams, session
        self._cursor, self._calls = cursor, calls
        self._waits = Waits(slot, lambda: self._video, lambda: calls.size, session)

    # -- pictures

    async def frame(self, *, newer_than: Frame | None = None, fresh: bool = False, cursor: bool = False) -> Frame:
        """The newest frame, waiting for the first; with ``newer_than``, the newest of those that came after it.

        On demand it is a new picture, unless the newest is younger than the linger time. While paused it is the newest
        that there is (one is taken if there is none), and ``newer_than`` waits for :meth:`resume`.

        ``fresh``: a frame that was captured after all input sent before had reached the desktop (not: after a program
        has redrawn). That costs the barrier's round trip and, while the video runs, the time that frames spend on their
        way (50 ms, or a new start of the server's pipeline where it does not keep up); it works while paused, too.
        While others watch, the pipeline cannot be started for this: after a pause of this session's video, a frame
        that took more than 0.1 s to come may then be a little too old.

        ``cursor``: with the pointer painted on it, where it is by now, for a server whose video does not show it (by
        default it does); as it is while :attr:`cursor` is ``None``.

        Cancelling is safe. Raises :class:`~neko_trio.errors.VideoOff` in a session opened without video,
        :class:`~neko_trio.errors.InvalidInput` for a frame of another session, with ``fresh`` what
        ``session.flush()`` raises, and with ``cursor`` :class:`~neko_trio.errors.ProtocolViolation` when the server's
        picture of the pointer is none.
        """
        frame = await self._frame(newer_than, fresh)
        laid = await self._cursor.pixels() if cursor else None
        return frame.overlaid(laid[0], *laid[1]) if laid is not None else frame

    async def _frame(self, newer_than: Frame | None, fresh: bool) -> Frame:
        video = self._video
        if newer_than is not None and newer_than.context.session is not self._session:
            raise InvalidInput("newer_than is a frame of another session.")
        number = newer_than.number if newer_than is not None else 0
        if fresh:
            return await video.fresh(number)
        if video.paused and not number and self._slot.newest is None:
            with video.picture():
                return await self._slot.wait()
        return await self._slot.wait(number, arrived_after=video.new_from())

    @asynccontextmanager
    async def frames(self, *, buffer: int | None = None, max_rate: float | None = None) -> AsyncIterator[Frames]:
        """Iterate over frames, from the newest one there is (on demand: from a new one).

        Without ``buffer`` a slow reader skips and is never behind: each step gives the newest frame, or waits for it.
        With ``buffer`` every frame is kept for it, up to that many, and the oldest dropped (and counted in
        ``dropped``); on demand the video is on for the whole block then. ``max_rate`` in frames per second is the most
        that are given. Several readers share one decoding. While paused it waits.

        Raises :class:`~neko_trio.errors.VideoOff` and, for options out of range,
        :class:`~neko_trio.errors.InvalidInput`.
        """
        video = self._video
        if max_rate is not None and not (max_rate > 0 and math.isfinite(max_rate)):
            raise InvalidInput(f"max_rate is a positive number of frames per second, not {max_rate!r}.")
        if buffer is None:
            with newest_frames(self._slot, max_rate, arrived_after=video.new_from) as newest:
                yield newest
            return
        if isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 1:
            raise InvalidInput(f"buffer is a positive number of frames, not {buffer!r}.")
        with every_frame(self._slot, buffer, max_rate, arrived_after=video.new_from()) as every:
            yield every

    # -- waiting for what it shows

    async def wait_change(
        self, region: Region | None = None, *, since: Frame | None = None, tolerance: float = NOISE
    ) -> Change:
        """Wait until something looks different; return what, and the frame that shows it.

        ::

            before = await session.screen.frame()
            await session.mouse.click(640, 360)
            change = await session.screen.wait_change(since=before)
            await change.frame.crop(change.frame_box).save("what.png")

        ``region``: (left, top, right, bottom), pixels of the screen as the mouse has them, right and bottom exclusive;
        ``None`` is all of it. ``since``: the frame that it is compared with, a newer one that differs is the change;
        ``None`` is the newest there is as the call begins. What was cut out of it, or laid over it, is left out of
        account. ``tolerance``: how much a pixel may differ, of 255, in brightness or colour; 8x8 pixels together may
        differ by an eighth of it. By default that is above the noise of the server's codec, and below one character
        typed; less than about 30 makes noise a change, 255 waits for another size of the screen.

        The newest frames are looked at, 0.6 ms each at 720p and 1.2 ms at 1080p in a worker thread: what comes and goes
        between two of them is not seen. Another size of the screen or of the stream is a change of all. While paused it
        waits for :meth:`resume`. There is no time limit but the caller's own: ``trio.fail_after``. Cancelling is safe.

        Raises :class:`~neko_trio.errors.InvalidInput` for a region that is not on the screen, now or after it became
        smaller, and for a frame of another session; :class:`~neko_trio.errors.VideoOff`; and what :meth:`frame` raises
        when no picture comes.
        """
        return await self._waits.change(region, since, tolerance)

    async def wait_stable(self, region: Region | None = None, *, for_: float = 0.3, tolerance: float = NOISE) -> Frame:
        """Wait until nothing has looked different for ``for_`` seconds; return the frame that shows it.

        ``for_`` counts from this call on, by the frames' arrival: a frame must come so long after the last one that
        looked different, or the first one, and all in between look the same. A screen that sends no frames is still as
        well: none for ``for_``, and for half a second at least, will do. Right after a click that may be before a slow
        program has begun: :meth:`wait_change` first. See there for ``region`` and ``tolerance``, and what is raised,
        but for :class:`~neko_trio.errors.VideoStalled`: that is silence.
        """
        return await self._waits.stable(region, for_, tolerance)

    async def wait_match(self, image: Image, region: Region | None = None, *, tolerance: float = LIKENESS) -> Match:
        """Wait until a picture is to be seen on the screen; return where it is most like it.

        ::

            match = await session.screen.wait_match("button.png")
            await session.mouse.click(*match.center)

        ``image``: what it looks like at full size, an array, shape (height, width, 3), (height, width) or, opaque,
        (height, width, 4), uint8 RGB; a file's path; or a frame, as a rule cut out by ``crop``, of any size. In a
        stream that is smaller than the screen it is looked for as much smaller, and found less surely.
        ``tolerance``: the most that the pixels may differ, root mean square of all values, 0 to 255. By default that
        is above what the codec does to a picture from elsewhere; 0 asks for equal pixels.

        Searching 720p takes a worker thread some 20 to 70 ms, and less afterwards: only what has changed is searched
        again. Cancelling is safe, and ends that early.

        Raises :class:`~neko_trio.errors.InvalidInput` for what is no picture, or larger than the region, ``OSError``
        for a file that cannot be read, and what :meth:`wait_change` raises, see there for ``region``, too.
        """
        return await self._waits.match(image, region, tolerance)

    def watch(self, region: Region | None = None, *, tolerance: float = NOISE) -> AbstractAsyncContextManager[Changes]:
        """Iterate over changes, from how it looks when the block is entered.

        ::

            async with session.screen.watch((0, 0, 400, 30)) as changes:
                async for change in changes: ...

        Each is what differs, in the newest frame, from how it looked at the change before. Nothing is kept for a slow
        reader: for it several changes are one, and what has gone by since is none. See :meth:`wait_change`.
        """
        return self._waits.watch(region, tolerance)

    # -- where and what

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the screen in px, as the server last said; ``session.state.screen`` has the rate, too."""
        return self._calls.size.width, self._calls.size.height

    async def set_size(self, width: SupportsIndex, height: SupportsIndex, rate: SupportsIndex) -> ScreenSize:
        """Change the size of the screen, in px, and its rate in Hz, for everybody; return it when the server has told.

        Admins only: :class:`~neko_trio.errors.NotAllowed` at once for others. Raises
        :class:`~neko_trio.errors.InvalidInput` for a width that is no multiple of 8 (the server would take the next
        smaller one), and for a size that X refuses, after which everybody's pictures have stood still for a moment all
        the same. Pictures of the new size come some 100 ms later; with an odd height none may come, if the server's
        encoder wants it even (x264enc, seen). Cancelled, the size may change all the same.
        """
        return await self._calls.set_size(width, height, rate)

    async def sizes(self) -> tuple[ScreenSize, ...]:
        """The sizes that X has ready: ``width``, ``height`` in px, ``rate`` in Hz. It may take others, too.

        Admins only: :class:`~neko_trio.errors.NotAllowed` at once for others.
        """
        return await self._calls.sizes()

    async def screenshot(self, *, quality: SupportsIndex = 90) -> bytes:
        """A JPEG file of the screen as it is now, taken by the server, also in a session without video.

        ``quality`` is 1 to 100. Admins only: :class:`~neko_trio.errors.NotAllowed` at once for others.
        :class:`~neko_trio.errors.InvalidInput` for another quality.
        """
        return await self._calls.screenshot(quality)

    async def cast(self) -> bytes:
        """A JPEG file of the server's screencast, which is a tenth of a second old; for everybody who may watch.

        Raises :class:`~neko_trio.errors.FeatureOff` at once when the server has it off, which is the default, and
        :class:`~neko_trio.errors.NotAllowed` in private mode, unless the server has another picture to show then.
        """
        return await self._calls.cast()

    @property
    def cursor(self) -> Cursor | None:
        """The pointer: where it is and what it looks like; ``None`` until both are known.

        The server tells them over the data channel, so never with ``video="off"`` and no sound.
        """
        return self._cursor.now

    def at(self, x: float, y: float) -> Pixel:
        """The pixel at a part of the screen's width and height: ``mouse.click(*screen.at(0.5, 0.25))``.

        (0, 0) is the upper left pixel, (1, 1) the lower right one. Of the pixels of a picture, which may be a part of
        the screen, or smaller, it is ``frame.to_screen`` and ``frame.at``. Raises
        :class:`~neko_trio.errors.InvalidInput` for what is not between 0 and 1.
        """
        return at_fraction(x, y, self._cursor.screen)

    # -- what the server sends

    @property
    def streams(self) -> tuple[str, ...]:
        """Ids of the server's video streams, the best first. A frame says in ``stream`` which one it belongs to."""
        return self._streams()

    async def select(self, stream: str) -> None:
        """Have the server send another of its :attr:`streams`; return when it has confirmed it.

        The pictures stand still for two round trips and the start of the other pipeline, and go on in their new size;
        later peers of the session begin with it. Of several calls at once the last one counts. Cancelled, the stream
        may change all the same.

        Raises :class:`~neko_trio.errors.InvalidInput` at once for a stream that the server does not have,
        :class:`~neko_trio.errors.VideoStalled` when it does not confirm it in five seconds though it answers otherwise,
        and :class:`~neko_trio.errors.VideoOff`.
        """
        video = self._video
        if stream not in self._streams():
            raise InvalidInput(
                f"The server has no stream {stream!r}; it has {', '.join(map(repr, self._streams())) or 'none'}."
            )
        await video.select(stream)

    async def quality_up(self) -> str:
        """:meth:`select` the stream before the current one in :attr:`streams`; return its id.

        Raises :class:`~neko_trio.errors.InvalidInput` at once when this is the best.
        """
        return await self._step(-1)

    async def quality_down(self) -> str:
        """:meth:`select` the stream behind the current one in :attr:`streams`; return its id.

        Raises :class:`~neko_trio.errors.InvalidInput` at once when this is the least.
        """
        return await self._step(1)

    async def _step(self, step: int) -> str:
        video = self._video
        stream = video.neighbour(step)
        await video.select(stream)
        return stream

    @property
    def paused(self) -> bool:
        """Whether the video is paused."""
        return self._video.paused

    async def pause(self) -> None:
        """Have the server send nothing until :meth:`resume`; return when it has confirmed it.

        :meth:`frame` gives the newest picture that there is; what waits for another one waits. ``frame(fresh=True)``
        takes one, and a picture that somebody waits for in this way at the moment is still taken. Again is a no-op.
        Cancelled, the video is paused all the same.
        """
        await self._video.pause()

    async def resume(self) -> None:
        """End the pause; return when the server has confirmed it. Cancelled, the video is resumed all the same."""
        await self._video.resume()

    @property
    def _video(self) -> VideoControl:
        if self._switch is None:
            raise VideoOff("This session was opened without video.", hint='Open it with video="live" or "on_demand".')
        return self._switch
