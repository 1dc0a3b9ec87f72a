"""The keyboard's layout is asked for when the connection goes: typing waits, and no layout is guessed. Virtual time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from neko_trio import Reconnect
from neko_trio.desktop.key_map import KeyMap, Layout
from neko_trio.errors import NotNeko, ServerUnreachable
from neko_trio.protocol.requests import ControlKeyDown
from neko_trio.testing import FakeMedia, RestRefusal, ScriptedServer, open_scripted_session
from neko_trio.testing._scripted import system_init

MAP = "/api/room/keyboard/map"
MODIFIERS = "/api/room/keyboard/modifiers"


class TypingServer(ScriptedServer):
    """It says its layout, but for the first ``fails`` times."""

    def __init__(self, *, fails: int, cuts: bool) -> None:
        super().__init__()
        self.asked, self._fails, self._cuts = 0, fails, cuts
        self.rest.on["GET", MAP] = self._layout
        self.rest.on["GET", MODIFIERS] = lambda _body: {"capslock": False}

    def _layout(self, _body: object) -> object:
        self.asked += 1
        if self.asked <= self._fails:
            if self._cuts:
                self.init, self.host = system_init(host="agent-1"), "agent-1"
                self.delays["dial"] = 1.0
                self.end()
            raise RestRefusal(502, "away")
        return {"layout": "de", "variant": ""}


@pytest.mark.parametrize("fails", [1, 2])
async def test_typing_waits_for_the_connection(fails: int, autojump_clock: MockClock) -> None:
    server = TypingServer(fails=fails, cuts=True)
    policy = Reconnect(jitter=0)
    async with open_scripted_session(server, FakeMedia(), video="off", reconnect=policy) as session, session.control():
        await session.keyboard.type("y")
    assert [request.keysym for request in server.requests if isinstance(request, ControlKeyDown)] == [ord("y")]
    assert server.asked > fails
    assert trio.current_time() >= 1


async def test_where_the_connection_is_well_it_fails(autojump_clock: MockClock) -> None:
    server = TypingServer(fails=1, cuts=False)
    async with open_scripted_session(server, FakeMedia(), video="off", reconnect=True) as session, session.control():
        with pytest.raises(ServerUnreachable):
            await session.keyboard.type("y")
        await session.keyboard.type("y")
    assert server.asked == 2


async def test_a_page_in_the_servers_place_is_no_layout() -> None:
    class Proxied:
        asked = 0

        async def call(self, _method: str, path: str, **_options: Any) -> object:
            await trio.lowlevel.checkpoint()
            self.asked += 1
            if self.asked == 1:
                raise NotNeko("a page of the proxy's")
            return {"layout": "de", "variant": ""} if path == MAP else {"capslock": False}

    known = KeyMap(Proxied())  # type: ignore[arg-type]
    with pytest.raises(NotNeko):
        await known.learn()
    assert not known.known
    assert await known.learn() == Layout("de")
