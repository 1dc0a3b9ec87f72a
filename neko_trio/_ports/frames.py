"""The frame slot: the newest picture and those who look at it, between the decoder's thread and trio.

::

    peer's receiver ── plug ──▶ FrameSlot ◀── put ── decoder's thread
                                 │  ▲
              look / rest ◀──────┘  └── wait (the newest), subscribe (every one) ── readers, trio

Nobody looks: the source keeps its frames encoded. One look decodes for all readers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import trio

from neko_trio.errors import NekoError

if TYPE_CHECKING:
    from neko_trio.media.frames import Frame


class FrameSource(Protocol):
    """The current peer's encoded pictures. Any thread; never blocks; never calls the slot back from within."""

    def look(self, *, every: bool = False, after: float = -math.inf) -> int:
        """Somebody looks: decode what waits and what comes, until :meth:`rest`. Replaces an earlier ``look``.

        ``every``: each frame is wanted; else a keyframe makes the waiting frames before it useless. ``after``: a frame
        that arrived at or before this ``perf_counter`` second is decoded only if a later one needs it. Returns the
        number of the newest complete frame, 0 for none: one with this number, or a later one, will be ``put``.
        """
        ...

    def rest(self) -> None:
        """Nobody looks any more: what waits and what comes stays encoded."""
        ...


class _Waiter:
    __slots__ = ("after", "event", "least", "number")

    def __init__(self, least: int, after: float) -> None:
        self.least = self.number = least  # the first number that is new to it; that it waits for
        self.after = after
        self.event = trio.Event()

    def takes(self, frame: Frame) -> bool:
        return frame.number >= self.number and frame.arrived > self.after


class FrameSlot:
    """The newest frame, its readers and its source. It exists before any track does and outlives every peer.

    ``put`` overwrites; whoever waits for the newest skips and is never behind; whoever wants every frame has a buffer
    of its own. However many frames come while trio is busy, trio is woken once, and not at all while nobody waits.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        """``clock`` is that of ``Frame.arrived``, in seconds."""
        self._clock = clock
        self._token = trio.lowlevel.current_trio_token()
        self._lock = Lock()  # held for microseconds; taken before a source's own
        self._newest: Frame | None = None
        self._seen = True
        self._source: FrameSource | None = None
        self._waiters: list[_Waiter] = []
        self._buffers: list[EveryFrame] = []
        self._looking = 0
        self._told: tuple[bool, float] | None = None  # the source's newest orders
        self._failure: Callable[[], NekoError] | None = None
        self.wanted = False
        """Whether somebody waits now, or a reader of every frame is open. Trio thread."""
        self.on_wanted: Callable[[bool], None] | None = None
        """Told of each change of :attr:`wanted`, on the trio thread, at once. Must not raise."""
        self.waiting: Callable[[trio.Event], Awaitable[None]] = trio.Event.wait
        """Each wait for a picture, on the trio thread: returns when the event is set, may raise when it is not."""
        self.put_total = 0
        """Frames put so far."""
        self.age_total = 0.0
        """Sum of their ages at that moment, seconds."""
        self.unseen_total = 0
        """Frames overwritten before any reader took them."""

    @property
    def newest(self) -> Frame | None:
        """The newest decoded frame, or ``None`` before the first. Any thread."""
        return self._newest

    # -- the peer's side

    def plug(self, source: FrameSource) -> None:
        """Take frames from ``source`` now, in place of an earlier one. Any thread."""
        with self._lock:
            if self._source is not None and self._source is not source:
                self._source.rest()
            self._source, self._told = source, None
            self._tell_changes()

    def unplug(self, source: FrameSource) -> None:
        """No more frames of ``source``; nothing happens unless it is the current one. Any thread.

        A wait for one that it still had to decode is content with the newest there is.
        """
        with self._lock:
            if self._source is not source:
                return
            self._source = None
            for waiter in self._waiters:
                waiter.number = waiter.least
            wake = self._newest is not None and self._somebody_takes(self._newest)
        if wake:
            self._wake_soon()

    def put(self, frame: Frame) -> None:
        """A frame has been decoded. Any thread; never blocks on trio. One that is older than the newest is ignored."""
        with self._lock:
            if self._newest is not None and frame.number <= self._newest.number:
                return
            self.put_total += 1
            self.age_total += self._clock() - frame.arrived
            if not self._seen:
                self.unseen_total += 1
            self._newest, self._seen = frame, False
            wake = self._somebody_takes(frame)
            for buffer in self._buffers:
                if buffer.offer(frame):
                    self._seen = wake = True
        if wake:
            self._wake_soon()

    def _somebody_takes(self, frame: Frame) -> bool:
        return any(waiter.takes(frame) for waiter in self._waiters)

    def _wake_soon(self) -> None:
        try:
            self._token.run_sync_soon(self._wake, idempotent=True)
        except trio.RunFinishedError:
            return  # the run that waited is over: nobody is left to wake

    def _wake(self) -> None:
        frame = self._newest
        for waiter in self._waiters:
            if self._failure is not None or (frame is not None and waiter.takes(frame)):
                waiter.event.set()
        for buffer in self._buffers:
            buffer.wake(ended=self._failure is not None)

    def _tell_source(self) -> int:
        """With the lock held: what the readers want now. The number of the newest complete frame, 0 for none."""
        if self._source is None:
            return 0
        self._told = self._wishes()
        if self._told is None:
            self._source.rest()
            return 0
        every, after = self._told
        return self._source.look(every=every, after=after)

    def _wishes(self) -> tuple[bool, float] | None:
        """The arguments of ``look``, or ``None`` for ``rest``."""
        if self._buffers or self._looking:
            return bool(self._buffers), -math.inf
        if self._waiters:
            return False, min(waiter.after for waiter in self._waiters)
        return None

    def _tell_changes(self) -> None:
        """With the lock held: tell the source unless it knows."""
        if self._wishes() != self._told:
            self._tell_source()

    # -- the readers' side, on the trio thread

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait, now and later, with a fresh ``failure()``. The first failure stays."""
        if self._failure is None:
            self._failure = failure
            self._wake()

    def check(self) -> None:
        """Raise the failure, if there is one."""
        if self._failure is not None:
            raise self._failure()

    async def wait(self, newer_than: int = 0, *, arrived_after: float = -math.inf) -> Frame:
        """Return the newest frame as of now, or a later one: what is complete is decoded first. A checkpoint.

        Its number is above ``newer_than``, and its last packet came after ``arrived_after`` (``perf_counter``
        seconds); waits for such a one if need be. Cancelling is safe. Raises the slot's failure when the session ends
        first.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.check()
        waiter = _Waiter(newer_than + 1, arrived_after)
        with self._lock:  # the check and the entry into the list are one step for put()
            self._waiters.append(waiter)
            waiter.number = max(waiter.least, self._tell_source())
            frame = self._take(waiter)
            if frame is not None:
                self._waiters.remove(waiter)
                self._tell_changes()
        if frame is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return self._newest or frame  # one that came meanwhile is wanted no less
        self._note_wanted()
        try:
            await self.waiting(waiter.event)
        finally:
            with self._lock:
                self._waiters.remove(waiter)
                self._tell_changes()
            self._note_wanted()
        with self._lock:
            frame = self._take(waiter)
        if frame is None:
            assert self._failure is not None
            raise self._failure()
        return frame

    def _take(self, waiter: _Waiter) -> Frame | None:
        """With the lock held: the newest frame, if it is what the waiter waits for."""
        frame = self._newest
        if frame is None or not waiter.takes(frame):
            return None
        self._seen = True
        return frame

    def hold(self) -> None:
        """Somebody looks again in a moment: decoding goes on between his waits, until :meth:`release`.

        Is not :attr:`wanted`.
        """
        with self._lock:
            self._looking += 1
            self._tell_changes()

    def release(self) -> None:
        """The end of one :meth:`hold`."""
        with self._lock:
            self._looking -= 1
            self._tell_changes()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """:meth:`hold` for the block."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    @contextmanager
    def subscribe(self, limit: int, *, interval: float = 0.0, arrived_after: float = -math.inf) -> Iterator[EveryFrame]:
        """Keep every frame for one reader, from the newest complete one as of now: up to ``limit``, then the oldest go.

        ``interval``: seconds of arrival between two that are kept, on average. ``arrived_after``: only frames whose
        last packet came after this ``perf_counter`` second.
        """
        buffer = EveryFrame(self, self._lock, limit, interval, arrived_after)
        with self._lock:
            self._buffers.append(buffer)
            buffer.least = self._tell_source()
            if self._newest is not None and buffer.offer(self._newest):
                self._seen = True
        self._note_wanted()
        try:
            yield buffer
        finally:
            with self._lock:
                self._buffers.remove(buffer)
                self._tell_changes()
            self._note_wanted()

    def _note_wanted(self) -> None:
        wanted = bool(self._waiters or self._buffers)
        if wanted != self.wanted:
            self.wanted = wanted
            if self.on_wanted is not None:
                self.on_wanted(wanted)


