"""ICE over TCP: active candidates (RFC 6544 §4.5). Each passive candidate of the server gets a connection of its own.

The server need not be told: pion ignores active candidates and learns the connection as a peer-reflexive one, by the
first check, whose user name says for which peer it is (pion/ice tcp_mux.go, which waits 30 s for it).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from aioice import Candidate
from aioice.candidate import candidate_foundation

from neko_trio.media.aiortc_private import network_host
from neko_trio.media.ice_tasks import AgentTasks
from neko_trio.media.stun_protocol import AgentSocket
from neko_trio.protocol.stream_framing import LONGEST_PACKET, Deframer, frame

DIALS_LIMIT = 8
"""Connections that one agent makes; a server with one muxed port has one candidate for each of its addresses."""
UNSENT_LIMIT = 1 << 20
"""Bytes not yet taken by the system beyond which packets are dropped, as a socket's buffer would."""
FAREWELL = 0.2
"""Seconds that what is unsent at the close may take to leave."""
PRIORITY = (99 << 24) | (((6 << 13) | 0x1FFF) << 8) | 255
"""RFC 6544 §4.2: host, less than UDP's 126 by as much as pion has it (27); 6 is the direction "active"."""


class TcpStream(asyncio.Protocol):
    """A connection as a datagram transport for its socket: what :class:`StunProtocol` uses of one, framed."""

    def __init__(self, socket: AgentSocket) -> None:
        self._socket = socket
        self._deframer = Deframer()
        self._stream: asyncio.Transport
        self._peer = ("", 0)
        self._abort: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the socket its candidate. asyncio has switched Nagle's algorithm off."""
        self._stream = cast(asyncio.Transport, transport)
        self._peer = transport.get_extra_info("peername")[:2]
        host, port = transport.get_extra_info("sockname")[:2]
        self._socket.local_candidate = Candidate(
            foundation=candidate_foundation("host", "tcp", host),
            component=1,
            transport="tcp",
            priority=PRIORITY,
            host=host,
            port=port,
            type="host",
            tcptype="active",
        )
        self._socket.connection_made(cast(asyncio.BaseTransport, self))

    def data_received(self, data: bytes) -> None:
        """Hand the packets on, as long as the connection stands."""
        for packet in self._deframer.feed(data):
            self._socket.datagram_received(packet, self._peer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the socket."""
        if self._abort is not None:
            self._abort.cancel()
        self._socket.connection_lost(exc)

    def sendto(self, data: bytes, _addr: object = None) -> None:
        """Send one packet, or drop it and count."""
        stream = self._stream
        if stream.is_closing() or len(data) > LONGEST_PACKET or stream.get_write_buffer_size() > UNSENT_LIMIT:
            self._socket.receiver.packets_unsent += 1
        else:
            stream.write(frame(data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the stream has it."""
        return self._stream.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._stream.is_closing()

    def close(self) -> None:
        """Close once all is sent, or soon."""
        self._stream.close()
        if self._stream.get_write_buffer_size() and self._abort is None:
            self._abort = asyncio.get_running_loop().call_later(FAREWELL, self._stream.abort)


class Dials:
    """The connections of one agent: one for each passive candidate, until ``stop()``."""

    def __init__(
        self,
        tasks: AgentTasks,
        make_socket: Callable[[], AgentSocket],
        on_connected: Callable[[AgentSocket, Candidate], None],
    ) -> None:
        self._tasks, self._make_socket, self._on_connected = tasks, make_socket, on_connected
        self._dialling: list[asyncio.Task[None]] = []
        self._stopped = False
        self.waiting: list[Candidate] = []
        """What has not been dialled yet."""
        self.outcomes: dict[tuple[str, int], str] = {}
        """What became of each that has been dialled, by address, in words; in the order of dialling."""

    def add(self, remote: Candidate) -> None:
        """Dial this one when ``start()`` is called next; again is a no-op."""
        address = (network_host(remote), remote.port)
        if not self._stopped and address not in self.outcomes and len(self.outcomes) < DIALS_LIMIT:
            self.outcomes[address] = "not dialled"
            self.waiting.append(remote)

    def start(self) -> None:
        """Dial all that wait, side by side."""
        for remote in self.waiting:
            address = (network_host(remote), remote.port)
            self.outcomes[address] = "no connection"
            fail = partial(self.outcomes.__setitem__, address)
            self._dialling.append(self._tasks.start(partial(self._dial, remote), fail))
        self.waiting.clear()

    async def _dial(self, remote: Candidate) -> None:
        socket, address = self._make_socket(), (network_host(remote), remote.port)
        await asyncio.get_running_loop().create_connection(lambda: TcpStream(socket), *address)
        if socket.transport.is_closing():
            raise ConnectionError("the connection was closed")
        self.outcomes[address] = "connected"
        self._on_connected(socket, remote)

    def stop(self) -> None:
        """Another path has been found, or none will be: what is not connected yet is not wanted any more."""
        self._stopped = True
        self.waiting.clear()
        for task in self._dialling:
            task.cancel()
