"""The encoded frames that wait for the decoder, and which of them is worth its time. No thread, no clock, no lock.

Nobody looks: what came since the last keyframe (or since the last decoded frame) is kept, and nothing decoded. Somebody
looks: decoding begins at the last keyframe, or goes on after the last decoded frame. Nothing is ever taken out of its
order, and nothing before a keyframe.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from neko_trio.media.jitter_buffer import EncodedFrame

if TYPE_CHECKING:
    from neko_trio.media.frames import FrameContext


class NumberedFrame(NamedTuple):
    """A complete encoded frame as the session knows it."""

    number: int
    context: FrameContext
    """As of when it was complete."""
    encoded: EncodedFrame
    latency: float = 0.0
    """See ``Frame.latency``."""
    key_arrived: float | None = None
    """See ``Frame.key_arrived``."""


class PictureGroup:
    """A queue of encoded frames, bounded in frames and bytes."""

    KEPT, KEPT_BYTES = 64, 8 << 20
    """What may wait while nobody looks. One frame more, and all that waits is decoded: a reader who comes later needs
    no new keyframe, and waits for the decoding of no more than that (64 frames of 1080p: 130 ms)."""
    BACKLOG, BACKLOG_BYTES = 96, 16 << 20
    """What may wait for a decoder that is behind. One frame more, and all up to the next keyframe is dropped."""

    def __init__(self) -> None:
        self.newest = 0
        """Number of the newest frame that was taken in, 0 for none."""
        self.frames_undecoded = 0
        """Frames dropped because a keyframe came before anybody looked."""
        self.frames_dropped = 0
        """Frames dropped because the decoder was behind, or lost a reference."""
        self._waiting: deque[NumberedFrame] = deque()
        self._bytes = self._keys = 0  # of those that wait
        self._need_key = True
        self._looked = self._every = False
        self._after = -math.inf
        self._decode_to = 0  # number of the last frame that is decoded even if nobody looks
        self._begun = False  # a frame has been decoded

    def __len__(self) -> int:
        return len(self._waiting)

    # -- what comes

    def add(self, frame: NumberedFrame) -> bool:
        """Take a frame in; ``False``: it is of no use, or drops what waits, for want of a keyframe."""
        if frame.encoded.key:
            if not self._every:
                self._drop_all()
            self._need_key = False
            if not self._begun:  # each peer's first picture is decoded in any case
                self._decode_to = frame.number
        elif self._need_key:
            self.frames_dropped += 1
            return False
        self._waiting.append(frame)
        self._bytes += len(frame.encoded.data)
        self._keys += frame.encoded.key
        self.newest = frame.number
        if len(self._waiting) > self.BACKLOG or self._bytes > self.BACKLOG_BYTES:
            self.frames_dropped += 1
            self._drop_first()
            self.drop_to_keyframe()
            return not self._need_key
        if not self._looked and (len(self._waiting) > self.KEPT or self._bytes > self.KEPT_BYTES):
            self._decode_to = frame.number
        return True

    # -- who wants it

    def look(self, *, every: bool, after: float) -> None:
        """Somebody looks; the arguments are those of ``FrameSource.look``."""
        self._looked, self._every, self._after = True, every, after
        while not every and self._waiting and self._keys > self._waiting[0].encoded.key:
            self._drop_first()
            self.frames_dropped += 1

    def rest(self) -> None:
        """Nobody looks any more."""
        self._looked = self._every = False

    # -- what is decoded

    @property
    def ready(self) -> bool:
        """Whether the frame at the front is to be decoded now."""
        if not self._waiting:
            return False
        if self._waiting[0].number <= self._decode_to:
            return True
        return self._looked and self._waiting[-1].encoded.arrived > self._after

    def take(self) -> NumberedFrame:
        """The frame at the front, to be decoded now."""
        return self._drop_first()

    def decoded(self) -> None:
        """A frame has been decoded."""
        self._begun = True

    def drop_to_keyframe(self) -> bool:
        """A reference is lost: drop what waits up to the next keyframe; whether there is one."""
        while self._waiting and not self._waiting[0].encoded.key:
            self._drop_first()
            self.frames_dropped += 1
        self._need_key = not self._waiting
        return not self._need_key

    def clear(self) -> None:
        """Drop all that waits; take nothing before a keyframe."""
        self._drop_all()
        self._need_key = True

    def _drop_all(self) -> None:
        if self.ready:
            self.frames_dropped += len(self._waiting)
        else:
            self.frames_undecoded += len(self._waiting)
        self._waiting.clear()
        self._bytes = self._keys = 0

    def _drop_first(self) -> NumberedFrame:
        frame = self._waiting.popleft()
        self._bytes -= len(frame.encoded.data)
        self._keys -= frame.encoded.key
        return frame
