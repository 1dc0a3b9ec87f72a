"""Who watches which video pipeline: frames of one encoder to many peers, and each peer's choice among the pipelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from neko_trio.media.bridge import Lease
from neko_trio.simulator._encoder import EncodedFrame, Encoder
from neko_trio.simulator._offering_peer import OfferingPeer
from neko_trio.simulator._picture import Picture

__all__ = ["LivePipeline", "Pipeline", "Watch"]


class Pipeline(Protocol):
    """One stream, and who watches it. ``add`` and ``remove`` in the asyncio thread, the rest on the trio thread."""

    @property
    def watchers(self) -> int:
        """How many watch now. Any thread."""

    @property
    def frames_total(self) -> int:
        """Frames made so far. Any thread."""

    def add(self, peer: OfferingPeer) -> None:
        """One more watches."""

    def remove(self, peer: OfferingPeer) -> None:
        """It watches no more, and what waits for it is not sent."""

    async def resize(self, size: tuple[int, int], rate: int) -> None:
        """Go on with another picture size (pixels) and rate (Hz), beginning with a keyframe."""

    def end(self) -> None:
        """Make no frames any more. Idempotent."""

    async def join(self) -> None:
        """After ``end``: wait until nothing of it runs."""


class LivePipeline:
    """A `Pipeline` that draws and encodes while somebody watches, once for everybody."""

    def __init__(
        self,
        lease: Lease,
        name: str,
        *,
        codec: str,
        size: tuple[int, int],
        rate: int,
        draw: Callable[[float, tuple[int, int]], Picture],
        failed: Callable[[Exception], object],
        delay: float = 0.0,
    ) -> None:
        self._lease = lease
        self._peers: set[OfferingPeer] = set()
        self._encoder = Encoder(
            name, codec=codec, size=size, rate=rate, draw=draw, deliver=self._deliver, failed=failed, delay=delay
        )

    @property
    def watchers(self) -> int:
        return self._encoder.watchers

    @property
    def frames_total(self) -> int:
        return self._encoder.frames_total

    def _deliver(self, frame: EncodedFrame) -> None:
        """Encoder's thread."""
        self._lease.post(self._fan_out, frame)

    def _fan_out(self, frame: EncodedFrame) -> None:
        self._encoder.delivered()
        for peer in self._peers:
            peer.sender.offer_frame(frame)

    def add(self, peer: OfferingPeer) -> None:
        peer.sender.watch()
        self._peers.add(peer)
        self._encoder.add_watcher()

    def remove(self, peer: OfferingPeer) -> None:
        self._peers.discard(peer)
        self._encoder.remove_watcher()
        peer.sender.drop_frames()

    async def resize(self, size: tuple[int, int], rate: int) -> None:
        self._encoder.resize(size, rate)
        await trio.lowlevel.checkpoint()

    def end(self) -> None:
        self._encoder.end()

    async def join(self) -> None:
        await trio.to_thread.run_sync(self._encoder.join, limiter=trio.CapacityLimiter(1))


class Watch:
    """Which pipeline a peer watches, out of what has been said about it. In the asyncio thread."""

    def __init__(self, peer: OfferingPeer, pipelines: dict[str, Pipeline], *, disabled: bool, stream: str) -> None:
        self._peer, self._pipelines = peer, pipelines
        self.disabled, self.stream = disabled, stream
        self.paused = self.ended = False
        self._watched: Pipeline | None = None

    def select(self, stream: str) -> None:
        """Another stream, from the next ``apply`` on. ``KeyError`` for an unknown one."""
        if stream not in self._pipelines:
            raise KeyError(stream)
        self.stream = stream

    def apply(self) -> None:
        """Watch what is wanted now, and nothing else."""
        off = self.disabled or self.paused or self.ended
        wanted = None if off else self._pipelines[self.stream]
        if wanted is not self._watched:
            if self._watched is not None:
                self._watched.remove(self._peer)
            if wanted is not None:
                wanted.add(self._peer)
            self._watched = wanted
