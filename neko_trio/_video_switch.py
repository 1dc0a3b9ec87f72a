"""The video switch: what the session wants of the server's video, whoever asks. It outlives its peers.

As long as somebody is sent the video it costs the server an encoder and everybody the network's time. So one owner
decides: the session's :class:`VideoSwitch` collects the wishes of all readers, and the task of the peer that there is
now (``_peer_video``) carries them out, one ``signal/video`` after the other, each with its answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from neko_trio._ports.frames import FrameSlot
from neko_trio._ports.inputs import InputPort
from neko_trio._ports.state import StateCell
from neko_trio._state import State
from neko_trio._video_patience import Doubt, PicturePatience
from neko_trio._video_wish import PeerSwitch, Selection
from neko_trio.errors import InvalidInput, NekoError, VideoStalled

if TYPE_CHECKING:
    from neko_trio.media.frames import Frame

FRESH_MARGIN = 0.02
"""Seconds more than their estimated latency for which frames are skipped after a pong.

In the estimate, old colours were seen up to 8 ms after the pong (950 key presses, 720p25 and 1080p30, VP8 and H264, on
machines so busy that some frames were 2.6 s old; benchmarks/fresh.py --survey). It does not depend on the rate."""

SLOW = 0.1
"""Seconds of latency from which on it is better to start the pipeline anew than to wait for what is in it."""

DRAIN_PATIENCE = 0.5
"""Seconds that frames of the stream before may take to be read; what comes later still is taken for the next one's."""


