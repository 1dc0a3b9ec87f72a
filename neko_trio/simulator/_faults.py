"""Faults on request: each is a named async context manager of `simulator.faults`, in force while its block runs.

Each yields a `Fault` whose `hits` says how often it struck, so that a test can tell that what it survived did happen.
Several may be in force at once; of two that want the same message the one entered last decides.
"""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import trio

from neko_trio.simulator._http import Response

__all__ = ["Fault", "Faults", "LiveConnection", "Outgoing"]


@dataclass(slots=True, eq=False)
class Fault:
    """One fault in force."""

    name: str
    hits: int = 0


@dataclass(slots=True)
class Outgoing:
    """One WebSocket message on its way to a client, as faults may change it."""

    event: str
    texts: list[str]
    """What is written in its place, in order; none is silence."""
    delay: float = 0.0
    """Seconds before it is written; what comes after it waits too."""
    drop_after: bool = False
    reset: bool = False


class LiveConnection(Protocol):
    """What a fault needs of an open TCP connection."""

    @property
    def is_websocket(self) -> bool: ...

    def drop(self, *, reset: bool) -> None: ...


class SilenceablePeer(Protocol):
    def set_silent(self, silent: bool) -> None: ...


@dataclass(slots=True, eq=False)
class _OnMessage(Fault):
    event: str = ""
    change: Callable[[Outgoing], None] = lambda outgoing: None


@dataclass(slots=True, eq=False)
class _OnAnswer(Fault):
    path: str = ""
    response: Response = field(default_factory=lambda: Response(200))


@dataclass(slots=True, eq=False)
class _Valued(Fault):
    value: Any = None


