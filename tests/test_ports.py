"""State cell, frame slot and event bus: bounded, counted, and every wait ends."""

from __future__ import annotations

import math
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import pytest
import trio

from neko_trio._ports.bus import Dropped, EventBus
from neko_trio._ports.frames import EveryFrame, FrameSlot, _Waiter
from neko_trio._ports.state import StateCell
from neko_trio.errors import SessionClosed, SessionLost


@dataclass
class Picture:
    number: int
    arrived: float


def picture(number: int, arrived: float = 0.0) -> Any:
    return cast(Any, Picture(number, arrived))


def lost() -> SessionLost:
    return SessionLost("gone")


async def test_a_state_that_holds_already_is_returned_at_once() -> None:
    cell = StateCell(3)
    with trio.testing.assert_checkpoints():
        assert await cell.wait(lambda value: value == 3) == 3


async def test_a_state_wait_ends_with_the_fact() -> None:
    cell = StateCell(0)
    async with trio.open_nursery() as nursery:

        async def waiter() -> None:
            assert await cell.wait(lambda value: value >= 2) == 2

        nursery.start_soon(waiter)
        for value in (1, 2):
            await trio.testing.wait_all_tasks_blocked()
            cell.set(value)


async def test_every_waiter_gets_an_error_of_its_own() -> None:
    cell, slot = StateCell(0), FrameSlot()
    errors: list[BaseException] = []

    async def on_state() -> None:
        with pytest.raises(SessionLost) as caught:
            await cell.wait(lambda value: value == 1)
        errors.append(caught.value)

    async def on_slot() -> None:
        with pytest.raises(SessionLost) as caught:
            await slot.wait()
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        for fn in (on_state, on_state, on_slot, on_slot):
            nursery.start_soon(fn)
        await trio.testing.wait_all_tasks_blocked()
        cell.fail(lost)
        slot.fail(lost)
        cell.fail(lambda: SessionClosed("later"))
    assert len({id(error) for error in errors}) == 4
    with pytest.raises(SessionLost):
        await cell.wait(lambda value: True)


async def test_the_slot_keeps_the_newest_and_counts_the_unseen() -> None:
    slot = FrameSlot()
    for number in (1, 2, 3):
        slot.put(picture(number))
    assert (await slot.wait()).number == 3
    assert (await slot.wait(newer_than=2)).number == 3
    assert (slot.put_total, slot.unseen_total) == (3, 2)


async def test_a_frame_put_by_another_thread_wakes_the_waiter() -> None:
    slot = FrameSlot()
    slot.put(picture(1))
    got: list[int] = []
    async with trio.open_nursery() as nursery:

        async def reader() -> None:
            got.append((await slot.wait(newer_than=1)).number)

        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()

        def many() -> None:
            for number in range(2, 50):
                slot.put(picture(number))

        thread = threading.Thread(target=many)
        thread.start()
        await trio.to_thread.run_sync(thread.join)
    assert got[0] > 1


