"""A TCP way to a server that can be cut at will, in a process of its own: what passes here costs the client nothing.

python benchmarks/gate.py 127.0.0.1 8080   # prints its two ports as JSON, and serves

Whoever connects to the port ``way`` is at the server. A connection to the port ``cut`` resets all of those, and ends
when that is done, after a line that says how many they were.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from functools import partial

import trio
from cut_relay import reset
from servers import run_server, say_and_serve

CHUNK = 64 * 1024
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class Gate:
    """Both ports."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._scopes: set[trio.CancelScope] = set()

    async def pass_on(self, client: trio.SocketStream) -> None:
        """One connection, until either side ends it or it is cut. A server that is not there resets it."""
        async with client:
            try:
                with trio.CancelScope() as scope:
                    self._scopes.add(scope)
                    server = await trio.open_tcp_stream(self._host, self._port)
                    async with server, trio.open_nursery() as nursery:
                        nursery.start_soon(self._one_way, client, server, nursery.cancel_scope)
                        nursery.start_soon(self._one_way, server, client, nursery.cancel_scope)
                if scope.cancelled_caught:
                    reset(client)
            except OSError:
                reset(client)
            finally:
                self._scopes.discard(scope)

    async def cut(self, asker: trio.SocketStream) -> None:
        async with asker:
            scopes, self._scopes = self._scopes, set()
            for scope in scopes:
                scope.cancel()
            with suppress(*GONE):  # who asked may not have waited for the answer
                await asker.send_all(b"%d\n" % len(scopes))

    async def _one_way(self, one: trio.SocketStream, other: trio.SocketStream, scope: trio.CancelScope) -> None:
        with suppress(*GONE):  # when either end is gone, that is the end of both
            while data := await one.receive_some(CHUNK):
                await other.send_all(data)
        scope.cancel()


async def serve(arguments: argparse.Namespace) -> None:
    gate = Gate(arguments.host, arguments.port)
    ports: dict[str, int] = {}
    async with trio.open_nursery() as nursery:
        for name, handler in (("way", gate.pass_on), ("cut", gate.cut)):
            listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
            ports[name] = listeners[0].socket.getsockname()[1]
        await say_and_serve(ports)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    return run_server(serve, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
