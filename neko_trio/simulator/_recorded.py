"""A pipeline whose stream was encoded beforehand: for measuring clients, which then do not wait for an encoder.

A short loop of the desktop is drawn and encoded once. Every watcher gets it from the start, which is a keyframe, in its
own time, as a server would do it that has hardware to spare. What is typed does not change it, and the time in its
frame codes is that of the drawing. Another screen size records a new loop, of what the desktop shows at that moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import trio
from av.video.frame import PictureType

from neko_trio.media.bridge import Lease
from neko_trio.simulator._encoder import KEYFRAME_INTERVAL, EncodedFrame, coding, even_size
from neko_trio.simulator._media_sender import Playback
from neko_trio.simulator._offering_peer import OfferingPeer
from neko_trio.simulator._picture import Picture

__all__ = ["RecordedPipeline", "record"]

LOOP_FRAMES = 2 * KEYFRAME_INTERVAL
"""Frames of the loop: two groups of pictures."""

Draw = Callable[[float, tuple[int, int]], Picture]


def record(draw: Draw, codec: str, size: tuple[int, int], rate: int) -> list[EncodedFrame]:
    """Draw and encode the loop, as fast as it goes. Blocks for some tenths of a second."""
    size = even_size(size)
    began = time.monotonic()
    frames = []
    with coding(codec, size, rate) as context:
        for number in range(LOOP_FRAMES):
            frame = draw(began + number / rate, size).to_frame()
            frame.pts = number
            frame.pict_type = PictureType.NONE if number % KEYFRAME_INTERVAL else PictureType.I
            packets = context.encode(frame)
            frames += [EncodedFrame(bytes(packet), packet.is_keyframe, 90_000 // rate) for packet in packets]
    return frames


class RecordedPipeline:
    """A `_pipelines.Pipeline`; made by `open`."""

    def __init__(self, lease: Lease, draw: Draw, codec: str, frames: Sequence[EncodedFrame], rate: int) -> None:
        self._lease, self._draw, self._codec = lease, draw, codec
        self._frames, self._interval = frames, 1 / rate
        self._playing: dict[OfferingPeer, Playback] = {}
        self.frames_total = 0
        """Frames played so far, to all watchers together."""

    @classmethod
    async def open(cls, lease: Lease, *, codec: str, size: tuple[int, int], rate: int, draw: Draw) -> RecordedPipeline:
        """Record the loop. Raises what ``draw`` raises."""
        frames = await trio.to_thread.run_sync(record, draw, codec, size, rate)
        return cls(lease, draw, codec, frames, rate)

    @property
    def watchers(self) -> int:
        return len(self._playing)

    def add(self, peer: OfferingPeer) -> None:
        peer.sender.watch()
        playback = self._playing[peer] = Playback(partial(self._play, peer))
        playback.start(self._frames, self._interval)

    def remove(self, peer: OfferingPeer) -> None:
        self._playing.pop(peer).stop()
        peer.sender.drop_frames()

    def _play(self, peer: OfferingPeer, frame: EncodedFrame) -> None:
        self.frames_total += 1
        peer.sender.offer_frame(frame)

    async def resize(self, size: tuple[int, int], rate: int) -> None:
        frames = await trio.to_thread.run_sync(record, self._draw, self._codec, size, rate)
        await self._lease.run(self._change, frames, 1 / rate)

    def _change(self, frames: Sequence[EncodedFrame], interval: float) -> None:
        self._frames, self._interval = frames, interval
        for playback in self._playing.values():
            playback.start(frames, interval)

    def end(self) -> None:
        """Nothing: its timers end with the peers that watch."""

    async def join(self) -> None:
        await trio.lowlevel.checkpoint()
