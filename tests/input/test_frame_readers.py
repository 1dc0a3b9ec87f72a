"""What each kind of reader makes the source do: several readers, one decode, and none before its time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from neko_trio._ports.frames import FrameSlot
from neko_trio.desktop.frame_readers import Frames, NewestFrames, every_frame, newest_frames


@dataclass
class Picture:
    number: int
    arrived: float


class Camera:
    """25 complete frames a second, each ready as soon as somebody looks; counts those that had to be decoded."""

    def __init__(self) -> None:
        self.slot = FrameSlot()
        self.slot.plug(self)
        self.number = self.shown = self.looked = 0
        self.looking = self.every = False

    def look(self, *, every: bool = False, after: float = -math.inf) -> int:
        self.looking, self.every = True, every
        trio.lowlevel.current_trio_token().run_sync_soon(self._show)  # not with the slot's lock held
        return self.number

    def rest(self) -> None:
        self.looking = self.every = False

    def _show(self) -> None:
        while self.looking and self.shown < self.number:
            self.shown = self.shown + 1 if self.every else self.number
            self.looked += 1
            self.slot.put(cast(Any, Picture(self.shown, self.shown / 25)))

    async def run(self) -> None:
        while True:
            self.number += 1
            self._show()
            await trio.sleep(1 / 25)


async def read(frames: Frames, camera: Camera, busy: float, count: int) -> list[int]:
    """The first numbers; each must be the newest when it was given."""
    numbers: list[int] = []
    async for frame in frames:
        if isinstance(frames, NewestFrames):
            assert frame.number == camera.number
        numbers.append(frame.number)
        if len(numbers) == count:
            break
        await trio.sleep(busy)
    return numbers


async def test_nothing_is_decoded_for_a_slow_reader_before_its_time_has_come(autojump_clock: MockClock) -> None:
    camera = Camera()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(camera.run)
        with newest_frames(camera.slot, max_rate=0.8) as frames:
            numbers = await read(frames, camera, 0, 4)
        assert numbers == [1, 32, 63, 94]
        assert camera.looked == 4
        with newest_frames(camera.slot) as frames:
            numbers = await read(frames, camera, 1, 4)
        assert numbers == [94, 119, 144, 169]
        assert camera.looked == 7
        assert not camera.looking
        nursery.cancel_scope.cancel()


async def test_for_a_quick_reader_decoding_goes_on_while_it_is_busy(autojump_clock: MockClock) -> None:
    camera = Camera()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(camera.run)
        with newest_frames(camera.slot) as frames:
            await read(frames, camera, 0.01, 2)
            await trio.sleep(0.1)
            await anext(frames)
            assert camera.looking
            await trio.sleep(NewestFrames.PAUSE + 0.5)  # slow now: for this step it goes on, for the next one not
            await anext(frames)
            assert not camera.looking
            await anext(frames)
            assert camera.looking
        assert not camera.looking
        nursery.cancel_scope.cancel()


async def test_several_readers_each_by_its_own_policy_of_one_decode(autojump_clock: MockClock) -> None:
    camera = Camera()
    got: dict[str, list[int]] = {}

    async def reader(name: str, frames: Frames, busy: float, count: int) -> None:
        got[name] = await read(frames, camera, busy, count)

    with (
        newest_frames(camera.slot) as watcher,
        newest_frames(camera.slot, max_rate=0.8) as agent,
        every_frame(camera.slot, 100) as recorder,
        every_frame(camera.slot, 100, max_rate=5) as sampler,
    ):
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as readers:
                nursery.start_soon(camera.run)
                readers.start_soon(reader, "watcher", watcher, 0.07, 20)
                readers.start_soon(reader, "agent", agent, 0, 3)
                readers.start_soon(reader, "recorder", recorder, 0.5, 60)
                readers.start_soon(reader, "sampler", sampler, 0, 10)
            nursery.cancel_scope.cancel()
    assert got["watcher"][:4] == [1, 2, 4, 6]
    assert got["agent"] == [1, 32, 63]
    # 29.5 s for 60 frames while 740 come: what is beyond the bound is lost, and counted
    recorded = got["recorder"]
    assert recorded[:8] == list(range(1, 9))
    assert recorded == sorted(set(recorded))
    assert 0 <= recorder.dropped - (camera.number - 60 - 100) <= 1  # one was taken and not replaced yet
    assert got["sampler"][1:] == pytest.approx([4 + 5 * n for n in range(9)], abs=1)
    assert camera.looked == camera.number


async def test_a_closed_reader_ends(autojump_clock: MockClock) -> None:
    camera = Camera()
    camera.number = 1
    with newest_frames(camera.slot) as frames:
        await anext(frames)
    with pytest.raises(StopAsyncIteration):
        await anext(frames)
    assert frames.dropped == 0
