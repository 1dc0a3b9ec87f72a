"""Faults of TCP and HTTP: accepting, REST answers, the upgrade.

`path` is that of a call below the server's prefix ("/api/login"; "/api/ws" is the upgrade), `None` every call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

from neko_trio.simulator._fault_book import Fault, FaultBook, ValueFault, checked
from neko_trio.simulator._http import Response, json_response

__all__ = ["CallFaults"]

_PROXY_SAYS = "<html><head><title>{0} {1}</title></head><body><h1>{0} {1}</h1></body></html>\r\n"
_PHRASES = {502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Time-out"}


class CallConnection(Protocol):
    """What these need of the connection of a call."""

    def drop(self, *, reset: bool) -> None: ...

    def cut_after(self, count: int, *, reset: bool) -> None:
        """Drop when so many bytes more have been sent."""

    async def say(self, data: bytes) -> None:
        """These bytes, then the end."""


@dataclass(slots=True, eq=False)
class _AnswerFault(Fault):
    path: str | None = None
    response: Response | None = None


@dataclass(slots=True, eq=False)
class _CallFault(Fault):
    path: str | None = None
    seconds: float = 0.0
    hangs: bool = False
    cut: int | None = None
    reset: bool = False
    raw: bytes | None = None


class CallFaults(FaultBook):
    """See the module."""

    @asynccontextmanager
    async def mute(self) -> AsyncGenerator[Fault, None]:
        """Connections are accepted, and nothing is ever said on them."""
        async with self.put(ValueFault("mute", value=True)) as fault:
            yield fault

    @asynccontextmanager
    async def reset_connections(self, *, times: int | None = None) -> AsyncGenerator[Fault, None]:
        """Every new TCP connection is reset as soon as it has sent something."""
        async with self.put(ValueFault("reset_connections", times, value=True)) as fault:
            yield fault

    @asynccontextmanager
    async def trickle(self, *, interval: float = 0.05, session: str | None = None) -> AsyncGenerator[Fault, None]:
        """What the server says on TCP, HTTP and WebSockets, leaves one byte every `interval` seconds.

        `session`: on the WebSocket of this session alone.
        """
        checked("interval", interval)
        async with self.put(ValueFault("trickle", None, session, value=interval)) as fault:
            yield fault

    @asynccontextmanager
    async def answer(
        self,
        path: str | None,
        *,
        status: int = 200,
        body: bytes = b"",
        content_type: str | None = "application/json",
        times: int | None = None,
    ) -> AsyncGenerator[Fault, None]:
        """Calls to `path` get this, whatever they ask."""
        response = Response(status, body, content_type)
        async with self.put(_AnswerFault("answer", times, path=path, response=response)) as fault:
            yield fault

    @asynccontextmanager
    async def fail_calls(
        self, status: int = 500, *, path: str | None = None, times: int | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Calls fail: with Neko's JSON, or for 502, 503 and 504 with the page of a proxy before it."""
        phrase = _PHRASES.get(status)
        if phrase is None:
            response = json_response({"code": status, "message": "Internal Server Error"}, status)
        else:
            response = Response(status, _PROXY_SAYS.format(status, phrase).encode(), "text/html")
        async with self.put(_AnswerFault("fail_calls", times, path=path, response=response)) as fault:
            yield fault

    @asynccontextmanager
    async def hang_calls(self, *, path: str | None = None, times: int | None = None) -> AsyncGenerator[Fault, None]:
        """Calls are read and not answered before the end of the block."""
        async with self.put(_CallFault("hang_calls", times, path=path, hangs=True)) as fault:
            yield fault

    @asynccontextmanager
    async def slow_calls(
        self, seconds: float, *, path: str | None = None, times: int | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Calls are carried out and answered `seconds` later, or at the end of the block."""
        checked("seconds", seconds)
        async with self.put(_CallFault("slow_calls", times, path=path, seconds=seconds)) as fault:
            yield fault

    @asynccontextmanager
    async def drop_calls(
        self, *, path: str | None = None, after: int = 0, reset: bool = False, times: int | None = None
    ) -> AsyncGenerator[Fault, None]:
        """TCP ends after `after` bytes of the answer: 0, before the call is carried out; `reset`: with RST."""
        checked("after", after, 2**30)
        async with self.put(_CallFault("drop_calls", times, path=path, cut=after, reset=reset)) as fault:
            yield fault

    @asynccontextmanager
    async def garble_calls(
        self, data: bytes = b"\x00\xffno HTTP at all\r\n\r\n", *, path: str | None = None, times: int | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Calls are answered with these bytes, which need not be HTTP, and the end of TCP."""
        async with self.put(_CallFault("garble_calls", times, path=path, raw=data)) as fault:
            yield fault

    # What the server asks

    def answer_for(self, path: str) -> Response | None:
        """What a call gets in place of its answer."""
        for fault in reversed(self.in_force(_AnswerFault)):
            if fault.path in (None, path) and fault.is_for(fault.session or ""):
                fault.hit()
                return fault.response
        return None

    async def called(self, path: str, connection: CallConnection) -> None:
        """A call has been read: suffer what is in force for it."""
        for fault in self.in_force(_CallFault):
            if fault.path not in (None, path) or not fault.is_for(fault.session or ""):
                continue
            fault.hit()
            if fault.raw is not None:
                await connection.say(fault.raw)
            elif fault.cut == 0:
                connection.drop(reset=fault.reset)
            elif fault.cut is not None:
                connection.cut_after(fault.cut, reset=fault.reset)
            elif fault.hangs:
                await fault.ended.wait()
            else:
                with trio.move_on_after(fault.seconds):
                    await fault.ended.wait()
