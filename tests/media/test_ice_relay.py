"""Relays over a stream: how messages are told apart, what is dropped, and what ends a wait."""

from __future__ import annotations

import asyncio
import socket
from itertools import pairwise
from time import perf_counter
from typing import Any, cast

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.media import ice_relay, ice_tasks
from neko_trio.media.aiortc_private import RelayOverTcp, RelayOverUdp, StunMessage, authenticate_request
from neko_trio.media.ice import IceAgent
from neko_trio.media.ice_gathering import IceServerAddress
from neko_trio.media.ice_relay import TurnDeframer
from neko_trio.protocol.ice_servers import parse_ice_url
from tests.loops import on_asyncio


def channel_data(payload: bytes) -> bytes:
    return b"\x40\x00" + len(payload).to_bytes(2, "big") + payload + bytes(-len(payload) % 4)


def stun_message(payload: bytes) -> bytes:
    padded = payload + bytes(-len(payload) % 4)
    return b"\x00\x01" + len(padded).to_bytes(2, "big") + bytes(16) + padded


messages = st.lists(
    st.one_of(*(st.binary(max_size=200).map(make) for make in (channel_data, stun_message))), max_size=9
)


@given(messages, st.lists(st.integers(min_value=0), max_size=20))
def test_messages_come_out_as_they_went_in(sent: list[bytes], places: list[int]) -> None:
    stream, deframer = b"".join(sent), TurnDeframer()
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    assert [message for start, end in pairwise(edges) for message in deframer.feed(stream[start:end])] == sent


@given(st.lists(st.binary(max_size=4096), max_size=40))
def test_whatever_comes_what_is_held_is_bounded(parts: list[bytes]) -> None:
    deframer = TurnDeframer()
    try:
        for part in parts:
            deframer.feed(part)
            assert len(deframer._held) < 0xFFFF + 24
    except ValueError:
        return  # the connection is closed then


class Stream:
    """A transport that takes nothing."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.written))

    def write(self, data: bytes) -> None:
        self.written.append(data)


@on_asyncio
async def test_media_beyond_the_bound_is_dropped_and_requests_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_relay, "UNSENT_LIMIT", 100)

    client = ice_relay._OverTcp(("127.0.0.1", 9), "name", "secret", 600, 500)
    stream, dropped = Stream(), []
    client.on_drop = lambda: dropped.append(1)
    client.connection_made(cast(asyncio.BaseTransport, stream))
    for _ in range(5):
        client.write(channel_data(bytes(60)))
    assert (len(stream.written), len(dropped)) == (2, 3)
    client.write(stun_message(b""))
    assert (len(stream.written), len(dropped)) == (3, 3)


def _relay_agent(port: int, query: str) -> IceAgent:
    agent = IceAgent(on_candidate=lambda _: None, relay_only=True)
    url = parse_ice_url(f"turn:127.0.0.1:{port}?transport={query}")
    agent.add_server(IceServerAddress(url, "127.0.0.1", "name", "secret"))
    agent.servers_complete()
    return agent


@pytest.mark.parametrize("what", [b"", b"\xff" * 50], ids=["closes", "speaks something else"])
@on_asyncio
async def test_a_server_that_is_none_ends_the_wait(what: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(what)
        if what:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    agent = _relay_agent(server.sockets[0].getsockname()[1], "tcp")
    began = perf_counter()
    await agent.gather_candidates()
    assert perf_counter() - began < 1
    assert agent.local_candidates == []
    assert "closed the connection" in agent.gathering_errors[0]
    await agent.close()
    server.close()
    await asyncio.sleep(0.01)  # for the server's half of the connection


@on_asyncio
async def test_a_lost_request_is_repeated_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_tasks, "TASK_LIMIT", 1.0)

    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.setblocking(False)
        server.bind(("127.0.0.1", 0))
        agent = _relay_agent(server.getsockname()[1], "udp")
        gathering = asyncio.create_task(agent.gather_candidates())
        loop = asyncio.get_running_loop()
        first, address = await asyncio.wait_for(loop.sock_recvfrom(server, 2000), 1)
        began = perf_counter()
        second, _ = await asyncio.wait_for(loop.sock_recvfrom(server, 2000), 1)
        assert first == second
        assert 0.05 < perf_counter() - began < 0.4
        refusal = StunMessage(stun.Method.ALLOCATE, stun.Class.ERROR, stun.parse_message(first).transaction_id)
        refusal.attributes["ERROR-CODE"] = (486, "Allocation Quota Reached\r\n" + "x" * 500)
        server.sendto(bytes(refusal), cast(Any, address))
        await gathering
        (error,) = agent.gathering_errors
        assert "486 Allocation Quota Reachedxxx" in error
        assert len(error) < 200, "a server's words are bounded"
        await agent.close()


@pytest.mark.parametrize("kind", [RelayOverUdp, RelayOverTcp])
@on_asyncio
async def test_aioices_clients_sign_when_they_know_for_what(kind: type[RelayOverUdp] | type[RelayOverTcp]) -> None:
    """The contract of the private names behind ``authenticate_request``."""
    client = kind(("127.0.0.1", 9), "name", "secret", 600, 500)
    request = StunMessage(stun.Method.ALLOCATE, stun.Class.REQUEST)
    authenticate_request(client, request)
    assert request.attributes == {}
    client.realm, client.nonce, client.integrity_key = "realm", b"nonce", bytes(16)
    authenticate_request(client, request)
    assert {"USERNAME", "REALM", "NONCE", "MESSAGE-INTEGRITY"} <= request.attributes.keys()
    assert request.check_message_integrity(bytes(16))


@on_asyncio
async def test_what_a_relay_over_a_stream_writes_is_padded() -> None:
    """The contract of the private names behind ``write``."""

    class Client(RelayOverTcp):
        def write(self, data: bytes) -> None:
            written.append(data)

    written: list[bytes] = []

    client = Client(("127.0.0.1", 9), "name", "secret", 600, 500)
    client._send(b"\x40\x00\x00\x01x")  # as aioice sends everything
    client.send_stun(StunMessage(stun.Method.BINDING, stun.Class.REQUEST), ("127.0.0.1", 9))
    assert [len(data) for data in written] == [8, 20]
