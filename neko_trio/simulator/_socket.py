"""One client's WebSocket: its outbox, its writer, its heartbeats, and its end the way the real server ends it.

Facts (`server/internal/websocket/manager.go`, `peer.go`): messages are JSON texts with a line feed; every 10 s a
`system/heartbeat` and a ping; `destroy` sends `system/disconnect` and closes TCP without a close frame; a client's
close frame is answered, and the TCP connection left to the client.
"""

import heapq
import logging
import math
import struct
from collections import deque
from itertools import count
from typing import Any, Protocol

import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from neko_trio.simulator._fault_book import Deed, LiveConnection, Outgoing, RawFrame
from neko_trio.simulator._faults import Faults
from neko_trio.simulator._http import go_json
from neko_trio.simulator._journal import Journal
from neko_trio.simulator._limits import Budget
from neko_trio.simulator._session import NO_PAYLOAD

__all__ = ["ClientSocket", "envelope"]

logger = logging.getLogger("neko_trio.simulator")

MAX_OUTBOX_MESSAGES = 10_000
MAX_OUTBOX_BYTES = 256 * 1024 * 1024
MAX_POSTPONED = 1000
"""Messages that faults keep back for later."""
NO_CODE = 1005
CLOSE_ANSWER = 1.0
"""Seconds for the client's close frame."""
_PINGS_IN_FLIGHT = 10


class _Envelope(msgspec.Struct):
    event: str
    payload: Any = msgspec.UNSET


def envelope(event: str, payload: object = NO_PAYLOAD) -> str:
    """The message as the server writes it."""
    return go_json(_Envelope(event, payload)).decode()


class SocketStream(Protocol):
    """The stream below a WebSocket, for bytes that are none of its frames."""

    async def send_all(self, data: bytes) -> None: ...


class ClientSocket:
    """The room's `SocketSide` on a real WebSocket.

    The outbox is bounded: a client that does not read for so long that it overflows loses its connection (the real
    server would stand still for everybody instead).
    """

    def __init__(
        self,
        websocket: WebSocketConnection,
        connection: LiveConnection,
        stream: SocketStream,
        *,
        who: str,
        journal: Journal,
        faults: Faults,
        unsent: Budget,
    ) -> None:
        self._unsent = unsent
        self.who = who
        self.connection = connection
        self._websocket = websocket
        self._stream = stream
        self._journal = journal
        self._faults = faults
        self._outbox: deque[tuple[str, str] | Deed] = deque()
        self._outbox_bytes = 0
        self._later: list[tuple[float, int, Outgoing]] = []
        self._numbers = count()
        self._wake = trio.Event()
        self._destroyed = False
        self.overflowed = False
        self.finished = trio.Event()
        """The writer is through."""
        self.closed_by_fault = False
        """A close frame of a proxy's that is not there: the server sees nothing of it."""
        self.closing = trio.Event()
        """Set when a close frame of the client's has been read."""

    def send(self, event: str, payload: object = NO_PAYLOAD) -> None:
        if self._destroyed or self.overflowed:
            return
        text = envelope(event, payload)
        over = len(self._outbox) >= MAX_OUTBOX_MESSAGES or self._outbox_bytes + len(text) > MAX_OUTBOX_BYTES
        if over or not self._unsent.take(len(text)):
            logger.warning("the client %s does not read: its connection is dropped", self.who)
            self.overflowed = True
            self._clear()
            self.connection.drop(reset=True)
        else:
            self._outbox.append((event, text))
            self._outbox_bytes += len(text)
        self._wake.set()

    def _clear(self) -> None:
        self._outbox.clear()
        self._unsent.give_back(self._outbox_bytes)
        self._outbox_bytes = 0

    def destroy(self, reason: str) -> None:
        self.send("system/disconnect", {"message": reason})
        self._destroyed = True
        self._wake.set()

    async def write(self) -> None:
        """The writer: returns when the socket has been destroyed and TCP dropped, or the client is gone."""
        try:
            while await self._write_waiting():
                if self._destroyed or self.overflowed:
                    self.connection.drop(reset=False)
                    return
                self._wake = trio.Event()
                with trio.move_on_at(self._later[0][0] if self._later else math.inf):
                    await self._wake.wait()
        except (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            self._destroyed = True
            self._clear()
            self.finished.set()

    async def _write_waiting(self) -> bool:
        """False when the socket has ended."""
        while True:
            if self._later and self._later[0][0] <= trio.current_time():
                if not await self._write_now(heapq.heappop(self._later)[2]):
                    return False
            elif self._outbox:
                waiting = self._outbox.popleft()
                if not isinstance(waiting, tuple):
                    if not await waiting(self):
                        return False
                    continue
                event, text = waiting
                self._outbox_bytes -= len(text)
                self._unsent.give_back(len(text))
                if not await self._write_one(event, text):
                    return False
            else:
                return True

    async def _write_one(self, event: str, text: str) -> bool:
        outgoing = self._faults.outgoing(event, text, self)
        if outgoing.postpone and len(self._later) < MAX_POSTPONED:
            heapq.heappush(self._later, (trio.current_time() + outgoing.postpone, next(self._numbers), outgoing))
            return True
        return await self._write_now(outgoing)

    async def _write_now(self, outgoing: Outgoing) -> bool:
        if outgoing.delay:
            await trio.sleep(outgoing.delay)
        for each in outgoing.texts:
            await self._put(outgoing.event, each)
        for deed in outgoing.deeds:
            if not await deed(self):
                return False
        return True

    async def _put(self, event: str, each: str | bytes | RawFrame) -> None:
        self._journal.add(self.who, "ws", "sent", event, each.data if isinstance(each, RawFrame) else each)
        if isinstance(each, RawFrame):
            await self._stream.send_all(each.data)
        else:
            await self._websocket.send_message(each)

    # What faults do

    def do(self, deed: Deed) -> None:
        """The next thing that the writer does, behind all that is waiting."""
        if not self._destroyed and not self.overflowed and len(self._outbox) < MAX_OUTBOX_MESSAGES:
            self._outbox.append(deed)
            self._wake.set()

    async def put(self, text: str | bytes | RawFrame) -> None:
        """From a deed: write this now."""
        await self._put("fault", text)

    async def say_closing(self, code: int, reason: str = "") -> None:
        """A close frame, nothing else."""
        payload = b"" if code == NO_CODE else struct.pack(">H", code) + reason.encode()
        await self.put(RawFrame(bytes((0x88, len(payload))) + payload))

    async def close_with(self, code: int, reason: str) -> None:
        """From a deed: a close frame, and TCP is dropped when the client has answered it, or a moment later."""
        self.closed_by_fault = True
        await self.say_closing(code, reason)
        with trio.move_on_after(CLOSE_ANSWER):
            await self.closing.wait()
        self.connection.drop(reset=False)

    def drop(self, *, reset: bool) -> None:
        """TCP goes now."""
        self.connection.drop(reset=reset)

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
            await self._websocket.ping()
        except ConnectionClosed:
            return
        in_flight.release()
