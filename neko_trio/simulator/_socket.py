"""One client's WebSocket: its outbox, its writer, its heartbeats, and its end the way the real server ends it.

Facts (`server/internal/websocket/manager.go`, `peer.go`): messages are JSON texts with a line feed; every 10 s a
`system/heartbeat` and a ping; `destroy` sends `system/disconnect` and closes TCP without a close frame; a client's
close frame is answered, and the TCP connection left to the client.
"""

import logging
from collections import deque
from typing import Any

import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from neko_trio.simulator._faults import Faults, LiveConnection
from neko_trio.simulator._http import go_json
from neko_trio.simulator._journal import Journal
from neko_trio.simulator._session import NO_PAYLOAD

__all__ = ["ClientSocket", "envelope"]

logger = logging.getLogger("neko_trio.simulator")

MAX_OUTBOX_MESSAGES = 10_000
MAX_OUTBOX_BYTES = 256 * 1024 * 1024
_PINGS_IN_FLIGHT = 10


class _Envelope(msgspec.Struct):
    event: str
    payload: Any = msgspec.UNSET


def envelope(event: str, payload: object = NO_PAYLOAD) -> str:
    """The message as the server writes it."""
    return go_json(_Envelope(event, payload)).decode()


class ClientSocket:
    """The room's `SocketSide` on a real WebSocket.

    The outbox is bounded: a client that does not read for so long that it overflows loses its connection (the real
    server would stand still for everybody instead).
    """

    def __init__(
        self, connection: WebSocketConnection, tcp: LiveConnection, *, who: str, journal: Journal, faults: Faults
    ) -> None:
        self.who = who
        self._connection = connection
        self._tcp = tcp
        self._journal = journal
        self._faults = faults
        self._outbox: deque[tuple[str, str]] = deque()
        self._outbox_bytes = 0
        self._wake = trio.Event()
        self._destroyed = False
        self.overflowed = False
        self.finished = trio.Event()
        """The writer is through."""

    def send(self, event: str, payload: object = NO_PAYLOAD) -> None:
        if self._destroyed or self.overflowed:
            return
        text = envelope(event, payload)
        self._outbox.append((event, text))
        self._outbox_bytes += len(text)
        if len(self._outbox) > MAX_OUTBOX_MESSAGES or self._outbox_bytes > MAX_OUTBOX_BYTES:
            logger.warning("the client %s does not read: its connection is dropped", self.who)
            self.overflowed = True
            self._outbox.clear()
            self._tcp.drop(reset=True)
        self._wake.set()

    def destroy(self, reason: str) -> None:
        self.send("system/disconnect", {"message": reason})
        self._destroyed = True
        self._wake.set()

    async def write(self) -> None:
        """The writer: returns when the socket has been destroyed and TCP dropped, or the client is gone."""
        try:
            while True:
                while self._outbox:
                    event, text = self._outbox.popleft()
                    self._outbox_bytes -= len(text)
                    if not await self._write_one(event, text):
                        return
                if self._destroyed or self.overflowed:
                    self._tcp.drop(reset=False)
                    return
                self._wake = trio.Event()
                await self._wake.wait()
        except ConnectionClosed:
            return
        finally:
            self.finished.set()

    async def _write_one(self, event: str, text: str) -> bool:
        outgoing = self._faults.outgoing(event, text)
        if outgoing.delay:
            await trio.sleep(outgoing.delay)
        for each in outgoing.texts:
            self._journal.add(self.who, "ws", "sent", event, each)
            await self._connection.send_message(each)
        if outgoing.drop_after:
            self._tcp.drop(reset=outgoing.reset)
            return False
        return True

    async def beat(self, period: float) -> None:
        """`system/heartbeat` and a ping every `period` seconds, until cancelled; pongs are not needed."""
        async with trio.open_nursery() as nursery:
            in_flight = trio.Semaphore(_PINGS_IN_FLIGHT)
            while True:
                await trio.sleep(period)
                self.send("system/heartbeat")
                # A client that never answers pings is left alone by the server; here it gets no more than ten.
                try:
                    in_flight.acquire_nowait()
                except trio.WouldBlock:
                    continue
                nursery.start_soon(self._ping, in_flight)

    async def _ping(self, in_flight: trio.Semaphore) -> None:
        try:
            await self._connection.ping()
        except ConnectionClosed:
            return
        in_flight.release()
