"""One thread that turns encoded frames into pictures while somebody looks; never one built on a broken reference.

Measured on 720p VP8 recorded from a real server: FFmpeg's own ``vp8`` takes 0.86 ms of CPU per frame, libvpx 1.10; a
second thread saves nothing (0.91) and frame threading would delay every picture by one. Hence FFmpeg's own, and slice
threads at most.

A thread per peer, begun with the first frame that is to be decoded (0.1 ms, once), was chosen over a pool: an idle one
costs 17 KiB and no CPU (100 of them: 1.7 MiB), waking it 11 µs, and closing it needs nobody else's consent.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from itertools import count
from threading import Condition, Thread
from time import perf_counter

import av
from av.codec.context import Flags
from av.video.reformatter import Colorspace

from neko_trio.media.depayload import BadPayload, VideoFormat
from neko_trio.media.depayload.vp9_size import bounded_vp9
from neko_trio.media.picture_group import NumberedFrame, PictureGroup

logger = logging.getLogger(__name__)

UNSPECIFIED = 2
"""``AVCOL_SPC_UNSPECIFIED``, which PyAV has no name for."""

SD_LINES = 576
"""Lines up to which a picture without a tag is BT.601, as FFmpeg takes it. Above, the server's GStreamer makes BT.709
of the desktop's RGB. VP8 cannot say so (RFC 6386 section 9.2), and FFmpeg calls it BT.601 (seen: the server's 720p VP8
holds the same values as its H264, which is tagged BT.709)."""

MOST_PIXELS = 8192 * 4320
"""Of one picture: 8K. A header of some bytes that says more would cost gigabytes."""

DELAY_LIMIT = 64
"""Frames that a decoder may hold back; with no B frames and no frame threads it holds none."""

_names = count(1)


class Decoder:
    """A peer's :class:`~neko_trio._ports.frames.FrameSource`: decodes in order, and hands each picture on."""

    def __init__(
        self,
        codec: VideoFormat,
        deliver: Callable[[NumberedFrame, av.VideoFrame], None],
        on_lost: Callable[[], object] = lambda: None,
    ) -> None:
        """``deliver`` runs on the decoder's thread. ``on_lost`` runs on the loop when a frame could not be decoded and
        nothing can be until a keyframe comes."""
        self.frames_decoded = self.decode_errors = 0
        self.decode_seconds = 0.0
        self._codec, self._deliver, self._on_lost = codec, deliver, on_lost
        self._changed = Condition()
        self._group = PictureGroup()
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._ended = asyncio.Event()
        self._decoding: dict[int, NumberedFrame] = {}  # in the decoder, by number: pictures may come later

    def start(self) -> None:
        """Take frames from now on. On the loop that will ``aclose``; once."""
        self._loop = asyncio.get_running_loop()

    # -- any thread; none blocks

    @property
    def frames_undecoded(self) -> int:
        """Frames dropped because nobody looked before a keyframe made them useless."""
        return self._group.frames_undecoded

    @property
    def frames_dropped(self) -> int:
        """Frames dropped because the decoder was behind, or failed on one before."""
        return self._group.frames_dropped

    @property
    def frames_waiting(self) -> int:
        """Frames kept encoded now."""
        return len(self._group)

    def submit(self, frame: NumberedFrame) -> bool:
        """Take a complete frame; ``False``: it is of no use without a keyframe, or we are stopping."""
        with self._changed:
            if self._stopping:
                return False
            taken = self._group.add(frame)
            self._go_on()
            return taken

    def look(self, *, every: bool = False, after: float = -math.inf) -> int:
        """See :class:`~neko_trio._ports.frames.FrameSource`."""
        with self._changed:
            self._group.look(every=every, after=after)
            self._go_on()
            return self._group.newest

    def rest(self) -> None:
        """See :class:`~neko_trio._ports.frames.FrameSource`."""
        with self._changed:
            self._group.rest()

    def stop(self) -> None:
        """Tell the thread to end after the frame it is at. Idempotent."""
        with self._changed:
            self._stopping = True
            self._group.clear()
            self._changed.notify()

    async def aclose(self) -> None:
        """End the thread and wait for it, without blocking the loop. Idempotent; cancelled, it ends all the same."""
        self.stop()
        if self._thread is not None:
            await self._ended.wait()
            self._thread.join()  # it has left its last line of work: this takes microseconds

    def _go_on(self) -> None:
        """With the lock held: have the thread look whether there is something to decode."""
        if self._stopping or not self._group.ready:
            return
        if self._thread is None:
            self._thread = Thread(
                target=self._run, name=f"neko-trio-decode-{next(_names)}", daemon=True
            )  # daemon: should the loop die, nobody is left to join it, and the process must still be able to end
            self._thread.start()
        else:
            self._changed.notify()

    # -- the decoder's thread

    def _run(self) -> None:
        try:
            context = open_decoder(self._codec)
            while (frame := self._take()) is not None:
                self._decode(context, frame)
        finally:
            self._tell(self._ended.set)

    def _tell(self, fn: Callable[[], object]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(fn)
        except RuntimeError:
            logger.debug("the loop ended before its decoder")  # nobody is left to be told

    def _take(self) -> NumberedFrame | None:
        with self._changed:
            while not self._group.ready and not self._stopping:
                self._changed.wait()
            return None if self._stopping else self._group.take()

    def _decode(self, context: av.VideoCodecContext, frame: NumberedFrame) -> None:
        try:
            data = frame.encoded.data
            packet = av.Packet(bounded_vp9(data, MOST_PIXELS) if self._codec.name == "VP9" else data)
        except BadPayload as error:
            self._lose_reference(str(error))
            return
        packet.pts = frame.number
        self._decoding[frame.number] = frame
        if len(self._decoding) > DELAY_LIMIT:
            del self._decoding[next(iter(self._decoding))]
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
        self._group.decoded()
        for picture in pictures:
            self.frames_decoded += 1
            if picture.height > SD_LINES and (self._codec.name == "VP8" or picture.colorspace == UNSPECIFIED):
                picture.colorspace = Colorspace.ITU709
            self._deliver(self._found(picture, frame), picture)

    def _found(self, picture: av.VideoFrame, newest: NumberedFrame) -> NumberedFrame:
        """Which frame this is the picture of. Forgets those before it, which have no picture to show."""
        frame = newest if picture.pts is None else self._decoding.get(picture.pts, newest)
        for number in [number for number in self._decoding if number <= frame.number]:
            del self._decoding[number]
        return frame

    def _lose_reference(self, reason: str) -> None:
        """Drop what waits up to the next keyframe."""
        self.decode_errors += 1
        self._decoding.clear()
        with self._changed:
            lost = not self._group.drop_to_keyframe()
        logger.warning("a %s frame could not be decoded (%s)", self._codec.name, reason)
        if lost:
            self._tell(self._on_lost)


def open_decoder(codec: VideoFormat) -> av.VideoCodecContext:
    """A decoder that gives each picture as soon as it has its packet."""
    context = av.CodecContext.create(codec.decoder, "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = codec.threads
    context.thread_type = "SLICE"
    context.flags |= Flags.low_delay
    context.options = {"max_pixels": str(MOST_PIXELS)}
    context.open()
    return context