class VideoSwitch:
    """What is wanted of the video. One per session with video; trio thread only.

    Live, it is on from ``connected`` to the close; on demand, while somebody waits for a picture and ``linger`` seconds
    longer. Paused, it is off but for pictures asked for one by one.
    """

    def __init__(
        self,
        slot: FrameSlot,
        state: StateCell[State],
        inputs: InputPort,
        *,
        on_demand: bool,
        linger: float,
        stream: str | None,
        connection: Doubt,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """``stream`` is what the caller asked for; ``None`` is the server's default. Whoever learns that the
        ``connection`` is well after all calls :meth:`note_certain`. ``clock`` is that of ``Frame.arrived``, in seconds.
        """
        self._slot, self._state, self._inputs, self._connection = slot, state, inputs, connection
        self._on_demand, self._linger = on_demand, linger
        self.clock = clock
        self.stream = stream
        """The stream to ask for when a peer is made; ``None``: the server's default."""
        self.selection: Selection | None = None
        """The stream that the current peer is to be switched to."""
        self.paused = False
        """Whether the caller has paused the video."""
        self._pictures = self._held_off = 0
        self._linger_until = -math.inf
        self._peer: PeerSwitch | None = None
        self._on_since: float | None = None
        self._seconds_on = 0.0
        self._patience = PicturePatience(state, self._packets, connection)
        self._changed = trio.Event()
        self._failure: Callable[[], NekoError] | None = None
        self.toggles = 0
        """How often the video was switched off and on for a keyframe, or to have the pipeline started anew."""
        self.pictures_on_demand = 0
        """How often it was switched on because somebody wanted a picture."""
        slot.on_wanted = self._on_wanted
        slot.waiting = self._patience.wait

    @property
    def seconds_on(self) -> float:
        """How long the video has been on, all peers together."""
        since = self._on_since
        return self._seconds_on + (trio.current_time() - since if since is not None else 0.0)

    # -- what is wanted

    @property
    def wanted_until(self) -> float:
        """Until when (trio's clock) the video is to be on: ``inf`` with no end in sight, the past for off."""
        if self._held_off:
            return -math.inf
        if self._pictures:
            return math.inf
        if not self.paused and (not self._on_demand or self._slot.wanted):
            return math.inf
        return self._linger_until

    @property
    def rests(self) -> bool:
        """Whether the video is off but for pictures that somebody wants: on demand, or paused."""
        return self._on_demand or self.paused

    def new_from(self) -> float:
        """From which arrival on (frames' clock) a picture counts as new, if one is asked for now."""
        return self.clock() - self._linger if self._on_demand and not self.paused else -math.inf

    def _on_wanted(self, wanted: bool) -> None:
        """Of the slot: somebody waits for a picture now, or nobody does any more."""
        if self._on_demand and not self.paused:
            self._want(wanted)

    def _want(self, wanted: bool) -> None:
        if not wanted:
            self._linger_until = trio.current_time() + self._linger
        self._wake()

    def _wake(self) -> None:
        if self._peer is not None:
            self._peer.wake()

    @contextmanager
    def picture(self) -> Iterator[None]:
        """Have the video on for the block, paused or not: somebody waits for one picture in it."""
        self._pictures += 1
        self._want(True)
        try:
            yield
        finally:
            self._pictures -= 1
            self._want(False)

    async def fresh(self, newer_than: int) -> Frame:
        """A frame captured after all input before this call had reached the desktop, numbered above ``newer_than``.

        No frame says when it was captured. With nobody else watching, the server's pipeline is started for us, and all
        that comes of it was captured after that: so it is started behind the barrier, if the video is off, or if the
        server is slow. Else frames are skipped for as long as they may have been on their way. Cancelling is safe.
        """
        started, may_start = None, True
        if self._startable:
            started, may_start = await self._start_behind_barrier(), False
        else:
            await self._inputs.flush_media()
        now = self.clock()
        with self.picture():
            while True:
                after = now + FRESH_MARGIN if started is None else started
                frame = await self._slot.wait(newer_than, arrived_after=after)
                key_arrived = frame.arrived if frame.key_arrived is None else frame.key_arrived
                if key_arrived > started if started is not None else frame.arrived - frame.latency >= after:
                    return frame
                newer_than = frame.number
                if may_start and self._startable:
                    started, may_start = await self._start_behind_barrier(), False

    @property
    def _startable(self) -> bool:
        """Whether to have the server start its pipeline rather than wait for what is in it."""
        peer = self._peer
        if peer is None or not self.alone:
            return False
        return not peer.on or peer.latency > SLOW

    async def _start_behind_barrier(self) -> float | None:
        """Have the video off, wait for the barrier, let it on again; return when that was (frames' clock).

        The barrier goes over the media connection: what was sent before has been read when it returns. ``None`` when
        it could not, or when somebody else watches by now.
        """
        self._held_off += 1
        self.toggles += self._peer is not None and self._peer.on
        self._wake()
        try:
            while self._peer is not None and self._peer.off_since is None and self._failure is None:
                await self._changed.wait()
            drained = await self._inputs.flush_media()
            return self.clock() if drained and self.alone else None
        finally:
            self._held_off -= 1
            self._wake()

    @property
    def alone(self) -> bool:
        """Whether nobody else watches. The server does not tell who watches which stream: any other counts."""
        state = self._state.value
        return not any(info.state.is_watching for id_, info in state.sessions.items() if id_ != state.session_id)

    def _packets(self) -> int:
        return self._peer.packets_received() if self._peer is not None else 0

    # -- what the caller steers

    async def pause(self) -> None:
        """Have the server send nothing; return when it has confirmed it. Cancelled, the video is paused all the same.

        A picture that somebody waits for at the moment is still taken.
        """
        await self._steer(paused=True)

    async def resume(self) -> None:
        """End the pause; return when the server has confirmed it. Cancelled, the video is resumed all the same."""
        await self._steer(paused=False)

    async def _steer(self, *, paused: bool) -> None:
        self._raise_end()
        if paused is not self.paused:
            self.paused = paused
            self._linger_until = -math.inf
            self._wake()
        await trio.lowlevel.checkpoint()
        while self.paused is paused and not self._settled and self._failure is None:
            await self._changed.wait()
        self._raise_end()

    @property
    def _settled(self) -> bool:
        """Whether the server does what is wanted now, and has said so."""
        peer = self._peer
        return peer is not None and peer.confirmed and peer.on is (self.wanted_until > trio.current_time())

    async def select(self, stream: str) -> None:
        """Have the server send another of its streams; return when it has confirmed it.

        Of several at once the last one counts, and all return with it. Cancelled, the stream changes all the same.
        Raises :class:`VideoStalled` when the server does not confirm it.
        """
        self._raise_end()
        selection = self.selection = Selection(stream)
        self.stream = stream
        self._wake()
        await trio.lowlevel.checkpoint()
        while self.selection is not None and self._failure is None:
            await self._changed.wait()
        self._raise_end()
        if selection.refused:
            raise VideoStalled(
                f"The server did not switch to its stream {stream!r}.",
                hint="Look at the server's log: the pipeline of that stream may not start.",
                step="select",
            )

    async def catch_up(self) -> None:
        """Return when the server has handled all that it was sent over the WebSocket, and is known to be well.

        With a connection that is dead it does not return before that has been noticed. Raises a ``NekoError`` when the
        connection has ended. Cancelling is safe.
        """
        await self._inputs.ask()
        while self._connection.in_doubt:
            await self._changed.wait()

    async def answers(self) -> bool:
        """Whether the server's media answer, when nothing has come of them: asks, and waits for the answer, or for the
        end of a connection that gives none. Cancelling is safe."""
        peer = self._peer
        answered = await self._inputs.drain_media()
        return self._peer is peer and peer is not None and (answered or not self._connection.in_doubt)

    async def drain(self) -> None:
        """Return when all that the server had sent before has been read; after half a second at the latest."""
        with trio.move_on_after(DRAIN_PATIENCE):
            await self._inputs.drain_media()

    def neighbour(self, step: int) -> str:
        """The stream ``step`` places down the server's list, which begins with the best
        (server/internal/capture/streamselector.go). Raises :class:`InvalidInput` where there is none."""
        state = self._state.value
        now = self.selection.stream if self.selection is not None else state.stream
        place = state.streams.index(now) + step if now in state.streams else -1
        if not 0 <= place < len(state.streams):
            which, known = "lower" if step > 0 else "higher", ", ".join(map(repr, state.streams)) or "none"
            raise InvalidInput(f"The server has no stream {which} than {now!r}; it has {known}.")
        return state.streams[place]

    # -- the current peer, and the end

    def plug(self, peer: PeerSwitch) -> None:
        """This peer carries the wishes out from now on."""
        self._peer = peer
        self.note_change()

    def unplug(self, peer: PeerSwitch) -> None:
        """It does so no more."""
        if self._peer is peer:
            self.note_switch(on=False)
            self._peer = None
            self.note_change()

    def note_switch(self, *, on: bool) -> None:
        """The peer is about to tell the server to switch the video on or off."""
        now = trio.current_time()
        if on and self._on_since is None:
            self._on_since = now
            self.pictures_on_demand += self.rests
        elif not on and self._on_since is not None:
            self._seconds_on += now - self._on_since
            self._on_since = None
        self._patience.switch(on=on)

    def note_selected(self, selection: Selection, *, refused: bool = False) -> None:
        """The server has confirmed a selection, or let the time for it pass."""
        selection.refused = refused
        if self.selection is selection:
            self.selection = None
            if refused:
                self.stream = self._state.value.stream
        self.note_change()

    def note_certain(self) -> None:
        """The connection has been in doubt, and is well."""
        self._patience.note_certain()
        self.note_change()

    def note_change(self) -> None:
        """The server has answered, or a peer came or went: whoever waits for that looks again."""
        self._changed.set()
        self._changed = trio.Event()

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait, now and later, with a fresh ``failure()``. The first failure stays."""
        if self._failure is None:
            self._failure = failure
            self.note_change()

    def _raise_end(self) -> None:
        if self._failure is not None:
            raise self._failure()
