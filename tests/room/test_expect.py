"""``session.expect``: listen first, act, then wait for what came of it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from neko_trio import Session
from neko_trio.errors import CallerError, EventTimeout, InvalidInput, NekoError, SessionClosed, SessionLost
from neko_trio.events import ChatInit, ClipboardUpdated
from neko_trio.testing import cancel_at_every_step
from tests.room.conftest import RoomServer, opened


async def test_what_comes_while_acting_is_kept(autojump_clock: MockClock) -> None:
    server = RoomServer()
    async with opened(server) as session:
        async with session.expect("clipboard/updated") as copied:
            assert not copied.arrived
            server.send(ClipboardUpdated(text="first"))
            for _ in range(1000):
                server.send(ClipboardUpdated(text="later"))
            await trio.testing.wait_all_tasks_blocked()
        assert copied.value == ClipboardUpdated(text="first")
        assert "first" not in repr(copied)


async def test_what_comes_after_acting_is_waited_for_and_what_came_before_is_not_taken(
    autojump_clock: MockClock,
) -> None:
    server = RoomServer()
    async with opened(server) as session, trio.open_nursery() as nursery:
        server.send(ClipboardUpdated(text="before"))
        await trio.testing.wait_all_tasks_blocked()

        async def later() -> None:
            await trio.sleep(5)
            server.send(ClipboardUpdated(text="after"))

        nursery.start_soon(later)
        began = trio.current_time()
        async with session.expect(ClipboardUpdated, where=lambda event: event.text != "x", timeout=6) as copied:
            pass
        assert trio.current_time() - began == pytest.approx(5)
        assert copied.value.text == "after"  # typed: no Any


async def test_a_pattern_and_a_predicate(autojump_clock: MockClock) -> None:
    server = RoomServer()
    async with opened(server) as session:
        async with session.expect("c*/*", where=lambda event: getattr(event, "text", "") == "b") as found:
            for event in (ChatInit(enabled=True), ClipboardUpdated(text="a"), ClipboardUpdated(text="b")):
                server.send(event)
        assert found.value == ClipboardUpdated(text="b")


@pytest.mark.parametrize("timeout", [0, 2.5])
async def test_what_does_not_come_in_time(autojump_clock: MockClock, timeout: float) -> None:
    async with opened(RoomServer()) as session:
        began = trio.current_time()
        with pytest.raises(EventTimeout, match=f"clipboard/updated.*{timeout:g} s") as caught:
            async with session.expect("clipboard/updated", timeout=timeout) as copied:
                await trio.sleep(10)  # acting may take its time
        assert trio.current_time() - began == pytest.approx(10 + timeout)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, CallerError)
        with pytest.raises(InvalidInput, match="has come yet"):
            copied.value  # noqa: B018 - a property that raises


async def test_no_time_is_needed_for_what_is_there_already(autojump_clock: MockClock) -> None:
    server = RoomServer()
    async with opened(server) as session:
        async with session.expect("clipboard/updated", timeout=0) as copied:
            server.send(ClipboardUpdated(text="x"))
            await trio.testing.wait_all_tasks_blocked()
        assert copied.value.text == "x"


@pytest.mark.parametrize("timeout", [-1, float("nan")])
async def test_a_timeout_is_a_time(autojump_clock: MockClock, timeout: float) -> None:
    async with opened(RoomServer()) as session:
        with pytest.raises(InvalidInput, match="timeout"):
            async with session.expect("x", timeout=timeout):
                pass  # pragma: no cover


async def test_the_blocks_own_error_is_what_comes_out(autojump_clock: MockClock) -> None:
    async with opened(RoomServer()) as session:
        with trio.fail_after(1), pytest.raises(KeyError):
            async with session.expect("clipboard/updated"):
                raise KeyError
        assert session._parts.bus._subscriptions == []


async def test_a_predicate_that_raises_hurts_nobody_else(autojump_clock: MockClock) -> None:
    server = RoomServer()
    async with opened(server) as session:
        with pytest.raises(ZeroDivisionError):
            async with session.expect("clipboard/updated", where=lambda event: bool(1 / 0)):
                server.send(ClipboardUpdated(text="x"))
                server.send(ClipboardUpdated(text="y"))
                async with session.expect("clipboard/updated", where=lambda event: event.text == "y") as other:
                    server.send(ClipboardUpdated(text="y"))
                assert other.value.text == "y"


@pytest.mark.parametrize("end", [SessionLost, SessionClosed])
async def test_the_sessions_end_ends_the_wait(autojump_clock: MockClock, end: type[NekoError]) -> None:
    server = RoomServer()
    async with opened(server) as session, trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(end):
                async with session.expect("clipboard/updated", timeout=60):
                    pass

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        session._parts.fail(lambda: end("it is over"))


async def test_what_had_come_is_worth_more_than_the_end(autojump_clock: MockClock) -> None:
    server = RoomServer()
    async with opened(server) as session:
        async with session.expect("clipboard/updated") as copied:
            server.send(ClipboardUpdated(text="x"))
            await trio.testing.wait_all_tasks_blocked()
            session._parts.fail(lambda: SessionClosed("it is over"))
        assert copied.value.text == "x"
        with pytest.raises(SessionClosed):
            async with session.expect("clipboard/updated"):
                pass


def test_cancelled_at_any_step() -> None:
    sessions: list[Session] = []
    values: list[Any] = []

    async def scenario() -> None:
        server = RoomServer()
        async with opened(server) as session:
            sessions[:] = [session]
            async with session.expect("clipboard/updated", timeout=1) as copied:
                await trio.lowlevel.checkpoint()
                server.send(ClipboardUpdated(text="x"))
            values.append(copied.value)

    def check() -> None:
        for session in sessions:
            assert session._parts.bus._subscriptions == []

    assert cancel_at_every_step(scenario, check) > 20
    assert values
