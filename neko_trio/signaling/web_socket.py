"""The WebSocket: the one module that imports trio_websocket.

What the library leaves open is closed here: the stream is ours (it would stay open after a 1006, which is how Neko ends
every refusal), a handshake that ends early is noticed, a send is never cut in the middle of a frame, the goodbye is
said on every way out, and nothing but the caller's own error or a typed one ever leaves.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from neko_trio._log_rate import bound_logs
from neko_trio.errors import InvalidInput, NekoError, NetworkError, NotNeko, ServerUnreachable
from neko_trio.signaling.answers import unexpected
from neko_trio.signaling.credential import Credential
from neko_trio.signaling.dial import connect_failure, open_stream
from neko_trio.signaling.upgrade import Refused, UpgradeStream
from neko_trio.signaling.url import ServerUrl

__all__ = ["MAX_MESSAGE_SIZE", "SocketEnded", "WebSocket", "open_web_socket"]

MAX_MESSAGE_SIZE = 32 * 2**20
"""Bytes (of text: characters) of one message; a larger one ends the socket with 1009. The server sends 20 MB."""

GOODBYE = 0.5
"""Seconds that the close handshake may take. The server answers in well under a millisecond."""

_PATH = "/api/ws"
_RECEIVE = 64 * 1024
_ABNORMAL = 1006


class SocketEnded(NetworkError):
    """The WebSocket ended: ``code`` and ``reason`` of RFC 6455 section 7.4; 1006 when no close frame came."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"The WebSocket ended with {code}{f' ({reason[:200]})' if reason else ''}.", step="websocket")
        self.code = code
        self.reason = reason


class _Outgoing:
    """Texts on their way to the writer."""

    __slots__ = ("done", "sent", "texts")

    def __init__(self, texts: tuple[str, ...]) -> None:
        self.texts = texts
        self.done = trio.Event()
        self.sent = False


class WebSocket:
    """An open WebSocket; made by :func:`open_web_socket`, whose block is its life."""

    def __init__(self, connection: WebSocketConnection, tasks: _Tasks, address: tuple[str, int]) -> None:
        self._connection = connection
        self._tasks = tasks
        self._closing = False
        self._to_writer, self._outgoing = trio.open_memory_channel[_Outgoing](0)
        self._written = trio.Event()
        self.remote_address: tuple[str, int] = address
        """The server's address and port, as connected."""

    async def receive(self) -> str | bytes:
        """The next message, a whole one. Raises :class:`SocketEnded` at the end, behind what had arrived.

        Cancelling is safe: no message is lost. Pings are answered only while messages are taken.
        """
        try:
            return await self._connection.get_message()
        except ConnectionClosed:
            raise self._ended() from None

    async def send(self, *texts: str) -> None:
        """Returns when ``texts`` are with the operating system, in order, nothing of other tasks between them.

        Raises :class:`SocketEnded`, or :class:`InvalidInput` for text that is no Unicode (lone surrogates). Cancelled
        before their turn, nothing is sent; cancelled later, all of them still are, so that the socket stays usable.
        """
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            raise InvalidInput("A message contains lone surrogates, which have no UTF-8 form.") from None
        item = _Outgoing(texts)
        try:
            await self._to_writer.send(item)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._ended() from None
        await item.done.wait()
        if not item.sent:
            raise self._ended()

    async def aclose(self, code: int = 1000) -> None:
        """Say goodbye and close. Idempotent.

        The close frame is sent and the server's own awaited, because closing while its messages are still under way
        would reset the connection, which the server takes for a loss and keeps the session for 5 s. The server never
        closes the TCP connection: that is done here. A server that does not answer costs ``GOODBYE`` seconds at most,
        and at most half of what the caller's scopes leave: a logout is still to come, and tells it as much. Cancelled,
        it closes at once.
        """
        now = trio.current_time()
        await self._say_goodbye(code, min(GOODBYE, (trio.current_effective_deadline() - now) / 2))

    async def say_goodbye(self) -> None:
        """Close with 1000 in at most ``GOODBYE`` seconds, whoever is cancelled, unless that was done before."""
        with trio.CancelScope(shield=True):  # bounded inside
            await self._say_goodbye(1000, GOODBYE)

    async def _say_goodbye(self, code: int, seconds: float) -> None:
        if self._closing:
            await trio.lowlevel.checkpoint()
            return
        self._closing = True
        try:
            with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
                self._tasks.when_ended(scope.cancel)
                # What a sender handed over goes first, also when that sender was cancelled since.
                self._to_writer.close()
                await self._written.wait()
                await self._connection.aclose(code)
        finally:
            self._tasks.close()

    async def write(self) -> None:
        """The writer's task: the only one that sends messages."""
        with self._outgoing:
            async for item in self._outgoing:
                try:
                    for text in item.texts:
                        await self._connection.send_message(text)
                    item.sent = True
                except ConnectionClosed:
                    continue  # item.sent says so
                finally:
                    item.done.set()
        self._written.set()

    def _ended(self) -> SocketEnded:
        reason = self._connection.closed
        ended = SocketEnded(_ABNORMAL, "") if reason is None else SocketEnded(reason.code, reason.reason or "")
        ended.__cause__ = self._tasks.failure
        return ended


