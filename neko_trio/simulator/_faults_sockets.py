"""Faults of open WebSockets: how they end, stand still, and what is said on them out of turn.

Where there is an `after`, the fault strikes right behind the next message of that event, sent or received
("signal/request", "sent signal/candidate", "received signal/*"), `times` times; without it, at once, every WebSocket
open now.
`session`: only that session's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from neko_trio.errors import InvalidInput
from neko_trio.simulator._fault_book import (
    Deed,
    Fault,
    FaultBook,
    LiveConnection,
    LiveSocket,
    MessageFault,
    RawFrame,
    ValueFault,
    checked,
)

__all__ = ["GateFault", "SocketFaults", "seconds_of"]

_CLOSE, _BINARY = 8, 2
_ABNORMAL = 1006


@dataclass(slots=True, eq=False)
class GateFault(Fault):
    """Connections that stand still: what comes is not read, what is to be sent waits."""

    seconds: float = math.inf
    held: dict[LiveConnection, float] = field(default_factory=dict)
    """Until when, by trio's clock."""
    everything_until: float = -math.inf

    def hold(self, connection: LiveConnection) -> None:
        self.held[connection] = trio.current_time() + self.seconds
        self.hit(connection.who)

    def until(self, connection: LiveConnection) -> float:
        return max(self.held.get(connection, -math.inf), self.everything_until)


