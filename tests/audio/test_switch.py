"""The sound is on at the server while somebody listens: each listener's coming and going, the peer's end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from neko_trio._peer_audio import DISABLE_PATIENCE, LINGER, PeerAudio
from neko_trio._ports.audio import AudioPort
from neko_trio.audio.sound import Audio
from neko_trio.errors import SessionLost
from neko_trio.protocol import requests


class Server:
    """The socket and the answers: as a server that answers at once, unless told otherwise."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bool]] = []
        self.audio_off = trio.Event()
        self.answers = True
        self.delay = 0.0
        self.failure: Callable[[], Exception] | None = None

    async def send(self, request: requests.ClientRequest) -> None:
        assert isinstance(request, requests.SignalAudio)
        assert request.disabled is not None
        await trio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure()
        self.heard.append((trio.current_time(), not request.disabled))
        if request.disabled and self.answers:
            self.audio_off.set()

    @property
    def switches(self) -> list[bool]:
        return [on for _, on in self.heard]


@asynccontextmanager
async def switch(port: AudioPort, server: Server) -> AsyncIterator[PeerAudio]:
    peer = PeerAudio(port, server, server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        yield peer
        nursery.cancel_scope.cancel()


async def test_it_is_on_from_the_first_listener_to_a_moment_after_the_last(autojump_clock: MockClock) -> None:
    port, server = AudioPort(), Server()
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


async def test_a_listener_that_comes_back_soon_finds_it_on(autojump_clock: MockClock) -> None:
    port, server = AudioPort(), Server()
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


async def test_the_next_peer_is_switched_on_for_whoever_still_listens(autojump_clock: MockClock) -> None:
    port, first, second = AudioPort(), Server(), Server()
    async with Audio(port, on=True).blocks():
        async with switch(port, first) as peer:
            await wait_all_tasks_blocked()
            await peer.end()
        async with switch(port, second):
            await wait_all_tasks_blocked()
    assert (first.switches, second.switches) == ([True, False], [True])


async def test_the_end_switches_off_what_is_on_and_nothing_else(autojump_clock: MockClock) -> None:
    port, server = AudioPort(), Server()
    async with switch(port, server) as peer:
        await peer.end()
    assert server.heard == []
    async with switch(port, server) as peer, Audio(port, on=True).blocks():
        await wait_all_tasks_blocked()
        await peer.end()
        assert server.switches == [True, False]
        await trio.sleep(9)
    assert server.switches == [True, False]  # nor does it come on again


async def test_an_enable_that_is_being_written_goes_before_the_last_disable(autojump_clock: MockClock) -> None:
    port, server = AudioPort(), Server()
    server.delay = 0.1
    async with switch(port, server) as peer, Audio(port, on=True).blocks():
        await wait_all_tasks_blocked()
        await peer.end()
        assert server.switches == [True, False]


async def test_the_end_does_not_wait_long_for_an_answer(autojump_clock: MockClock) -> None:
    port, server = AudioPort(), Server()
    server.answers = False
    async with switch(port, server) as peer, Audio(port, on=True).blocks():
        await wait_all_tasks_blocked()
        began = trio.current_time()
        server.audio_off.set()  # of an earlier switch: it does not count
        await peer.end()
        assert trio.current_time() - began == pytest.approx(DISABLE_PATIENCE)


async def test_the_end_of_a_dead_link_is_quiet(autojump_clock: MockClock) -> None:
    port, server = AudioPort(), Server()
    async with switch(port, server) as peer, Audio(port, on=True).blocks():
        await wait_all_tasks_blocked()
        server.failure = lambda: SessionLost("gone")
        await peer.end()
        assert trio.current_time() == 0