class _Tasks:
    """The socket's two tasks, the library's reader and our writer.

    They are shielded, so that the caller's cancellation does not reach them before the goodbye is said, and they raise
    nothing: what the reader died of is kept in ``failure``. When the reader ends, so does the stream,
    and with it whatever the writer waits for.
    """

    def __init__(self, nursery: trio.Nursery, stream: UpgradeStream) -> None:
        self.failure: Exception | None = None
        self._nursery = nursery
        self._stream = stream
        self._scope = trio.CancelScope(shield=True)
        self._writer_scope = trio.CancelScope(shield=True)
        self._ended = False
        self._on_end: list[Callable[[], None]] = []

    def when_ended(self, call: Callable[[], None]) -> None:
        """Call ``call`` once when the reader ends, or now when it has."""
        if self._ended:
            call()
        else:
            self._on_end.append(call)

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        """What the library sees of a nursery: it starts its reader with this, and nothing else."""
        self._nursery.start_soon(self._read, reader)

    def start_writer(self, writer: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._write, writer)

    # Protected, so that Ctrl-C is raised in the caller's task and not in these, from where it would come as a group.
    @trio.lowlevel.enable_ki_protection
    async def _read(self, reader: Callable[[], Awaitable[None]]) -> None:
        try:
            with self._scope:
                await reader()
        except Exception as error:  # noqa: BLE001  whatever the library dies of is why the socket ended
            self.failure = error
        finally:
            self._ended = True
            for call in self._on_end:
                call()
            self._stream.close()

    @trio.lowlevel.enable_ki_protection
    async def _write(self, writer: Callable[[], Awaitable[None]]) -> None:
        with self._writer_scope:
            await writer()

    def close(self) -> None:
        """End both tasks and the stream, now."""
        self._scope.cancel()
        self._writer_scope.cancel()
        self._stream.close()


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_web_socket(
    url: ServerUrl,
    credential: Credential | None,
    *,
    ssl_context: ssl.SSLContext | None = None,
    max_message_size: int = MAX_MESSAGE_SIZE,
    addresses: Sequence[str] | None = None,
    tcp_limit: float = math.inf,
) -> AsyncIterator[WebSocket]:
    """Dial ``url``, upgrade ``/api/ws``, yield the open socket; leave with a goodbye (close code 1000).

    ``addresses`` are dialled instead of resolving the host; ``tcp_limit`` is in seconds. Leaving by an exception or by
    cancellation says goodbye too, in a shield of at most ``GOODBYE`` seconds; the exception that leaves is the body's,
    bare. Raises :class:`ServerUnreachable` and :class:`NotNeko`. There is no other time limit but the caller's scopes.
    A wrong credential is no error here: the server accepts the upgrade and then says ``system/disconnect``.
    """
    bound_logs()
    connection, address = await open_stream(url, ssl_context=ssl_context, addresses=addresses, tcp_limit=tcp_limit)
    stream = UpgradeStream(connection)
    error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            tasks = _Tasks(nursery, stream)
            try:
                socket = await _upgrade(url, credential, stream, tasks, address, max_message_size)
                tasks.start_writer(socket.write)
                try:
                    yield socket
                finally:
                    await socket.say_goodbye()  # noqa: ASYNC102 - shielded and bounded inside
            except BaseException as caught:  # cancelled, too: raised again below, outside of the nursery
                error = caught  # the very one: the nursery makes copies of groups
                raise
            finally:
                tasks.close()
    except BaseExceptionGroup as group:  # raised again below, without the nursery's wrapping
        # The tasks raise nothing: this is the body's error, and perhaps a Ctrl-C that came while the nursery closed.
        if error is None or len(group.exceptions) > 1:
            error = group.exceptions[-1]
    if error is not None:
        # Out here, so that the nursery's group does not become its context.
        try:
            raise error
        finally:
            del error  # the traceback holds this frame


async def _upgrade(
    url: ServerUrl,
    credential: Credential | None,
    stream: UpgradeStream,
    tasks: _Tasks,
    address: tuple[str, int],
    max_message_size: int,
) -> WebSocket:
    headers = [] if credential is None else credential.headers()
    opened: WebSocketConnection | None = None
    with trio.CancelScope() as scope:
        # The library waits for the answer even when its reader has ended.
        tasks.when_ended(scope.cancel)
        opened = await wrap_client_stream(
            cast("trio.Nursery", tasks),
            cast("trio.SocketStream", stream),
            url.authority,
            url.path(_PATH),
            extra_headers=[(name.encode("ascii"), value.encode("ascii")) for name, value in headers],
            max_message_size=max_message_size,
            receive_buffer_size=_RECEIVE,
        )
    if opened is None:
        if url.secure and isinstance(getattr(stream.failure, "__cause__", None), ssl.SSLError):
            raise connect_failure(url, cast("trio.BrokenResourceError", stream.failure), step="websocket") from None
        raise _upgrade_failure(url, stream.head, tasks.failure)
    return WebSocket(opened, tasks, address)


def _upgrade_failure(url: ServerUrl, head: bytes, failure: Exception | None) -> NekoError:
    step = "websocket"
    where = f"{url}{_PATH}"
    if isinstance(failure, Refused):
        return unexpected(url, _PATH, failure.answer, step=step)
    if not head and failure is None:
        return ServerUnreachable(
            f"{where}: the connection was closed before the answer to the upgrade was complete.",
            hint=f"Does the server want {'a client certificate (ssl_context=)' if url.secure else 'https'}?",
            step=step,
        )
    if head.startswith(b"\x15\x03"):  # a TLS alert record, RFC 8446 section 5.1
        return NotNeko(f"{url} speaks TLS.", hint="Write https:// instead of http://.", step=step)
    if b"HTTP/1.".startswith(head[:7]) and failure is None:
        return ServerUnreachable(
            f"{where}: the connection was closed before the answer to the upgrade was complete.", step=step
        )
    return NotNeko(
        f"{where} answered the upgrade with something that is no WebSocket.",
        hint="Check host, port and path of the URL, and any proxy between.",
        step=step,
    )
