"""One peer's way for sound into the desktop: an offer of ours that adds a track, and one that takes it back.

The server answers ``signal/offer`` on the peer connection that there is, starts its microphone's pipeline with the
track's first packet and ends it with the track (server/internal/websocket/handler/signal.go; webrtc/manager.go,
OnTrack). What it refuses it says nothing about: the WebSocket's barrier tells that no answer will come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from neko_trio._ports.budget import Budget
from neko_trio._ports.microphone import MicrophoneOptions, SoundQueue
from neko_trio._services import together
from neko_trio._signals import PeerSignals
from neko_trio.errors import NekoError, ProtocolViolation, SessionLost
from neko_trio.protocol import requests

if TYPE_CHECKING:
    from neko_trio.media.peer_api import Peer

PLAYER_DELAY = 0.3
"""Seconds by which the server's player is behind what was sent: it buffers 0.2 s, and loses them with its track (seen:
0.1 s missing)."""
GOODBYE_LIMIT = 1.0
"""Seconds that taking the track back may take; it takes a round trip."""
ATTEMPTS = 2
"""Offers for one change: one that crosses an offer of the server's is refused (RFC 8829 §5.7), and is made again."""


class PeerMicrophone:
    """A `MicrophoneLine`. One per peer."""

    def __init__(
        self,
        peer: Peer,
        signals: PeerSignals,
        ask: Callable[..., Awaitable[None]],
        drain: Callable[[], Awaitable[bool]],
        goodbyes: Budget,
    ) -> None:
        """``ask`` sends requests and returns when all that they caused has come (``InputPort.ask``), ``drain`` when a
        question over the media connection is answered, or it has ended (``InputPort.drain_media``)."""
        self._peer, self._signals, self._ask, self._drain = peer, signals, ask, drain
        self._goodbyes = goodbyes
        self._unsettled = False  # an answer may be on its way that nobody waits for
        self._given_up = False

    def give_up(self) -> None:
        """The peer is gone: nothing is said to it any more, not even goodbye."""
        self._given_up = True

    async def answers(self) -> bool:
        """Whether the peer is there: asks it, and waits for its answer, or until it is known to be gone."""
        if not self._peer.data_channel_open:
            await trio.lowlevel.checkpoint()
            return not self._given_up  # it cannot be asked
        return await self._drain() and not self._given_up

    @asynccontextmanager
    async def open(self, queue: SoundQueue, options: MicrophoneOptions) -> AsyncIterator[None]:
        """Send what comes into the queue as long as the block lasts; then the server's pipeline ends.

        What was sent last is left to sound: up to 0.3 s. Raises :class:`~neko_trio.errors.FeatureOff` when the server
        takes no such sound. Cancelled, it takes back what it has offered, within 1 s.
        """
        try:
            answer = await self._negotiate(on=True)
            await self._peer.start_microphone(answer, queue, options)
            yield
            just_said = queue.silent and queue.ends + PLAYER_DELAY > trio.current_time()  # and to its end
            if just_said and not self._given_up:
                await trio.sleep_until(queue.ends + PLAYER_DELAY)
        finally:
            with trio.move_on_after(self._goodbyes.limit(GOODBYE_LIMIT), shield=True):
                await together(self._take_back)

    async def _take_back(self) -> None:
        await self._peer.stop_microphone()
        if not self._given_up:
            await self._negotiate(on=False)

    async def _negotiate(self, *, on: bool) -> str:
        """Offer, and return the answer."""
        for _ in range(ATTEMPTS):
            async with self._signals.negotiating:
                if self._unsettled:
                    await self._ask(admit=self._check)
                self._signals.answer = None
                offer = await self._peer.offer_microphone(on=on)
                self._unsettled = True
                await self._ask(requests.SignalOffer(sdp=offer), admit=self._check)
                self._unsettled = False
                if self._signals.answer is not None:
                    return self._signals.answer.sdp
        if not await self.answers():
            raise _gone()
        raise ProtocolViolation("The server does not answer the offer of a microphone.", step="microphone")

    def _check(self) -> None:
        """Before anything is sent: over a link that was made anew it would be for another peer."""
        if self._given_up:
            raise _gone()


def _gone() -> NekoError:
    return SessionLost("The media connection that was to carry the microphone is gone.", step="microphone")
