"""The sound is on at the server while somebody listens: each listener's coming and going, the peer's end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from neko_trio._peer_audio import ANSWER_PATIENCE, LINGER, START_LIMIT, PeerAudio
from neko_trio._ports.audio import AudioPort
from neko_trio._signals import Answers
from neko_trio.audio.sound import Audio
from neko_trio.errors import NekoError, SessionLost
from neko_trio.protocol import requests


class Server:
    """The socket and the answers: as a server that answers and sends at once, unless told otherwise."""

    def __init__(self, port: AudioPort) -> None:
        self.port = port
        self.heard: list[tuple[float, bool]] = []
        self.answers = Answers()
        self.answering = self.sending = self.alive = True
        self.delay = 0.0
        self.failure: Callable[[], NekoError] | None = None

    async def send(self, request: requests.ClientRequest) -> None:
        assert isinstance(request, requests.SignalAudio)
        assert request.disabled is not None
        await trio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure()
        self.heard.append((trio.current_time(), not request.disabled))
        if self.answering:
            self.answers.count()
        if self.sending and not request.disabled:
            self.port.note_packet()

    @property
    def switches(self) -> list[bool]:
        return [on for _, on in self.heard]


@asynccontextmanager
async def switch(port: AudioPort, server: Server) -> AsyncIterator[PeerAudio]:
    peer = PeerAudio(port, server, server.answers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        yield peer
        nursery.cancel_scope.cancel()


@pytest.fixture
async def port() -> AudioPort:
    return AudioPort()


@pytest.fixture
async def server(port: AudioPort) -> Server:
    return Server(port)


async def test_it_is_on_from_the_first_listener_to_a_moment_after_the_last(
    autojump_clock: MockClock, port: AudioPort, server: Server
) -> None:
    audio = Audio(port, on=True)
    async with switch(port, server):
        await trio.sleep(5)
        assert server.heard == []
        async with audio.blocks():
            await trio.sleep(5)
            async with audio.blocks():
                await trio.sleep(5)
            await trio.sleep(5)
        await trio.sleep(5)
    assert server.heard == [(5, True), (20 + LINGER, False)]


async def test_a_listener_that_comes_back_soon_finds_it_on(
    autojump_clock: MockClock, port: AudioPort, server: Server
) -> None:
    async with switch(port, server):
        for _ in range(10):
            async with Audio(port, on=True).blocks():
                await trio.sleep(0.1)
            await trio.sleep(LINGER * 0.9)
        assert server.switches == [True]
        await trio.sleep(LINGER)
        assert server.switches == [True, False]
        async with Audio(port, on=True).blocks():
            await wait_all_tasks_blocked()
        assert server.switches == [True, False, True]


async def test_a_recorder_that_has_not_begun_is_not_switched_off(
    autojump_clock: MockClock, port: AudioPort, server: Server
) -> None:
    server.sending = False
    async with switch(port, server):
        async with Audio(port, on=True).blocks():
            await trio.sleep(0.1)
        await trio.sleep(LINGER + 0.5)
        assert server.switches == [True]
        port.note_packet()
        await trio.sleep(0.1)
        ((at, on),) = server.heard[1:]
        assert not on
        assert at == pytest.approx(0.1 + LINGER + 0.5, abs=0.05)
        async with Audio(port, on=True).blocks():
            await trio.sleep(1)
        await trio.sleep(60)  # without a sound device nothing ever comes
        (began, _), (ended, _) = server.heard[2:]
        assert server.switches[2:] == [True, False]
        assert ended - began == pytest.approx(1 + LINGER + START_LIMIT)


async def test_who_comes_while_that_is_waited_for_finds_it_on(
    autojump_clock: MockClock, port: AudioPort, server: Server
) -> None:
    server.sending = False
    async with switch(port, server):
        async with Audio(port, on=True).blocks():
            await trio.sleep(0.1)
        await trio.sleep(LINGER + 0.5)
        async with Audio(port, on=True).blocks():
            port.note_packet()
            await trio.sleep(60)
            assert server.switches == [True]
        await trio.sleep(LINGER + 0.1)
        assert server.switches == [True, False]


async def test_the_next_peer_is_switched_on_for_whoever_still_listens(
    autojump_clock: MockClock, port: AudioPort
) -> None:
    first, second = Server(port), Server(port)
    async with Audio(port, on=True).blocks():
        async with switch(port, first) as peer:
            await wait_all_tasks_blocked()
            await peer.end()
        async with switch(port, second):
            await wait_all_tasks_blocked()
    assert (first.switches, second.switches) == ([True], [True])


async def test_after_the_end_nothing_is_switched(autojump_clock: MockClock, port: AudioPort, server: Server) -> None:
    async with switch(port, server) as peer:
        await peer.end()
        async with Audio(port, on=True).blocks():
            await trio.sleep(9)
    assert server.heard == []


async def test_the_end_waits_for_what_is_under_way(autojump_clock: MockClock, port: AudioPort, server: Server) -> None:
    server.delay = 0.1
    server.answering = False
    async with switch(port, server) as peer, Audio(port, on=True).blocks():
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.end)
            await trio.sleep(0.15)
            assert server.switches == [True]
            server.answers.count()
        assert trio.current_time() == 0.15


async def test_the_end_does_not_wait_long(autojump_clock: MockClock, port: AudioPort, server: Server) -> None:
    server.answering = False
    async with switch(port, server) as peer, Audio(port, on=True).blocks():
        await wait_all_tasks_blocked()
        await peer.end()
        assert trio.current_time() == pytest.approx(ANSWER_PATIENCE)


async def test_the_end_of_a_dead_link_is_quick(autojump_clock: MockClock, port: AudioPort, server: Server) -> None:
    server.answering = False
    async with switch(port, server) as peer, Audio(port, on=True).blocks():
        await wait_all_tasks_blocked()
        server.alive = False
        server.failure = lambda: SessionLost("gone")
        await peer.end()
        assert trio.current_time() == 0
