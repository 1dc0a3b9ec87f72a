"""Names to addresses, with a resolver that the test writes."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
import trio.testing

from neko_trio.errors import ServerUnreachable
from neko_trio.media.resolve import resolve


class Resolver(trio.abc.HostnameResolver):
    """Knows one name; hangs for another."""

    def __init__(self) -> None:
        self.asked: list[bytes | None] = []

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        self.asked.append(host)
        if host == b"slow.example":
            await trio.sleep_forever()
        if host != b"turn.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses: list[Any] = [("192.0.2.7", 0), ("2001:db8::7", 0, 0, 0), ("192.0.2.7", 0), ("192.0.2.1", 0)]
        return [(socket.AF_INET, type, 17, "", address) for address in addresses]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise AssertionError("nobody asks for names")


@pytest.fixture
async def resolver() -> Resolver:
    own = Resolver()
    trio.socket.set_custom_hostname_resolver(own)
    return own


async def test_each_address_once_in_the_resolvers_order(resolver: Resolver) -> None:
    assert await resolve("turn.example") == ["192.0.2.7", "2001:db8::7", "192.0.2.1"]
    assert resolver.asked == [b"turn.example"]


@pytest.mark.parametrize("literal", ["192.0.2.1", "2001:db8::1", "::1"])
async def test_a_literal_asks_nobody(resolver: Resolver, literal: str) -> None:
    with trio.testing.assert_checkpoints():
        assert await resolve(literal) == [literal]
    assert resolver.asked == []


@pytest.mark.parametrize(
    "host", ["nowhere.example", "a" * 64 + ".example", "a..b", "bad\0name", "\udcff.example", "xn--\u00fc", "[::1]"]
)
async def test_what_has_no_address_is_a_typed_error(resolver: Resolver, host: str) -> None:
    with pytest.raises(ServerUnreachable, match="has no address") as caught:
        await resolve(host)
    assert caught.value.__cause__ is not None
    assert caught.value.retryable


async def test_cancelling_abandons_the_look_up(resolver: Resolver, autojump_clock: trio.testing.MockClock) -> None:
    with trio.move_on_after(3) as scope:
        await resolve("slow.example")
    assert scope.cancelled_caught
    assert trio.current_time() == 3


async def test_the_systems_resolver_knows_localhost() -> None:
    assert set(await resolve("localhost")) <= {"127.0.0.1", "::1"}
    assert await resolve("localhost")
