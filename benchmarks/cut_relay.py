"""TCP ways to a server that go wrong, in a process of their own: what they leave open is not the client's.

python benchmarks/cut_relay.py 127.0.0.1 8080 --seed 1   # prints the ports as JSON, and serves

    reset     passes REST calls on; resets each WebSocket's connection at a random byte or moment
    stall     passes REST calls on; from such a byte or moment on a WebSocket's connection stays open and says nothing
    mute      accepts, and never says anything
    unlogged  resets each connection as soon as it has asked something: no login reaches the server
    refused   nobody listens there
"""

from __future__ import annotations

import argparse
import random
import socket
import struct
import sys
from functools import partial

import trio
from servers import run_server, say_and_serve

FAULTS = ("reset", "stall", "mute", "unlogged")
CUT_BYTES, CUT_SECONDS = 8000, 0.25
"""A WebSocket is cut, one time in two each, behind at most so many bytes of the server's or after at most so long: a
connect takes some 6,000 bytes and 20 to 100 ms."""
CHUNK = 512
"""Bytes passed on at once: small, so that a cut falls between the frames of a handshake."""
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST (socket(7))


class Relay:
    """One listener's way of going wrong."""

    def __init__(self, host: str, port: int, fault: str, moments: random.Random) -> None:
        self._host, self._port, self._fault, self._moments = host, port, fault, moments

    async def serve(self, client: trio.SocketStream) -> None:
        """Pass one connection on, until it is to go wrong or either side ends it."""
        async with client:
            try:
                await self._serve(client)
            except* (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                pass  # the client or the server has gone away, or this connection was reset from here

    async def _serve(self, client: trio.SocketStream) -> None:
        asked = await client.receive_some(64 * 1024)
        if not asked:
            return
        if self._fault == "mute":
            await drain(client)
            return
        if self._fault == "unlogged":
            reset(client)
            return
        server = await trio.open_tcp_stream(self._host, self._port)
        async with server:
            await server.send_all(asked)
            is_web_socket = b"/api/ws " in asked.partition(b"\r\n")[0]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._to_server, client, server, nursery.cancel_scope)
                with trio.CancelScope() as cut:
                    allowed = sys.maxsize
                    if is_web_socket and self._moments.random() < 0.5:
                        allowed = self._moments.randrange(CUT_BYTES)
                    elif is_web_socket:
                        cut.deadline = trio.current_time() + self._moments.uniform(0, CUT_SECONDS)
                    if not await self._to_client(server, client, allowed):
                        nursery.cancel_scope.cancel()
                        return
                if self._fault == "stall":
                    await trio.sleep_forever()  # the other way still passes, until the client ends it
                reset(client)
                nursery.cancel_scope.cancel()

    async def _to_client(self, server: trio.SocketStream, client: trio.SocketStream, allowed: int) -> bool:
        """Whether it is to go wrong now; not, when the server has ended."""
        while allowed > 0:
            data = await server.receive_some(min(CHUNK, allowed))
            if not data:
                return False
            await client.send_all(data)
            allowed -= len(data)
        return True

    async def _to_server(self, client: trio.SocketStream, server: trio.SocketStream, scope: trio.CancelScope) -> None:
        async for data in client:
            await server.send_all(data)
        scope.cancel()


def reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    stream.socket.close()


async def drain(stream: trio.SocketStream) -> None:
    async for _data in stream:
        pass


async def serve(arguments: argparse.Namespace) -> None:
    ports: dict[str, int] = {}
    with socket.socket() as refused:
        refused.bind(("127.0.0.1", 0))  # and never listens
        ports["refused"] = refused.getsockname()[1]
        async with trio.open_nursery() as nursery:
            for number, fault in enumerate(FAULTS):
                moments = random.Random(arguments.seed * len(FAULTS) + number)
                relay = Relay(arguments.host, arguments.port, fault, moments)
                opened = partial(trio.serve_tcp, relay.serve, 0, host="127.0.0.1")
                listeners = await nursery.start(opened)
                ports[fault] = listeners[0].socket.getsockname()[1]
            await say_and_serve(ports)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--seed", type=int, default=1)
    return run_server(serve, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
