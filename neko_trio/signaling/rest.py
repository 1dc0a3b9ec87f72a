"""Login and the other REST calls, on httpx2 (imported at the first call: connecting with a token needs none of it)."""

from __future__ import annotations

import json as json_module
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import outcome
import trio

from neko_trio._ports.rest import NO_REFUSALS, Refusals, Sink, StreamedBody
from neko_trio._services import interrupt_in
from neko_trio.errors import InvalidInput, LoginRefused, NekoError, NotNeko, ServerUnreachable
from neko_trio.signaling.answers import Answer, refusal_message, refused_file, unexpected
from neko_trio.signaling.credential import Credential
from neko_trio.signaling.dial import connect_failure, tls_context
from neko_trio.signaling.rest_calls import Calls
from neko_trio.signaling.url import ServerUrl

if TYPE_CHECKING:
    import httpx2

__all__ = ["MAX_BODY", "Login", "Rest", "login", "logout", "open_rest"]

MAX_BODY = 32 * 2**20
"""Bytes of an answer's body; a longer one is an error."""

_LOGIN_BODY = 2**20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Login:
    """A session at the server. Whoever logs in logs out: each login stays in everyone's list of sessions until then."""

    session_id: str
    credential: Credential
    profile: Mapping[str, Any] = field(default_factory=dict)


class _LoginAnswer(msgspec.Struct):
    id: str
    token: str | None = None
    profile: dict[str, Any] = {}


class Rest(Calls):
    """Calls to one server with one credential; made by :func:`open_rest`, whose block keeps the connections."""

    def __init__(
        self, url: ServerUrl, credential: Credential | None, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(url)
        self._ssl_context = ssl_context
        self._client: httpx2.AsyncClient | None = None
        self._headers = [] if credential is None else credential.headers()

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | StreamedBody | None = None,
        content_type: str = "application/json",
        max_body: int = MAX_BODY,
        step: str = "rest",
    ) -> Answer:
        """Any answer, whatever its status, with its whole body. ``path`` begins with ``/api/`` and has no secrets.

        ``json`` is encoded unless it is ``None``; ``content`` is sent as it is, or while it comes. Redirects are not
        followed. Raises :class:`ServerUnreachable`, and :class:`NotNeko` for what is no HTTP or has more than
        ``max_body`` bytes. No time limit but the caller's; cancelling closes the connection, and what the server did
        is not known then.
        """
        if json is not None:
            # ASCII only: lone surrogates in a caller's text then have a form on the wire.
            content = json_module.dumps(json).encode("ascii")

        async def whole(response: httpx2.Response) -> Answer:
            return Answer(response.status_code, _pairs(response), await self._body(response, path, max_body, step))

        return await self._exchange(method, path, content, content_type, whole, step=step)

    async def download(
        self, path: str, sink: Sink, *, limit: int | None, step: str = "rest", refusals: Refusals = NO_REFUSALS
    ) -> None:
        """As :meth:`RestPort.download`."""

        async def stream(response: httpx2.Response) -> None:
            if response.status_code != 200:
                body = await self._body(response, path, MAX_BODY, step)
                answer = Answer(response.status_code, _pairs(response), body)
                raise refused_file(self._url, path, answer, step=step, refusals=refusals)
            if response.headers.get("content-encoding", "identity") != "identity":
                raise NotNeko(f"{self._url}{path} answered in an encoding nobody asked for.", step=step)
            length = response.headers.get("content-length", "")
            size = int(length) if length.isascii() and length.isdigit() else None
            if limit is not None and size is not None and size > limit:
                raise _over_limit(limit, step)
            sink.begin(size)
            come = 0

            async def take(chunk: bytes) -> None:
                nonlocal come
                come += len(chunk)
                if limit is not None and come > limit:
                    raise _over_limit(limit, step)
                await sink.write(chunk)

            await _read(response, take)

        await self._exchange("GET", path, None, "", stream, step=step)

    async def _exchange(
        self,
        method: str,
        path: str,
        content: bytes | StreamedBody | None,
        content_type: str,
        receive: Callable[[httpx2.Response], Awaitable[T]],
        *,
        step: str,
    ) -> T:
        """Send one request, and return what ``receive`` makes of the answer; then the connection is free, or closed."""
        client = await self._ready_client()
        import httpx2

        headers = [*self._headers, ("Accept", "application/json, */*"), ("Accept-Encoding", "identity")]
        if content is not None:
            headers.append(("Content-Type", content_type))
        if isinstance(content, StreamedBody) and content.size is not None:
            headers.append(("Content-Length", str(content.size)))
        dialled: list[Any] = []

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                dialled.append(info["return_value"])

        try:
            async with client.stream(
                method,
                self._url.http_url(path),
                headers=headers,
                content=content.chunks if isinstance(content, StreamedBody) else content,
                extensions={"trace": trace},
            ) as response:
                dialled.clear()  # it is the library's from here on, which may keep it for the next call
                return await receive(response)
        except (httpx2.ConnectError, httpx2.NetworkError) as error:
            raise connect_failure(self._url, error, step=step) from None
        except httpx2.RemoteProtocolError as error:
            raise self._broken(path, str(error), step) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise NotNeko(f"{self._url}{path} cannot be called: {type(error).__name__}.", step=step) from None
        except BaseException as error:  # cancelled, too: nothing stays open
            # Cancelled during the TLS handshake, the library leaves the socket to the garbage collector.
            for stream in dialled:
                stream.get_extra_info("socket").close()
            interrupt = interrupt_in(error)
            if interrupt is not None and interrupt is not error:
                raise interrupt from None  # noqa: ASYNC104 - it struck trio's own tasks, while one of them dialled
            raise

    async def _body(self, response: httpx2.Response, path: str, most: int, step: str) -> bytes:
        body = bytearray()

        async def take(chunk: bytes) -> None:
            body.extend(chunk)
            if len(body) > most:
                raise NotNeko(f"{self._url}{path} answered with more than {most} bytes.", step=step)

        await _read(response, take)
        return bytes(body)

    async def _ready_client(self) -> httpx2.AsyncClient:
        if "httpx2" not in sys.modules:
            await trio.to_thread.run_sync(_import_client)  # a tenth of a second
        if self._client is None:
            self._client = _new_client(self._url, self._ssl_context)
        return self._client

    async def aclose(self) -> None:
        """Close the connections. Idempotent; cancelled, they are closed all the same."""
        if self._client is not None:
            await self._client.aclose()

    def _broken(self, path: str, reason: str, step: str) -> NekoError:
        where = f"{self._url}{path}"
        if "disconnected" in reason.lower() or "closed connection" in reason.lower():
            return ServerUnreachable(
                f"{where}: the connection was closed before the answer was complete.",
                hint=None if self._url.secure else "Does the server want https?",
                step=step,
            )
        return NotNeko(
            f"{where} answered with something that is not HTTP.",
            hint="Check host and port of the URL" + ("." if self._url.secure else ", and whether it wants https."),
            step=step,
        )


