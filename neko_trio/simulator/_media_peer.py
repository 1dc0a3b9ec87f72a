"""One peer as the front on trio has it: calls go to the simulator's asyncio thread, what it tells comes from there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from neko_trio.media.bridge import Lease
from neko_trio.media.mailbox import Mailbox
from neko_trio.simulator._faults_media import PacketFault
from neko_trio.simulator._media_api import LocalCandidate, PeerCallbacks, ServerPeerStatistics
from neko_trio.simulator._offering_peer import OfferingPeer
from neko_trio.simulator._pipelines import Watch
from neko_trio.simulator._sound import Hearing

__all__ = ["EventCarrier", "SimulatorPeer"]

EVENTS_WAITING = 65_536
"""What a peer may have to tell while trio is busy; the real server reads as fast as input comes."""


class EventCarrier:
    """Carries what a peer tells from the asyncio thread to its callbacks on the trio thread, in order."""

    def __init__(self, callbacks: PeerCallbacks) -> None:
        self._callbacks = callbacks
        self._mailbox: Mailbox[Callable[[], None]] = Mailbox(lambda call: call(), EVENTS_WAITING)
        self.watch: Watch
        self.hearing: Hearing

    def close(self) -> None:
        """Call nobody any more. Trio thread."""
        self._mailbox.close()

    def offer(self, sdp: str) -> None:
        self._mailbox.put(partial(self._callbacks.on_offer, sdp))

    def candidate(self, text: str) -> None:
        self._mailbox.put(partial(self._callbacks.on_candidate, LocalCandidate(text, "0", 0)))

    def connected(self) -> None:
        self._mailbox.put(self._callbacks.on_connected)

    def data_channel_open(self) -> None:
        self._mailbox.put(self._callbacks.on_data_channel_open)

    def may_speak(self) -> str | None:
        """Asked in the asyncio thread."""
        return self._callbacks.may_speak()

    def data(self, message: bytes) -> None:
        self._mailbox.put(partial(self._callbacks.on_data, message))

    def end_streams(self) -> None:
        """Neither a watcher nor a listener any more."""
        self.watch.ended = self.hearing.ended = True
        self.apply()

    def apply(self) -> None:
        """Watch and listen as is wanted now."""
        self.watch.apply()
        self.hearing.apply()

    def closed(self, reason: str) -> None:
        self.end_streams()
        self._mailbox.put(partial(self._callbacks.on_closed, reason))


class SimulatorPeer:
    """A `_media_api.MediaPeer`. Made by `SimulatorMedia.new_peer`."""

    def __init__(self, lease: Lease, peer: OfferingPeer, events: EventCarrier) -> None:
        self._lease, self._peer, self._events = lease, peer, events

    async def answer(self, sdp: str) -> None:
        """The client's answer. ``ValueError`` for what is none; the peer stays as it was."""
        await self._lease.run(self._peer.answer, sdp)

    async def create_offer(self, *, ice_restart: bool = False) -> str:
        """An offer more on this connection; see `_media_api`."""
        return await self._lease.run(self._peer.create_offer, ice_restart)

    async def client_offer(self, sdp: str) -> str:
        """Our answer to the client's offer. ``ValueError`` for what is none."""
        return await self._lease.run(self._peer.client_offer, sdp)

    async def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline_index: int | None) -> None:
        """One candidate of the client, whatever its media line: all are bundled. ``ValueError`` for what is none."""
        await self._lease.run(self._peer.add_candidate, candidate)

    async def set_video(self, *, disabled: bool | None = None, stream: str | None = None) -> None:
        """Watch or not, and which stream; ``None`` leaves as it is. In effect at the return; ``KeyError`` for an
        unknown stream, and nothing changes."""
        await self._lease.run(self._set_video, disabled, stream)

    def _set_video(self, disabled: bool | None, stream: str | None) -> None:
        if stream is not None:
            self._events.watch.select(stream)
        if disabled is not None:
            self._events.watch.disabled = disabled
        self._events.watch.apply()

    async def set_audio(self, *, disabled: bool) -> None:
        """Whether the desktop's sound is sent. In effect at the return."""
        await self._lease.run(self._set_audio, disabled)

    def _set_audio(self, disabled: bool) -> None:
        self._events.hearing.disabled = disabled
        self._events.hearing.apply()

    def set_paused(self, paused: bool) -> None:
        """Private mode: neither watcher nor listener while paused (server: ``Track.SetPaused`` removes it)."""
        self._lease.post(self._set_paused, paused)

    def _set_paused(self, paused: bool) -> None:
        self._events.watch.paused = self._events.hearing.paused = paused
        self._events.apply()

    def set_silent(self, silent: bool) -> None:
        """A fault: cut off from the network."""
        self._lease.post(self._peer.set_silent, silent)

    def set_path(self, faults: tuple[PacketFault, ...]) -> None:
        """Faults: what becomes of datagrams from now on."""
        self._lease.post(self._peer.set_path, faults)

    def send_data(self, message: bytes) -> None:
        """On the data channel; dropped when that is not open."""
        self._lease.post(self._peer.send_data, message)

    def statistics(self) -> ServerPeerStatistics:
        """What has been sent so far."""
        video, audio = self._peer.sender.video.counts, self._peer.sender.audio.counts
        return ServerPeerStatistics(
            packets_sent=video.packets + audio.packets,
            frames_sent=video.frames,
            keyframes_sent=video.keyframes,
            nacks_received=video.nacks,
            packets_resent=video.resent,
        )

    async def aclose(self) -> None:
        """Close the connection; no callback any more. Idempotent. Cancelling ends the wait, not the closing."""
        self._events.close()
        await self._lease.run(self.aclose_here)

    async def aclose_here(self) -> None:
        """The same, in the asyncio thread."""
        self._events.end_streams()
        await self._peer.aclose()
