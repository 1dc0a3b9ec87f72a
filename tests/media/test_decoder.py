"""The decoder's thread. Its work is held up by events, never by time."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc.rtp import RtpPacket
from av.video.reformatter import Colorspace, VideoReformatter

from neko_trio.media.decoder import Decoder
from neko_trio.media.depayload import FORMATS
from neko_trio.media.jitter_buffer import EncodedFrame, JitterBuffer

Recorded = Callable[[str], list[tuple[float, RtpPacket]]]


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("neko-trio-decode-")]


@pytest.fixture(scope="session")
def encoded(recorded: Recorded) -> list[EncodedFrame]:
    buffer, frames = JitterBuffer(FORMATS["VP8"]), list[EncodedFrame]()
    for now, packet in recorded("VP8"):
        payload = FORMATS["VP8"].depayload(packet.payload)
        frames += buffer.receive(packet.sequence_number, packet.timestamp, bool(packet.marker), payload, now)
    return frames


class Sink:
    """Takes pictures; can hold the decoder's thread at the first one."""

    def __init__(self) -> None:
        self.arrived = list[float]()
        self.pictures = list[av.VideoFrame]()
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.wanted, self.enough = 0, threading.Event()

    def deliver(self, picture: av.VideoFrame, arrived: float) -> None:
        self.entered.set()
        assert self.go_on.wait(30)
        self.pictures.append(picture)
        self.arrived.append(arrived)
        if len(self.arrived) == self.wanted:
            self.enough.set()

    @contextmanager
    def held(self) -> Iterator[None]:
        self.go_on.clear()
        try:
            yield
        finally:
            self.go_on.set()

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.enough.wait, 30)


