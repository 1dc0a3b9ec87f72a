"""How long an exit takes: nothing that was not asked for is waited for, and a server that has stopped not for long.

In virtual time. That the process is gone within a second is looked at by `tests/integration/test_interrupt.py`.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from neko_trio._peer_video import LAST_PATIENCE
from neko_trio._ports.budget import HURRY, LAST_LEAST
from neko_trio.errors import NekoError
from neko_trio.signaling import dial, rest
from neko_trio.signaling.url import parse_server_url
from neko_trio.testing import FakeMedia, ScriptedServer, cancel_at_every_step, open_scripted_session

CLOSE_TIMEOUT = 2.0
SLACK = 0.01
ANSWERED = 0.05
"""Seconds, more than the doubles take for any answer: what has been sent is waited for."""


@pytest.mark.parametrize("token", [False, True], ids=["login", "token"])
def test_cancelled_anywhere_it_waits_for_no_answer_to_what_was_never_sent(token: bool) -> None:
    """Neither for the offer, nor for the first packet of a video that was not switched on."""
    took: list[float] = []

    async def play() -> None:
        began = trio.current_time()
        try:
            async with open_scripted_session(ScriptedServer(), FakeMedia(), token=token) as session:
                await session.flush()
        finally:
            took.append(trio.current_time() - began)

    cancel_at_every_step(play, lambda: None)
    assert len(took) > 40
    assert max(took) < ANSWERED


def stop(server: ScriptedServer) -> None:
    """It says nothing any more."""
    setattr(server, "send", lambda _event: None)  # noqa: B010 - a method is replaced
    server.delays["logout"] = 1000


async def leave(server: ScriptedServer, error: BaseException | None, *, control: bool) -> float:
    """Seconds of the way out of a session whose server has stopped. ``None`` is the normal one, ``TimeoutError`` means
    cancelled, and any other error is raised in the block."""
    media, began = FakeMedia(data_channel=False), 0.0
    left: BaseException | None = None
    with trio.CancelScope() as scope:
        try:
            async with open_scripted_session(server, media, close_timeout=CLOSE_TIMEOUT) as session:
                if not control:
                    stop(server)
                    began = trio.current_time()
                    await _end(error, scope)
                else:
                    async with session.control():
                        await session.mouse.down(1, 1)
                        stop(server)
                        began = trio.current_time()
                        await _end(error, scope)
        except (KeyboardInterrupt, NekoError, ValueError) as caught:
            left = caught
    if isinstance(error, KeyboardInterrupt | ValueError):
        assert left is error
    assert media.open_peers == set()
    assert media.leases == server.connections == 0
    assert server.logouts == 1, "it was not even told"
    return trio.current_time() - began


async def _end(error: BaseException | None, scope: trio.CancelScope) -> None:
    if isinstance(error, TimeoutError):
        scope.cancel()
        await trio.sleep_forever()
    if error is not None:
        raise error


@pytest.mark.parametrize("control", [False, True])
async def test_ctrl_c_waits_for_a_server_that_has_stopped_no_longer_than_a_hurry(
    autojump_clock: MockClock, control: bool
) -> None:
    took = await leave(ScriptedServer(), KeyboardInterrupt(), control=control)
    assert HURRY <= took < HURRY + LAST_LEAST


async def test_so_does_a_session_that_is_cancelled(autojump_clock: MockClock) -> None:
    assert HURRY <= await leave(ScriptedServer(), TimeoutError(), control=False) < HURRY + LAST_LEAST


@pytest.mark.parametrize("error", [None, ValueError("the block's own")], ids=["normal", "error"])
@pytest.mark.parametrize("control", [False, True])
async def test_any_other_way_out_has_one_budget(
    autojump_clock: MockClock, control: bool, error: BaseException | None
) -> None:
    """Behind that of a block of control(), which was not answered, there is but a hurry."""
    took = await leave(ScriptedServer(), error, control=control)
    assert took <= CLOSE_TIMEOUT + (HURRY + LAST_LEAST if control else 0) + SLACK
    assert took > HURRY


async def test_cancelled_while_a_login_is_not_answered(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    server.delays["login"] = 1000
    with trio.move_on_after(1):
        async with open_scripted_session(server, FakeMedia()):
            pytest.fail("connected")
    assert trio.current_time() == pytest.approx(1 + HURRY / 2, abs=SLACK)


def test_ctrl_c_during_the_goodbyes_hurries_them() -> None:
    """In a run of its own, for Ctrl-C is raised in the main task."""
    ended: list[float] = []

    async def strike() -> None:
        await trio.sleep(1)
        signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        server = ScriptedServer()
        try:
            async with open_scripted_session(server, FakeMedia(), close_timeout=60):
                stop(server)
                began = trio.current_time()
                trio.lowlevel.spawn_system_task(strike)
        finally:
            ended.append(trio.current_time() - began)

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert 1 < ended[0] <= 1 + HURRY + LAST_LEAST


async def test_a_slow_import_takes_no_time_from_the_logout(autojump_clock: MockClock) -> None:
    class SlowMedia(FakeMedia):
        async def prepare(self) -> None:
            with trio.CancelScope(shield=True):  # as a thread that imports
                await trio.sleep(10)

    class Server(ScriptedServer):
        @property
        def logouts(self) -> int:
            return len(logouts)

        @logouts.setter
        def logouts(self, _number: int) -> None:
            if trio.current_time() > 0:
                logouts.append(trio.current_time())

    logouts: list[float] = []
    server = Server()
    with trio.move_on_after(1):
        async with open_scripted_session(server, SlowMedia()):
            pytest.fail("connected")
    assert trio.current_time() >= 10
    assert server.logins == len(logouts) == 1
    assert logouts[0] == pytest.approx(1, abs=SLACK)


HERE = parse_server_url("http://127.0.0.1:9")


@pytest.mark.parametrize(
    "call",
    [lambda: rest.login(HERE, "agent", "secret"), lambda: dial.open_stream(HERE)],
    ids=["rest", "dial"],
)
def test_ctrl_c_in_a_task_of_the_dialling_is_no_group(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[], Awaitable[object]]
) -> None:
    """trio connects in tasks of a nursery of its own."""

    async def connect(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(trio._socket._SocketType, "connect", connect)

    async def main() -> None:
        await call()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


@pytest.mark.parametrize("deaf", [True, False], ids=["stopped", "slow"])
async def test_a_pipeline_that_starts_is_waited_for_in_a_hurry_only_if_the_server_is_there(
    autojump_clock: MockClock, deaf: bool
) -> None:
    server, media = ScriptedServer(), FakeMedia(silent=True)
    with trio.CancelScope() as scope:
        async with open_scripted_session(server, media):
            await trio.sleep(0.05)
            if deaf:
                media.peers[0].deaf_since = trio.current_time()
                stop(server)
            began = trio.current_time()
            scope.cancel()
            await trio.sleep_forever()
    took = trio.current_time() - began
    if deaf:
        assert took < HURRY + LAST_LEAST
    else:
        assert took == pytest.approx(LAST_PATIENCE, abs=ANSWERED)
    assert server.logouts == 1
