"""The microphone port: sound on its way into the desktop, written by trio tasks, taken 20 ms at a time by the sender.

The queue is what holds a writer back; what it holds can be taken back until it is sent. The port knows the peer that
there is now, and that one microphone at a time is open.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Protocol, TypeAlias

import trio

from neko_trio._ports.budget import Budget
from neko_trio.errors import (
    AudioOff,
    FeatureOff,
    InputInDoubt,
    MicrophoneTaken,
    NekoError,
    SessionClosed,
    SessionLost,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples: TypeAlias = NDArray[np.int16]

logger = logging.getLogger("neko_trio.microphone")

PACKETS_PER_SECOND = 50
"""Opus's usual 20 ms."""
GOODBYE_LIMIT = 1.5
"""Seconds that leaving a microphone's block may take beyond the sound: more than the peer's goodbye is given."""
UNREPORTED_LIMIT = 200
"""Packets that are sent without a report of the server's about them: 4 s of sound. It reports every second (pion's
report interceptor) for as long as it takes the track, and stops without a word when another client's microphone takes
this one's place, or when its own pipeline does not start (server/internal/webrtc/manager.go, OnTrack)."""


class Nothing(Enum):
    """What :meth:`SoundQueue.take` returns in a packet's place."""

    YET = "yet"
    """Less than a packet is there, and more may come: ask again 20 ms later, as if no time had passed."""
    ANY_MORE = "any more"
    """All has been taken: ``wake`` is called when there is more."""


