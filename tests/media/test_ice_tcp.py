"""ICE over TCP: the agent against servers whose passive candidates answer, refuse, close, fall silent, or are old."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import aioice
import pytest

from neko_trio.media import ice, ice_tcp, stun_protocol
from neko_trio.media.ice import IceAgent
from neko_trio.media.ice_report import read_report
from neko_trio.simulator._ice import Network, ServerAgent
from neko_trio.simulator._ice_tcp import TcpMux
from tests.loops import on_asyncio
from tests.media.agents import OldServer, asked_and_heard, introduce

pytestmark = [pytest.mark.real_time, pytest.mark.usefixtures("one_address")]


class Setting:
    """An agent and a server behind a TCP port, introduced to each other."""

    def __init__(self, kind: type[ServerAgent] = ServerAgent, address: str = "127.0.0.1", udp: bool = False) -> None:
        transports = ("udp", "tcp") if udp else ("tcp",)
        self.server = kind(keep_alive=2.0, network=Network((address,), transports))
        self.mux = TcpMux()
        self.agent = IceAgent(on_candidate=lambda _: None, server_address=address)
        self.address = address

    async def open(self, *, passive: bool = True) -> None:
        agent, server = self.agent, self.server
        agent.servers_complete()
        await self.mux.open([self.address])
        self.mux.expect(server)
        await server.open_sockets(lambda _: None)
        await agent.gather_candidates()
        introduce(agent, server)
        for candidate in server.local_candidates:
            agent.accept_remote(candidate)
        if passive:
            agent.accept_remote(server.tcp_candidate(*self.mux.endpoints[0]))

    async def connect(self) -> float:
        began = perf_counter()
        self.agent.start_checks()
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            tasks.create_task(self.agent.connect())
            tasks.create_task(self.server.connect())
        return perf_counter() - began

    async def close(self) -> None:
        await self.agent.close()
        await self.server.close()
        await self.mux.close()
        await asyncio.sleep(0)  # transports close their sockets in a callback


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@on_asyncio
async def test_connects_when_tcp_is_the_only_way(address: str) -> None:
    setting = Setting(address=address)
    await setting.open()
    agent = setting.agent
    assert await setting.connect() < 0.2
    pair = agent.nominated_pair
    assert pair is not None
    assert (pair.local_candidate.transport, pair.local_candidate.tcptype) == ("tcp", "active")
    assert agent.ice_controlling
    assert not agent.role_given_back
    connection = pair.protocol.transport.get_extra_info("socket")
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await agent.send(b"\x80there")
    assert await setting.server.recv() == b"\x80there"
    for number in range(3):
        await setting.server.send(b"\x80back" * 300 + bytes([number]))
    assert [(await agent.recv())[-1] for _ in range(3)] == [0, 1, 2]
    assert await asked_and_heard(agent)
    await setting.close()


@on_asyncio
async def test_udp_wins_when_it_works_and_then_nobody_dials() -> None:
    setting = Setting(udp=True)
    await setting.open()
    assert await setting.connect() < ice.HEAD_START
    pair = setting.agent.nominated_pair
    assert pair is not None
    assert pair.local_candidate.transport == "udp"
    assert list(setting.agent.dials.outcomes.values()) == ["not dialled"]
    await asyncio.sleep(ice.HEAD_START + 0.05)
    assert list(setting.agent.dials.outcomes.values()) == ["not dialled"]
    await setting.close()


@on_asyncio
async def test_tcp_is_dialled_when_udp_has_had_its_head_start() -> None:
    setting = Setting()
    await setting.open()
    setting.agent.accept_remote(aioice.Candidate("1", 1, "udp", 2130706431, "127.0.0.1", 9, "host"))  # nobody there
    took = await setting.connect()
    assert ice.HEAD_START <= took < ice.HEAD_START + 0.2
    pair = setting.agent.nominated_pair
    assert pair is not None
    assert pair.local_candidate.transport == "tcp"
    await setting.close()


@on_asyncio
async def test_udp_that_comes_a_little_later_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "SHORT_HEAD_START", 2.0)
    monkeypatch.setattr(ice, "HEAD_START", 2.0)

    setting = Setting(udp=True)
    agent, server = setting.agent, setting.server
    await setting.open()
    late = [remote for remote in agent.known_remotes if remote.transport == "udp"]
    agent.known_remotes[:] = [remote for remote in agent.known_remotes if remote.transport == "tcp"]
    agent.check_list.clear()
    agent.start_checks()
    connecting = asyncio.gather(agent.connect(), server.connect())
    await asyncio.sleep(0.05)
    assert list(agent.dials.outcomes.values()) == ["connected"]
    agent.accept_remote(late[0])
    await asyncio.wait_for(connecting, 1.5)
    pair = agent.nominated_pair
    assert pair is not None
    assert pair.local_candidate.transport == "udp"
    await setting.close()


@on_asyncio
async def test_an_old_server_that_cannot_check_us_gets_its_role_back() -> None:
    """It ignores our checks in its own role, and cannot know where to send its own."""
    setting = Setting(OldServer)
    await setting.open()
    took = await setting.connect()
    assert setting.agent.role_given_back
    assert not setting.agent.ice_controlling
    assert setting.server.ice_controlling
    assert took < 1.6, "pion nominates a client that it has learned 1 s after it has begun"
    await setting.close()


@on_asyncio
async def test_udp_and_tcp_at_one_port_are_two_paths() -> None:
    """With udpmux and tcpmux at the same number; a check over TCP must not be taken for one over UDP."""
    setting = Setting()
    await setting.open(passive=False)
    port = setting.mux.endpoints[0][1]
    setting.agent.accept_remote(aioice.Candidate("1", 1, "udp", 2130706431, "127.0.0.1", port, "host"))
    setting.agent.accept_remote(setting.server.tcp_candidate("127.0.0.1", port))
    await setting.connect()
    await asyncio.sleep(0.05)  # for the server's own checks
    assert setting.agent.checks_received > 0
    transports = [
        (pair.local_candidate.transport, pair.remote_candidate.transport) for pair in setting.agent.check_list
    ]
    assert sorted(transports) == [("tcp", "tcp"), ("udp", "udp")]
    await setting.close()


async def _listen(react: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> tuple[Any, int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await react(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def _agent_for(*ports: int) -> IceAgent:
    agent = IceAgent(on_candidate=lambda _: None, server_address="127.0.0.1")
    agent.servers_complete()
    agent.remote_username, agent.remote_password = "user", "p" * 22
    for port in ports:
        agent.accept_remote(_passive(port))
    return agent


def _passive(port: int, host: str = "127.0.0.1") -> aioice.Candidate:
    return aioice.Candidate("1", 1, "tcp", 1671430143, host, port, "host", tcptype="passive")


def _closed_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@on_asyncio
async def test_refused_and_closed_connections_fail_at_once_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "OTHER_ADDRESSES_AFTER", 0.05)

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)

    listening, closing = await _listen(close)
    refusing = _closed_port()
    agent = _agent_for(closing, refusing)
    await agent.gather_candidates()
    agent.accept_end()
    agent.start_checks()
    began = perf_counter()
    with pytest.raises(ConnectionError, match="every candidate pair failed"):
        await agent.connect()
    assert perf_counter() - began < 1
    pairs = read_report(agent).pairs
    assert any(f"127.0.0.1:{closing}: the connection was closed" in pair for pair in pairs)
    assert any(
        pair.startswith(f"tcp → 127.0.0.1:{refusing}: ") and ("refused" in pair or "failed" in pair) for pair in pairs
    )
    await agent.close()
    listening.close()
    await asyncio.sleep(0.01)  # for the server's half of the connection


@pytest.mark.parametrize(
    "what", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100, bytes(70_000), b"\xff\xff" + bytes(200_000)]
)
@on_asyncio
async def test_what_is_no_stun_costs_nothing_but_the_pair(what: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "ICE_LIMIT", 0.4)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(what)
        while await reader.read(1000):
            pass

    listening, port = await _listen(babble)
    agent = _agent_for(port)
    await agent.gather_candidates()
    agent.start_checks()
    with pytest.raises(ConnectionError, match=r"0\.4 s"):
        await agent.connect()
    assert agent.unread <= ice.UNREAD_LIMIT
    await agent.close()
    listening.close()
    await asyncio.sleep(0.01)


@on_asyncio
async def test_a_lost_connection_ends_what_it_carried() -> None:
    setting = Setting()
    await setting.open()
    await setting.connect()
    receiving = asyncio.create_task(setting.agent.recv())
    await asyncio.sleep(0)
    await setting.server.close()
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(receiving, 1)
    assert setting.agent.failure == "the TCP connection was lost"
    await setting.close()


@on_asyncio
async def test_unsent_bytes_are_bounded_and_what_is_dropped_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_tcp, "UNSENT_LIMIT", 50_000)

    setting = Setting()
    await setting.open()
    await setting.connect()
    agent, pair = setting.agent, setting.agent.nominated_pair
    assert pair is not None
    for connection in setting.mux._connections:
        connection._stream.pause_reading()  # the server takes nothing any more
    stream = pair.protocol.transport._stream  # type: ignore[attr-defined]  # a TcpStream
    for _ in range(10_000):
        await agent.send(b"\x80" + bytes(1199))
        assert stream.get_write_buffer_size() <= 50_000 + 1202
    assert agent.packets_unsent > 1000
    began = perf_counter()
    await agent.close()
    assert ice_tcp.FAREWELL <= perf_counter() - began < ice_tcp.FAREWELL + 0.5, "what is unsent holds up little"
    await setting.close()


@on_asyncio
async def test_dials_are_bounded_and_end_with_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_tcp, "DIALS_LIMIT", 3)

    with socket.socket() as full:  # its queue is full: the system answers no more connections
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        filler = [socket.socket() for _ in range(3)]
        for each in filler:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        agent = _agent_for(full.getsockname()[1], *(_closed_port() for _ in range(5)))
        await agent.gather_candidates()
        agent.start_checks()
        connecting = asyncio.create_task(agent.connect())
        await asyncio.sleep(0.1)
        assert len(agent.dials.outcomes) == 3
        assert list(agent.dials.outcomes.values()).count("no connection") == 1
        began = perf_counter()
        await agent.close()
        assert perf_counter() - began < 0.5
        with pytest.raises(ConnectionError):
            await connecting
        for each in filler:
            each.close()


@on_asyncio
async def test_relays_carry_no_tcp_and_active_candidates_are_not_dialled() -> None:
    agent = IceAgent(on_candidate=lambda _: None, relay_only=True)
    agent.accept_remote(_passive(9))
    assert (agent.remotes_ignored, agent.known_remotes) == (1, [])
    await agent.close()
    agent = _agent_for()
    for tcptype in ("active", "so", None):
        candidate = _passive(9)
        candidate.tcptype = tcptype
        agent.accept_remote(candidate)
    assert (agent.remotes_ignored, agent.known_remotes) == (3, [])
    await agent.close()


@on_asyncio
async def test_a_check_over_tcp_is_framed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaves, byte by byte: the length, then a binding request whose user name begins with the server's."""
    monkeypatch.setattr(stun_protocol, "FIRST_RETRANSMISSION", 3.0)
    seen = asyncio.Queue[bytes]()

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        seen.put_nowait(await reader.readexactly(length))

    listening, port = await _listen(record)
    agent = _agent_for(port)
    await agent.gather_candidates()
    agent.start_checks()
    connecting = asyncio.create_task(agent.connect())
    packet = await asyncio.wait_for(seen.get(), 2)
    assert packet[:2] == b"\x00\x01"
    assert struct.unpack("!H", packet[2:4])[0] == len(packet) - 20
    assert b"user:" + agent.local_username.encode() in packet
    await agent.close()
    with pytest.raises(ConnectionError):
        await connecting
    listening.close()
    await asyncio.sleep(0.01)
