"""What faults are made of, and the list of those in force."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeVar

import trio

from neko_trio.errors import InvalidInput
from neko_trio.simulator._journal import Journal

__all__ = [
    "Deed",
    "Fault",
    "FaultBook",
    "LiveConnection",
    "LivePeer",
    "LiveServer",
    "LiveSocket",
    "MessageFault",
    "Outgoing",
    "RawFrame",
    "ValueFault",
    "checked",
]

LONGEST = 3600.0
"""Seconds that a fault may make anybody wait."""


@dataclass(frozen=True, slots=True)
class RawFrame:
    """Bytes that go out on a WebSocket's stream as they are, whatever they mean there."""

    data: bytes = field(repr=False)


class LiveSocket(Protocol):
    """What a fault needs of an open WebSocket."""

    who: str

    @property
    def connection(self) -> LiveConnection: ...

    def do(self, deed: Deed) -> None:
        """The next thing that its writer does, behind all that is waiting to be sent."""

    async def put(self, text: str | bytes | RawFrame) -> None:
        """From a deed: write this now."""

    async def close_with(self, code: int, reason: str) -> None:
        """From a deed: a close frame, a moment for the client's, then TCP is dropped."""

    def drop(self, *, reset: bool) -> None:
        """TCP goes now."""


Deed = Callable[[LiveSocket], Awaitable[bool]]
"""What a writer does between messages; false when its socket is at its end."""


@dataclass(slots=True)
class Outgoing:
    """One WebSocket message on its way to a client, as faults may change it."""

    event: str
    texts: list[str | bytes | RawFrame]
    """What is written in its place, in order; none is silence."""
    socket: LiveSocket | None = None
    delay: float = 0.0
    """Seconds before it is written; what comes after it waits too."""
    postpone: float = 0.0
    """Seconds before it is written; what comes after it overtakes it."""
    deeds: list[Deed] = field(default_factory=list)
    """What is done right behind it."""


class LiveConnection(Protocol):
    """What a fault needs of an open TCP connection."""

    who: str
    """The session of its WebSocket; "" before there is one."""

    @property
    def is_websocket(self) -> bool: ...

    @property
    def socket(self) -> LiveSocket | None: ...

    def drop(self, *, reset: bool) -> None: ...


class LivePeer(Protocol):
    """What a fault needs of a peer connection."""

    @property
    def session_id(self) -> str: ...

    def set_silent(self, silent: bool) -> None: ...

    def set_stuck(self, stuck: bool) -> None: ...

    def set_path(self, faults: tuple[Any, ...]) -> None:
        """The packet faults that its datagrams pass."""

    def destroy(self) -> None: ...

    def kill(self, *, silently: bool) -> None: ...


class LiveServer(Protocol):
    """What a fault needs of the server as a whole."""

    async def stop(self, *, goodbye: bool, keep: bool) -> None: ...

    async def start(self) -> None: ...

    def tokens(self, session: str | None) -> frozenset[str]: ...

    def end_session(self, session_id: str, reason: str) -> None:
        """As the server does it for this reason, see `Faults.disconnect`."""

    async def offer_again(self, session_id: str, *, fresh: bool) -> None: ...

    def peers(self) -> Iterable[LivePeer]: ...


@dataclass(slots=True, eq=False)
class Fault:
    """One fault in force."""

    name: str
    times: int | None = None
    """How often it strikes at most; `None`: as often as it can."""
    session: str | None = None
    """The session that it is for; `None`: everybody."""
    hits: int = 0
    """How often it struck."""
    ended: trio.Event = field(default_factory=trio.Event, repr=False)
    _news: trio.Event = field(default_factory=trio.Event, repr=False)
    _on_hit: Callable[[Fault, str], None] = field(default=lambda fault, who: None, repr=False)

    async def wait_hit(self, count: int = 1) -> None:
        """Until it has struck `count` times. Safe to cancel."""
        await trio.lowlevel.checkpoint()
        while self.hits < count:
            await self._news.wait()

    def is_for(self, who: str) -> bool:
        """Whether it strikes this session now."""
        return (self.session is None or self.session == who) and (self.times is None or self.hits < self.times)

    def hit(self, who: str = "") -> None:
        """It struck."""
        self.hits += 1
        self._on_hit(self, who)
        self._news.set()
        self._news = trio.Event()


