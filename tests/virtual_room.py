"""The embedded server without its sockets: the same room, REST calls and desk, in virtual time.

A session's requests go to the simulator's own dispatcher and routes, its input to the simulated X server; peer
connections are :class:`FakePeer`. The server handles what it was sent in tasks of its own: cancelling a client's call
does not stop it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Unpack, cast
from urllib.parse import parse_qsl, unquote

import msgspec
import trio

from neko_trio import Reconnect, Session
from neko_trio._checks import checked_options
from neko_trio._link import Socket
from neko_trio._ports.rest import RequestOptions
from neko_trio._session import run_session
from neko_trio._wiring import Wiring
from neko_trio.protocol import data_channel
from neko_trio.signaling.answers import Answer
from neko_trio.signaling.credential import Credential
from neko_trio.signaling.url import parse_server_url
from neko_trio.signaling.web_socket import SocketEnded
from neko_trio.simulator import Simulator, open_simulator
from neko_trio.simulator._http import Request
from neko_trio.simulator._media_api import LocalCandidate, PeerCallbacks
from neko_trio.simulator._session import NO_PAYLOAD
from neko_trio.simulator._session import Session as RoomSession
from neko_trio.simulator._socket import envelope
from neko_trio.testing import FakeMedia
from neko_trio.testing._fake_peer import FakePeer
from neko_trio.testing._scripted import CANDIDATE, OFFER
from neko_trio.testing._scripted_rest import BufferedCalls, whole

URL = parse_server_url("http://virtual.invalid")


class ServerPeer:
    """The server's end of a peer connection: ``MediaPeer`` of nothing."""

    def __init__(self, callbacks: PeerCallbacks) -> None:
        self.callbacks = callbacks
        self.client: FakePeer | None = None

    async def answer(self, sdp: str) -> None:
        self.callbacks.on_connected()
        self.callbacks.on_data_channel_open()

    def send_data(self, message: bytes) -> None:
        if self.client is not None and not self.client.closed:
            self.client.setup.on_data(message)

    def set_paused(self, paused: bool) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., Awaitable[str]]:
        async def done(*_args: object, **_options: object) -> str:
            return OFFER

        return done


class ServerMedia:
    """``MediaServer`` of nothing: each peer offers at once."""

    def __init__(self, streams: Sequence[str]) -> None:
        self.streams = streams
        self.peers: list[ServerPeer] = []

    async def new_peer(self, callbacks: PeerCallbacks, **_options: object) -> ServerPeer:
        peer = ServerPeer(callbacks)
        self.peers.append(peer)
        callbacks.on_candidate(LocalCandidate(CANDIDATE, "0", 0))
        callbacks.on_offer(OFFER)
        return peer

    async def resize(self, _size: tuple[int, int], _rate: int) -> None:
        await trio.lowlevel.checkpoint()


class LinkedMedia(FakeMedia):
    """Fake peers whose input goes to the simulated desk."""

    def __init__(self, media: ServerMedia) -> None:
        super().__init__()
        self._server = media

    @asynccontextmanager
    async def open_peer_connection(self, setup: Any) -> AsyncIterator[FakePeer]:
        async with super().open_peer_connection(setup) as peer:
            server = self._server.peers[-1]
            server.client = peer
            self.on_input = lambda message: server.callbacks.on_data(data_channel.encode(message))
            try:
                yield peer
            finally:
                server.callbacks.on_closed("the client closed it")


class MemorySocket:
    """Both ends of a WebSocket without bytes."""

    remote_address = ("192.0.2.1", 8080)

    def __init__(self, server: VirtualRoom, session: RoomSession) -> None:
        self._server, self._session = server, session
        self._out: deque[str] = deque()
        self._in: deque[str] = deque()
        self._news, self._asked = trio.Event(), trio.Event()
        self._ended: int | None = None
        self._serving = self._leaves = False

    # -- the room's side

    def send(self, event: str, payload: object = NO_PAYLOAD) -> None:
        if self._ended is None:
            text = envelope(event, payload)
            self._server.simulator.journal.add(self._session.id, "ws", "sent", event, text)
            self._out.append(text)
            self._news.set()

    def destroy(self, reason: str) -> None:
        self.send("system/disconnect", {"message": reason})
        self._end(1006)

    async def serve(self) -> None:
        """Handle one message after the other; those before a close, too, but none behind a cut."""
        self._serving = True
        while self._in or self._ended is None:
            if self._in:
                await self._server.simulator._rest.dispatcher.receive(self._session, self._in.popleft())
            else:
                self._asked, self._serving = trio.Event(), False
                await self._asked.wait()
                self._serving = True
        self._serving = False
        if self._leaves:
            self._server.simulator._room.disconnect_socket(self._session, self, delayed=False)

    def _end(self, code: int) -> None:
        self._ended = code
        if code == 1006:
            self._in.clear()  # what had not been read is lost with the connection
        self._news.set()
        self._asked.set()

    # -- the client's side

    async def receive(self) -> str:
        await trio.lowlevel.checkpoint()
        while not self._out:
            if self._ended is not None:
                raise SocketEnded(self._ended, "")
            self._news = trio.Event()
            await self._news.wait()
        return self._out.popleft()

    async def send_texts(self, *texts: str) -> None:
        await trio.lowlevel.checkpoint()
        if self._ended is not None:
            raise SocketEnded(self._ended, "")
        self._in.extend(texts)
        self._asked.set()

    async def aclose(self, code: int = 1000) -> None:
        if self._ended is None:
            self._end(code)
            if self._in or self._serving:
                self._leaves = True  # the close stands behind what was sent before
            else:
                self._server.simulator._room.disconnect_socket(self._session, self, delayed=False)
        await trio.lowlevel.checkpoint()

    def cut(self) -> None:
        """The connection is lost, which the server notices at once."""
        if self._ended is None:
            self._end(1006)
            self._server.simulator._room.disconnect_socket(self._session, self, delayed=True)


