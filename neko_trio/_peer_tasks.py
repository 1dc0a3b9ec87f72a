"""The child tasks of one peer: candidates both ways, renegotiation, the data channel, and its end."""

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


class PeerTasks:
    """What happens beside the straight handshake. One instance per peer; each method that waits is a task."""

    def __init__(self, link: Link, signals: PeerSignals, timeline: Timeline) -> None:
        self._link = link
        self._signals = signals
        self._timeline = timeline
        self._local_in, self._local = trio.open_memory_channel[str](LOCAL_CANDIDATE_LIMIT)
        self._peer: Peer | None = None
        self.candidates_malformed = 0
        """Remote candidates that could not be parsed."""
        self.local_candidates_dropped = 0

    @property
    def peer(self) -> Peer:
        """The peer these tasks are for."""
        assert self._peer is not None
        return self._peer

    @peer.setter
    def peer(self, peer: Peer) -> None:
        self._peer = peer

    @property
    def signals(self) -> PeerSignals:
        """What the server signals for this peer."""
        return self._signals

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
            async with self._signals.negotiating:
                try:
                    answer = await self.peer.renegotiate(offer.sdp)
                except ProtocolViolation as error:
                    # The connection that exists goes on as it is: this offer only wanted to change it.
                    logger.warning("skipped an offer for the running peer: %s", error)
                else:
                    await self._link.send(requests.SignalAnswer(sdp=answer))

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
