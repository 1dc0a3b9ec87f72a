from __future__ import annotations

import gc
import signal
import socket as plain_socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from neko_trio.errors import InvalidInput, NekoError, NotNeko, ServerUnreachable
from neko_trio.signaling import web_socket
from neko_trio.signaling.credential import Credential
from neko_trio.signaling.upgrade import UpgradeStream
from neko_trio.signaling.url import ServerUrl
from neko_trio.signaling.web_socket import SocketEnded, WebSocket, open_web_socket
from tests.cancelling import cancelled_after

if TYPE_CHECKING:
    from tests.signaling.conftest import AnyStream, Certificates, Serve, ServerSide

    Side = Callable[[AnyStream], ServerSide]
    Reader = Callable[[AnyStream], Awaitable[bytes]]
    Ended = Callable[[AnyStream], Awaitable[bool]]

TOKEN = Credential.bearer("s3cret")


class Record:
    """A server that answers the upgrade, says ``greeting``, and records how the client left."""

    def __init__(self, side: Side, *greeting: str) -> None:
        self._side = side
        self._greeting = greeting
        self.target = ""
        self.headers: dict[bytes, bytes] = {}
        self.code: int | None = None
        self.texts: list[str] = []
        self.left = trio.Event()

    async def __call__(self, stream: AnyStream) -> None:
        side = self._side(stream)
        try:
            request = await side.accept()
            self.target = request.target
            self.headers = dict(request.extra_headers)
            for text in self._greeting:
                await side.send(TextMessage(text))
            self.texts = side.texts
            self.code = await side.close_code()
        finally:
            self.left.set()


async def test_it_upgrades_with_the_credential_in_a_header(serve: Serve, server_side: Side) -> None:
    record = Record(server_side, "hello")
    async with serve(record) as served:
        url = ServerUrl("http", "127.0.0.1", served.url.port, "/pre%20fix")
        async with open_web_socket(url, TOKEN) as socket:
            assert await socket.receive() == "hello"
            assert socket.remote_address == ("127.0.0.1", served.url.port)
        await record.left.wait()
    assert record.target == "/pre%20fix/api/ws"
    assert record.headers[b"authorization"] == b"Bearer s3cret"
    assert b"sec-websocket-extensions" not in record.headers, "no compression is asked for"
    assert record.code == 1000


async def test_leaving_does_not_wait_for_a_tcp_end_that_never_comes(serve: Serve, server_side: Side) -> None:
    record = Record(server_side)
    async with serve(record) as served:
        async with open_web_socket(served.url, TOKEN):
            started = trio.current_time()
        assert trio.current_time() - started < web_socket.GOODBYE / 2
        await record.left.wait()
    assert record.code == 1000


async def test_the_goodbye_is_bounded_when_the_server_is_deaf(serve: Serve, server_side: Side) -> None:
    async def handler(stream: AnyStream) -> None:
        await server_side(stream).accept()
        await trio.sleep_forever()

    async with serve(handler, wait=False) as served:
        async with open_web_socket(served.url, TOKEN):
            started = trio.current_time()
        assert web_socket.GOODBYE * 0.9 < trio.current_time() - started < web_socket.GOODBYE * 4


async def test_a_goodbye_stays_within_half_of_what_the_caller_has(serve: Serve, server_side: Side) -> None:
    """A deaf server must not cost the logout that comes after it."""

    async def handler(stream: AnyStream) -> None:
        await server_side(stream).accept()
        await trio.sleep_forever()

    async with serve(handler, wait=False) as served, open_web_socket(served.url, TOKEN) as socket:
        started = trio.current_time()
        with trio.move_on_after(0.2) as budget:
            await socket.aclose()
        assert 0.09 < trio.current_time() - started < 0.2
        assert not budget.cancelled_caught
    assert trio.current_time() - started < 0.2, "leaving said goodbye a second time"


