"""The decoder and its thread. Its work is held up by events, never by time."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from time import perf_counter
from typing import Any

import av
import numpy as np
import pytest
from aiortc.rtp import RtpPacket
from av.video.reformatter import Colorspace, VideoReformatter

from neko_trio.media.decoder import Decoder, open_decoder
from neko_trio.media.depayload import FORMATS
from neko_trio.media.frames import FrameContext
from neko_trio.media.jitter_buffer import EncodedFrame, JitterBuffer
from neko_trio.media.picture_group import NumberedFrame, PictureGroup

Recorded = Callable[[str], list[tuple[float, RtpPacket]]]
CONTEXT = FrameContext(session=object(), epoch=1, screen_size=(1280, 720), stream=None)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("neko-trio-decode-")]


def numbered(frames: Sequence[EncodedFrame]) -> list[NumberedFrame]:
    return [NumberedFrame(number, CONTEXT, frame) for number, frame in enumerate(frames)]


def read(recorded: Recorded, codec: str) -> list[EncodedFrame]:
    buffer, frames = JitterBuffer(FORMATS[codec]), list[EncodedFrame]()
    for now, packet in recorded(codec):
        payload = FORMATS[codec].depayload(packet.payload)
        frames += buffer.receive(packet.sequence_number, packet.timestamp, bool(packet.marker), payload, now)
    return frames


@pytest.fixture(scope="session")
def encoded(recorded: Recorded) -> list[NumberedFrame]:
    """80 frames, numbered from 0; keyframes are 0, 25, 50 and 75."""
    return numbered(read(recorded, "VP8"))


class Sink:
    """Takes pictures; can hold the decoder's thread at the first one."""

    def __init__(self) -> None:
        self.numbers = list[int]()
        self.pictures = list[av.VideoFrame]()
        self.losses = 0
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.more = threading.Condition()
        self.lost = asyncio.Event()

    def deliver(self, frame: NumberedFrame, picture: av.VideoFrame) -> None:
        self.entered.set()
        assert self.go_on.wait(30)
        with self.more:
            self.pictures.append(picture)
            self.numbers.append(frame.number)
            self.more.notify_all()

    def on_lost(self) -> None:
        self.losses += 1
        self.lost.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        self.go_on.clear()
        try:
            yield
        finally:
            self.go_on.set()

    async def wait(self, wanted: int) -> None:
        """Until so many pictures have come."""

        def enough() -> bool:
            with self.more:
                return self.more.wait_for(lambda: len(self.numbers) >= wanted, 30)

        assert await asyncio.to_thread(enough)


Scenario = Callable[[Decoder, Sink], Coroutine[Any, Any, None]]


def run(scenario: Scenario, codec: str = "VP8") -> tuple[Decoder, Sink]:
    """Run a scenario with a decoder; afterwards no thread of it is left."""

    async def main() -> tuple[Decoder, Sink]:
        sink = Sink()
        decoder = Decoder(FORMATS[codec], sink.deliver, sink.on_lost)
        decoder.start()
        try:
            await scenario(decoder, sink)
        finally:
            sink.go_on.set()
            await decoder.aclose()
        assert threads() == []
        return decoder, sink

    return asyncio.run(main())


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_decodes_in_order_for_who_wants_every_frame(recorded: Recorded, codec: str) -> None:
    frames = numbered(read(recorded, codec))

    async def scenario(decoder: Decoder, sink: Sink) -> None:
        assert threads() == []
        decoder.look(every=True)
        assert all(decoder.submit(frame) for frame in frames)
        assert len(threads()) == 1
        await sink.wait(80)

    decoder, sink = run(scenario, codec)
    assert sink.numbers == list(range(80))
    assert (decoder.frames_decoded, decoder.frames_dropped, decoder.decode_errors) == (80, 0, 0)
    assert 0 < decoder.decode_seconds < 10


def test_while_nobody_looks_only_the_first_frame_is_decoded(encoded: list[NumberedFrame]) -> None:
    async def scenario(decoder: Decoder, sink: Sink) -> None:
        assert decoder.submit(encoded[0])
        await sink.wait(1)
        assert [decoder.submit(frame) for frame in encoded[1:60]] == [True] * 59
        assert decoder.frames_waiting == 10
        assert decoder.look() == 59
        await sink.wait(11)
        decoder.rest()
        decoder.submit(encoded[60])
        decoder.submit(encoded[61])
        assert decoder.look(after=encoded[62].encoded.arrived) == 61
        assert decoder.frames_waiting == 2
        decoder.look()
        await sink.wait(13)

    decoder, sink = run(scenario)
    assert sink.numbers == [0, *range(50, 62)]
    assert (decoder.frames_decoded, decoder.frames_undecoded, decoder.frames_dropped) == (13, 49, 0)


