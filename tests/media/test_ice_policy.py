"""Where a server may have a client send to: what is refused without ``allow_private``, and what never is."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

import aioice
import pytest
import trio
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from neko_trio._timeline import Timeline
from neko_trio.media.ice import IceAgent
from neko_trio.media.ice_feed import IceFeed
from neko_trio.media.ice_policy import REFUSED, AddressPolicy, AddressRefused, is_public
from neko_trio.media.ice_servers import resolve_host, server_urls
from neko_trio.media.peer_api import IceOptions
from neko_trio.protocol.candidates import parse_candidate
from neko_trio.protocol.ice_servers import IceServer

HERE = "192.168.7.7"
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8", "2002:808:808::1"]
PRIVATE = [
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "0.0.0.0",
    "100.64.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "::", "::1", "fe80::1%eth0", "fc00::1",
    "ff02::1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "2002:a00:1::",
    "::10.0.0.1", "2001:db8::1", "fec0::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_allowed(address: str) -> None:
    assert is_public(address)
    assert AddressPolicy(allow_private=False).allows(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_any_other_is_allowed_by_default_only(address: str) -> None:
    assert not is_public(address)
    assert AddressPolicy().allows(address)
    assert not AddressPolicy(allow_private=False, server_address=HERE).allows(address)


@pytest.mark.parametrize("spelled", [HERE, f"::ffff:{HERE}"])
@pytest.mark.parametrize("server", [HERE, f"::ffff:{HERE}"])
def test_the_websockets_own_address_is_always_allowed(server: str, spelled: str) -> None:
    assert AddressPolicy(allow_private=False, server_address=server).allows(spelled)
    assert AddressPolicy(allow_private=False, server_address="fe80::2%eth0").allows("fe80::2%eth1")


@given(st.ip_addresses(v=4))
def test_an_ipv6_spelling_of_an_address_is_that_address(address: Any) -> None:
    for prefix in ("::ffff:", "64:ff9b::"):
        assert is_public(f"{prefix}{address}") is is_public(str(address))
    tunnelled = ip_address((0x2002 << 112) | int(address) << 80)
    assert not is_public(str(tunnelled)) or is_public(str(address))


class Resolver(trio.abc.HostnameResolver):
    """Every name has these addresses, and another one each time it is asked again."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> list[Any]:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, 0)) for address in answer]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise AssertionError("nobody asks for names")


async def test_of_a_names_addresses_an_allowed_one_is_taken() -> None:
    allows = AddressPolicy(allow_private=False).allows
    trio.socket.set_custom_hostname_resolver(Resolver(("10.0.0.1", "8.8.8.8", "::1")))
    assert await resolve_host("both.example", allows) == "8.8.8.8"
    trio.socket.set_custom_hostname_resolver(Resolver(("10.0.0.1", "::1")))
    with pytest.raises(AddressRefused):
        await resolve_host("inside.example", allows)


async def test_a_name_that_changes_its_mind_is_asked_once() -> None:
    """DNS rebinding: what was looked at is what is dialled."""
    resolver = Resolver(("8.8.8.8",), ("127.0.0.1",))
    trio.socket.set_custom_hostname_resolver(resolver)
    (url,) = server_urls([IceServer(urls=("turn:rebind.example",), username="u", credential="c")])
    found = await url.resolve(AddressPolicy(allow_private=False).allows)
    assert (found.address, resolver.asked) == ("8.8.8.8", 1)


class Lease:
    """Posts at once, on this thread."""

    def post(self, call: Any, *arguments: Any) -> None:
        call(*arguments)


class Agent:
    """Notes what it is given."""

    def __init__(self, policy: AddressPolicy) -> None:
        self.policy = policy
        self.notes: list[str] = []
        self.servers: list[str] = []
        self.remotes: list[str] = []
        self.refused: list[str] = []
        self.ignored = 0

    def note(self, error: str) -> None:
        self.notes.append(error)

    def add_server(self, server: Any) -> None:
        self.servers.append(server.address)

    def servers_complete(self) -> None:
        pass

    def accept_remote(self, candidate: aioice.Candidate) -> None:
        self.remotes.append(candidate.host)

    def refuse_remote(self, host: str) -> None:
        self.refused.append(host)

    def ignore_remote(self) -> None:
        self.ignored += 1


