"""The microphone and an outage that reconnecting cures: it goes on with the next peer, whenever the loss strikes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from neko_trio import Reconnect, Session
from neko_trio._ports.microphone import UNREPORTED_LIMIT
from neko_trio.audio.microphone import Microphone
from neko_trio.errors import (
    InputInDoubt,
    MicrophoneTaken,
    NekoError,
    ProtocolViolation,
    SessionClosed,
    SessionLost,
)
from neko_trio.protocol import requests
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session

POLICY = Reconnect(jitter=0)
SOUND = np.full((960, 2), 1000, np.int16)


def speaks(media: FakeMedia) -> bool:
    """Whether the newest peer is the only one that sends what is said, and has sent some."""
    *before, last = media.peers
    assert not any(peer.microphone.listening for peer in before)
    return any((samples == 1000).any() for _at, samples in last.microphone.heard)


@pytest.mark.parametrize(
    "error", [SessionLost("lost"), SessionClosed("closed"), InputInDoubt("in doubt")], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("step", ["offer_microphone", "start_microphone"])
async def test_a_loss_that_it_meets_before_anybody_else(step: str, error: NekoError, autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session, trio.open_nursery() as nursery:
        media.failures[step] = error

        async def end() -> None:
            await trio.sleep(0.1)
            media.failures.clear()
            media.peers[0].end("the network")

        nursery.start_soon(end)
        async with session.microphone() as mic:
            assert session.epoch == 2
            await mic.write(SOUND)
            await mic.flush()
            assert speaks(media)
    assert media.peers[-1].microphone.offers == [True, False]


async def test_without_a_policy_such_a_loss_is_told(autojump_clock: MockClock) -> None:
    media = FakeMedia(failures={"offer_microphone": SessionLost("gone")})
    async with open_scripted_session(ScriptedServer(), media) as session:
        with pytest.raises(SessionLost, match="gone"):
            async with session.microphone():
                raise AssertionError("it cannot be open")


async def test_a_dead_peer_is_not_taken_for_a_microphone_that_was_taken(autojump_clock: MockClock) -> None:
    """More is said unheard until the watchdog knows than a server that is well would leave without a report."""
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session, session.microphone() as mic:
        for _ in range(UNREPORTED_LIMIT // 4):
            await mic.write(SOUND)
        assert speaks(media)
        media.peers[0].deaf_since = trio.current_time()
        while session.epoch == 1:
            await mic.write(SOUND)
        await mic.write(SOUND)
        await mic.flush()
        assert speaks(media)


async def test_a_dead_peer_whose_death_is_long_unnoticed(autojump_clock: MockClock) -> None:
    """As when this process was held up: the watchdog has not even asked."""
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session, session.microphone() as mic:
        await mic.write(SOUND)
        await mic.flush()
        peer = media.peers[0]
        queue = mic._queue
        peer.deaf_since = trio.current_time()
        for _ in range(UNREPORTED_LIMIT + 1):
            queue.note_sent()
        await trio.sleep(1)
        await mic.write(SOUND)  # no error
        await speak_until_it_is_over(session, mic)
        await mic.flush()
        assert speaks(media)


async def test_one_that_was_taken_is_told_with_a_policy_too(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        with pytest.raises(MicrophoneTaken):
            async with session.microphone() as mic:
                for _ in range(5):
                    await mic.write(SOUND)
                await mic.flush()
                media.peers[0].microphone.deaf = True
                while True:
                    await mic.write(SOUND)
        assert session.epoch == 1
        assert media.peers[0].microphone.offers == [True, False]


async def test_a_block_that_ends_while_a_dead_peer_is_asked(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media, reconnect=POLICY) as session:
        async with session.microphone() as mic:
            await mic.write(SOUND)
            media.peers[0].deaf_since = trio.current_time()
            for _ in range(UNREPORTED_LIMIT + 1):
                mic._queue.note_sent()
            await trio.sleep(0.5)
            began = trio.current_time()
        assert trio.current_time() - began <= 1.5
        await trio.sleep(5)
        async with session.microphone():  # nothing is left of the first
            assert media.peers[-1].microphone.offers == [True]


async def test_an_offer_that_a_dead_peer_leaves_unanswered(autojump_clock: MockClock) -> None:
    """The server answers on the WebSocket, but has no such peer any more: that is not its refusal."""
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        answer, offer = server.on["signal/offer"], server.on["signal/request"]
        server.on["signal/offer"] = lambda _request: None
        media.peers[0].deaf_since = trio.current_time()

        def anew(request: requests.ClientRequest) -> None:
            server.on |= {"signal/offer": answer, "signal/request": offer}
            offer(request)

        server.on["signal/request"] = anew
        async with session.microphone() as mic:
            assert session.epoch == 2
            await mic.write(SOUND)
            await mic.flush()
        assert speaks(media)


async def test_an_offer_that_a_server_refuses_is_told(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    async with open_scripted_session(server, FakeMedia(), reconnect=POLICY) as session:
        server.on["signal/offer"] = lambda _request: None
        with pytest.raises(ProtocolViolation, match="does not answer the offer"):
            async with session.microphone():
                raise AssertionError("it cannot be open")


def cut_link(server: ScriptedServer, media: FakeMedia) -> None:
    server.end()


def cut_peer(server: ScriptedServer, media: FakeMedia) -> None:
    media.peers[-1].end("the network")


@pytest.mark.parametrize("cut", [cut_link, cut_peer])
async def test_struck_at_any_moment_it_goes_on(
    cut: Callable[[ScriptedServer, FakeMedia], None], autojump_clock: MockClock
) -> None:
    for moment in range(0, 200, 5):
        await struck(cut, moment / 1000)


async def struck(cut: Callable[[ScriptedServer, FakeMedia], None], moment: float) -> None:
    delays = {"offer_microphone": 0.03, "start_microphone": 0.02, "open_peer_connection": 0.05}
    server, media = ScriptedServer(), FakeMedia(delays=delays)
    stray: list[float] = []
    answer = server.on["signal/offer"]

    def offer(request: requests.ClientRequest) -> None:
        """A peer takes no offer of another's: one that outlived its link would be answered by the wrong one."""
        if media.peers[-1].closed or not media.peers[-1].microphone.offers:
            stray.append(trio.current_time())
        answer(request)

    server.on["signal/offer"] = offer
    async with open_scripted_session(server, media, reconnect=POLICY) as session, trio.open_nursery() as nursery:

        async def strike() -> None:
            await trio.sleep(moment)
            cut(server, media)

        nursery.start_soon(strike)
        with trio.fail_after(30):
            async with session.microphone() as mic:
                await speak_until_it_is_over(session, mic)
                await mic.flush()
                assert speaks(media), moment
    assert not stray, moment
    assert media.peers[-1].microphone.offers[-1] is False, moment
    assert not any(peer.microphone.listening for peer in media.peers), moment


async def speak_until_it_is_over(session: Session, mic: Microphone) -> None:
    """And a little longer."""
    while session.epoch == 1:
        await mic.write(SOUND)
    for _ in range(10):
        await mic.write(SOUND)
