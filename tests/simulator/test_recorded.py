"""The pipeline that was encoded beforehand: every watcher begins with a keyframe, in its own time; nothing encodes."""

from __future__ import annotations

import threading
from collections import Counter
from time import monotonic

import av
import numpy as np
import pytest
import trio
from av.video.codeccontext import VideoCodecContext

import neko_trio
from neko_trio.simulator import FrameCode, SmallDesktop, open_simulator, read_frame_code
from neko_trio.simulator._encoder import CODECS, KEYFRAME_INTERVAL
from neko_trio.simulator._recorded import LOOP_FRAMES, record
from neko_trio.simulator._simulator import Simulator

DECODERS = {"vp8": "vp8", "h264": "h264", "vp9": "vp9", "av1": "libdav1d"}


def draw(desktop: SmallDesktop) -> Counter[str]:
    """Count the threads that draw ``desktop``, by name, from now on."""
    threads: Counter[str] = Counter()
    render = desktop.render

    def counted(now: float) -> object:
        threads[threading.current_thread().name] += 1
        return render(now)

    desktop.render = counted  # type: ignore[method-assign, assignment]  # one instance
    return threads


async def codes_of(simulator: Simulator, count: int) -> list[FrameCode]:
    """The first frames' codes of a session of its own."""
    codes: list[FrameCode] = []
    async with (
        neko_trio.open_session(simulator.url, password=simulator.password) as session,
        session.screen.frames(buffer=100) as frames,
    ):
        async for frame in frames:
            code = read_frame_code(frame.to_ndarray())
            assert code is not None
            codes.append(code)
            if len(codes) == count:
                break
    return codes


@pytest.mark.parametrize("codec", CODECS)
def test_the_loop_decodes_and_its_groups_begin_with_keyframes(codec: str) -> None:
    desktop = SmallDesktop((320, 200))
    frames = record(lambda now, _size: desktop.render(now), codec, (320, 200), 25)
    keys = [number for number, frame in enumerate(frames) if frame.keyframe]
    assert keys == [0, KEYFRAME_INTERVAL]
    assert {frame.duration for frame in frames} == {3600}
    decoder = av.CodecContext.create(DECODERS[codec], "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    codes = []
    for frame in [*frames, *frames[:1]]:  # over the seam: the loop begins again
        pictures = decoder.decode(av.Packet(frame.data))
        codes += [read_frame_code(picture.to_ndarray(format="rgb24").astype(np.uint8)) for picture in pictures]
    numbers = [code.number for code in codes if code is not None]
    assert numbers == [*range(numbers[0], numbers[0] + LOOP_FRAMES), numbers[0]][: len(codes)]
    seconds = codes[1].seconds - codes[0].seconds if codes[0] and codes[1] else 0
    assert seconds == pytest.approx(1 / 25, abs=1e-4)


async def test_each_watcher_gets_the_loop_from_its_start_in_its_own_time() -> None:
    desktop = SmallDesktop((320, 200))
    threads = draw(desktop)
    async with open_simulator(size=(320, 200), desktop=desktop, pre_encoded=True, rate=50) as simulator:
        drawn = Counter(threads)
        assert sum(drawn.values()) == LOOP_FRAMES
        began = monotonic()
        first = await codes_of(simulator, 60)
        assert monotonic() - began > 59 / 50
        second = await codes_of(simulator, 5)
        assert threads == drawn  # nothing is drawn for watchers
    assert [code.number for code in first] == [code.number for code in (first[:LOOP_FRAMES] * 2)[:60]]
    assert second == first[:5]


async def test_two_watchers_at_once_and_another_size() -> None:
    async with (
        open_simulator(size=(640, 360), pre_encoded=True) as simulator,
        neko_trio.open_session(simulator.url, password=simulator.admin_password) as session,
    ):
        old = await session.screen.frame()
        with trio.fail_after(20):
            assert len(await codes_of(simulator, 3)) == 3
            await session.send_event("screen/set", {"width": 320, "height": 200, "rate": 25})
            while old.size != (320, 200):
                old = await session.screen.frame(newer_than=old)


async def test_what_the_desktop_raises_comes_out() -> None:
    class Broken:
        def render(self, now: float) -> object:
            raise ZeroDivisionError

        def on_input(self, event: object) -> None: ...

    with pytest.raises(ZeroDivisionError):
        async with open_simulator(desktop=Broken(), pre_encoded=True):  # type: ignore[arg-type]  # wrong on purpose
            pass
