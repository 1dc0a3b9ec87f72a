from __future__ import annotations

import json
import logging
import socket as plain_socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.errors import (
    LoginRefused,
    NekoError,
    NotAllowed,
    NotNeko,
    ProtocolViolation,
    ServerUnreachable,
)
from neko_trio.signaling.answers import Answer, unexpected
from neko_trio.signaling.credential import Credential
from neko_trio.signaling.rest import login, logout, open_rest
from neko_trio.signaling.url import ServerUrl

if TYPE_CHECKING:
    from tests.signaling.conftest import AnyStream, Certificates, Handler, Serve

Reader = Callable[["AnyStream"], Awaitable[bytes]]
Compose = Callable[..., bytes]
Ended = Callable[["AnyStream"], Awaitable[bool]]

RECORDINGS = Path(__file__).parent.parent / "recordings"
GOOD = json.dumps(
    {"id": "alice-1", "token": "s3cret", "profile": {"name": "alice", "is_admin": True}, "state": {}}
).encode()


def error_body(code: int, message: str) -> bytes:
    return json.dumps({"code": code, "message": message}).encode()


async def test_login_with_a_token(serve: Serve, read_request: Reader, answer: Compose) -> None:
    requests = []

    async def handler(stream: AnyStream) -> None:
        requests.append(await read_request(stream))
        await stream.send_all(answer("200 OK", GOOD))

    async with serve(handler) as served:
        result = await login(served.url, "älice", "pass\ud800")
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api/login HTTP/1.1\r\n")
    assert b"authorization" not in head.lower()
    assert json.loads(body) == {"username": "älice", "password": "pass\ud800"}
    assert result.session_id == "alice-1"
    assert result.credential == Credential.bearer("s3cret")
    assert result.profile == {"name": "alice", "is_admin": True}
    assert "s3cret" not in repr(result)


async def test_login_with_a_cookie_as_recorded(
    serve: Serve, always: Callable[[bytes], Handler], answer: Compose
) -> None:
    lines = (RECORDINGS / "handshake-cookie.jsonl").read_text(encoding="utf-8").splitlines()
    recorded = next(entry for entry in map(json.loads, lines) if "set_cookie" in entry)
    body = json.dumps(recorded["body"]).encode()
    data = answer("200 OK", body, f"Set-Cookie: {recorded['set_cookie']}", "Set-Cookie: lb=7; Path=/; Secure")
    async with serve(always(data)) as served:
        result = await login(served.url, "alice", "admin")
    assert result.session_id == recorded["body"]["id"]
    assert result.credential.headers() == [("Cookie", "NEKO_SESSION=REDACTED; lb=7")]


@pytest.mark.parametrize(
    ("status", "body", "kind", "says", "retryable"),
    [
        ("401 Unauthorized", error_body(401, "Unauthorized"), LoginRefused, "wrong password", False),
        ("403 Forbidden", error_body(403, "logins are locked"), LoginRefused, "logins are locked", False),
        ("422 X", error_body(422, "session already connected"), LoginRefused, "already connected", True),
        ("400 Bad Request", error_body(400, "unable to read JSON"), LoginRefused, "unable to read", False),
        ("500 X", error_body(500, "Internal Server Error"), ProtocolViolation, "500", False),
        ("404 Not Found", b"404 page not found\n", NotNeko, "prefix", False),
        ("405 X", b"", NotNeko, "405", False),
        ("401 X", b"<html>proxy login", NotNeko, "in front of the server", False),
        ("200 OK", b"<html>hello", NotNeko, "200", False),
        ("200 OK", b"{}", NotNeko, "200", False),
        ("200 OK", b"[1]", NotNeko, "200", False),
        ("200 OK", b'{"id": 7, "token": "x"}', NotNeko, "200", False),
        ("200 OK", b'{"id": "a"}', NotNeko, "neither a usable token nor a cookie", False),
        ("200 OK", b'{"id": "a", "token": "s3cret\\r\\n"}', NotNeko, "neither a usable token", False),
        ("200 OK", b"\xff\xfe", NotNeko, "200", False),
        ("200 OK", b"[" * 100_000, NotNeko, "200", False),
        ("200 OK", b"", NotNeko, "200", False),
        ("204 No Content", b"", NotNeko, "204", False),
        ("502 Bad Gateway", b"<html>", ServerUnreachable, "proxy", True),
        ("504 Gateway Timeout", b"", ServerUnreachable, "proxy", True),
        ("999 X", b"", NotNeko, "999", False),
    ],
)
async def test_each_refused_login_says_who_must_act(
    serve: Serve,
    always: Callable[[bytes], Handler],
    answer: Compose,
    status: str,
    body: bytes,
    kind: type[NekoError],
    says: str,
    retryable: bool,
) -> None:
    async with serve(always(answer(status, body))) as served:
        with pytest.raises(NekoError) as caught:
            await login(served.url, "alice", "s3cret")
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert caught.value.retryable is retryable
    assert caught.value.step == "login"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://desk.example/neko/api/login?token=s3cret", "'https://desk.example/neko/api/login'"),
        ("https://user:s3cret@desk.example:8443/x#s3cret", "'https://desk.example:8443/x'"),
        ("/neko/api/login", "'/neko/api/login'"),
        ("http://[s3cret", "redirects."),
        ("", "redirects."),
    ],
)
async def test_a_redirect_is_told_not_followed(
    serve: Serve, always: Callable[[bytes], Handler], answer: Compose, location: str, shown: str
) -> None:
    async with serve(always(answer("302 Found", b"", f"Location: {location}"))) as served:
        with pytest.raises(NotNeko) as caught:
            await login(served.url, "alice", "x")
        assert served.accepted == 1
    assert shown in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_http_to_a_tls_port_says_https(
    serve: Serve, certificates: Certificates, always: Callable[[bytes], Handler]
) -> None:
    go = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    async with serve(always(go)) as served:
        with pytest.raises(NotNeko, match="Write https://"):
            await login(served.url, "a", "b")

    async def openssl(stream: AnyStream) -> None:
        assert isinstance(stream, trio.SSLStream)
        await stream.do_handshake()

    async with serve(openssl, tls=certificates.server) as served:
        plain = ServerUrl("http", "127.0.0.1", served.url.port)
        with pytest.raises(NekoError, match="https"):
            await login(plain, "a", "b")


