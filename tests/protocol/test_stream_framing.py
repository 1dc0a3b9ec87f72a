"""RFC 4571: packets over a stream, however the stream is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.protocol.stream_framing import LONGEST_PACKET, Deframer, frame

packets = st.lists(st.binary(max_size=300), max_size=20)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(edges)]


@given(packets, st.lists(st.integers(min_value=0), max_size=30))
def test_packets_come_out_as_they_went_in(sent: list[bytes], places: list[int]) -> None:
    deframer = Deframer()
    stream = b"".join(map(frame, sent))
    received = [packet for part in cut(stream, places) for packet in deframer.feed(part)]
    assert received == [packet for packet in sent if packet], "an empty one says nothing"


@given(st.lists(st.binary(max_size=4096), max_size=60))
def test_whatever_comes_what_is_held_is_one_packet_at_most(parts: list[bytes]) -> None:
    deframer, received = Deframer(), 0
    for part in parts:
        received += sum(len(packet) for packet in deframer.feed(part))
        assert len(deframer._held) < LONGEST_PACKET + 2
    assert received <= sum(map(len, parts))


def test_the_frame_is_the_rfcs() -> None:
    assert frame(b"abc") == b"\x00\x03abc"
    assert Deframer().feed(b"\x00\x03ab") == []
    longest = bytes(LONGEST_PACKET)
    assert Deframer().feed(frame(longest)) == [longest]
    with pytest.raises(ValueError, match="does not fit"):
        frame(bytes(LONGEST_PACKET + 1))
