"""The switch at one peer: carries the session's wishes out, one ``signal/video`` and its answer after the other."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

from neko_trio._signals import VideoAnswers
from neko_trio._timeline import Timeline
from neko_trio._video_switch import VideoSwitch
from neko_trio._video_wish import Selection
from neko_trio.errors import NekoError
from neko_trio.protocol import requests

if TYPE_CHECKING:
    from neko_trio.media.peer_api import Peer

logger = logging.getLogger("neko_trio.video")

FIRST_PACKET_PATIENCE = 3.0
"""Seconds that the first packet may take before the video is switched once more; before that it is never switched off.

It takes 30 ms; on a loaded server more than 0.5 s were seen. Taken away from a pipeline that has not sent anything yet,
the only watcher can bring the server to a standstill (seen, and read in the stacks): ending the pipeline, it holds a
lock and waits for the capture, which waits for room in its queue, which waits for the first frame to be let go, which
waits for that lock. No video then, for anybody, until the server is restarted."""

LAST_PATIENCE = 1.0
"""Seconds that the close waits for that first packet, for the same reason: half of the budget that it has as a rule.
With half a second a loaded server was brought to a standstill all the same, once (seen)."""

LIFE_PATIENCE = 0.2
"""Seconds of it in which the server must be heard, for the rest to be waited for in a hurry: it is asked."""

ANSWER_PATIENCE = 5.0
"""Seconds that an answer may take: an enable's comes when the pipeline has been started, all others in a millisecond.

