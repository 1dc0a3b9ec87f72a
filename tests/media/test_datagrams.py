"""The UDP socket of our own, against the system's sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import trio

from neko_trio.media.datagrams import READ_LIMIT, DatagramSocket, open_datagrams


class Protocol(asyncio.DatagramProtocol):
    """Keeps what it is told."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self.taken = list[tuple[bytes, tuple[str, int]]]()
        self.errors = list[Exception]()
        self.lost = asyncio.Event()
        self.came = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.taken.append((data, addr))
        self.came.set()

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)
        self.came.set()

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is None
        self.lost.set()


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


async def run(scenario: Callable[[Protocol, socket.socket], Awaitable[None]]) -> None:
    """With a protocol on an open socket, and another socket; all is closed in the end."""

    async def main() -> None:
        with bound() as other:
            sock = bound()
            protocol = await open_datagrams(sock, Protocol)
            try:
                async with asyncio.timeout(10):
                    await scenario(protocol, other)
            finally:
                protocol.transport.close()
                await protocol.lost.wait()
            assert sock.fileno() == -1

    await trio.to_thread.run_sync(asyncio.run, main())


async def test_all_that_has_come_is_read_at_one_turn_up_to_a_limit() -> None:
    async def scenario(protocol: Protocol, other: socket.socket) -> None:
        here = protocol.transport.get_extra_info("sockname")
        for number in range(READ_LIMIT + 5):
            other.sendto(bytes([128 + number]), here)
        other.sendto(b"\x80" * 20_000, here)
        await protocol.came.wait()
        assert len(protocol.taken) == READ_LIMIT
        while len(protocol.taken) < READ_LIMIT + 6:
            protocol.came.clear()
            await protocol.came.wait()
        assert [data for data, _ in protocol.taken[:-1]] == [bytes([128 + number]) for number in range(READ_LIMIT + 5)]
        assert protocol.taken[-1] == (b"\x80" * 20_000, other.getsockname())

    await run(scenario)


async def test_what_a_check_sets_in_motion_goes_before_the_next_datagram() -> None:
    async def scenario(protocol: Protocol, other: socket.socket) -> None:
        here = protocol.transport.get_extra_info("sockname")
        for data in (b"\x80 media", b"\x00\x01 STUN", b"\x01\x01 STUN", b""):
            other.sendto(data, here)
        await protocol.came.wait()
        assert [data for data, _ in protocol.taken] == [b"\x80 media", b"\x00\x01 STUN"]
        while len(protocol.taken) < 4:
            protocol.came.clear()
            await protocol.came.wait()

    await run(scenario)


async def test_sends_and_tells_what_the_system_refuses() -> None:
    async def scenario(protocol: Protocol, other: socket.socket) -> None:
        protocol.transport.sendto(b"hello", other.getsockname())
        assert await asyncio.get_running_loop().sock_recv(other, 100) == b"hello"
        protocol.transport.sendto(bytes(70_000), other.getsockname())
        assert [type(error) for error in protocol.errors] == [OSError]

    await run(scenario)


async def test_closed_by_what_a_datagram_brings_it_takes_no_more() -> None:
    async def scenario(protocol: Protocol, other: socket.socket) -> None:
        transport = protocol.transport
        for _ in range(3):
            other.sendto(b"x", transport.get_extra_info("sockname"))

        def close(data: bytes, addr: tuple[str, int]) -> None:
            protocol.taken.append((data, addr))
            transport.close()

        protocol.datagram_received = close  # type: ignore[method-assign]  # one instance
        await protocol.lost.wait()
        assert len(protocol.taken) == 1
        assert transport.is_closing()
        transport.sendto(b"late", other.getsockname())
        transport.abort()
        assert protocol.errors == []

    await run(scenario)


async def test_what_the_system_reports_reaches_the_protocol() -> None:
    async def main() -> None:
        sock = bound()
        with bound() as other:
            sock.connect(other.getsockname())
        protocol = Protocol()  # nobody is there any more
        transport = DatagramSocket(sock, protocol)
        sock.send(b"x")
        async with asyncio.timeout(10):
            await protocol.came.wait()
        assert isinstance(protocol.errors[0], ConnectionRefusedError)
        transport.close()
        await protocol.lost.wait()

    await trio.to_thread.run_sync(asyncio.run, main())


async def test_a_loop_that_cannot_watch_sockets_uses_asyncios_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patch:
            patch.setattr(DatagramSocket, "__init__", refuse)
            protocol = await open_datagrams(bound(), Protocol)
        assert not isinstance(protocol.transport, DatagramSocket)
        with bound() as other:
            await loop.sock_sendto(other, b"x", protocol.transport.get_extra_info("sockname"))
            async with asyncio.timeout(10):
                await protocol.came.wait()
        protocol.transport.close()
        await protocol.lost.wait()

    await trio.to_thread.run_sync(asyncio.run, main())
