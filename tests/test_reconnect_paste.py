"""A clipboard that was lent for a paste when the connection was lost: it is put back all the same. In virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from neko_trio import Reconnect, Session
from neko_trio.desktop.clipboard_loan import GOODBYE, PASTE_TIME
from neko_trio.errors import InputInDoubt, ServerUnreachable, SessionLost
from neko_trio.protocol import events, requests
from neko_trio.testing import FakeMedia, RestRefusal, ScriptedServer, open_scripted_session
from neko_trio.testing._scripted import system_init

CLIPBOARD = "/api/room/clipboard"
POLICY = Reconnect(jitter=0)
ME = "agent-1"


class PastingServer(ScriptedServer):
    """It has a clipboard, for its host alone, and keeps this session host when its connection is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.clipboard = "before"
        self.rest.on["GET", CLIPBOARD] = self._read
        self.rest.on["POST", CLIPBOARD] = self._write
        self.written: list[str] = []
        self.on_write: Callable[[str], None] = lambda _text: None
        """Called with a text that is about to be written."""

    def copy(self, text: str) -> None:
        """Something is put there: the host is told, if it is connected."""
        self.clipboard = text
        self.send(events.ClipboardUpdated(text=text))

    def cut(self, *, host: str | None = ME, for_: float = 0.0) -> None:
        """The connection is lost; for that long nobody answers, and then ``host`` has the role."""
        self.init, self.host = system_init(host=host), host
        self.delays["dial"] = for_
        self.end()

    def _read(self, _body: object) -> object:
        self._check()
        return {"text": self.clipboard}

    def _write(self, body: Any) -> None:
        self._check()
        self.written.append(body["text"])
        self.on_write(body["text"])
        self.copy(body["text"])

    def _check(self) -> None:
        if self.host != ME:
            raise RestRefusal(403, "session is not the host")


@asynccontextmanager
async def open_desk(policy: Reconnect = POLICY) -> AsyncIterator[tuple[PastingServer, Session, trio.Nursery]]:
    """A server, a session with it, and tasks beside."""
    server = PastingServer()
    async with (
        open_scripted_session(server, FakeMedia(), video="off", reconnect=policy) as session,
        trio.open_nursery() as nursery,
    ):
        yield server, session, nursery


async def paste(session: Session) -> None:
    await session.keyboard.type("pasted", paste=True)


async def at(when: float, act: Callable[[], object]) -> None:
    await trio.sleep_until(when)
    act()


@pytest.mark.parametrize("host", [ME, None])
@pytest.mark.parametrize("seconds", [0.0, 1.0, 6.0])
async def test_it_is_put_back_after_the_outage(seconds: float, host: str | None, autojump_clock: MockClock) -> None:
    async with open_desk() as (server, session, nursery):
        async with session.control():
            nursery.start_soon(at, PASTE_TIME / 2, lambda: server.cut(for_=seconds, host=host))
            await paste(session)
            assert server.clipboard == "before"
        assert server.host is None
        assert trio.current_time() < seconds + GOODBYE


async def test_the_connection_goes_while_it_is_put_back(autojump_clock: MockClock) -> None:
    async with open_desk() as (server, session, _), session.control():
        asked = 0

        def unicast(request: requests.ClientRequest) -> None:
            nonlocal asked
            asked += 1
            if asked == 3:  # there is one before each write, and one behind the keys
                server.cut(for_=3)
            else:
                server._unicast(request)

        server.on["send/unicast"] = unicast
        await paste(session)
        assert server.written == ["pasted", "before"]
        assert server.clipboard == "before"


@pytest.mark.parametrize("done", [True, False])
async def test_the_server_goes_while_it_is_put_back(done: bool, autojump_clock: MockClock) -> None:
    async with open_desk() as (server, session, _), session.control():

        def on_write(_text: str) -> None:
            if len(server.written) == 2:
                if done:
                    server.copy("before")
                server.cut(for_=1)
                raise ServerUnreachable("gone")

        server.on_write = on_write
        await paste(session)
        assert server.clipboard == "before"
        assert len(server.written) == (2 if done else 3)


