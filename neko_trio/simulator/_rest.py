"""The REST front: routes, the checks in front of them, and what the server's middleware answers.

Facts: `server/internal/api/router.go`, `server/pkg/auth/auth.go`, `server/internal/http/manager.go` and `batch.go`.
What calls do stands in `_rest_calls`.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TypeVar

import msgspec
import trio

from neko_trio.simulator._events import Dispatcher
from neko_trio.simulator._http import HttpError, Request, Response, json_response
from neko_trio.simulator._limits import LoginLimit
from neko_trio.simulator._members import Members
from neko_trio.simulator._room import Room
from neko_trio.simulator._session import Session
from neko_trio.simulator._values import from_json

__all__ = ["Call", "Cookie", "Rest", "Route", "read_body"]

S = TypeVar("S", bound=msgspec.Struct)

_NOT_FOUND = Response(HTTPStatus.NOT_FOUND, b"404 page not found\n", "text/plain; charset=utf-8")
_GROUPS = ("sessions", "members", "members_bulk", "room", "chat", "filetransfer", "openinapp")
"""Below these the server checks who asks before it looks for the route."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """`session.cookie.*` of the server: the token travels in a cookie, not in the body."""

    name: str = "NEKO_SESSION"
    secure: bool = False
    expiration: float = 24 * 3600
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler gets: who asks, what, and the parts of the path that the route left open."""

    rest: "Rest"
    session: Session
    request: Request
    parameters: tuple[str, ...] = ()

    @property
    def room(self) -> Room:
        return self.rest.room


Check = Callable[[Call], None]
Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    """Below `/api/`; a part in braces is a parameter."""
    handler: Handler
    checks: tuple[Check, ...] = ()