async def test_a_goodbye_without_time_closes_at_once(serve: Serve, server_side: Side) -> None:
    record = Record(server_side)
    async with serve(record) as served:
        async with open_web_socket(served.url, TOKEN) as socket:
            started = trio.current_time()
            with trio.CancelScope() as scope:
                scope.cancel()
                await socket.aclose()
            assert scope.cancelled_caught
        assert trio.current_time() - started < web_socket.GOODBYE / 2
        await record.left.wait()
    assert record.code is None


async def test_the_bodys_own_error_leaves_bare_behind_a_goodbye(serve: Serve, server_side: Side) -> None:
    record = Record(server_side)
    error = KeyError("mine")
    cause = ValueError("its cause")
    async with serve(record) as served:
        with pytest.raises(KeyError) as caught:
            async with open_web_socket(served.url, TOKEN):
                raise error from cause
        assert caught.value is error
        assert error.__cause__ is cause
        assert error.__context__ is None
        await record.left.wait()
    assert record.code == 1000


async def test_the_bodys_own_group_stays_as_it_is(serve: Serve, server_side: Side) -> None:
    group = ExceptionGroup("mine", [KeyError("a"), ValueError("b")])
    async with serve(Record(server_side)) as served:
        with pytest.RaisesGroup(KeyError, ValueError) as caught:
            async with open_web_socket(served.url, TOKEN):
                raise group
        assert caught.value is group


async def test_cancellation_says_goodbye_and_is_bare(serve: Serve, server_side: Side) -> None:
    record = Record(server_side)
    caught: BaseException | None = None
    async with serve(record) as served:
        with trio.CancelScope() as scope:
            try:
                async with open_web_socket(served.url, TOKEN) as socket:
                    scope.cancel()
                    await socket.receive()
            except BaseException as error:
                caught = error
                raise
        assert scope.cancelled_caught
        assert isinstance(caught, trio.Cancelled)
        await record.left.wait()
    assert record.code == 1000


async def test_a_refusal_is_read_and_ends_with_1006(
    serve: Serve, server_side: Side, recwarn: pytest.WarningsRecorder
) -> None:
    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)
        await side.accept()
        await side.send(TextMessage('{"event":"system/disconnect","payload":{"message":"session not found"}}'))

    async with serve(handler) as served, open_web_socket(served.url, TOKEN) as socket:
        assert "session not found" in str(await socket.receive())
        with pytest.raises(SocketEnded) as caught:
            await socket.receive()
        assert caught.value.code == 1006
        with pytest.raises(SocketEnded):
            await socket.send("too late")
    gc.collect()
    assert not recwarn.list, "a stream was left open"


async def test_all_in_one_segment_is_a_refusal_too(serve: Serve, server_side: Side) -> None:
    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)
        sent: list[bytes] = []

        async def keep(data: bytes) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(data)

        whole, side.stream = side.stream, _Writer(stream, keep)  # type: ignore[assignment]
        await side.accept()
        await side.send(TextMessage("refused"))
        await whole.send_all(b"".join(sent))

    async with serve(handler) as served, open_web_socket(served.url, TOKEN) as socket:
        assert await socket.receive() == "refused"
        with pytest.raises(SocketEnded):
            await socket.receive()


class _Writer:
    def __init__(self, stream: AnyStream, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._stream = stream
        self.send_all = write

    async def receive_some(self) -> bytes:
        return bytes(await self._stream.receive_some())


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (4000, "x" * 100)])
async def test_the_servers_close_frame_is_reported(serve: Serve, server_side: Side, code: int, reason: str) -> None:
    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)
        await side.accept()
        await side.send(TextMessage("last"), CloseConnection(code, reason))
        await side.wait_tcp_end()  # the real server never closes TCP

    async with serve(handler) as served, open_web_socket(served.url, TOKEN) as socket:
        assert await socket.receive() == "last"
        with pytest.raises(SocketEnded) as caught:
            await socket.receive()
    assert (caught.value.code, caught.value.reason) == (code, reason)


