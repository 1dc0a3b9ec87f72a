"""State cell, frame slot and event bus: bounded, counted, and every wait ends."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, cast

import pytest
import trio

from neko_trio._ports.bus import Dropped, EventBus
from neko_trio._ports.frames import FrameSlot
from neko_trio._ports.state import StateCell
from neko_trio.errors import SessionClosed, SessionLost


@dataclass
class Picture:
    number: int


def picture(number: int) -> Any:
    return cast(Any, Picture(number))


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


async def test_no_wakeup_while_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    slot = FrameSlot()
    woken: list[object] = []
    monkeypatch.setattr(slot, "_wake", lambda: woken.append(1))
    slot.put(picture(1))
    await trio.testing.wait_all_tasks_blocked()
    assert not woken


def test_a_frame_after_the_run_is_no_error() -> None:
    async def main() -> FrameSlot:
        slot = FrameSlot()
        slot._waiting = 1  # as if somebody waited when the run ended
        return slot

    slot = trio.run(main)
    slot.put(picture(1))
    assert slot.newest is not None


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
