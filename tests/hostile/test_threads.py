"""Several trio runs, one after the other and side by side: the media thread is shared, nothing else is."""

from __future__ import annotations

import threading
from contextlib import AbstractAsyncContextManager

import pytest
import trio

import neko_trio
from neko_trio.errors import Kicked, SessionLost
from neko_trio.simulator import open_simulator


async def connect_and_look() -> None:
    async with (
        open_simulator(size=(320, 240)) as simulator,
        neko_trio.open_session(
            simulator.url, username=simulator.username, password=simulator.password, close_timeout=1
        ) as session,
    ):
        with trio.fail_after(8):
            await session.screen.frame()
            async with session.control():
                await session.mouse.click(5, 5)
                await session.flush()


def test_one_run_after_the_other() -> None:
    """The run before has ended this instant: its token is dead, its thread may be ending still."""
    for _ in range(3):
        trio.run(connect_and_look)


def test_two_runs_side_by_side() -> None:
    """Sessions of two trio runs in two threads share the media thread; the end of one does not touch the other."""
    errors: list[BaseException] = []

    def play(times: int) -> None:
        try:
            for _ in range(times):
                trio.run(connect_and_look)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=play, args=(times,)) for times in (1, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a run hangs"
    for error in errors:
        raise error


async def test_two_sessions_in_one_nursery_one_of_them_dies() -> None:
    died = trio.Event()
    async with open_simulator(size=(320, 240)) as simulator:

        def connect() -> AbstractAsyncContextManager[neko_trio.Session]:
            return neko_trio.open_session(
                simulator.url, username=simulator.username, password=simulator.password, close_timeout=1
            )

        async def die() -> None:
            with pytest.raises(SessionLost) as caught:
                async with connect() as session:
                    socket = simulator.sessions[session.state.session_id].socket
                    assert socket is not None
                    socket.destroy("session disconnected")
                    await trio.sleep(8)
            assert isinstance(caught.value.__cause__, Kicked)
            died.set()

        async with connect() as session, trio.open_nursery() as nursery:
            nursery.start_soon(die)
            with trio.fail_after(8):
                await died.wait()
                frame = await session.screen.frame()
                await session.screen.frame(newer_than=frame)
                await session.flush()