async def test_a_large_message_in_many_frames_arrives_whole(serve: Serve, server_side: Side) -> None:
    text = "ä" * 3_000_000
    record = Record(server_side)

    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)
        await side.accept()
        for start in range(0, len(text), 400_000):
            last = start + 400_000 >= len(text)
            await side.send(TextMessage(text[start : start + 400_000], message_finished=last))
        await side.send(BytesMessage(b"\x00\xff"))
        record.code = await side.close_code()

    async with serve(handler) as served, open_web_socket(served.url, TOKEN) as socket:
        assert await socket.receive() == text
        assert await socket.receive() == b"\x00\xff"


async def test_a_message_above_the_limit_ends_the_socket(serve: Serve, server_side: Side) -> None:
    codes = []

    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)
        await side.accept()
        await side.send(TextMessage("x" * 1001))
        codes.append(await side.close_code())

    async with serve(handler) as served, open_web_socket(served.url, TOKEN, max_message_size=1000) as socket:
        with pytest.raises(SocketEnded) as caught:
            await socket.receive()
        assert caught.value.code == 1009
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert codes == [1009]


@pytest.mark.parametrize("garbage", [b"\xff" * 20, b"\x81\x02\xff\xff", b"\x83\x00", b"\xf1\x00", b"\x00" * 50])
async def test_garbage_frames_end_the_socket(serve: Serve, server_side: Side, garbage: bytes) -> None:
    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)
        await side.accept()
        await stream.send_all(garbage)
        await side.wait_tcp_end()

    async with serve(handler) as served, open_web_socket(served.url, TOKEN) as socket:
        with pytest.raises(SocketEnded):
            await socket.receive()


async def test_pings_are_answered_and_one_during_the_goodbye_does_no_harm(serve: Serve, server_side: Side) -> None:
    seen: list[object] = []

    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)
        await side.accept()
        await side.send(Ping(b"1"), TextMessage("go"))
        seen.append(await side.event())
        event = await side.event()
        seen.append(event)
        assert isinstance(event, CloseConnection)
        # A ping between the client's close frame and ours: the library must not pass its complaint on.
        await stream.send_all(b"\x89\x01x")
        await side.wait_tcp_end()

    async with serve(handler) as served:
        async with open_web_socket(served.url, TOKEN) as socket:
            assert await socket.receive() == "go"
            started = trio.current_time()
        assert trio.current_time() - started < web_socket.GOODBYE
    assert isinstance(seen[0], Pong)
    assert isinstance(seen[1], CloseConnection)


async def test_concurrent_sends_stay_whole(serve: Serve, server_side: Side) -> None:
    got: list[str] = []

    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)
        await side.accept()
        parts = ""
        while isinstance(event := await side.event(), TextMessage):
            parts += event.data
            if event.message_finished:
                got.append(parts)
                parts = ""

    texts = [f"{n}" * 300_000 for n in range(8)]
    async with (
        serve(handler) as served,
        open_web_socket(served.url, TOKEN) as socket,
        trio.open_nursery() as nursery,
    ):
        for text in texts:
            nursery.start_soon(socket.send, text)
    assert sorted(got) == texts


async def test_a_send_cancelled_in_mid_frame_is_finished(serve: Serve, server_side: Side) -> None:
    """Half a frame on the wire would make all that follows garbage, and the goodbye a 1006."""
    proceed = trio.Event()
    got: list[str] = []
    codes: list[int] = []

    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)
        await side.accept()
        await proceed.wait()
        parts = ""
        while isinstance(event := await side.event(), TextMessage):
            parts += event.data
            if event.message_finished:
                got.append(parts)
                parts = ""
        assert isinstance(event, CloseConnection)
        codes.append(event.code)

    large = "x" * 30_000_000
    async with serve(handler) as served, open_web_socket(served.url, TOKEN) as socket:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(socket.send, large)
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()
        proceed.set()
        await socket.send("small")
    assert got == [large, "small"]
    assert codes == [1000]


