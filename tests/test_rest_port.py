"""The REST port: the session's calls, which end with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NoReturn

import pytest
import trio

from neko_trio._ports.rest import RestPort, StreamedBody
from neko_trio.errors import InvalidInput, NotAllowed, NotNeko, ProtocolViolation, SessionClosed, SessionLost
from neko_trio.testing import FakeMedia, RestRefusal, ScriptedRest, ScriptedServer, open_scripted_session


def opened(server: ScriptedRest) -> RestPort:
    port = RestPort()
    port.plug(server)
    return port


async def test_a_call_gives_the_decoded_json() -> None:
    server = ScriptedRest()
    server.on["POST", "/api/room/screen"] = lambda body: {"got": body}
    with trio.testing.assert_checkpoints():
        assert await opened(server).call("POST", "/api/room/screen", json=[1]) == {"got": [1]}
    assert server.calls == [("POST", "/api/room/screen", [1])]


async def test_an_answer_without_body_is_none() -> None:
    server = ScriptedRest()
    server.on["POST", "/api/x"] = lambda _body: None
    assert await opened(server).call("POST", "/api/x") is None


async def test_a_request_gives_the_whole_answer() -> None:
    server = ScriptedRest()
    server.on["PUT", "/api/x"] = lambda body: body[::-1]
    answer = await opened(server).request("PUT", "/api/x", content=b"abc", content_type="application/octet-stream")
    assert (answer.status, answer.body) == (200, b"cba")


@pytest.mark.parametrize(("status", "kind"), [(403, NotAllowed), (422, ProtocolViolation), (404, ProtocolViolation)])
async def test_a_refusal_is_what_its_status_means(status: int, kind: type[Exception]) -> None:
    server = ScriptedRest()

    def refuse(_body: object) -> None:
        raise RestRefusal(status, "said the server")

    server.on["GET", "/api/x"] = refuse
    with pytest.raises(kind, match="said the server"):
        await opened(server).call("GET", "/api/x")


async def test_a_call_may_say_what_a_status_means() -> None:
    server = ScriptedRest()
    refusals = {404: lambda message: InvalidInput(f"No such member: {message}.")}
    with pytest.raises(InvalidInput, match="No such member: Not Found"):
        await opened(server).call("GET", "/api/members/x", refusals=refusals)


async def test_an_answer_that_is_no_json_is_not_nekos() -> None:
    server = ScriptedRest()
    server.on["GET", "/api/x"] = lambda _body: b"<html>"
    with pytest.raises(NotNeko):
        await opened(server).call("GET", "/api/x")


class Stuck(ScriptedRest):
    """Answers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = 0

    async def request(self, *_args: object, **_options: object) -> NoReturn:
        self.under_way += 1
        try:
            await trio.sleep_forever()
        finally:
            self.under_way -= 1


@pytest.mark.parametrize("way", [RestPort.call, RestPort.request])
async def test_the_sessions_end_ends_each_call_with_an_error_of_its_own(way: Callable[..., Awaitable[object]]) -> None:
    server = Stuck()
    port = opened(server)
    errors: list[BaseException] = []

    async def call() -> None:
        with pytest.raises(SessionLost) as caught:
            await way(port, "GET", "/api/x")
        errors.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        assert server.under_way == 2
        port.fail(lambda: SessionLost("gone"))
        port.fail(lambda: SessionClosed("too late"))
        await trio.testing.wait_all_tasks_blocked()
        assert server.under_way == 0
    assert len(set(map(id, errors))) == 2
    with pytest.raises(SessionLost):
        await way(port, "GET", "/api/x")
    assert server.under_way == 0


async def test_the_callers_own_cancellation_is_no_end() -> None:
    port = opened(Stuck())
    with trio.move_on_after(0) as scope:
        await port.call("GET", "/api/x")
    assert scope.cancelled_caught


async def test_a_session_calls_with_it_and_its_end_ends_the_call(autojump_clock: object) -> None:
    server = ScriptedServer()
    server.rest = stuck = Stuck()
    async with trio.open_nursery() as nursery:
        async with open_scripted_session(server, FakeMedia()) as session:

            async def call() -> None:
                with pytest.raises(SessionClosed):
                    await session._parts.rest.call("GET", "/api/x")

            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
            assert stuck.under_way == 1
        assert server.connections == 0


class Kept:
    """A sink that keeps what comes."""

    def __init__(self) -> None:
        self.size: int | None = None
        self.chunks: list[bytes] = []

    def begin(self, size: int | None) -> None:
        self.size = size

    async def write(self, chunk: bytes) -> None:
        self.chunks.append(chunk)


async def test_a_streamed_body_and_a_download_go_through() -> None:
    server = ScriptedRest()
    kept: dict[str, bytes] = {}
    server.on["PUT", "/api/x"] = lambda body: kept.update(x=body)
    server.on["GET", "/api/x"] = lambda _body: kept["x"]

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"abc" * 1000

    port, sink = opened(server), Kept()
    await port.call("PUT", "/api/x", content=StreamedBody(chunks(), 9000), content_type="a/b")
    await port.download("/api/x", sink, limit=9000)
    assert b"".join(sink.chunks) == kept["x"] == b"abc" * 3000
    assert sink.size == 9000
    assert len(sink.chunks) > 1
    with pytest.raises(InvalidInput, match="limit=8999"):
        await port.download("/api/x", Kept(), limit=8999)


async def test_the_sessions_end_ends_a_transfer_in_the_middle() -> None:
    server = ScriptedRest()
    server.on["GET", "/api/x"] = lambda _body: b"x" * 10
    port, closed = opened(server), []

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"half"
            port.fail(lambda: SessionLost("gone"))
            await trio.sleep_forever()
        finally:
            closed.append(True)

    class Ending(Kept):
        async def write(self, chunk: bytes) -> None:
            port.fail(lambda: SessionLost("gone"))
            await trio.sleep_forever()

    with pytest.raises(SessionLost):
        await port.call("PUT", "/api/x", content=StreamedBody(chunks()))
    assert closed == [True]
    port = opened(server)
    with pytest.raises(SessionLost):
        await port.download("/api/x", Ending(), limit=None)
