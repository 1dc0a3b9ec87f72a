"""A call that its caller's cancellation does not cut off."""

from __future__ import annotations

import signal

import pytest
import trio
from trio.testing import MockClock

from neko_trio._ports.finishing import finished
from neko_trio.errors import NotAllowed


async def test_cancelled_it_is_done_first(autojump_clock: MockClock) -> None:
    done: list[float] = []

    async def call() -> None:
        await trio.sleep(1)
        done.append(trio.current_time())

    with trio.move_on_after(0.5) as scope:
        await finished(call, within=lambda _interruption: 2)
        raise AssertionError
    assert scope.cancelled_caught
    assert done == [1]
    assert trio.current_time() == 1


async def test_not_for_longer_than_told(autojump_clock: MockClock) -> None:
    async def call() -> None:
        await trio.sleep(1000)

    with trio.move_on_after(0.5) as scope:
        await finished(call, within=lambda _interruption: 2)
        raise AssertionError
    assert scope.cancelled_caught
    assert trio.current_time() == 2.5


async def test_cancelled_before_it_began_it_does_not_begin(autojump_clock: MockClock) -> None:
    begun: list[bool] = []

    async def call() -> None:
        begun.append(True)

    with trio.CancelScope() as scope:
        scope.cancel()
        await finished(call, within=lambda _interruption: 2)
    assert begun == []


async def test_what_it_raises_leaves_bare(autojump_clock: MockClock) -> None:
    async def call() -> None:
        await trio.sleep(1)
        raise NotAllowed("no")

    with pytest.raises(NotAllowed):
        await finished(call, within=lambda _interruption: 2)
    with trio.move_on_after(0.5) as scope:
        await finished(call, within=lambda _interruption: 2)
    assert scope.cancelled_caught


async def test_uncancelled_it_may_take_its_time(autojump_clock: MockClock) -> None:
    async def call() -> None:
        await trio.sleep(100)

    await finished(call, within=lambda _interruption: 2)
    assert trio.current_time() == 100


def test_ctrl_c_is_not_held_up() -> None:
    """A server that does not answer must not keep a program from ending."""
    ended: list[float] = []

    async def stalled() -> None:
        signal.raise_signal(signal.SIGINT)  # for the main task: this one is protected
        await trio.sleep(1000)

    async def main() -> None:
        try:
            await finished(stalled, within=lambda _interruption: 2)
        finally:
            ended.append(trio.current_time() - began)

    clock = MockClock(autojump_threshold=0)
    began = clock.current_time()
    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=clock)
    assert ended == [pytest.approx(2)]
