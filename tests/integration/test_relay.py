"""Relay only: every packet goes through the TURN server that the offer names, and no address of ours is told."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest
import trio

import neko_trio
from neko_trio import IceFailed, IceOptions
from neko_trio._wiring import AiortcMedia
from neko_trio.media.peer_api import Peer, PeerSetup
from neko_trio.testing import TestServer, external_server, leak_check, open_test_server
from tests.integration.test_session import data_channel_open, picture
from tests.integration.turn import INSTALLED, TurnServer, open_turn_server

pytestmark = pytest.mark.real_time


class SeeingMedia(AiortcMedia):
    """The real media, which notes what each peer connection is made from."""

    def __init__(self) -> None:
        self.setups: list[PeerSetup] = []

    def open_peer_connection(self, setup: PeerSetup) -> AbstractAsyncContextManager[Peer]:
        self.setups.append(setup)
        return super().open_peer_connection(setup)


@pytest.fixture
async def turn(request: pytest.FixtureRequest) -> AsyncIterator[TurnServer | None]:
    """A TURN server for the embedded server's offers; a real one brings its own, or none."""
    if request.config.getoption("--neko-url") is not None:
        yield None
        return
    if not INSTALLED:
        pytest.skip("coturn (turnserver) is not installed")
    async with open_turn_server() as server:
        yield server


@pytest.fixture
async def server(request: pytest.FixtureRequest, turn: TurnServer | None) -> AsyncIterator[TestServer]:
    option = request.config.getoption
    if turn is not None:
        async with open_test_server(ice_servers=(turn.ice_server(),)) as embedded:
            yield embedded
        return
    external = external_server(
        option("--neko-url"), option("--neko-username"), option("--neko-password"), option("--neko-admin-password")
    )
    media = SeeingMedia()
    async with neko_trio.open_session(
        external.url, username=external.username, password=external.password, media=media
    ):
        urls = [url for server in media.setups[0].ice_servers for url in server.urls]
    if not any(url.startswith("turn") for url in urls):
        pytest.skip(f"this server's offers name no TURN server, only {', '.join(urls) or 'none at all'}")
    yield external


async def test_relay_only_connects_through_the_offers_turn_server(server: TestServer) -> None:
    media = SeeingMedia()
    with leak_check() if server.simulator is None else trio.CancelScope():
        async with neko_trio.open_session(
            server.url,
            username=server.username,
            password=server.password,
            ice=IceOptions(relay_only=True),
            media=media,
        ) as session:
            await picture(session)
            await data_channel_open(session)
            async with session.control(wait=True):
                await session.mouse.move(10, 10)
                await session.flush()
            peer = session.statistics().peer
        assert peer is not None
        pair = peer.candidate_pair
        assert pair is not None
        assert pair.local_type == "relay"
    if server.simulator is not None:
        told = "\n".join(
            str(entry.payload())
            for entry in server.simulator.journal.select(
                lambda entry: entry.direction == "received" and entry.event in ("signal/answer", "signal/candidate")
            )
        )
        assert set(re.findall(r" typ (\w+)", told)) == {"relay"}, "an address of ours was told"
        assert f"{pair.local.rpartition(':')[2]} typ relay" in told


async def test_a_relay_that_refuses_us_is_told(turn: TurnServer | None) -> None:
    if turn is None:
        pytest.skip("a real server's TURN server takes its password")
    wrong = turn.ice_server(password="wrong")
    async with open_test_server(ice_servers=(wrong,)) as server:
        with pytest.raises(IceFailed, match=r"401|Unauthorized") as caught:
            async with neko_trio.open_session(
                server.url, username=server.username, password=server.password, ice=IceOptions(relay_only=True)
            ):
                pytest.fail("connected")
    assert "wrong" not in str(caught.value)
