"""What the simulator lets clients do: how much, how long, how often, and from where."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.simulator import Limits
from neko_trio.simulator._journal import MAX_BYTES, Journal
from neko_trio.simulator._limits import ADDRESSES, LoginLimit

if TYPE_CHECKING:
    from tests.simulator.conftest import House, OpenHouse

WRONG = {"username": "ann", "password": "wrong"}
UPGRADE = (
    b"GET /api/ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def test_failed_logins_are_counted_and_good_ones_are_not(open_house: OpenHouse) -> None:
    async with open_house(limits=Limits(failed_logins=3, login_interval=0.2)) as house:
        for _ in range(10):
            await house.login()
        for _ in range(3):
            assert (await house.call("POST", "/api/login", WRONG)).status == 401
        good = {"username": "ann", "password": house.simulator.password}
        refused = await house.call("POST", "/api/login", good)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert refused.json() == {"code": 429, "message": "too many failed logins"}
        batch = [{"path": "/api/login", "method": "POST", "body": WRONG}]
        answers = (await house.call("POST", "/api/batch", batch)).json()
        assert [answer["status"] for answer in answers] == [429]
        await trio.sleep(0.25)
        assert (await house.call("POST", "/api/login", good)).status == 200


async def test_the_usual_limit_is_not_felt(house: House) -> None:
    for _ in range(50):
        assert (await house.call("POST", "/api/login", WRONG)).status == 401
    await house.login()


async def test_addresses_are_bounded_and_told_apart(autojump_clock: trio.testing.MockClock) -> None:
    limit = LoginLimit(Limits(failed_logins=2, login_interval=10))
    for _ in range(2):
        limit.failed("2001:db8::1")
    assert limit.wait_for("2001:db8::ffff") == 10  # the same /64
    assert limit.wait_for("2001:db8:0:1::1") == 0
    assert limit.wait_for("192.0.2.1") == 0
    await trio.sleep(10)
    assert limit.wait_for("2001:db8::1") == 0
    for number in range(ADDRESSES + 100):
        limit.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(limit) == ADDRESSES


@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 101), ("https://desk.example", 101), ("https://evil.example", 403), ("null", 403)],
)
async def test_pages_of_other_sites_open_no_websocket(open_house: OpenHouse, origin: str | None, status: int) -> None:
    async with open_house(origins=("https://desk.example",)) as house:
        line = b"" if origin is None else f"Origin: {origin}\r\n".encode()
        received = await house.raw(UPGRADE + line + b"\r\n")
        assert int(received.split(b" ")[1]) == status


async def test_the_origin_is_not_looked_at_unless_asked_for(house: House) -> None:
    assert (await house.raw(UPGRADE + b"Origin: https://evil.example\r\n\r\n")).split(b" ")[1] == b"101"


async def test_one_connection_too_many_is_closed(open_house: OpenHouse) -> None:
    async with open_house(limits=Limits(connections=3)) as house:
        streams = [await trio.open_tcp_stream("127.0.0.1", house.port) for _ in range(3)]
        for stream in streams:
            await stream.send_all(b"G")
        await trio.testing.wait_all_tasks_blocked(0.01)
        async with await trio.open_tcp_stream("127.0.0.1", house.port) as one_more:
            assert await one_more.receive_some() == b""
        for stream in streams:
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await house.call("GET", "/health")).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"G",
        b"GET /health HTTP/1.1\r\nHost: t\r\nX-Slow: ",
        b"POST /api/login HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n{",
    ],
)
async def test_who_takes_too_long_to_ask_is_hung_up_on(open_house: OpenHouse, sent: bytes) -> None:
    async with open_house(limits=Limits(head_seconds=0.2, body_pause=0.2, idle_seconds=0.2)) as house:
        with trio.fail_after(2):
            assert await house.raw(sent) == b""


async def test_a_request_that_trickles_in_is_hung_up_on(open_house: OpenHouse) -> None:
    async with (
        open_house(limits=Limits(head_seconds=0.3)) as house,
        await trio.open_tcp_stream("127.0.0.1", house.port) as stream,
    ):
        with trio.fail_after(3), pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"G")
                await trio.sleep(0.05)


async def test_bodies_are_bounded_by_who_sends_them(open_house: OpenHouse) -> None:
    async with open_house(limits=Limits(unknown_body=1000, body=100_000, bodies=150_000)) as house:
        _, token = await house.login()
        big = b'{"username": "' + b"x" * 2000 + b'"}'
        assert (await house.call("POST", "/api/login", big)).status == 413
        assert (await house.call("POST", "/api/profile", big, token=token)).status == 200
        assert (await house.call("POST", "/api/profile", b"x" * 100_001, token=token)).status == 413
        head = f"POST /api/profile HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n".encode()
        async with await trio.open_tcp_stream("127.0.0.1", house.port) as stream:
            await stream.send_all(head + b"Content-Length: 100000\r\n\r\n" + b"x" * 90_000)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert (await house.call("POST", "/api/profile", b"x" * 90_000, token=token)).status == 503
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await house.call("POST", "/api/profile", big, token=token)).status == 200


async def test_sessions_peers_and_candidates_are_bounded(open_house: OpenHouse) -> None:
    async with (
        open_house(limits=Limits(sessions=2, peers=1)) as house,
        house.client("ann") as ann,
        house.client("ben") as ben,
    ):
        credentials = {"username": "eve", "password": house.simulator.password}
        assert (await house.call("POST", "/api/login", credentials)).status == 503
        await ann.send("signal/request", {})
        await ann.wait_for("signal/provide")
        await ben.send("signal/request", {})
        assert "signal/provide" not in dict(await ben.settle())
        assert house.simulator.refused["signal/request: too many peers"] == 1
        for number in range(250):
            await ann.send("signal/candidate", {"candidate": f"1 1 udp 1 127.0.0.1 {number + 1} typ host"})
        await ann.send("signal/answer", {"sdp": "v=0" + "x" * 100_000})
        await ann.settle()
        assert len(house.media.peers[0].candidates) == 200
        assert house.simulator.refused["signal/candidate: too many candidates"] == 50
        assert house.simulator.refused["signal/answer: too long"] == 1


async def test_a_peer_asked_for_again_and_again_is_one_peer(house: House) -> None:
    async with house.client() as client:
        for _ in range(100):
            await client.send("signal/request", {})
        await client.settle()
        assert len(house.media.peers) == 100
        assert [peer.closed.is_set() for peer in house.media.peers].count(False) == 1


def test_the_journal_is_bounded_in_bytes() -> None:
    journal = Journal()
    for _ in range(20):
        journal.add("", "ws", "received", "big", b"x" * (MAX_BYTES // 8))
    assert len(journal) == 8
    assert journal.dropped == 12


@given(st.lists(st.integers(0, MAX_BYTES), max_size=30), st.integers(1, 10))
def test_the_journal_keeps_the_newest(sizes: list[int], limit: int) -> None:
    class Message(str):
        """As long as it says."""

        size: int

        def __len__(self) -> int:
            return self.size

    journal = Journal(limit)
    for number, size in enumerate(sizes):
        message = Message()
        message.size = size
        journal.add("", "ws", "sent", str(number), message)
        entries = list(journal)
        assert entries[-1].event == str(number)
        assert len(entries) <= limit
        assert len(entries) == 1 or sum(len(entry.message) for entry in entries) <= MAX_BYTES


# The process


PARENT = """
import sys, trio
from neko_trio.simulator import open_simulator_process

async def main():
    async with open_simulator_process(size=(320, 240)) as server:
        print(server.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@pytest.mark.real_time
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux to see the end of somebody else's process")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_process_ends_with_the_one_that_started_it(how: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(how)
        parent.wait(5)
        assert _ended(child, 6)
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()


def _ended(pid: int, seconds: float) -> bool:
    """Whether the process, which is not a child of this one, ends in time."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], seconds)[0])
    finally:
        os.close(watched)


async def test_hostile_texts_are_in_no_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    answer = await house.call("POST", "/api/login", {"username": "a", "password": "s3cret-guess"})
    assert answer.status == 401
    assert "s3cret-guess" not in caplog.text + json.dumps([str(entry) for entry in house.simulator.journal])
