"""Scripted TCP servers on port 0: each test says byte by byte what the other side does."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, Request, TextMessage

from neko_trio.signaling.url import ServerUrl

AnyStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
Handler = Callable[[AnyStream], Awaitable[None]]
Serve = Callable[..., AbstractAsyncContextManager["Served"]]


@dataclass
class Served:
    """A running scripted server. ``finished`` counts handlers that returned."""

    url: ServerUrl
    accepted: int = 0
    finished: int = 0


@asynccontextmanager
async def _serve(handler: Handler, *, tls: ssl.SSLContext | None = None, wait: bool = True) -> AsyncIterator[Served]:
    """With ``wait``, leaving waits until the client has left every handler: what they recorded is complete then."""
    served = Served(ServerUrl("http" if tls is None else "https", "127.0.0.1", 0))
    idle = trio.Event()

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal idle
        served.accepted += 1
        both: AnyStream = stream
        if tls is not None:
            both = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        try:
            await handler(both)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went away, which is what some tests are about
        finally:
            served.finished += 1
            idle.set()
            idle = trio.Event()
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        served.url = replace(served.url, port=listener.socket.getsockname()[1])
        yield served
        if wait:
            with trio.fail_after(5):
                while served.finished < served.accepted:
                    await idle.wait()
        nursery.cancel_scope.cancel()


@pytest.fixture
def serve() -> Serve:
    """``async with serve(handler, tls=None, wait=True) as served``."""
    return _serve


class ServerSide:
    """The server's end of a WebSocket, by wsproto, without any of the manners of a library."""

    def __init__(self, stream: AnyStream) -> None:
        self.stream = stream
        self.protocol = WSConnection(ConnectionType.SERVER)
        self.request: Request | None = None
        self.texts: list[str] = []

    async def accept(self) -> Request:
        request = await self.event()
        if request is None:
            raise trio.BrokenResourceError("the client left before its request")
        assert isinstance(request, Request)
        self.request = request
        await self.send(AcceptConnection())
        return request

    async def send(self, *events: Event) -> None:
        await self.stream.send_all(b"".join(self.protocol.send(event) for event in events))

    async def event(self) -> Event | None:
        """The client's next event, ``None`` when TCP ended."""
        while True:
            for event in self.protocol.events():
                return event
            data = await self.stream.receive_some()
            if not data:
                return None
            self.protocol.receive_data(bytes(data))

    async def close_code(self) -> int | None:
        """Answer the client's close frame as Neko does, without closing TCP; ``None`` when there was none."""
        while (event := await self.event()) is not None:
            if isinstance(event, CloseConnection):
                await self.send(event.response())
                await self.wait_tcp_end()
                return int(event.code)
            if isinstance(event, Ping):
                await self.send(event.response())
            if isinstance(event, TextMessage):
                self.texts.append(event.data)
        return None

    async def wait_tcp_end(self) -> None:
        while await self.stream.receive_some():
            pass


@pytest.fixture
def server_side() -> type[ServerSide]:
    return ServerSide


async def _ended(stream: AnyStream) -> bool:
    """Whether the client has closed, next. A reset is an end too: it comes when the client had not read everything."""
    try:
        return not await stream.receive_some()
    except trio.BrokenResourceError:
        return True


@pytest.fixture
def ended() -> Callable[[AnyStream], Awaitable[bool]]:
    return _ended


async def _read_request(stream: AnyStream) -> bytes:
    """A whole HTTP request: head, and the body that its Content-Length announces."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += await stream.receive_some()
    return head + b"\r\n\r\n" + body


@pytest.fixture
def read_request() -> Callable[[AnyStream], Awaitable[bytes]]:
    return _read_request


@pytest.fixture
def always() -> Callable[[bytes], Handler]:
    """A handler that reads one request, answers it with these bytes and hangs up."""

    def make(data: bytes) -> Handler:
        async def handler(stream: AnyStream) -> None:
            await _read_request(stream)
            await stream.send_all(data)

        return handler

    return make


def http_answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
def answer() -> Callable[..., bytes]:
    """``answer("200 OK", body, "Header: value", …)`` as bytes."""
    return http_answer


@dataclass
class Certificates:
    server: ssl.SSLContext
    trusting: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A self-signed certificate for 127.0.0.1, and a client context that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "neko-trio test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path: Path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(secret + pem)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path)
    return Certificates(server, ssl.create_default_context(cadata=pem.decode()))
