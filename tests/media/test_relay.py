"""Relays: a TURN server small enough to read (RFC 8656), that relays, or stops answering."""

from __future__ import annotations

import asyncio
import struct
from time import perf_counter
from typing import cast

import pytest
from aioice import stun

from neko_trio.media import ice, ice_relay
from neko_trio.media.aiortc_private import IceAgentBase, StunMessage, StunProtocol
from neko_trio.media.ice import IceAgent
from neko_trio.media.ice_gathering import IceServerAddress, bind_socket
from neko_trio.protocol.ice_servers import parse_ice_url
from tests.loops import on_asyncio
from tests.media.agents import introduce

pytestmark = pytest.mark.real_time


class Turn(asyncio.DatagramProtocol):
    """One allocation, no authentication, channels only."""

    def __init__(self) -> None:
        self.mute = False
        self.requests: list[str] = []
        self._channels: dict[int, tuple[str, int]] = {}

    async def open(self) -> int:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self._front = transport
        self._relay, _ = await loop.create_datagram_endpoint(lambda: _Relay(self), local_addr=("127.0.0.1", 0))
        port: int = transport.get_extra_info("sockname")[1]
        return port

    def close(self) -> None:
        self._front.close()
        self._relay.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._client = addr
        if data[0] & 0xC0 == 0x40:
            channel, size = struct.unpack_from("!HH", data)
            self._relay.sendto(data[4 : 4 + size], self._channels[channel])
            return
        request = stun.parse_message(data)
        self.requests.append(request.message_method.name)
        if self.mute:
            return
        answer = StunMessage(
            message_method=request.message_method,
            message_class=stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
        )
        if request.message_method == stun.Method.ALLOCATE:
            answer.attributes["XOR-RELAYED-ADDRESS"] = self._relay.get_extra_info("sockname")
            answer.attributes["XOR-MAPPED-ADDRESS"] = addr
        elif request.message_method == stun.Method.CHANNEL_BIND:
            self._channels[request.attributes["CHANNEL-NUMBER"]] = request.attributes["XOR-PEER-ADDRESS"]
        answer.attributes["LIFETIME"] = request.attributes.get("LIFETIME", 600)
        self._front.sendto(bytes(answer), addr)

    def relayed(self, data: bytes, addr: tuple[str, int]) -> None:
        for channel, peer in self._channels.items():
            if peer == addr:
                self._front.sendto(struct.pack("!HH", channel, len(data)) + data, self._client)


class _Relay(asyncio.DatagramProtocol):
    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._turn.relayed(data, addr)


async def _connected(turn: Turn) -> tuple[IceAgent, IceAgentBase, float]:
    """An agent that may use nothing but the relay, and the server it has reached through it; seconds it took."""
    port = await turn.open()
    agent = IceAgent(on_candidate=lambda _: None, relay_only=True)
    agent.add_server(IceServerAddress(parse_ice_url(f"turn:127.0.0.1:{port}"), "127.0.0.1", "name", "secret"))
    agent.servers_complete()
    await agent.gather_candidates()
    assert [(candidate.type, candidate.related_address) for candidate in agent.local_candidates] == [
        ("relay", "0.0.0.0")
    ]
    server = IceAgentBase(ice_controlling=True)
    server.begin_gathering()
    protocol = await bind_socket("127.0.0.1", lambda: StunProtocol(server))
    server.sockets.append(protocol)
    server.own_candidates.append(protocol.local_candidate)
    server.end_gathering()
    introduce(agent, server)
    agent.accept_remote(protocol.local_candidate)
    server.add_remote(agent.local_candidates[0])
    began = perf_counter()
    agent.start_checks()
    async with asyncio.timeout(5):
        serving = asyncio.create_task(server.connect())
        await agent.connect()
        took = perf_counter() - began
        await serving  # its first check came too early for the relay, and aioice repeats it after 500 ms
    return agent, server, took


@on_asyncio
async def test_a_connection_through_a_relay_needs_no_head_start() -> None:
    turn = Turn()
    agent, server, took = await _connected(turn)
    assert took < 0.2
    await agent.send(b"\x80there")
    assert await server.recv() == b"\x80there"
    await server.send(b"\x80back")
    assert await agent.recv() == b"\x80back"
    await agent.close()
    assert turn.requests[-1] == "REFRESH", "the allocation is given back"
    await server.close()
    turn.close()
    await asyncio.sleep(0)  # transports close their sockets in a callback


@on_asyncio
async def test_a_direct_path_that_is_slow_to_open_wins_over_a_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "HEAD_START", 3.0)

    class SlowToReach(IceAgentBase):
        direct = 0

        def request_received(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
            if addr == self.slow:
                self.direct += 1
            if addr != self.slow or self.direct > 2:  # the first check, sent twice, is lost
                super().request_received(message, addr, protocol)

        slow = ("", 0)

    turn = Turn()
    port = await turn.open()
    agent = IceAgent(on_candidate=lambda _: None, server_address="127.0.0.1")
    agent.add_server(IceServerAddress(parse_ice_url(f"turn:127.0.0.1:{port}"), "127.0.0.1", "name", "secret"))
    agent.servers_complete()
    await agent.gather_candidates()
    while gathering := agent.tasks.running:
        await asyncio.wait(gathering)
    assert [candidate.type for candidate in agent.local_candidates] == ["host", "relay"]
    server = SlowToReach(ice_controlling=True)
    protocol = await bind_socket("127.0.0.1", lambda: StunProtocol(server))
    server.sockets.append(protocol)
    server.slow = (agent.local_candidates[0].host, agent.local_candidates[0].port)
    server.remote_username = agent.local_username
    agent.remote_username, agent.remote_password = server.local_username, server.local_password
    agent.accept_remote(protocol.local_candidate)
    agent.start_checks()
    async with asyncio.timeout(2):
        await agent.connect()
    assert agent.nominated_pair is not None
    assert agent.nominated_pair.local_candidate.type == "host"
    await agent.close()
    await server.close()
    turn.close()
    await asyncio.sleep(0)


@on_asyncio
async def test_a_relay_that_no_longer_answers_does_not_hold_up_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_relay, "FAREWELL", 0.1)

    turn = Turn()
    agent, server, _ = await _connected(turn)
    turn.mute = True
    began = perf_counter()
    await agent.close()
    assert 0.1 <= perf_counter() - began < 1
    await server.close()
    turn.close()
    await asyncio.sleep(0)
