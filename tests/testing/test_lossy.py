"""The lossy network: each datagram's fate, the sockets in between, and a session behind it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import neko_trio
from neko_trio.media.bridge import Lease, open_lease
from neko_trio.protocol import events, requests
from neko_trio.protocol.candidates import parse_candidate
from neko_trio.simulator import open_simulator, read_frame_code
from neko_trio.simulator._weather import Weather
from neko_trio.testing import (
    FakeMedia,
    LossyNetwork,
    NetworkConditions,
    ScriptedServer,
    leak_check,
    open_scripted_session,
)
from neko_trio.testing._lossy_router import ADDRESS_LIMIT, Router
from neko_trio.testing._scripted import OFFER, SESSION_ID

shares = st.floats(0, 1)
conditions = st.builds(
    NetworkConditions, loss=shares, reorder=shares, duplicate=shares, corrupt=shares, round_trip=st.floats(0, 10)
)
datagrams = st.lists(st.binary(max_size=40), max_size=40)


@given(seed=st.integers(), weather=conditions, sent=datagrams)
def test_the_seed_decides(seed: int, weather: NetworkConditions, sent: list[bytes]) -> None:
    one, other = Weather(seed), Weather(seed)
    assert [one.fate(datagram, weather) for datagram in sent] == [other.fate(datagram, weather) for datagram in sent]


@given(seed=st.integers(), weather=conditions, sent=datagrams)
def test_what_arrives_is_what_was_sent_or_a_bit_of_it_turned(
    seed: int, weather: NetworkConditions, sent: list[bytes]
) -> None:
    network = Weather(seed)
    arrived = 0
    for datagram in sent:
        fate = network.fate(datagram, weather)
        arrived += len(fate)
        for delay, bytes_ in fate:
            assert delay - weather.round_trip / 2 in (0, pytest.approx(weather.reorder_by))
            turned = int.from_bytes(bytes_) ^ int.from_bytes(datagram)
            assert len(bytes_) == len(datagram)
            assert turned.bit_count() <= (weather.corrupt > 0)
    counts = network.counts
    assert counts.received == len(sent)
    assert arrived == len(sent) - counts.lost + counts.duplicated


@pytest.mark.parametrize("what", ["loss", "reorder", "duplicate", "corrupt"])
def test_each_share_is_kept(what: str) -> None:
    network = Weather(1)
    for _ in range(10_000):
        network.fate(b"x", NetworkConditions(**{what: 0.1}))
    counts = network.counts
    found = {
        "loss": counts.lost,
        "reorder": counts.reordered,
        "duplicate": counts.duplicated,
        "corrupt": counts.corrupted,
    }
    assert found.pop(what) == pytest.approx(1000, rel=0.1)
    assert set(found.values()) == {0}


def test_a_change_leaves_the_luck_of_later_datagrams() -> None:
    changed, steady = Weather(7), Weather(7)
    bad = NetworkConditions(loss=0.3)
    for _ in range(50):
        changed.fate(b"", NetworkConditions(duplicate=1, corrupt=1))
        steady.fate(b"", bad)
    assert [changed.fate(b"", bad) for _ in range(50)] == [steady.fate(b"", bad) for _ in range(50)]


@pytest.mark.parametrize(
    "wrong", [{"loss": -0.1}, {"loss": 1.1}, {"round_trip": -1.0}, {"round_trip": 11.0}, {"corrupt": float("nan")}]
)
def test_conditions_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(neko_trio.InvalidInput):
        LossyNetwork(**wrong)
    network = LossyNetwork(loss=0.5)
    with pytest.raises(neko_trio.InvalidInput):
        network.change(**wrong)
    assert network.conditions == NetworkConditions(loss=0.5)


# -- the sockets


class Net:
    """A router between two sockets of ours, all in one asyncio thread."""

    def __init__(self, conditions: NetworkConditions) -> None:
        self.to_server, self.to_client = Weather("s"), Weather("c")
        self.router = Router(conditions, to_server=self.to_server, to_client=self.to_client)
        self.client, self.server = _socket(), _socket()
        self.for_client = self.router.instead_of_server(self.server.getsockname())
        self.for_server = self.router.instead_of_client(self.client.getsockname())

    async def at_server(self, count: int) -> list[bytes]:
        return [await self._receive(self.server) for _ in range(count)]

    async def at_client(self, count: int) -> list[bytes]:
        return [await self._receive(self.client) for _ in range(count)]

    async def _receive(self, sock: socket.socket) -> bytes:
        async with asyncio.timeout(5):
            datagram, self.sender = await asyncio.get_running_loop().sock_recvfrom(sock, 2000)
        return datagram

    def close(self) -> None:
        self.router.close()
        self.client.close()
        self.server.close()


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


@asynccontextmanager
async def open_net(**conditions: float) -> AsyncIterator[tuple[Lease, Net]]:
    with leak_check():
        async with open_lease("network-test") as lease:
            net = await lease.run(Net, NetworkConditions(**conditions))
            try:
                yield lease, net
            finally:
                await lease.run(net.close)


async def test_both_ways_through_and_each_side_sees_the_network() -> None:
    async with open_net() as (lease, net):
        net.client.sendto(b"ask", net.for_client)
        assert await lease.run(net.at_server, 1) == [b"ask"]
        assert net.sender == net.for_server
        net.server.sendto(b"answer", net.sender)
        assert await lease.run(net.at_client, 1) == [b"answer"]
        assert net.sender == net.for_client


async def test_a_datagram_from_an_address_not_told_finds_its_way_back() -> None:
    async with open_net() as (lease, net):
        server, net.server = net.server, _socket()  # another address of the server's
        server.close()
        net.server.sendto(b"ping", net.for_server)
        assert await lease.run(net.at_client, 1) == [b"ping"]
        net.client.sendto(b"pong", net.sender)
        assert await lease.run(net.at_server, 1) == [b"pong"]


async def test_half_the_round_trip_each_way_and_the_order_stays() -> None:
    async with open_net(round_trip=0.1) as (lease, net):
        sent = [b"%d" % number for number in range(100)]
        began = perf_counter()
        for datagram in sent:
            net.client.sendto(datagram, net.for_client)
        assert await lease.run(net.at_server, 100) == sent
        assert 0.05 <= perf_counter() - began < 0.5
        began = perf_counter()
        net.server.sendto(b"back", net.for_server)
        assert await lease.run(net.at_client, 1) == [b"back"]
        assert perf_counter() - began >= 0.05


async def test_held_back_datagrams_are_overtaken() -> None:
    async with open_net(reorder=0.2) as (lease, net):
        sent = [b"%d" % number for number in range(100)]
        for datagram in sent:
            net.client.sendto(datagram, net.for_client)
        arrived = await lease.run(net.at_server, 100)
        assert sorted(arrived) == sorted(sent)
        assert arrived != sent
        assert 5 < net.to_server.counts.reordered < 40


async def test_cut_means_nothing_and_drain_waits_for_what_is_under_way() -> None:
    async with open_net(round_trip=0.2) as (lease, net):
        net.client.sendto(b"goodbye", net.for_client)
        await lease.run(net.router.drain)
        net.router.conditions = NetworkConditions(loss=1)
        net.client.sendto(b"lost", net.for_client)
        await lease.run(net.router.drain)
        assert await lease.run(net.at_server, 1) == [b"goodbye"]
        with pytest.raises(BlockingIOError):
            net.server.recv(100)
        assert net.to_server.counts.lost == 1


async def test_more_addresses_than_it_keeps_are_not_routed() -> None:
    async with open_net() as (lease, net):
        with ExitStack() as strangers:  # open all at once: else a port may come twice
            for _ in range(ADDRESS_LIMIT):
                strangers.enter_context(_socket()).sendto(b"x", net.for_client)
        assert len(await lease.run(net.at_server, ADDRESS_LIMIT - 1)) == ADDRESS_LIMIT - 1
        await lease.run(net.router.drain)
        assert net.to_server.counts.unroutable == 1


# -- a session behind it


async def test_a_session_over_a_network_that_does_everything() -> None:
    network = LossyNetwork(loss=0.05, round_trip=0.01, reorder=0.05, duplicate=0.05, corrupt=0.03, seed=3)
    with leak_check():
        async with (
            open_simulator(size=(640, 360)) as simulator,
            neko_trio.open_session(simulator.url, password=simulator.password, media=network) as session,
        ):
            seen = []
            with trio.fail_after(30):
                async with session.screen.frames() as frames:
                    async for frame in frames:
                        seen.append(read_frame_code(frame.to_ndarray()))
                        if len(seen) == 50:
                            break
            assert None not in seen
            pair = session.statistics().peer
            assert pair is not None
            assert pair.candidate_pair is not None
            offered = {
                parse_candidate(entry.payload()["candidate"]).port
                for entry in simulator.journal
                if entry.event == "signal/candidate" and entry.direction == "sent"
            }
            assert offered
            assert int(pair.candidate_pair.remote.rpartition(":")[2]) not in offered  # never around the network
    counts = network.counts.to_client
    assert counts.received > 50
    assert min(counts.lost, counts.reordered, counts.duplicated, counts.corrupted) > 0


AROUND = [
    "candidate:1 1 tcp 1 127.0.0.1 8443 typ host tcptype passive",
    "candidate:2 1 udp 1 127.0.0.1 9 typ relay raddr 0.0.0.0 rport 0",
    "candidate:3 1 udp 1 4f9d.local 5000 typ host",
]
THROUGH = "candidate:4 1 udp 1 127.0.0.1 5000 typ host"


async def test_candidates_around_the_network_are_kept_from_both_sides() -> None:
    server, media = ScriptedServer(), FakeMedia()
    turn = events.IceServer(urls=("turn:127.0.0.1",), username="u", credential="c")
    offer = server.offer(sdp=OFFER + "".join(f"a={text}\r\n" for text in (*AROUND, THROUGH)), ice_servers=(turn,))
    server.on["signal/request"] = lambda _request: server.send(offer)
    network = LossyNetwork(media=media)
    async with open_scripted_session(server, network) as session:
        for text in (*AROUND, THROUGH):
            server.send(events.SignalCandidate(candidate=text, sdp_mid="0", sdp_mline_index=0, username_fragment=None))
        async with session.events("send/unicast") as answers:
            await session.send_event("send/unicast", {"receiver": SESSION_ID, "subject": "x", "body": 0})
            await anext(answers)  # and so the candidates before it have been read
        await trio.testing.wait_all_tasks_blocked()
        (peer,) = media.peers
        (told,) = peer.candidates
        assert (told.foundation, told.host) == ("4", "127.0.0.1")
        assert told.port != 5000
        assert [line for line in peer.setup.offer_sdp.splitlines() if "candidate" in line] == [f"a={told.to_text()}"]
        assert peer.setup.ice_servers == ()
        assert server.got(requests.SignalCandidate) == []  # the fake peer's: at an address that this machine has not


def test_the_other_conditions_stay() -> None:
    network = LossyNetwork(loss=0.5, round_trip=0.1)
    network.change(loss=1)
    assert network.conditions == replace(NetworkConditions(loss=0.5, round_trip=0.1), loss=1)
