"""One TCP connection of a client, and what faults do to its bytes."""

from __future__ import annotations

import socket
import ssl
import struct
from typing import cast

import trio

from neko_trio.simulator._fault_book import LiveSocket
from neko_trio.simulator._faults import Faults
from neko_trio.simulator._http import ReplayStream

__all__ = ["FrozenStream", "TcpConnection", "read_to_end"]

_LINGER = 0.5


class TcpConnection:
    """One accepted connection, with what faults do to it."""

    def __init__(self, stream: trio.SocketStream, ssl_context: ssl.SSLContext | None, faults: Faults) -> None:
        self._socket = stream
        self.address = _address(stream)
        """The client's IP address."""
        self.who = ""
        self.is_websocket = False
        self.socket: LiveSocket | None = None
        """Its WebSocket."""
        secured: trio.abc.Stream = stream
        if ssl_context is not None:
            secured = trio.SSLStream(stream, ssl_context, server_side=True, https_compatible=True)
        self.stream = FaultyStream(secured, self, faults)
        """Of bytes within TLS, if there is TLS."""
        self.scope = trio.CancelScope()
        """What serves it runs in here."""

    async def finish(self, linger: float = _LINGER) -> None:
        """No more is sent; read for at most `linger` seconds until the client closes too."""
        with trio.move_on_after(linger):
            await self._socket.send_eof()
            await read_to_end(self._socket)

    def drop(self, *, reset: bool) -> None:
        """Close TCP now, without a close frame; `reset` sends RST in place of FIN."""
        if self._socket.socket.fileno() < 0:
            return  # dropped before
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.socket.close()
        self.scope.cancel()

    def cut_after(self, count: int, *, reset: bool) -> None:
        """Drop when so many bytes more have been sent."""
        self.stream.cut = count, reset

    async def say(self, data: bytes) -> None:
        """These bytes, then the end."""
        await self.stream.send_all(data)
        await self.finish()
        self.drop(reset=False)


class FaultyStream(trio.abc.Stream):
    """A connection's bytes under the faults that are in force. One sender at a time; more wait."""

    def __init__(self, inner: trio.abc.Stream, connection: TcpConnection, faults: Faults) -> None:
        self._inner = inner
        self._connection = connection
        self._faults = faults
        self._turn = trio.Lock()
        self.cut: tuple[int, bool] | None = None
        """Bytes that may yet be sent, and whether RST follows."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._turn:
            await self._faults.pass_gate(self._connection)
            interval = self._faults.strike("trickle", self._connection.who)
            if self.cut is not None:
                await self._send_part(data, *self.cut)
            elif interval is None:
                await self._inner.send_all(data)
            else:
                await self._trickle(bytes(data), cast("float", interval))

    async def _trickle(self, data: bytes, interval: float) -> None:
        for at in range(len(data)):
            await trio.sleep(interval)
            await self._inner.send_all(data[at : at + 1])
            if self._faults.strike("trickle", self._connection.who) is None:  # the block has ended
                await self._inner.send_all(data[at + 1 :])
                return

    async def _send_part(self, data: bytes | bytearray | memoryview, left: int, reset: bool) -> None:
        part = bytes(data[:left])
        self.cut = left - len(part), reset
        await self._inner.send_all(part)
        if len(part) < len(data):
            self._connection.drop(reset=reset)
            await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await self._inner.receive_some(max_bytes))
        await self._faults.pass_gate(self._connection)
        return data

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._inner.aclose()


class FrozenStream(ReplayStream):
    """Swallows what is sent while the fault `frozen` is in force."""

    def __init__(self, inner: ReplayStream, connection: TcpConnection, faults: Faults) -> None:
        super().__init__(inner, b"")
        self._connection = connection
        self._faults = faults

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._faults.strike("frozen", self._connection.who):
            await trio.lowlevel.checkpoint()
            return
        await super().send_all(data)


def _address(stream: trio.SocketStream) -> str:
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return ""  # gone already


async def read_to_end(stream: trio.abc.Stream) -> None:
    while await stream.receive_some(65536):
        pass