def test_pictures_are_the_same_whenever_they_are_decoded(encoded: list[NumberedFrame]) -> None:
    async def late(decoder: Decoder, sink: Sink) -> None:
        decoder.submit(encoded[0])
        await sink.wait(1)
        for frame in encoded[1:20]:
            decoder.submit(frame)
        decoder.look()
        await sink.wait(20)

    async def at_once(decoder: Decoder, sink: Sink) -> None:
        decoder.look(every=True)
        for number, frame in enumerate(encoded[:20]):
            decoder.submit(frame)
            await sink.wait(number + 1)

    pixels = [VideoReformatter().reformat(run(one)[1].pictures[-1], format="rgb24") for one in (late, at_once)]
    assert (pixels[0].to_ndarray() == pixels[1].to_ndarray()).all()


def test_takes_nothing_before_a_keyframe(encoded: list[NumberedFrame]) -> None:
    async def scenario(decoder: Decoder, sink: Sink) -> None:
        decoder.look()
        assert not decoder.submit(encoded[3])
        assert threads() == []
        assert decoder.submit(encoded[0])
        await sink.wait(1)

    assert run(scenario)[0].frames_dropped == 1


def test_a_newer_keyframe_goes_first_for_the_newest_not_for_every_frame(encoded: list[NumberedFrame]) -> None:
    async def scenario(decoder: Decoder, sink: Sink) -> None:
        for every in (False, True):
            decoder.look(every=every)
            with sink.held():
                sink.entered.clear()
                decoder.submit(encoded[0])
                assert await asyncio.to_thread(sink.entered.wait, 30)
                for frame in (*encoded[1:4], encoded[25]):
                    decoder.submit(frame)
            await sink.wait(7 if every else 2)

    decoder, sink = run(scenario)
    assert sink.numbers == [0, 25, 0, 1, 2, 3, 25]
    assert decoder.frames_dropped == 3


def test_after_a_frame_that_does_not_decode_nothing_is_shown_before_a_keyframe(
    encoded: list[NumberedFrame], caplog: pytest.LogCaptureFixture
) -> None:
    broken = encoded[1]._replace(encoded=encoded[1].encoded._replace(data=b"\x01"))

    async def scenario(decoder: Decoder, sink: Sink) -> None:
        decoder.look(every=True)
        with sink.held():
            for frame in (encoded[0], broken, encoded[2], encoded[3], encoded[25]):
                decoder.submit(frame)
        await sink.wait(2)
        assert sink.losses == 0  # a keyframe was there already
        decoder.submit(broken)
        await asyncio.wait_for(sink.lost.wait(), 30)
        assert not decoder.submit(encoded[26])
        assert decoder.submit(encoded[50])
        await sink.wait(3)

    with caplog.at_level(logging.WARNING):
        decoder, sink = run(scenario)
    assert sink.numbers == [0, 25, 50]
    assert (decoder.frames_dropped, decoder.decode_errors, sink.losses) == (3, 2, 1)
    assert "VP8 frame could not be decoded" in caplog.text


def test_closing_while_a_picture_is_being_made_leaves_the_loop_running(encoded: list[NumberedFrame]) -> None:
    async def scenario(decoder: Decoder, sink: Sink) -> None:
        decoder.look(every=True)
        with sink.held():
            for frame in encoded[:20]:
                decoder.submit(frame)
            assert await asyncio.to_thread(sink.entered.wait, 30)
            closing = asyncio.create_task(decoder.aclose())
            for _ in range(10):
                await asyncio.sleep(0)  # the loop turns while the thread is busy
            assert not closing.done()
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert len(threads()) == 1
        await decoder.aclose()
        assert threads() == []
        await decoder.aclose()
        assert decoder.look() == 19
        assert not decoder.submit(encoded[0])

    decoder, sink = run(scenario)
    assert sink.numbers == [0]
    assert decoder.frames_dropped == 19


def test_closing_far_behind_is_quick_and_blocks_nothing(encoded: list[NumberedFrame]) -> None:
    """Real time: a decoder that takes 30 ms for a frame, three seconds of frames waiting for it. The best of three."""

    async def close() -> tuple[float, float]:
        """Seconds that it took, and the longest that the loop stood still."""
        slow, begun = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def deliver(frame: NumberedFrame, picture: av.VideoFrame) -> None:
            loop.call_soon_threadsafe(begun.set)
            slow.wait(0.03)

        decoder = Decoder(FORMATS["VP8"], deliver)
        decoder.start()
        decoder.look(every=True)
        for frame in encoded:
            decoder.submit(frame)
        await begun.wait()
        gaps = list[float]()

        async def watch() -> None:
            before = perf_counter()
            while True:
                await asyncio.sleep(0)
                now = perf_counter()
                gaps.append(now - before)
                before = now

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        started = perf_counter()
        await decoder.aclose()
        took = perf_counter() - started
        watching.cancel()
        assert decoder.frames_waiting == 0
        assert threads() == []
        return took, max(gaps)

    attempts = [asyncio.run(close()) for _ in range(3)]
    assert min(took for took, _ in attempts) < 0.1
    assert min(gap for _, gap in attempts) < 0.01