class Heard(logging.Handler):
    """Tells a test that something was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.record = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.record.set()


def run(scenario: Callable[[Decoder, Sink], object], wanted: int = 0) -> tuple[Decoder, Sink]:
    """Run an async scenario with a started decoder; afterwards no thread of it is left."""
    sink = Sink()
    sink.wanted = wanted
    decoder = Decoder(FORMATS["VP8"], sink.deliver)

    async def main() -> None:
        decoder.start()
        try:
            await scenario(decoder, sink)  # type: ignore[misc]
        finally:
            sink.go_on.set()
            await decoder.aclose()
        assert threads() == []

    asyncio.run(main())
    return decoder, sink


def test_decodes_in_order_and_remembers_when_each_arrived(encoded: list[EncodedFrame]) -> None:
    async def scenario(decoder: Decoder, sink: Sink) -> None:
        assert len(threads()) == 1
        for start in range(0, 20, 5):  # in bites: a backlog of 32 is not meant to hold a recording
            sink.wanted = start + 5
            sink.enough.clear()
            assert [decoder.submit(frame) for frame in encoded[start : start + 5]] == [True] * 5
            await sink.wait()

    decoder, sink = run(scenario)
    assert sink.arrived == pytest.approx([frame.arrived for frame in encoded[:20]], abs=2e-6)
    assert (decoder.frames_decoded, decoder.frames_dropped, decoder.decode_errors) == (20, 0, 0)
    assert 0 < decoder.decode_seconds < 10


def test_takes_nothing_before_a_keyframe(encoded: list[EncodedFrame]) -> None:
    async def scenario(decoder: Decoder, sink: Sink) -> None:
        assert not decoder.submit(encoded[3])
        assert decoder.submit(encoded[0])
        await sink.wait()

    decoder, _ = run(scenario, wanted=1)
    assert decoder.frames_dropped == 1


def test_a_full_backlog_is_dropped_up_to_the_next_keyframe(encoded: list[EncodedFrame]) -> None:
    async def scenario(decoder: Decoder, sink: Sink) -> None:
        with sink.held():
            decoder.submit(encoded[0])
            assert await asyncio.to_thread(sink.entered.wait, 30)
            inter = [encoded[1]] * Decoder.BACKLOG
            assert [decoder.submit(frame) for frame in inter] == [True] * len(inter)
            assert not decoder.submit(encoded[2])
            assert decoder.frames_dropped == Decoder.BACKLOG + 1
            assert not decoder.submit(encoded[3])
            assert decoder.submit(encoded[25])
            assert decoder.submit(encoded[26])
        await sink.wait()

    _, sink = run(scenario, wanted=3)
    assert sink.arrived == pytest.approx([encoded[at].arrived for at in (0, 25, 26)], abs=2e-6)


def test_a_keyframe_goes_before_a_long_backlog_not_before_a_short_one(encoded: list[EncodedFrame]) -> None:
    async def scenario(decoder: Decoder, sink: Sink) -> None:
        with sink.held():
            decoder.submit(encoded[0])
            assert await asyncio.to_thread(sink.entered.wait, 30)
            for frame in encoded[1 : Decoder.SKIP_AHEAD]:
                decoder.submit(frame)
            decoder.submit(encoded[25])
            assert decoder.frames_dropped == 0
            decoder.submit(encoded[50])
            assert decoder.frames_dropped == Decoder.SKIP_AHEAD
        await sink.wait()

    _, sink = run(scenario, wanted=2)
    assert sink.arrived == pytest.approx([encoded[0].arrived, encoded[50].arrived], abs=2e-6)


def test_after_a_frame_that_does_not_decode_nothing_is_shown_before_a_keyframe(
    encoded: list[EncodedFrame], caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    broken, heard = encoded[1]._replace(data=b"\x01"), Heard()

    async def scenario(decoder: Decoder, sink: Sink) -> None:
        with sink.held():
            for frame in (encoded[0], broken, encoded[2], encoded[3], encoded[25]):
                decoder.submit(frame)
        await sink.wait()
        heard.record.clear()
        decoder.submit(broken)
        assert await asyncio.to_thread(heard.record.wait, 30)
        assert not decoder.submit(encoded[26])

    logger = logging.getLogger("neko_trio.media.decoder")
    logger.addHandler(heard)
    request.addfinalizer(lambda: logger.removeHandler(heard))
    with caplog.at_level(logging.WARNING):
        decoder, sink = run(scenario, wanted=2)
    assert sink.arrived == pytest.approx([encoded[0].arrived, encoded[25].arrived], abs=2e-6)
    assert decoder.frames_dropped == 3
    assert "VP8 frame could not be decoded" in caplog.text


def test_closing_while_a_picture_is_being_made_leaves_the_loop_running(encoded: list[EncodedFrame]) -> None:
    async def scenario(decoder: Decoder, sink: Sink) -> None:
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

    decoder, sink = run(scenario)
    assert len(sink.arrived) == 1
    assert decoder.frames_dropped == 19
    assert decoder.submit(encoded[0]) is False


def test_a_thread_whose_loop_has_gone_ends_all_the_same(encoded: list[EncodedFrame]) -> None:
    sink = Sink()
    decoder = Decoder(FORMATS["VP8"], sink.deliver)

    async def main() -> threading.Thread:
        decoder.start()
        return next(thread for thread in threading.enumerate() if thread.name in threads())

    thread = asyncio.run(main())
    decoder.stop()
    thread.join(30)
    assert not thread.is_alive()


def test_closing_one_that_never_started() -> None:
    asyncio.run(Decoder(FORMATS["VP8"], Sink().deliver).aclose())


def test_a_picture_may_change_its_size(encoded: list[EncodedFrame]) -> None:
    small = av.CodecContext.create("libvpx", "w")
    assert isinstance(small, av.VideoCodecContext)
    small.width, small.height, small.pix_fmt = 320, 200, "yuv420p"
    picture = av.VideoFrame(320, 200, "yuv420p")
    picture.pts = 0
    data = b"".join(bytes(packet) for packet in [*small.encode(picture), *small.encode(None)])

    async def scenario(decoder: Decoder, sink: Sink) -> None:
        decoder.submit(encoded[0])
        decoder.submit(EncodedFrame(data, 1, True, 1.0))
        await sink.wait()

    _, sink = run(scenario, wanted=2)
    assert [(picture.width, picture.height) for picture in sink.pictures] == [(1280, 720), (320, 200)]


@pytest.mark.parametrize(("height", "matrix"), [(480, Colorspace.ITU601), (720, Colorspace.ITU709)])
def test_colours_are_the_desktops(height: int, matrix: Colorspace) -> None:
    """The server's GStreamer makes BT.709 above 576 lines, which VP8 cannot say and FFmpeg takes for BT.601."""
    rgb = np.full((height, 640, 3), (0, 0, 127), np.uint8)
    source = VideoReformatter().reformat(av.VideoFrame.from_ndarray(rgb), format="yuv420p", dst_colorspace=matrix)
    encoder = av.CodecContext.create("libvpx", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 640, height, "yuv420p", Fraction(1, 25)
    data = b"".join(bytes(packet) for packet in [*encoder.encode(source), *encoder.encode(None)])
    pictures: list[av.VideoFrame] = []
    decoder = Decoder(FORMATS["VP8"], lambda picture, _arrived: pictures.append(picture))
    context = av.CodecContext.create(FORMATS["VP8"].decoder, "r")
    assert isinstance(context, av.VideoCodecContext)
    decoder._decode(context, EncodedFrame(data=data, timestamp=0, key=True, arrived=0.0))
    seen = VideoReformatter().reformat(pictures[0], format="rgb24").to_ndarray()
    assert np.abs(seen.astype(int) - rgb).max() <= 3
