"""Pictures asked for while the connection is away, or dead without anybody knowing yet: they wait, and are not late.

``VideoStalled`` is for a connection that is well and brings no picture. Whether it is well, the watchdogs find out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from neko_trio import Reconnect, Session
from neko_trio._video_patience import GRACE, STALL_PATIENCE
from neko_trio._watch import LINK_PATIENCE, LINK_QUIET, MEDIA_PATIENCE, MEDIA_QUIET
from neko_trio.errors import ServerUnreachable, SessionLost, VideoStalled
from neko_trio.protocol import requests
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session
from neko_trio.testing._scripted import system_init

POLICY = Reconnect(jitter=0)
RATE = 25


@pytest.fixture
def server() -> ScriptedServer:
    server = ScriptedServer()
    server.init = system_init(streams=("high", "low"))
    return server


async def stop(server: ScriptedServer, media: FakeMedia, seconds: float, *, media_too: bool = True) -> None:
    """As SIGSTOP and SIGCONT: sockets stay open, what was sent meanwhile is lost with the connections it was for."""
    server.stopped = True
    server.dial_failure = ServerUnreachable("Nobody answers.", step="dial")
    if media_too:
        silence(server, media)
    await trio.sleep(seconds)
    server.stopped, server.dial_failure = False, None


def silence(server: ScriptedServer, media: FakeMedia) -> None:
    """Nothing comes over the media connections that there are."""
    for peer in media.peers:
        peer.deaf_since = trio.current_time()
    server.video.set(disabled=True, stream=server.video.stream)


async def next_frame(session: Session) -> None:
    newest = session._parts.slot.newest
    await session.screen.frame(newer_than=newest)


CALLS: dict[str, Callable[[Session], Awaitable[Any]]] = {
    "frame": next_frame,
    "fresh": lambda session: session.screen.frame(fresh=True),
    "select": lambda session: session.screen.select("low"),
    "quality_down": lambda session: session.screen.quality_down(),
    "pause": lambda session: session.screen.pause(),
}
NOT_HELD_UP = {
    ("frame", "live"): "the media are well, and so are their pictures",
    ("fresh", "live"): "and the barrier goes over them, too",
    ("pause", "on_demand"): "nothing is on that had to be switched off",
}


@pytest.mark.parametrize("media_too", [True, False], ids=["stopped", "websocket"])
@pytest.mark.parametrize("video", ["live", "on_demand"])
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_during_an_outage_waits_for_its_end(
    server: ScriptedServer, call: str, video: str, media_too: bool, autojump_clock: MockClock
) -> None:
    media = FakeMedia(rate=RATE)
    async with (
        trio.open_nursery() as nursery,
        open_scripted_session(server, media, video=video, reconnect=POLICY) as session,
    ):
        await trio.sleep(3)
        nursery.start_soon(partial(stop, server, media, 25, media_too=media_too))
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await CALLS[call](session)
        if (call, video) not in NOT_HELD_UP or (media_too and call != "pause"):
            assert trio.current_time() - began >= 25
            assert session.epoch >= 2
        await session.screen.resume()
        frame = await session.screen.frame()
        if call in ("select", "quality_down"):
            assert frame.stream == server.video.stream == "low"


@pytest.mark.parametrize("video", ["live", "on_demand"])
@pytest.mark.parametrize("call", ["frame", "select"])
async def test_what_ends_the_wait_is_the_policys_limit_with_its_cause(
    server: ScriptedServer, call: str, video: str, autojump_clock: MockClock
) -> None:
    policy, media = Reconnect(limit=30, jitter=0), FakeMedia(silent=True)
    async with trio.open_nursery() as nursery:
        with pytest.raises(SessionLost, match="did not come back") as caught:
            async with open_scripted_session(server, media, video=video, reconnect=policy) as session:
                nursery.start_soon(stop, server, media, 1000)
                await wait_all_tasks_blocked()
                await CALLS[call](session)
        nursery.cancel_scope.cancel()
    assert isinstance(caught.value.__cause__, ServerUnreachable)
    assert 30 < trio.current_time() < 30 + LINK_QUIET + LINK_PATIENCE + 1


@pytest.mark.parametrize("call", ["frame", "select"])
async def test_without_a_policy_the_end_of_the_session_is_told(
    server: ScriptedServer, call: str, autojump_clock: MockClock
) -> None:
    """What is said of the video is not that it stalled: it is the connection that is dead."""
    media = FakeMedia(rate=RATE)
    async with trio.open_nursery() as nursery:
        with pytest.raises(SessionLost, match="does not answer on the WebSocket"):
            async with open_scripted_session(server, media, video="on_demand") as session:
                nursery.start_soon(partial(stop, server, media, 1000, media_too=False))
                await wait_all_tasks_blocked()
                await CALLS[call](session)
        nursery.cancel_scope.cancel()
    assert trio.current_time() < LINK_QUIET + LINK_PATIENCE + 1


async def test_a_connection_that_dies_while_the_video_is_dead_is_what_ends_the_wait(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    media = FakeMedia(silent=True)
    async with open_scripted_session(server, media, reconnect=POLICY) as session, trio.open_nursery() as nursery:
        media.peers[0].quiet = True

        async def die() -> None:
            await trio.sleep(STALL_PATIENCE - MEDIA_QUIET - 0.2)  # so it is asked before patience ends, and not after
            silence(server, media)
            media.silent, media.rate = False, RATE

        nursery.start_soon(die)
        frame = await session.screen.frame()
        assert STALL_PATIENCE < trio.current_time() < STALL_PATIENCE + MEDIA_QUIET + MEDIA_PATIENCE
        assert frame.context.epoch == session.epoch == 2


@pytest.mark.parametrize("data_channel", [True, False])
async def test_a_dead_pipeline_is_told_however_quiet_the_connection(
    server: ScriptedServer, data_channel: bool, autojump_clock: MockClock
) -> None:
    """It answers when it is asked."""
    media = FakeMedia(silent=True, data_channel=data_channel)
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        media.peers[0].quiet = True
        for _ in range(3):
            began = trio.current_time()
            with pytest.raises(VideoStalled):
                await session.screen.frame()
            assert trio.current_time() - began <= STALL_PATIENCE + MEDIA_PATIENCE + GRACE
        assert session.epoch == 1


def test_the_grace_ends_before_the_connection_is_doubted_again() -> None:
    assert GRACE < MEDIA_QUIET


@pytest.mark.parametrize("away", [STALL_PATIENCE - 1.5, STALL_PATIENCE - 0.5, 3600])
async def test_time_in_which_this_process_did_not_run_is_no_stall(
    server: ScriptedServer, autojump_clock: MockClock, away: float
) -> None:
    media = FakeMedia(silent=True)
    frames: list[object] = []
    async with open_scripted_session(server, media, reconnect=POLICY) as session, trio.open_nursery() as nursery:

        async def look() -> None:
            frames.append(await session.screen.frame())

        nursery.start_soon(look)
        await trio.sleep(1)
        autojump_clock.autojump_threshold = float("inf")
        await wait_all_tasks_blocked()
        autojump_clock.jump(away)  # the program was busy elsewhere, or a laptop was closed
        await wait_all_tasks_blocked()
        autojump_clock.autojump_threshold = 0
        await trio.sleep(0.5)
        nursery.start_soon(media.peers[0].film, RATE)  # and what was on its way comes
        media.rate = RATE
        await trio.sleep(1)
        assert frames
        nursery.cancel_scope.cancel()


async def test_silence_is_not_stillness_when_the_connection_is_dead(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    media = FakeMedia(rate=RATE)
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        await session.screen.frame()
        await trio.sleep(0.01)
        silence(server, media)
        frame = await session.screen.wait_stable(for_=1)
        assert frame.context.epoch == session.epoch == 2


async def test_a_selection_that_the_end_of_a_peer_cut_off_is_the_next_ones(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    """The server's end of it is gone: it answers the WebSocket, and no ``signal/video``."""
    media = FakeMedia(rate=RATE)
    async with open_scripted_session(server, media, reconnect=POLICY) as session, trio.open_nursery() as nursery:
        await session.screen.frame()
        answers = server.on["signal/video"]
        server.on["signal/video"] = lambda _request: None
        silence(server, media)

        def anew(request: requests.ClientRequest) -> None:
            server.on["signal/video"] = answers
            server._offer(request)

        server.on["signal/request"] = anew
        nursery.start_soon(session.screen.select, "low")
        await wait_all_tasks_blocked()
    assert server.video.stream == "low"
