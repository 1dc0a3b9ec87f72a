"""The way from trio to asyncio and back: what cancellation and errors do to a call.

Real threads, so the real clock; order comes from events, never from sleeping.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

from neko_trio.errors import MediaThreadLost
from neko_trio.media import bridge
from neko_trio.testing._leaks import leak_check
from tests.media.witness import Witness, turns


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    with leak_check():
        yield


async def test_returns_the_value_of_async_and_sync_functions_from_the_leased_thread() -> None:
    async def thread_name(prefix: str) -> str:
        await asyncio.sleep(0)
        return prefix + threading.current_thread().name

    async with bridge.open_lease() as lease:
        assert await lease.run(thread_name, "in ") == "in neko-trio-media"
        assert await lease.run(threading.get_ident) != threading.get_ident()
        assert await bridge.run(thread_name, "") == "neko-trio-media"
        assert await lease.run(asyncio.get_running_loop) is lease.loop


async def test_raises_the_very_error_of_the_work() -> None:
    error = LookupError("not there")

    async def fail() -> None:
        raise error

    async with bridge.open_lease() as lease:
        with pytest.raises(LookupError) as caught:
            await lease.run(fail)
        assert caught.value is error


async def test_system_exit_of_the_work_reaches_the_caller_and_spares_the_loop() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async with bridge.open_lease() as lease:
        with pytest.raises(SystemExit):
            await lease.run(leave)
        assert await lease.run(asyncio.sleep, 0, "alive") == "alive"


async def test_run_is_a_checkpoint() -> None:
    async with bridge.open_lease() as lease:
        with trio.testing.assert_checkpoints():
            await lease.run(asyncio.sleep, 0)


async def test_an_awaiting_finally_runs_to_its_end() -> None:
    async with bridge.open_lease() as lease:
        witness = Witness()

        async def work() -> None:
            witness.begin()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await turns()
                witness.cleaned_up = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease.run, work)
            await witness.begun.wait()
            nursery.cancel_scope.cancel()
        assert witness.cleaned_up


async def test_cancels_once_and_a_late_value_is_returned() -> None:
    async with bridge.open_lease() as lease:
        witness = Witness()
        ignored = trio.Event()
        token = trio.lowlevel.current_trio_token()
        go_on: asyncio.Event | None = None

        async def work() -> str:
            nonlocal go_on
            go_on = asyncio.Event()
            witness.begin()
            while not go_on.is_set():
                try:
                    await go_on.wait()
                except asyncio.CancelledError:
                    witness.cancelled += 1
                    token.run_sync_soon(ignored.set)
            await turns()
            return "late"

        values: list[str] = []
        cancelled_after: list[bool] = []

        async def caller() -> None:
            values.append(await lease.run(work))
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled:
                cancelled_after.append(True)
                raise

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await witness.begun.wait()
            owners = len(await lease.run(asyncio.all_tasks))
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await ignored.wait()
                for _ in range(5):  # the loop goes on turning, and nothing cancels again
                    await lease.run(turns)
                assert values == []  # the call waits for the real end
                assert len(await lease.run(asyncio.all_tasks)) == owners  # and the portal still owns the work
                assert go_on is not None
                lease.post(go_on.set)
        assert values == ["late"]
        assert witness.cancelled == 1
        assert cancelled_after == [True]  # the cancellation is not lost, only later


async def test_an_error_of_the_cleanup_is_raised() -> None:
    async with bridge.open_lease() as lease:
        witness = Witness()

        async def work() -> None:
            witness.begin()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await turns()
                raise LookupError("while cleaning up")

        caught: list[LookupError] = []

        async def caller() -> None:
            try:
                await lease.run(work)
            except LookupError as error:
                caught.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await witness.begun.wait()
            nursery.cancel_scope.cancel()
        assert [str(error) for error in caught] == ["while cleaning up"]


async def test_a_cancelled_caller_starts_nothing() -> None:
    started: list[bool] = []
    async with bridge.open_lease() as lease:
        with trio.CancelScope() as scope:
            scope.cancel()
            await lease.run(started.append, True)
        assert scope.cancelled_caught
        await lease.run(turns)
    assert started == []


async def test_cancelled_behind_a_busy_loop_the_work_never_starts_and_trio_never_waits() -> None:
    busy = threading.Event()
    started: list[bool] = []
    async with bridge.open_lease() as lease:
        lease.post(busy.wait)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease.run, started.append, True)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
            busy.set()  # only the trio thread does this: had it blocked on the loop, we would not get here
    assert started == []


async def test_a_cancellation_nobody_here_asked_for_is_typed_and_the_loop_goes_on() -> None:
    async def cancels_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with bridge.open_lease() as lease:
        with pytest.raises(MediaThreadLost, match="cancels_itself was cancelled inside"):
            await lease.run(cancels_itself)
        assert await lease.run(asyncio.sleep, 0, "alive") == "alive"


def test_keyboard_interrupt_comes_out_bare_and_the_work_has_ended() -> None:
    seen: list[str] = []

    async def main() -> None:
        async with bridge.open_lease() as lease:
            token = trio.lowlevel.current_trio_token()

            async def work() -> str:
                token.run_sync_soon(signal.raise_signal, signal.SIGINT)
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError:
                    await turns()
                    seen.append("ended")
                return "a late value does not hide Ctrl-C"

            await lease.run(work)
            seen.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert seen == ["ended"]


def test_ctrl_c_amid_handing_a_call_over_waits_for_it_to_be_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two threads a call would be nobody's, and its end would never come."""

    async def main() -> None:
        async with bridge.open_lease() as lease:
            hand_over = lease.loop.call_soon_threadsafe
            struck: list[bool] = []

            def interrupted(*args: Any, **options: Any) -> asyncio.Handle:
                if not struck and threading.current_thread() is threading.main_thread():
                    struck.append(True)
                    signal.raise_signal(signal.SIGINT)
                return hand_over(*args, **options)

            monkeypatch.setattr(lease.loop, "call_soon_threadsafe", interrupted)
            with trio.move_on_after(5):
                await lease.run(asyncio.sleep, 60)

    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert time.perf_counter() - started < 4
