"""Cancelled at every step of the handshake, on real sockets: a normal exit that leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import pytest
import trio

import neko_trio
from neko_trio._timeline import MARKS, Timeline
from neko_trio.testing import TestServer, leak_check
from tests.integration.conftest import open_token, open_watch, unique
from tests.integration.test_leaks import LEFT_WITHIN
from tests.integration.test_session import idle

pytestmark = pytest.mark.real_time


@pytest.fixture
def on_mark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Call something on the trio thread right when a mark appears on a timeline, whichever thread puts it there."""

    def install(wanted: str, call: Callable[[], object]) -> None:
        token, mark = trio.lowlevel.current_trio_token(), Timeline.mark

        def marked(timeline: Timeline, name: str, at: float | None = None) -> None:
            mark(timeline, name, at)
            if name != wanted:
                return
            try:
                trio.lowlevel.current_task()
            except RuntimeError:
                token.run_sync_soon(call)
            else:
                call()

        monkeypatch.setattr(Timeline, "mark", marked)

    return install


@pytest.mark.parametrize("mark", MARKS)
async def test_cancelled_at_a_mark(
    apart: TestServer, mark: str, on_mark: Callable[[str, Callable[[], object]], None]
) -> None:
    name = unique("cancelled")
    async with open_watch(apart) as watch:
        with leak_check(), trio.CancelScope() as scope:
            at: list[float] = []

            def cancel() -> None:
                at.append(perf_counter())
                scope.cancel(reason=mark)

            on_mark(mark, cancel)
            async with neko_trio.open_session(apart.url, username=name, password=apart.password) as session:
                await session.screen.frame()
                with trio.fail_after(10):
                    await trio.sleep_forever()
        assert scope.cancelled_caught
        assert perf_counter() - at[0] < LEFT_WITHIN
        await watch.gone(name)


@pytest.mark.parametrize("mark", [mark for mark in MARKS if mark != "login"])
async def test_cancelled_at_a_mark_with_a_token_the_offer_is_answered(
    neko_simulator: TestServer, mark: str, on_mark: Callable[[str, Callable[[], object]], None]
) -> None:
    """No logout frees what is forgotten: the server keeps an unanswered offer for ever, an answered one for 10 s."""
    server, name = neko_simulator, unique("cancelled")
    async with open_watch(server) as watch, open_token(server, name) as token:
        with trio.CancelScope() as scope:
            on_mark(mark, lambda: scope.cancel(reason=mark))
            async with neko_trio.open_session(server.url, token=token) as session:
                await session.screen.frame()
                with trio.fail_after(10):
                    await trio.sleep_forever()
        assert scope.cancelled_caught
        await watch.settled()
        await watch.until(name, lambda infos: len(infos) == 1 and idle(infos))
        if server.simulator is not None:
            (info,) = watch.of(name)
            signals = [
                (entry.direction, entry.event)
                for entry in server.simulator.journal.select(lambda entry: entry.who == info.id)
            ]
            offers = signals.count(("sent", "signal/provide"))
            assert signals.count(("received", "signal/answer")) >= offers
            assert offers == signals.count(("received", "signal/request"))
            if mark in MARKS[MARKS.index("offer_received") :]:
                assert offers == 1


async def test_a_close_amid_the_dtls_handshake_reaches_the_server(
    apart: TestServer, on_mark: Callable[[str, Callable[[], object]], None]
) -> None:
    """Half a handshake has no goodbye: the server would list the session as watching for 5 s more."""
    name = unique("handshake")
    scope = trio.CancelScope()
    on_mark("ice_connected", lambda: scope.cancel())
    async with open_watch(apart) as watch, open_token(apart, name) as token:
        for _ in range(25):
            scope = trio.CancelScope()
            with scope:
                async with neko_trio.open_session(apart.url, token=token):
                    await trio.sleep_forever()
            await watch.settled()
            await watch.until(name, lambda infos: not any(info.state.is_watching for info in infos), within=2)
