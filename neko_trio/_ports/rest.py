"""The REST port: calls with the session's credential, for as long as the session lives."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

import trio

from neko_trio.errors import LoginRefused, NekoError, ServerUnreachable

if TYPE_CHECKING:
    from neko_trio.signaling.answers import Answer

Refusals = Mapping[int, Callable[[str], NekoError]]
"""What a status means for one call: the error made of the server's own message."""
NO_REFUSALS: Refusals = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StreamedBody:
    """A request's body that is sent while it comes, in constant memory.

    ``size`` is in bytes, and then exactly so many must come; ``None`` is not known, and sent chunked (RFC 9112 §7.1).
    An async generator is closed when the call ends, however it ends; what it raises ends the call.
    """

    chunks: AsyncIterable[bytes]
    size: int | None = None


class Sink(Protocol):
    """Where a download goes. What it raises ends the download."""

    def begin(self, size: int | None) -> None:
        """The file is there; ``size`` in bytes, ``None`` when the server does not say. Before the first chunk."""
        ...

    async def write(self, chunk: bytes) -> None:
        """The next bytes, in order. No more are read meanwhile."""
        ...


class RequestOptions(TypedDict, total=False):
    """What a call may say besides method and path; each may be left out."""

    json: object
    """Sent as JSON; ``None``, as when it is left out, is no body."""
    content: bytes | StreamedBody | None
    """Sent as it is, or while it comes."""
    content_type: str
    """Of ``content``; that of JSON when it is left out."""
    step: str
    """Where an error happened, for :attr:`NekoError.step`; ``"rest"`` when it is left out."""


class RestCalls(Protocol):
    """Calls to one server with one credential: ``signaling.rest.Rest``, or a scripted one."""

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> Answer:
        """Any answer, whatever its status, with its whole body."""
        ...

    async def call(
        self, method: str, path: str, *, refusals: Refusals = NO_REFUSALS, **options: Unpack[RequestOptions]
    ) -> Any:
        """The decoded JSON of a successful answer, ``None`` for one without body."""
        ...

    async def download(
        self, path: str, sink: Sink, *, limit: int | None, step: str = "rest", refusals: Refusals = NO_REFUSALS
    ) -> None:
        """``GET``: the body of the answer goes to ``sink`` as it comes, at most ``limit`` bytes of it."""
        ...


class RestPort:
    """The session's REST calls. Trio thread only; any number at once.

    The session plugs in its server once it has a credential. A call that is under way when the session ends is
    cancelled, and raises what the session's end means; whether the server has done it is then not known.
    """

    def __init__(self) -> None:
        self._server: RestCalls | None = None
        self._failure: Callable[[], NekoError] | None = None
        self._scopes: set[trio.CancelScope] = set()
        self.returns = False
        """Whether a login that the server has forgotten is made anew: a refusal says only that this is not done yet."""

    def plug(self, server: RestCalls) -> None:
        """Call this one from now on."""
        self._server = server

    def unplug(self) -> None:
        """The login is gone: calls end with ``ServerUnreachable``, until there is a new one."""
        self._server = None
        self._cancel("the login has ended")

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every call, now and later, with a fresh ``failure()``. The first failure stays."""
        if self._failure is None:
            self._failure = failure
            self._cancel("the session has ended")

    def _cancel(self, reason: str) -> None:
        for scope in self._scopes:
            scope.cancel(reason=reason)

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> Answer:
        """Any answer, whatever its status, with its whole body. ``path`` begins with ``/api/`` and has no secrets.

        ``content`` goes out as it is, a :class:`StreamedBody` while it comes. Raises ``ServerUnreachable``,
        ``NotNeko``, and ``SessionLost`` or ``SessionClosed`` when the session ends first. No time limit but the
        caller's; cancelled, what the server did is not known.
        """
        with self._under_way() as server:
            return await server.request(method, path, **options)
        raise self._end()

    async def call(
        self, method: str, path: str, *, refusals: Refusals = NO_REFUSALS, **options: Unpack[RequestOptions]
    ) -> Any:
        """The decoded JSON of a successful answer, ``None`` for one without body; else raises what the status means.

        ``refusals`` says so for this call; otherwise 401 is ``LoginRefused``, 403 ``NotAllowed``, and any other refusal
        ``ProtocolViolation``, all with the server's message. Raises what :meth:`request` does, too.
        """
        with self._under_way() as server:
            return await server.call(method, path, refusals=refusals, **options)
        raise self._end()

    async def download(
        self, path: str, sink: Sink, *, limit: int | None, step: str = "rest", refusals: Refusals = NO_REFUSALS
    ) -> None:
        """``GET path``: the body of a successful answer goes to ``sink`` as it comes; one chunk is in memory at a time.

        More than ``limit`` bytes, announced or sent, are ``InvalidInput``; what has come by then has been written.
        Other answers raise what :meth:`call` raises for them. Cancelled, and when the sink raises, the connection is
        closed.
        """
        with self._under_way() as server:
            return await server.download(path, sink, limit=limit, step=step, refusals=refusals)
        raise self._end()

    @contextmanager
    def _under_way(self) -> Iterator[RestCalls]:
        """Its body is cancelled, and left by nothing, when the session ends meanwhile, or its login does."""
        if self._failure is not None or self._server is None:
            raise self._end()
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                yield self._server
            except LoginRefused as refused:
                if self.returns:
                    raise self._end() from refused
                raise
            finally:
                self._scopes.discard(scope)

    def _end(self) -> NekoError:
        if self._failure is not None:
            return self._failure()
        return ServerUnreachable(
            "The session has no login at the server now.", hint="It is made anew: try again.", step="rest"
        )
