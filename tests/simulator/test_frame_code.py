"""The code in the picture: what is drawn is read, and nothing else is."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from neko_trio.simulator._frame_code import FRAME_CODE_SIZE, FrameCode, draw_frame_code, read_frame_code
from neko_trio.simulator._picture import Bytes2D, Picture

codes = st.builds(FrameCode, st.integers(0, 2**32 - 1), st.integers(0, 2**48 - 1))


def painted(code: FrameCode) -> Picture:
    picture = Picture(320, 200)
    draw_frame_code(picture.y, code)
    return picture


@given(codes)
def test_what_was_drawn_is_read(code: FrameCode) -> None:
    picture = painted(code)
    assert read_frame_code(picture.y) == code
    assert read_frame_code(picture.to_rgb()) == code
    rgb: Bytes2D = np.zeros((100, 300, 3), np.uint8)
    draw_frame_code(rgb, code, black=0, white=255)
    assert read_frame_code(rgb) == code


@given(codes, st.integers(0, 95))
def test_one_wrong_cell_is_noticed(code: FrameCode, cell: int) -> None:
    luma = painted(code).y
    row, column = divmod(cell, 24)
    part = luma[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
    part[:] = 251 - part
    assert read_frame_code(luma) is None


@given(arrays.arrays(np.uint8, (4, 24)))
@settings(max_examples=50)
def test_pictures_without_a_code_have_none(noise: Bytes2D) -> None:
    assert read_frame_code(noise.repeat(8, 0).repeat(8, 1)) in (None, FrameCode(0, 0))
    for value in (0, 16, 128, 235, 255):
        assert read_frame_code(np.full((100, 300, 3), value, np.uint8)) is None


def test_too_small_is_no_code_and_cannot_be_drawn_on() -> None:
    width, height = FRAME_CODE_SIZE
    for shape in ((height - 1, width), (height, width - 1, 3), (0, 0), (5,)):
        assert read_frame_code(np.zeros(shape, np.uint8)) is None
    with pytest.raises(ValueError, match="192x32"):
        draw_frame_code(np.zeros((height, width - 1), np.uint8), FrameCode(1, 2))


def test_numbers_wrap_and_times_are_seconds() -> None:
    code = FrameCode.of(2**32 + 5, 12.345678)
    assert code == FrameCode(5, 12_345_678)
    assert code.seconds == pytest.approx(12.345678)


@pytest.mark.parametrize(("name", "decoder"), [("libvpx", "vp8"), ("libx264", "h264")])
def test_it_survives_a_starved_encoder(name: str, decoder: str) -> None:
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 640, 360, "yuv420p"
    encoder.time_base, encoder.bit_rate = Fraction(1, 25), 60_000
    encoder.options = {"deadline": "realtime"} if name == "libvpx" else {"tune": "zerolatency"}
    reader = av.CodecContext.create(decoder, "r")
    assert isinstance(reader, VideoCodecContext)
    noise = np.random.default_rng(1)
    sent, seen = [], []
    for number in range(40):
        picture = Picture(640, 360)
        picture.y[40:] = noise.integers(16, 235, (320, 640), np.uint8)  # takes all the bits there are
        sent.append(FrameCode.of(number, 1000 + number / 25))
        draw_frame_code(picture.y, sent[-1])
        frame = picture.to_frame()
        frame.pts = number
        for packet in encoder.encode(frame):
            decoded = reader.decode(av.Packet(bytes(packet)))
            seen += [read_frame_code(each.to_ndarray(format="rgb24").astype(np.uint8)) for each in decoded]
    assert len(seen) >= 20
    assert seen == sent[: len(seen)]