class SoundQueue:
    """Sound that waits to be sent, at most ``limit`` samples. Trio thread, unless a method says otherwise."""

    def __init__(self, *, rate: int, limit: int) -> None:
        """``rate``: samples per second, a multiple of 50. ``limit`` is at least one packet's."""
        import numpy as np

        self.rate = rate
        self.packet = rate // PACKETS_PER_SECOND
        """Samples in what ``take`` returns."""
        self.wake: Callable[[], object] = lambda: None
        """Called, on the trio thread, when there is sound again after :attr:`Nothing.ANY_MORE`."""
        self.on_unreported: Callable[[], object] = lambda: None
        """Called, on the trio thread, when too much has been sent without a report: see :meth:`unreported`."""
        self._token = trio.lowlevel.current_trio_token()
        self._lock = Lock()
        self._ring: Samples = np.zeros((limit, 2), np.int16)
        self._start = self._count = 0
        self._idle = True  # the sender has been told that there is nothing
        self._sounding = False  # a packet was taken, and its time is not over
        self._waited = False  # the sender has been asked to wait once already
        self._ending = False  # no more is expected: what is left goes out now
        self.ends = -math.inf
        """When all that was written will have been sent, as far as can be foreseen (trio's clock); ``-inf`` when there
        was nothing, or when it was cut off."""
        self._asleep = 0
        self._news = trio.Event()
        self._failure: Callable[[], NekoError] | None = None
        self._sent = self._received = self._unreported = self._reports = 0

    @property
    def queued(self) -> int:
        """Samples that have not been taken."""
        return self._count

    @property
    def silent(self) -> bool:
        """Nothing waits, and what was taken last is over."""
        return self._count == 0 and not self._sounding

    # -- trio

    async def write(self, samples: Samples) -> None:
        """Add ``samples``, shape (n, 2); wait for room as often as needed. A checkpoint. Raises what failed."""
        await trio.lowlevel.checkpoint()
        while True:
            with self._lock:
                if self._failure is not None:
                    raise self._failure()
                samples = samples[self._append(samples) :]
                starts = self._idle and self._count > 0
                self._idle = self._idle and not starts
            if starts:
                self.wake()
            if not len(samples):
                return
            await self._until(lambda: self._count < len(self._ring))

    def _append(self, samples: Samples) -> int:
        """Put as many into the ring as fit; how many those are. Under the lock."""
        size = len(self._ring)
        taken = min(len(samples), size - self._count)
        end = (self._start + self._count) % size
        first = min(taken, size - end)
        self._ring[end : end + first] = samples[:first]
        self._ring[: taken - first] = samples[first:taken]
        self._count += taken
        self._ending = False
        if taken:
            self.ends = max(self.ends, trio.current_time()) + taken / self.rate
        return taken

    async def wait_silent(self) -> None:
        """Wait until everything written has been sent and its time is over. A checkpoint. Raises what failed."""
        await trio.lowlevel.checkpoint()
        self._ending = True
        await self._until(lambda: self.silent)

    async def wait_received(self) -> None:
        """Wait until the server reports all packets that have been sent, or, where the last of them was lost on the
        way, for its second report from now. Raises what failed."""
        last = self._reports + 2
        await self._until(lambda: self._received >= self._sent or self._reports >= last)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while True:
            with self._lock:  # the look and the falling asleep are one step for the sender's
                if self._failure is not None:
                    raise self._failure()
                if holds():
                    return
                self._asleep += 1
                news = self._news
            try:
                await news.wait()
            finally:
                with self._lock:
                    self._asleep -= 1

    def clear(self) -> None:
        """Forget what has not been taken."""
        with self._lock:
            self._count = 0
            self._ending = True
        self.ends = -math.inf
        self._wake()

    # -- any thread

    def take(self) -> Samples | Nothing:
        """The next packet's samples, shape (packet, 2), the last one filled up with silence. The sender, every 20 ms.

        A queue that has run empty is given 20 ms more, once: a source that is only just in time keeps ahead from then
        on. Behind the last sound comes a packet of silence, for what the encoder and the resampler still hold.
        """
        with self._lock:
            taken = self._next()
            wake = self._asleep > 0
        if wake:
            self._wake_soon()
        return taken

    def _next(self) -> Samples | Nothing:
        import numpy as np

        if self._count < self.packet and not self._waited and not self._ending and not self._idle:
            self._waited = True
            return Nothing.YET
        self._waited = False
        if self._count == 0 and not self._sounding:
            self._idle = True
            return Nothing.ANY_MORE
        taken = min(self._count, self.packet)
        samples = np.zeros((self.packet, 2), np.int16)
        first = min(taken, len(self._ring) - self._start)
        samples[:first] = self._ring[self._start : self._start + first]
        samples[first:taken] = self._ring[: taken - first]
        self._start = (self._start + taken) % len(self._ring)
        self._count -= taken
        self._sounding = taken > 0
        return samples

    def note_sent(self) -> None:
        """A packet has left. When there are too many without a report, :attr:`on_unreported` is called."""
        self._sent += 1
        self._unreported += 1
        if self._unreported == UNREPORTED_LIMIT + 1:
            self._soon(self._note_unreported)

    def note_received(self, packets: int) -> None:
        """The server has reported on the track: so many packets had come when it did."""
        self._unreported = 0
        self._reports += 1
        self._received = max(self._received, packets)
        self._wake_soon()

    def _note_unreported(self) -> None:
        self.on_unreported()

    def unreported(self) -> NekoError | None:
        """What it means, from a server that is well, that it has not reported on what was sent; ``None``: it has."""
        if self._unreported <= UNREPORTED_LIMIT:
            return None
        heard = self._received > 1  # of a track that is refused the server reads one packet, to see what it is
        return _taken() if heard else _refused()

    def restart(self) -> None:
        """Another sender takes what is queued, and what comes, for another track. Not while one is at work."""
        with self._lock:
            self._sounding = self._waited = False
            self._idle = True
            self._sent = self._received = self._unreported = 0
        self.wake = lambda: None
        self._wake_soon()

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait, now and later, with a fresh ``failure()``; what is queued is forgotten. The first stays."""
        with self._lock:
            self._failure, self.ends = self._failure or failure, -math.inf
            self._count = 0
            self._ending = True
        self._wake_soon()

    def _wake_soon(self) -> None:
        self._soon(self._wake)

    def _soon(self, call: Callable[[], object]) -> None:
        try:
            self._token.run_sync_soon(call, idempotent=True)
        except trio.RunFinishedError:
            return  # nobody is left who waits

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()


_LOST = (SessionLost, SessionClosed, InputInDoubt)
"""What a peer's or a link's end is called by those who meet it first."""


def _taken() -> NekoError:
    return MicrophoneTaken(
        "The server has stopped taking this session's sound: another client's microphone has taken its place.",
        hint="A server has one microphone for all its clients; open it again to take it back.",
        step="microphone",
    )


def _refused() -> NekoError:
    return FeatureOff(
        "The server does nothing with the sound that it is sent: its microphone is off, or does not start.",
        hint="Its owner must enable capture.microphone and give it a sound device; its log says what is missing.",
        step="microphone",
    )


@dataclass(frozen=True, slots=True)
class MicrophoneOptions:
    """How the sound is sent."""

    bitrate: int
    """Of the Opus stream, in bits per second."""


class MicrophoneLine(Protocol):
    """A peer's way for sound into the desktop."""

    def open(self, queue: SoundQueue, options: MicrophoneOptions) -> AbstractAsyncContextManager[None]:
        """Send what comes into the queue as long as the block lasts."""
        ...

    async def answers(self) -> bool:
        """Whether the peer is there: asks it, and waits for its answer, or until it is known to be gone."""
        ...

    def give_up(self) -> None:
        """The peer is gone: nothing is said to it any more, not even goodbye."""
        ...


