"""What the fuzzers found, each as small as it could be made: none of it may come back."""

from __future__ import annotations

import asyncio
import re
import struct
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiortc import RTCRtpReceiver
from aiortc.rtcdtlstransport import RtpRouter
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtpPacket
from google_crc32c import value as crc32c
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.errors import InvalidInput
from neko_trio.media import sctp_guard
from neko_trio.media.aiortc_private import SOURCES_LIMIT, take_packets
from neko_trio.media.decoder import Decoder, open_decoder
from neko_trio.media.depayload import FORMATS, BadPayload
from neko_trio.media.depayload.vp9_size import bounded_vp9
from neko_trio.media.ice import IceAgent
from neko_trio.media.jitter_buffer import JitterBuffer
from neko_trio.media.media_path import MediaPath
from neko_trio.media.offer_check import check_offer
from neko_trio.media.picture_group import NumberedFrame
from neko_trio.media.sctp_guard import CHUNKS_LIMIT, STREAMS_LIMIT, SctpGuard
from neko_trio.media.stun_protocol import AgentSocket
from neko_trio.protocol import Malformed
from neko_trio.protocol.sctp import GAPS_LIMIT, check_packet
from neko_trio.signaling.url import parse_server_url
from tests.hostile.servers import recorded_offers
from tests.media.conftest import read_recording

# -- RTP and RTCP


class Clear:
    """In the place of an SRTP session: what it protects is clear."""

    def unprotect(self, data: bytes) -> bytes:
        return data

    unprotect_rtcp = unprotect