def test_a_thread_whose_loop_has_gone_ends_all_the_same(encoded: list[NumberedFrame]) -> None:
    sink = Sink()
    decoder = Decoder(FORMATS["VP8"], sink.deliver)

    async def main() -> threading.Thread:
        decoder.start()
        decoder.submit(encoded[0])
        return next(thread for thread in threading.enumerate() if thread.name in threads())

    thread = asyncio.run(main())
    decoder.stop()
    thread.join(30)
    assert not thread.is_alive()


def test_closing_one_that_never_started() -> None:
    asyncio.run(Decoder(FORMATS["VP8"], Sink().deliver).aclose())


def encode(codec: str, size: tuple[int, int], shade: int, count: int) -> list[EncodedFrame]:
    """``count`` frames of one grey, the first a keyframe."""
    encoder = av.CodecContext.create({"VP8": "libvpx", "H264": "libx264"}[codec], "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = *size, "yuv420p", Fraction(1, 25)
    encoder.options = {"VP8": {"deadline": "realtime"}, "H264": {"preset": "ultrafast", "tune": "zerolatency"}}[codec]
    packets = []
    for pts in range(count):
        picture = VideoReformatter().reformat(
            av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), shade, np.uint8)), format="yuv420p"
        )
        picture.pts = pts
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    return [EncodedFrame(bytes(packet), 0, bool(packet.is_keyframe), 1.0) for packet in packets]


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_a_picture_that_changes_its_size_in_mid_stream_is_never_broken(codec: str) -> None:
    sizes = [(640, 360), (1280, 720), (320, 200), (640, 360)]
    frames = numbered([frame for at, size in enumerate(sizes) for frame in encode(codec, size, 60 * at + 20, 3)])

    async def scenario(decoder: Decoder, sink: Sink) -> None:
        decoder.look(every=True)
        for frame in frames:
            decoder.submit(frame)
        await sink.wait(12)

    _, sink = run(scenario, codec)
    assert [(picture.width, picture.height) for picture in sink.pictures] == [size for size in sizes for _ in range(3)]
    for number, picture in enumerate(sink.pictures):
        pixels = VideoReformatter().reformat(picture, format="rgb24").to_ndarray().astype(int)
        assert np.abs(pixels - (60 * (number // 3) + 20)).max() <= 4


@pytest.mark.parametrize(("height", "matrix"), [(480, Colorspace.ITU601), (720, Colorspace.ITU709)])
def test_colours_are_the_desktops(height: int, matrix: Colorspace) -> None:
    """The server's GStreamer makes BT.709 above 576 lines, which VP8 cannot say and FFmpeg takes for BT.601."""
    rgb = np.full((height, 640, 3), (0, 0, 127), np.uint8)
    source = VideoReformatter().reformat(av.VideoFrame.from_ndarray(rgb), format="yuv420p", dst_colorspace=matrix)
    encoder = av.CodecContext.create("libvpx", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 640, height, "yuv420p", Fraction(1, 25)
    data = b"".join(bytes(packet) for packet in [*encoder.encode(source), *encoder.encode(None)])

    async def scenario(decoder: Decoder, sink: Sink) -> None:
        decoder.submit(NumberedFrame(1, CONTEXT, EncodedFrame(data, 0, True, 0.0)))
        await sink.wait(1)

    _, sink = run(scenario)
    seen = VideoReformatter().reformat(sink.pictures[0], format="rgb24").to_ndarray()
    assert np.abs(seen.astype(int) - rgb).max() <= 3


@pytest.mark.parametrize("codec", list(FORMATS))
def test_no_decoder_holds_a_picture_back_for_threads(codec: str) -> None:
    context = open_decoder(FORMATS[codec])
    assert context.thread_type.name in ("NONE", "SLICE")
    assert context.thread_count == FORMATS[codec].threads


def test_the_backlog_holds_what_may_have_been_kept() -> None:
    assert PictureGroup.KEPT < PictureGroup.BACKLOG
    assert PictureGroup.KEPT_BYTES < PictureGroup.BACKLOG_BYTES