class SocketFaults(FaultBook):
    """See the module."""

    # Ends

    @asynccontextmanager
    async def refuse_websocket(
        self, reason: str = "connection disabled", *, times: int | None = None
    ) -> AsyncGenerator[Fault, None]:
        """The upgrade succeeds, then `system/disconnect` with `reason`, then TCP drops without a close frame."""
        async with self.put(ValueFault("refuse_websocket", times, value=reason)) as fault:
            yield fault

    @asynccontextmanager
    async def drop_websockets(
        self, *, reset: bool = False, after: str | None = None, times: int | None = 1, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """TCP is lost, without a close frame; `reset`: with RST. New WebSockets are served."""

        async def deed(socket: LiveSocket) -> bool:
            socket.drop(reset=reset)
            return False

        def now(socket: LiveSocket) -> None:
            socket.drop(reset=reset)

        async with self._befall("drop_websockets", deed, after, times, session, now=now) as fault:
            yield fault

    @asynccontextmanager
    async def close_websockets(
        self,
        code: int = 1000,
        reason: str = "",
        *,
        after: str | None = None,
        times: int | None = 1,
        session: str | None = None,
    ) -> AsyncGenerator[Fault, None]:
        """A close frame with this code, as a proxy before the server sends it; 1005: without a code; 1006: none, TCP is
        dropped. The server behind it sees its connection lost without a close frame."""
        if not 1000 <= code <= 4999:
            raise InvalidInput(f"code: 1000 to 4999, not {code!r}")
        if len(reason.encode()) > 123:
            raise InvalidInput("reason: at most 123 bytes")

        async def deed(socket: LiveSocket) -> bool:
            if code == _ABNORMAL:
                socket.drop(reset=False)
            else:
                await socket.close_with(code, reason)
            return False

        async with self._befall("close_websockets", deed, after, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def disconnect(
        self,
        reason: str = "session disconnected",
        *,
        after: str | None = None,
        times: int | None = 1,
        session: str | None = None,
    ) -> AsyncGenerator[Fault, None]:
        """`system/disconnect` with this reason, then TCP drops without a close frame.

        "session deleted" ends the session and its token too, "session disconnected" its peer; with "connection
        replaced" nothing else ends; with all others the session is not connected any more.
        """

        async def deed(socket: LiveSocket) -> bool:
            now(socket)
            return True

        def now(socket: LiveSocket) -> None:
            if self.server is not None:
                self.server.end_session(socket.who, reason)

        async with self._befall("disconnect", deed, after, times, session, now=now) as fault:
            yield fault

    # Standing still

    @asynccontextmanager
    async def half_open(
        self,
        *,
        seconds: float | None = None,
        after: str | None = None,
        times: int | None = 1,
        session: str | None = None,
    ) -> AsyncGenerator[Fault, None]:
        """Neither read nor written any more, and TCP stays up, for `seconds` or until the end of the block; then it
        goes on where it stood. New connections are served."""
        gate = GateFault("half_open", None, session, seconds=seconds_of(seconds))

        async def deed(socket: LiveSocket) -> bool:
            gate.hold(socket.connection)
            return True

        async with (
            self.put(gate),
            self._befall("half_open", deed, after, times, session, now=lambda socket: gate.hold(socket.connection)),
        ):
            yield gate

    # Out of turn

    @asynccontextmanager
    async def inject(
        self,
        *data: str | bytes,
        opcode: int | None = None,
        after: str | None = None,
        times: int | None = 1,
        session: str | None = None,
    ) -> AsyncGenerator[Fault, None]:
        """These are sent as messages, bytes as binary ones.

        `opcode`: each as one frame with that opcode whatever it holds; 1 with bytes that are no UTF-8, 9 a ping, 8 a
        close frame of one's own making.
        """
        if opcode is not None and not 0 <= opcode <= 15:
            raise InvalidInput(f"opcode: 0 to 15, not {opcode!r}")
        sent = [each if opcode is None else RawFrame(_frame(opcode, each)) for each in data]
        async with self._befall("inject", _saying(*sent), after, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def big_message(
        self,
        size: int = 20_000_000,
        *,
        after: str | None = None,
        times: int | None = 1,
        session: str | None = None,
    ) -> AsyncGenerator[Fault, None]:
        """A message of at least `size` bytes, of an event that nobody knows."""
        checked("size", size, 256 * 2**20)
        text = f'{{"event":"big/message","payload":{{"text":"{"x" * size}"}}}}'
        async with self._befall("big_message", _saying(text), after, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def garbage(
        self,
        data: bytes = b"\xff\xff\xff\xff\x00garbage",
        *,
        after: str | None = None,
        times: int | None = 1,
        session: str | None = None,
    ) -> AsyncGenerator[Fault, None]:
        """These bytes on the WebSocket's stream, where a frame should begin."""
        async with self._befall("garbage", _saying(RawFrame(data)), after, times, session) as fault:
            yield fault

    # What the server asks

    async def pass_gate(self, connection: LiveConnection) -> None:
        """Wait as long as this connection has to stand still."""
        while True:
            waiting = [(gate, gate.until(connection)) for gate in self.in_force(GateFault)]
            closed = next(((gate, until) for gate, until in waiting if until > trio.current_time()), None)
            if closed is None:
                return
            with trio.move_on_at(closed[1]):
                await closed[0].ended.wait()

    @asynccontextmanager
    async def _befall(
        self,
        name: str,
        deed: Deed,
        after: str | None,
        times: int | None,
        session: str | None,
        *,
        now: Callable[[LiveSocket], None] | None = None,
    ) -> AsyncGenerator[Fault, None]:
        direction, event = _moment(after)
        fault = MessageFault(name, times, session, direction=direction, event=event, deed=deed)
        async with self.put(fault):
            if after is None:
                fault.event = ""  # matches no message
                for socket in self.sockets(session):
                    fault.hit(socket.who)
                    if now is None:
                        socket.do(deed)
                    else:
                        now(socket)
            yield fault


def _moment(after: str | None) -> tuple[str, str]:
    """The direction, "" for either, and the event."""
    words = (after or "").split()
    if after is not None and not (len(words) == 1 or (len(words) == 2 and words[0] in ("sent", "received"))):
        raise InvalidInput(f'after: an event, or "sent" or "received" and an event, not {after!r}')
    return (words[0], words[1]) if len(words) == 2 else ("", after or "")


def _saying(*data: str | bytes | RawFrame) -> Deed:
    async def deed(socket: LiveSocket) -> bool:
        for each in data:
            await socket.put(each)
        return True

    return deed


def seconds_of(given: float | None) -> float:
    return math.inf if given is None else checked("seconds", given)


def _frame(opcode: int, data: str | bytes) -> bytes:
    """One frame of a server, unmasked and whole (RFC 6455 §5.2)."""
    body = data.encode() if isinstance(data, str) else data
    if len(body) < 126:
        length = bytes((len(body),))
    elif len(body) < 65536:
        length = b"\x7e" + struct.pack(">H", len(body))
    else:
        length = b"\x7f" + struct.pack(">Q", len(body))
    return bytes((0x80 | opcode,)) + length + body