def media_path() -> tuple[MediaPath, RtpRouter, list[RtpPacket]]:
    """One receiver for payload type 96, behind a path whose answer has taken the send time as extension 2."""
    router, extensions, taken = RtpRouter(), HeaderExtensionsMap(), list[RtpPacket]()
    sent = RTCRtpHeaderExtensionParameters(2, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time")
    extensions.configure(RTCRtpParameters(headerExtensions=[sent]))
    path = MediaPath(cast(Any, SimpleNamespace(_rtp_header_extensions_map=extensions, _rtp_router=router)))
    cast(Any, path)._session = Clear()
    receiver = RTCRtpReceiver("video", cast(Any, SimpleNamespace(state="new")))
    take_packets(receiver, taken.append)
    router.register_receiver(receiver, ssrcs=[], payload_types=[96])
    return path, router, taken


def test_a_remb_with_fewer_sources_than_it_says_is_refused() -> None:
    path, _, _ = media_path()
    assert path.take(struct.pack(">BBHII4sBBH", 0x8F, 206, 4, 1, 0, b"REMB", 255, 0, 0))
    assert path.packets_refused == 1


def test_a_header_extension_of_another_length_is_refused() -> None:
    path, _, taken = media_path()
    head = struct.pack(">BBHII", 0x90, 96, 1, 1, 1)
    assert path.take(head + struct.pack(">HH4s", 0xBEDE, 1, b"\x20\x01\0\0") + b"payload")
    assert (path.packets_refused, taken) == (1, [])
    assert path.take(head + struct.pack(">HH4s", 0xBEDE, 1, b"\x22\x01\x02\x03") + b"payload")
    assert (path.packets_refused, len(taken)) == (1, 1)


def test_a_source_for_every_packet_is_not_remembered_for_ever() -> None:
    path, router, taken = media_path()
    for ssrc in range(10 * SOURCES_LIMIT):
        path.take(struct.pack(">BBHII", 0x80, 96, ssrc, 1, ssrc) + b"payload")
    assert len(taken) == 10 * SOURCES_LIMIT
    assert len(router.ssrc_table) == SOURCES_LIMIT


# -- STUN


def test_an_attribute_of_another_length_is_ignored() -> None:
    async def run() -> None:
        agent = IceAgent(on_candidate=lambda _: None)
        socket = AgentSocket(agent)
        for number in (0x8029, 0x802A, 0x24, 0x0D, 0x8028):
            body = struct.pack(">HHI", number, 3, 0)
            socket.datagram_received(struct.pack(">HHI12s", 1, len(body), 0x2112A442, b"t" * 12) + body, ("8.8.8.8", 9))
        assert agent.checks_received == 0
        await agent.close()

    asyncio.run(run())


# -- SCTP


def packet(*chunks: bytes) -> bytes:
    return struct.pack(">HHII", 5000, 5000, 0, 0) + b"".join(chunks)


def chunk(kind: int, value: bytes, flags: int = 0) -> bytes:
    return struct.pack(">BBH", kind, flags, 4 + len(value)) + value + bytes(-len(value) % 4)


@pytest.mark.parametrize(
    "chunks",
    {
        "a parameter without length": chunk(4, b"\0\1\0\0"),  # aiortc would read it for ever
        "of an init": chunk(1, bytes(16) + b"\x80\x08\0\0"),
        "a parameter beyond the chunk": chunk(130, b"\0\x0d\0\x40"),
        "a gap of everything, often": chunk(3, struct.pack(">IIHH", 1, 1, 300, 0) + b"\0\1\xff\xff" * 300),
        "fewer gaps than it says": chunk(3, struct.pack(">IIHH", 1, 1, 9, 0)),
        "data without data": chunk(0, bytes(12)),
        "a chunk beyond the packet": b"\0\0\0\x40",
        "a chunk without length": b"\0\0\0\0",
        "half a chunk": b"\0\0",
    }.items(),
    ids=lambda item: item[0],
)
def test_a_packet_that_would_be_read_too_long_is_refused(chunks: tuple[str, bytes]) -> None:
    with pytest.raises(Malformed, match="SCTP"):
        check_packet(packet(chunks[1]))


def test_the_streams_of_a_packet() -> None:
    data = chunk(0, struct.pack(">IHHI", 1, 7, 0, 53) + b"x")
    forward = chunk(192, struct.pack(">IHHHH", 1, 8, 0, 9, 0))
    report = chunk(3, struct.pack(">IIHHHH", 1, 1, 1, 0, 1, GAPS_LIMIT))
    assert check_packet(packet(data, report, forward)) == (7, 8, 9)


@given(st.binary(max_size=80))
def test_any_packet_is_read_or_refused(data: bytes) -> None:
    for given_ in (data, packet(data), packet(chunk(1, bytes(16) + data), chunk(3, data), chunk(130, data))):
        try:
            check_packet(given_)
        except Malformed:
            continue


class Association:
    """A transport that is up, with a guard in front, above nothing."""

    def __init__(self) -> None:
        from aiortc import RTCSctpTransport

        below = SimpleNamespace(state="connected", _send_data=self._send, transport=SimpleNamespace(role="controlled"))
        self.transport = RTCSctpTransport(cast(Any, below))
        self.private = cast(Any, self.transport)
        self.guard = SctpGuard(self.transport)
        self.private._last_received_tsn, self.private._remote_port = 99, 5000
        self.transport._set_state(RTCSctpTransport.State.ESTABLISHED)
        self.sent = 0

    async def _send(self, data: bytes) -> None:
        self.sent += 1

    async def give(self, *chunks: bytes, tag: int | None = None) -> None:
        body = struct.pack(">HHII", 5000, 5000, self.private._local_verification_tag if tag is None else tag, 0)
        body += b"".join(chunks)
        await self.private._handle_data(body[:8] + struct.pack("<I", crc32c(body)) + body[12:])


def data_chunk(tsn: int, data: bytes, *, stream: int = 0, flags: int = 3, kind: int = 53, number: int = 0) -> bytes:
    return chunk(0, struct.pack(">IHHI", tsn & 0xFFFFFFFF, stream, number & 0xFFFF, kind) + data, flags)


def test_what_aiortc_trips_over_costs_one_packet() -> None:
    async def run() -> None:
        association = Association()
        opening = struct.pack(">BBHLHH", 3, 0, 0, 0, 4, 0)
        await association.give(data_chunk(100, opening + b"\xff\xfe\xff\xff", kind=50))  # a label that is no Unicode
        await association.give(data_chunk(101, b"\x02", kind=50, stream=1))  # an answer to nothing
        await association.give(chunk(1, bytes(16)), chunk(1, bytes(16)), tag=0)  # two beginnings
        assert association.guard.packets_refused == 3
        found: list[Any] = []
        association.transport.on("datachannel", found.append)
        await association.give(data_chunk(102, opening + b"data", kind=50, stream=2))
        assert [channel.label for channel in found] == ["data"]

    asyncio.run(run())


def test_a_message_without_end_and_streams_without_number_are_bounded() -> None:
    async def run() -> None:
        association = Association()
        inbound = association.guard._inbound
        await association.give(data_chunk(100, b"begin", flags=2))
        for tsn in range(101, 101 + 2 * CHUNKS_LIMIT):
            association.private._inbound_streams[0].reassembly.append(None)  # quicker than a message without end
            if tsn > 101 + CHUNKS_LIMIT:
                await association.give(data_chunk(tsn, b"x", flags=0))
        assert association.guard.packets_refused == CHUNKS_LIMIT - 1
        association = Association()
        inbound = association.guard._inbound
        for number in range(100):
            await association.give(data_chunk(100 + number, b"x", stream=number, flags=2))
        assert len(inbound.streams) == STREAMS_LIMIT
        assert association.guard.packets_refused == 100 - STREAMS_LIMIT
        association = Association()
        for number in range(3000):  # more than the window that was granted
            await association.give(data_chunk(100 + number, bytes(1200), flags=2 if number == 0 else 0))
        assert association.guard._inbound.room > -1300
        assert association.guard.packets_refused > 2000

    asyncio.run(run())


def test_numbers_that_leave_holes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sctp_guard, "CHUNKS_LIMIT", 50)

    async def run() -> None:
        association = Association()
        for number in range(300):
            await association.give(data_chunk(102 + 2 * number, b"x"))
        assert association.guard._inbound.chunks == 50
        assert association.guard.packets_refused == 250

    asyncio.run(run())


