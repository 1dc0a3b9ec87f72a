"""What comes from the network below the media: ICE's checks, TURN, SRTP, the data channel's SCTP, whole offers."""

from __future__ import annotations

import asyncio
import hmac
import logging
import random
import struct
import zlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import aioice
import pylibsrtp
from aioice import stun
from aiortc import RTCSctpTransport
from google_crc32c import value as crc32c

from fuzzing.media_targets import ALL, MediaSink
from fuzzing.mutation import Mutator
from fuzzing.target import Check, Make, Target, pack, unpack
from fuzzing.text_targets import make_sdp, text_of
from neko_trio._timeline import Timeline
from neko_trio.media.aiortc_private import quieten_sctp
from neko_trio.media.depayload import FORMATS
from neko_trio.media.frames import FrameContext
from neko_trio.media.ice import IceAgent
from neko_trio.media.ice_candidates import REMOTE_LIMIT
from neko_trio.media.ice_relay import CHANNEL_REFRESH, LIFETIME, _OverTcp, _OverUdp
from neko_trio.media.ice_tcp import TcpStream
from neko_trio.media.media_path import MediaPath
from neko_trio.media.offer_check import check_offer
from neko_trio.media.peer import _BAD_SDP
from neko_trio.media.peer_api import IceOptions
from neko_trio.media.receiving_peer import News, ReceivingPeer
from neko_trio.media.sctp_guard import CHUNKS_LIMIT, STREAMS_LIMIT, SctpGuard
from neko_trio.media.stun_protocol import AgentSocket
from neko_trio.protocol import Malformed
from neko_trio.protocol.sdp import read_offer

HOST = "127.0.0.1"


class Loop:
    """A loop of its own, on which what fails in the background fails the input."""

    def __init__(self) -> None:
        logging.getLogger("aioice").setLevel(logging.ERROR)
        logging.getLogger("aiortc").setLevel(logging.CRITICAL)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(self._note)
        self._failure: BaseException | None = None

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._failure = self._failure or context.get("exception") or RuntimeError(context["message"])

    def close(self) -> None:
        """End what still runs, then the loop."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it, and what it has started for this turn."""
        self._loop.run_until_complete(self._turn(work))
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    async def _turn(self, work: Coroutine[Any, Any, None]) -> None:
        await work
        await asyncio.sleep(0)


