"""Servers that begin as a Neko would and then do what no server should: which step, and what deed, a test says."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import trio
from wsproto.events import AcceptConnection, CloseConnection, Ping, Request, TextMessage

from tests.signaling.conftest import AnyStream, Served, ServerSide, http_answer
from tests.signaling.conftest import _read_request as read_request
from tests.signaling.conftest import _serve as serve

__all__ = [
    "CREDENTIAL",
    "DEEDS",
    "PASSWORD",
    "TOKEN",
    "AnyStream",
    "HostileNeko",
    "message",
    "open_black_hole",
    "read_request",
    "recorded",
    "recorded_offers",
    "serve",
]

PASSWORD = "pass-hunter2-word"
TOKEN = "token-c0ffee-token"
CREDENTIAL = "turn-s3same-credential"

RECORDINGS = Path(__file__).parents[1] / "recordings"
TRICKLE = 0.02
"""Seconds between two bytes."""

Deed = Callable[[AnyStream, bytes], Awaitable[None]]
"""What is done in place of sending these bytes."""


async def behave(stream: AnyStream, due: bytes) -> None:
    """Send what is due."""
    await stream.send_all(due)


async def say_nothing(stream: AnyStream, due: bytes) -> None:
    """Accept everything and answer nothing, until the client has gone."""
    while await stream.receive_some():
        pass


async def trickle(stream: AnyStream, due: bytes) -> None:
    """Send what is due byte by byte, too slowly to be of use; never the last one."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_trickle_slowly, stream, due)
        with suppress(trio.BrokenResourceError):  # the client has gone in a hurry
            await say_nothing(stream, b"")
        nursery.cancel_scope.cancel()


async def _trickle_slowly(stream: AnyStream, due: bytes) -> None:
    for position in range(len(due) - 1):
        try:
            await stream.send_all(due[position : position + 1])
        except trio.BrokenResourceError:
            return  # the one who reads ends the deed
        await trio.sleep(TRICKLE)


async def close(stream: AnyStream, due: bytes) -> None:
    """Close in good order, with nothing said."""


async def close_half_way(stream: AnyStream, due: bytes) -> None:
    """Send the first half of what is due, then close."""
    await stream.send_all(due[: len(due) // 2])


async def reset(stream: AnyStream, due: bytes) -> None:
    """Reset the TCP connection."""
    assert isinstance(stream, trio.SocketStream)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def babble(stream: AnyStream, due: bytes) -> None:
    """Answer in no protocol at all, then close."""
    await stream.send_all(b"\x00\xff\x13 220 ready when you are\r\n\r\n\x81\xff" * 8)


DEEDS: dict[str, Deed] = {deed.__name__: deed for deed in (say_nothing, trickle, close, close_half_way, reset, babble)}


def message(event: str, payload: object = None) -> str:
    """A message as it stands on the WebSocket."""
    return json.dumps({"event": event} if payload is None else {"event": event, "payload": payload})


@cache
def recorded(event: str) -> tuple[Any, ...]:
    """The payloads of every recorded event of this name, from the real server; each once."""
    found: dict[str, Any] = {}
    for path in sorted(RECORDINGS.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if entry.get("dir") == "recv" and entry.get("event") == event:
                found[json.dumps(entry["payload"], sort_keys=True)] = entry["payload"]
    return tuple(found.values())


def recorded_offers() -> tuple[str, ...]:
    """The SDP of every recorded offer."""
    return tuple(dict.fromkeys(payload["sdp"] for payload in recorded("signal/provide")))


class HostileNeko:
    """Serves one client after the other as Neko does, except at the steps that have a deed of their own.

    Steps: ``login``, ``upgrade``, ``init``, ``offer`` (the answer to ``signal/request``), ``answered`` (what follows
    ``signal/answer``: by default ``signal/close``, because no peer is behind the recorded offer) and ``logout``.
    ``sent`` replaces what is due at a step: texts at the WebSocket's, a whole HTTP answer at the others.
    """

    def __init__(self, deeds: dict[str, Deed] | None = None, sent: dict[str, list[str] | bytes] | None = None) -> None:
        self.deeds = deeds or {}
        self.sent = sent or {}
        self.events: list[str] = []
        """Names of the client's events, in order."""
        self.logouts = 0
        self.goes_on: dict[str, Deed] = {}
        """Deeds after which all goes on as usual."""

    def served(self) -> AbstractAsyncContextManager[Served]:
        """Serve on a free port."""
        return serve(self._handle, wait=False)

    async def _handle(self, stream: AnyStream) -> None:
        while request := await read_request(stream):
            target = request.split(b" ", 2)[1]
            if target.endswith(b"/api/ws"):
                await self._talk(ServerSide(stream), request)
                return
            step = target.rpartition(b"/")[2].decode()
            self.logouts += step == "logout"
            if not await self._do(stream, step, self._http(step)):
                return

    def _http(self, step: str) -> bytes:
        if step in self.sent:
            sent = self.sent[step]
            assert isinstance(sent, bytes)
            return sent
        if step == "login":
            body = json.dumps({"id": "bob-fpBQ2", "token": TOKEN, "profile": {}}).encode()
            return http_answer("200 OK", body, "Content-Type: application/json")
        return http_answer("204 No Content")

    async def _do(self, stream: AnyStream, step: str, due: bytes) -> bool:
        """Whether all goes on as usual afterwards."""
        deed = self.deeds.get(step)
        await (deed or self.goes_on.get(step, behave))(stream, due)
        return deed is None

    async def _talk(self, side: ServerSide, request: bytes) -> None:
        stream = side.stream
        side.protocol.receive_data(request)
        assert isinstance(await side.event(), Request)
        accepted = side.protocol.send(AcceptConnection())
        if "upgrade" in self.sent:
            replaced = self.sent["upgrade"]
            assert isinstance(replaced, bytes)
            accepted = replaced
        if not await self._do(stream, "upgrade", accepted):
            return
        if not await self._do(stream, "init", self._texts(side, "init")):
            return
        while (event := await side.event()) is not None:
            match event:
                case TextMessage(data=text):
                    name = json.loads(text)["event"]
                    self.events.append(name)
                    step = {"signal/request": "offer", "signal/answer": "answered"}.get(name)
                    if step is not None and not await self._do(stream, step, self._texts(side, step)):
                        return
                case CloseConnection():
                    await side.send(event.response())
                    await side.wait_tcp_end()
                    return
                case Ping():
                    await side.send(event.response())

    def _texts(self, side: ServerSide, step: str) -> bytes:
        texts = self.sent.get(step)
        if isinstance(texts, bytes):
            return texts  # below the level of messages
        if texts is None:
            match step:
                case "init":
                    texts = [message("system/init", recorded("system/init")[0])]
                case "offer":
                    texts = [message("signal/provide", recorded("signal/provide")[0])]
                case _:
                    texts = [message("signal/close")]
        return b"".join(side.protocol.send(TextMessage(text)) for text in texts)


@asynccontextmanager
async def open_black_hole() -> AsyncIterator[int]:
    """The port of an address that answers no SYN: a listener whose backlog is full. Linux only."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for filler in fillers:
                filler.close()
