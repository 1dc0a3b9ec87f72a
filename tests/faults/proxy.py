"""A TCP proxy that does to the bytes what no network should: one client at a time may be struck, in either direction.

It tells the rig what goes by (HTTP requests of the client, messages of the server), before it is passed on.
"""

from __future__ import annotations

import math
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

__all__ = ["Connection", "Proxy", "open_proxy"]

_CHUNK = 256 * 1024
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
SLOW_BYTES, SLOW_PAUSE = 32, 0.005
"""A trickle: so many bytes, so many seconds apart."""


class Connection:
    """One client's connection, and the server's behind it."""

    def __init__(self, client: trio.SocketStream) -> None:
        self.client = client
        self.request = b""
        """The line of the client's newest HTTP request."""
        self.instead: bytes | None = None
        """What is sent in place of the server's next bytes, before the end; empty: nothing, and no end."""
        self.before = b""
        """What is sent before the server's next bytes."""
        self.cut = self.twice = self.slow = False
        self._open = trio.Event()
        self._open.set()
        self.scope = trio.CancelScope()

    @property
    def is_web_socket(self) -> bool:
        return b"/api/ws" in self.request

    def shut(self, seconds: float) -> None:
        """Pass nothing on for so long, either way."""
        self._open = trio.Event()
        if seconds < math.inf:
            trio.lowlevel.spawn_system_task(self._open_later, self._open, seconds)

    async def _open_later(self, gate: trio.Event, seconds: float) -> None:
        await trio.sleep(seconds)
        gate.set()

    def end(self, *, reset: bool) -> None:
        """End it now, towards the client: by RST or by FIN."""
        if reset:
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.socket.close()
        self.scope.cancel()

    # -- what the proxy does

    async def to_server(self, server: trio.SocketStream, saw: Callable[[Connection, bytes], None]) -> None:
        while data := await self.client.receive_some(_CHUNK):
            if data.startswith((b"GET ", b"POST ")):
                self.request = bytes(data.partition(b"\r\n")[0])
                saw(self, self.request)
            await self._open.wait()
            await server.send_all(data)
        self.scope.cancel()

    async def to_client(self, server: trio.SocketStream, saw: Callable[[Connection, bytes], None]) -> None:
        while data := bytes(await server.receive_some(_CHUNK)):
            if self.is_web_socket:
                saw(self, data)
            await self._open.wait()
            if self.before:
                data, self.before = self.before + data, b""
            if self.instead is not None:
                await self.client.send_all(self.instead)
                self.end(reset=False)
            elif self.cut:
                await self.client.send_all(data[: len(data) // 2])
                self.end(reset=False)
            elif self.slow:
                await self._trickle(data)
            elif self.twice:
                data = await self._whole(server, data)
                self.twice = False
                await self.client.send_all(data * 2)
            else:
                await self.client.send_all(data)
        self.end(reset=False)

    async def _whole(self, server: trio.SocketStream, data: bytes) -> bytes:
        """The whole of an HTTP answer that has begun so."""
        while b"\r\n\r\n" not in data:
            data += await server.receive_some(_CHUNK)
        length = re.search(rb"(?i)content-length: *(\d+)", data)
        size = data.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
        while len(data) < size:
            data += await server.receive_some(_CHUNK)
        return data

    async def _trickle(self, data: bytes) -> None:
        for start in range(0, len(data), SLOW_BYTES):
            await trio.sleep(SLOW_PAUSE)
            await self.client.send_all(data[start : start + SLOW_BYTES])


class Proxy:
    """Made by :func:`open_proxy`."""

    def __init__(self, port: int, upstream: int) -> None:
        self.port = port
        self._upstream = upstream
        self.accepted: Callable[[Connection], None] = lambda _connection: None
        """Told of a connection before anything is read of it."""
        self.saw: Callable[[Connection, bytes], None] = lambda _connection, _data: None
        """Told of the first line of a request, and of the bytes of a WebSocket's server, before they are passed on."""
        self.connections: set[Connection] = set()
        self.web_socket: Connection | None = None
        """The newest."""

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection, to its end."""
        connection = Connection(client)
        self.connections.add(connection)
        try:
            with connection.scope:
                self.accepted(connection)
                await connection._open.wait()
                if connection.before:  # the server speaks first
                    await client.send_all(connection.before)
                    connection.end(reset=False)
                    await trio.lowlevel.checkpoint()
                await self._carry(connection)
        except* (*_GONE, OSError):
            connection.end(reset=True)  # the server is not there, or has gone
        finally:
            self.connections.discard(connection)
            await trio.aclose_forcefully(client)

    async def _carry(self, connection: Connection) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self._upstream)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.to_server, server, self._saw)
                nursery.start_soon(connection.to_client, server, self._saw)
        finally:
            await trio.aclose_forcefully(server)

    def _saw(self, connection: Connection, data: bytes) -> None:
        if connection.is_web_socket:
            self.web_socket = connection
        self.saw(connection, data)


@asynccontextmanager
async def open_proxy(upstream: int) -> AsyncIterator[Proxy]:
    """A proxy for the server at that port of the loopback, on a free port."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy = Proxy(listener.socket.getsockname()[1], upstream)
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