class Faults:
    """See the module.  Parameters named `event` are those of neko-protocol, e.g. "signal/provide"."""

    def __init__(self) -> None:
        self.connections: set[LiveConnection] = set()
        self.peers: Callable[[], Iterable[SilenceablePeer]] = tuple
        self._on_message: list[_OnMessage] = []
        self._on_answer: list[_OnAnswer] = []
        self._valued: dict[str, list[_Valued]] = {}

    # Accepting and HTTP

    @asynccontextmanager
    async def mute(self) -> AsyncGenerator[Fault, None]:
        """Connections are accepted, and nothing is ever said on them."""
        async with self._put("mute", True) as fault:
            yield fault

    @asynccontextmanager
    async def trickle(self, *, interval: float = 0.05) -> AsyncGenerator[Fault, None]:
        """HTTP answers, the upgrade's too, leave one byte every `interval` seconds."""
        async with self._put("trickle", interval) as fault:
            yield fault

    @asynccontextmanager
    async def answer(
        self, path: str, *, status: int = 200, body: bytes = b"", content_type: str | None = "application/json"
    ) -> AsyncGenerator[Fault, None]:
        """REST calls to `path` ("/api/login") get this, whatever they ask."""
        fault = _OnAnswer("answer", path=path, response=Response(status, body, content_type))
        self._on_answer.append(fault)
        try:
            yield fault
        finally:
            self._on_answer.remove(fault)

    @asynccontextmanager
    async def reset_connections(self) -> AsyncGenerator[Fault, None]:
        """Every new TCP connection is reset as soon as it has sent something."""
        async with self._put("reset_connections", True) as fault:
            yield fault

    # The WebSocket

    @asynccontextmanager
    async def refuse_websocket(self, reason: str = "connection disabled") -> AsyncGenerator[Fault, None]:
        """The upgrade succeeds, then `system/disconnect` with `reason`, then TCP drops without a close frame."""
        async with self._put("refuse_websocket", reason) as fault:
            yield fault

    @asynccontextmanager
    async def drop_websockets(self, *, reset: bool = False) -> AsyncGenerator[Fault, None]:
        """Every WebSocket open now loses its TCP connection, without a close frame; new ones are served."""
        fault = Fault("drop_websockets")
        for connection in tuple(self.connections):
            if connection.is_websocket:
                fault.hits += 1
                connection.drop(reset=reset)
        await trio.lowlevel.checkpoint()
        yield fault

    @asynccontextmanager
    async def deaf(self) -> AsyncGenerator[Fault, None]:
        """WebSocket messages are read and have no effect."""
        async with self._put("deaf", True) as fault:
            yield fault

    @asynccontextmanager
    async def frozen(self) -> AsyncGenerator[Fault, None]:
        """Nothing is written on WebSockets, not even answers to pings and close frames; TCP stays up."""
        async with self._put("frozen", True) as fault:
            yield fault

    @asynccontextmanager
    async def withhold(self, event: str) -> AsyncGenerator[Fault, None]:
        """Messages of this event are not sent: without "signal/provide" it is an offer that never comes."""
        async with self._change("withhold", event, lambda outgoing: outgoing.texts.clear()) as fault:
            yield fault

    @asynccontextmanager
    async def delay(self, event: str, seconds: float) -> AsyncGenerator[Fault, None]:
        """Messages of this event, and what follows them, come `seconds` later."""

        def change(outgoing: Outgoing) -> None:
            outgoing.delay += seconds

        async with self._change("delay", event, change) as fault:
            yield fault

    @asynccontextmanager
    async def garble(self, event: str, text: str = "{bad") -> AsyncGenerator[Fault, None]:
        """This text is sent in place of messages of this event."""

        def change(outgoing: Outgoing) -> None:
            outgoing.texts[:] = [text]

        async with self._change("garble", event, change) as fault:
            yield fault

    @asynccontextmanager
    async def precede(self, event: str, *texts: str) -> AsyncGenerator[Fault, None]:
        """These texts are sent before messages of this event."""

        def change(outgoing: Outgoing) -> None:
            outgoing.texts[:0] = texts

        async with self._change("precede", event, change) as fault:
            yield fault

    @asynccontextmanager
    async def alter(self, event: str, **changes: object) -> AsyncGenerator[Fault, None]:
        """Fields of the payload of this event are replaced: `alter("signal/provide", sdp="no SDP")`."""

        def change(outgoing: Outgoing) -> None:
            outgoing.texts[:] = [_altered(text, changes) for text in outgoing.texts]

        async with self._change("alter", event, change) as fault:
            yield fault

    @asynccontextmanager
    async def rename(self, event: str, name: str) -> AsyncGenerator[Fault, None]:
        """Messages of this event go out under another name ("signal/provide" as "signal/offer")."""

        def change(outgoing: Outgoing) -> None:
            outgoing.texts[:] = [_renamed(text, name) for text in outgoing.texts]

        async with self._change("rename", event, change) as fault:
            yield fault

    @asynccontextmanager
    async def drop_after(self, event: str, *, reset: bool = False) -> AsyncGenerator[Fault, None]:
        """The TCP connection drops right behind the message of this event: closed in mid-handshake."""

        def change(outgoing: Outgoing) -> None:
            outgoing.drop_after, outgoing.reset = True, reset

        async with self._change("drop_after", event, change) as fault:
            yield fault

    # Media

    @asynccontextmanager
    async def silent_media(self) -> AsyncGenerator[Fault, None]:
        """No UDP packet of the peers of now leaves or is read; at the end of the block they go on."""
        fault = Fault("silent_media")
        silenced = tuple(self.peers())
        for peer in silenced:
            fault.hits += 1
            peer.set_silent(True)
        await trio.lowlevel.checkpoint()
        try:
            yield fault
        finally:
            for peer in silenced:
                peer.set_silent(False)

    # What the server asks

    def strike(self, name: str) -> Any:
        """The value of the fault of this name entered last, counted as a hit; None when none is in force."""
        faults = self._valued.get(name)
        if not faults:
            return None
        faults[-1].hits += 1
        return faults[-1].value

    def answer_for(self, path: str) -> Response | None:
        for fault in reversed(self._on_answer):
            if fault.path == path:
                fault.hits += 1
                return fault.response
        return None

    def outgoing(self, event: str, text: str) -> Outgoing:
        message = Outgoing(event, [text])
        for fault in self._on_message:
            if fault.event == event:
                fault.hits += 1
                fault.change(message)
        return message

    @asynccontextmanager
    async def _put(self, name: str, value: object) -> AsyncGenerator[Fault, None]:
        fault = _Valued(name, value=value)
        faults = self._valued.setdefault(name, [])
        faults.append(fault)
        try:
            yield fault
        finally:
            faults.remove(fault)

    @asynccontextmanager
    async def _change(self, name: str, event: str, change: Callable[[Outgoing], None]) -> AsyncGenerator[Fault, None]:
        fault = _OnMessage(name, event=event, change=change)
        self._on_message.append(fault)
        try:
            yield fault
        finally:
            self._on_message.remove(fault)


def _altered(text: str, changes: dict[str, object]) -> str:
    message = msgspec.json.decode(text)
    message["payload"] = {**(message.get("payload") or {}), **changes}
    return msgspec.json.encode(message).decode()


def _renamed(text: str, name: str) -> str:
    message = msgspec.json.decode(text)
    message["event"] = name
    return msgspec.json.encode(message).decode()
