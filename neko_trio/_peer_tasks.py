"""The child tasks of one peer: candidates both ways, renegotiation, the video switch, and its end."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from neko_trio._link import Link
from neko_trio._signals import PeerSignals
from neko_trio._timeline import Timeline
from neko_trio.errors import NekoError, ProtocolViolation, SessionLost
from neko_trio.protocol import Malformed, requests

if TYPE_CHECKING:
    from neko_trio.media.peer_api import Peer

logger = logging.getLogger("neko_trio.peer")

LOCAL_CANDIDATE_LIMIT = 256
"""Local candidates that may wait for the socket; a host with more than that many addresses offers the first ones."""

FIRST_PACKET_PATIENCE = 0.5
"""Seconds, on top of two round trips, that the first packet may take before the video is switched once more.

It takes 30 ms. A loaded server needs up to 0.4 s to start its pipeline (seen), and to take away the only watcher then
starts it from the beginning."""

DISABLE_PATIENCE = 0.25
"""Seconds that the answer to the last switch may take; it takes less than one millisecond."""

TOGGLE_INTERVAL = 1.0
"""Seconds between two switches for a keyframe: every watcher of the stream gets each of those keyframes."""


class PeerTasks:
    """What happens beside the straight handshake. One instance per peer; each method that waits is a task."""

    def __init__(self, link: Link, signals: PeerSignals, timeline: Timeline) -> None:
        self._link = link
        self._signals = signals
        self._timeline = timeline
        self._local_in, self._local = trio.open_memory_channel[str](LOCAL_CANDIDATE_LIMIT)
        self._keyframe_needed = trio.Event()
        self._peer: Peer | None = None
        self.candidates_malformed = 0
        """Remote candidates that could not be parsed."""
        self.local_candidates_dropped = 0
        self.toggles = 0
        """How often the video was switched off and on for a keyframe."""

    @property
    def peer(self) -> Peer:
        """The peer these tasks are for."""
        assert self._peer is not None
        return self._peer

    @peer.setter
    def peer(self, peer: Peer) -> None:
        self._peer = peer

    @property
    def candidates_dropped(self) -> int:
        """Remote candidates beyond what is kept."""
        return self._signals.candidates_dropped

    # -- callbacks of the peer, on the trio thread

    def local_candidate(self, text: str) -> None:
        """A candidate of this side, to be sent when its turn comes."""
        try:
            self._local_in.send_nowait(text)
        except trio.WouldBlock:
            self.local_candidates_dropped += 1

    def keyframe_needed(self) -> None:
        """The receiver cannot go on without a keyframe."""
        self._keyframe_needed.set()

    # -- candidates and offers

    async def feed_candidates(self) -> None:
        """Give the server's candidates to the peer, in the order they came; those from before the offer first."""
        async for candidate in self._signals.candidates:
            try:
                await self.peer.add_candidate(candidate.candidate, candidate.sdp_mid, candidate.sdp_mline_index)
            except Malformed as error:
                self.candidates_malformed += 1
                logger.warning("skipped a candidate of the server: %s", error)

    async def send_local_candidates(self) -> None:
        """Trickle our candidates. Started after the answer: the server refuses candidates before it."""
        async for text in self._local:
            await self._link.send(requests.SignalCandidate(candidate=text, sdp_mid="0", sdp_mline_index=0))

    async def answer_renegotiations(self) -> None:
        """Answer each further ``signal/offer`` on the same peer connection."""
        async for offer in self._signals.offers:
            try:
                answer = await self.peer.renegotiate(offer.sdp)
            except ProtocolViolation as error:
                # The connection that exists goes on as it is: this offer only wanted to change it.
                logger.warning("skipped an offer for the running peer: %s", error)
            else:
                await self._link.send(requests.SignalAnswer(sdp=answer))

    # -- video

    async def enable_video(self) -> None:
        """Switch the video on: the watcher that this adds at the server gets a keyframe first."""
        await self._link.send(requests.SignalVideo(disabled=False))
        self._timeline.mark("video_enabled")

    async def disable_video(self) -> None:
        """Switch the video off before the peer goes, and wait for the answer, a quarter of a second at most.

        The server handles messages and the peer's end at the same time, and an enable that meets the end leaves a
        watcher behind, for which the pipeline runs on for ever (seen).
        """
        answered = self._signals.video_off = trio.Event()  # one that an earlier answer has not set
        with trio.move_on_after(DISABLE_PATIENCE):
            try:
                await self._link.send(requests.SignalVideo(disabled=True))
            except NekoError:
                return  # without a link nobody can be told; the server ends the peer with its session
            await answered.wait()

    async def keep_video(self) -> None:
        """Switch the video off and on where that is the only way to a keyframe: the server ignores PLI and FIR.

        Once when no packet came at all; then whenever the receiver asks, at most once a second.
        """
        # Dialling took two round trips at least: TCP, and the upgrade.
        round_trip = self._timeline.between("dial", "websocket_open") / 2
        await trio.sleep(FIRST_PACKET_PATIENCE + 2 * round_trip)
        if "first_packet" not in self._timeline:
            await self._toggle("no packet came")
        while True:
            await self._keyframe_needed.wait()
            self._keyframe_needed = trio.Event()
            await self._toggle("the receiver needs a keyframe")

    async def _toggle(self, why: str) -> None:
        self.toggles += 1
        logger.info("switching the video off and on: %s", why)
        await self._link.send_texts(
            [
                requests.encode(requests.SignalVideo(disabled=True)),
                requests.encode(requests.SignalVideo(disabled=False)),
            ]
        )
        await trio.sleep(TOGGLE_INTERVAL)

    async def mark_data_channel(self) -> None:
        """Note when the data channel opened."""
        await self.peer.wait_data_channel()
        self._timeline.mark("data_channel_open")

    # -- the end

    async def watch_server(self) -> None:
        """Fail when the server gives the peer up (``signal/close``)."""
        since = perf_counter()
        await self._signals.closed.wait()
        raise self._closed_by_server(perf_counter() - since)

    def _closed_by_server(self, seconds: float) -> NekoError:
        if "connected" in self._timeline:
            return SessionLost("The server closed the media connection (signal/close).", step="running")
        return self.peer.ice_failed(f"the server gave it up after {seconds:.1f} s (signal/close)")

    async def watch_peer(self) -> None:
        """Fail when the connected peer dies by itself."""
        reason = await self.peer.wait_ended()
        raise SessionLost(f"The media connection ended: {reason}.", step="running")
