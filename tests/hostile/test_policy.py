"""What a server may make a client do to others: knock on doors of its network, send its token to another host."""

from __future__ import annotations

from time import perf_counter

import pytest

import neko_trio
from neko_trio.errors import IceFailed, NotNeko
from neko_trio.signaling.rest import login, open_rest
from neko_trio.simulator import open_simulator
from tests.crowding import is_within
from tests.hostile.judge import in_time, meet
from tests.hostile.servers import (
    PASSWORD,
    AnyStream,
    HostileNeko,
    message,
    read_request,
    recorded,
    serve,
)
from tests.signaling.conftest import http_answer

pytestmark = pytest.mark.real_time


async def test_a_server_at_a_private_address_is_reached_though_others_are_refused() -> None:
    """The WebSocket's address is the caller's choice; every other one of this machine is the server's."""
    async with (
        open_simulator(size=(320, 240)) as simulator,
        in_time(15),
        neko_trio.open_session(
            simulator.url,
            username=simulator.username,
            password=simulator.password,
            ice=neko_trio.IceOptions(allow_private=False),
        ) as session,
    ):
        await session.screen.frame()
        peer = session.statistics().peer
        assert peer is not None
        assert peer.candidate_pair is not None
        assert peer.candidate_pair.remote.startswith("127.0.0.1:")


# -- redirects, and whose cookies go where


class Elsewhere:
    """Another server, which writes down what it is sent."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def handle(self, stream: AnyStream) -> None:
        while request := await read_request(stream):
            self.heard.append(request)
            await stream.send_all(http_answer("200 OK", b'{"id": "x", "token": "y"}'))


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("step", ["login", "upgrade", "logout", "stats"])
async def test_a_redirect_is_followed_nowhere(step: str, status: str) -> None:
    """Neither password nor token nor the bare request get to where the server points."""
    other = Elsewhere()
    async with serve(other.handle, wait=False) as elsewhere, in_time(8):
        answer = http_answer(status, b"", f"Location: {elsewhere.url}/api/{step}?token=1")
        neko = HostileNeko(sent={step: answer})
        async with neko.served() as served:
            if step in ("login", "upgrade"):
                error = await meet(served.url, token=step == "upgrade", connect_timeout=3)
                assert isinstance(error, NotNeko)
                assert "Give the URL it redirects to" in (error.hint or "")
                assert "token=1" not in str(error)
            else:
                async with neko_trio.open_session(
                    str(served.url), password=PASSWORD, video="off", close_timeout=1
                ) as session:
                    if step == "stats":
                        with pytest.raises(NotNeko):
                            await session.room.stats()
    assert other.heard == []


async def test_cookies_go_to_the_server_that_set_them_and_no_further() -> None:
    """There is no jar: what a login sets goes with this session's own calls, whatever it says of domain and path."""
    heard: list[bytes] = []

    async def handle(stream: AnyStream) -> None:
        while request := await read_request(stream):
            heard.append(request)
            cookies = ("Set-Cookie: NEKO_SESSION=c1; Domain=.example; Path=/elsewhere; Secure", "Set-Cookie: lb=2")
            await stream.send_all(http_answer("200 OK", b'{"id": "x"}', *cookies))

    async with serve(handle, wait=False) as served, serve(handle, wait=False) as another, in_time(8):
        found = await login(served.url, "bob", PASSWORD)
        for url, credential in ((served.url, found.credential), (served.url, None), (another.url, None)):
            async with open_rest(url, credential) as rest:
                await rest.call("GET", "/api/stats")
                await rest.call("GET", "/api/stats")
    sent = [b"NEKO_SESSION" in request for request in heard]
    assert sent == [False, True, True, False, False, False, False]
    assert b"cookie: NEKO_SESSION=c1; lb=2\r\n" in heard[1].replace(b"Cookie", b"cookie")


# -- how much


async def test_thousands_of_ice_servers_cost_no_time() -> None:
    offer = {**recorded("signal/provide")[0]}
    offer["iceservers"] = [{"urls": [f"stun:127.0.0.1:{1 + n % 65000}", "bad url"]} for n in range(20_000)]
    async with HostileNeko(sent={"offer": [message("signal/provide", offer)]}).served() as served, in_time(20):
        began = perf_counter()
        error = await meet(served.url, connect_timeout=15)
        took = perf_counter() - began
    assert isinstance(error, IceFailed)
    assert is_within(took, 3)
    assert len(str(error)) < 20_000


async def test_an_answer_in_chunks_without_end_is_cut() -> None:
    """Also one whose chunks are a byte each; and compressed ones, which nobody asked for, are not unpacked."""

    async def endless(stream: AnyStream, due: bytes) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n")
        while True:
            await stream.send_all((b"10000\r\n" + bytes(0x10000) + b"\r\n") * 16)

    async with HostileNeko({"login": endless}).served() as served, in_time(8):
        error = await meet(served.url, connect_timeout=5)
    assert isinstance(error, NotNeko)
    assert "more than" in error.message
