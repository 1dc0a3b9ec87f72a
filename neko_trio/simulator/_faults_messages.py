"""Faults of WebSocket messages: what becomes of those of one event.

`event` is a name of neko-protocol, "signal/provide", or a pattern, "signal/*"; `times` how often it strikes at most;
`session` the id of the one session that it is for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from neko_trio.errors import InvalidInput
from neko_trio.simulator._fault_book import (
    Deed,
    Fault,
    FaultBook,
    LiveSocket,
    MessageFault,
    Outgoing,
    RawFrame,
    ValueFault,
    checked,
)

__all__ = ["MessageFaults"]

LARGEST = 256 * 2**20
"""Bytes that a message may be made to have."""
_HELD = 1000
"""Messages that one fault keeps back of one socket; more go out as they are."""


class MessageFaults(FaultBook):
    """See the module."""

    @asynccontextmanager
    async def deaf(self, *, session: str | None = None) -> AsyncGenerator[Fault, None]:
        """WebSocket messages are read and have no effect."""
        async with self.put(ValueFault("deaf", None, session, value=True)) as fault:
            yield fault

    @asynccontextmanager
    async def frozen(self, *, session: str | None = None) -> AsyncGenerator[Fault, None]:
        """Nothing is written on WebSockets, not even answers to pings and close frames; TCP stays up."""
        async with self.put(ValueFault("frozen", None, session, value=True)) as fault:
            yield fault

    @asynccontextmanager
    async def withhold(
        self, event: str, *, times: int | None = None, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Messages of this event are not sent: without "signal/provide" it is an offer that never comes."""
        change = _clear
        async with self._change("withhold", event, change, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def delay(
        self, event: str, seconds: float, *, times: int | None = None, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Messages of this event, and what follows them, come `seconds` later."""
        checked("seconds", seconds)

        def change(outgoing: Outgoing) -> None:
            outgoing.delay += seconds

        async with self._change("delay", event, change, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def postpone(
        self, event: str, seconds: float, *, times: int | None = None, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Messages of this event come `seconds` later, and what follows overtakes them: a late offer."""
        checked("seconds", seconds)

        def change(outgoing: Outgoing) -> None:
            outgoing.postpone += seconds

        async with self._change("postpone", event, change, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def duplicate(
        self, event: str, *, copies: int = 2, times: int | None = None, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Messages of this event are sent `copies` times."""
        checked("copies", copies, 1000, least=1)

        def change(outgoing: Outgoing) -> None:
            outgoing.texts[:] = outgoing.texts * copies

        async with self._change("duplicate", event, change, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def reorder(
        self, event: str = "signal/candidate", *, until: str = "signal/video", session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Messages of this event are kept back, and come behind the next one of `until`, the last one first.

        As they are by default: candidates behind the offer, in the wrong order. What is kept at the end of the block
        comes then.
        """
        held: dict[LiveSocket | None, list[str | bytes | RawFrame]] = {}
        kept = MessageFault("reorder", None, session, event=event)

        def keep(outgoing: Outgoing) -> None:
            waiting = held.setdefault(outgoing.socket, [])
            if len(waiting) + len(outgoing.texts) <= _HELD:
                waiting += outgoing.texts
                outgoing.texts.clear()

        def release(outgoing: Outgoing) -> None:
            outgoing.texts += reversed(held.pop(outgoing.socket, []))

        def let_go() -> None:
            for socket, waiting in held.items():
                if socket is not None:
                    socket.do(_sending(*reversed(waiting)))

        kept.change = keep
        async with (
            self.put(MessageFault("reorder", None, session, event=until, change=release)),
            self.put(kept, let_go) as fault,
        ):
            yield fault

    @asynccontextmanager
    async def garble(
        self, event: str, text: str | bytes = "{bad", *, times: int | None = None, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """This is sent in place of messages of this event: bytes as a binary message."""

        def change(outgoing: Outgoing) -> None:
            outgoing.texts[:] = [text]

        async with self._change("garble", event, change, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def precede(
        self, event: str, *texts: str | bytes, times: int | None = None, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """These texts are sent before messages of this event."""

        def change(outgoing: Outgoing) -> None:
            outgoing.texts[:0] = texts

        async with self._change("precede", event, change, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def follow(
        self, event: str, *texts: str | bytes, times: int | None = None, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """These texts are sent right behind messages of this event."""

        def change(outgoing: Outgoing) -> None:
            outgoing.texts.extend(texts)

        async with self._change("follow", event, change, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def alter(self, event: str, /, **changes: object) -> AsyncGenerator[Fault, None]:
        """Fields of the payload of this event are replaced: `alter("signal/provide", sdp="no SDP")`."""

        def change(outgoing: Outgoing) -> None:
            outgoing.texts[:] = [_altered(text, changes) for text in outgoing.texts]

        async with self._change("alter", event, change) as fault:
            yield fault

    @asynccontextmanager
    async def wrong_types(
        self, event: str, *, times: int | None = None, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Every field of the payload of this event has another type than it should."""

        def change(outgoing: Outgoing) -> None:
            outgoing.texts[:] = [_mistyped(text) for text in outgoing.texts]

        async with self._change("wrong_types", event, change, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def pad(
        self, event: str, size: int = 20_000_000, *, times: int | None = None, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Messages of this event have a field more, and with it at least `size` bytes."""
        checked("size", size, LARGEST)

        def change(outgoing: Outgoing) -> None:
            outgoing.texts[:] = [_altered(text, {"padding": "x" * size}) for text in outgoing.texts]

        async with self._change("pad", event, change, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def rename(
        self, event: str, name: str, *, times: int | None = None, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Messages of this event go out under another name ("signal/provide" as "signal/offer")."""

        def change(outgoing: Outgoing) -> None:
            outgoing.texts[:] = [_renamed(text, name) for text in outgoing.texts]

        async with self._change("rename", event, change, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def drop_after(
        self, event: str, *, reset: bool = False, times: int | None = None, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """The TCP connection drops right behind the message of this event: closed in mid-handshake."""

        async def deed(socket: LiveSocket) -> bool:
            socket.drop(reset=reset)
            return False

        fault = MessageFault("drop_after", times, session, event=event, deed=deed)
        async with self.put(fault):
            yield fault

    @asynccontextmanager
    async def _change(
        self,
        name: str,
        event: str,
        change: Callable[[Outgoing], None],
        times: int | None = None,
        session: str | None = None,
    ) -> AsyncGenerator[Fault, None]:
        if not event:
            raise InvalidInput("event: the name of a message, or a pattern")
        async with self.put(MessageFault(name, times, session, event=event, change=change)) as fault:
            yield fault


def _clear(outgoing: Outgoing) -> None:
    outgoing.texts.clear()


def _sending(*texts: str | bytes | RawFrame) -> Deed:
    async def deed(socket: LiveSocket) -> bool:
        for text in texts:
            await socket.put(text)
        return True

    return deed


def _altered(text: str | bytes | RawFrame, changes: dict[str, object]) -> str | bytes | RawFrame:
    """What another fault has made no message of any more stays as it is."""
    message = _message(text)
    payload = None if message is None else message.get("payload") or {}
    if message is None or not isinstance(payload, dict):
        return text
    message["payload"] = {**payload, **changes}
    return msgspec.json.encode(message).decode()


def _renamed(text: str | bytes | RawFrame, name: str) -> str | bytes | RawFrame:
    message = _message(text)
    if message is None:
        return text
    message["event"] = name
    return msgspec.json.encode(message).decode()


def _mistyped(text: str | bytes | RawFrame) -> str | bytes | RawFrame:
    message = _message(text)
    if message is None:
        return text
    payload = message.get("payload")
    message["payload"] = (
        {name: _mistaken(value) for name, value in payload.items()}
        if isinstance(payload, dict) and payload
        else _mistaken(payload)
    )
    return msgspec.json.encode(message).decode()


def _mistaken(value: Any) -> Any:
    match value:
        case bool():
            return "yes"
        case int() | float():
            return str(value)
        case str():
            return {"text": value}
        case list():
            return {"0": 7}
        case dict():
            return [7]
        case _:
            return 7


def _message(text: str | bytes | RawFrame) -> dict[str, Any] | None:
    if isinstance(text, RawFrame):
        return None
    try:
        message = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return message if isinstance(message, dict) else None
