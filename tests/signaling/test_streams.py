"""Bodies that are sent and received while they come: in constant memory, the connection closed after half of one."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio

from neko_trio._ports.rest import StreamedBody
from neko_trio.errors import InvalidInput, NekoError, NotAllowed, NotNeko, ProtocolViolation, ServerUnreachable
from neko_trio.signaling.rest import open_rest

if TYPE_CHECKING:
    from tests.signaling.conftest import AnyStream, Handler, Serve

Reader = Callable[["AnyStream"], Awaitable[bytes]]
Compose = Callable[..., bytes]
Ended = Callable[["AnyStream"], Awaitable[bool]]

MANY = 200
PIECE = bytes(range(256)) * 256
"""64 KiB; ``MANY`` of them are more than all socket buffers hold."""


class Bytes:
    """A sink that keeps what comes, and may have enough."""

    def __init__(self, *, enough: int | None = None) -> None:
        self.size: object = "not begun"
        self.data = bytearray()
        self._enough = enough

    def begin(self, size: int | None) -> None:
        self.size = size

    async def write(self, chunk: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._enough is not None and len(self.data) >= self._enough:
            raise RuntimeError("enough")
        self.data += chunk


class Source:
    """An async generator of pieces that says how far it got, and whether it was closed."""

    def __init__(self, count: int = MANY, *, fail_after: int | None = None) -> None:
        self.given = 0
        self.closed = False
        self._count, self._fail_after = count, fail_after

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for _ in range(self._count):
                if self.given == self._fail_after:
                    raise RuntimeError("the disk broke")
                self.given += 1
                yield PIECE
        finally:
            self.closed = True


async def read_all(stream: AnyStream, until: bytes) -> bytes:
    data = b""
    while not data.endswith(until):
        data += await stream.receive_some()
    return data


@pytest.mark.parametrize("size", [3 * len(PIECE), None], ids=["length known", "chunked"])
async def test_a_body_goes_out_as_it_comes(
    serve: Serve, read_request: Reader, answer: Compose, size: int | None
) -> None:
    requests = []

    async def handler(stream: AnyStream) -> None:
        requests.append(await (read_request(stream) if size is not None else read_all(stream, b"\r\n0\r\n\r\n")))
        await stream.send_all(answer("200 OK"))

    source = Source(3)
    async with serve(handler) as served, open_rest(served.url, None) as rest:
        body = StreamedBody(source.chunks(), size)
        assert await rest.call("POST", "/api/x", content=body, content_type="a/b") is None
    assert source.closed
    head, _, sent = requests[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"content-type: a/b" in lines
    assert (f"content-length: {size}".encode() in lines) is (size is not None)
    assert (b"transfer-encoding: chunked" in lines) is (size is None)
    if size is not None:
        assert sent == PIECE * 3


async def test_a_source_that_fails_ends_the_call_with_its_error_and_the_connection(serve: Serve) -> None:
    got = bytearray()

    async def handler(stream: AnyStream) -> None:
        while data := await stream.receive_some():
            got.extend(data)

    source = Source(5, fail_after=2)
    async with serve(handler) as served, open_rest(served.url, None) as rest:
        with pytest.raises(RuntimeError, match="the disk broke"):
            await rest.call("POST", "/api/x", content=StreamedBody(source.chunks(), 5 * len(PIECE)))
    assert source.closed
    assert got.endswith(PIECE[-9:])  # half of it came: the server saw the end of the connection, not of the body


async def test_a_cancelled_upload_closes_the_connection_and_the_source(serve: Serve) -> None:
    ends: list[bool] = []
    full = trio.Event()

    async def handler(stream: AnyStream) -> None:
        await full.wait()
        try:
            while await stream.receive_some(2**20):
                pass
        finally:
            ends.append(True)

    source = Source()
    async with serve(handler) as served, open_rest(served.url, None) as rest:
        with trio.move_on_after(0.3) as scope:  # by then every buffer is full
            await rest.call("POST", "/api/x", content=StreamedBody(source.chunks(), MANY * len(PIECE)))
        full.set()
    assert scope.cancelled_caught
    assert ends == [True]
    assert source.closed
    assert 0 < source.given < MANY  # the network's pace, not the memory's


async def test_an_upload_that_is_refused_halfway_says_why(serve: Serve, answer: Compose) -> None:
    refusal = answer("403 Forbidden", b'{"code": 403, "message": "not you"}', "Connection: close")

    async def handler(stream: AnyStream) -> None:
        await stream.receive_some()
        await stream.send_all(refusal)
        with trio.move_on_after(2):
            while await stream.receive_some(2**20):
                pass

    async with serve(handler) as served, open_rest(served.url, None) as rest:
        with pytest.raises(NotAllowed, match="not you"):
            await rest.call("POST", "/api/x", content=StreamedBody(Source(3).chunks(), 3 * len(PIECE)))


@pytest.mark.parametrize("limit", [None, 5, 6])
async def test_a_download_goes_to_the_sink(
    serve: Serve, always: Callable[[bytes], Handler], answer: Compose, limit: int | None
) -> None:
    sink = Bytes()
    async with serve(always(answer("200 OK", b"hello"))) as served, open_rest(served.url, None) as rest:
        await rest.download("/api/x", sink, limit=limit)
    assert (sink.size, bytes(sink.data)) == (5, b"hello")


async def test_a_download_of_unknown_length_goes_to_the_sink(serve: Serve, always: Callable[[bytes], Handler]) -> None:
    sink = Bytes()
    async with serve(always(b"HTTP/1.1 200 OK\r\n\r\nhello")) as served, open_rest(served.url, None) as rest:
        await rest.download("/api/x", sink, limit=None)
    assert (sink.size, bytes(sink.data)) == (None, b"hello")


async def test_a_file_that_is_announced_too_large_is_not_begun(
    serve: Serve, always: Callable[[bytes], Handler]
) -> None:
    sink = Bytes()
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!"
    async with serve(always(data)) as served, open_rest(served.url, None) as rest:
        with pytest.raises(InvalidInput, match="limit=5"):
            await rest.download("/api/x", sink, limit=5)
    assert (sink.size, bytes(sink.data)) == ("not begun", b"")


async def endless(stream: AnyStream, read_request: Reader, head: bytes) -> int:
    await read_request(stream)
    await stream.send_all(head)
    sent = 0
    try:
        while True:  # ends when the client closes
            await stream.send_all(PIECE)
            sent += len(PIECE)
    except trio.BrokenResourceError:
        return sent


async def test_a_file_that_does_not_end_is_cut_at_the_limit(serve: Serve, read_request: Reader) -> None:
    sent = []

    async def handler(stream: AnyStream) -> None:
        sent.append(await endless(stream, read_request, b"HTTP/1.1 200 OK\r\n\r\n"))

    sink = Bytes()
    async with serve(handler) as served, open_rest(served.url, None) as rest:
        with pytest.raises(InvalidInput, match="limit=100000"):
            await rest.download("/api/x", sink, limit=100_000)
    assert len(sink.data) <= 100_000
    assert sent[0] < 32 * 2**20


@pytest.mark.filterwarnings("error")
async def test_a_sink_that_fails_ends_the_download_and_the_connection(serve: Serve, read_request: Reader) -> None:
    sent = []

    async def handler(stream: AnyStream) -> None:
        sent.append(await endless(stream, read_request, b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"))

    async with serve(handler) as served, open_rest(served.url, None) as rest:
        with pytest.raises(RuntimeError, match="enough"):
            await rest.download("/api/x", Bytes(enough=1), limit=None)
        gc.collect()  # nothing is left to the garbage collector, which trio would warn of


async def test_a_cancelled_download_closes_the_connection(serve: Serve, read_request: Reader) -> None:
    sent = []

    async def handler(stream: AnyStream) -> None:
        sent.append(await endless(stream, read_request, b"HTTP/1.1 200 OK\r\n\r\n"))

    class Slow(Bytes):
        async def write(self, chunk: bytes) -> None:
            await trio.sleep_forever()

    async with serve(handler) as served, open_rest(served.url, None) as rest:
        with trio.move_on_after(0.2) as scope:
            await rest.download("/api/x", Slow(), limit=None)
        assert scope.cancelled_caught
        gc.collect()
    assert sent[0] < MANY * len(PIECE)  # while the sink waits nothing is read


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n404 page not found\n",
            InvalidInput,
            "404 page not found",
        ),
        (b'HTTP/1.1 403 X\r\n\r\n{"code":403,"message":"off"}', NotAllowed, "off"),
        (b'HTTP/1.1 500 X\r\n\r\n{"code":500,"message":"oops"}', ProtocolViolation, "oops"),
        (b"HTTP/1.1 301 X\r\nLocation: x/\r\nContent-Length: 0\r\n\r\n", NotNeko, "redirects"),
        (b"HTTP/1.1 204 X\r\n\r\n", NotNeko, "204"),
        (b"HTTP/1.1 206 X\r\nContent-Length: 1\r\n\r\nx", NotNeko, "206"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", NotNeko, "encoding"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", ServerUnreachable, "before the answer was complete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", NotNeko, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", NotNeko, "not HTTP"),
    ],
)
async def test_what_is_no_file_says_who_must_act(
    serve: Serve, always: Callable[[bytes], Handler], data: bytes, kind: type[NekoError], says: str
) -> None:
    async with serve(always(data)) as served, open_rest(served.url, None) as rest:
        with pytest.raises(NekoError) as caught:
            await rest.download("/api/x", Bytes(), limit=None, refusals={404: InvalidInput}, step="files")
    assert type(caught.value) is kind
    assert says in str(caught.value)


async def test_after_a_download_that_broke_the_next_call_works(
    serve: Serve, read_request: Reader, answer: Compose
) -> None:
    async def handler(stream: AnyStream) -> None:
        request = await read_request(stream)
        if b"/api/broken" in request:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        else:
            await stream.send_all(answer("200 OK", b"whole"))

    sink = Bytes()
    async with serve(handler) as served, open_rest(served.url, None) as rest:
        with pytest.raises(ServerUnreachable):
            await rest.download("/api/broken", Bytes(), limit=None)
        await rest.download("/api/x", sink, limit=None)
    assert sink.data == b"whole"


async def test_after_a_refused_download_the_next_call_works(
    serve: Serve, read_request: Reader, answer: Compose
) -> None:
    statuses = iter(("500 X", "200 OK", "200 OK"))

    async def handler(stream: AnyStream) -> None:
        await read_request(stream)
        await stream.send_all(answer(next(statuses), b'{"code":500,"message":"oops"}'))

    async with serve(handler) as served, open_rest(served.url, None) as rest:
        with pytest.raises(ProtocolViolation, match="oops"):
            await rest.download("/api/x", Bytes(), limit=None)
        await rest.download("/api/x", Bytes(), limit=None)
        await rest.call("GET", "/api/x")
        assert served.accepted == 3
