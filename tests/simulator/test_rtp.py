"""RTP as the real server sends it: held to its recorded packets, and to what a receiver needs."""

from __future__ import annotations

import struct
from pathlib import Path

from aiortc.rtp import RtcpPacket, RtcpSrPacket, RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.media.depayload import FORMATS
from neko_trio.simulator._rtp_packets import (
    MAX_PAYLOAD,
    Av1Payloader,
    H264Payloader,
    Payloader,
    Vp8Payloader,
    Vp9Payloader,
    payloader_for,
)
from neko_trio.simulator._rtp_sender import HISTORY, RtpSender

RECORDINGS = Path(__file__).parent.parent / "recordings"


def recorded(name: str) -> list[list[bytes]]:
    """The payloads of the recorded stream, frame by frame."""
    data = (RECORDINGS / name).read_bytes()
    frames: list[list[bytes]] = [[]]
    at = 0
    while at < len(data):
        _, length = struct.unpack_from(">IH", data, at)
        packet = RtpPacket.parse(data[at + 6 : at + 6 + length])
        at += 6 + length
        frames[-1].append(packet.payload)
        if packet.marker:
            frames.append([])
    return frames[:-1]


def test_vp8_is_cut_like_the_recorded_stream() -> None:
    payloader = Vp8Payloader()
    frames = recorded("rtp-vp8-720p.bin")
    assert len(frames) > 50
    for payloads in frames:
        heads = [1 if not payload[0] & 0x80 else 4 if payload[2] & 0x80 else 3 for payload in payloads]
        frame = b"".join(payload[head:] for payload, head in zip(payloads, heads, strict=True))
        assert payloader.payloads(frame) == payloads


def test_h264_is_cut_like_the_recorded_stream() -> None:
    payloader = H264Payloader()
    frames = recorded("rtp-h264-720p.bin")
    assert len(frames) > 50
    for payloads in frames:
        assert payloader.payloads(b"".join(b"\0\0\0\1" + unit for unit in units_of(payloads))) == payloads


def units_of(payloads: list[bytes]) -> list[bytes]:
    units: list[bytes] = []
    for payload in payloads:
        kind = payload[0] & 0x1F
        if kind == 24:
            at = 1
            while at < len(payload):
                length = int.from_bytes(payload[at : at + 2], "big")
                units.append(payload[at + 2 : at + 2 + length])
                at += 2 + length
        elif kind == 28:
            if payload[1] & 0x80:
                units.append(bytes((payload[0] & 0xE0 | payload[1] & 0x1F,)))
            units[-1] += payload[2:]
        else:
            units.append(payload)
    return units


def test_vp9_is_cut_like_the_recorded_stream() -> None:
    frames = recorded("rtp-vp9-720p.bin")
    payloader = Vp9Payloader(picture=int.from_bytes(frames[0][0][1:3], "big") & 0x7FFF)
    assert len(frames) > 50
    for payloads in frames:
        heads = [11 if payload[0] & 2 else 3 for payload in payloads]
        frame = b"".join(payload[head:] for payload, head in zip(payloads, heads, strict=True))
        assert payloader.payloads(frame) == payloads


def test_av1_is_cut_like_the_recorded_stream() -> None:
    payloader = Av1Payloader()
    frames = recorded("rtp-av1-720p.bin")
    assert len(frames) > 50
    for payloads in frames:
        unit = FORMATS["AV1"].join(payloads)
        assert unit.startswith(b"\x12\0")  # a temporal delimiter, which is not sent
        assert payloader.payloads(unit) == payloads


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 5, 6]), st.booleans(), st.integers(0, 4000)), min_size=1))
def test_av1_units_come_out_as_they_went_in(shapes: list[tuple[int, bool, int]]) -> None:
    unit = b"\x12\0"
    for number, (kind, extended, size) in enumerate(shapes):
        head = bytes((kind << 3 | 2 | extended << 2,)) + b"\x20" * extended
        unit += head + leb128(size) + bytes((number & 0xFF,)) * size
    payloads = Av1Payloader().payloads(unit)
    assert not payloads or max(map(len, payloads)) <= MAX_PAYLOAD
    for payload in payloads:
        assert FORMATS["AV1"].depayload(payload).data == payload
    kept = [
        bytes((kind << 3 | 2 | extended << 2,)) + b"\x20" * extended + leb128(size) + bytes((number & 0xFF,)) * size
        for number, (kind, extended, size) in enumerate(shapes)
        if kind != 2
    ]
    assert FORMATS["AV1"].join(payloads) == b"\x12\0" + b"".join(kept)
    assert sum(payload[0] >> 3 & 1 for payload in payloads) == sum(kind == 1 for kind, _, _ in shapes)