class Looped:
    """A check whose work is a coroutine."""

    def __init__(
        self,
        give: Callable[[bytes], Coroutine[Any, Any, None]],
        leave: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """``leave`` is the last thing that is done."""
        self._loop, self._give, self._leave = Loop(), give, leave

    def __call__(self, data: bytes) -> None:
        self._loop.run(self._give(data))

    def close(self) -> None:
        self._loop.run(self._leave())
        self._loop.close()


class Wire:
    """A transport of datagrams or bytes that sends nothing, and a bound on what it is asked to send."""

    def __init__(self) -> None:
        self.sent = 0
        self.closed = False

    def sendto(self, data: bytes, _address: Any = None) -> None:
        self.sent += 1

    write = sendto

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (HOST, 40_000) if name in ("peername", "sockname") else default

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


# -- STUN, over datagrams and over TCP; and TURN


def make_stun(rng: random.Random) -> Make:
    """Requests and answers, with attributes harmed: signed as the server would (s), of a request under way (r), as they
    are (n); in a datagram (d), over TCP (t), or from a relay (u, v)."""
    attributes: list[dict[str, Any]] = [
        {"USERNAME": "loca:remo", "PRIORITY": 1, "ICE-CONTROLLING": 5, "USE-CANDIDATE": None},
        {"USERNAME": "loca:remo", "PRIORITY": 1, "ICE-CONTROLLED": 2**64 - 1},
        {"XOR-MAPPED-ADDRESS": (HOST, 9), "SOFTWARE": "x"},
        {"ERROR-CODE": (487, "Role Conflict")},
        {"ERROR-CODE": (401, "Unauthorized"), "REALM": "r", "NONCE": b"n"},
        {"XOR-RELAYED-ADDRESS": (HOST, 9), "LIFETIME": 600, "XOR-PEER-ADDRESS": ("::1", 9), "DATA": b"x"},
    ]
    corpus = [
        bytes(stun.Message(method, kind, b"t" * 12, dict(each)))
        for each in attributes
        for method in (stun.Method.BINDING, stun.Method.ALLOCATE, stun.Method.DATA)
        for kind in stun.Class
    ]
    words = [struct.pack(">HH", number, size) + bytes(size) for number, *_ in stun.ATTRIBUTES for size in (0, 1, 4, 8)]
    by_byte = Mutator(rng, [*corpus, b"\x40\x00\x00\x04abcd"], words)

    def make_one() -> bytes:
        body = bytearray(by_byte.make())
        if len(body) >= 20 and rng.random() < 0.8:
            struct.pack_into(">H", body, 2, (len(body) - 20) & 0xFFFF)
            body[4:8] = struct.pack(">I", stun.COOKIE)
        return rng.choice((b"s", b"s", b"r", b"n")) + rng.choice((b"d", b"d", b"t", b"u", b"v")) + bytes(body)

    return lambda: pack([make_one() for _ in range(1 + rng.randrange(3))])


def _signed(body: bytes, key: bytes) -> bytes:
    """With MESSAGE-INTEGRITY and FINGERPRINT, right for what stands before them."""
    if len(body) < 20:
        return body
    head = stun.set_body_length(body, len(body) - 20 + 24)
    body += struct.pack(">HH", 8, 20) + hmac.digest(key, head, "sha1")
    body = stun.set_body_length(body, len(body) - 20)
    head = stun.set_body_length(body, len(body) - 20 + 8)
    return head + struct.pack(">HHI", 0x8028, 4, zlib.crc32(head) ^ stun.FINGERPRINT_XOR)


class Checking:
    """An agent in the middle of its checks, with a connection over TCP and two relays."""

    async def open(self) -> None:
        self.agent = IceAgent(on_candidate=lambda _: None, server_address=HOST)
        cast(Any, self.agent)._local_username = "loca"
        self.agent.remote_username, self.agent.remote_password = "remo", "r" * 24
        self.agent.servers_complete()
        await self.agent.gather_candidates()
        (self.socket,) = cast("list[AgentSocket]", self.agent.sockets)
        self._real, self.wire = self.socket.transport, Wire()
        self.socket.transport = cast(Any, self.wire)
        self.agent.accept_remote(aioice.Candidate("1", 1, "udp", 1, HOST, 9, "host"))
        self.agent.start_checks()
        self.connecting = asyncio.create_task(self._connect())
        await asyncio.sleep(0)
        over_tcp = AgentSocket(self.agent)
        self.stream = TcpStream(over_tcp)
        self.stream.connection_made(cast(Any, Wire()))
        self.relays = []
        for kind in (_OverUdp, _OverTcp):
            relay = kind((HOST, 3478), "user", "s3cret", LIFETIME, CHANNEL_REFRESH)
            relay.receiver = AgentSocket(self.agent)
            relay.receiver.local_candidate = self.socket.local_candidate
            relay.receiver.transport = cast(Any, Wire())
            relay.connection_made(cast(Any, Wire()))
            relay.peer_to_channel, relay.channel_to_peer = {(HOST, 9): 0x4000}, {0x4000: (HOST, 9)}
            self.relays.append(relay)

    async def _connect(self) -> None:
        with suppress(ConnectionError):
            await self.agent.connect()

    def give(self, packet: bytes) -> None:
        how, way, body = packet[:1], packet[1:2], packet[2:]
        if how == b"s":
            body = _signed(body, self.agent.local_password.encode())
        elif how == b"r" and self.socket.transactions and len(body) >= 20:
            body = _signed(body[:8] + next(iter(self.socket.transactions)) + body[20:], b"r" * 24)
        if way == b"t":
            if not self.stream.is_closing():
                self.stream.data_received(len(body).to_bytes(2, "big")[-2:] + body[:65535])
        elif way in (b"u", b"v"):
            relay = self.relays[way == b"v"]
            if isinstance(relay, _OverUdp):
                relay.datagram_received(body, (HOST, 3478))
            elif not relay.transport.is_closing():
                relay.data_received(body)
        else:
            self.socket.datagram_received(body, (HOST, 9 + len(body) % 200))
        assert len(self.agent.known_remotes) <= REMOTE_LIMIT
        assert len(self.agent.check_list) <= 4 * REMOTE_LIMIT

    async def close(self) -> None:
        self.socket.transport = self._real
        await self.agent.close()
        await asyncio.wait({self.connecting}, timeout=1)


def check_stun() -> Check:
    """Nothing leaves the callbacks of the sockets, no task fails, the lists keep their bounds."""
    used = [0]
    checking: list[Checking] = []

    async def leave() -> None:
        while checking:
            await checking.pop().close()

    async def give(data: bytes) -> None:
        if not checking or used[0] >= 100:
            await leave()
            checking.append(Checking())
            await checking[0].open()
            used[0] = 0
        used[0] += 1
        for packet in unpack(data):
            checking[0].give(packet)

    return Looped(give, leave)


# -- SRTP


def make_srtp(rng: random.Random) -> Make:
    """Packets protected with the right key, harmed before (p) or behind (q) that, or not at all (n)."""
    by_byte = Mutator(rng, ALL)

    def make() -> bytes:
        return pack([rng.choice((b"p", b"q", b"n")) + by_byte.make() for _ in range(1 + rng.randrange(3))])

    return make


def check_srtp() -> Check:
    """libsrtp and what stands around it: each datagram is taken, whatever it is."""
    key = bytes(range(30))
    sink = MediaSink()
    path = MediaPath(cast(Any, sink.transport))
    policy = {"key": key, "ssrc_type": pylibsrtp.Policy.SSRC_ANY_INBOUND}
    cast(Any, path)._session = pylibsrtp.Session(pylibsrtp.Policy(**policy))
    sender = pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND))
    noise = random.Random(1)

    def check(data: bytes) -> None:
        for packet in unpack(data):
            how, body = packet[:1], packet[1:]
            if how != b"n":
                with suppress(pylibsrtp.Error, TypeError, ValueError):
                    body = sender.protect(body)
            if how == b"q" and body:
                body = body[: noise.randrange(len(body))] + bytes((noise.randrange(256),)) + body[-4:]
            if body:
                assert path.take(body)
        assert len(sink.router.ssrc_table) <= 256

    return check


