"""HTTP/1.1 on one trio stream with h11: bounded requests in, whole responses out, and the hand-over to a WebSocket.

The bytes of an upgrade request are kept and replayed, so that trio-websocket reads the handshake itself, with whatever
a client sends right behind it.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import h11
import msgspec
import trio

from neko_trio.simulator._limits import Budget, Limits

__all__ = ["NO_CONTENT", "HttpError", "Request", "Response", "json_response", "serve_http"]

MAX_HEADER = 64 * 1024
MAX_FIELDS = 100
_RECEIVE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case; of repeated headers the first."""
    body: bytes = field(default=b"", repr=False)
    address: str = ""
    """The client's IP address."""

    def cookie(self, name: str) -> str | None:
        try:
            morsel = SimpleCookie(self.headers.get("cookie", "")).get(name)
        except CookieError:
            return None
        return None if morsel is None else morsel.value

    @property
    def wants_websocket(self) -> bool:
        """Whether Go's upgrader would accept it (RFC 6455 §4.2.1)."""
        tokens = {token.strip().lower() for token in self.headers.get("connection", "").split(",")}
        return (
            self.method == "GET"
            and "upgrade" in tokens
            and self.headers.get("upgrade", "").lower() == "websocket"
            and self.headers.get("sec-websocket-version") == "13"
            and bool(self.headers.get("sec-websocket-key"))
        )


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


NO_CONTENT = Response(HTTPStatus.NO_CONTENT)


def go_json(value: object) -> bytes:
    """JSON as Go's encoder writes it: `<`, `>` and `&` escaped, and a line feed at the end."""
    text = msgspec.json.encode(value)
    return text.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026") + b"\n"


def json_response(value: object, status: int = HTTPStatus.OK, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(status, go_json(value), "application/json", headers)


class HttpError(Exception):
    """Answers `{"code": …, "message": …}`, the server's shape of an error (`server/pkg/utils/http.go`)."""

    def __init__(self, status: int, message: str | None = None) -> None:
        self.status = int(status)
        self.message = HTTPStatus(status).phrase if message is None else message
        super().__init__(f"{self.status} {self.message}")

    def response(self) -> Response:
        return json_response({"code": self.status, "message": self.message}, self.status)


class TooSlow(Exception):
    """The client took longer than it may."""


class ReplayStream(trio.abc.Stream):
    """Gives `first` before what the inner stream gives; its `aclose` leaves the TCP connection open.

    The real server never closes the TCP connection of a WebSocket after a close frame: who wants it closed closes the
    inner stream.
    """

    def __init__(self, inner: trio.abc.Stream, first: bytes) -> None:
        self.inner = inner
        self._first = first
        self._closed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._closed:
            raise trio.ClosedResourceError
        if self._first:
            await trio.lowlevel.checkpoint()
            taken, self._first = (
                (self._first, b"") if max_bytes is None else (self._first[:max_bytes], self._first[max_bytes:])
            )
            return taken
        return bytes(await self.inner.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self._closed = True
        await trio.lowlevel.checkpoint()


Answer = Callable[[Request], Awaitable[Response]]
Upgrade = Callable[[Request, ReplayStream], Awaitable[None]]
Before = Callable[[Request], Awaitable[Response | None]]
BodyLimit = Callable[[Request], int]


class _Reader:
    """The h11 events of one stream, with the bytes of the current request kept."""

    def __init__(self, stream: trio.abc.Stream, limits: Limits, bodies: Budget) -> None:
        self.stream = stream
        self._limits, self._bodies = limits, bodies
        self._taken = 0
        self._patience, self._deadline = limits.head_seconds, math.inf
        self.connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER)
        self.raw = bytearray()

    async def next_event(self) -> Any:
        while True:
            event = self.connection.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self.connection.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            data = await self._receive()
            if not self.raw and self._deadline == math.inf:
                self._deadline = trio.current_time() + self._limits.head_seconds
            self.raw += data
            self.connection.receive_data(bytes(data))

    async def _receive(self) -> bytes:
        """Raises `TooSlow`."""
        deadline = min(self._deadline, trio.current_time() + self._patience)
        with trio.move_on_at(deadline):
            return bytes(await self.stream.receive_some(_RECEIVE))
        raise TooSlow

    async def send(self, event: Any) -> None:
        """Raises `TooSlow` where the client does not read."""
        data = self.connection.send(event)
        if data:
            with trio.move_on_after(self._limits.transfer_seconds) as scope:
                await self.stream.send_all(data)
            if scope.cancelled_caught:
                raise TooSlow

    async def body(self, limit: int) -> bytes:
        """Raises `HttpError` 413 beyond the limit, and 503 when everybody's bodies together are too much."""
        collected = bytearray()
        self._patience = self._limits.body_pause
        self._deadline = trio.current_time() + self._limits.transfer_seconds
        while True:
            event = await self.next_event()
            if isinstance(event, h11.EndOfMessage):
                return bytes(collected)
            if isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("the client closed in the middle of a body")
            if len(collected) + len(event.data) > limit:
                raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            if not self._bodies.take(len(event.data)):
                raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE)
            self._taken += len(event.data)
            collected += event.data
            self.raw.clear()

    def forget_body(self) -> None:
        """It is not in memory any more."""
        self._bodies.give_back(self._taken)
        self._taken = 0

    def next_request(self) -> None:
        self.raw = bytearray(self.connection.trailing_data[0])
        self._patience, self._deadline = self._limits.idle_seconds, math.inf
        if self.raw:
            self._deadline = trio.current_time() + self._limits.head_seconds
        self.connection.start_next_cycle()


