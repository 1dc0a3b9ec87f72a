"""One thread that turns encoded frames into pictures: bounded backlog, never a picture built on a broken reference.

Measured on 720p VP8 recorded from a real server: FFmpeg's own ``vp8`` takes 0.86 ms of CPU per frame, libvpx 1.10; a
second thread saves nothing (0.91) and frame threading would delay every picture by one. Hence one thread, FFmpeg's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from itertools import count
from threading import Condition, Thread
from time import perf_counter

import av
from av.codec.context import Flags
from av.video.reformatter import Colorspace

from neko_trio.media.depayload import VideoFormat
from neko_trio.media.jitter_buffer import EncodedFrame

logger = logging.getLogger(__name__)

UNSPECIFIED = 2
"""``AVCOL_SPC_UNSPECIFIED``, which PyAV has no name for."""

SD_LINES = 576
"""Lines up to which a picture without a tag is BT.601, as FFmpeg takes it. Above, the server's GStreamer makes BT.709
of the desktop's RGB. VP8 cannot say so (RFC 6386 section 9.2), and FFmpeg calls it BT.601 (seen: the server's 720p VP8
holds the same values as its H264, which is tagged BT.709)."""

_MICROSECOND = Fraction(1, 1_000_000)
_names = count(1)


class Decoder:
    """Decodes frames in order on a thread of its own and hands each picture to ``deliver`` there."""

    BACKLOG = 32
    """Encoded frames that may wait. One more, and everything up to the next keyframe is dropped."""
    SKIP_AHEAD = 8
    """With so many waiting, a keyframe that arrives goes first: what was before it is old already."""

    def __init__(self, codec: VideoFormat, deliver: Callable[[av.VideoFrame, float], None]) -> None:
        """``deliver(picture, arrived)`` runs on the decoder's thread; ``arrived`` is the encoded frame's."""
        self.frames_decoded = self.frames_dropped = self.decode_errors = 0
        self.decode_seconds = 0.0
        self._codec, self._deliver = codec, deliver
        self._changed = Condition()
        self._waiting: deque[EncodedFrame] = deque()
        self._need_key = True
        self._stopping = False
        self._thread: Thread | None = None
        self._ended = asyncio.Event()

    def start(self) -> None:
        """Start the thread. On the loop that will ``aclose``; once."""
        loop = asyncio.get_running_loop()
        self._thread = Thread(
            target=self._run, args=(loop,), name=f"neko-trio-decode-{next(_names)}", daemon=True
        )  # daemon: should the loop die, nobody is left to join it, and the process must still be able to end
        self._thread.start()

    def submit(self, frame: EncodedFrame) -> bool:
        """Queue a frame; whether it was taken. Any thread; never blocks.

        ``False``: nothing is taken before a keyframe, or after ``stop``.
        """
        with self._changed:
            if self._stopping:
                return False
            if frame.key:
                if len(self._waiting) >= self.SKIP_AHEAD:
                    self._drop_waiting()
                self._need_key = False
            elif self._need_key:
                self.frames_dropped += 1
                return False
            elif len(self._waiting) >= self.BACKLOG:
                self._drop_waiting()
                self.frames_dropped += 1
                self._need_key = True
                return False
            self._waiting.append(frame)
            self._changed.notify()
        return True

    def stop(self) -> None:
        """Tell the thread to end after the frame it is at. Any thread; never blocks; idempotent."""
        with self._changed:
            self._stopping = True
            self._drop_waiting()
            self._changed.notify()

    async def aclose(self) -> None:
        """End the thread and wait for it, without blocking the loop. Idempotent; cancelled, it ends all the same."""
        self.stop()
        if self._thread is not None:
            await self._ended.wait()
            self._thread.join()  # it has left its last line of work: this takes microseconds

    def _drop_waiting(self) -> None:
        self.frames_dropped += len(self._waiting)
        self._waiting.clear()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            context = av.CodecContext.create(self._codec.decoder, "r")
            assert isinstance(context, av.VideoCodecContext)
            context.thread_count = 1
            context.flags |= Flags.low_delay
            context.open()
            while (frame := self._take()) is not None:
                self._decode(context, frame)
        finally:
            try:
                loop.call_soon_threadsafe(self._ended.set)
            except RuntimeError:
                logger.debug("the loop ended before its decoder")  # nobody is left to wait for this thread

    def _take(self) -> EncodedFrame | None:
        with self._changed:
            while not self._waiting and not self._stopping:
                self._changed.wait()
            return None if self._stopping else self._waiting.popleft()

    def _decode(self, context: av.VideoCodecContext, frame: EncodedFrame) -> None:
        packet = av.Packet(frame.data)
        packet.pts, packet.time_base = int(frame.arrived * 1_000_000), _MICROSECOND
        started = perf_counter()
        try:
            pictures = context.decode(packet)
        except av.FFmpegError as error:
            self._lose_reference(f"{type(error).__name__}: {error}")
            return
        finally:
            self.decode_seconds += perf_counter() - started
        if any(picture.is_corrupt for picture in pictures):
            self._lose_reference("concealed errors")
            return
        for picture in pictures:
            self.frames_decoded += 1
            if picture.height > SD_LINES and (self._codec.name == "VP8" or picture.colorspace == UNSPECIFIED):
                picture.colorspace = Colorspace.ITU709
            arrived = frame.arrived if picture.pts is None else picture.pts / 1_000_000
            self._deliver(picture, arrived)

    def _lose_reference(self, reason: str) -> None:
        """Drop what waits up to the next keyframe."""
        self.decode_errors += 1
        with self._changed:
            while self._waiting and not self._waiting[0].key:
                self._waiting.popleft()
                self.frames_dropped += 1
            self._need_key = not self._waiting
        logger.warning("a %s frame could not be decoded (%s)", self._codec.name, reason)
