"""Whatever clients send, the simulator's parsers refuse it in their own words, and the others are served."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from neko_trio.protocol import Malformed, data_channel, requests
from neko_trio.simulator._forms import read_form
from neko_trio.simulator._http import Request, Response, serve_http
from neko_trio.simulator._limits import Budget, Limits
from neko_trio.simulator._sdp import read_description
from neko_trio.simulator._values import Profile, RoomSettings, from_json

if TYPE_CHECKING:
    from tests.simulator.conftest import House

UPGRADE = (
    b"GET /api/ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
REQUEST = b"POST /api/login?a=b HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nCookie: a=b\r\n\r\n{}"
ANSWER = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n"
    "a=rtpmap:96 VP8/90000\r\n"
    "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\na=setup:active\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
    "a=candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sctp-port:5000\r\n"
)
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="files"; filename="a\\".txt"\r\n\r\ndata\r\n--b--\r\n'
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def mutated(original: bytes) -> st.SearchStrategy[bytes]:
    """The original with a few pieces replaced, doubled or taken out."""
    place = st.integers(0, len(original))
    edits = st.lists(st.tuples(place, place, st.binary(max_size=12) | st.just(original)), min_size=1, max_size=4)

    def apply(chosen: list[tuple[int, int, bytes]]) -> bytes:
        data = original
        for start, end, piece in chosen:
            data = data[: min(start, end)] + piece + data[max(start, end) :]
        return data

    return edits.map(apply)


class Pipe(trio.abc.Stream):
    """Gives bytes, in parts, then the end; takes everything."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = [part for part in parts if part]
        self.sent = b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.parts.pop(0) if self.parts else b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += bytes(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@settings(max_examples=400)
@given(data=mutated(REQUEST) | mutated(UPGRADE + b"\r\n") | st.binary(max_size=300), cut=st.integers(0, 300))
async def test_http_is_read_or_refused(data: bytes, cut: int) -> None:
    """One answer for each request that was read, 4xx for what is none, and never an exception."""
    calls: list[Request] = []

    async def answer(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        calls.append(request)
        return Response(204)

    async def before(request: Request) -> Response | None:
        await trio.lowlevel.checkpoint()
        return None

    upgrades: list[Request] = []

    async def upgrade(request: Request, _stream: object) -> None:
        await trio.lowlevel.checkpoint()
        upgrades.append(request)

    pipe, bodies = Pipe(data[:cut], data[cut:]), Budget(1000)
    await serve_http(
        pipe,
        answer,
        upgrade,
        before=before,
        upgrade_path="/api/ws",
        limits=Limits(),
        bodies=bodies,
        body_limit=lambda _request: 500,
        address="",
    )
    statuses = [int(part[:3]) for part in pipe.sent.split(b"HTTP/1.1 ")[1:]]
    assert statuses.count(204) == len(calls)
    assert all(status in (100, 204) or 400 <= status < 504 for status in statuses)
    assert bodies.taken == 0


@settings(max_examples=500)
@given(
    st.binary(max_size=64) | st.builds(lambda *parts: b"".join(parts), st.binary(min_size=1, max_size=1), st.binary())
)
def test_data_channel_bytes_are_read_or_malformed(data: bytes) -> None:
    try:
        data_channel.decode_client(data)
    except Malformed:
        return


@settings(max_examples=500)
@given(
    st.one_of(
        st.text(),
        st.binary(),
        st.builds(
            lambda event, payload: msgspec.json.encode({"event": event, "payload": payload}),
            st.sampled_from(sorted(requests.REQUEST_TYPES)) | st.text(),
            json_values,
        ),
    )
)
def test_requests_are_read_or_malformed(data: str | bytes) -> None:
    try:
        requests.decode(data)
    except Malformed:
        return


@settings(max_examples=500)
@given(mutated(ANSWER.encode()).map(lambda data: data.decode("utf-8", "replace")) | st.text())
def test_descriptions_are_read_or_refused(sdp: str) -> None:
    try:
        remote = read_description(sdp)
        remote.check_video("vp8")
        remote.check_tracks()
    except ValueError:
        return


@settings(max_examples=500)
@given(
    st.text() | st.sampled_from(['multipart/form-data; boundary="b"', "multipart/form-data;boundary=b"]), mutated(FORM)
)
def test_forms_are_read_or_refused(content_type: str, body: bytes) -> None:
    try:
        form = read_form(content_type, body)
    except ValueError:
        return
    for files in form.files.values():
        assert all("/" not in file.name or file.name == "/" for file in files)


@settings(max_examples=300)
@given(json_values, st.sampled_from([Profile(), RoomSettings()]))
def test_bodies_are_read_or_refused(value: object, base: msgspec.Struct) -> None:
    try:
        read = from_json(msgspec.json.encode(value), base)
    except ValueError:
        return
    assert type(read) is type(base)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["cookie", "authorization", "upgrade", "connection"]), st.text()))