# -- text


def test_the_hint_for_a_url_can_be_printed() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_server_url("desk\ud800:8080")
    str(caught.value).encode()


@pytest.mark.parametrize("zone", ["Ȕ", "a b", "a/b", "a%20b"])
def test_the_zone_of_an_address_is_ascii(zone: str) -> None:
    with pytest.raises(InvalidInput):
        parse_server_url(f"http://[fe80::1%25{zone}]:80")
    assert parse_server_url("http://[fe80::1%25eth0]:80").host == "fe80::1%eth0"


# -- pictures


def vp9_frame(width: int, height: int, *, inter: bool = False, profile: int = 0, colours: str = "") -> bytes:
    """The head of a frame that says so; ``colours``: bits of its colour configuration."""
    bits = "10" + f"{profile & 1}{profile >> 1}" + ("0" if profile == 3 else "") + "0"
    if inter:
        bits += "110" + "00" + "0" * 8 + "0" * 12 + "000"
    else:
        bits += f"010{0x498342:024b}" + (
            colours or ("0" if profile >= 2 else "") + "001" + ("0000" if profile & 1 else "0")
        )
    bits += f"{width - 1:016b}{height - 1:016b}"
    return int(bits.ljust(-(-len(bits) // 8) * 8, "1"), 2).to_bytes(-(-len(bits) // 8), "big") + bytes(20)


def superframe(*frames: bytes) -> bytes:
    marker = bytes((0xC0 | 3 << 3 | len(frames) - 1,))
    return b"".join((*frames, marker, *(len(frame).to_bytes(4, "little") for frame in frames), marker))


@pytest.mark.parametrize("inter", [False, True], ids=["key", "inter"])
@pytest.mark.parametrize("profile", [0, 1, 2, 3])
def test_a_vp9_frame_says_how_large_it_is(profile: int, inter: bool) -> None:
    small, large = (
        vp9_frame(4096, 2160, profile=profile, inter=inter),
        vp9_frame(65536, 65536, profile=profile, inter=inter),
    )
    assert bounded_vp9(small, 4096 * 2160) == superframe(small)
    with pytest.raises(BadPayload):
        bounded_vp9(small, 4096 * 2160 - 1)
    for frames in ((large,), (small, large), (large, small)):
        with pytest.raises(BadPayload):
            bounded_vp9(superframe(*frames), 4096 * 2160)
    assert bounded_vp9(superframe(small, small), 4096 * 2160) == superframe(small, small)


def test_what_lies_behind_a_vp9_frame_is_no_other_one() -> None:
    """libvpx would take it for one; with an index that says that there is one frame it does not."""
    hidden = vp9_frame(8, 8) + vp9_frame(65536, 65536)
    assert bounded_vp9(hidden, 100) == superframe(hidden)


@given(st.binary(max_size=60))
def test_any_vp9_frame_is_bounded_or_refused(data: bytes) -> None:
    try:
        assert bounded_vp9(data, 10_000).startswith(data)
    except BadPayload:
        assert len(data) > 3


@pytest.mark.parametrize("codec", ["VP8", "VP9", "H264", "AV1"])
def test_a_recorded_picture_is_shown_and_one_beyond_the_bound_is_not(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded() -> int:
        shown = list[object]()
        decoder = Decoder(FORMATS[codec], lambda _frame, picture: shown.append(picture))
        cast(Any, decoder)._loop = SimpleNamespace(call_soon_threadsafe=lambda call: None)
        context = open_decoder(FORMATS[codec])
        buffer = JitterBuffer(FORMATS[codec])
        for number, (_, packet) in enumerate(read_recording(f"rtp-{codec.lower()}-720p.bin")[:200]):
            payload = FORMATS[codec].depayload(packet.payload)
            for frame in buffer.receive(packet.sequence_number, packet.timestamp, bool(packet.marker), payload, number):
                decoder._decode(context, NumberedFrame(number + 1, cast(Any, None), frame))
        assert bool(decoder.decode_errors) is not bool(shown)
        return len(shown)

    assert decoded() > 0
    monkeypatch.setattr("neko_trio.media.decoder.MOST_PIXELS", 1280 * 719)
    assert decoded() == 0


# -- offers


def test_a_bundle_of_a_section_that_is_not_there_is_refused() -> None:
    (offer, *_) = recorded_offers()
    assert check_offer(offer) is None  # type: ignore[func-returns-value]  # it raises, or does not
    head, *sections = re.split(r"(?m)^(?=m=)", offer)
    with pytest.raises(Malformed, match="bundle"):
        check_offer(head + sections[0])