async def test_texts_of_one_send_arrive_whole_though_it_is_cancelled_and_the_socket_left(
    serve: Serve, server_side: Side
) -> None:
    """A release of held keys must not be cut by the goodbye."""
    got: list[int] = []
    codes: list[int] = []

    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)
        await side.accept()
        size = 0
        while isinstance(event := await side.event(), TextMessage):
            size += len(event.data)
            if event.message_finished:
                got.append(size)
                size = 0
        assert isinstance(event, CloseConnection)
        codes.append(event.code)
        await side.send(event.response())

    sizes = [5_000_000, 1, 2, 3]
    async with serve(handler) as served, open_web_socket(served.url, TOKEN) as socket, trio.open_nursery() as nursery:
        nursery.start_soon(socket.send, *("x" * size for size in sizes))
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert got == sizes
    assert codes == [1000]


async def test_a_send_cancelled_before_its_turn_is_not_sent(serve: Serve, server_side: Side) -> None:
    record = Record(server_side)
    async with serve(record) as served, open_web_socket(served.url, TOKEN) as socket:
        with trio.CancelScope() as scope:
            scope.cancel()
            await socket.send("never")
        assert scope.cancelled_caught
    assert record.texts == []
    assert record.code == 1000


async def test_a_send_to_a_server_that_is_gone_ends(serve: Serve, server_side: Side) -> None:
    go = trio.Event()

    async def handler(stream: AnyStream) -> None:
        await server_side(stream).accept()
        await go.wait()

    async def send(socket: WebSocket) -> None:
        with pytest.raises(SocketEnded):
            await socket.send("x" * 30_000_000)

    async with (
        serve(handler) as served,
        open_web_socket(served.url, TOKEN) as socket,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send, socket)
        await trio.testing.wait_all_tasks_blocked(0.05)
        go.set()


async def test_a_stuck_send_ends_when_the_server_has_ended_its_side(serve: Serve, server_side: Side) -> None:
    go = trio.Event()

    async def handler(stream: AnyStream) -> None:
        assert isinstance(stream, trio.SocketStream)
        await server_side(stream).accept()
        await go.wait()
        await stream.send_eof()
        await trio.sleep_forever()  # reading nothing

    async def send(socket: WebSocket) -> None:
        with pytest.raises(SocketEnded):
            await socket.send("x" * 30_000_000)

    async with (
        serve(handler, wait=False) as served,
        open_web_socket(served.url, TOKEN) as socket,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send, socket)
        await trio.testing.wait_all_tasks_blocked(0.05)
        go.set()


async def test_text_without_utf8_form_is_the_callers_error(serve: Serve, server_side: Side) -> None:
    record = Record(server_side)
    async with serve(record) as served:
        async with open_web_socket(served.url, TOKEN) as socket:
            with pytest.raises(InvalidInput):
                await socket.send("\ud800")
            await socket.send("fine")
        await record.left.wait()
    assert record.texts == ["fine"]
    assert record.code == 1000