# -- SCTP


def make_sctp(rng: random.Random) -> Make:
    """Packets of every chunk, harmed: with the right tag and checksum, given to a transport that is up."""
    chunks = [
        struct.pack(">BBHIIHHI", 1, 0, 20, 1, 65536, 10, 10, 100),
        struct.pack(">BBHIIHHIHH4s", 1, 0, 28, 1, 65536, 10, 10, 100, 0x8008, 8, b"\xc0\x82\0\0"),
        *(
            struct.pack(">BBHIHHI", 0, flags, 16 + len(data), tsn, stream, number, kind) + data + bytes(-len(data) % 4)
            for flags, tsn, stream, number, kind, data in (
                (3, 100, 0, 0, 50, struct.pack(">BBHLHH4s", 3, 0, 0, 0, 4, 0, b"data")),
                (3, 101, 0, 1, 53, bytes(40)),
                (2, 102, 0, 2, 53, b"begin"),
                (0, 103, 0, 2, 53, b"middle"),
                (1, 104, 0, 2, 53, b"end"),
                (7, 110, 5, 9, 51, b"\xff\xfe"),
                (3, 105, 1, 0, 50, b"\x02"),
            )
        ),
        struct.pack(">BBHIIHHHHI", 3, 0, 24, 5, 65536, 1, 1, 2, 9, 7),
        struct.pack(">BBHHH4s", 4, 0, 12, 1, 8, b"beat"),
        struct.pack(">BBHHH", 6, 0, 8, 0, 4),
        struct.pack(">BBHIHH", 192, 0, 12, 120, 0, 3),
        struct.pack(">BBHHHIIIH2x", 130, 0, 22, 13, 18, 1, 0, 104, 0),
        struct.pack(">BBHHHII", 130, 0, 16, 16, 12, 1, 1),
        struct.pack(">BBHHHIHH", 130, 0, 16, 17, 12, 1, 5, 0),
        struct.pack(">BBHI", 7, 0, 8, 5),
        struct.pack(">BBH", 8, 0, 4),
        struct.pack(">BBH4s", 10, 0, 8, b"cook"),
        struct.pack(">BBH", 11, 0, 4),
        struct.pack(">BBH", 14, 0, 4),
    ]
    by_byte = Mutator(rng, chunks, [b"\0\1\0\0", b"\0\0\0\4", struct.pack(">HH", 1, 65535) * 8])

    def make_one() -> bytes:
        picked = [by_byte.make() if rng.random() < 0.6 else by_byte.pick() for _ in range(1 + rng.randrange(3))]
        return b"".join(each + bytes(-len(each) % 4) for each in picked)[:1480]

    return lambda: pack([make_one() for _ in range(1 + rng.randrange(3))])


