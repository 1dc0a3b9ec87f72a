"""The threads behind the bridge: how leases share them, how they die, are replaced and end.

Real threads, so the real clock; order comes from events, never from sleeping.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from neko_trio.errors import MediaThreadLost
from neko_trio.media import bridge
from neko_trio.testing._leaks import leak_check
from neko_trio.testing._sweep import CancelAt
from tests.media.witness import Witness, turns


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    meant = 20 if request.function is test_background_failures_are_counted_kept_and_logged else 0
    with leak_check(background_failures=meant):
        yield


@pytest.mark.parametrize("blocked_first", [False, True])
async def test_a_dying_loop_ends_every_call_with_a_typed_error(blocked_first: bool) -> None:
    """Running calls, those that the dying loop accepted and never began, and those that come later."""
    async with bridge.open_lease() as lease:
        witness = Witness()
        busy = threading.Event()
        errors: list[MediaThreadLost] = []

        async def work() -> None:
            witness.begin()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                await turns()
                witness.cleaned_up = True

        async def caller() -> None:
            with pytest.raises(MediaThreadLost) as caught:
                await lease.run(work)
            errors.append(caught.value)

        async def endless() -> None:
            with pytest.raises(MediaThreadLost) as caught:
                await lease.wait_lost()
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            nursery.start_soon(endless)
            await witness.begun.wait()
            if blocked_first:
                lease.post(busy.wait)
                lease.post(lease.loop.stop)
                nursery.start_soon(caller)
                await trio.testing.wait_all_tasks_blocked()
                busy.set()
            else:
                lease.post(lease.loop.stop)
        assert len(errors) == 3 if blocked_first else 2
        assert witness.cleaned_up
        assert all("its loop was stopped" in str(error) for error in errors)
        with pytest.raises(MediaThreadLost, match="its loop was stopped"):
            await lease.run(asyncio.sleep, 0)
        with pytest.raises(MediaThreadLost):
            await bridge.run(asyncio.sleep, 0)


async def test_a_call_that_was_cancelled_when_the_loop_died_raises_cancelled() -> None:
    async with bridge.open_lease() as lease:
        busy = threading.Event()
        lease.post(busy.wait)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lease.run, asyncio.sleep, 3600)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                lease.post(lease.loop.stop)
                busy.set()
        assert scope.cancelled_caught


async def test_a_cleanup_that_runs_when_the_loop_dies_is_not_cancelled_again() -> None:
    async with bridge.open_lease() as lease:
        witness = Witness()

        async def work() -> None:
            witness.begin()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                asyncio.get_running_loop().stop()
                await turns()
                witness.cleaned_up = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease.run, work)
            await witness.begun.wait()
            nursery.cancel_scope.cancel()
        assert witness.cleaned_up
        with pytest.raises(MediaThreadLost):
            await lease.wait_lost()


async def test_the_cause_of_a_death_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    def die() -> None:
        raise SystemExit("somebody's idea of an exit")

    async with bridge.open_lease() as lease:
        lease.post(die)
        with pytest.raises(MediaThreadLost, match="its loop died of SystemExit") as caught:
            await lease.wait_lost()
        assert isinstance(caught.value.__cause__, SystemExit)
    assert "died" in caplog.text


async def test_a_dead_thread_is_replaced_and_its_old_leases_do_not_end_the_new_one() -> None:
    async with bridge.open_lease() as new_outlives_old:
        pass
    async with trio.open_nursery() as nursery:
        old_may_leave = trio.Event()
        old_left = trio.Event()
        died = trio.Event()

        async def old() -> None:
            async with bridge.open_lease() as lease:
                lease.post(lease.loop.stop)
                with pytest.raises(MediaThreadLost):
                    await lease.wait_lost()
                died.set()
                await old_may_leave.wait()
            old_left.set()

        nursery.start_soon(old)
        await died.wait()
        async with bridge.open_lease() as lease:
            assert lease.loop is not new_outlives_old.loop
            assert await lease.run(asyncio.sleep, 0, "alive") == "alive"
            old_may_leave.set()
            await old_left.wait()
            assert await lease.run(asyncio.sleep, 0, "alive") == "alive"
            assert await bridge.run(asyncio.sleep, 0, "alive") == "alive"


async def test_post_says_whether_the_loop_is_there() -> None:
    async with bridge.open_lease() as lease:
        order: list[int] = []
        for number in range(5):
            assert lease.post(order.append, number)
        await lease.run(turns)
        assert order == [0, 1, 2, 3, 4]
    assert not lease.post(order.append, 5)


async def test_without_an_open_lease_the_error_is_typed() -> None:
    with pytest.raises(MediaThreadLost, match="no lease"):
        await bridge.run(asyncio.sleep, 0)
    async with bridge.open_lease("simulator") as lease:
        with pytest.raises(MediaThreadLost, match="no lease"):
            await bridge.run(asyncio.sleep, 0)
    with pytest.raises(MediaThreadLost, match="was left"):
        await lease.run(asyncio.sleep, 0)


async def test_leases_of_one_name_share_a_thread_and_names_have_threads_of_their_own() -> None:
    async with bridge.open_lease() as first, bridge.open_lease("simulator") as other:
        async with bridge.open_lease() as second:
            assert first.loop is second.loop
            assert other.loop is not first.loop
        assert await first.run(asyncio.sleep, 0, "alive") == "alive"
        assert bridge.open_loops() == {"media": first.loop, "simulator": other.loop}
    assert bridge.open_loops() == {}


async def test_the_last_lease_cancels_what_still_runs_once_and_lets_it_clean_up() -> None:
    witness = Witness()
    tasks: list[asyncio.Task[None]] = []
    async with bridge.open_lease() as lease:

        async def straggler() -> None:
            witness.begin()
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                witness.cancelled += 1
                await turns()
                witness.cleaned_up = True
                raise

        def spawn() -> None:
            tasks.append(asyncio.get_running_loop().create_task(straggler()))

        await lease.run(spawn)
        await witness.begun.wait()
    assert tasks[0].cancelled()
    assert witness.cancelled == 1
    assert witness.cleaned_up


async def test_the_end_does_not_wait_for_a_stuck_executor() -> None:
    stuck = threading.Event()
    workers: list[threading.Thread] = []

    def resolver() -> None:
        workers.append(threading.current_thread())
        stuck.wait()

    async with bridge.open_lease() as lease:

        async def look_up() -> None:
            asyncio.get_running_loop().run_in_executor(None, resolver)

        await lease.run(look_up)
        media = next(thread for thread in threading.enumerate() if thread.name == "neko-trio-media")
    assert not media.is_alive()
    stuck.set()
    for worker in workers:
        await trio.to_thread.run_sync(worker.join)


async def test_a_blocked_loop_does_not_hold_the_last_lease(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("neko_trio.media.portal.END_LIMIT", 0.05)
    busy = threading.Event()
    async with bridge.open_lease() as lease:
        media = next(thread for thread in threading.enumerate() if thread.name == "neko-trio-media")
        lease.post(busy.wait)
    assert media.is_alive()
    assert "its loop is blocked" in caplog.text
    async with bridge.open_lease() as lease:  # nobody inherits the blocked one
        assert await lease.run(asyncio.sleep, 0, "alive") == "alive"
    busy.set()
    await trio.to_thread.run_sync(media.join)


async def test_a_task_that_ignores_its_cancellation_does_not_hold_the_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("neko_trio.media.portal.GRACE", 0.05)
    release: list[asyncio.Event] = []

    async def stubborn() -> None:
        release.append(asyncio.Event())
        while True:
            try:
                await release[0].wait()
            except asyncio.CancelledError:
                continue

    async with bridge.open_lease() as lease:
        witness = Witness()

        async def work() -> None:
            witness.begin()
            await stubborn()

        async def caller() -> None:
            with pytest.raises(MediaThreadLost, match="its loop was stopped"):
                await lease.run(work)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await witness.begun.wait()
            lease.post(lease.loop.stop)
    assert "ignored its cancellation" in caplog.text


def test_several_trio_runs_one_after_the_other() -> None:
    async def main() -> str:
        async with bridge.open_lease() as lease:
            return await lease.run(asyncio.sleep, 0, "done")

    assert [trio.run(main) for _ in range(3)] == ["done"] * 3
    assert bridge.open_loops() == {}


def test_several_trio_runs_at_once_share_the_thread() -> None:
    together = threading.Barrier(3)
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        async with bridge.open_lease() as lease:
            await trio.to_thread.run_sync(together.wait)
            loops.append(await lease.run(asyncio.get_running_loop))
            await trio.to_thread.run_sync(together.wait)

    threads = [threading.Thread(target=trio.run, args=(main,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loops) == 3
    assert len(set(loops)) == 1


def test_cancelling_after_any_step_leaves_no_thread_and_no_lease() -> None:
    async def main(probe: CancelAt) -> None:
        with trio.CancelScope() as probe.scope:
            async with bridge.open_lease() as lease, trio.open_nursery() as nursery:
                nursery.start_soon(lease.wait_lost)
                await lease.run(turns)
                nursery.cancel_scope.cancel()
        probe.scope = None

    for step in range(1000):
        probe = CancelAt(step)
        with leak_check():
            trio.run(main, probe, instruments=[probe])
            assert bridge.open_loops() == {}
        if not probe.fired:
            break
    assert 10 < step < 999


async def test_a_lease_says_what_it_is() -> None:
    async with bridge.open_lease("simulator") as lease:
        assert lease.name == "simulator"
        assert repr(lease) == "<Lease of 'neko-trio-simulator'>"
    assert repr(lease) == "<Lease of 'neko-trio-simulator' (left)>"


async def test_background_failures_are_counted_kept_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(number: int) -> None:
        raise LookupError(f"number {number}")

    async with bridge.open_lease() as lease:
        assert lease.background_failures == bridge.BackgroundFailures(0, ())
        for number in range(20):
            lease.post(fail, number)
        await lease.run(turns)
        failures = lease.background_failures
        assert failures.total == 20
        assert [failure.error for failure in failures.last] == [f"LookupError('number {n}')" for n in range(4, 20)]
    assert "number 9" in caplog.text  # ten at once