class MicrophonePort:
    """Which peer takes the sound, and whether a microphone is open. Trio thread."""

    def __init__(self, goodbyes: Budget) -> None:
        self._goodbyes = goodbyes
        self._line: MicrophoneLine | None = None
        self._queue: SoundQueue | None = None
        self._carrier: _Carrier | None = None
        self._failure: Callable[[], NekoError] | None = None
        self._news = trio.Event()
        self.returns = False
        """Whether a peer that is lost is made anew: an open microphone goes on with the next one then."""

    def plug(self, line: MicrophoneLine | None) -> None:
        """Use this peer from now on; ``None``: there is none."""
        if self._line is not None:
            self._line.give_up()
        self._line = line
        self._note_news()

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait, now and later, with a fresh ``failure()``. The first failure stays."""
        if self._failure is None:
            self._failure = failure
            if self._queue is not None:
                self._queue.fail(failure)
            self._note_news()

    def _note_news(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def check(self) -> None:
        """Raise when there is no peer that would take the sound, nor will be, or when a microphone is open."""
        if self._failure is not None:
            raise self._failure()
        if self._line is None and not self.returns:
            raise AudioOff(
                "This session has no media connection that sound could go over.",
                hint='Open it with video="on_demand", or with audio=True.',
            )
        if self._queue is not None:
            raise MicrophoneTaken(
                "A microphone of this session is open already.", hint="Write to that one, or leave its block first."
            )

    @asynccontextmanager
    async def open(self, queue: SoundQueue, options: MicrophoneOptions) -> AsyncIterator[None]:
        """The one microphone, for the block. Raises what :meth:`check` raises, at once."""
        self.check()
        self._queue = queue
        carrier = self._carrier = _Carrier(queue, options)
        self._note_news()
        try:
            await carrier.begun.wait()
            if carrier.error is not None:
                raise carrier.error
            yield
            carrier.ending = True
            carrier.asking.cancel(reason="the microphone's block has ended")
            self._note_news()
            await carrier.ended.wait()
        except BaseException as error:  # how it ends says how long its goodbye may take
            self._goodbyes.note(error)
            raise
        finally:
            carrier.scope.cancel(reason="the microphone's block has ended")
            with trio.move_on_after(self._goodbyes.limit(GOODBYE_LIMIT), shield=True):
                await carrier.ended.wait()
            self._goodbyes.answered(yes=carrier.ended.is_set())
            self._queue = self._carrier = None

    async def run(self) -> None:
        """Carry the sound of the microphone that is open to the peer that there is. A task of the session's."""
        try:
            while True:
                carrier = self._carrier
                if carrier is None or carrier.ended.is_set():
                    await self._news.wait()
                    continue
                with carrier.scope:
                    try:
                        await self._carry(carrier)
                    except NekoError as error:
                        carrier.fail(error)
                carrier.end()
        finally:
            if self._carrier is not None:
                self._carrier.end()

    async def _carry(self, carrier: _Carrier) -> None:
        """Have the peer that there is take the sound, and after that its successor, until the block ends."""
        while not carrier.ending:
            line = self._line
            if line is None:
                if self._failure is not None:
                    raise self._failure()
                await self._news.wait()
                continue
            try:
                async with line.open(carrier.queue, carrier.options):
                    carrier.begun.set()
                    await self._stay(carrier, line)
            except NekoError as error:
                if not self.returns or (self._line is line and not isinstance(error, _LOST)):
                    raise
                logger.debug("the microphone's peer was lost: %s", error)
                # Whoever looks after the peer and its link is about to notice it, too, and to plug in another.
                while self._line is line and not carrier.ending:
                    await self._news.wait()
            if not carrier.ending:
                carrier.queue.restart()

    async def _stay(self, carrier: _Carrier, line: MicrophoneLine) -> None:
        """Until the peer is another, or the block ends. Raises what is wrong when the server takes no sound.

        A peer that is dead reports on nothing either: so it is asked first, and not blamed when it does not answer.
        """
        queue = carrier.queue
        queue.on_unreported = self._note_news
        while self._line is line and not carrier.ending:
            news = self._news
            if queue.unreported() is not None:
                with trio.CancelScope() as carrier.asking:
                    answered = await line.answers()
                    wrong = queue.unreported()
                    if answered and wrong is not None and self._line is line:
                        raise wrong
                    if answered:
                        continue
            await news.wait()


class _Carrier:
    """How far the carrying of one open microphone is."""

    def __init__(self, queue: SoundQueue, options: MicrophoneOptions) -> None:
        self.queue, self.options = queue, options
        self.scope, self.asking = trio.CancelScope(), trio.CancelScope()
        self.begun, self.ended = trio.Event(), trio.Event()
        self.ending = False
        """Its block has ended well: what is queued may still sound."""
        self.error: NekoError | None = None

    def fail(self, error: NekoError) -> None:
        """No peer takes the sound. The block that opens it is told, or, when it is open, its next write."""
        self.error = error
        self.queue.fail(lambda: error)

    def end(self) -> None:
        """Nothing is carried any more."""
        self.begun.set()
        self.ended.set()