def leb128(value: int) -> bytes:
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80, value >> 7))


def test_h264_leaves_out_delimiters_and_filler() -> None:
    start = b"\0\0\1"
    frame = start + b"\x09\xf0" + start + b"\x0c\xff" + start + b"\x41slice"
    assert H264Payloader().payloads(frame) == [b"\x41slice"]
    assert payloader_for("h264").payloads(b"") == []


@given(st.lists(st.binary(min_size=1, max_size=5000), min_size=1, max_size=5))
def test_no_payload_is_too_large_and_none_is_lost(frames: list[bytes]) -> None:
    payloader: Payloader = Vp8Payloader()
    for number, frame in enumerate(frames):
        payloads = payloader.payloads(frame)
        assert max(map(len, payloads)) <= MAX_PAYLOAD
        head = 1 if number == 0 else 3
        assert b"".join(payload[head:] for payload in payloads) == frame
        assert [bool(payload[0] & 0x10) for payload in payloads] == [True] + [False] * (len(payloads) - 1)


def test_picture_ids_wrap() -> None:
    payloader = Vp8Payloader()
    heads = [payloader.payloads(b"x")[0] for _ in range(0x8002)]
    assert heads[0] == heads[0x8000] == b"\x10x"
    assert heads[127] == b"\x90\x80\x7fx"
    assert heads[128] == b"\x90\x80\x80\x80x"
    assert heads[0x7FFF] == b"\x90\x80\xff\xffx"
    assert heads[0x8001] == b"\x90\x80\x01x"


def test_numbers_and_timestamps_go_on_and_the_last_packet_is_marked() -> None:
    sender = RtpSender(96, ssrc=7)
    packets = [RtpPacket.parse(each) for _ in range(3) for each in sender.frame([b"a", b"b"], 3600, keyframe=True)]
    first = packets[0]
    assert first.sequence_number < 0x8000
    for index, packet in enumerate(packets):
        assert (packet.ssrc, packet.payload_type, packet.version) == (7, 96, 2)
        assert packet.sequence_number == first.sequence_number + index
        assert packet.timestamp == (first.timestamp + 3600 * (index // 2)) & 0xFFFFFFFF
        assert packet.marker == index % 2
        assert packet.payload == (b"a", b"b")[index % 2]
    counts = sender.counts
    assert (counts.packets, counts.octets, counts.frames, counts.keyframes) == (6, 6, 3, 3)


def test_a_nack_brings_the_same_packet_from_the_last_1024() -> None:
    sender = RtpSender(96)
    sent = {RtpPacket.parse(each).sequence_number: each for _ in range(70_000) for each in sender.frame([b"x"], 1)}
    last = RtpPacket.parse(sender.frame([b"x"], 1)[0]).sequence_number
    known = [(last - back) & 0xFFFF for back in (1, 5, HISTORY - 1)]
    assert sender.again(known) == [sent[each] for each in known]
    assert sender.again([(last - HISTORY) & 0xFFFF, (last + 1) & 0xFFFF]) == []
    assert (sender.counts.nacks, sender.counts.resent) == (5, 3)


def test_sender_reports_parse_and_tell_the_truth() -> None:
    sender = RtpSender(96, ssrc=99)
    [packet] = sender.frame([b"12345"], 3600)
    [report] = RtcpPacket.parse(sender.report(1_800_000_000.5))
    assert isinstance(report, RtcpSrPacket)
    assert report.ssrc == 99
    info = report.sender_info
    assert info.ntp_timestamp == ((1_800_000_000 + 2_208_988_800) << 32) + (1 << 31)
    assert info.rtp_timestamp == RtpPacket.parse(packet).timestamp
    assert (info.packet_count, info.octet_count) == (1, 5)