def test_headers_are_read_or_nothing(headers: dict[str, str]) -> None:
    request = Request("GET", "/", {}, headers)
    assert request.cookie("NEKO_SESSION") is None or "NEKO_SESSION" in headers["cookie"]
    assert request.wants_websocket in (False, True)


def frame(random_: random.Random) -> bytes:
    """A WebSocket frame of a client, or something like it."""
    body = random_.choice(
        [
            random_.randbytes(random_.randrange(60)),
            b'{"event":"signal/request","payload":{}}',
            b'{"event":"control/move","payload":{"x":' + str(random_.getrandbits(70)).encode() + b',"y":-1}}',
            b'{"event":"signal/answer","payload":{"sdp":"' + random_.randbytes(20).hex().encode() + b'"}}',
            b"[" * 100,
        ]
    )
    first = random_.choice([0x81, 0x82, 0x88, 0x89, 0x8A, 0x01, random_.randrange(256)])
    lie = random_.choice([len(body), len(body), 125, 126, 127])
    extended = b"" if lie < 126 else struct.pack(">H", 4) if lie == 126 else struct.pack(">Q", 1 << 62)
    return bytes((first, 0x80 | lie)) + extended + b"\0\0\0\0" + body


@pytest.mark.real_time
@pytest.mark.parametrize("seed", range(2))
async def test_a_thousand_connections_of_garbage_leave_nothing_behind(house: House, seed: int) -> None:
    """They do what they like, in any order, and go in any way; who behaves is served meanwhile and afterwards."""
    dice = random.Random(seed)
    _, token = await house.login("mallory")
    authorised = UPGRADE + f"Authorization: Bearer {token}\r\n\r\n".encode()
    openings = [
        b"",
        REQUEST,
        UPGRADE + b"\r\n",
        authorised,
        authorised,
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/9\r\n\r\n",
    ]
    at_once = trio.Semaphore(50)

    async def attack(number: int) -> None:
        mine = random.Random(seed * 10_000 + number)
        try:
            async with await trio.open_tcp_stream("127.0.0.1", house.port) as stream:
                with trio.move_on_after(mine.choice([0, 0.01, 0.1])):
                    await stream.send_all(mine.choice(openings))
                    for _ in range(mine.randrange(6)):
                        await stream.send_all(frame(mine))
                        await trio.sleep(mine.choice([0, 0.001]))
                    await stream.receive_some()
        except trio.BrokenResourceError:
            pass
        finally:
            at_once.release()

    async with house.client("ann") as ann:
        async with trio.open_nursery() as nursery:
            for number in range(1000):
                await at_once.acquire()
                nursery.start_soon(attack, number)
                if dice.random() < 0.02:
                    await ann.settle()
        await ann.settle()
    assert (await house.call("GET", "/health")).status == 200
    with trio.fail_after(2):
        while house.simulator.faults.connections:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_message_of_garbage_costs_only_itself(house: House) -> None:
    async with house.client() as client:
        for message in ("\uffff" * 1000, "[" * 100_000, "\x00", '{"event":"\\ud800"}'):
            await client.socket.send(message)
        assert await client.settle() == []


async def test_no_answer_of_an_error_carries_what_was_sent(house: House) -> None:
    answer = await house.call("POST", "/api/login", {"username": "<script>", "password": "s3cret"})
    assert b"script" not in answer.body
    assert b"s3cret" not in answer.body