async def serve_http(
    stream: trio.abc.Stream,
    answer: Answer,
    upgrade: Upgrade,
    *,
    before: Before,
    upgrade_path: str,
    limits: Limits,
    bodies: Budget,
    body_limit: BodyLimit,
    address: str,
) -> None:
    """Serve one connection until either side ends it; `upgrade` takes it over for a WebSocket.

    `before` is asked about every request first: what it returns is the answer. `body_limit`: how many bytes of a body
    are taken from whoever sent this head.

    Raises trio's stream errors when the client goes away.  Does not close the stream.
    """
    reader = _Reader(stream, limits, bodies)
    try:
        await _serve(reader, answer, upgrade, before, upgrade_path, body_limit, address)
    except TooSlow:
        return
    finally:
        reader.forget_body()


async def _serve(
    reader: _Reader,
    answer: Answer,
    upgrade: Upgrade,
    before: Before,
    upgrade_path: str,
    body_limit: BodyLimit,
    address: str,
) -> None:
    connection, stream = reader.connection, reader.stream
    while True:
        try:
            head = await reader.next_event()
            if not isinstance(head, h11.Request):
                return
            request = _request(head, address)
            if request.path == upgrade_path and request.wants_websocket:
                await reader.body(0)
                if connection.trailing_data[0]:
                    # As the server's library: who speaks before the handshake is complete is hung up on.
                    return
                refused = await before(request)
                if refused is not None:
                    await _respond(reader, refused, close=True)
                    return
                await upgrade(request, ReplayStream(stream, bytes(reader.raw)))
                return
            body = await reader.body(body_limit(request))
            whole = Request(request.method, request.path, request.query, request.headers, body, address)
            response = await before(whole) or await answer(whole)
        except h11.RemoteProtocolError as failure:
            if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await _respond(reader, HttpError(failure.error_status_hint).response(), close=True)
            return
        except HttpError as failure:
            await _respond(reader, failure.response(), close=True)
            return
        reader.forget_body()
        await _respond(reader, response, head_only=request.method == "HEAD")
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        reader.next_request()


def _request(head: h11.Request, address: str) -> Request:
    headers: dict[str, str] = {}
    for name, value in head.headers:
        headers.setdefault(name.decode("ascii"), value.decode("latin-1"))
    path, _, query = head.target.decode("latin-1").partition("?")
    try:
        pairs = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as failure:
        raise HttpError(HTTPStatus.BAD_REQUEST) from failure
    return Request(head.method.decode("ascii"), _routed(path), pairs, headers, address=address)


def _routed(path: str) -> str:
    """What the server's router sees: the decoded path where Go would write it just so, else the path as it came.

    So an id is found only when it was escaped as Go escapes it, and one with a slash never (seen; `net/url`, `setPath`
    and `shouldEscape`; `go-chi/chi`, `mux.go`).
    """
    decoded = unquote(path)
    return decoded if quote(decoded, safe="/$&+,:;=@") == path else path


async def _respond(reader: _Reader, response: Response, *, close: bool = False, head_only: bool = False) -> None:
    headers = list(response.headers)
    if response.content_type is not None:
        headers.append(("Content-Type", response.content_type))
    if response.status != HTTPStatus.NO_CONTENT:
        headers.append(("Content-Length", str(len(response.body))))
    if close:
        headers.append(("Connection", "close"))
    await reader.send(h11.Response(status_code=response.status, headers=headers, reason=_reason(response.status)))
    if response.body and not head_only:
        await reader.send(h11.Data(data=response.body))
    await reader.send(h11.EndOfMessage())


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""
