"""The switch at one peer: carries the session's wishes out, one ``signal/video`` and its answer after the other."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import trio

from neko_trio._signals import VideoAnswers
from neko_trio._timeline import Timeline
from neko_trio._video_switch import Selection, VideoSwitch
from neko_trio.errors import NekoError
from neko_trio.protocol import requests

if TYPE_CHECKING:
    from neko_trio.media.peer_api import PeerStatistics

logger = logging.getLogger("neko_trio.video")

FIRST_PACKET_PATIENCE = 0.5
"""Seconds, on top of two round trips, that the first packet may take before the video is switched once more.

It takes 30 ms. A loaded server needs up to 0.4 s to start its pipeline (seen), and to take away the only watcher then
starts it from the beginning."""

ANSWER_PATIENCE = 5.0
"""Seconds that an answer may take: an enable's comes when the pipeline has been started, all others in a millisecond.

The server answers only what changes something (server/internal/webrtc/peer.go, SetVideo): else it is as we want it."""

DISABLE_PATIENCE = 0.25
"""Seconds that the answer to the last switch may take; it takes less than one millisecond."""

TOGGLE_INTERVAL = 1.0
"""Seconds between two switches for a keyframe: every watcher of the stream gets each of those keyframes."""

KEYFRAME_FOR_WATCHERS = frozenset({"VP8"})
"""Codecs whose encoder answers a new watcher with a keyframe at once. With the others the toggle brings one only if we
are the only watcher: then the pipeline starts anew (seen with x264enc)."""


class Wire(Protocol):
    """The WebSocket of a link."""

    async def send_texts(self, texts: list[str]) -> None:
        """Send all of them in order, or, when cancelled, none. Raises a ``NekoError`` when it cannot."""
        ...


class PeerVideo:
    """One peer's video at the server. :meth:`begin` when connected, :meth:`run` as a task, :meth:`end` before it goes.

    ``answers`` are those of this peer; ``statistics`` makes a snapshot of what it has received.
    """

    def __init__(
        self,
        switch: VideoSwitch,
        wire: Wire,
        answers: VideoAnswers,
        timeline: Timeline,
        *,
        statistics: Callable[[], PeerStatistics],
    ) -> None:
        self._switch, self._wire, self._answers, self._timeline = switch, wire, answers, timeline
        self._statistics = statistics
        self._turn = trio.Lock()
        self._woken = trio.Event()
        self._keyframe_needed = self._ended = False
        self._toggle_from = -math.inf
        self._check_at = math.inf  # when the first packet since the switching on should have come
        self._packets_before = 0
        self.on = False
        """What the server was last told."""
        self.off_since: float | None = -math.inf
        """Since when nothing is sent, as the server confirmed (frames' clock, seconds); ``None``: it may be sent."""

    @property
    def confirmed(self) -> bool:
        """Whether the server has answered everything it was told."""
        return self._answers.owed == 0

    @property
    def round_trip(self) -> float:
        """Seconds to the server and back: dialling took two round trips at least, TCP and the upgrade."""
        return self._timeline.between("dial", "websocket_open") / 2

    def packets_received(self) -> int:
        """Video packets so far."""
        video = self._statistics().video
        return video.packets_received if video is not None else 0

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
            await self._tell(on=True)

    async def run(self) -> None:
        """Keep the video as it is wanted, until cancelled."""
        while not self._ended:
            self._woken = trio.Event()
            if not self.confirmed:
                await self._answer()
                continue
            now = trio.current_time()
            selection = self._switch.selection
            if selection is not None:
                await self._select(selection)
            elif (wanted := self._switch.wanted_until > now) is not self.on:
                await self._tell(on=wanted)
            elif self.on and now >= self._check_at:
                await self._look_for_packets()
            elif self.on and self._keyframe_needed and now >= self._toggle_from:
                self._keyframe_needed = False
                await self._toggle("the receiver needs a keyframe")
            else:
                with trio.move_on_at(self._next_at()):
                    await self._woken.wait()

    def _next_at(self) -> float:
        """When there is something to do, even if nothing happens until then."""
        if not self.on:
            return math.inf
        toggle_at = self._toggle_from if self._keyframe_needed else math.inf
        return min(self._switch.wanted_until, self._check_at, toggle_at)

    async def end(self) -> None:
        """Switch the video off before the peer goes, and wait for the answer, a quarter of a second at most.

        The server handles messages and the peer's end at the same time, and an enable that meets the end leaves a
        watcher behind, for which the pipeline runs on for ever (seen).
        """
        self._ended = True
        self._woken.set()
        was_on, self.on = self.on, False
        self._switch.unplug(self)
        with trio.move_on_after(DISABLE_PATIENCE):
            if was_on:
                async with self._turn:  # an enable that is being written goes first
                    try:
                        await self._send(requests.SignalVideo(disabled=True))
                    except NekoError:
                        return  # without a link nobody can be told; the server ends the peer with its session
            await self._answers.settled()

    # -- what the task does

    async def _tell(self, *, on: bool) -> None:
        self.on, self.off_since, self._keyframe_needed = on, None, False
        self._switch.note_switch(on=on)
        self._packets_before = self.packets_received()
        self._check_at = trio.current_time() + FIRST_PACKET_PATIENCE + 2 * self.round_trip if on else math.inf
        async with self._turn:
            if self._ended:
                return
            await self._send(requests.SignalVideo(disabled=not on))
        if on:
            self._timeline.mark("video_enabled")

    async def _answer(self) -> bool:
        """Wait until everything is answered. ``False``: no answer came, nor will it."""
        with trio.move_on_after(ANSWER_PATIENCE) as scope:
            await self._answers.settled()
        if scope.cancelled_caught:
            logger.warning("the server did not answer a signal/video within %g s", ANSWER_PATIENCE)
            self._answers.owed = 0
        if not self.on and not self._ended:
            self.off_since = self._switch.clock()
        self._switch.note_change()
        return not scope.cancelled_caught

    async def _select(self, selection: Selection) -> None:
        answered = True
        if self._answers.stream != selection.stream:
            async with self._turn:
                if self._ended:
                    return
                await self._send(requests.SignalVideo(selector=requests.StreamSelector(id=selection.stream)))
            answered = await self._answer()
        self._switch.note_selected(selection, refused=not answered or self._answers.stream != selection.stream)

    async def _look_for_packets(self) -> None:
        """No packet came since the video was switched on: switch it once more."""
        self._check_at = math.inf
        if self.packets_received() == self._packets_before:
            await self._toggle("no packet came")

    async def _toggle(self, why: str) -> None:
        """Off and on: a new watcher gets a keyframe first."""
        self._toggle_from = trio.current_time() + TOGGLE_INTERVAL
        if self._statistics().codec not in KEYFRAME_FOR_WATCHERS and not self._switch.alone:
            return  # it would bring nothing: the periodic keyframe will come
        self._switch.toggles += 1
        logger.info("switching the video off and on: %s", why)
        async with self._turn:
            if self._ended:
                return
            await self._send(requests.SignalVideo(disabled=True), requests.SignalVideo(disabled=False))

    async def _send(self, *messages: requests.SignalVideo) -> None:
        self._answers.owed += len(messages)
        await self._wire.send_texts([requests.encode(message) for message in messages])
