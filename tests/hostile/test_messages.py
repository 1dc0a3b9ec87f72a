"""What the WebSocket may carry: no JSON, no frames, far too much of anything. And garbage on the data channel."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neko_trio
from neko_trio.errors import IceFailed, NekoError, ServerUnreachable, SessionLost
from neko_trio.events import Dropped
from neko_trio.protocol import data_channel
from neko_trio.simulator import Simulator, open_simulator
from tests.hostile.judge import in_time, meet
from tests.hostile.servers import PASSWORD, AnyStream, HostileNeko, message, recorded

MIB = 2**20
BIG = 20 * MIB

NO_MESSAGES = {
    "nothing": "",
    "text": "{bad",
    "null": "null",
    "number": "1",
    "list": "[]",
    "no event": '{"payload": {}}',
    "event of another type": '{"event": 1, "payload": {}}',
    "two values": '{"event": "a/b"} {"event": "a/b"}',
    "deep": '{"event": "a/b", "payload": ' + "[" * 100_000,
    "deep and whole": '{"event": "a/b", "payload": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "lone surrogate": '{"event": "a/b", "payload": "\\ud800"}',
    "nan": '{"event": "a/b", "payload": NaN}',
    "a host that is none": message("control/host", "x"),
    "a long name": message("x" * 100_000, None)[:-1],
    "a secret": '{"token": "' + PASSWORD,
    "a candidate of another type": message("signal/candidate", [PASSWORD]),
    "a refusal without words": '{"event": "system/disconnect"}',
}
"""Messages that cannot be read: each is counted, logged and skipped."""

READABLE = {
    "unknown": message("new/thing", {"a": 1}),
    "unknown, no payload": message("new/thing"),
    "an unasked offer": message("signal/restart", {"sdp": "v=0"}),
    "an answer": message("signal/answer", {"sdp": "v=0"}),
    "a heartbeat": message("system/heartbeat"),
    "a strange barrier": message("send/unicast", {"sender": "x", "receiver": "y", "subject": "s", "body": [1]}),
    "someone who is not there": message("session/deleted", {"id": "nobody"}),
}
"""Messages that can be read, and mean nothing here."""


@pytest.mark.parametrize("step", ["init", "offer", "answered"])
async def test_messages_that_cannot_be_read_are_skipped_at_every_step(step: str) -> None:
    due = {
        "init": message("system/init", recorded("system/init")[0]),
        "offer": message("signal/provide", recorded("signal/provide")[0]),
        "answered": message("signal/close"),
    }
    server = HostileNeko(sent={step: [*NO_MESSAGES.values(), *READABLE.values(), due[step]]})
    async with server.served() as served, in_time(8):
        error = await meet(served.url, connect_timeout=3)
    assert isinstance(error, IceFailed), repr(error)
    assert "signal/answer" in server.events


async def test_what_is_skipped_is_counted() -> None:
    async with (
        open_simulator() as simulator,
        simulator.faults.precede("signal/provide", *NO_MESSAGES.values()),
        session_with(simulator) as session,
    ):
        assert session.statistics().messages_malformed == len(NO_MESSAGES)
        await session.flush()


NO_FRAMES = {
    "reserved bits": b"\xf1\x01x",
    "reserved opcode": b"\x83\x01x",
    "masked": b"\x81\x81\0\0\0\0x",
    "not UTF-8": b"\x81\x02\xff\xfe",
    "continuation of nothing": b"\x80\x01x",
    "long ping": b"\x89\x7e\x01\x00" + b"x" * 256,
    "cut ping": b"\x09\x01x",
    "a close of one byte": b"\x88\x01x",
    "a close with a bad code": b"\x88\x02\x00\x01",
    "a close that is not UTF-8": b"\x88\x04\x03\xe8\xff\xfe",
    "length with its top bit set": b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
    "length spelled too long": b"\x81\x7e\x00\x01x",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a close in good order": b"\x88\x02\x03\xe8",
}


@pytest.mark.parametrize("step", ["init", "offer"])
@pytest.mark.parametrize("name", NO_FRAMES)
async def test_frames_that_are_none_end_the_link(name: str, step: str) -> None:
    server = HostileNeko(sent={step: NO_FRAMES[name]})
    async with server.served() as served, in_time(8):
        error = await meet(served.url, connect_timeout=2)
    assert isinstance(error, ServerUnreachable), repr(error)
    assert error.step == {"init": "init", "offer": "offer"}[step] or error.step == "request"


async def test_a_message_without_end_ends_the_link() -> None:
    """Fragments that never become a message: the limit holds for what has come, not for what is whole."""

    async def without_end(stream: AnyStream, due: bytes) -> None:
        fragment = b"x" * MIB
        header = b"\x7f" + len(fragment).to_bytes(8, "big")
        await stream.send_all(b"\x01" + header + fragment)
        for _ in range(200):
            await stream.send_all(b"\x00" + header + fragment)

    async with HostileNeko({"offer": without_end}).served() as served, in_time(10):
        error = await meet(served.url, connect_timeout=5)
    assert isinstance(error, ServerUnreachable)
    assert "1009" in str(error)


async def test_one_message_beyond_the_limit_ends_the_link() -> None:
    async with HostileNeko(sent={"offer": ["x" * (33 * MIB)]}).served() as served, in_time(10):
        error = await meet(served.url, connect_timeout=5)
    assert isinstance(error, ServerUnreachable)
    assert "1009" in str(error)


@pytest.mark.parametrize("text", ["x" * BIG, message("big/thing", "x" * BIG), '{"event":"a/b","payload":' + "[" * BIG])
async def test_twenty_megabytes_are_read(text: str) -> None:
    """The real server sends as much (clipboard pictures); readable or not, the handshake goes on behind it."""
    server = HostileNeko(sent={"offer": [text, message("signal/provide", recorded("signal/provide")[0])]})
    async with server.served() as served, in_time(10):
        error = await meet(served.url, connect_timeout=5)
    assert isinstance(error, IceFailed), repr(error)
    assert len(str(error)) < 1000


# -- candidates

NO_CANDIDATES: list[Any] = [
    "garbage",
    "candidate:",
    "candidate:1 1 udp 1 999.999.999.999 9 typ host",
    "candidate:1 1 udp 1 127.0.0.1 99999 typ host",
    "candidate:1 1 udp -1 127.0.0.1 9 typ host",
    "candidate:1 257 udp 1 127.0.0.1 9 typ host",
    "candidate:1 1 sctp 1 127.0.0.1 9 typ host",
    "candidate:1 1 udp 1 127.0.0.1 9 typ strange",
    "candidate:1 1 udp " + "9" * 5000 + " 127.0.0.1 9 typ host",
    "candidate:" + "x" * 100_000,
    "candidate:1 1 udp 1 ::1%" + "z" * 300 + " 9 typ host",
    "\0",
    "🦀",
]
USELESS_CANDIDATES: list[Any] = [
    "candidate:1 1 udp 1 0.0.0.0 9 typ host",
    "candidate:1 1 udp 1 255.255.255.255 9 typ host",
    "candidate:1 1 udp 1 224.0.0.1 9 typ host",
    "candidate:1 1 udp 1 :: 9 typ host",
    "candidate:1 1 udp 1 ff02::1 9 typ host",
    "candidate:1 1 udp 1 fe80::1 9 typ host",
    "candidate:1 1 udp 1 127.0.0.1 0 typ host",
    "candidate:1 1 udp 1 127.0.0.1 9 typ srflx raddr 0.0.0.0 rport 0",
    "candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype passive",
    "candidate:1 2 udp 1 127.0.0.1 9 typ host",
    "candidate:1 1 udp 1 nobody.invalid 9 typ host",
    "candidate:1 1 udp 1 0a0a0a0a-0000-4000-8000-000000000000.local 9 typ host",
    "",
]


def candidate(text: Any, **more: Any) -> str:
    return message("signal/candidate", {"candidate": text, "sdpMid": "0", "sdpMLineIndex": 0, **more})


@asynccontextmanager
async def session_with(simulator: Simulator, **options: Any) -> AsyncIterator[neko_trio.Session]:
    async with neko_trio.open_session(
        simulator.url, username=simulator.username, password=simulator.password, close_timeout=1, **options
    ) as session:
        yield session


async def test_candidates_that_are_garbage_do_not_cost_the_connection() -> None:
    texts = [candidate(text) for text in (*NO_CANDIDATES, *USELESS_CANDIDATES)]
    texts += [candidate(USELESS_CANDIDATES[0], sdpMid="nowhere", sdpMLineIndex=-5, usernameFragment="other")]
    async with (
        open_simulator() as simulator,
        simulator.faults.precede("signal/provide", *texts),
        in_time(8),
        session_with(simulator) as session,
    ):
        await session.screen.frame()
        assert session.statistics().candidates_malformed == len(NO_CANDIDATES)


@pytest.mark.parametrize("before", [True, False], ids=["before the offer", "after it"])
async def test_thousands_of_candidates(before: bool) -> None:
    """Kept up to a bound, the rest counted; the pairs that are checked are bounded, too."""
    texts = [candidate(f"candidate:1 1 udp {n} 127.0.{n // 250}.{n % 250 + 1} 9 typ host") for n in range(1, 5000)]
    provide = message("signal/provide", recorded("signal/provide")[0])
    server = HostileNeko(sent={"offer": [*texts, provide] if before else [provide, *texts]})
    async with server.served() as served, in_time(10):
        error = await meet(served.url, connect_timeout=5)
    assert isinstance(error, IceFailed), repr(error)
    assert len(str(error)) < 5000


async def test_a_working_candidate_among_thousands_that_lead_nowhere() -> None:
    texts = [candidate(f"candidate:1 1 udp {n} 127.0.{n // 250}.{n % 250 + 1} 9 typ host") for n in range(1, 3000)]
    async with (
        open_simulator() as simulator,
        simulator.faults.precede("signal/close", *texts),
        in_time(8),
        session_with(simulator) as session,
    ):
        for text in texts:
            simulator.sessions[session.state.session_id].send("signal/candidate", json.loads(text)["payload"])
        await session.flush()
        await session.screen.frame()


WORDS = ["candidate:", "1", "udp", "tcp", "typ", "host", "127.0.0.1", "::1", "9", "99999", "x.local", "raddr"]


@given(text=st.text(max_size=60) | st.lists(st.sampled_from(WORDS)).map(" ".join))
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
async def test_any_candidate(text: str) -> None:
    provide = message("signal/provide", recorded("signal/provide")[0])
    server = HostileNeko(sent={"offer": [candidate(text), provide, candidate(text)]})
    async with server.served() as served, in_time(8):
        error = await meet(served.url, connect_timeout=3)
    assert isinstance(error, IceFailed), repr(error)


# -- a running session


async def test_garbage_on_the_data_channel_is_counted_and_skipped() -> None:
    garbage = [b"", b"\0", b"\xff" * 100, b"\x03\x00\x04" + b"\xff" * 60_000, b"\x02\x00", b"\x01\x00\x07\x00"]
    async with open_simulator() as simulator, in_time(8), session_with(simulator) as session, session.control():
        frame = await session.screen.frame()
        while not session.statistics().pongs_received:  # until the channel is open, the server's messages go nowhere
            frame = await session.screen.frame(newer_than=frame)
        peer = simulator.sessions[session.state.session_id].peer
        assert peer is not None
        assert peer.media is not None
        for item in garbage * 20:
            peer.media.send_data(item)
        for number in range(1500):
            peer.media.send_data(data_channel.encode_server(data_channel.Pong(number, number)))
        await session.mouse.click(2, 2)
        await session.flush()
        while session.statistics().messages_malformed <= len(garbage):  # else garbage was taken for something
            frame = await session.screen.frame(newer_than=frame)


@pytest.mark.parametrize(
    ("text", "survives"),
    [
        (message("signal/offer", {"sdp": "no SDP"}), True),
        (message("signal/offer", {"sdp": recorded("signal/provide")[0]["sdp"]}), True),
        (message("signal/provide", recorded("signal/provide")[0]), True),
        (message("system/init", {"session_id": "nobody"}), True),
        (message("screen/updated", {"id": "x", "width": -1, "height": 0, "rate": 0}), True),
        (message("control/host", {"id": "x", "has_host": True, "host_id": ""}), True),
        (message("session/state", {"id": 5}), True),
        (message("signal/close"), False),
        (message("system/disconnect", {"message": "because " * 1000}), False),
    ],
)
async def test_nonsense_in_a_running_session(text: str, survives: bool) -> None:
    async with open_simulator() as simulator, in_time(8):

        async def body(session: neko_trio.Session) -> None:
            socket = simulator.sessions[session.state.session_id].socket
            assert socket is not None
            event = json.loads(text)
            socket.send(event["event"], *([event["payload"]] if "payload" in event else []))
            if survives:
                await session.flush()
                await session.screen.frame()
                await session.send_event("x/y")
                raise SessionLost("it survived")
            await trio.sleep(5)

        error = await meet(simulator.url, connect_timeout=3, close_timeout=1, password=simulator.password, body=body)
    assert isinstance(error, NekoError)
    assert survives == ("it survived" in str(error)), repr(error)


async def test_a_flood_of_events_starves_nobody_and_keeps_nothing() -> None:
    """The reader goes on, so do the caller's tasks; memory and the close do not follow the flood."""
    texts = [message("cursor/flood", {"n": n, "filler": "x" * 500}) for n in range(200)]

    async def flood(stream: AnyStream, due: bytes) -> None:
        burst = b"".join(b"\x81\x7e" + len(text).to_bytes(2, "big") + text.encode() for text in texts)
        await stream.send_all(due)
        while True:
            await stream.send_all(burst)

    async with (
        HostileNeko({"init": flood}).served() as served,
        in_time(8),
        neko_trio.open_session(str(served.url), password=PASSWORD, video="off", close_timeout=1) as session,
        session.events("cursor/*", buffer=8) as events,
    ):
        turns = 0
        with trio.move_on_after(0.3):
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1
        assert turns > 20, "the caller's task starves"
        before = session.statistics().messages_received

        async def watch() -> int:
            with trio.move_on_after(0.3):
                async for _ in events:
                    await trio.sleep(0.05)
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            growth = -await watch() + await watch()
        finally:
            tracemalloc.stop()
        assert session.statistics().messages_received > before + 100
        assert growth < MIB / 4, f"{growth} bytes more were kept"
        assert isinstance(await anext(events), Dropped)


async def test_pings_without_end_are_answered_in_passing() -> None:
    async def ping(stream: AnyStream, due: bytes) -> None:
        await stream.send_all(due + b"\x89\x7d" + b"x" * 125 + b"\x89\x00" * 50_000)
        while await stream.receive_some():
            pass

    async with HostileNeko({"init": ping}).served() as served, in_time(8):

        async def body(session: neko_trio.Session) -> None:
            await session.send_event("a/b")
            raise SessionLost("enough")

        error = await meet(served.url, connect_timeout=3, video="off", body=body)
    assert "enough" in str(error)


async def test_a_server_that_reads_nothing_does_not_hang_the_sender() -> None:
    """Its TCP window closes, a send waits; the close is bounded all the same."""

    async def deaf(stream: AnyStream, due: bytes) -> None:
        await stream.send_all(due)
        await trio.sleep_forever()

    async with HostileNeko({"init": deaf}).served() as served, in_time(8):

        async def body(session: neko_trio.Session) -> None:
            with trio.move_on_after(0.5):
                while True:
                    await session.send_event("big/thing", "x" * MIB)
            raise SessionLost("enough")

        error = await meet(served.url, connect_timeout=3, video="off", body=body)
    assert "enough" in str(error)
