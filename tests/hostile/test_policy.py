"""What a server may make a client do to others: knock on doors of its network, send its token to another host."""

from __future__ import annotations

import pytest

import neko_trio
from neko_trio.simulator import open_simulator
from tests.hostile.judge import in_time

pytestmark = pytest.mark.real_time


async def test_a_server_at_a_private_address_is_reached_though_others_are_refused() -> None:
    """The WebSocket's address is the caller's choice; every other one of this machine is the server's."""
    async with (
        open_simulator(size=(320, 240)) as simulator,
        in_time(15),
        neko_trio.open_session(
            simulator.url,
            username=simulator.username,
            password=simulator.password,
            ice=neko_trio.IceOptions(allow_private=False),
        ) as session,
    ):
        await session.screen.frame()
        peer = session.statistics().peer
        assert peer is not None
        assert peer.candidate_pair is not None
        assert peer.candidate_pair.remote.startswith("127.0.0.1:")
