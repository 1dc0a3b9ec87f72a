"""One video pipeline: draws the desktop, encodes it once for everybody, in a thread of its own, while someone watches.

What the real server's pipelines do (GStreamer's vp8enc, vp9enc, x264enc and av1enc, neko-protocol.md §3.6), and so does
this: the thread idles without watchers; the first one starts the pipeline, which begins with a keyframe; a keyframe
comes every 25 frames; with VP8 and VP9 each added watcher brings one as well, with H.264 and AV1 it does not.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from neko_trio.simulator._picture import Picture

__all__ = ["CODECS", "KEYFRAME_INTERVAL", "EncodedFrame", "Encoder", "coding", "even_size"]

KEYFRAME_INTERVAL = 25
"""Frames from one keyframe to the next, as the server's pipelines are configured."""
BIT_RATE = 2_000_000
MAX_UNDELIVERED = 3
"""Frames that may be on their way to the peers; with more the pipeline skips until they have gone."""

# measured, 1280x720 at 25 Hz, drawing included: VP8 0.05 core at rest, 0.13 while typing; H.264 0.04 and 0.12
# encoding alone, a moving picture of that size: VP9 12 ms of CPU per frame, AV1 12 (threads of its own); at 320x200 1
_LIBVPX = {"deadline": "realtime", "lag-in-frames": "0", "static-thresh": "300", "qmin": "4", "qmax": "40"}
_OPTIONS = {
    "vp8": ("libvpx", {**_LIBVPX, "cpu-used": "16"}),
    "h264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "forced-idr": "1"}),
    "vp9": ("libvpx-vp9", {**_LIBVPX, "cpu-used": "8"}),
    # The one AV1 encoder that PyAV brings. Low delay: each frame comes out before the next goes in. From preset 10 on
    # it leaves things that moved where they were, for a frame or two.
    "av1": (
        "libsvtav1",
        {"preset": "8", "svtav1-params": "rtc=1:pred-struct=1:rc=2:min-qp=4:max-qp=40:force-key-frames=1:lp=1"},
    ),
}
CODECS = tuple(_OPTIONS)
"""Names of the codecs there are."""
_KEYFRAME_FOR_WATCHER = ("vp8", "vp9")
"""Codecs whose encoder takes GStreamer's request for a keyframe (seen: x264enc and av1enc of GStreamer 1.22 do not)."""


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One frame as the codec made it: a VP8 frame, a VP9 frame or superframe, an H.264 access unit in Annex B form, or
    an AV1 temporal unit of OBUs with sizes."""

    data: bytes
    keyframe: bool
    duration: int
    """How long it is shown, in 90 kHz ticks: what the RTP timestamp grows by behind it."""


class Encoder:
    """The thread of one pipeline. All methods may be called from any thread; only ``join`` blocks.

    ``draw(now, size)`` makes the picture and runs on the encoder's thread, as ``deliver(frame)`` does; ``deliver`` must
    not block, and whoever it hands the frame to calls ``delivered`` when it has gone. When drawing or encoding raises,
    the thread ends with ``failed(error)``. Each picture is encoded ``delay`` seconds after it was drawn: a real server
    converts and queues it meanwhile.
    """

    def __init__(
        self,
        name: str,
        *,
        codec: str,
        size: tuple[int, int],
        rate: int,
        draw: Callable[[float, tuple[int, int]], Picture],
        deliver: Callable[[EncodedFrame], object],
        failed: Callable[[Exception], object],
        delay: float = 0.0,
    ) -> None:
        if codec not in _OPTIONS:
            raise ValueError(f"no codec {codec!r}; there are {', '.join(_OPTIONS)}")
        self._codec = codec
        self._draw, self._deliver, self._failed, self._delay = draw, deliver, failed, delay
        self._state = threading.Condition()
        self._size, self._rate = even_size(size), rate
        self._watchers = 0
        self._run_number = 0  # how often the last watcher left: one that comes at once still gets a new pipeline
        self._undelivered = 0
        self._keyframe_wanted = False
        self._ending = False
        self.frames_total = 0
        """Frames encoded so far."""
        self.skipped_total = 0
        """Ticks without a frame because the peers were behind."""
        self._thread = threading.Thread(target=self._run, name=f"neko-trio-simulator-{name}", daemon=True)
        self._thread.start()

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return self._watchers

    def add_watcher(self) -> None:
        """One more watches: the pipeline runs, and with VP8 and VP9 its next frame is a keyframe."""
        with self._state:
            self._watchers += 1
            if self._codec in _KEYFRAME_FOR_WATCHER:
                self._keyframe_wanted = True
            self._state.notify()

    def remove_watcher(self) -> None:
        """One less; the last one stops the pipeline."""
        with self._state:
            self._watchers -= 1
            self._run_number += not self._watchers
            self._state.notify()

    def resize(self, size: tuple[int, int], rate: int) -> None:
        """Go on with another picture size (pixels) and rate (Hz), beginning with a keyframe, also when nothing
        changed: the real server rebuilds its pipelines on every ``screen/set``."""
        with self._state:
            self._size, self._rate, self._keyframe_wanted = even_size(size), rate, True
            self._state.notify()

    def delivered(self) -> None:
        """A delivered frame has gone to the peers."""
        with self._state:
            self._undelivered -= 1

    def end(self) -> None:
        """Tell the thread to end. Idempotent."""
        with self._state:
            self._ending = True
            self._state.notify()

    def join(self) -> None:
        """Wait for the thread's end, at most for one frame's drawing and encoding after ``end``. Blocks."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._wait_for_watchers():
                self._stream()
        except Exception as error:  # noqa: BLE001 - a user's desktop draws here; whatever it raises is handed over
            self._failed(error)

    def _wait_for_watchers(self) -> bool:
        with self._state:
            self._state.wait_for(lambda: self._watchers > 0 or self._ending)
            return not self._ending

    def _stream(self) -> None:
        """Run the pipeline from its first watcher to the end of its last, or until size or rate change."""
        with self._state:
            run = size, rate, _ = self._size, self._rate, self._run_number
        with coding(self._codec, size, rate) as context:
            self._encode_until_stopped(context, run)

    def _encode_until_stopped(self, context: VideoCodecContext, run: tuple[tuple[int, int], int, int]) -> None:
        size, rate, _ = run
        duration = 90_000 // rate
        since_keyframe = KEYFRAME_INTERVAL  # begins with one
        drawn: deque[tuple[float, VideoFrame]] = deque()  # when it is to be encoded, what
        number = 0
        due = time.monotonic()
        while True:
            with self._state:
                while not self._stops(run):
                    next_at = min(due, drawn[0][0]) if drawn else due
                    if (left := next_at - time.monotonic()) <= 0:
                        break
                    self._state.wait(left)
                else:
                    return  # the pictures on their way are lost
                if encodes := bool(drawn) and drawn[0][0] <= time.monotonic():
                    keyframe = self._keyframe_wanted or since_keyframe >= KEYFRAME_INTERVAL
                    self._keyframe_wanted = False
                else:
                    due = max(due + 1 / rate, time.monotonic())
                    if self._undelivered >= MAX_UNDELIVERED:
                        self.skipped_total += 1
                        continue
            if not encodes:
                now = time.monotonic()
                drawn.append((now + self._delay, self._draw(now, size).to_frame()))
                continue
            frame = drawn.popleft()[1]
            frame.pts = number
            frame.pict_type = PictureType.I if keyframe else PictureType.NONE
            for packet in context.encode(frame):
                with self._state:
                    self._undelivered += 1
                self._deliver(EncodedFrame(bytes(packet), packet.is_keyframe, duration))
            since_keyframe = 1 if keyframe else since_keyframe + 1
            number += 1
            self.frames_total += 1

    def _stops(self, run: tuple[tuple[int, int], int, int]) -> bool:
        return self._ending or self._watchers == 0 or (self._size, self._rate, self._run_number) != run


def even_size(size: tuple[int, int]) -> tuple[int, int]:
    """``size`` with both sides rounded down to what 4:2:0 can have."""
    return max(size[0] & ~1, 2), max(size[1] & ~1, 2)


@contextmanager
def coding(codec: str, size: tuple[int, int], rate: int) -> Iterator[VideoCodecContext]:
    """A coder as the pipelines use it: keyframes only where they are asked for, every frame out at once. At the end of
    the block it is told so, which lets the threads of some coders go."""
    name, options = _OPTIONS[codec]
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 listens to nothing else, and prints a page for each encoder
    context = CodecContext.create(name, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height = size
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, rate)
    context.framerate = Fraction(rate)
    context.bit_rate = BIT_RATE
    context.gop_size = 1_000_000  # keyframes are asked for, one by one
    context.max_b_frames = 0
    context.thread_count = 1
    context.options = options
    try:
        yield context
    finally:
        if context.is_open:
            context.encode(None)
