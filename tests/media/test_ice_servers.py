"""ICE servers before they are asked: what becomes of their URLs, names and TLS contexts."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
import trio

from neko_trio.media import ice_servers
from neko_trio.media.ice_servers import URL_LIMIT, resolve_host, server_urls
from neko_trio.protocol.ice_servers import IceServer


class Resolver(trio.abc.HostnameResolver):
    """Every name has the given addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> list[Any]:
        await trio.lowlevel.checkpoint()
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, 0)) for address in self._addresses]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise AssertionError("nobody asks for names")


def server(*urls: str) -> IceServer:
    return IceServer(urls=urls, username="name", credential="secret")


async def test_an_address_needs_no_look_up_and_a_secure_one_needs_a_context() -> None:
    plain, secure = server_urls([server("turn:192.0.2.1", "turns:192.0.2.1")])
    assert plain.address is not None
    assert (plain.address.address, plain.address.username, plain.address.tls) == ("192.0.2.1", "name", None)
    assert secure.address is None, "the system's certificates have to be read"
    found = await secure.resolve()
    assert found.address == "192.0.2.1"
    assert found.tls is not None
    assert found.tls.verify_mode is ssl.CERT_REQUIRED
    assert found.tls.check_hostname
    context = ssl.create_default_context()
    for url in server_urls([server("turns:192.0.2.1", "stuns:192.0.2.1")], context):
        assert url.address is not None
        assert url.address.tls is context
    assert "secret" not in repr(plain) + repr(plain.address)


def test_what_is_left_out_is_told_without_its_text() -> None:
    notes: list[str] = []
    urls = [f"stun:192.0.2.1:{port}" for port in range(1, URL_LIMIT + 3)]
    found = server_urls([server("turn:user:secret@host", *urls)], None, notes.append)
    assert [url.url.port for url in found] == list(range(1, URL_LIMIT + 1))
    assert notes[0] == "an ICE server's URL is malformed"
    assert notes[1:] == [f"{url}: not asked, {URL_LIMIT} are enough" for url in urls[URL_LIMIT:]]


@pytest.mark.parametrize(
    ("routes", "expected"),
    [(("192.0.2.7", "2001:db8::7"), "192.0.2.7"), (("2001:db8::7",), "2001:db8::7"), ((), "192.0.2.7")],
    ids=["dual stack", "ipv6 only", "no route"],
)
async def test_a_name_becomes_an_address_that_can_be_reached(
    routes: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ice_servers, "routed_address", lambda address: "here" if address in routes else None)
    trio.socket.set_custom_hostname_resolver(Resolver("2001:db8::7", "192.0.2.7"))
    assert await resolve_host("turn.example") == expected
