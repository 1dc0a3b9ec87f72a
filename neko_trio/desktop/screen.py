"""Seeing the desktop."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from neko_trio._ports.frames import FrameSlot
from neko_trio.desktop.cursor import Cursor, CursorPort
from neko_trio.desktop.frame_readers import Frames, every_frame, newest_frames
from neko_trio.desktop.pixels import Pixel, at_fraction
from neko_trio.errors import InvalidInput, VideoOff

if TYPE_CHECKING:
    from neko_trio.media.frames import Frame


class VideoControl(Protocol):
    """The owner of the video at the server: ``_video_switch.VideoSwitch``."""

    paused: bool

    def new_from(self) -> float:
        """From which arrival on a picture counts as new, if one is asked for now."""
        ...

    async def fresh(self, newer_than: int) -> Frame:
        """A picture captured after all input before had reached the desktop, numbered above ``newer_than``."""
        ...

    def picture(self) -> AbstractContextManager[None]:
        """Have the video on for the block, paused or not."""
        ...

    async def pause(self) -> None: ...
    async def resume(self) -> None: ...
    async def select(self, stream: str) -> None: ...
    def neighbour(self, step: int) -> str: ...


class Screen:
    """The pictures of one session. All waits end with ``SessionLost`` or ``SessionClosed`` when the session does.

    Who waits for a picture is told when none comes for five seconds although the video is on:
    :class:`~neko_trio.errors.VideoStalled`, or, in a room that has become private,
    :class:`~neko_trio.errors.NotAllowed`. Neither ends anything: ask again, and the next picture comes when it comes.
    """

    def __init__(
        self,
        slot: FrameSlot,
        video: VideoControl | None,
        *,
        streams: Callable[[], tuple[str, ...]],
        session: object,
        cursor: CursorPort,
    ) -> None:
        """``session`` is what the frames' context names, compared by identity."""
        self._slot, self._switch, self._streams, self._session = slot, video, streams, session
        self._cursor = cursor

    # -- pictures

    async def frame(self, *, newer_than: Frame | None = None, fresh: bool = False, cursor: bool = False) -> Frame:
        """The newest frame, waiting for the first; with ``newer_than``, the newest of those that came after it.

        On demand it is a new picture, unless the newest is younger than the linger time. While paused it is the newest
        that there is (one is taken if there is none), and ``newer_than`` waits for :meth:`resume`.

        ``fresh``: a frame that was captured after all input sent before had reached the desktop (not: after a program
        has redrawn). That costs the barrier's round trip and, while the video runs, the time that frames spend on their
        way (50 ms, or a new start of the server's pipeline where it does not keep up); it works while paused, too.

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

    # -- where and what

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
        :class:`~neko_trio.errors.VideoStalled` when it does not confirm it in five seconds, and
        :class:`~neko_trio.errors.VideoOff`.
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