@dataclass(slots=True, eq=False)
class ValueFault(Fault):
    """One whose place in the server asks for its value."""

    value: Any = None


@dataclass(slots=True, eq=False)
class MessageFault(Fault):
    """Changes messages of the server, or does something when one passes, in whichever direction."""

    event: str = ""
    direction: str = "sent"
    """ "sent", "received" or "" for either. """
    change: Callable[[Outgoing], None] | None = None
    deed: Deed | None = None

    def wants(self, direction: str, event: str, who: str) -> bool:
        return self.direction in ("", direction) and fnmatchcase(event, self.event) and self.is_for(who)


F = TypeVar("F", bound=Fault)


class FaultBook:
    """The list of faults in force, and what the server asks of it."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.connections: set[LiveConnection] = set()
        self.server: LiveServer | None = None
        self._journal = journal
        self._faults: list[Fault] = []

    def in_force(self, kind: type[F]) -> list[F]:
        """Those of this kind, in the order in which they were entered."""
        return [fault for fault in self._faults if isinstance(fault, kind)]

    @asynccontextmanager
    async def put(self, fault: F, undo: Callable[[], None] | None = None) -> AsyncGenerator[F, None]:
        """In force while the block runs; `undo` after it, always."""
        if fault.times is not None and fault.times < 1:
            raise InvalidInput(f"times: at least 1, not {fault.times!r}")
        await trio.lowlevel.checkpoint()
        fault._on_hit = self._struck
        self._faults.append(fault)
        self._note(fault, "begins", fault.session or "")
        try:
            yield fault
        finally:
            self._faults.remove(fault)
            fault.ended.set()
            if undo is not None:
                undo()
            self._note(fault, f"ends after {fault.hits} hits", fault.session or "")

    def _struck(self, fault: Fault, who: str) -> None:
        # One entry, not one for each byte of a trickle: what it did is in the journal by itself.
        if fault.hits == 1:
            self._note(fault, "strikes", who)

    def _note(self, fault: Fault, what: str, who: str) -> None:
        if self._journal is not None:
            self._journal.add(who, "fault", "", fault.name, what)

    def sockets(self, session: str | None) -> list[LiveSocket]:
        """The WebSockets open now, of one session or of all."""
        return [
            connection.socket
            for connection in tuple(self.connections)
            if connection.socket is not None and session in (None, connection.who)
        ]

    # What the server asks

    def strike(self, name: str, who: str = "") -> Any:
        """The value of the fault of this name entered last, counted as a hit; None when none is in force."""
        for fault in reversed(self._faults):
            if isinstance(fault, ValueFault) and fault.name == name and fault.is_for(who):
                fault.hit(who)
                return fault.value
        return None

    def outgoing(self, event: str, text: str, socket: LiveSocket | None = None) -> Outgoing:
        """What becomes of a message of the server."""
        message = Outgoing(event, [text], socket)
        who = "" if socket is None else socket.who
        for fault in self.in_force(MessageFault):
            if fault.wants("sent", event, who):
                fault.hit(who)
                if fault.change is not None:
                    fault.change(message)
                if fault.deed is not None:
                    message.deeds.append(fault.deed)
        return message

    def received(self, event: str, socket: LiveSocket) -> None:
        """A client's message is about to be handled."""
        for fault in self.in_force(MessageFault):
            if fault.wants("received", event, socket.who) and fault.deed is not None:
                fault.hit(socket.who)
                socket.do(fault.deed)


def checked(name: str, value: float, limit: float = LONGEST, *, least: float = 0.0) -> float:
    """`value`. Raises `InvalidInput` when it is not from `least` to `limit`."""
    if not (least <= value <= limit) or math.isnan(value):
        raise InvalidInput(f"{name}={value!r} must be from {least:g} to {limit:g}")
    return value
