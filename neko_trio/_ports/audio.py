"""The sound port: blocks of the desktop's sound, put by the asyncio thread, read by any number of trio tasks.

It exists before any peer does and outlives them; nobody puts anything while nobody listens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import trio

from neko_trio.errors import NekoError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class AudioBlock:
    """A piece of the desktop's sound, as a rule the 20 ms of one packet. Immutable; any thread; outlives its session.

    In the blocks of one iteration from which none was dropped, each begins where the one before it ends, plus its own
    ``lost``: ``position == before.position + len(before.samples) + lost``.
    """

    samples: NDArray[np.int16]
    """Shape (samples, channels), int16, full scale ±32767. Shared by all readers, hence read-only: ``copy()`` it."""
    rate: int
    """Samples per second and channel: 48,000 with Opus."""
    number: int
    """Counts the session's blocks, upwards from 1. Never restarts."""
    position: int
    """Where it begins, in samples per channel since the session's first block. Time while nobody listened, or while no
    peer was connected, does not count."""
    arrived: float
    """When its packet arrived, in seconds of ``time.perf_counter``; of a concealed block: when its loss was found."""
    lost: int
    """Samples per channel between the block before and this one that are in no block: lost, and too many to conceal,
    or never sent. 0 in the first block after nobody had listened, and of each peer."""
    concealed: bool
    """Whether its packet was lost, and these samples are made up to bridge the gap."""
    epoch: int
    """Which peer of the session it came from, counted from 1."""

    @property
    def duration(self) -> float:
        """Its length in seconds."""
        return len(self.samples) / self.rate

    def __repr__(self) -> str:
        length, channels = self.samples.shape
        made_up = ", concealed" if self.concealed else ""
        return f"<AudioBlock {self.number} at {self.position}: {length} samples x {channels}, {self.rate} Hz{made_up}>"


class AudioBlocks:
    """An async iterator of :class:`AudioBlock`, in order. The oldest blocks are dropped when its reader is slow."""

    def __init__(self, limit: int, lock: Lock) -> None:
        """``lock`` is the port's, under which blocks are offered."""
        self._limit = limit
        self._lock = lock
        self._waiting: deque[AudioBlock] = deque()
        self._asleep = 0  # tasks that wait for one
        self._fresh = trio.Event()
        self._failure: Callable[[], NekoError] | None = None
        self._closed = False
        self.dropped = 0
        """Blocks dropped from the buffer because the reader was slow."""

    def _offer(self, block: AudioBlock) -> bool:
        """Whether there was room for it. Any thread, under the port's lock."""
        full = len(self._waiting) >= self._limit
        if full:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(block)
        return not full

    def _wake(self) -> None:
        """Wake every task that iterates, be it one or several."""
        self._fresh.set()
        self._fresh = trio.Event()

    def _fail(self, failure: Callable[[], NekoError]) -> None:
        self._failure = failure
        self._wake()

    def _close(self) -> None:
        self._closed = True
        self._wake()

    def __aiter__(self) -> AsyncIterator[AudioBlock]:
        return self

    async def __anext__(self) -> AudioBlock:
        """The next block. A checkpoint; cancelling loses nothing.

        What was buffered is delivered first; then the end of the session is raised, ``SessionLost`` or
        ``SessionClosed``. Ends with the block that opened it.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise StopAsyncIteration
            with self._lock:  # the look and the falling asleep are one step for the port's put()
                if self._waiting:
                    return self._waiting.popleft()
                if self._failure is not None:
                    raise self._failure()
                self._asleep += 1
            try:
                await self._fresh.wait()
            finally:
                with self._lock:
                    self._asleep -= 1


class AudioPort:
    """Hands each block to everybody who listens. Trio thread, unless a method says otherwise."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._lock = Lock()
        self._readers: tuple[AudioBlocks, ...] = ()
        self._failure: Callable[[], NekoError] | None = None
        self._end = 0  # position behind the last block
        self._changed = trio.Event()  # ``wanted`` has
        self._packet = trio.Event()
        self._packet_expected = False
        self.spell = 0
        """How often listening has begun, after nobody did. Any thread reads it."""
        self.blocks_total = 0
        """Blocks put so far: the number of the last one."""
        self.dropped_total = 0
        """Blocks that slow readers did not get; of several readers' the sum."""

    @property
    def wanted(self) -> bool:
        """Whether somebody listens. Any thread."""
        return bool(self._readers)

    async def wait_wanted(self, wanted: bool) -> None:
        """Wait until somebody listens, or until nobody does. A checkpoint; cancelling is safe."""
        await trio.lowlevel.checkpoint()
        while self.wanted is not wanted:
            await self._changed.wait()

    def expect_packet(self) -> trio.Event:
        """An event that is set when the next packet comes from the server, be it heard or not."""
        self._packet, self._packet_expected = trio.Event(), True
        return self._packet

    def note_packet(self) -> None:
        """A packet came. Any thread; costs nothing while none is expected."""
        if self._packet_expected:
            self._packet_expected = False
            try:
                self._token.run_sync_soon(self._packet.set)
            except trio.RunFinishedError:
                return  # nobody waits for it any more

    def put(
        self, samples: NDArray[np.int16], *, rate: int, arrived: float, lost: int, concealed: bool, epoch: int
    ) -> None:
        """Number a block and hand it out. Any thread; never blocks on trio. ``samples`` become read-only."""
        samples.flags.writeable = False
        with self._lock:
            if not self._readers:
                return
            self.blocks_total += 1
            position = self._end + lost
            self._end = position + len(samples)
            block = AudioBlock(samples, rate, self.blocks_total, position, arrived, lost, concealed, epoch)
            for reader in self._readers:
                self.dropped_total += not reader._offer(block)
            wake = any(reader._asleep for reader in self._readers)
        if wake:
            try:
                self._token.run_sync_soon(self._wake, idempotent=True)
            except trio.RunFinishedError:
                return  # nobody is left to read it

    def _wake(self) -> None:
        for reader in self._readers:
            reader._wake()

    @contextmanager
    def subscribe(self, limit: int) -> Iterator[AudioBlocks]:
        """Listen; at most ``limit`` blocks wait for this reader."""
        reader = AudioBlocks(limit, self._lock)
        if self._failure is not None:
            reader._fail(self._failure)
        self._set_readers((*self._readers, reader))
        try:
            yield reader
        finally:
            self._set_readers(tuple(other for other in self._readers if other is not reader))
            reader._close()

    def _set_readers(self, readers: tuple[AudioBlocks, ...]) -> None:
        before = self.wanted
        with self._lock:
            self.spell += bool(readers) and not before
            self._readers = readers
        if self.wanted is not before:
            self._changed.set()
            self._changed = trio.Event()

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every iteration, now and later, with a fresh ``failure()`` behind what is still buffered."""
        if self._failure is None:
            self._failure = failure
            for reader in self._readers:
                reader._fail(failure)
