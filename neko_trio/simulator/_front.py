"""The front door: TCP connections in, HTTP and WebSockets out, and how each of them ends.

Facts: `server/internal/websocket/manager.go`.  A refused WebSocket is accepted first, told why, and dropped without a
close frame; after a close frame the TCP connection is left to the client; what ends abnormally has a grace time.
"""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import cast

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_server_stream

from neko_trio.simulator._connections import FrozenStream, TcpConnection, read_to_end
from neko_trio.simulator._events import Dispatcher
from neko_trio.simulator._http import HttpError, ReplayStream, Request, Response, serve_http
from neko_trio.simulator._limits import Budget
from neko_trio.simulator._rest import Rest
from neko_trio.simulator._room import Room
from neko_trio.simulator._session import Session
from neko_trio.simulator._socket import ClientSocket

__all__ = ["Front"]

MAX_MESSAGE = 64 * 1024 * 1024
_GOOD_CLOSES = (1000, 1001)
_NO_WEBSOCKET = (1002, 1007, 1009)
_WENT_AWAY = (trio.BrokenResourceError, trio.ClosedResourceError)
_LINGER = 0.5
_KEPT = 64 * 1024
"""Bytes of a body that the journal keeps."""
_SECRET_CALLS = ("/api/login", "/api/profile", "/api/members", "/api/batch")