class ClientSocket:
    """The client's end of it."""

    def __init__(self, socket: MemorySocket) -> None:
        self.remote_address = socket.remote_address
        self.receive, self.send, self.aclose = socket.receive, socket.send_texts, socket.aclose


class MemoryRest(BufferedCalls):
    """The simulator's REST calls without HTTP."""

    chunk = 16

    def __init__(self, server: VirtualRoom, credential: Credential) -> None:
        super().__init__(URL)
        self._server = server
        self._headers = {name.lower(): value for name, value in credential.headers()}

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> Answer:
        content, json = options.get("content"), options.get("json")
        if content is None:
            content = b"" if json is None else msgspec.json.encode(json)
        bare, _, query = path.partition("?")
        headers = self._headers | {"content-type": options.get("content_type", "application/json")}
        fields = dict(parse_qsl(query, keep_blank_values=True))
        return await self._server.handled(Request(method, unquote(bare), fields, headers, await whole(content)))


class VirtualRoom:
    """A running server of this kind. Made by :func:`open_virtual_room`."""

    def __init__(self, simulator: Simulator, media: ServerMedia, nursery: trio.Nursery) -> None:
        self.simulator = simulator
        self._media = media
        self._nursery = nursery
        self._handling: set[trio.Event] = set()
        self.sockets: dict[str, MemorySocket] = {}
        """The newest WebSocket of each session, by its id."""

    async def idle(self) -> None:
        """Wait until the server is through with every call that it has had."""
        for handling in tuple(self._handling):
            await handling.wait()

    @property
    def client(self) -> FakePeer:
        """The newest session's peer."""
        peer = self._media.peers[-1].client
        assert peer is not None
        return peer

    async def handled(self, request: Request) -> Answer:
        """The server's answer to a call, which it finishes whatever becomes of its caller."""
        done = trio.Event()
        answers: list[Answer] = []
        self.simulator.journal.add("", "http", "received", f"{request.method} {request.path}", request.body)

        async def handle() -> None:
            self._handling.add(done)
            response = await self.simulator._rest.answer(request)
            types = () if response.content_type is None else (("content-type", response.content_type),)
            answers.append(Answer(int(response.status), types + response.headers, response.body))
            self._handling.discard(done)
            done.set()

        self._nursery.start_soon(handle)
        await done.wait()
        return answers[0]

    @asynccontextmanager
    async def open_session(
        self,
        name: str,
        *,
        admin: bool = False,
        video: str = "live",
        audio: bool = False,
        reconnect: Reconnect | bool | None = None,
    ) -> AsyncIterator[Session]:
        """A session with it, logged in under that name."""
        simulator = self.simulator
        password = simulator.admin_password if admin else simulator.password

        async def login() -> Credential:
            body = msgspec.json.encode({"username": name, "password": password})
            with trio.CancelScope(shield=True):  # its answer is at hand
                answer = await self.handled(Request("POST", "/api/login", {}, {}, body))
            return Credential.bearer(msgspec.json.decode(answer.body)["token"])

        async def logout(credential: Credential) -> None:
            await MemoryRest(self, credential).request("POST", "/api/logout")

        @asynccontextmanager
        async def open_rest(credential: Credential) -> AsyncGenerator[MemoryRest, None]:
            yield MemoryRest(self, credential)

        options = checked_options(
            password="virtual",
            token=None,
            video=video,
            audio=audio,
            stream=None,
            ice=None,
            reconnect=reconnect,
            connect_timeout=9,
            close_timeout=2,
        )
        wiring = Wiring(
            login=login,
            credential=None,
            logout=logout,
            open_rest=open_rest,
            dial=self._dial,
            media=LinkedMedia(self._media),
            clock=trio.current_time,
        )
        async with run_session(wiring, options) as session:
            yield session

    @asynccontextmanager
    async def _dial(self, credential: Credential, _tcp_limit: float) -> AsyncIterator[Socket]:
        await trio.lowlevel.checkpoint()
        ((_name, value),) = credential.headers()
        session = self.simulator._room.by_token(value.removeprefix("Bearer "))
        assert session is not None
        self.sockets[session.id] = socket = MemorySocket(self, session)
        self._nursery.start_soon(socket.serve)
        self.simulator._room.connect_socket(session, socket)
        try:
            yield ClientSocket(socket)
        finally:
            with trio.CancelScope(shield=True):  # one checkpoint, no wait
                await socket.aclose()


@asynccontextmanager
async def open_virtual_room(*, streams: tuple[str, ...] = ("main",), **options: Any) -> AsyncIterator[VirtualRoom]:
    """Open one; ``options`` are those of ``open_simulator``."""
    media = ServerMedia(streams)

    @asynccontextmanager
    async def open_media(_options: object) -> AsyncGenerator[ServerMedia, None]:
        yield media

    opened = open_simulator(media=cast(Any, open_media), streams=streams, **options)
    async with opened as simulator, trio.open_nursery() as nursery:
        yield VirtualRoom(simulator, media, nursery)
        nursery.cancel_scope.cancel()
