from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from neko_trio._ports.bus import EventBus
from neko_trio._ports.frames import FrameSlot
from neko_trio._ports.inputs import InputPort
from neko_trio._ports.rest import RestPort
from neko_trio._ports.state import StateCell
from neko_trio._state import State
from neko_trio._video_switch import VideoSwitch
from neko_trio._watch import Watch
from neko_trio.desktop.cursor import CursorPort
from neko_trio.desktop.screen import Screen
from neko_trio.desktop.screen_calls import ScreenCalls
from neko_trio.errors import InvalidInput, SessionClosed, SessionLost, VideoOff
from neko_trio.media.frames import Frame, FrameContext, frame_from_rgb
from neko_trio.protocol.events import ScreenSize

if TYPE_CHECKING:
    from tests.input.conftest import Desk

SESSION = object()


def make_screen(slot: FrameSlot, state: StateCell[State], *, video: bool = True) -> Screen:
    """A screen without input and without a peer; live, or without video."""
    inputs = InputPort(admit=lambda: None)
    connection = Watch(trio.sleep_forever)
    switch = None
    if video:
        switch = VideoSwitch(slot, state, inputs, on_demand=False, linger=0.2, stream=None, connection=connection)
    cursor = CursorPort(lambda: ScreenSize(width=1280, height=720, rate=30))
    calls = ScreenCalls(state, RestPort(), inputs, EventBus())
    return Screen(slot, switch, streams=lambda: (), session=SESSION, cursor=cursor, calls=calls)


class Camera:
    def __init__(self, state: StateCell[State]) -> None:
        self.slot = FrameSlot()
        self.screen = make_screen(self.slot, state)
        self.number = 0

    def shoot(self, session: object = SESSION) -> Frame:
        self.number += 1
        context = FrameContext(session=session, epoch=1, screen_size=(16, 16), stream=None)
        frame = frame_from_rgb(np.zeros((16, 16, 3), np.uint8), number=self.number, context=context)
        self.slot.put(frame)
        return frame

    async def run(self, interval: float) -> None:
        while True:
            await trio.sleep(interval)
            self.shoot()


@pytest.fixture
async def camera(make_desk: Callable[[], Desk]) -> Camera:
    return Camera(make_desk().state)


async def test_frame_waits_for_the_first_and_then_gives_the_newest(camera: Camera) -> None:
    async with trio.open_nursery() as nursery:
        got: list[Frame] = []

        async def wait() -> None:
            got.append(await camera.screen.frame())

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        first = camera.shoot()
    assert got == [first]
    camera.shoot()
    newest = camera.shoot()
    with assert_checkpoints():
        assert await camera.screen.frame() is newest
    assert await camera.screen.frame() is newest


async def test_newer_than(camera: Camera, autojump_clock: MockClock) -> None:
    first = camera.shoot()
    with trio.move_on_after(1) as scope:
        await camera.screen.frame(newer_than=first)
    assert scope.cancelled_caught
    second = camera.shoot()
    assert await camera.screen.frame(newer_than=first) is second


async def test_newer_than_a_frame_of_another_session(camera: Camera) -> None:
    other = camera.shoot(session=object())
    with pytest.raises(InvalidInput, match="another session"):
        await camera.screen.frame(newer_than=other)


async def test_video_off(make_desk: Callable[[], Desk]) -> None:
    screen = make_screen(FrameSlot(), make_desk().state, video=False)
    with pytest.raises(VideoOff):
        await screen.frame()
    with pytest.raises(VideoOff):
        async with screen.frames():
            raise AssertionError


async def test_a_slow_reader_skips_and_is_never_behind(camera: Camera, autojump_clock: MockClock) -> None:
    numbers: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(camera.run, 0.1)
        async with camera.screen.frames() as frames:
            async for frame in frames:
                assert frame.number == camera.number
                numbers.append(frame.number)
                await trio.sleep(0.35)
                if len(numbers) == 4:
                    break
        nursery.cancel_scope.cancel()
    assert numbers == [1, 4, 8, 11]


async def test_the_newest_frame_there_is_comes_first_and_none_twice(camera: Camera, autojump_clock: MockClock) -> None:
    first = camera.shoot()
    async with camera.screen.frames() as frames:
        assert await anext(frames) is first
        with trio.move_on_after(1) as scope:
            await anext(frames)
        assert scope.cancelled_caught
        second = camera.shoot()
        assert await anext(frames) is second


async def test_max_rate(camera: Camera, autojump_clock: MockClock) -> None:
    times: list[float] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(camera.run, 0.01)
        async with camera.screen.frames(max_rate=4) as frames:
            async for frame in frames:
                assert camera.number - frame.number <= 1
                times.append(trio.current_time())
                if len(times) == 5:
                    break
        nursery.cancel_scope.cancel()
    assert times == pytest.approx([0.01, 0.26, 0.51, 0.76, 1.01], abs=0.011)


async def test_a_buffer_keeps_the_last_frames_and_counts_what_it_drops(
    camera: Camera, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(camera.run, 0.1)
        async with camera.screen.frames(buffer=3) as frames:
            await trio.sleep(1.05)
            kept = [(await anext(frames)).number for _ in range(4)]
            assert kept == [8, 9, 10, 11]
            assert frames.dropped == 7
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("buffer", [None, 5])
async def test_iterating_ends_with_the_session(camera: Camera, autojump_clock: MockClock, buffer: int | None) -> None:
    async with camera.screen.frames(buffer=buffer) as frames:
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(SessionLost):
                    await anext(frames)

            nursery.start_soon(read)
            await trio.sleep(1)
            camera.slot.fail(lambda: SessionLost("gone"))
        with pytest.raises(SessionLost):
            await anext(frames)


async def test_what_was_buffered_comes_before_the_end(camera: Camera, autojump_clock: MockClock) -> None:
    async with camera.screen.frames(buffer=5) as frames:
        await wait_all_tasks_blocked()
        frame = camera.shoot()
        await wait_all_tasks_blocked()
        camera.slot.fail(lambda: SessionClosed("over"))
        await wait_all_tasks_blocked()
        assert await anext(frames) is frame
        with pytest.raises(SessionClosed):
            await anext(frames)


@pytest.mark.parametrize("buffer", [None, 2])
async def test_iterating_ends_with_its_block(camera: Camera, buffer: int | None) -> None:
    async with camera.screen.frames(buffer=buffer) as frames:
        camera.shoot()
    assert [frame async for frame in frames] == []


@pytest.mark.parametrize("buffer", [None, 2])
@pytest.mark.parametrize("make", [lambda: KeyError("mine"), lambda: ExceptionGroup("mine", [KeyError()])])
async def test_the_bodys_error_leaves_as_it_is(
    camera: Camera, buffer: int | None, make: Callable[[], Exception]
) -> None:
    error = make()
    with pytest.raises(type(error)) as caught:
        async with camera.screen.frames(buffer=buffer):
            raise error
    assert caught.value is error


@pytest.mark.parametrize("buffer", [None, 2])
async def test_cancelling_the_body(camera: Camera, autojump_clock: MockClock, buffer: int | None) -> None:
    with trio.move_on_after(1) as scope:
        async with camera.screen.frames(buffer=buffer) as frames:
            await anext(frames)
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(1)


@pytest.mark.parametrize(
    "options",
    [
        *({"buffer": buffer} for buffer in (0, -1, True, 1.5)),
        *({"max_rate": rate} for rate in (0, -1, float("nan"), float("inf"))),
    ],
)
async def test_options_out_of_range(camera: Camera, options: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        async with camera.screen.frames(**options):  # type: ignore[arg-type]
            raise AssertionError
