"""What the tests of the simulator's front share: a media server without media, and a plain client."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import pytest
import trio

from neko_trio.signaling.credential import Credential
from neko_trio.signaling.url import parse_server_url
from neko_trio.signaling.web_socket import SocketEnded, WebSocket, open_web_socket
from neko_trio.simulator import Simulator, open_simulator
from neko_trio.simulator._faults_media import PacketFault
from neko_trio.simulator._media_api import LocalCandidate, PeerCallbacks, ServerPeerStatistics
from neko_trio.simulator._server import MediaOptions


class FakePeer:
    """A peer connection without a connection; tests play the client's side by calling `callbacks`."""

    def __init__(self, number: int, callbacks: PeerCallbacks, video_disabled: bool, stream: str, audio: bool) -> None:
        self.number = number
        self.callbacks = callbacks
        self.video: tuple[bool | None, str | None] = (video_disabled, stream)
        self.audio_disabled = audio
        self.answers: list[str] = []
        self.candidates: list[str] = []
        self.sent: list[bytes] = []
        self.paused = False
        self.silent = False
        self.path: tuple[PacketFault, ...] = ()
        self.closed = trio.Event()

    async def answer(self, sdp: str) -> None:
        await trio.lowlevel.checkpoint()
        if not sdp.startswith("v=0"):
            raise ValueError("no SDP")
        self.answers.append(sdp)

    async def create_offer(self, *, ice_restart: bool = False) -> str:
        await trio.lowlevel.checkpoint()
        return f"v=0\r\ns=offer {self.number} {ice_restart}\r\n"

    async def client_offer(self, sdp: str) -> str:
        await trio.lowlevel.checkpoint()
        return "v=0\r\ns=answer\r\n"

    async def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline_index: int | None) -> None:
        await trio.lowlevel.checkpoint()
        if "typ" not in candidate:
            raise ValueError("no candidate")
        self.candidates.append(candidate)

    async def set_video(self, *, disabled: bool | None = None, stream: str | None = None) -> None:
        await trio.lowlevel.checkpoint()
        self.video = (disabled, stream)

    async def set_audio(self, *, disabled: bool) -> None:
        await trio.lowlevel.checkpoint()
        self.audio_disabled = disabled

    def set_paused(self, paused: bool) -> None:
        self.paused = paused

    def set_silent(self, silent: bool) -> None:
        self.silent = silent

    def set_path(self, faults: tuple[PacketFault, ...]) -> None:
        self.path = faults

    def send_data(self, message: bytes) -> None:
        self.sent.append(message)

    def statistics(self) -> ServerPeerStatistics:
        return ServerPeerStatistics()

    async def aclose(self) -> None:
        self.closed.set()
        await trio.lowlevel.checkpoint()


class FakeMedia:
    """The media server; `peers` in the order in which they were asked for."""

    def __init__(self, options: MediaOptions) -> None:
        self.options = options
        self.peers: list[FakePeer] = []
        self.sizes: list[tuple[tuple[int, int], int]] = []

    @property
    def streams(self) -> Sequence[str]:
        return self.options.streams

    async def new_peer(
        self, callbacks: PeerCallbacks, *, video_disabled: bool, stream: str, audio_disabled: bool
    ) -> FakePeer:
        peer = FakePeer(len(self.peers), callbacks, video_disabled, stream, audio_disabled)
        self.peers.append(peer)
        callbacks.on_candidate(LocalCandidate("candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host", "0", 0))
        await trio.lowlevel.checkpoint()
        callbacks.on_offer(f"v=0\r\ns=provided {peer.number}\r\n")
        callbacks.on_candidate(LocalCandidate("", "0", 0))
        return peer

    async def resize(self, size: tuple[int, int], rate: int) -> None:
        await trio.lowlevel.checkpoint()
        self.sizes.append((size, rate))