async def test_aclose_is_idempotent_and_ends_a_waiting_receive(serve: Serve, server_side: Side) -> None:
    record = Record(server_side)
    async with serve(record) as served:
        async with open_web_socket(served.url, TOKEN) as socket, trio.open_nursery() as nursery:

            async def receive() -> None:
                with pytest.raises(SocketEnded):
                    await socket.receive()

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await socket.aclose(1001)
            await socket.aclose()
            with pytest.raises(SocketEnded):
                await socket.send("late")
        await record.left.wait()
    assert record.code == 1001


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (b"", ServerUnreachable, "https?"),
        (b"HTT", ServerUnreachable, "closed"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: web", ServerUnreachable, "closed"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n404 page not found", NotNeko, "prefix"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000000\r\n\r\n", NotNeko, "prefix"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html>", NotNeko, "text/html"),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://desk/?token=s3cret\r\n\r\n", NotNeko, "https://desk/"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", NotNeko, "https://"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n<html>", NotNeko, "in front"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", ServerUnreachable, "proxy"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", NotNeko, "100"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", NotNeko, "no WebSocket"),
        (
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
            NotNeko,
            "no WebSocket",
        ),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", NotNeko, "no WebSocket"),
        (b"\x15\x03\x01\x00\x02\x02\x46", NotNeko, "https://"),
        (b"A" * 200_000, NotNeko, "no WebSocket"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"A" * 200_000, NotNeko, "no WebSocket"),
        (b"\x00\r\n\r\n", NotNeko, "no WebSocket"),
    ],
)
async def test_a_refused_or_broken_upgrade(
    serve: Serve, read_request: Reader, data: bytes, kind: type[NekoError], says: str
) -> None:
    async def handler(stream: AnyStream) -> None:
        await read_request(stream)
        await stream.send_all(data)

    async with serve(handler) as served:
        with pytest.raises(NekoError) as caught:
            async with open_web_socket(served.url, TOKEN):
                pytest.fail("it opened")
    assert type(caught.value) is kind, caught.value
    assert says in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_the_status_alone_decides_though_the_body_never_ends(serve: Serve, read_request: Reader) -> None:
    async def handler(stream: AnyStream) -> None:
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        await trio.sleep_forever()

    async with serve(handler, wait=False) as served:
        with pytest.raises(NotNeko, match="403"):
            async with open_web_socket(served.url, TOKEN):
                pytest.fail("it opened")


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 101 Swi"])
async def test_a_server_that_says_nothing_is_left_by_the_callers_scope(
    serve: Serve, read_request: Reader, ended: Ended, first: bytes
) -> None:
    scope = trio.CancelScope()
    ends = []

    async def handler(stream: AnyStream) -> None:
        await read_request(stream)
        await stream.send_all(first)
        scope.cancel()
        ends.append(await ended(stream))

    async with serve(handler) as served:
        with scope:
            async with open_web_socket(served.url, TOKEN):
                pytest.fail("it opened")
        assert scope.cancelled_caught
    assert ends == [True], "the connection is closed"


async def test_an_answer_that_trickles_is_read(serve: Serve, server_side: Side) -> None:
    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)

        async def trickle(data: bytes) -> None:
            for n in range(len(data)):
                await stream.send_all(data[n : n + 1])

        side.stream = _Writer(stream, trickle)  # type: ignore[assignment]
        await side.accept()
        await side.send(TextMessage("hello"))
        await side.close_code()

    async with serve(handler) as served, open_web_socket(served.url, TOKEN) as socket:
        assert await socket.receive() == "hello"


async def test_tls(serve: Serve, server_side: Side, certificates: Certificates) -> None:
    record = Record(server_side, "hello")
    async with serve(record, tls=certificates.server) as served:
        async with open_web_socket(served.url, TOKEN, ssl_context=certificates.trusting) as socket:
            assert await socket.receive() == "hello"
            assert socket.remote_address == ("127.0.0.1", served.url.port)
        await record.left.wait()
        assert record.code == 1000
        with pytest.raises(ServerUnreachable, match="not trusted"):
            async with open_web_socket(served.url, TOKEN):
                pytest.fail("it opened")


