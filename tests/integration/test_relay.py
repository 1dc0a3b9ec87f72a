"""Relay only: every packet goes through the TURN server that the offer names, and no address of ours is told."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio

import neko_trio
from neko_trio import IceFailed, IceOptions
from neko_trio._wiring import AiortcMedia
from neko_trio.media.peer_api import Peer, PeerSetup
from neko_trio.testing import TestServer, leak_check, open_test_server
from neko_trio.testing._server import named_server
from tests.integration.certificates import Certificate, make_certificate
from tests.integration.test_session import picture, works
from tests.integration.turn import INSTALLED, open_turn_server

pytestmark = pytest.mark.real_time
needs_coturn = pytest.mark.skipif(not INSTALLED, reason="coturn (turnserver) is not installed")


class SeeingMedia(AiortcMedia):
    """The real media, which notes what each peer connection is made from."""

    def __init__(self) -> None:
        self.setups: list[PeerSetup] = []

    def open_peer_connection(self, setup: PeerSetup) -> AbstractAsyncContextManager[Peer]:
        self.setups.append(setup)
        return super().open_peer_connection(setup)


async def turn_urls(server: TestServer) -> list[str]:
    """The TURN servers that a server's offers name."""
    media = SeeingMedia()
    async with neko_trio.open_session(server.url, username=server.username, password=server.password, media=media):
        return [url for ice in media.setups[0].ice_servers for url in ice.urls if url.startswith("turn")]


@pytest.fixture
def real_server(request: pytest.FixtureRequest) -> TestServer | None:
    """The server of ``--neko-url``. Skips, here where the reason is not lost, what cannot be had."""
    server = named_server(request.config)
    if server is None:
        if not INSTALLED:
            pytest.skip("coturn (turnserver) is not installed")
        return None
    if not trio.run(turn_urls, server):
        pytest.skip("this server's offers name no TURN server")
    return server


@pytest.fixture
async def server(real_server: TestServer | None) -> AsyncIterator[TestServer]:
    """A server whose offers name a TURN server: the embedded one with a coturn of ours, or a real one with its own."""
    if real_server is not None:
        yield real_server
        return
    async with open_turn_server() as turn, open_test_server(ice_servers=(turn.ice_server(),)) as embedded:
        yield embedded


async def test_relay_only_connects_through_the_offers_turn_server(server: TestServer) -> None:
    media = SeeingMedia()
    with leak_check() if server.simulator is None else trio.CancelScope():
        async with neko_trio.open_session(
            server.url,
            username=server.username,
            password=server.password,
            ice=IceOptions(relay_only=True),
            media=media,
        ) as session:
            pair = await works(session)
        assert pair.local_type == "relay"
    if server.simulator is not None:
        told = "\n".join(
            str(entry.payload())
            for entry in server.simulator.journal.select(
                lambda entry: entry.direction == "received" and entry.event in ("signal/answer", "signal/candidate")
            )
        )
        assert set(re.findall(r" typ (\w+)", told)) == {"relay"}, "an address of ours was told"
        assert f"{pair.local.rpartition(':')[2]} typ relay" in told


@needs_coturn
async def test_a_relay_that_refuses_us_is_told(embedded_only: None) -> None:
    async with (
        open_turn_server() as turn,
        open_test_server(ice_servers=(turn.ice_server(password="wrong"),)) as server,
    ):
        with pytest.raises(IceFailed, match=r"401|Unauthorized") as caught:
            async with neko_trio.open_session(
                server.url, username=server.username, password=server.password, ice=IceOptions(relay_only=True)
            ):
                pytest.fail("connected")
    assert "wrong" not in str(caught.value)


async def relayed(server: TestServer, **options: Any) -> tuple[str, tuple[str, ...]]:
    """Connect by relays only and see a picture; the pair's local type, and the gathering errors."""
    async with neko_trio.open_session(
        server.url,
        username=server.username,
        password=server.password,
        **options,
    ) as session:
        await picture(session)
        peer = session.statistics().peer
    assert peer is not None
    assert peer.candidate_pair is not None
    return peer.candidate_pair.local_type, peer.gathering_errors


@asynccontextmanager
async def open_servers(
    url: str, certificate: Certificate | None = None, *, credential: bool = True
) -> AsyncIterator[TestServer]:
    """A server whose offers name one ICE server, coturn; ``url`` has ``PORT`` or ``TLS`` for its ports. All of it,
    and the test's sessions, leave nothing."""
    pem = None if certificate is None else certificate.pem + certificate.key
    with leak_check():
        async with open_turn_server(certificate=pem) as turn:
            url = url.replace("PORT", str(turn.port)).replace("TLS", str(turn.tls_port))
            servers = (turn.ice_server(url=url) if credential else {"urls": [url]},)
            async with open_test_server(ice_servers=servers) as server:
                yield server


@needs_coturn
async def test_relay_over_tcp(embedded_only: None) -> None:
    async with open_servers("turn:127.0.0.1:PORT?transport=tcp") as server:
        assert await relayed(server, ice=IceOptions(relay_only=True)) == ("relay", ())


@needs_coturn
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_relay_over_tls(embedded_only: None, host: str) -> None:
    """The certificate is verified for the name in the URL, with the context of ``ice=``, or the session's."""
    certificate = make_certificate(host)
    trusting = certificate.trusted()
    async with open_servers(f"turns:{host}:TLS", certificate) as server:
        assert await relayed(server, ice=IceOptions(relay_only=True, ssl_context=trusting)) == ("relay", ())
        assert await relayed(server, ice=IceOptions(relay_only=True), ssl_context=trusting) == ("relay", ())


@needs_coturn
@pytest.mark.parametrize(
    ("name", "context", "reason"),
    [
        ("127.0.0.1", "system", "self-signed certificate"),
        ("another.example", "trusting", "IP address mismatch"),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_refused_and_told(
    embedded_only: None, name: str, context: str, reason: str
) -> None:
    certificate = make_certificate(name)
    ssl_context = certificate.trusted() if context == "trusting" else None
    async with open_servers("turns:127.0.0.1:TLS", certificate) as server:
        with pytest.raises(IceFailed, match=reason):
            await relayed(server, ice=IceOptions(relay_only=True, ssl_context=ssl_context))


@needs_coturn
async def test_stun_over_tls(embedded_only: None) -> None:
    """It shows this machine's address, which is no news on loopback; untrusted, it is told and costs nothing."""
    certificate = make_certificate("127.0.0.1")
    async with open_servers("stuns:127.0.0.1:TLS", certificate, credential=False) as server:
        async with neko_trio.open_session(server.url, username="a", password=server.password) as session:
            frame = await session.screen.frame()
            with trio.fail_after(5):
                while not (peer := session.statistics().peer) or not peer.gathering_errors:
                    frame = await session.screen.frame(newer_than=frame)
            assert "self-signed certificate" in peer.gathering_errors[0]
        assert await relayed(server, ice=IceOptions(ssl_context=certificate.trusted())) == ("host", ())