class Client:
    """A WebSocket client that reads one message at a time and knows no rules."""

    def __init__(self, session_id: str, socket: WebSocket) -> None:
        self.id = session_id
        self.socket = socket
        self._barriers = 0

    async def send(self, event: str, *payload: object) -> None:
        await self.socket.send(json.dumps({"event": event, **({"payload": payload[0]} if payload else {})}))

    async def receive(self) -> tuple[str, Any]:
        message = json.loads(await self.socket.receive())
        return message["event"], message.get("payload")

    async def wait_for(self, event: str) -> Any:
        """The payload of the next message of this event; what comes before is dropped."""
        while True:
            name, payload = await self.receive()
            if name == event:
                return payload

    async def settle(self) -> list[tuple[str, Any]]:
        """Everything that came until all that was sent has been handled."""
        self._barriers += 1
        await self.send("send/unicast", {"receiver": self.id, "subject": "barrier", "body": self._barriers})
        heard: list[tuple[str, Any]] = []
        while True:
            name, payload = await self.receive()
            if name == "send/unicast" and payload["subject"] == "barrier" and payload["body"] == self._barriers:
                return heard
            heard.append((name, payload))

    async def wait_ended(self) -> tuple[list[tuple[str, Any]], int]:
        """What still came, and the code with which the socket ended."""
        heard: list[tuple[str, Any]] = []
        try:
            while True:
                heard.append(await self.receive())
        except SocketEnded as ended:
            return heard, ended.code


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class House:
    """A simulator with fake media, and ways to reach it."""

    simulator: Simulator
    media: FakeMedia

    @property
    def port(self) -> int:
        return parse_server_url(self.simulator.url).port

    async def call(
        self, method: str, path: str, body: object = None, *, token: str | None = None, headers: str = ""
    ) -> Answer:
        """One REST call on a connection of its own."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        authorization = "" if token is None else f"Authorization: Bearer {token}\r\n"
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{authorization}{headers}"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        return parse_answer(await self.raw(head.encode() + content))

    async def raw(self, sent: bytes) -> bytes:
        """Bytes in, all bytes out until the server closes."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            await stream.send_all(sent)
            received = b""
            async for data in stream:
                received += data
            return received

    async def login(self, name: str = "alice", *, admin: bool = False) -> tuple[str, str]:
        """(session id, token)."""
        password = self.simulator.admin_password if admin else self.simulator.password
        answer = await self.call("POST", "/api/login", {"username": name, "password": password})
        assert answer.status == 200, answer.body
        return answer.json()["id"], answer.json()["token"]

    @asynccontextmanager
    async def socket(self, session_id: str, token: str) -> AsyncGenerator[Client, None]:
        """A WebSocket, right after the upgrade."""
        url = parse_server_url(self.simulator.url)
        async with open_web_socket(url, Credential.bearer(token)) as socket:
            yield Client(session_id, socket)

    @asynccontextmanager
    async def client(self, name: str = "alice", *, admin: bool = False) -> AsyncGenerator[Client, None]:
        """Logged in, connected, and past the greetings."""
        async with self.socket(*await self.login(name, admin=admin)) as client:
            await client.settle()
            yield client


def parse_answer(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(status.split()[1]), headers, body)


class OpenHouse(Protocol):
    def __call__(self, **options: Any) -> AbstractAsyncContextManager[House]: ...


@asynccontextmanager
async def _open_house(**options: Any) -> AsyncIterator[House]:
    made: list[FakeMedia] = []

    @asynccontextmanager
    async def media(media_options: MediaOptions) -> AsyncIterator[FakeMedia]:
        made.append(FakeMedia(media_options))
        yield made[0]

    with trio.fail_after(20):
        async with open_simulator(media=media, **options) as simulator:
            yield House(simulator, made[0])


@pytest.fixture
def open_house() -> OpenHouse:
    """`async with open_house(settings=…) as house`: a simulator with fake media on a free port."""
    return _open_house


@pytest.fixture
async def house(open_house: OpenHouse) -> AsyncIterator[House]:
    async with open_house() as opened:
        yield opened


@pytest.fixture
def answer_of() -> Callable[[bytes], Answer]:
    return partial(parse_answer)