async def test_https_to_a_plain_port_says_http(serve: Serve) -> None:
    async def handler(stream: AnyStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serve(handler) as served:
        with pytest.raises(ServerUnreachable, match="Write http://"):
            async with open_web_socket(ServerUrl("https", "127.0.0.1", served.url.port), TOKEN):
                pytest.fail("it opened")


async def test_tls_that_ends_in_mid_handshake(serve: Serve) -> None:
    async def handler(stream: AnyStream) -> None:
        await stream.receive_some()

    async with serve(handler) as served:
        with pytest.raises(ServerUnreachable, match="during the TLS handshake"):
            async with open_web_socket(ServerUrl("https", "127.0.0.1", served.url.port), TOKEN):
                pytest.fail("it opened")


async def test_a_tls_handshake_that_stalls_is_left_by_the_callers_scope(serve: Serve, ended: Ended) -> None:
    scope = trio.CancelScope()
    ends = []

    async def handler(stream: AnyStream) -> None:
        await stream.receive_some()
        scope.cancel()
        ends.append(await ended(stream))

    async with serve(handler) as served:
        with scope:
            async with open_web_socket(ServerUrl("https", "127.0.0.1", served.url.port), TOKEN):
                pytest.fail("it opened")
        assert scope.cancelled_caught
        gc.collect()  # what nobody closed would be closed by this at the latest, with a warning
    assert ends == [True]


async def test_given_addresses_are_dialled_in_their_order_instead_of_the_name(serve: Serve, server_side: Side) -> None:
    record = Record(server_side)
    async with serve(record) as served:
        url = ServerUrl("http", "name.invalid", served.url.port)
        # 127.0.0.2 is refused: the server listens on 127.0.0.1 alone.
        async with open_web_socket(url, TOKEN, addresses=["127.0.0.2", "127.0.0.1"]) as socket:
            assert socket.remote_address[0] == "127.0.0.1"
        await record.left.wait()
        with pytest.raises(ServerUnreachable, match="Connection refused"):
            async with open_web_socket(url, TOKEN, addresses=["127.0.0.2"]):
                pytest.fail("it opened")


async def test_nobody_listens() -> None:
    with plain_socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ServerUnreachable, match="Connection refused") as caught:
            async with open_web_socket(ServerUrl("http", "127.0.0.1", taken.getsockname()[1]), TOKEN):
                pytest.fail("it opened")
    assert caught.value.step == "dial"


def test_ctrl_c_in_the_librarys_reader_comes_out_bare_behind_a_goodbye(
    serve: Serve, server_side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive_some = UpgradeStream.receive_some
    codes = []

    async def interrupted(self: UpgradeStream, max_bytes: int | None = None) -> bytes:
        data = await receive_some(self, max_bytes)
        if b"now" in data:
            signal.raise_signal(signal.SIGINT)  # in the reader's task
        return data

    monkeypatch.setattr(UpgradeStream, "receive_some", interrupted)

    async def handler(stream: AnyStream) -> None:
        side = server_side(stream)
        await side.accept()
        assert isinstance(await side.event(), TextMessage)
        await side.send(TextMessage("now"))
        codes.append(await side.close_code())

    async def session(url: ServerUrl) -> None:
        async with open_web_socket(url, TOKEN) as socket:
            await socket.send("ready")
            await trio.sleep_forever()

    async def main() -> None:
        async with serve(handler) as served:
            with pytest.raises(KeyboardInterrupt):
                await session(served.url)

    trio.run(main)
    assert codes == [1000]


@pytest.mark.parametrize("tls", [False, True])
def test_cancelled_at_any_step_nothing_stays_open(
    serve: Serve, server_side: Side, certificates: Certificates, recwarn: pytest.WarningsRecorder, tls: bool
) -> None:
    """An open WebSocket always says 1000; one in the making is closed; no task and no socket stays."""

    async def attempt(step: int) -> bool:
        record = Record(server_side, "hello", "again")
        opened = False
        async with serve(record, tls=certificates.server if tls else None) as served:
            with cancelled_after(step) as probe:
                async with open_web_socket(served.url, TOKEN, ssl_context=certificates.trusting) as socket:
                    opened = True
                    await socket.receive()
                    await socket.send("x")
                    await socket.receive()
            if served.accepted or opened:
                with trio.fail_after(5):
                    await record.left.wait()
            if opened:
                assert record.code == 1000, f"step {step}"
        return probe.fired

    steps = 0
    while trio.run(attempt, steps):
        steps += 1
    assert steps > 10
    gc.collect()
    assert not [warning for warning in recwarn.list if warning.category is ResourceWarning]