def check_sctp() -> Check:
    """The guard in front of aiortc's transport: no exception, no endless reading, no more kept than its bounds."""
    kept: list[tuple[RTCSctpTransport, SctpGuard]] = []
    used = [0]

    async def sent(_data: bytes) -> None:
        await asyncio.sleep(0)

    async def open_one() -> None:
        below = SimpleNamespace(state="connected", _send_data=sent, transport=SimpleNamespace(role="controlled"))
        transport = RTCSctpTransport(cast(Any, below))
        quieten_sctp(transport)
        guard = SctpGuard(transport)
        cast(Any, transport)._last_received_tsn = 99
        cast(Any, transport)._remote_port = 5000
        transport._set_state(RTCSctpTransport.State.ESTABLISHED)
        kept.append((transport, guard))

    async def close_one() -> None:
        if not kept:
            return
        transport, _ = kept.pop()
        for name in ("_t1_cancel", "_t2_cancel", "_t3_cancel"):
            getattr(transport, name)()
        handle = cast(Any, transport)._reconfig_handle
        if handle is not None:
            handle.cancel()

    async def give(data: bytes) -> None:
        if used[0] >= 60 or not kept:
            await close_one()
            await open_one()
            used[0] = 0
        used[0] += 1
        transport, guard = kept[0]
        for chunks in unpack(data):
            tag = 0 if chunks[:1] == b"\x01" else cast(Any, transport)._local_verification_tag
            packet = struct.pack(">HHII", 5000, 5000, tag, 0) + chunks
            packet = packet[:8] + struct.pack("<I", crc32c(packet)) + packet[12:]
            await transport._handle_data(packet)
            assert guard._inbound.chunks <= CHUNKS_LIMIT + 400
            assert len(guard._inbound.streams) <= STREAMS_LIMIT + 400

    return Looped(give, close_one)


# -- whole offers


def check_offers() -> Check:
    """aiortc takes the offer, answers, takes it again, and is closed: only what the peer has a typed error for."""
    nothing: Any = lambda *_: None  # noqa: E731
    slot = SimpleNamespace(plug=nothing, unplug=nothing, put=nothing)

    async def give(data: bytes) -> None:
        sdp = text_of(data)
        try:
            offer = read_offer(sdp)
            check_offer(sdp)
        except Malformed:
            return
        codec = next((name for name in offer.video_codecs if name in FORMATS), None)
        if codec is None and offer.video_codecs:
            return
        setup = SimpleNamespace(
            ice=IceOptions(), server_address=HOST, audio=None, slot=slot, timeline=Timeline(), new_number=lambda: 1
        )
        setup.frame_context = lambda: FrameContext(setup, 1, (1280, 720), None)
        peer = ReceivingPeer(cast(Any, setup), codec, News(*[nothing] * 7))
        try:
            with suppress(*_BAD_SDP):
                await peer.set_remote_description(sdp)
                peer.agent.servers_complete()
                await peer.set_local_description()
                await peer.renegotiate(sdp)
        finally:
            await peer.start_close()

    async def leave() -> None:
        await asyncio.sleep(0)

    return Looped(give, leave)


NETWORK_TARGETS = (
    Target("stun", make_stun, check_stun, 1.5),
    Target("srtp", make_srtp, check_srtp, 2.0),
    Target("sctp", make_sctp, check_sctp),
    Target("offers", make_sdp, check_offers, 0.02, 5.0),
)
