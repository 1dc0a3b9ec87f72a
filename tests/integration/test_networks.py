"""A session over every network that the simulator can be: TCP, ICE lite, a wrong address, IPv6, dead ICE servers.

And over none: what the error then says.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

import neko_trio
from neko_trio import IceFailed, IceOptions
from neko_trio.media import ice, ice_gathering, ice_tasks
from neko_trio.simulator import Simulator, Timings, open_simulator
from neko_trio.testing import leak_check
from tests.integration.test_session import works

pytestmark = [pytest.mark.real_time, pytest.mark.usefixtures("embedded_only")]

ELSEWHERE = "203.0.113.9"
"""An address where nobody is (RFC 5737)."""


@contextmanager
def silent_port() -> Iterator[int]:
    """A UDP port where packets go and nothing comes from."""
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]


def open_to(simulator: Simulator, **options: Any) -> Any:
    return neko_trio.open_session(simulator.url, username="a", password=simulator.password, **options)


# What the simulator is told, and the path: protocol, local and remote type of candidate, as far as they matter.
NETWORKS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "tcp only": ({"transports": ("tcp",)}, ("tcp",)),
    "udp and tcp": ({"transports": ("udp", "tcp")}, ("udp",)),
    "ipv6": ({"host": "::1"}, ("udp",)),
    "ipv6, tcp only": ({"host": "::1", "transports": ("tcp",)}, ("tcp",)),
    "ice lite": ({"icelite": True}, ("udp", "host", "host")),
    "ice lite, tcp only": ({"icelite": True, "transports": ("tcp",)}, ("tcp", "host", "host")),
    "wrong address": ({"nat1to1": ELSEWHERE}, ("udp", "host", "prflx")),
    "wrong address, ice lite": ({"nat1to1": ELSEWHERE, "icelite": True}, ("udp", "host", "prflx")),
    "wrong address, tcp only": ({"nat1to1": ELSEWHERE, "transports": ("tcp",)}, ("tcp", "host", "prflx")),
}


@pytest.mark.parametrize("name", NETWORKS)
async def test_a_session_works(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "ICE_LIMIT", 3.0)  # a failure is known sooner
    options, expected = NETWORKS[name]
    with leak_check():
        async with open_simulator(**options) as simulator, open_to(simulator) as session:
            pair = await works(session)
            assert (pair.protocol, pair.local_type, pair.remote_type)[: len(expected)] == expected
            peer = session.statistics().peer
            assert peer is not None
            assert peer.role == "controlling"
            assert (peer.packets_dropped, peer.packets_unsent) == (0, 0)


async def test_a_machine_with_nothing_but_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_gathering, "host_addresses", list)
    monkeypatch.setattr(ice_gathering, "routed_address", lambda target: None)
    async with open_simulator() as simulator, open_to(simulator) as session:
        await works(session)


async def test_ice_servers_that_are_of_no_use_cost_nothing_and_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_tasks, "TASK_LIMIT", 0.3)
    with silent_port() as silent:
        servers = (
            {"urls": [f"stun:127.0.0.1:{silent}", "stun:no-such-name.invalid", "turn:name:secret@host", "http://x"]},
            {"urls": [f"turn:127.0.0.1:{silent}"], "username": "neko", "credential": "secret"},
            {"urls": [f"turn:127.0.0.1:{silent}?transport=tcp"], "username": "neko", "credential": "secret"},
            {"urls": ["turns:127.0.0.1:9?transport=udp"], "username": "neko", "credential": "secret"},
            {"urls": ["stuns:127.0.0.1:9"]},
        )
        async with open_simulator(ice_servers=servers) as simulator, open_to(simulator) as session:
            assert session.timeline.between("answer_sent", "connected") < 0.3
            await trio.sleep(0.5)  # as long as they have
            peer = session.statistics().peer
            assert peer is not None
            errors = "\n".join(peer.gathering_errors)
        assert "2 ICE servers or URLs of the offer are malformed" in errors
        assert f"stun:127.0.0.1:{silent}: no answer within 0.3 s" in errors
        assert "stun:no-such-name.invalid:3478: the name has no address" in errors
        assert f"turn:127.0.0.1:{silent}?transport=udp: no answer within 0.3 s" in errors
        for url in (f"turn:127.0.0.1:{silent}?transport=tcp: ", "stuns:127.0.0.1:9: "):
            assert url in errors
        assert "turns:127.0.0.1:9?transport=udp: TURN over DTLS is not supported" in errors
        assert "secret" not in errors


@pytest.fixture
def hopeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The WebSocket's address is not tried: nothing can connect to a wrong address."""
    monkeypatch.setattr(ice, "ICE_LIMIT", 0.5)
    monkeypatch.setattr(ice, "GUESS_AFTER", 3.0)


async def test_the_error_says_what_became_of_each_path(hopeless: None) -> None:
    async with open_simulator(nat1to1="10.1.2.3", icelite=True, transports=("udp", "tcp")) as simulator:
        with pytest.raises(IceFailed) as caught:
            async with open_to(simulator):
                pytest.fail("connected")
    error = caught.value
    assert error.local[0].startswith("udp ")
    assert all(" 10.1.2.3:" in remote for remote in error.remote)
    assert sorted(remote.partition(" ")[0] for remote in error.remote) == ["tcp", "udp"]
    assert any(pair.startswith("udp ") and pair.endswith(": no answer") for pair in error.pairs)
    assert any(pair.startswith("tcp ") and " → 10.1.2.3:" in pair for pair in error.pairs)
    for pair in error.pairs:
        assert pair in str(error)
    hint = str(error.hint)
    assert "The server announces private addresses only (10.1.2.3)" in hint
    assert "webrtc.nat1to1" in hint
    assert "webrtc.udpmux" in hint
    assert "webrtc.tcpmux" in hint


async def test_a_server_that_gives_up_ends_ice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "GUESS_AFTER", 30.0)
    timings = Timings(connect_limit=0.3)
    async with open_simulator(nat1to1="10.1.2.3", icelite=True, timings=timings) as simulator:
        began = trio.current_time()
        with pytest.raises(IceFailed, match=r"signal/close.*Pairs tried: udp .* no answer"):
            async with open_to(simulator):
                pytest.fail("connected")
        assert trio.current_time() - began < 3


async def test_relays_only_and_none_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_tasks, "TASK_LIMIT", 0.3)
    with silent_port() as silent:
        servers = ({"urls": [f"turn:127.0.0.1:{silent}"], "username": "neko", "credential": "secret"},)
        async with open_simulator(ice_servers=servers) as simulator:
            with pytest.raises(IceFailed, match=rf"Gathering: turn:127\.0\.0\.1:{silent}.*no answer") as caught:
                async with open_to(simulator, ice=IceOptions(relay_only=True)):
                    pytest.fail("connected")
    assert "webrtc.iceservers.frontend" in str(caught.value.hint)
    assert "secret" not in str(caught.value)
