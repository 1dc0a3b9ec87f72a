"""The leak check finds each kind of leak, and nothing where there is none."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
import trio
import trio.testing

from neko_trio.media import bridge
from neko_trio.testing._leaks import leak_check


def _start(*threads: threading.Thread, error: Exception | None = None) -> None:
    for thread in threads:
        thread.start()
    if error is not None:
        raise error


def test_finds_a_thread_of_ours_and_no_other() -> None:
    go = threading.Event()
    ours = threading.Thread(target=go.wait, name="neko-trio-test")
    other = threading.Thread(target=go.wait, name="somebody's")
    with pytest.raises(AssertionError, match=r"left behind:\n  thread 'neko-trio-test'$"), leak_check():
        _start(ours, other)
    go.set()
    ours.join()
    other.join()


def test_finds_a_file_descriptor() -> None:
    with pytest.raises(AssertionError, match=r"fd \d+: pipe:"), leak_check():
        read, write = os.pipe()
    os.close(read)
    os.close(write)


async def test_finds_a_trio_task() -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(AssertionError, match=r"trio task .*sleep_forever"), leak_check():
            nursery.start_soon(trio.sleep_forever)
        nursery.cancel_scope.cancel()


async def test_finds_an_asyncio_task_of_a_leased_loop() -> None:
    tasks: list[asyncio.Task[None]] = []

    def spawn() -> None:
        tasks.append(asyncio.get_running_loop().create_task(asyncio.sleep(3600), name="forgotten"))

    async with bridge.open_lease() as lease:
        with pytest.raises(AssertionError, match=r"asyncio task .*forgotten"), leak_check():
            await lease.run(spawn)
        lease.post(tasks[0].cancel)


async def test_finds_a_lease_left_open() -> None:
    async with bridge.open_lease():
        context = bridge.open_lease("simulator")
        with pytest.raises(AssertionError, match="thread 'neko-trio-simulator'"), leak_check():
            await context.__aenter__()
        await context.__aexit__(None, None, None)


async def test_finds_errors_that_nobody_awaited() -> None:
    async def fail() -> None:
        asyncio.get_running_loop().call_soon(int, "no number")

    async with bridge.open_lease() as lease:
        with pytest.raises(AssertionError, match="1 background failures in asyncio loops, 0 expected"), leak_check():
            await lease.run(fail)
        with leak_check(background_failures=1):
            await lease.run(fail)
        with (
            pytest.raises(AssertionError, match="0 background failures in asyncio loops, 1 expected"),
            leak_check(background_failures=1),
        ):
            pass


async def test_finds_a_blocked_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neko_trio.testing._leaks.LOOP_LIMIT", 0.05)
    go = threading.Event()
    async with bridge.open_lease() as lease:
        with pytest.raises(AssertionError, match="asyncio loop 'media': did not answer"), leak_check():
            lease.post(go.wait)
        go.set()


async def test_is_silent_about_what_was_there_and_what_is_gone() -> None:
    async with bridge.open_lease() as lease, trio.open_nursery() as nursery:
        nursery.start_soon(lease.wait_lost)
        await trio.testing.wait_all_tasks_blocked()
        with leak_check():
            async with bridge.open_lease("simulator") as other, trio.open_nursery() as inner:
                inner.start_soon(trio.sleep, 0)
                await other.run(asyncio.sleep, 0)
                await lease.run(asyncio.sleep, 0)
                read, write = os.pipe()
                os.close(read)
                os.close(write)
        nursery.cancel_scope.cancel()


def test_an_error_of_the_block_is_not_hidden() -> None:
    go = threading.Event()
    thread = threading.Thread(target=go.wait, name="neko-trio-test")
    with pytest.raises(LookupError), leak_check():
        _start(thread, error=LookupError())
    go.set()
    thread.join()
