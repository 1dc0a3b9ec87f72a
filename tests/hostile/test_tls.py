"""TLS: verified unless the caller says otherwise, for REST, the WebSocket and TURN; each failure with its own hint."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

import neko_trio
from neko_trio.errors import ServerUnreachable
from neko_trio.media.ice import IceAgent
from neko_trio.media.ice_gathering import IceServerAddress, reflexive_host
from neko_trio.media.ice_relay import relay
from neko_trio.media.stun_protocol import AgentSocket
from neko_trio.protocol.ice_servers import parse_ice_url
from tests.hostile.authority import Authority, Pair
from tests.hostile.judge import in_time, meet
from tests.hostile.servers import PASSWORD, TOKEN, HostileNeko, serve

HERE = "127.0.0.1"
CASES: dict[str, tuple[Callable[[Authority], Pair], str, str]] = {
    "self-signed": (lambda made: made.issue(HERE, itself=True), "self-signed certificate", "ssl_context="),
    "unknown authority": (lambda made: made.issue(HERE), "unable to get local issuer", "cafile"),
    "expired": (lambda made: made.issue(HERE, begins=-9, ends=-1), "certificate has expired", "renew"),
    "not yet valid": (lambda made: made.issue(HERE, begins=1, ends=2), "not yet valid", "clock"),
    "another address": (lambda made: made.issue("127.0.0.2"), "IP address mismatch", "is for"),
    "another name": (lambda made: made.issue("desk.example"), "IP address mismatch", "is for"),
}
UNTRUSTED = {"self-signed", "unknown authority"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def server_context(pair: Pair) -> ssl.SSLContext:
    return pair.load(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))


def client_context(name: str, authority: Authority) -> ssl.SSLContext | None:
    """None: the system's authorities, which is what a session uses by itself."""
    return None if name in UNTRUSTED else authority.trusting()


@pytest.mark.parametrize("token", [False, True], ids=["rest", "websocket"])
@pytest.mark.parametrize("name", CASES)
async def test_a_bad_certificate_is_refused_before_anything_is_said(
    name: str, token: bool, authority: Authority
) -> None:
    issue, reason, hint = CASES[name]
    neko = HostileNeko()
    async with serve(neko._handle, tls=server_context(issue(authority)), wait=False) as served, in_time(8):
        error = await meet(served.url, token=token, connect_timeout=3, ssl_context=client_context(name, authority))
    assert isinstance(error, ServerUnreachable)
    assert reason in error.message
    assert hint in (error.hint or "")
    assert not error.retryable
    assert neko.events == []


@pytest.mark.parametrize("token", [False, True], ids=["rest", "websocket"])
async def test_a_name_is_verified_not_the_address_behind_it(token: bool, authority: Authority) -> None:
    tls = server_context(authority.issue("desk.example"))
    async with serve(HostileNeko()._handle, tls=tls, wait=False) as served, in_time(8):
        url = str(served.url).replace(HERE, "localhost")
        error = await meet(url, token=token, connect_timeout=3, ssl_context=authority.trusting())
    assert "not valid for 'localhost'" in error.message
    assert "a name that the certificate is for" in (error.hint or "")


@pytest.mark.parametrize("token", [False, True], ids=["rest", "websocket"])
async def test_an_authority_of_ones_own_and_a_client_certificate(token: bool, authority: Authority) -> None:
    tls = server_context(authority.issue(HERE))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(authority.cafile)
    client = authority.issue("agent.example").load(authority.trusting())
    who: dict[str, str] = {"token": TOKEN} if token else {"username": "bob", "password": PASSWORD}
    async with (
        serve(HostileNeko()._handle, tls=tls, wait=False) as served,
        in_time(8),
        neko_trio.open_session(
            str(served.url),
            video="off",
            ssl_context=client,
            close_timeout=1,
            **who,  # type: ignore[arg-type]
        ) as session,
    ):
        assert session.state.session_id


@asynccontextmanager
async def serve_in_a_thread(tls: ssl.SSLContext) -> AsyncIterator[str]:
    """A server that tells by a TLS alert why it refuses, as all do but trio's; it says nothing else."""
    listener = socket.create_server((HERE, 0))

    def serve_all() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed below
            with tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as stream:
                with suppress(OSError):
                    stream.do_handshake()  # which sends the alert
                with suppress(OSError):
                    socket.socket.shutdown(stream, socket.SHUT_WR)
                    while socket.socket.recv(stream, 4096):  # to close sooner would reset, and the alert be lost
                        pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, serve_all)
        try:
            yield f"https://{HERE}:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("token", [False, True], ids=["rest", "websocket"])
@pytest.mark.parametrize("given", ["none", "of another authority"])
async def test_a_server_that_wants_a_client_certificate_says_so(
    given: str, token: bool, version: ssl.TLSVersion, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With TLS 1.3 the server refuses it when the client has the connection already."""
    tls = server_context(authority.issue(HERE))
    tls.verify_mode, tls.maximum_version = ssl.CERT_REQUIRED, version
    tls.load_verify_locations(authority.cafile)
    context = authority.trusting()
    if given != "none":
        Authority(tmp_path_factory.mktemp("other")).issue("agent.example").load(context)
    async with in_time(8), serve_in_a_thread(tls) as url:
        error = await meet(url, token=token, connect_timeout=3, ssl_context=context)
    assert isinstance(error, ServerUnreachable), repr(error)
    assert "client certificate" in (error.hint or ""), repr(error)
    assert not error.retryable


# -- TURN and STUN over TLS: dialled by address, verified for the name in the URL


@pytest.mark.parametrize("scheme", ["turns", "stuns"])
@pytest.mark.parametrize("name", CASES)
def test_a_bad_certificate_of_an_ice_server_is_refused(name: str, scheme: str, authority: Authority) -> None:
    issue, reason, _hint = CASES[name]
    tls, said = server_context(issue(authority)), list[bytes]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.read(100))
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(accept, HERE, 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        url = parse_ice_url(f"{scheme}:{HERE}:{port}")
        found = IceServerAddress(url, HERE, "user", "s3cret", client_context(name, authority))
        agent = IceAgent(on_candidate=lambda _: None)
        try:
            with pytest.raises(ssl.SSLCertVerificationError, match=reason):
                if scheme == "turns":
                    await relay(found, AgentSocket(agent), hide_related_address=False)
                else:
                    await reflexive_host(found)
        finally:
            server.close()
            await server.wait_closed()
            await agent.close()

    asyncio.run(run())
    assert said == []