class Setup:
    """What an :class:`IceFeed` reads of a peer's setup."""

    def __init__(self, ice: IceOptions, *urls: str) -> None:
        self.ice = ice
        self.ice_servers = tuple(IceServer(urls=(url,), username="u", credential="s3cret") for url in urls)
        self.ice_servers_malformed = 0
        self.timeline = Timeline()


async def feed(ice: IceOptions, urls: tuple[str, ...] = (), candidates: tuple[str, ...] = ()) -> Agent:
    agent = Agent(AddressPolicy(allow_private=ice.allow_private, server_address=HERE))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            made = IceFeed(Setup(ice, *urls), Lease(), agent, nursery)  # type: ignore[arg-type]  # doubles
            made.start()
            for host in candidates:
                made.accept(parse_candidate(f"candidate:1 1 udp 1 {host} 9 typ host"), None)
    return agent


async def test_servers_in_a_private_network_are_told_and_not_asked() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(("10.0.0.1",)))
    urls = ("stun:10.0.0.1", f"turn:{HERE}", "stun:8.8.8.8", "turn:inside.example")
    agent = await feed(IceOptions(allow_private=False), urls)
    assert agent.servers == [HERE, "8.8.8.8"]
    assert agent.notes == [
        f"stun:10.0.0.1:3478: {REFUSED}",
        f"turn:inside.example:3478?transport=udp: {REFUSED}",
    ]
    assert (await feed(IceOptions(), urls)).servers == ["10.0.0.1", HERE, "8.8.8.8", "10.0.0.1"]


async def test_servers_that_the_caller_names_are_the_callers_affair() -> None:
    own = (IceServer(urls=("stun:127.0.0.1",)),)
    agent = await feed(IceOptions(allow_private=False, servers=own), ("stun:8.8.8.8",))
    assert (agent.servers, agent.notes) == (["127.0.0.1"], [])


async def test_a_candidates_name_in_a_private_network_is_refused() -> None:
    trio.socket.set_custom_hostname_resolver(Resolver(("10.0.0.1",)))
    agent = await feed(IceOptions(allow_private=False), candidates=("inside.example",))
    assert (agent.remotes, agent.refused) == ([], ["inside.example"])
    assert (await feed(IceOptions(), candidates=("inside.example",))).remotes == ["10.0.0.1"]


def remote(host: str, **more: Any) -> aioice.Candidate:
    return aioice.Candidate("1", 1, more.pop("transport", "udp"), 1, host, 9, "host", **more)


def test_the_agent_keeps_no_candidate_that_is_refused() -> None:
    async def run() -> None:
        agent = IceAgent(on_candidate=lambda _: None, server_address=HERE, allow_private=False)
        for host in ("10.0.0.1", "8.8.8.8", HERE, "::ffff:10.0.0.1"):
            agent.accept_remote(remote(host))
        agent.accept_remote(remote("127.0.0.1", transport="tcp", tcptype="passive"))
        assert [candidate.host for candidate in agent.known_remotes] == ["8.8.8.8", HERE]
        assert (agent.remotes_ignored, agent.remotes_refused) == (3, 3)
        assert agent.gathering_errors[0] == f"candidate 10.0.0.1: {REFUSED}"
        for _ in range(100):
            agent.accept_remote(remote("10.0.0.1"))
        assert len(agent.gathering_errors) == 16
        await agent.close()

    asyncio.run(run())


class Socket:
    """Notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    def send_stun(self, message: stun.Message, addr: tuple[str, int]) -> None:
        self.sent.append(addr)


@pytest.mark.parametrize(("address", "answered"), [("10.0.0.1", False), ("8.8.8.8", True), (HERE, True)])
def test_a_check_from_a_refused_address_is_not_answered(address: str, answered: bool) -> None:
    async def run() -> None:
        agent = IceAgent(on_candidate=lambda _: None, server_address=HERE, allow_private=False)
        wire: Any = Socket()
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        agent.request_received(request, (address, 9), wire)  # without credentials: refused, with an answer
        assert wire.sent == ([(address, 9)] if answered else [])
        assert agent.checks_received == answered
        await agent.close()

    asyncio.run(run())
