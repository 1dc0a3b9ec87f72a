"""The simulator's media, for its front on trio: pipelines that draw and encode, and the peers that watch them.

See `_media_api` for what the front may ask. Trio here; asyncio only through a lease of the simulator's own thread,
which is never the client's. Each pipeline has a thread more, which works only while someone watches.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from neko_trio.media.bridge import Lease
from neko_trio.simulator._desktop import Desktop, LockedDesktop
from neko_trio.simulator._ice import Network
from neko_trio.simulator._ice_tcp import TcpMux
from neko_trio.simulator._media_api import PeerCallbacks
from neko_trio.simulator._media_peer import EventCarrier, SimulatorPeer
from neko_trio.simulator._microphone import Microphone
from neko_trio.simulator._offering_peer import OfferingPeer, PeerLimits
from neko_trio.simulator._pipelines import LivePipeline, Pipeline, Watch
from neko_trio.simulator._recorded import RecordedPipeline
from neko_trio.simulator._sound import Hearing, SoundPipeline

__all__ = ["DesktopFailed", "PeerLimits", "SimulatorMedia", "open_media"]

CLOSE_LIMIT = 5.0
"""Seconds that closing all peers may take."""


class DesktopFailed(RuntimeError):
    """The desktop raised, or what it returned cannot be encoded: the simulator cannot go on."""


class SimulatorMedia:
    """A `_media_api.MediaServer`. Made by `open_media`."""

    def __init__(
        self,
        lease: Lease,
        desktop: LockedDesktop,
        *,
        codec: str,
        network: Network,
        limits: PeerLimits,
        microphone: Microphone,
    ) -> None:
        self._lease, self._codec, self._network, self._limits = lease, codec, network, limits
        self._microphone = microphone
        self._mux = TcpMux() if "tcp" in network.transports else None
        self._token = trio.lowlevel.current_trio_token()
        self._scope = trio.CancelScope()
        self._failure: Exception | None = None
        self._peers: set[OfferingPeer] = set()  # asyncio thread
        self._pipelines: dict[str, Pipeline] = {}
        self._sound = SoundPipeline(lease, desktop, self._failed)

    async def open_pipelines(
        self,
        desktop: LockedDesktop,
        *,
        size: tuple[int, int],
        rate: int,
        streams: Sequence[str],
        pre_encoded: bool,
        delay: float,
    ) -> None:
        """Make the streams, the first of the full size, the second of half of it, and so on."""
        for index, stream in enumerate(streams):
            scaled = _scaled(size, index)
            self._pipelines[stream] = (
                await RecordedPipeline.open(
                    self._lease, codec=self._codec, size=scaled, rate=rate, draw=desktop.picture
                )
                if pre_encoded
                else LivePipeline(
                    self._lease,
                    f"video-{stream}",
                    codec=self._codec,
                    size=scaled,
                    rate=rate,
                    draw=desktop.picture,
                    failed=self._failed,
                    delay=delay,
                )
            )

    async def open_mux(self) -> None:
        """Listen for TCP, if clients may come by it. ``OSError`` when an address cannot be bound."""
        if self._mux is not None:
            await self._lease.run(self._mux.open, self._network.addresses)

    @property
    def streams(self) -> Sequence[str]:
        """The ids of the video pipelines, best first."""
        return tuple(self._pipelines)

    @property
    def watchers(self) -> int:
        """How many peers watch now, all streams together."""
        return sum(pipeline.watchers for pipeline in self._pipelines.values())

    @property
    def frames_total(self) -> int:
        """Frames encoded so far, all streams together."""
        return sum(pipeline.frames_total for pipeline in self._pipelines.values())

    async def new_peer(
        self, callbacks: PeerCallbacks, *, video_disabled: bool, stream: str, audio_disabled: bool
    ) -> SimulatorPeer:
        """A new peer connection; see `_media_api`. ``KeyError`` for an unknown stream, ``OSError`` when none of the
        addresses can be bound."""
        if stream not in self._pipelines:
            raise KeyError(stream)
        events = EventCarrier(callbacks)
        return await self._lease.run(self._new_peer, events, video_disabled, stream, audio_disabled)

    async def _new_peer(
        self, events: EventCarrier, video_disabled: bool, stream: str, audio_disabled: bool
    ) -> SimulatorPeer:
        peer = OfferingPeer(
            codec=self._codec,
            network=self._network,
            mux=self._mux,
            microphone=self._microphone,
            limits=self._limits,
            events=events,
            forget=self._peers.discard,
        )
        self._peers.add(peer)
        events.watch = Watch(peer, self._pipelines, disabled=video_disabled, stream=stream)
        events.hearing = Hearing(peer, self._sound, disabled=audio_disabled)
        made = SimulatorPeer(self._lease, peer, events)
        try:
            events.apply()
            await peer.open()
        except BaseException:  # cancelled, too: nothing stays open
            await made.aclose_here()  # noqa: ASYNC102 - bounded by the limits of the peer
            raise
        return made

    async def resize(self, size: tuple[int, int], rate: int) -> None:
        """Another screen size (pixels) and rate (Hz); running streams go on with a keyframe of that size."""
        for index, pipeline in enumerate(self._pipelines.values()):
            await pipeline.resize(_scaled(size, index), rate)

    def _failed(self, error: Exception) -> None:
        """Encoder's thread."""
        try:
            self._token.run_sync_soon(self._fail, error)
        except trio.RunFinishedError:
            return  # nobody is left to be told

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._scope.cancel()

    async def _close(self) -> None:
        for pipeline in self._pipelines.values():
            pipeline.end()
        self._sound.end()
        await self._lease.run(self._close_peers)
        await self._sound.join()
        for pipeline in self._pipelines.values():
            await pipeline.join()

    async def _close_peers(self) -> None:
        for peer in list(self._peers):
            await peer.aclose()
        if self._mux is not None:
            await self._mux.close()


