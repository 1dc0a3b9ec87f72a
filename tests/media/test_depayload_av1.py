"""AV1's aggregation header in all its forms, and OBUs put together to what a decoder takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.media.depayload import BadPayload, depayload_av1
from neko_trio.media.depayload.av1 import join_av1, leb128, read_leb128

Z, Y, N = 0x80, 0x40, 0x08
DELIMITER = b"\x12\x00"
SEQUENCE = b"\x08seq"
KEY, DELTA = b"\x30\x10frame", b"\x30\x30frame"  # frame OBUs: shown key frame; shown inter frame


def packet(flags: int, *elements: bytes, counted: bool = True) -> bytes:
    """A payload of these elements; ``counted``: W says how many, and the last has no size."""
    *others, last = elements
    sized = b"".join(leb128(len(element)) + element for element in others)
    head = flags | (len(elements) << 4 if counted else 0)
    return bytes((head,)) + sized + (last if counted else leb128(len(last)) + last)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(
    ("elements", "opens", "key"),
    [
        ((SEQUENCE, KEY), True, True),
        ((b"\x10", SEQUENCE, KEY), True, True),  # behind a temporal delimiter, which should not have been sent
        ((SEQUENCE, b"\x28meta", KEY), True, True),
        ((SEQUENCE, DELTA), False, False),  # the header is repeated within its sequence
        ((SEQUENCE, b"\x30\x00hidden"), False, False),  # a key frame that is not shown yet
        ((SEQUENCE, b"\x30\x90"), False, False),  # shows an existing frame
        ((SEQUENCE, b"\x18\x10header"), True, True),  # the frame's header is an OBU of its own
        ((SEQUENCE, b"\x34\x00\x10layer"), True, True),  # with an extension
        ((SEQUENCE, b"\x32\x06\x10frame"), True, True),  # with its size, which it need not have
        ((KEY,), False, True),
        ((DELTA,), False, False),
        ((KEY, SEQUENCE), False, True),
    ],
)
def test_what_a_packet_begins(elements: tuple[bytes, ...], opens: bool, key: bool, counted: bool) -> None:
    payload = depayload_av1(packet(0, *elements, counted=counted))
    assert payload == (packet(0, *elements, counted=counted), opens, key)


@pytest.mark.parametrize("frame", [(), (b"\x30",), (b"\x34\x00",), (b"\x32",), (b"\x32\x80",)])
def test_where_the_frames_own_header_is_not_seen_the_new_sequence_bit_decides(frame: tuple[bytes, ...]) -> None:
    flags = Y if frame else 0
    assert depayload_av1(packet(flags | N, SEQUENCE, *frame))[1:] == (True, True)
    assert depayload_av1(packet(flags, SEQUENCE, *frame))[1:] == (True, False)
    assert depayload_av1(packet(flags | N, b"\x28meta", *frame))[1:] == (False, False)


def test_a_continued_obu_says_nothing_of_what_begins() -> None:
    assert depayload_av1(packet(Z, KEY))[1:] == (False, False)
    assert depayload_av1(packet(Z, b"\xffrest", KEY))[1:] == (False, True)
    assert depayload_av1(packet(Z, b"rest", SEQUENCE, KEY))[1:] == (False, True)


@pytest.mark.parametrize(
    "bad",
    [
        b"\x10",
        b"\x00",
        b"\x20\x01\x30",
        b"\x00\x05\x30",
        b"\x00\x80",
        b"\x00" + b"\x80" * 8 + b"\x01x",
        b"\x00\xff\xff\xff\xff\x7f",
        b"\x10\xb0\x10",
    ],
    ids=["empty", "no element", "fewer than W", "cut short", "no size", "long size", "large size", "forbidden bit"],
)
def test_garbage_is_refused(bad: bytes) -> None:
    with pytest.raises(BadPayload):
        depayload_av1(bad)


def test_obus_get_their_sizes_and_delimiters_are_ours() -> None:
    joined = join_av1([packet(N, b"\x10", SEQUENCE, KEY)])
    assert joined == DELIMITER + b"\x0a\x03seq" + b"\x32\x06\x10frame"


def test_extensions_stay_and_sizes_that_were_sent_are_believed() -> None:
    extended = b"\x34\x28\x10frame"
    sized = b"\x36\x28\x06\x10frame" + b"trailing"
    expected = b"\x36\x28\x06\x10frame"
    assert join_av1([packet(0, extended)]) == join_av1([packet(0, sized)]) == DELIMITER + expected


def test_empty_elements_and_tile_lists_are_left_out() -> None:
    assert join_av1([packet(0, b"", b"\x40tiles", DELTA, counted=False)]) == DELIMITER + b"\x32\x06\x30frame"


@given(obus=st.lists(st.binary(max_size=30), min_size=1, max_size=6), cuts=st.data(), counted=st.booleans())
def test_fragments_of_any_size_make_the_same_unit(obus: list[bytes], cuts: st.DataObject, counted: bool) -> None:
    whole = [bytes((6 << 3,)) + obu for obu in obus]
    payloads: list[bytes] = []
    flags, elements = 0, list[bytes]()
    for obu in whole:
        ends = sorted(cuts.draw(st.sets(st.integers(1, 30), max_size=3)))
        ends = [end for end in ends if end < len(obu)]
        pieces = [obu[at:end] for at, end in zip([0, *ends], [*ends, len(obu)], strict=True)]
        for piece in pieces[:-1]:  # a fragment ends its packet
            payloads.append(packet(flags | Y, *elements, piece, counted=counted and len(elements) < 3))
            flags, elements = Z, []
        elements.append(pieces[-1])
        if cuts.draw(st.booleans()):
            payloads.append(packet(flags, *elements, counted=counted and len(elements) < 4))
            flags, elements = 0, []
    if elements:
        payloads.append(packet(flags, *elements, counted=counted and len(elements) < 4))
    for payload in payloads:
        assert depayload_av1(payload).data == payload
    assert join_av1(payloads) == DELIMITER + b"".join(b"\x32" + leb128(len(obu)) + obu for obu in obus)


@pytest.mark.parametrize(
    "payloads",
    [
        [packet(Z, KEY)],
        [packet(Y, KEY)],
        [packet(Y, KEY), packet(0, KEY)],
        [packet(0, KEY), packet(Z, KEY)],
        [packet(0, b"\x34")],
        [packet(0, b"\x32\x09short")],
        [packet(Y, b"\x32"), packet(Z, b"\x80")],
    ],
    ids=["no beginning", "no end", "not continued", "not begun", "header cut", "obu cut", "size cut"],
)
def test_fragments_that_make_no_unit_are_refused(payloads: list[bytes]) -> None:
    with pytest.raises(BadPayload):
        join_av1(payloads)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=4))
def test_leb128_goes_there_and_back(value: int, behind: bytes) -> None:
    encoded = leb128(value)
    assert len(encoded) <= 5
    assert read_leb128(b"x" + encoded + behind, 1) == (value, 1 + len(encoded))


def test_leb128_may_be_longer_than_it_must() -> None:
    assert read_leb128(b"\x81\x80\x80\x80\x80\x80\x80\x00", 0) == (1, 8)


@pytest.mark.parametrize("encoded", [b"\x80\x80\x80\x80\x10", b"\xff" * 7 + b"\x7f", b"\x80" * 8, b"\x80", b""])
def test_leb128_of_more_than_32_bits_or_without_end_is_refused(encoded: bytes) -> None:
    with pytest.raises(BadPayload):
        read_leb128(encoded, 0)
