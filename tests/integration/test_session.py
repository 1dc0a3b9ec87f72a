"""A session from end to end on real sockets: the embedded server, or with ``--neko-url`` a real one."""

from __future__ import annotations

import numpy as np
import pytest
import trio

import neko_trio
from neko_trio import Frame, Session
from neko_trio.media.peer_api import CandidatePair
from neko_trio.protocol.events import SessionInfo
from neko_trio.testing import TestServer
from tests.integration.conftest import open_token, open_watch, unique

pytestmark = pytest.mark.real_time

PICTURE_WITHIN = 5.0
"""Seconds from connected to the first picture. It takes milliseconds; a keyframe comes every second."""
TEXT = "Hello, Neko! (42)"


async def test_ice_reaches_connected(neko_session: Session) -> None:
    marks = [name for name, _at in neko_session.timeline.marks]
    assert marks.index("answer_sent") < marks.index("ice_connected") < marks.index("connected")
    peer = neko_session.statistics().peer
    assert peer is not None
    assert peer.candidate_pair is not None
    assert peer.candidate_pair.protocol == "udp"
    assert neko_session.timeline.between("dial", "connected") < 5


async def test_frames_are_received(neko_session: Session) -> None:
    """Their numbers rise, they are as large as the screen, and there is something on them."""
    first = await picture(neko_session)
    with trio.fail_after(10):
        second = await neko_session.screen.frame(newer_than=first)
        async with neko_session.screen.frames() as frames:
            third = await anext(frames)
            fourth = await anext(frames)
    assert first.number < second.number <= third.number < fourth.number
    assert first.arrived <= second.arrived <= third.arrived < fourth.arrived
    screen = neko_session.state.screen
    assert first.size == first.screen_size == (screen.width, screen.height)
    pixels = first.to_ndarray()
    assert pixels.shape == (screen.height, screen.width, 3)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 5, "the picture is uniform"
    statistics = neko_session.statistics()
    assert statistics.frames_shown >= 3
    assert statistics.background_failures == 0
    assert statistics.messages_malformed == statistics.candidates_malformed == 0


async def test_the_pictures_move(neko_session: Session) -> None:
    """What arrives is the desktop as it goes on, not one picture again and again."""
    with trio.fail_after(20):
        seen = await neko_session.screen.frame()
        before = seen.to_ndarray().astype(np.int16)
        while np.abs(seen.to_ndarray() - before).max() < 60:
            seen = await neko_session.screen.frame(newer_than=seen)


@pytest.mark.parametrize("video", ["live", "off"], ids=["data-channel", "websocket"])
async def test_control_click_and_type(neko_simulator: TestServer, video: str) -> None:
    """Both channels of input, each confirmed by the server."""
    server = neko_simulator
    async with neko_trio.open_session(
        server.url, username=server.username, password=server.password, video=video
    ) as session:
        with trio.fail_after(20):
            if video == "live":
                await data_channel_open(session)
            async with session.control(wait=True):
                assert session.state.is_host
                await session.mouse.click(200, 150)
                await session.keyboard.type(TEXT)
                await session.keyboard.press("ctrl+a")
                await session.flush()
                if server.simulator is not None:
                    assert server.simulator.desktop.text == TEXT  # type: ignore[attr-defined]
                    assert server.simulator.desktop.pointer == (200, 150)  # type: ignore[attr-defined]
        assert not session.state.is_host
        if server.simulator is not None:
            assert server.simulator.held == (frozenset(), frozenset())
            assert server.simulator.host is None
            channel = "data" if video == "live" else "ws"
            keys = server.simulator.journal.select(
                lambda entry: entry.direction == "received" and entry.event in ("KeyDown", "control/keydown")
            )
            assert {entry.channel for entry in keys} == {channel}


async def test_what_is_typed_shows_on_the_picture(embedded_only: None, neko_simulator: TestServer) -> None:
    server = neko_simulator
    assert server.simulator is not None
    x, y, width, height = server.simulator.desktop.text_area  # type: ignore[attr-defined]
    async with neko_trio.open_session(server.url, username=server.username, password=server.password) as session:
        with trio.fail_after(10):
            frame = await session.screen.frame()
            before = frame.to_ndarray()[y : y + height, x : x + width].astype(np.int16)
            async with session.control():
                await session.keyboard.type("MMMMMMMMMMMM")
                await session.flush()
            while True:
                after = frame.to_ndarray()[y : y + height, x : x + width].astype(np.int16)
                if (np.abs(after - before).max(axis=2) > 60).sum() > 300:
                    break
                frame = await session.screen.frame(newer_than=frame)


async def test_the_server_lists_the_session_while_it_lasts(neko_simulator: TestServer) -> None:
    server, name = neko_simulator, unique("listed")
    async with open_watch(server) as watch:
        assert watch.of(name) == []
        async with neko_trio.open_session(server.url, username=name, password=server.password) as session:
            await watch.until(name, watching)
            (info,) = watch.of(name)
            assert info.id == session.state.session_id
        await watch.gone(name)


async def test_with_a_token_the_session_stays_but_watches_no_more(neko_simulator: TestServer) -> None:
    server, name = neko_simulator, unique("token")
    async with open_watch(server) as watch, open_token(server, name) as token:
        await watch.until(name, lambda infos: len(infos) == 1)
        before = watch.of(name)[0].id
        for _ in range(2):
            async with neko_trio.open_session(server.url, token=token) as session:
                assert session.state.session_id == before
                await watch.until(name, watching)
            await watch.until(name, lambda infos: len(infos) == 1 and idle(infos))


async def picture(session: Session) -> Frame:
    """The newest picture; the first must come soon."""
    with trio.move_on_after(PICTURE_WITHIN):
        return await session.screen.frame()
    raise AssertionError(f"no picture came within {PICTURE_WITHIN} s")


async def data_channel_open(session: Session) -> None:
    """Look at pictures until the data channel is open: from then on input goes that way."""
    frame = await session.screen.frame()
    while "data_channel_open" not in session.timeline:
        frame = await session.screen.frame(newer_than=frame)


async def works(session: Session) -> CandidatePair:
    """See a picture and send input; the path that they took."""
    await picture(session)
    await data_channel_open(session)
    async with session.control(wait=True):
        await session.mouse.move(10, 10)
        await session.flush()
    peer = session.statistics().peer
    assert peer is not None
    assert peer.candidate_pair is not None
    return peer.candidate_pair


def watching(infos: list[SessionInfo]) -> bool:
    return len(infos) == 1 and infos[0].state.is_connected and infos[0].state.is_watching


def idle(infos: list[SessionInfo]) -> bool:
    return not any(info.state.is_connected or info.state.is_watching for info in infos)
