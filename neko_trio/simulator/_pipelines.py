"""Who watches which video pipeline: frames of one encoder to many peers, and each peer's choice among the pipelines."""

from __future__ import annotations

from neko_trio.media.bridge import Lease
from neko_trio.simulator._encoder import EncodedFrame, Encoder
from neko_trio.simulator._offering_peer import OfferingPeer

__all__ = ["Pipeline", "Watch"]


class Pipeline:
    """One stream: its encoder and who watches it. In the asyncio thread, except for ``deliver``."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._peers: set[OfferingPeer] = set()
        self.encoder: Encoder

    def deliver(self, frame: EncodedFrame) -> None:
        """Encoder's thread."""
        self._lease.post(self._fan_out, frame)

    def _fan_out(self, frame: EncodedFrame) -> None:
        self.encoder.delivered()
        for peer in self._peers:
            peer.sender.offer_frame(frame)

    def add(self, peer: OfferingPeer) -> None:
        """One more watches."""
        peer.sender.watch()
        self._peers.add(peer)
        self.encoder.add_watcher()

    def remove(self, peer: OfferingPeer) -> None:
        """It watches no more, and what waits for it is not sent."""
        self._peers.discard(peer)
        self.encoder.remove_watcher()
        peer.sender.drop_frames()


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