class EveryFrame:
    """One reader's buffer, filled on the decoder's thread: a busy trio thread loses none below the bound."""

    def __init__(self, slot: FrameSlot, lock: Lock, limit: int, interval: float, after: float) -> None:
        self._slot, self._lock = slot, lock
        self._kept: deque[Frame] = deque()
        self._limit, self._interval, self._after = limit, interval, after
        self._due = -math.inf
        self._more = trio.Event()
        self.least = 0
        """Number of the first frame to keep."""
        self.dropped = 0
        """Frames dropped because more than the limit waited."""

    def offer(self, frame: Frame) -> bool:
        """Whether this reader keeps the frame. Any thread, with the slot's lock held."""
        if frame.number < self.least or frame.arrived <= self._after or frame.arrived < self._due:
            return False
        # On average: a frame that comes late does not put off those after it, and a pause is not made up for.
        self._due = max(self._due, frame.arrived - self._interval / 2) + self._interval
        if len(self._kept) >= self._limit:
            self._kept.popleft()
            self.dropped += 1
        self._kept.append(frame)
        return True

    def wake(self, *, ended: bool) -> None:
        """Let a waiting :meth:`take` look again. Trio thread."""
        if self._kept or ended:
            self._more.set()

    async def take(self) -> Frame:
        """The oldest frame kept, waiting for one if need be. A checkpoint; cancelling loses nothing.

        Raises the slot's failure when the session has ended and all that was kept has been taken.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            with self._lock:
                frame = self._kept.popleft() if self._kept else None
                self._more = trio.Event() if self._more.is_set() else self._more
            if frame is not None:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return frame
            self._slot.check()
            await self._slot.waiting(self._more)