async def test_https_to_a_plain_port_says_http(
    serve: Serve, always: Callable[[bytes], Handler], answer: Compose
) -> None:
    async def handler(stream: AnyStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer("400 Bad Request"))

    async with serve(handler) as served:
        with pytest.raises(ServerUnreachable, match="Write http://") as caught:
            await login(ServerUrl("https", "127.0.0.1", served.url.port), "a", "b")
    assert not caught.value.retryable


async def test_tls_with_a_trusted_and_an_untrusted_certificate(
    serve: Serve, certificates: Certificates, always: Callable[[bytes], Handler], answer: Compose
) -> None:
    async with serve(always(answer("200 OK", GOOD)), tls=certificates.server) as served:
        assert (await login(served.url, "a", "b", ssl_context=certificates.trusting)).session_id == "alice-1"
        with pytest.raises(ServerUnreachable, match=r"not trusted.*ssl_context") as caught:
            await login(served.url, "a", "b")
    assert not caught.value.retryable


async def test_nobody_listens() -> None:
    with plain_socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can take the port meanwhile
        with pytest.raises(ServerUnreachable, match="Connection refused") as caught:
            await login(ServerUrl("http", "127.0.0.1", taken.getsockname()[1]), "a", "b")
    assert caught.value.retryable


class NoNames(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        await trio.lowlevel.checkpoint()
        raise plain_socket.gaierror(plain_socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


async def test_a_name_that_does_not_resolve() -> None:
    trio.socket.set_custom_hostname_resolver(NoNames())
    with pytest.raises(ServerUnreachable, match=r"'desk\.example' cannot be resolved: Name or service not known"):
        await login(ServerUrl("http", "desk.example", 80), "a", "b")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ServerUnreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ServerUnreachable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", ServerUnreachable),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", NotNeko),
        (b"\x15\x03\x01\x00\x02\x02\x46", NotNeko),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", NotNeko),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", NotNeko),
        (b"A" * 300_000, NotNeko),
    ],
)
async def test_an_answer_that_is_cut_or_no_http(
    serve: Serve, always: Callable[[bytes], Handler], data: bytes, kind: type[NekoError]
) -> None:
    async with serve(always(data)) as served:
        with pytest.raises(NekoError) as caught:
            await login(served.url, "a", "s3cret")
    assert type(caught.value) is kind, caught.value
    assert "s3cret" not in str(caught.value)


