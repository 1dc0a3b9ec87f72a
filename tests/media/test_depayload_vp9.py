"""VP9's payload descriptor in all its forms, and layer frames put together to what a decoder shows."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.media.depayload import FORMATS, BadPayload, depayload_vp9
from neko_trio.media.depayload.vp9 import join_vp9

KEY = b"\x82\x49\x83\x42rest"
DELTA = b"\x86rest"
LAST_OF_REFERENCES = [b"\x02", b"\x03\x04", b"\x03\x05\x06"]


@pytest.mark.parametrize(
    "descriptor",
    [
        b"\x08",  # nothing but B
        b"\x88\x2a",  # a picture id of 7 bits
        b"\x88\xaa\x2a",  # of 15 bits
        b"\xa8\xaa\x2a\x00\x07",  # layer indices, and TL0PICIDX without F
        b"\xb8\xaa\x2a\x20",  # flexible mode: layer indices only
        b"\x98\xaa\x2a",  # flexible mode without references, as pion has it for all frames
        *(b"\xd8\xaa\x2a" + references for references in LAST_OF_REFERENCES),
        b"\xf8\xaa\x2a\x20\x03\x04",
        b"\x8a\xaa\x2a\x18\x05\x00\x02\xd0\x01\x14\x01",  # the structure that the real server sends
        b"\x8a\xaa\x2a\x38\x05\x00\x02\xd0\x0a\x00\x05\xa0\x02\x18\x01\x02\x00",  # two layers, a group of two pictures
        b"\x8a\xaa\x2a\x20",  # two layers, nothing said about them
    ],
    ids=lambda descriptor: descriptor.hex(),
)
@pytest.mark.parametrize("content", [KEY, DELTA], ids=["key", "delta"])
def test_the_descriptor_is_cut_off_and_keyframes_are_seen(descriptor: bytes, content: bytes) -> None:
    payload = depayload_vp9(descriptor + content)
    assert payload.data == content
    assert payload.key is payload.opens_key is (content is KEY)


@pytest.mark.parametrize("descriptor", [b"\x08", b"\x88\xaa\x2a", b"\x8a\xaa\x2a\x18\x05\x00\x02\xd0\x01\x14\x01"])
def test_every_descriptor_cut_short_is_refused(descriptor: bytes) -> None:
    for end in range(1, len(descriptor) + 1):
        with pytest.raises(BadPayload):
            depayload_vp9(descriptor[:end])


def test_more_references_than_there_are_is_refused() -> None:
    with pytest.raises(BadPayload, match="3 references"):
        depayload_vp9(b"\xd8\xaa\x2a\x03\x05\x07\x08" + DELTA)


@pytest.mark.parametrize(
    ("first", "key"),
    [
        (0x82, True),  # profile 0
        (0xA2, True),  # profile 1: 4:4:4, what vp9enc makes of the desktop's RGB
        (0x92, True),  # profile 2
        (0xB1, True),  # profile 3, whose flags are one bit later
        (0x86, False),  # not a key frame
        (0xB3, False),
        (0x8A, False),  # shows an existing frame
        (0xB5, False),
        (0x42, False),  # no frame marker
    ],
)
def test_keyframes_by_the_frames_own_header(first: int, key: bool) -> None:
    assert depayload_vp9(bytes((0x08, first)) + b"\x49\x83\x42").key is key


def test_only_a_first_piece_of_the_lowest_layer_opens_a_picture() -> None:
    assert not depayload_vp9(b"\x80\x2a" + KEY).key  # goes on
    upper = depayload_vp9(b"\xb8\xaa\x2a\x02" + KEY)
    assert not upper.key
    assert not upper.opens_key


@given(st.lists(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4), min_size=1, max_size=8))
def test_layer_frames_are_joined_by_a_superframe_index(layers: list[list[bytes]]) -> None:
    pieces = [
        depayload_vp9(bytes((0xB0 | (8 if number == 0 else 0), 0xAA, 0x2A, layer << 1)) + piece).data
        for layer, fragments in enumerate(layers)
        for number, piece in enumerate(fragments)
    ]
    joined = join_vp9(pieces)
    frames = [b"".join(fragments) for fragments in layers]
    if len(frames) == 1:
        assert joined == frames[0]
        return
    marker = joined[-1]
    assert marker == 0b110_11_000 | len(frames) - 1
    index = joined[-2 - 4 * len(frames) :]
    assert index[0] == marker
    assert [int.from_bytes(index[at : at + 4], "little") for at in range(1, len(index) - 1, 4)] == list(
        map(len, frames)
    )
    assert joined == b"".join(frames) + index


def test_more_layers_than_a_superframe_holds_are_refused() -> None:
    pieces = [depayload_vp9(b"\xb8\xaa\x2a" + bytes((min(layer, 7) << 1,)) + KEY).data for layer in range(9)]
    with pytest.raises(BadPayload):
        join_vp9(pieces)


def test_what_is_shown_of_several_layers_is_the_highest() -> None:
    small, large = encode((160, 96), 60), encode((320, 192), 200)
    pieces = []
    for layer, frame in enumerate((small, large)):
        for at in range(0, len(frame), 50):
            flags = 0xB0 | (8 if at == 0 else 0)
            pieces.append(depayload_vp9(bytes((flags, 0xAA, 0x2A, layer << 1)) + frame[at : at + 50]))
    assert [piece.key for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    [picture] = decode(join_vp9([piece.data for piece in pieces]))
    assert (picture.width, picture.height) == (320, 192)
    [alone] = decode(large)
    assert np.array_equal(picture.to_ndarray(format="gray"), alone.to_ndarray(format="gray"))


def encode(size: tuple[int, int], value: int) -> bytes:
    context = av.CodecContext.create("libvpx-vp9", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height = size
    context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
    context.options = {"deadline": "realtime", "lag-in-frames": "0"}
    pixels = np.linspace(0, value, size[0] * size[1], dtype=np.uint8).reshape(size[1], size[0])
    frame = av.VideoFrame.from_ndarray(pixels, "gray").reformat(format="yuv420p")
    frame.pts = 0
    [packet] = context.encode(frame)
    return bytes(packet)


def decode(data: bytes) -> list[av.VideoFrame]:
    context = av.CodecContext.create(FORMATS["VP9"].decoder, "r")
    assert isinstance(context, av.VideoCodecContext)
    return context.decode(av.Packet(data))