async def test_no_wakeup_while_nobody_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    slot = FrameSlot()
    woken: list[object] = []
    monkeypatch.setattr(slot, "_wake", lambda: woken.append(1))
    slot.put(picture(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slot.wait, 5)
        await trio.testing.wait_all_tasks_blocked()
        slot.put(picture(5))
        await trio.testing.wait_all_tasks_blocked()
        assert not woken
        slot.put(picture(6))
        await trio.testing.wait_all_tasks_blocked()
        assert woken
        nursery.cancel_scope.cancel()


def test_a_frame_after_the_run_is_no_error() -> None:
    async def main() -> FrameSlot:
        slot = FrameSlot()
        slot._waiters.append(_Waiter(1, -math.inf))  # as if somebody waited when the run ended
        return slot

    slot = trio.run(main)
    slot.put(picture(1))
    assert slot.newest is not None


class Source:
    """Keeps what the slot told it last; its newest complete frame is ``number``."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.told: tuple[bool, float] | None = None
        self.looks = 0

    def look(self, *, every: bool = False, after: float = -math.inf) -> int:
        self.looks += 1
        self.told = every, after
        return self.number

    def rest(self) -> None:
        self.told = None


NEWEST, EVERY = (False, -math.inf), (True, -math.inf)


async def test_a_wait_looks_for_the_newest_complete_frame_and_rests_again() -> None:
    slot, source = FrameSlot(), Source(7)
    slot.put(picture(4))
    slot.plug(source)
    assert source.told is None
    async with trio.open_nursery() as nursery:
        got: list[int] = []

        async def reader() -> None:
            got.append((await slot.wait()).number)

        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        assert source.told == NEWEST
        for number in (5, 6):
            slot.put(picture(number))
            await trio.testing.wait_all_tasks_blocked()
            assert not got
        slot.put(picture(7))
    assert got == [7]
    assert source.told is None
    assert (await slot.wait()).number == 7
    assert source.told is None


async def test_only_the_earliest_arrival_that_anybody_wants_counts() -> None:
    slot, source = FrameSlot(), Source(3)
    slot.plug(source)
    slot.put(picture(3, 1.0))
    async with trio.open_nursery() as nursery:
        scope = nursery.cancel_scope
        nursery.start_soon(partial(slot.wait, arrived_after=2.0))
        nursery.start_soon(partial(slot.wait, arrived_after=3.0))
        await trio.testing.wait_all_tasks_blocked()
        assert source.told == (False, 2.0)
        slot.put(picture(4, 2.5))
        await trio.testing.wait_all_tasks_blocked()
        assert source.told == (False, 3.0)
        with slot.looking():
            assert source.told == NEWEST
        assert source.told == (False, 3.0)
        with slot.subscribe(1):
            assert source.told == EVERY
        scope.cancel()
    assert source.told is None


async def test_a_source_that_is_plugged_in_late_is_told_and_replaces_the_one_before() -> None:
    slot, old, new = FrameSlot(), Source(), Source()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slot.wait)
        await trio.testing.wait_all_tasks_blocked()
        slot.plug(old)
        assert old.told == NEWEST
        slot.plug(new)
        assert (old.told is None, new.told) == (True, NEWEST)
        slot.unplug(old)
        with slot.subscribe(1):
            assert new.told == EVERY
        assert new.told == NEWEST
        slot.unplug(new)
        slot.put(picture(1))
    assert new.looks == 3  # not told any more after that


async def test_a_source_that_leaves_takes_its_promise_along() -> None:
    slot, source = FrameSlot(), Source(9)
    slot.put(picture(4))
    slot.plug(source)
    got: list[int] = []

    async def reader(newer_than: int) -> None:
        got.append((await slot.wait(newer_than)).number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader, 0)
        nursery.start_soon(reader, 4)
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(slot.unplug, source)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [4]
        slot.put(picture(5))
    assert got == [4, 5]


async def test_who_is_waited_for_is_told_once_for_each_change() -> None:
    slot = FrameSlot()
    told: list[bool] = []
    slot.on_wanted = told.append
    slot.put(picture(1))
    await slot.wait()
    with slot.looking():
        assert told == []  # nobody had to wait
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slot.wait, 1)
        nursery.start_soon(slot.wait, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert told == [True]
        assert slot.wanted
        nursery.cancel_scope.cancel()
    assert told == [True, False]
    with slot.subscribe(3):
        assert slot.wanted
    assert told == [True, False, True, False]


async def test_a_frame_of_a_peer_that_is_gone_does_not_replace_a_newer_one() -> None:
    slot = FrameSlot()
    slot.put(picture(5))
    slot.put(picture(3))
    assert (await slot.wait()).number == 5


async def drain(buffer: EveryFrame) -> list[int]:
    """The numbers of what is kept, up to the end of the session."""
    numbers = []
    with pytest.raises(SessionLost):
        while True:
            numbers.append((await buffer.take()).number)
    return numbers


async def test_every_frame_is_kept_while_trio_is_busy_and_the_oldest_dropped_beyond_the_limit() -> None:
    slot, source = FrameSlot(), Source(3)
    slot.put(picture(2))
    slot.plug(source)
    with slot.subscribe(4) as four, slot.subscribe(40) as all_of_them:
        for number in range(3, 11):
            slot.put(picture(number))
        slot.fail(lost)
        assert await drain(all_of_them) == list(range(3, 11))
        assert await drain(four) == [7, 8, 9, 10]
        assert (four.dropped, all_of_them.dropped) == (4, 0)
        assert slot.unseen_total == 1


async def test_a_reader_of_every_frame_wakes_up_for_the_next() -> None:
    slot = FrameSlot()
    with slot.subscribe(4) as buffer:
        async with trio.open_nursery() as nursery:
            got: list[int] = []

            async def take() -> None:
                got.append((await buffer.take()).number)

            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            slot.put(picture(11))
        assert got == [11]


async def test_a_buffer_begins_with_the_newest_complete_frame() -> None:
    slot = FrameSlot()
    slot.put(picture(2, 1.0))
    with slot.subscribe(4) as buffer:
        assert (await buffer.take()).number == 2
    slot.plug(Source(5))
    with slot.subscribe(4) as buffer, slot.subscribe(4, arrived_after=2.0) as later:
        for number in (3, 4, 5, 6):
            slot.put(picture(number, 2.0 if number < 6 else 3.0))
        assert (await buffer.take()).number == 5
        assert (await later.take()).number == 6


async def test_a_buffer_may_want_fewer_frames_a_second() -> None:
    slot = FrameSlot()
    with slot.subscribe(40, interval=0.1) as buffer:
        for number in range(1, 26):
            slot.put(picture(number, number / 25))
        slot.put(picture(26, 9.0))
        slot.put(picture(27, 9.04))
        slot.fail(lost)
        numbers = await drain(buffer)
    assert len(numbers[:-1]) == 11  # in 0.96 s
    assert all(2 <= after - before <= 3 for before, after in pairwise(numbers[:-1]))
    assert numbers[-1] == 26


async def test_the_end_wakes_everybody() -> None:
    slot = FrameSlot()
    with slot.subscribe(1) as buffer:
        async with trio.open_nursery() as nursery:

            async def fails(wait: Callable[[], Awaitable[object]]) -> None:
                with pytest.raises(SessionLost):
                    await wait()

            nursery.start_soon(fails, buffer.take)
            nursery.start_soon(fails, slot.wait)
            await trio.testing.wait_all_tasks_blocked()
            slot.fail(lost)


async def test_a_slow_observer_loses_the_oldest_and_is_told_how_many() -> None:
    bus: EventBus[int] = EventBus()
    with bus.subscribe("control/*", 2) as seen, bus.subscribe("*", 10) as everything:
        bus.publish("system/init", 0)
        for number in (1, 2, 3, 4):
            bus.publish("control/host", number)
        assert [await anext(seen) for _ in range(3)] == [Dropped(2), 3, 4]
        assert seen.dropped_total == 2
        assert await anext(everything) == 0
        bus.fail(lost)
        assert await anext(everything) == 1
        with pytest.raises(SessionLost):
            await anext(seen)
    with bus.subscribe("*", 1) as late:
        bus.publish("control/host", 5)
        assert await anext(late) == 5
        with pytest.raises(SessionLost):
            await anext(late)


async def test_an_observer_wakes_up_for_what_comes_later() -> None:
    bus: EventBus[int] = EventBus()
    with bus.subscribe("*", 4) as seen:
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                assert await anext(seen) == 7

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            bus.publish("x", 7)