@asynccontextmanager
async def open_rest(
    url: ServerUrl, credential: Credential | None, *, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[Rest]:
    """A :class:`Rest` for the length of the block. Environment proxies are ignored; nothing is sent yet."""
    async with aclosing(Rest(url, credential, ssl_context=ssl_context)) as rest:
        yield rest


def _pairs(response: httpx2.Response) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in response.headers.multi_items())


async def _read(response: httpx2.Response, take: Callable[[bytes], Awaitable[None]]) -> None:
    """Hand the body's chunks to ``take``. What that raises ends the reading, and the connection."""
    failure: outcome.Error | None = None
    with trio.CancelScope() as scope:
        # Raw: a compressed body that nobody asked for could grow a thousandfold.
        async for chunk in response.aiter_raw():
            if failure is None:
                taken = await outcome.acapture(take, chunk)
                if isinstance(taken, outcome.Error):
                    # Neither raised here nor a break: that leaves the library's inner generators to the garbage
                    # collector. Cancelled, they end by themselves, innermost first.
                    failure = taken
                    scope.cancel(reason="the reader of the body wants no more")
    if failure is not None:
        failure.unwrap()


def _over_limit(limit: int, step: str) -> InvalidInput:
    return InvalidInput(f"The file is larger than limit={limit} bytes.", hint="Give a higher limit.", step=step)


def _import_client() -> None:
    import httpx2  # noqa: F401 - for the trio thread to find it loaded


