"""Wrong addresses, wrong schemes, wrong passwords: what is wrong before any Neko has answered."""

from __future__ import annotations

import socket
import sys
from typing import NoReturn

import pytest
import trio

import neko_trio
from neko_trio.errors import (
    ConnectTimeout,
    InvalidInput,
    LoginRefused,
    NekoError,
    NotNeko,
    ServerUnreachable,
)
from neko_trio.simulator import open_simulator
from tests.hostile.judge import in_time, judge_secrets, logged, meet
from tests.hostile.servers import PASSWORD, TOKEN, HostileNeko, open_black_hole, read_request, serve
from tests.signaling.conftest import AnyStream, Certificates, http_answer

both = pytest.mark.parametrize("token", [False, True], ids=["password", "token"])


@both
async def test_a_refused_port(token: bool) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    error = await meet(f"http://127.0.0.1:{port}", token=token, connect_timeout=2)
    assert isinstance(error, ServerUnreachable)
    assert "refused" in str(error)
    assert error.retryable


class Resolver(trio.abc.HostnameResolver):
    """No name has an address; with ``silent`` the question is never answered."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent

    async def getaddrinfo(self, host: object, *args: object, **kwargs: object) -> NoReturn:
        if self._silent:
            await trio.sleep_forever()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *args: object) -> NoReturn:
        raise NotImplementedError


@both
async def test_a_name_without_address(token: bool) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(silent=False))
    error = await meet("http://desk.invalid", token=token, connect_timeout=2)
    assert isinstance(error, ServerUnreachable)
    assert "desk.invalid" in str(error)


@both
async def test_a_silent_name_server(token: bool) -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(silent=True))
    error = await meet("http://desk.invalid", token=token)
    assert isinstance(error, ConnectTimeout)


@both
@pytest.mark.skipif(sys.platform != "linux", reason="a full backlog drops SYNs on Linux only")
async def test_a_black_hole(token: bool) -> None:
    async with open_black_hole() as port:
        error = await meet(f"http://127.0.0.1:{port}", token=token)
    assert isinstance(error, ConnectTimeout)
    assert isinstance(error, TimeoutError)
    assert error.step == ("dial" if token else "login")


@both
async def test_a_wrong_path(token: bool) -> None:
    async def not_here(stream: AnyStream) -> None:
        while await read_request(stream):
            await stream.send_all(http_answer("404 Not Found", b"<h1>nginx</h1>", "Content-Type: text/html"))

    async with serve(not_here, wait=False) as served:
        error = await meet(f"{served.url}/wrong", token=token, connect_timeout=2)
    assert isinstance(error, NotNeko)
    assert "prefix" in str(error)


async def test_a_wrong_path_of_a_real_front() -> None:
    async with open_simulator(path_prefix="/desk") as simulator:
        error = await meet(simulator.url.removesuffix("/desk") + "/elsewhere", connect_timeout=2)
    assert isinstance(error, NotNeko)


@both
async def test_http_against_https(token: bool, certificates: Certificates) -> None:
    async def handler(stream: AnyStream) -> None:
        await stream.receive_some()  # the TLS handshake, which fails

    async with serve(handler, tls=certificates.server, wait=False) as served:
        error = await meet(f"http://127.0.0.1:{served.url.port}", token=token, connect_timeout=2)
    assert isinstance(error, NotNeko | ServerUnreachable)
    assert "https" in str(error)


@both
async def test_http_against_https_of_a_server_that_explains(token: bool) -> None:
    """Go's server, hence Neko's, answers in plain text on its TLS port."""

    async def handler(stream: AnyStream) -> None:
        await read_request(stream)
        await stream.send_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")

    async with serve(handler, wait=False) as served:
        error = await meet(served.url, token=token, connect_timeout=2)
    assert isinstance(error, NotNeko)
    assert "https://" in str(error)


@both
async def test_https_against_http(token: bool) -> None:
    async with open_simulator() as simulator:
        error = await meet(simulator.url.replace("http:", "https:"), token=token, connect_timeout=2)
    assert isinstance(error, ServerUnreachable)
    assert "http://" in str(error)
    assert not error.retryable


@both
async def test_a_certificate_that_nobody_trusts(token: bool, certificates: Certificates) -> None:
    async def handler(stream: AnyStream) -> None:
        await stream.receive_some()

    async with serve(handler, tls=certificates.server, wait=False) as served:
        error = await meet(f"https://127.0.0.1:{served.url.port}", token=token, connect_timeout=2)
    assert isinstance(error, ServerUnreachable)
    assert "ssl_context" in str(error)


@both
async def test_https_against_a_server_that_says_nothing(token: bool) -> None:
    async def handler(stream: AnyStream) -> None:
        while await stream.receive_some():
            pass

    async with serve(handler, wait=False) as served:
        error = await meet(f"https://127.0.0.1:{served.url.port}", token=token)
    assert isinstance(error, ConnectTimeout)


async def test_a_wrong_password() -> None:
    async with open_simulator() as simulator:
        error = await meet(simulator.url, connect_timeout=2)
        assert not simulator.sessions
    assert isinstance(error, LoginRefused)
    assert error.step == "login"
    assert not error.retryable


async def test_a_wrong_token() -> None:
    async with open_simulator() as simulator:
        error = await meet(simulator.url, token=True, connect_timeout=2)
    assert isinstance(error, LoginRefused)


@both
async def test_a_redirect(token: bool) -> None:
    async def handler(stream: AnyStream) -> None:
        await read_request(stream)
        await stream.send_all(
            http_answer("301 Moved Permanently", b"", f"Location: https://bob:{PASSWORD}@desk.example/?token={TOKEN}")
        )

    async with serve(handler, wait=False) as served:
        error = await meet(served.url, token=token, connect_timeout=2)
    assert isinstance(error, NotNeko)
    assert "https://desk.example" in str(error)


@both
async def test_an_answer_without_end(token: bool) -> None:
    """An HTTP answer that goes on for ever ends at a bound of ours, or at the deadline; memory does not follow it."""

    async def handler(stream: AnyStream) -> None:
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            await stream.send_all(b" " * 65536)

    async with serve(handler, wait=False) as served:
        error = await meet(served.url, token=token, connect_timeout=3)
    assert isinstance(error, NotNeko)


@both
async def test_a_head_without_end(token: bool) -> None:
    async def handler(stream: AnyStream) -> None:
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send_all(b"X-Filler: " + b"x" * 4096 + b"\r\n")

    async with serve(handler, wait=False) as served:
        error = await meet(served.url, token=token, connect_timeout=3)
    assert isinstance(error, NotNeko)


WRONG_URLS = {
    "no scheme": "desk.example:8080",
    "no scheme, secret": f"bob:{PASSWORD}@desk.example",
    "ws": "ws://desk.example/api/ws",
    "file": "file:///etc/passwd",
    "user info": f"http://bob:{PASSWORD}@desk.example",
    "query": f"http://desk.example/?token={TOKEN}",
    "fragment": f"http://desk.example/#{TOKEN}",
    "empty": "",
    "blank": " ",
    "line break": f"http://desk.example/\r\nX: {TOKEN}",
    "bad port": f"http://desk.example:{TOKEN}",
    "port 0": "http://desk.example:0",
    "port 65536": "http://desk.example:65536",
    "no host": "http://",
    "bad IPv6": "http://[::zz]",
    "lone surrogate": "http://desk\ud800.example",
    "surrogate in the path": "http://desk.example/\ud800",
    "dots": "http://desk.example/../x",
}


@pytest.mark.parametrize("name", WRONG_URLS)
async def test_a_wrong_url(name: str) -> None:
    """Said before anything is dialled, with a hint, and without repeating what may be a secret."""
    with logged() as log, pytest.raises(InvalidInput) as caught:
        async with neko_trio.open_session(WRONG_URLS[name], username="bob", password=PASSWORD):
            pass
    assert isinstance(caught.value, ValueError)
    assert caught.value.hint
    judge_secrets(caught.value, log)


WRONG_TOKENS = [f"{TOKEN}\r\nX-Evil: 1", f"{TOKEN} x", f"{TOKEN}ü", f"{TOKEN}\0", f"{TOKEN}\ud800"]


@pytest.mark.parametrize("token", WRONG_TOKENS, ids=["line break", "blank", "umlaut", "nul", "surrogate"])
async def test_a_token_that_cannot_stand_in_a_header(token: str) -> None:
    with logged() as log, pytest.raises(InvalidInput) as caught:
        async with neko_trio.open_session("http://127.0.0.1:9", token=token):
            pass
    judge_secrets(caught.value, log)


@pytest.mark.parametrize("text", ["\0", "\ud800", "x" * 50_000, "ü" * 99, '"\\'], ids=lambda text: ascii(text[:9]))
async def test_any_password_reaches_the_server_and_no_log(text: str) -> None:
    async with open_simulator() as simulator:
        error = await meet(simulator.url, password=PASSWORD + text, connect_timeout=2)
    assert isinstance(error, LoginRefused)


async def test_a_logout_that_hangs_costs_the_close_its_budget_only() -> None:
    """Two things go wrong: the first one is told, within the time of both."""
    from tests.hostile.servers import say_nothing

    server = HostileNeko({"logout": say_nothing}, sent={"offer": []})
    async with server.served() as served, in_time(3):
        error = await meet(served.url)
    assert isinstance(error, NekoError)
    assert server.logouts == 1