async def test_a_paste_that_the_outage_cut_is_in_doubt_and_it_is_put_back(autojump_clock: MockClock) -> None:
    async with open_desk() as (server, session, _), session.control():

        def on_write(_text: str) -> None:
            server.on_write = lambda _text: None
            server.on["control/keyup"] = lambda _request: cut()

        def cut() -> None:
            del server.on["control/keyup"]
            server.cut(for_=5)

        server.on_write = on_write
        with pytest.raises(InputInDoubt):
            await paste(session)
        assert server.clipboard == "before"
        await paste(session)
        assert server.clipboard == "before"


async def test_what_another_put_there_during_the_outage_stays(autojump_clock: MockClock) -> None:
    async with open_desk() as (server, session, nursery), session.control():

        def cut() -> None:
            server.cut(for_=1)
            server.clipboard = "another's"

        nursery.start_soon(at, PASTE_TIME / 2, cut)
        await paste(session)
        assert server.clipboard == "another's"
        await paste(session)
        assert server.clipboard == "another's"


async def test_what_another_put_there_between_two_stretches_is_put_back(autojump_clock: MockClock) -> None:
    async with open_desk() as (server, session, nursery), session.control():

        def cut() -> None:
            server.cut(for_=1)
            server.clipboard = "another's"

        nursery.start_soon(at, PASTE_TIME / 2, cut)
        session.keyboard._map.spare_keycodes = 0
        server.rest.on["GET", "/api/room/keyboard/map"] = lambda _: {"layout": "us", "variant": ""}
        server.rest.on["GET", "/api/room/keyboard/modifiers"] = lambda _: {"capslock": False}
        await session.keyboard.type("αβγ\nδεζ")
        assert server.clipboard == "another's"


@pytest.mark.parametrize(("seconds", "text"), [(1.0, "before"), (4.0, "pasted")])
async def test_cancelled_in_the_outage_it_waits_for_a_goodbye_long(
    seconds: float, text: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_desk() as (server, session, nursery), session.control():
        nursery.start_soon(at, PASTE_TIME / 2, lambda: server.cut(for_=seconds))
        with trio.move_on_after(PASTE_TIME) as scope:
            await paste(session)
        assert scope.cancelled_caught
        assert trio.current_time() <= PASTE_TIME + GOODBYE + 0.1
        assert server.clipboard == text
        assert ("was not put back" in caplog.text) is (text == "pasted")


async def test_cancelled_while_it_waits_on_it_ends_at_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_desk() as (server, session, nursery), session.control():
        nursery.start_soon(at, PASTE_TIME / 2, lambda: server.cut(for_=8))
        with trio.move_on_after(4) as scope:
            await paste(session)
        assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(4)
        assert caplog.text.count("was not put back") == 1


async def test_the_session_that_ends_first_says_so_and_waits_no_more(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def cut() -> None:
        server.dial_failure = ServerUnreachable("Nobody is there.")
        server.cut()

    with pytest.raises(SessionLost, match="did not come back"):
        async with open_desk(Reconnect(limit=5)) as (server, session, nursery), session.control():
            nursery.start_soon(at, PASTE_TIME / 2, cut)
            await paste(session)
    assert trio.current_time() < 6
    assert caplog.text.count("was not put back") == 1


@pytest.mark.parametrize("given", [True, False])
async def test_a_role_that_another_has_by_then_is_waited_for_a_goodbye_long(
    given: bool, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_desk() as (server, session, nursery), session.control(regain=True):
        server.on["control/request"] = lambda _request: server.give_host(ME) if given else None
        nursery.start_soon(at, PASTE_TIME / 2, lambda: server.cut(for_=1, host="somebody"))
        await paste(session)
        assert trio.current_time() <= PASTE_TIME + 1 + GOODBYE
        assert server.clipboard == ("before" if given else "pasted")
        assert caplog.text.count("was not put back") == (not given)
        server.give_host(ME)