class Rest:
    """Answers REST calls.  Login, health and batch stand here; the rest are routes."""

    def __init__(
        self,
        room: Room,
        dispatcher: Dispatcher,
        members: Members,
        routes: tuple[Route, ...],
        *,
        screenshot: Callable[[int], bytes],
        cookie: Cookie | None = None,
        prefix: str = "",
    ) -> None:
        self.room = room
        self.dispatcher = dispatcher
        self.members = members
        self.cookie = cookie
        self.prefix = prefix
        self.screenshot = screenshot
        """JPEG of the screen at a quality; called in a worker thread."""
        self.logins = LoginLimit(room.limits)
        self._routes = routes

    async def answer(self, request: Request) -> Response:
        """Never raises for what a client sends."""
        await trio.lowlevel.checkpoint()
        if not request.path.startswith(self.prefix):
            return _NOT_FOUND
        path = request.path[len(self.prefix) :]
        forced = self.room.faults.answer_for(path)
        if forced is not None:
            return forced
        try:
            return await self._answer(path, request)
        except HttpError as failure:
            return failure.response()

    def authenticate(self, request: Request) -> Session:
        """By cookie (when enabled), header or query, in this order; the first that is present decides.

        Raises `HttpError` whose message is the one that `system/disconnect` carries on the WebSocket.
        """
        token = self._token(request)
        if token is None:
            raise HttpError(HTTPStatus.UNAUTHORIZED, "no authentication provided")
        session = self.room.by_token(token)
        if session is None:
            raise HttpError(HTTPStatus.UNAUTHORIZED, "session not found")
        if not session.profile.can_login:
            raise HttpError(HTTPStatus.FORBIDDEN, "session login disabled")
        return session

    def _token(self, request: Request) -> str | None:
        if self.cookie is not None:
            value = request.cookie(self.cookie.name)
            if value is not None:
                return value
        parts = request.headers.get("authorization", "").split("Bearer ")
        if len(parts) == 2:
            return parts[1].strip()
        return request.query.get("token") or None

    async def _answer(self, path: str, request: Request) -> Response:
        if path == "/health":
            return _only("GET", request) or Response(HTTPStatus.OK, b"true", "text/plain; charset=utf-8")
        if path == "/api/ws":
            return _only("GET", request) or HttpError(HTTPStatus.BAD_REQUEST).response()
        if path == "/api/login":
            return _only("POST", request) or self._login(request)
        if path == "/api/batch":
            return _only("POST", request) or await self._batch(request)
        if not path.startswith("/api/"):
            return _NOT_FOUND
        parts = tuple(part for part in path.removeprefix("/api/").split("/") if part)
        matching = [(route, found) for route in self._routes if (found := _match(route.path, parts)) is not None]
        if not matching:
            if parts[:1] and parts[0] in _GROUPS:
                self._rest_session(request)
            return _NOT_FOUND
        for route, parameters in matching:
            if route.method == request.method:
                call = Call(self, self._rest_session(request), request, parameters)
                for check in route.checks:
                    check(call)
                return await route.handler(call)
        allowed = ", ".join(sorted({route.method for route, _ in matching}))
        return Response(HTTPStatus.METHOD_NOT_ALLOWED, headers=(("Allow", allowed),))

    def _rest_session(self, request: Request) -> Session:
        try:
            return self.authenticate(request)
        except HttpError as failure:
            if failure.status == HTTPStatus.FORBIDDEN:
                raise HttpError(HTTPStatus.FORBIDDEN, "login is disabled for this session") from failure
            raise HttpError(HTTPStatus.UNAUTHORIZED) from failure

    def _login(self, request: Request) -> Response:
        given = read_body(request, Credentials())
        wait = self.logins.wait_for(request.address)
        if wait > 0:
            error = HttpError(HTTPStatus.TOO_MANY_REQUESTS, "too many failed logins").response()
            return Response(error.status, error.body, error.content_type, (("Retry-After", str(math.ceil(wait))),))
        try:
            session = self.members.login(self.room, given.username, given.password)
        except HttpError as failure:
            if failure.status == HTTPStatus.UNAUTHORIZED:
                self.logins.failed(request.address)
            raise
        answer = session.data()
        if self.cookie is None:
            return json_response({"id": answer["id"], "token": session.token, **answer})
        return json_response(answer, headers=(("Set-Cookie", _cookie_text(self.cookie, session.token)),))

    async def _batch(self, request: Request) -> Response:
        """Several calls in one; one answer that is no JSON makes the whole an empty 200, though all were made."""
        try:
            items = msgspec.json.decode(request.body, type=list[BatchItem])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as failure:
            raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR) from failure
        answers: list[dict[str, object]] = []
        readable = True
        for item in items:
            shown: dict[str, object] = {"path": item.path, "method": item.method}
            if not item.path.startswith("/api"):
                answer = HttpError(HTTPStatus.BAD_REQUEST, "this path is not allowed in batch requests").response()
            elif item.path in ("/api/batch", "/api/ws"):
                answer = HttpError(HTTPStatus.BAD_REQUEST, "this path is excluded from batch requests").response()
            else:
                path, _, query = item.path.partition("?")
                pairs = dict(part.partition("=")[::2] for part in query.split("&") if part)
                body = bytes(item.body)
                # Without the prefix, so that a server which has one finds none of them (seen).
                inner = Request(item.method, path, pairs, request.headers, body, request.address)
                answer = await self.answer(inner)
            if answer.body:
                if answer.content_type == "application/json":
                    shown["body"] = msgspec.Raw(answer.body.rstrip(b"\n"))
                else:
                    readable = False
            answers.append({**shown, "status": answer.status})
        return json_response(answers) if readable else Response(HTTPStatus.OK, b"", "application/json")


class Credentials(msgspec.Struct, frozen=True):
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return "Credentials(<secret>)"


class BatchItem(msgspec.Struct):
    path: str = ""
    method: str = ""
    body: msgspec.Raw = msgspec.Raw()


def read_body(request: Request, base: S) -> S:
    """The JSON body over `base`.  Raises `HttpError` 400 (`server/pkg/utils/http.go`)."""
    if not request.body.strip():
        raise HttpError(HTTPStatus.BAD_REQUEST, "no data provided")
    try:
        return from_json(request.body, base)
    except ValueError as failure:
        raise HttpError(HTTPStatus.BAD_REQUEST, "unable to parse provided data") from failure


def _only(method: str, request: Request) -> Response | None:
    if request.method == method:
        return None
    return Response(HTTPStatus.METHOD_NOT_ALLOWED, headers=(("Allow", method),))


def _match(pattern: str, parts: tuple[str, ...]) -> tuple[str, ...] | None:
    names = pattern.split("/")
    if len(names) != len(parts):
        return None
    found: list[str] = []
    for name, part in zip(names, parts, strict=True):
        if name.startswith("{"):
            found.append(part)
        elif name != part:
            return None
    return tuple(found)


def _cookie_text(cookie: Cookie, token: str) -> str:
    import time

    expires = formatdate(time.time() + cookie.expiration, usegmt=True)
    secure = "; Secure; SameSite=None" if cookie.secure else ""
    return f"{cookie.name}={token}; Expires={expires}; HttpOnly{secure}"