class Front:
    """Serves connections of one simulator."""

    def __init__(
        self,
        room: Room,
        rest: Rest,
        dispatcher: Dispatcher,
        *,
        ssl_context: ssl.SSLContext | None = None,
        origins: tuple[str, ...] | None = None,
    ) -> None:
        """`origins`: which web pages may open a WebSocket; `None`: all, as at the server."""
        self.room = room
        self.rest = rest
        self.dispatcher = dispatcher
        self.ssl_context = ssl_context
        self.origins = origins
        self._limits = room.limits
        self._bodies = Budget(room.limits.bodies)
        self._unsent = Budget(room.limits.unsent)
        self._clients: set[ClientSocket] = set()

    async def wait_told(self) -> None:
        """Wait until everything that was to be sent on WebSockets that are being ended has been sent."""
        for client in tuple(self._clients):
            await client.finished.wait()

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, to its end.  The handler of `trio.serve_tcp`: never raises for what a client does."""
        faults = self.room.faults
        if len(faults.connections) >= self._limits.connections:
            await trio.aclose_forcefully(stream)
            return
        connection = TcpConnection(stream, self.ssl_context, faults)
        faults.connections.add(connection)
        try:
            with connection.scope:
                await self._serve(connection)
        except* (*_WENT_AWAY, ConnectionClosed, HandshakeError):
            pass
        finally:
            faults.connections.discard(connection)
            await trio.aclose_forcefully(stream)

    async def _serve(self, connection: TcpConnection) -> None:
        faults = self.room.faults
        if faults.strike("mute"):
            await read_to_end(connection.stream)
            return
        if faults.strike("reset_connections"):
            await connection.stream.receive_some()
            connection.drop(reset=True)
            return

        async def before(request: Request) -> Response | None:
            path = request.path.removeprefix(self.rest.prefix)
            await faults.called(path, connection)
            if path != "/api/ws":
                return None
            forced = faults.answer_for(path)
            if forced is None and request.wants_websocket and not self._may_come_from(request.headers.get("origin")):
                return HttpError(HTTPStatus.FORBIDDEN, "origin not allowed").response()
            return forced

        async def upgrade(request: Request, replay: ReplayStream) -> None:
            await self._serve_websocket(connection, request, replay)

        upgrade_path = f"{self.rest.prefix}/api/ws"
        await serve_http(
            connection.stream,
            self._answer,
            upgrade,
            before=before,
            upgrade_path=upgrade_path,
            limits=self._limits,
            bodies=self._bodies,
            body_limit=self._body_limit,
            address=connection.address,
        )
        # Closing with bytes unread would reset the connection, and the answer with it.
        await connection.finish(_LINGER)

    def _may_come_from(self, origin: str | None) -> bool:
        """Programs name no origin; a page of another site cannot leave its own out (RFC 6454 §7.2)."""
        return self.origins is None or origin is None or origin in self.origins

    def _body_limit(self, request: Request) -> int:
        """Only somebody with a token is worth much memory."""
        try:
            self.rest.authenticate(request)
        except HttpError:
            return self._limits.unknown_body
        return self._limits.body

    async def _answer(self, request: Request) -> Response:
        journal = self.room.journal
        secret = request.path.removeprefix(self.rest.prefix).startswith(_SECRET_CALLS)
        journal.add("", "http", "received", f"{request.method} {request.path}", b"" if secret else request.body[:_KEPT])
        response = await self.rest.answer(request)
        journal.add("", "http", "sent", str(response.status), b"" if secret else response.body[:_KEPT])
        return response

    async def _serve_websocket(self, connection: TcpConnection, request: Request, replay: ReplayStream) -> None:
        connection.is_websocket = True
        async with _accepted(FrozenStream(replay, connection, self.room.faults)) as websocket:
            try:
                session = self._admit(request)
            except HttpError as refusal:
                refused = self._client(connection, websocket, "")
                refused.destroy(refusal.message)
                await refused.write()
                return
            await self._talk(connection, websocket, session)
        # As at the server: what is left of the TCP connection is for the client to close, though not for ever.
        with trio.move_on_after(self._limits.idle_seconds):
            await read_to_end(replay.inner)

    def _client(self, connection: TcpConnection, websocket: WebSocketConnection, who: str) -> ClientSocket:
        room = self.room
        connection.who = who
        connection.socket = ClientSocket(
            websocket,
            connection,
            connection.stream,
            who=who,
            journal=room.journal,
            faults=room.faults,
            unsent=self._unsent,
        )
        return connection.socket

    def _admit(self, request: Request) -> Session:
        """Raises `HttpError` with the message of the refusal."""
        room = self.room
        refusal = room.faults.strike("refuse_websocket")
        if refusal is not None:
            raise HttpError(403, cast("str", refusal))
        session = self.rest.authenticate(request)
        if not session.profile.can_connect:
            raise HttpError(403, "connection disabled")
        if session.is_connected and not room.settings.merciful_reconnect:
            raise HttpError(403, "already connected")
        return session

    async def _talk(self, connection: TcpConnection, websocket: WebSocketConnection, session: Session) -> None:
        room = self.room
        client = self._client(connection, websocket, session.id)
        self._clients.add(client)
        room.connect_socket(session, client)
        code = 1006
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.write)
                nursery.start_soon(client.beat, room.timings.heartbeat)
                try:
                    while True:
                        await self.dispatcher.receive(session, await websocket.get_message(), client)
                except ConnectionClosed as closed:
                    code = 1006 if closed.reason is None else closed.reason.code
                if code in _NO_WEBSOCKET and not client.closed_by_fault:
                    # wsproto says nothing to what is no WebSocket frame; Go's library names the error, and leaves TCP.
                    await client.say_closing(code)
                if client.closed_by_fault:
                    code = 1006
                    client.closing.set()
                    await client.finished.wait()
                nursery.cancel_scope.cancel()
        finally:
            connection.socket = None
            self._clients.discard(client)
            room.journal.add(session.id, "ws", "received", f"close {code}", "")
            room.disconnect_socket(session, client, delayed=code not in _GOOD_CLOSES)


@asynccontextmanager
async def _accepted(stream: trio.abc.Stream) -> AsyncGenerator[WebSocketConnection, None]:
    async with trio.open_nursery() as nursery:
        handshake = await wrap_server_stream(
            # No queue: a message is taken when the one before it has been handled, as at the server.
            nursery,
            stream,
            message_queue_size=0,
            max_message_size=MAX_MESSAGE,
            receive_buffer_size=65536,
        )
        websocket = await handshake.accept()
        try:
            yield websocket
        finally:
            nursery.cancel_scope.cancel()