@asynccontextmanager
async def open_media(
    lease: Lease,
    desktop: Desktop,
    size: tuple[int, int] = (1280, 720),
    rate: int = 25,
    codec: str = "vp8",
    *,
    streams: Sequence[str] = ("main",),
    network: Network | None = None,
    limits: PeerLimits | None = None,
    pre_encoded: bool = False,
    pipeline_delay: float = 0.0,
    microphone: Microphone | None = None,
) -> AsyncIterator[SimulatorMedia]:
    """The simulator's media as long as the block lasts; then every peer is closed and every thread ended.

    ``lease`` is one of the simulator's asyncio thread. ``desktop`` is drawn at most ``rate`` times a second; give the
    `LockedDesktop` that input goes to as well. ``streams`` are pipelines of the full size, of half, a quarter, …, each
    drawn and encoded on its own. ``network`` says where and how peers are reached, on loopback by default.
    ``pre_encoded``: draw and encode a loop of two seconds before the block, and play that to every watcher.
    ``pipeline_delay``: seconds from the drawing of a picture to its encoding; it cannot be seen in a loop.

    ``ValueError`` for an unknown codec. When the desktop raises, the block is cancelled and `DesktopFailed`
    comes out, from that error.
    """
    locked = desktop if isinstance(desktop, LockedDesktop) else LockedDesktop(desktop)
    media = SimulatorMedia(
        lease,
        locked,
        codec=codec,
        network=network or Network(),
        limits=limits or PeerLimits(),
        microphone=microphone or Microphone(),
    )
    try:
        await media.open_mux()
        await media.open_pipelines(
            locked, size=size, rate=rate, streams=streams, pre_encoded=pre_encoded, delay=pipeline_delay
        )
        with media._scope:
            yield media
    finally:
        with trio.move_on_after(CLOSE_LIMIT, shield=True):
            await media._close()
    if media._failure is not None:
        raise DesktopFailed(f"the desktop failed: {media._failure}") from media._failure


def _scaled(size: tuple[int, int], index: int) -> tuple[int, int]:
    return max(size[0] >> index, 2), max(size[1] >> index, 2)
