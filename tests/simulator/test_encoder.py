"""The pipeline: when it runs, when keyframes come, and that what it makes decodes."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext

from neko_trio.simulator._encoder import CODECS, EncodedFrame, Encoder
from neko_trio.simulator._frame_code import FrameCode, draw_frame_code, read_frame_code
from neko_trio.simulator._picture import Bytes2D, Picture

Make = Callable[..., tuple[Encoder, "queue.Queue[EncodedFrame | Exception]"]]


def draw(now: float, size: tuple[int, int]) -> Picture:
    picture = Picture(*size)
    draw_frame_code(picture.y, FrameCode.of(1, now))
    return picture


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Encoder] = []

    def build(
        codec: str = "vp8",
        *,
        rate: int = 100,
        deliver: bool = True,
        draw: Callable[[float, tuple[int, int]], Picture] = draw,
        delay: float = 0.0,
    ) -> tuple[Encoder, queue.Queue[EncodedFrame | Exception]]:
        frames: queue.Queue[EncodedFrame | Exception] = queue.Queue()

        def take(frame: EncodedFrame) -> None:
            frames.put(frame)
            if deliver:
                encoder.delivered()

        encoder = Encoder(
            "test", codec=codec, size=(320, 200), rate=rate, draw=draw, deliver=take, failed=frames.put, delay=delay
        )
        made.append(encoder)
        return encoder, frames

    yield build
    for encoder in made:
        encoder.end()
        encoder.join()
    assert not [thread for thread in threading.enumerate() if thread.name == "neko-trio-simulator-test"]


def rgb_of(frame: av.VideoFrame) -> Bytes2D:
    return frame.to_ndarray(format="rgb24").astype(np.uint8)


def take(frames: queue.Queue[EncodedFrame | Exception], count: int) -> list[EncodedFrame]:
    taken = []
    for _ in range(count):
        frame = frames.get(timeout=5)
        assert isinstance(frame, EncodedFrame)
        taken.append(frame)
    return taken


@pytest.mark.parametrize("codec", CODECS)
def test_every_frame_decodes_and_every_25th_is_a_keyframe(make: Make, codec: str) -> None:
    encoder, frames = make(codec)
    encoder.add_watcher()
    taken = take(frames, 60)
    assert [index for index, frame in enumerate(taken) if frame.keyframe] == [0, 25, 50]
    assert {frame.duration for frame in taken} == {900}
    decoder = av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoded = [picture for frame in taken for picture in decoder.decode(av.Packet(frame.data))]
    assert len(decoded) >= 58  # the decoder may keep the last ones
    times = [read_frame_code(rgb_of(picture)) for picture in decoded]
    assert all(times)


def test_it_runs_only_while_someone_watches(make: Make) -> None:
    encoder, frames = make()
    with pytest.raises(queue.Empty):
        frames.get(timeout=0.1)
    encoder.add_watcher()
    take(frames, 2)
    encoder.remove_watcher()
    time.sleep(0.05)
    encoded = encoder.frames_total
    time.sleep(0.1)
    assert encoder.frames_total == encoded


@pytest.mark.parametrize("codec", CODECS)
def test_the_first_watcher_gets_a_keyframe_at_once_each_time(make: Make, codec: str) -> None:
    encoder, frames = make(codec, rate=2)
    for _ in range(3):
        began = time.monotonic()
        encoder.add_watcher()
        assert take(frames, 1)[0].keyframe
        assert time.monotonic() - began < 0.3
        encoder.remove_watcher()


@pytest.mark.parametrize(("codec", "expected"), [("vp8", True), ("vp9", True), ("h264", False), ("av1", False)])
def test_another_watcher_brings_a_keyframe_with_vp8_and_vp9_only(make: Make, codec: str, expected: bool) -> None:
    encoder, frames = make(codec, rate=25)
    encoder.add_watcher()
    take(frames, 3)
    encoder.add_watcher()
    assert any(frame.keyframe for frame in take(frames, 3)) is expected


def test_off_and_on_in_one_go_is_a_new_pipeline_with_h264_too(make: Make) -> None:
    encoder, frames = make("h264", rate=25)
    encoder.add_watcher()
    take(frames, 3)
    encoder.remove_watcher()
    encoder.add_watcher()
    assert any(frame.keyframe for frame in take(frames, 2))


@pytest.mark.parametrize("codec", CODECS)
def test_a_new_size_goes_on_with_a_keyframe_of_that_size(make: Make, codec: str) -> None:
    encoder, frames = make(codec, rate=25)
    encoder.add_watcher()
    take(frames, 2)
    encoder.resize((401, 241), 50)
    taken = take(frames, 4)
    changed = next(frame for frame in taken if frame.duration == 1800)
    assert changed.keyframe
    decoder = av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    pictures = decoder.decode(av.Packet(changed.data)) + decoder.decode(None)
    assert (pictures[0].width, pictures[0].height) == (400, 240)


def test_peers_that_are_behind_stop_it(make: Make) -> None:
    encoder, frames = make(deliver=False)
    encoder.add_watcher()
    take(frames, 3)
    with pytest.raises(queue.Empty):
        frames.get(timeout=0.1)
    assert encoder.skipped_total > 3
    encoder.delivered()
    take(frames, 1)


def test_it_keeps_time(make: Make) -> None:
    encoder, frames = make(rate=50)
    encoder.add_watcher()
    began = time.monotonic()
    take(frames, 26)
    assert 0.49 < time.monotonic() - began < 1.5


def test_a_drawing_that_raises_ends_the_thread_with_its_error(make: Make) -> None:
    def broken(now: float, size: tuple[int, int]) -> Picture:
        raise ZeroDivisionError("mine")

    encoder, frames = make(draw=broken)
    encoder.add_watcher()
    assert isinstance(frames.get(timeout=5), ZeroDivisionError)
    encoder.join()


def test_unknown_codecs_are_refused_before_a_thread_is_made(make: Make) -> None:
    with pytest.raises(ValueError, match="vp8, h264, vp9, av1"):
        make("h265")


def test_a_picture_is_encoded_some_time_after_it_was_drawn(make: Make) -> None:
    """A watcher who comes meanwhile makes a keyframe of a picture from before he came, as in the real pipeline."""
    drawn: list[float] = []

    def note(now: float, size: tuple[int, int]) -> Picture:
        drawn.append(now)
        return draw(now, size)

    encoder, frames = make(rate=50, draw=note, delay=0.05)
    encoder.add_watcher()
    keys = 0
    for number in range(10):
        frame = frames.get(timeout=5)
        assert isinstance(frame, EncodedFrame)
        assert time.monotonic() - drawn[number] >= 0.05
        keys += frame.keyframe
        if number == 5:
            assert len(drawn) > number + 1, "nothing is drawn while others wait to be encoded"
            encoder.add_watcher()
    assert keys == 2