The server answers only what changes something (server/internal/webrtc/peer.go, SetVideo): else it is as we want it. Or
it cannot answer at all, as one that has been stopped, or has been cut off: so it is asked then whether it is there."""

DISABLE_PATIENCE = 0.25
"""Seconds that the answer to the last switch may take; it takes less than one millisecond."""

TOGGLE_INTERVAL = 1.0
"""Seconds between two switches for a keyframe: every watcher of the stream gets each of those keyframes."""

KEYFRAME_FOR_WATCHERS = frozenset({"VP8", "VP9"})
"""Codecs whose encoder answers a new watcher with a keyframe at once. With the others the toggle brings one only if we
are the only watcher: then the pipeline starts anew (seen with x264enc and av1enc)."""


class Wire(Protocol):
    """The WebSocket of a link."""

    @property
    def alive(self) -> bool:
        """Whether messages can still be sent."""
        ...

    @property
    def opening_seconds(self) -> float:
        """How long dialling took, two round trips at least."""
        ...

    async def send_texts(self, texts: list[str]) -> None:
        """Send all of them in order, or, when cancelled, none. Raises a ``NekoError`` when it cannot."""
        ...


class _Gone(Exception):
    """The connection has ended while the server was waited for. Whoever looks after it says so. Never leaves here."""


class PeerVideo:
    """One peer's video at the server. :meth:`begin` when connected, :meth:`run` as a task, :meth:`end` before it goes.

    ``peer`` is asked for only once there is one.
    """

    def __init__(
        self,
        switch: VideoSwitch,
        wire: Wire,
        answers: VideoAnswers,
        timeline: Timeline,
        *,
        peer: Callable[[], Peer],
    ) -> None:
        self._switch, self._wire, self._answers, self._timeline = switch, wire, answers, timeline
        self._peer = peer
        self._turn = trio.Lock()
        self._woken = trio.Event()
        self._keyframe_needed = self._ended = False
        self._told = False  # and its answers have not been looked at
        self._handed = False  # what was sent last has gone to the socket
        self._toggle_from = -math.inf
        self._packets_before = 0  # those of earlier pipelines
        self._start_limit = self._check_at = math.inf  # when the pipeline's first packet should have come at the latest
        self.on = False
        """What the server was last told."""
        self.off_since: float | None = -math.inf
        """Since when nothing is sent, as the server confirmed (frames' clock, seconds); ``None``: it may be sent."""

    @property
    def confirmed(self) -> bool:
        """Whether the server has answered everything it was told."""
        return self._answers.owed == 0

    @property
    def latency(self) -> float:
        """That of the newest frame, in seconds: see ``Frame.latency``."""
        video = self._peer().statistics().video
        return video.latency if video is not None else 0.0

    def packets_received(self) -> int:
        """Video packets so far."""
        return self._peer().video_packets

    def wake(self) -> None:
        """The wishes have changed."""
        self._woken.set()

    def keyframe_needed(self) -> None:
        """The receiver cannot go on without a keyframe, and the server ignores PLI and FIR."""
        self._keyframe_needed = True
        self._woken.set()

    async def begin(self) -> None:
        """The peer is connected: switch the video on, if it is wanted now. Its answer is :meth:`run`'s to wait for.

        Before this it is off: the keyframe that a new watcher brings would be sent, and lost, without a transport.
        """
        self._switch.plug(self)
        if self._switch.wanted_until > trio.current_time():
            try:
                await self._tell(on=True)
            finally:
                self.on = self._handed  # cancelled before that, the server knows of nothing

    async def run(self) -> None:
        """Keep the video as it is wanted, until cancelled, or until the connection is found to have ended."""
        with suppress(_Gone):
            await self._keep()

    async def _keep(self) -> None:
        while not self._ended:
            self._woken = trio.Event()
            if self._told:
                await self._answer()
                continue
            now = trio.current_time()
            selection, wanted = self._switch.selection, self._switch.wanted_until > now
            keyframe = self._keyframe_needed and now >= self._toggle_from
            ends = selection is not None or keyframe or not wanted
            if self.on and ends and now < self._start_limit and not self._flows:
                with trio.move_on_at(self._start_limit):
                    await self._peer().wait_packets(self._packets_before)
            elif selection is not None:
                await self._select(selection)
            elif wanted is not self.on:
                await self._tell(on=wanted)
            elif self.on and now >= self._check_at:
                self._check_at = math.inf  # once
                if not self._flows:
                    await self._toggle("no packet came")
            elif self.on and keyframe:
                self._keyframe_needed = False
                await self._toggle("the receiver needs a keyframe")
            else:
                with trio.move_on_at(self._next_at()):
                    await self._woken.wait()

    @property
    def _flows(self) -> bool:
        """Whether the pipeline that the server was last told to send has sent something."""
        return self.packets_received() > self._packets_before

    def _next_at(self) -> float:
        """When there is something to do, even if nothing happens until then."""
        if not self.on:
            return math.inf
        toggle_at = self._toggle_from if self._keyframe_needed else math.inf
        return min(self._switch.wanted_until, self._check_at, toggle_at)

    async def end(self) -> None:
        """Switch the video off before the peer goes, and wait for the answer, a quarter of a second at most.

        The server handles messages and the peer's end at the same time, and an enable that meets the end leaves a
        watcher behind, for which the pipeline runs on for ever (seen). A pipeline that is just being started is given
        a second for its first packet.
        """
        self._ended = True
        self._woken.set()
        was_on, self.on = self.on, False
        self._switch.unplug(self)
        try:
            if was_on and self._wire.alive and not self._flows:
                await self._wait_first_packet()
            with trio.move_on_after(DISABLE_PATIENCE):
                if was_on:
                    await self._send(requests.SignalVideo(disabled=True), last=True)
                await self._answers.settled()
        except NekoError:
            return  # without a link nobody can be told, and without a peer nothing is sent: the server ends it

    async def _wait_first_packet(self) -> None:
        """The server starts the pipeline: that is waited for even by a close in a hurry, if the server is there."""
        peer, until = self._peer(), trio.current_time() + LAST_PATIENCE
        with trio.move_on_at(until) as waiting:
            await self._answers.settled()
            heard_at = peer.heard_at
            with trio.move_on_after(LIFE_PATIENCE, shield=True):
                peer.ask()
                await peer.wait_packets(self._packets_before)
            if not self._flows and peer.heard_at != heard_at:
                waiting.shield = True
                await peer.wait_packets(self._packets_before)

    # -- what the task does

    async def _tell(self, *, on: bool) -> None:
        self.on, self.off_since, self._keyframe_needed = on, None, False
        self._switch.note_switch(on=on)
        if on:
            self._expect_start()
            self._note_start()
            self._check_at = self._start_limit
        await self._send(requests.SignalVideo(disabled=not on))
        if on:
            self._timeline.mark("video_enabled")

    async def _answer(self) -> bool:
        """Wait until everything is answered. ``False``: no answer came, nor will it, from a server that is well."""
        self._told = False
        with trio.move_on_after(ANSWER_PATIENCE):
            await self._answers.settled()
        if self._answers.owed:
            try:
                await self._switch.catch_up()
            except NekoError as error:
                raise _Gone from error
        if self._ended:
            raise _Gone
        answered = self.confirmed
        if not answered:
            logger.warning("the server did not answer a signal/video within %g s", ANSWER_PATIENCE)
            self._answers.owed = 0
        if not self.on:
            self.off_since = self._switch.clock()
        self._switch.note_change()
        return answered

    async def _select(self, selection: Selection) -> None:
        """With the video off for the moment: else nothing tells which stream the frames around the switch are of."""
        answered = True
        if self._answers.stream != selection.stream:
            self._peer().hold_stream(self._answers.stream)
            selector = requests.StreamSelector(id=selection.stream)
            await self._send(requests.SignalVideo(disabled=True if self.on else None, selector=selector))
            answered = await self._answer()
            if self.on:
                await self._switch.drain()
                self._expect_start()
                await self._send(requests.SignalVideo(disabled=False))
                await self._answer()
                self._note_start()
        self._switch.note_selected(selection, refused=not answered or self._answers.stream != selection.stream)

    def _note_start(self) -> None:
        """The server is about to start a pipeline for us, unless it runs for others already."""
        self._packets_before = self.packets_received()
        self._start_limit = trio.current_time() + FIRST_PACKET_PATIENCE + 2 * self._round_trip

    def _expect_start(self) -> None:
        """Before the server is told: the next keyframe is the first of what it sends anew."""
        # For others the pipeline runs already, and the first frame may have been captured before.
        self._peer().expect_start(self._switch.clock() + self._round_trip if self._switch.alone else -math.inf)

    @property
    def _round_trip(self) -> float:
        return self._wire.opening_seconds / 2

    @property
    def _codec(self) -> str | None:
        return self._peer().statistics().codec

    async def _toggle(self, why: str) -> None:
        """Off and on: a new watcher gets a keyframe first."""
        self._toggle_from, self._check_at = trio.current_time() + TOGGLE_INTERVAL, math.inf
        if self._codec not in KEYFRAME_FOR_WATCHERS and not self._switch.alone:
            return  # it would bring nothing: the periodic keyframe will come
        self._switch.toggles += 1
        logger.info("switching the video off and on: %s", why)
        self._expect_start()
        await self._send(requests.SignalVideo(disabled=True), requests.SignalVideo(disabled=False))
        await self._answer()
        self._note_start()

    async def _send(self, *messages: requests.SignalVideo, last: bool = False) -> None:
        """Send them, each of which changes something and will be answered; nothing after the last ones."""
        self._answers.owed += len(messages)  # at once: nobody shall take what is wanted for what is so
        self._told, self._handed = True, False
        try:
            async with self._turn:  # what is being written goes first
                if self._ended and not last:
                    return
                await trio.lowlevel.checkpoint_if_cancelled()  # behind this they are sent
                self._handed = True
                await self._wire.send_texts([requests.encode(message) for message in messages])
        finally:
            if not self._handed:
                self._answers.owed -= len(messages)