def _new_client(url: ServerUrl, ssl_context: ssl.SSLContext | None) -> httpx2.AsyncClient:
    import httpx2

    _keep_secrets_out_of_logs()
    # For http a bare context, which is never used: the default one would read all certificates of the system.
    verify = tls_context(url, ssl_context) or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # A connection for each call: on one that is kept, bytes behind an answer would be taken for the answer to the next
    # call, which RFC 9112 section 9.2 forbids and the library does not look for. It costs a call a round trip more.
    once = httpx2.Limits(max_keepalive_connections=0)
    return httpx2.AsyncClient(verify=verify, timeout=None, trust_env=False, follow_redirects=False, limits=once)


async def login(url: ServerUrl, username: str, password: str, *, ssl_context: ssl.SSLContext | None = None) -> Login:
    """``POST /api/login``: a new session, with a token or (``session.cookie.enabled``) cookies.

    Raises :class:`LoginRefused` (wrong password, locked logins, connected already), :class:`NotNeko` and
    :class:`ServerUnreachable`. Cancelled while the answer is under way, the server may keep a session that nobody
    knows of. No time limit but the caller's.
    """
    step = "login"
    path = "/api/login"
    async with open_rest(url, None, ssl_context=ssl_context) as rest:
        answer = await rest.request(
            "POST", path, json={"username": username, "password": password}, max_body=_LOGIN_BODY, step=step
        )
    if answer.status != 200:
        raise _login_failure(url, path, answer, step)
    try:
        body = msgspec.json.decode(answer.body, type=_LoginAnswer)
        credential = Credential.bearer(body.token) if body.token else Credential.cookies(_cookies(answer))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise unexpected(url, path, answer, step=step) from None
    except InvalidInput:
        raise NotNeko(f"{url}{path} gave neither a usable token nor a cookie.", step=step) from None
    return Login(body.id, credential, body.profile)


async def logout(url: ServerUrl, credential: Credential, *, ssl_context: ssl.SSLContext | None = None) -> None:
    """``POST /api/logout``: deletes the session, which ends its WebSocket and its peer.

    A session that is gone already is no error. Raises as :meth:`Rest.call` does otherwise.
    """
    path = "/api/logout"
    async with open_rest(url, credential, ssl_context=ssl_context) as rest:
        answer = await rest.request("POST", path, max_body=_LOGIN_BODY, step="logout")
    # 401: the token is unknown by now; 400: "session is not logged in" (server internal/api/session.go).
    gone = answer.status in (400, 401) and refusal_message(answer) is not None
    if not gone and answer.status not in (200, 204):
        raise unexpected(url, path, answer, step="logout")


def _login_failure(url: ServerUrl, path: str, answer: Answer, step: str) -> NekoError:
    message = refusal_message(answer)
    if message is None:
        return unexpected(url, path, answer, step=step)
    match answer.status:
        case 401:
            return LoginRefused(f"{url} refused the login: wrong password or user name.", hint="Check both.", step=step)
        case 403:
            return LoginRefused(
                f"{url} refused the login: {message!r}.",
                hint="An admin has locked logins in the room's settings.",
                step=step,
            )
        case 422:
            return LoginRefused(
                f"{url} refused the login: {message!r}.",
                hint="Close the member's other connection; after an abnormal end the server keeps it for 5 seconds.",
                step=step,
                retryable=True,
            )
        case 400:
            return LoginRefused(f"{url} could not read the login: {message!r}.", step=step)
        case _:
            return unexpected(url, path, answer, step=step)


def _cookies(answer: Answer) -> dict[str, str]:
    """All cookies of the answer: the session's name is configurable, and a balancer's keeps us at the same server.

    ``Secure`` is not looked at: the server sets it by default, and the caller chose the scheme.
    """
    cookies: dict[str, str] = {}
    for name, value in answer.headers:
        if name == "set-cookie":
            pair = value.partition(";")[0]
            key, separator, content = pair.partition("=")
            if separator and key.strip() and content.strip():
                cookies[key.strip()] = content.strip()
    return cookies


class _NoHeaders(logging.Filter):
    """Drops the debug record that holds the answer's headers, hence ``Set-Cookie``."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("receive_response_headers.complete")


_NO_HEADERS = _NoHeaders()


def _keep_secrets_out_of_logs() -> None:
    for name in ("httpcore2.http11", "httpcore2.http2"):
        logging.getLogger(name).addFilter(_NO_HEADERS)  # idempotent