async def test_a_huge_body_ends_at_the_cap(serve: Serve, read_request: Reader) -> None:
    sent = 0

    async def handler(stream: AnyStream) -> None:
        nonlocal sent
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:  # ends when the client closes
            await stream.send_all(b"x" * 65536)
            sent += 65536

    async with serve(handler) as served:
        with pytest.raises(NotNeko, match="more than 1048576 bytes"):
            await login(served.url, "a", "b")
    assert sent < 32 * 2**20


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
async def test_a_server_that_says_nothing_more_is_left_by_the_callers_scope(
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
            await login(served.url, "a", "b")
        assert scope.cancelled_caught
    assert ends == [True], "the connection is closed"


async def test_no_secret_is_logged(
    serve: Serve, always: Callable[[bytes], Handler], answer: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    body = json.dumps({"id": "a"}).encode()
    async with serve(always(answer("200 OK", body, "Set-Cookie: NEKO_SESSION=s3cret"))) as served:
        result = await login(served.url, "a", "s3cret")
        await logout(served.url, result.credential)
    assert caplog.records, "the HTTP library logs at DEBUG"
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("status", "body"),
    [("200 OK", b"true"), ("401 X", error_body(401, "session not found")), ("400 X", error_body(400, "not logged in"))],
)
async def test_logout_sends_the_credential_and_takes_gone_for_done(
    serve: Serve, read_request: Reader, answer: Compose, status: str, body: bytes
) -> None:
    requests = []

    async def handler(stream: AnyStream) -> None:
        requests.append(await read_request(stream))
        await stream.send_all(answer(status, body))

    async with serve(handler) as served:
        await logout(served.url, Credential.bearer("s3cret"))
    assert requests[0].startswith(b"POST /api/logout ")
    assert b"Authorization: Bearer s3cret\r\n" in requests[0]


@pytest.mark.parametrize(("status", "kind"), [("404 X", NotNeko), ("401 X", NotNeko), ("503 X", ServerUnreachable)])
async def test_logout_elsewhere_is_an_error(
    serve: Serve, always: Callable[[bytes], Handler], answer: Compose, status: str, kind: type[NekoError]
) -> None:
    async with serve(always(answer(status, b"no"))) as served:
        with pytest.raises(kind):
            await logout(served.url, Credential.bearer("s3cret"))


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        ("204 No Content", b"", None),
        ("202 Accepted", b"", None),
        ("200 OK", b'{"has_host": false}', {"has_host": False}),
        ("200 OK", b"null", None),
        ("401 X", error_body(401, "session not found"), LoginRefused),
        ("403 X", error_body(403, "session is not admin"), NotAllowed),
        ("422 X", error_body(422, "refused"), ProtocolViolation),
        ("200 OK", b"<html>", NotNeko),
        ("404 X", b"404 page not found", NotNeko),
    ],
)
async def test_a_call_returns_its_json_or_raises_what_the_status_means(
    serve: Serve, always: Callable[[bytes], Handler], answer: Compose, status: str, body: bytes, result: Any
) -> None:
    async with serve(always(answer(status, body))) as served, open_rest(served.url, Credential.bearer("x")) as rest:
        if isinstance(result, type):
            with pytest.raises(result):
                await rest.call("POST", "/api/room/control/take")
        else:
            assert await rest.call("POST", "/api/room/control/take") == result


async def test_each_call_has_a_connection_of_its_own_below_the_prefix(
    serve: Serve, read_request: Reader, answer: Compose
) -> None:
    requests = []

    async def handler(stream: AnyStream) -> None:
        while request := await read_request(stream):
            requests.append(request)
            await stream.send_all(2 * answer("200 OK", b"%d" % len(requests)))  # one answer more than was asked for

    async with serve(handler) as served:
        url = ServerUrl("http", "127.0.0.1", served.url.port, "/pre%20fix")
        async with open_rest(url, Credential.bearer("x")) as rest:
            assert await rest.call("GET", "/api/stats") == 1
            assert await rest.call("POST", "/api/room/settings", json={"private_mode": True}) == 2
        assert served.accepted == 2
    assert requests[0].startswith(b"GET /pre%20fix/api/stats HTTP/1.1\r\n")
    assert b"Content-Type: application/json\r\n" in requests[1]
    assert requests[1].endswith(b'\r\n\r\n{"private_mode": true}')


@given(st.integers(100, 999), st.binary(max_size=300), st.text(max_size=50), st.text(max_size=50))
def test_any_answer_has_a_typed_error(status: int, body: bytes, location: str, kind: str) -> None:
    answer = Answer(status, (("location", location), ("content-type", kind)), body)
    error = unexpected(ServerUrl("http", "desk", 80), "/api/x", answer, step="rest")
    assert isinstance(error, NekoError)
    assert len(str(error)) < 600
