"""Ctrl-C at any moment: the process ends at once, with a bare KeyboardInterrupt, and has said goodbye."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import pytest
import trio

import neko_trio
from neko_trio.simulator import SimulatorProcess, open_simulator_process
from neko_trio.testing import TestServer, leak_check
from tests.crowding import is_within
from tests.integration.conftest import open_watch, unique

pytestmark = pytest.mark.real_time

SCRIPT = Path(__file__).with_name("interrupted.py")
ENDS_WITHIN = 1.0
"""Seconds from Ctrl-C to the end of the process."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that got Ctrl-C, and how it ended."""

    returncode: int | None
    errors: str
    took: float
    """Seconds from Ctrl-C to its end."""


async def interrupt(
    server: TestServer | SimulatorProcess, name: str, moment: str, *, first: Callable[[], object] = lambda: None
) -> Ended:
    """Run the script until it says that it has come to ``moment``, do what is to be done ``first``, and send SIGINT."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-u", str(SCRIPT), server.url, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        with trio.fail_after(30):
            await process.stdin.send_all(server.password.encode() + b"\n")
            said = b""
            while f"{moment}\n".encode() not in said:
                part = await process.stdout.receive_some()
                assert part, (await read_all(process.stderr)).decode()
                said += part
            first()
            process.send_signal(signal.SIGINT)
            sent = perf_counter()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_all, process.stdout)  # so that it cannot block on what it says
                errors = (await read_all(process.stderr)).decode()
            await process.wait()
            took = perf_counter() - sent
    finally:
        process.kill()
        with trio.CancelScope(shield=True):  # killed: ends at once
            await process.wait()
    return Ended(process.returncode, errors, took)


@pytest.mark.parametrize("moment", ["start", "dial", "offer_received", "answer_sent", "first_frame", "typing"])
async def test_ctrl_c_ends_the_process(apart: TestServer, moment: str) -> None:
    name = unique("interrupted")
    # An import cannot be interrupted: at the start the process ends behind that of the media libraries.
    patience = ENDS_WITHIN + (await import_seconds() if moment == "start" else 0.0)
    async with open_watch(apart) as watch:
        ended = await interrupt(apart, name, moment)
        assert ended.errors.rstrip().endswith("\nKeyboardInterrupt"), ended.errors
        assert "ExceptionGroup" not in ended.errors
        assert "never" not in ended.errors, "something was not awaited, retrieved or closed"
        assert ended.returncode == -signal.SIGINT
        assert is_within(ended.took, patience)
        await watch.gone(name)


@pytest.mark.skipif(sys.platform == "win32", reason="stops a process")
@pytest.mark.parametrize("moment", ["request_sent", "in_control"])
async def test_ctrl_c_ends_the_process_also_when_the_server_has_stopped(embedded_only: None, moment: str) -> None:
    """Nothing is answered any more, and the process is gone in time all the same."""
    async with open_simulator_process(size=(640, 360)) as server:
        try:
            ended = await interrupt(server, "interrupted", moment, first=partial(os.kill, server.pid, signal.SIGSTOP))
        finally:
            os.kill(server.pid, signal.SIGCONT)
    assert "\nKeyboardInterrupt\n" in ended.errors, ended.errors  # perhaps with a note: the role was not given back
    assert "ExceptionGroup" not in ended.errors
    assert ended.returncode == -signal.SIGINT
    assert is_within(ended.took, ENDS_WITHIN)


ENOUGH = 30.0
"""Seconds for one test's interrupts, on a machine that has other work."""


async def import_seconds() -> float:
    """How long a process takes, on this machine now, that only loads the media libraries."""
    began = perf_counter()
    await trio.run_process([sys.executable, "-c", "import neko_trio.media.peer"])
    return perf_counter() - began


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([part async for part in stream])


@pytest.mark.skipif(sys.platform == "win32", reason="sends itself a signal")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # see struck_trio()
def test_ctrl_c_at_random_moments_leaves_nothing(apart: TestServer) -> None:
    """In this process, so that what is left can be seen; the moments are spread over the whole connect."""
    name = unique("interrupted")
    moments = random.Random(6)

    async def work() -> None:
        async with neko_trio.open_session(apart.url, username=name, password=apart.password) as session:
            await session.screen.frame()
            reached.append(perf_counter())
            await trio.sleep_forever()

    reached: list[float] = []
    began = perf_counter()
    assert isinstance(interrupted(work, 3.0), KeyboardInterrupt)  # the first costs the imports
    began = perf_counter()
    assert isinstance(interrupted(work, 1.0), KeyboardInterrupt)
    whole = reached[-1] - began
    enough = perf_counter() + ENOUGH
    for number in range(40):
        if perf_counter() > enough and number >= 10:
            break
        error: BaseException | None = None
        try:
            with leak_check():
                error = interrupted(work, moments.uniform(0, whole * 1.1))
        except AssertionError:
            if not struck_trio(error):
                raise
        assert type(error) is KeyboardInterrupt

    async def look() -> None:
        async with open_watch(apart) as watch:
            await watch.gone(name)

    trio.run(look)


def struck_trio(error: BaseException | None) -> bool:
    """Whether Ctrl-C came while trio made a socket, in a task of its own that nobody can protect.

    Such a socket is held by the traceback, and goes with it.
    """
    frames = traceback.extract_tb(error.__traceback__) if error is not None else []
    return any(frame.filename.endswith("_highlevel_open_tcp_stream.py") for frame in frames)


def interrupted(work: Callable[[], Awaitable[object]], seconds: float) -> BaseException | None:
    """Run ``work`` in a trio run that gets a SIGINT after ``seconds``; what comes out of it."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))

    async def main() -> None:
        timer.start()  # not before the run has begun: what an interrupt of its own start leaves is trio's
        await work()

    try:
        trio.run(main)
    except BaseException as error:  # noqa: BLE001 - to be looked at
        return error
    finally:
        timer.cancel()  # ended before, it would strike the tests themselves
        timer.join()
    return None
