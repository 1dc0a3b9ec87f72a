"""A session with sound, on scripted signaling and in virtual time: what the server is told, and how it ends."""

from __future__ import annotations

import numpy as np
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import neko_trio
from neko_trio._peer_audio import LINGER
from neko_trio.errors import AudioOff, InvalidInput, SessionClosed, SessionLost, VideoOff
from neko_trio.protocol import requests
from neko_trio.testing import FakeMedia, ScriptedServer, cancel_at_every_step, open_scripted_session


def block(value: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.full((960, 2), value, np.int16)


def switches(server: ScriptedServer) -> list[bool]:
    """Whether the sound was switched on or off, in order."""
    return [not request.disabled for request in server.got(requests.SignalAudio)]


async def test_the_server_sends_sound_while_somebody_listens(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, audio=True) as session:
        (request,) = server.got(requests.SignalRequest)
        assert request.audio.disabled is True  # nobody listens yet
        await trio.sleep(5)
        assert switches(server) == []
        async with session.audio.blocks() as blocks:
            await wait_all_tasks_blocked()
            assert switches(server) == [True]
            media.peers[0].sound(block())
            heard = await anext(blocks)
            assert (heard.number, heard.epoch, heard.rate) == (1, 1, 48_000)
        await trio.sleep(LINGER + 0.1)
        assert switches(server) == [True, False]
    assert switches(server) == [True, False]


async def test_a_session_that_is_left_listening_says_closed(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    async with open_scripted_session(server, FakeMedia(), audio=True) as session:
        opened = session.audio.blocks()
        blocks = await opened.__aenter__()
        await wait_all_tasks_blocked()
    assert switches(server) == [True]  # the peer's end switches off
    assert trio.current_time() < 0.1
    with pytest.raises(SessionClosed):
        await anext(blocks)
    await opened.__aexit__(None, None, None)
    async with session.audio.blocks() as blocks:
        with pytest.raises(SessionClosed):
            await anext(blocks)


async def test_a_loss_ends_the_iteration(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    with pytest.raises(SessionLost):
        async with open_scripted_session(server, FakeMedia(), audio=True) as session, session.audio.blocks() as blocks:
            await wait_all_tasks_blocked()
            server.end()
            try:
                await anext(blocks)
            except SessionLost as error:
                raise error from None
            raise AssertionError("the iteration went on")


async def test_sound_alone_has_a_peer_whose_video_stays_off(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, audio=True, video="off") as session:
        assert session.epoch == 1
        with pytest.raises(VideoOff):
            await session.screen.frame()
        async with session.audio.blocks() as blocks:
            media.peers[0].sound(block(7))
            assert (await anext(blocks)).samples[0, 0] == 7
        await trio.sleep(60)
    assert server.got(requests.SignalVideo) == []


async def test_without_audio_nothing_is_received(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media) as session:
        assert media.peers[0].setup.audio is None
        with pytest.raises(AudioOff):
            async with session.audio.blocks():
                pass
    assert switches(server) == []


async def test_blocks_are_counted_whoever_was_slow(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media, audio=True) as session:
        before = session.statistics()
        async with session.audio.blocks(buffer=2), session.audio.blocks(buffer=4):
            for _ in range(5):
                media.peers[0].sound(block())
            since = session.statistics() - before
            assert (since.audio_blocks, since.audio_blocks_dropped) == (5, 3 + 1)


def test_listening_is_left_clean_at_every_step() -> None:
    servers: list[ScriptedServer] = []

    async def scenario() -> None:
        server, media = ScriptedServer(), FakeMedia()
        servers.append(server)
        async with open_scripted_session(server, media, audio=True) as session, session.audio.blocks() as blocks:
            await trio.sleep(0.01)
            media.peers[0].sound(block())
            await anext(blocks)
            await trio.sleep(0.01)

    def check() -> None:
        server = servers[-1]
        assert (server.connections, server.logins - server.logouts) == (0, 0)
        assert switches(server) in ([], [True])

    assert cancel_at_every_step(scenario, check) > 30
    assert switches(servers[-1]) == [True]  # it came to its end at last


async def test_audio_is_true_or_false() -> None:
    with pytest.raises(InvalidInput, match="audio="):
        async with neko_trio.open_session("http://127.0.0.1:9", password="x", audio="yes"):  # type: ignore[arg-type]  # wrong on purpose
            pass
