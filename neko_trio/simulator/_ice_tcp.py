"""ICE over TCP at the server: one port for all peers, as ``webrtc.tcpmux`` has it (pion/ice tcp_mux.go).

A client connects to the passive candidate and sends checks framed as RFC 4571 has it; the user name of the first one
says which peer the connection is for. What is no check, or for nobody, is closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from aioice import stun

from neko_trio.protocol.stream_framing import LONGEST_PACKET, Deframer, frame
from neko_trio.simulator._ice import ServerAgent, ServerSocket

__all__ = ["TcpMux"]

FIRST_CHECK_LIMIT = 30.0
"""Seconds that a connection may stand without a check (``FirstStunBindTimeout``)."""
FIRST_CHECK_SIZE = 512
"""Bytes that the first packet may have."""
UNSENT_LIMIT = 4 << 20
"""Bytes beyond which what is sent is dropped (server: ``tcpWriteBufferSizeInBytes``)."""
FAREWELL = 0.2
"""Seconds for what is unsent at a close."""


class TcpMux:
    """Listens until ``close()``. On the simulator's asyncio thread."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()
        self._agents: dict[str, ServerAgent] = {}
        self.endpoints: list[tuple[str, int]] = []
        """Address and port of each socket."""

    async def open(self, addresses: Sequence[str]) -> None:
        """Listen at each address. ``OSError`` when one cannot be bound; ``close()`` is the caller's then, too."""
        loop = asyncio.get_running_loop()
        for address in addresses:
            server = await loop.create_server(lambda: _Connection(self), address, 0)
            self._servers.append(server)
            self.endpoints.append((address, int(server.sockets[0].getsockname()[1])))

    def expect(self, agent: ServerAgent) -> None:
        """Checks for this agent may come, until it is forgotten."""
        self._agents[agent.local_username] = agent

    def forget(self, agent: ServerAgent) -> None:
        """No more connections for it."""
        self._agents.pop(agent.local_username, None)

    def agent_of(self, packet: bytes) -> ServerAgent | None:
        """Whom a first packet is for; ``None`` for what is no check, or for nobody."""
        if len(packet) > FIRST_CHECK_SIZE:
            return None
        try:
            message = stun.parse_message(packet)
        except ValueError:
            return None
        return self._agents.get(str(message.attributes.get("USERNAME", "")).partition(":")[0])

    def joined(self, connection: _Connection) -> None:
        """A connection has been made."""
        self._connections.add(connection)

    def left(self, connection: _Connection) -> None:
        """It is gone."""
        self._connections.discard(connection)

    async def close(self) -> None:
        """Listen no more; connections of peers are theirs, those of nobody are closed."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()
        for server in self._servers:
            await server.wait_closed()


class _Connection(asyncio.Protocol):
    """One connection, and the datagram transport of the socket that it becomes."""

    def __init__(self, mux: TcpMux) -> None:
        self._mux = mux
        self._deframer = Deframer()
        self._socket: ServerSocket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stream: asyncio.Transport
        self._peer = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream = cast(asyncio.Transport, transport)
        self._peer = transport.get_extra_info("peername")[:2]
        self._timer = asyncio.get_running_loop().call_later(FIRST_CHECK_LIMIT, self._stream.abort)
        self._mux.joined(self)

    def data_received(self, data: bytes) -> None:
        for packet in self._deframer.feed(data):
            if self._socket is None and not self._begin(packet):
                self._stream.abort()
                return
            if self._socket is not None:
                self._socket.datagram_received(packet, self._peer)

    def _begin(self, packet: bytes) -> bool:
        agent = self._mux.agent_of(packet)
        if agent is None:
            return False
        self._cancel_timer()
        host, port = self._stream.get_extra_info("sockname")[:2]
        self._socket = ServerSocket(agent)
        self._socket.local_candidate = agent.tcp_candidate(host, port)
        self._socket.connection_made(cast(asyncio.BaseTransport, self))
        agent.sockets.append(self._socket)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        self._mux.left(self)
        if self._socket is not None:
            self._socket.connection_lost(exc)

    def abort(self) -> None:
        self._stream.abort()

    # what StunProtocol uses of a datagram transport

    def sendto(self, data: bytes, _addr: object = None) -> None:
        sendable = len(data) <= LONGEST_PACKET and self._stream.get_write_buffer_size() < UNSENT_LIMIT
        if sendable and not self._stream.is_closing():
            self._stream.write(frame(data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._stream.get_extra_info(name, default)

    def close(self) -> None:
        self._stream.close()
        if self._stream.get_write_buffer_size() and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FAREWELL, self._stream.abort)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
