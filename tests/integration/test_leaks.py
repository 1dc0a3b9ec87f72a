"""What sessions leave behind: nothing here, nothing at the server, and no character on the way."""

from __future__ import annotations

import random
import statistics
from time import perf_counter

import pytest
import trio

import neko_trio
from neko_trio.simulator import InputEvent, KeyDown
from neko_trio.simulator._picture import Picture
from neko_trio.testing import TestServer, leak_check, open_test_server
from tests.integration.conftest import open_token, open_watch, unique
from tests.integration.test_session import data_channel_open, idle, watching

pytestmark = pytest.mark.real_time

CONNECTS, CANCELLED = 50, 50
LEFT_WITHIN = 2.5
"""Seconds that leaving may take, whatever the moment: the budget of the close, and some for a busy machine."""


async def test_a_hundred_connects_leave_nothing(apart: TestServer) -> None:
    """Fifty whole ones, fifty cancelled at random moments of the connect and of the first picture."""
    name = unique("leaks")
    moments = random.Random(3)
    async with open_watch(apart) as watch:
        with leak_check():
            await connect(apart, name)  # the first costs the imports
        lasted = []
        for _ in range(CONNECTS):
            started = perf_counter()
            with leak_check():
                await connect(apart, name)
            lasted.append(perf_counter() - started)
        whole = statistics.median(lasted)
        cancelled, slowest = 0, 0.0
        for _ in range(CANCELLED):
            moment = moments.uniform(0, whole)
            with leak_check(), trio.move_on_after(moment) as scope:
                await connect(apart, name)
            cancelled += scope.cancelled_caught
            slowest = max(slowest, trio.current_time() - scope.deadline if scope.cancelled_caught else 0)
        assert cancelled >= CANCELLED // 3, "too few connects were cancelled to say anything"
        assert slowest < LEFT_WITHIN
        await watch.gone(name)


async def connect(server: TestServer, name: str) -> None:
    async with neko_trio.open_session(server.url, username=name, password=server.password) as session:
        await session.screen.frame()


async def test_cancelled_connects_with_a_token_leave_it_idle(apart: TestServer) -> None:
    """There is no logout that would clear away what was forgotten."""
    name = unique("idle")
    async with open_watch(apart) as watch, open_token(apart, name) as token:
        await watch.until(name, lambda infos: len(infos) == 1)
        moments = random.Random(4)
        for _ in range(15):
            with leak_check(), trio.move_on_after(moments.uniform(0, 0.1)):
                async with neko_trio.open_session(apart.url, token=token):
                    await trio.sleep_forever()
            await watch.settled()
            await watch.until(name, lambda infos: len(infos) == 1 and idle(infos))
        async with neko_trio.open_session(apart.url, token=token):
            await watch.until(name, watching)  # and it can still be used
        await watch.until(name, idle)
    async with open_watch(apart) as watch:
        await watch.gone(name)


class Typewriter:
    """A desktop that keeps what is typed on it, and draws nothing."""

    def __init__(self) -> None:
        self.text = ""
        self._paper = Picture(64, 64)

    def render(self, _now: float, /) -> Picture:
        return self._paper

    def on_input(self, event: InputEvent, /) -> None:
        if isinstance(event, KeyDown):
            self.text += event.text


@pytest.mark.parametrize(("video", "times"), [("live", 10), ("off", 4)], ids=["data-channel", "websocket"])
async def test_typing_and_leaving_loses_no_character(embedded_only: None, video: str, times: int) -> None:
    """``control()`` is left right after 2,000 characters were typed, without a flush, again and again: all arrive."""
    typed = random.Random(5)
    letters = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,;:!?()/-"
    desk = Typewriter()
    async with (
        open_test_server(desktop=desk, size=(64, 64), rate=5) as server,
        neko_trio.open_session(server.url, username="typist", password=server.password, video=video) as session,
    ):
        if video == "live":
            await data_channel_open(session)
        for _ in range(times):
            text = "".join(typed.choices(letters, k=2000))
            desk.text = ""
            async with session.control():
                await session.keyboard.type(text)
            assert desk.text == text
        assert server.simulator is not None
        assert server.simulator.host is None
        assert server.simulator.held == (frozenset(), frozenset())
