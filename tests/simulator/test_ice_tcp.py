"""The port that all peers of the simulator share for TCP, and its lite agent."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aioice
import pytest
from aioice import stun

import neko_trio
from neko_trio import InvalidInput
from neko_trio.media.aiortc_private import StunMessage
from neko_trio.protocol.stream_framing import frame
from neko_trio.simulator import _ice_tcp, open_simulator
from neko_trio.simulator._ice import Network, ServerAgent
from neko_trio.simulator._ice_tcp import TcpMux
from tests.loops import on_asyncio

pytestmark = pytest.mark.real_time


def check_for(agent: ServerAgent, user: str | None = None) -> StunMessage:
    request = StunMessage(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{agent.local_username if user is None else user}:client"
    request.attributes["PRIORITY"] = 1
    request.attributes["ICE-CONTROLLED"] = 1
    request.add_message_integrity(agent.local_password.encode())
    return request


def _junk(agent: ServerAgent) -> list[bytes]:
    long = check_for(agent)
    long.attributes["SOFTWARE"] = "x" * 600
    indication = StunMessage(message_method=stun.Method.BINDING, message_class=stun.Class.INDICATION)
    return [b"GET / HTTP/1.1\r\n\r\n" * 2000, frame(b"no stun"), frame(bytes(indication)), frame(bytes(long))]


@on_asyncio
async def test_what_is_no_check_or_for_nobody_is_closed() -> None:
    mux, agent = TcpMux(), ServerAgent(keep_alive=2.0, network=Network(transports=("tcp",)))
    await mux.open(["127.0.0.1"])
    mux.expect(agent)
    for data in (*_junk(agent), frame(bytes(check_for(agent, "stranger")))):
        reader, writer = await asyncio.open_connection(*mux.endpoints[0])
        writer.write(data)
        with suppress(ConnectionError):  # closed without having read all
            assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()
    assert agent.sockets == []
    await agent.close()
    await mux.close()


@on_asyncio
async def test_a_connection_without_a_check_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ice_tcp, "FIRST_CHECK_LIMIT", 0.05)

    mux = TcpMux()
    await mux.open(["127.0.0.1"])
    reader, writer = await asyncio.open_connection(*mux.endpoints[0])
    with suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()
    await mux.close()


@on_asyncio
async def test_a_connection_belongs_to_the_peer_whose_name_its_first_check_bears() -> None:
    mux = TcpMux()
    await mux.open(["127.0.0.1"])
    first, second = (ServerAgent(keep_alive=2.0, network=Network(transports=("tcp",))) for _ in range(2))
    for agent in (first, second):
        agent.remote_username, agent.remote_password = "client", "p" * 22
        mux.expect(agent)
    reader, writer = await asyncio.open_connection(*mux.endpoints[0])
    request = bytes(check_for(second))
    writer.write(frame(request)[:30])
    await writer.drain()
    writer.write(frame(request)[30:])
    length = int.from_bytes(await reader.readexactly(2), "big")
    answer = stun.parse_message(await reader.readexactly(length))
    assert answer.message_class == stun.Class.RESPONSE
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == writer.get_extra_info("sockname")
    assert (len(first.sockets), len(second.sockets)) == (0, 1)
    await second.close()
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()
    await first.close()
    await mux.close()


def test_given_addresses_replace_those_of_their_family() -> None:
    network = Network(nat1to1="203.0.113.9")
    assert network.announced("127.0.0.1") == "203.0.113.9"
    assert network.announced("::1") == "::1"


async def test_unknown_transports_are_refused() -> None:
    for transports in ((), ("sctp",)):
        with pytest.raises(InvalidInput, match="transports"):
            async with open_simulator(transports=transports):
                pytest.fail("opened")


async def test_candidates_are_those_of_the_transports_asked_for() -> None:
    for transports, expected in ((("udp",), {("udp", None)}), (("tcp",), {("tcp", "passive")})):
        async with (
            open_simulator(transports=transports, nat1to1="203.0.113.9") as simulator,
            neko_trio.open_session(simulator.url, username="a", password=simulator.password),
        ):
            told = [
                aioice.Candidate.from_sdp(str(entry.payload()["candidate"]).removeprefix("candidate:"))
                for entry in simulator.journal.select(
                    lambda entry: entry.direction == "sent" and entry.event == "signal/candidate"
                )
            ]
        assert {(candidate.transport, candidate.tcptype) for candidate in told} == expected
        assert {candidate.host for candidate in told} == {"203.0.113.9"}
