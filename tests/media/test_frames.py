from __future__ import annotations

import gc
import io
import threading
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from neko_trio.errors import InvalidInput
from neko_trio.media.frames import Frame, FrameContext, Pixels, frame_from_rgb

CONTEXT = FrameContext(session=object(), epoch=2, screen_size=(1280, 720), stream="hq")


def pattern(width: int, height: int) -> Pixels:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x + y) % 256], axis=-1).astype(
        np.uint8
    )


def frame(width: int = 64, height: int = 48) -> Frame:
    return frame_from_rgb(pattern(width, height), number=7, context=CONTEXT, arrived=perf_counter() - 0.5)


def decoded(width: int = 1280, height: int = 720) -> Frame:
    """As a decoder makes them: YUV 4:2:0 with tags."""
    picture = av.VideoFrame.from_ndarray(pattern(width, height), format="rgb24").reformat(format="yuv420p")
    picture.color_trc = picture.color_primaries = 1
    return Frame(1, perf_counter(), CONTEXT, picture)


def test_says_what_was_seen_and_when() -> None:
    one = frame()
    assert (one.number, one.epoch, one.size, one.screen_size, one.stream) == (7, 2, (64, 48), (1280, 720), "hq")
    assert one.context.session is CONTEXT.session
    assert 0.5 <= one.age() < 5
    assert "64x48" in repr(one)
    with pytest.raises(AttributeError):
        one.number = 8  # type: ignore[misc]
    assert one != frame()


def test_pixels_are_rgb_and_the_callers_own() -> None:
    one = frame()
    rgb = one.to_ndarray()
    assert rgb.shape == (48, 64, 3)
    assert rgb.dtype == np.uint8
    assert np.array_equal(rgb, pattern(64, 48))
    assert rgb.flags.writeable
    assert rgb.flags.c_contiguous
    rgb[:] = 0
    assert np.array_equal(one.to_ndarray(), pattern(64, 48))


def test_pixels_of_a_decoded_picture_are_the_callers_own_too() -> None:
    one = decoded(321, 77)
    rgb = one.to_ndarray()
    assert rgb.flags.c_contiguous
    before = rgb.copy()
    rgb[:] = 0
    assert np.array_equal(one.to_ndarray(), before)


def test_a_decoded_picture_has_the_colours_it_was_made_of() -> None:
    difference = np.abs(decoded().to_ndarray().astype(int) - pattern(1280, 720))
    assert np.median(difference[:, :, :2]) <= 3


def test_one_frame_converted_in_many_threads() -> None:
    one = decoded()
    # A reformatter clears these in place while it works: set, they would be one thread's input and another's scratch.
    assert (one._picture.color_trc, one._picture.color_primaries) == (2, 2)
    expected, small = one.to_ndarray(), one.scaled(max_edge=300).to_ndarray()
    wrong = list[int]()
    start = threading.Barrier(8)

    def convert(index: int) -> None:
        start.wait()
        for _ in range(25):
            same = np.array_equal(one.to_ndarray(), expected)
            if not same or not np.array_equal(one.scaled(max_edge=300).to_ndarray(), small):
                wrong.append(index)

    threads = [threading.Thread(target=convert, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_outlives_its_decoder() -> None:
    encoder = av.CodecContext.create("libvpx", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuv420p", Fraction(1, 25)
    picture = av.VideoFrame.from_ndarray(pattern(64, 48), format="rgb24").reformat(format="yuv420p")
    picture.pts = 0
    packets = [*encoder.encode(picture), *encoder.encode(None)]
    decoder = av.CodecContext.create("vp8", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    (out,) = decoder.decode(av.Packet(bytes(packets[0])))
    one = Frame(1, perf_counter(), CONTEXT, out)
    before = one.to_ndarray()
    del decoder, out, encoder
    gc.collect()
    assert np.array_equal(one.to_ndarray(), before)


def test_crop_is_the_slice() -> None:
    part = frame().crop((10, 5, 31, 40))
    assert part.size == (21, 35)
    assert part.number == 7
    assert np.array_equal(part.to_ndarray(), pattern(64, 48)[5:40, 10:31])
    again = part.crop((1, 2, 3, 5))
    assert np.array_equal(again.to_ndarray(), pattern(64, 48)[7:10, 11:13])
    assert again.to_ndarray().flags.c_contiguous


@pytest.mark.parametrize(
    "box", [(0, 0, 65, 48), (0, 0, 64, 49), (-1, 0, 4, 4), (4, 4, 4, 8), (9, 9, 8, 10), (0, 0, 1.5, 2)]
)
def test_a_box_outside_or_empty_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidInput):
        frame().crop(box)


def test_scaled_keeps_proportions_and_never_enlarges() -> None:
    one = decoded()
    small = one.scaled(max_edge=320)
    assert small.size == (320, 180)
    assert small.to_ndarray().shape == (180, 320, 3)
    assert one.scaled(max_edge=1280) is one
    assert one.scaled(max_edge=5000) is one
    assert frame(1000, 3).scaled(max_edge=10).to_ndarray().shape == (1, 10, 3)
    for wrong in (0, -1, 1.5):
        with pytest.raises(InvalidInput):
            one.scaled(max_edge=wrong)  # type: ignore[arg-type]


def test_scaled_averages() -> None:
    one = frame_from_rgb(
        np.repeat(np.array([[[0] * 3, [200] * 3] * 50]), 100, 0).astype(np.uint8), number=1, context=CONTEXT
    )
    assert np.all(np.abs(one.scaled(max_edge=50).to_ndarray().astype(int) - 100) <= 2)


def test_crop_of_scaled_and_scaled_of_crop() -> None:
    one = decoded()
    small = one.scaled(max_edge=640)
    assert np.array_equal(small.crop((10, 20, 50, 60)).to_ndarray(), small.to_ndarray()[20:60, 10:50])
    zoom = one.crop((100, 100, 700, 500)).scaled(max_edge=300)
    assert zoom.size == (300, 200)
    assert zoom.to_ndarray().shape == (200, 300, 3)


@given(
    left=st.integers(0, 1200),
    top=st.integers(0, 650),
    edge=st.integers(20, 2000),
    x=st.floats(0, 0.99),
    y=st.floats(0, 0.99),
)
def test_to_screen_undoes_crop_and_scale(left: int, top: int, edge: int, x: float, y: float) -> None:
    one = frame_from_rgb(np.zeros((720, 1280, 3), np.uint8), number=1, context=CONTEXT)
    view = one.crop((left, top, 1280, 720)).scaled(max_edge=edge)
    width, height = view.size
    px, py = int(x * width), int(y * height)
    sx, sy = view.to_screen(px, py)
    scale_x, scale_y = (1280 - left) / width, (720 - top) / height
    assert left + px * scale_x - 1 <= sx <= left + (px + 1) * scale_x
    assert top + py * scale_y - 1 <= sy <= top + (py + 1) * scale_y


def test_to_screen_of_a_stream_smaller_than_the_screen() -> None:
    half = frame_from_rgb(np.zeros((360, 640, 3), np.uint8), number=1, context=CONTEXT)
    assert half.to_screen(0, 0) == (1, 1)
    assert half.to_screen(639, 359) == (1279, 719)
    whole = frame_from_rgb(np.zeros((720, 1280, 3), np.uint8), number=1, context=CONTEXT)
    assert whole.to_screen(123, 456) == (123, 456)
    for outside in ((640, 0), (0, 360), (-1, 0)):
        with pytest.raises(InvalidInput):
            half.to_screen(*outside)


async def test_png_is_lossless() -> None:
    data = await frame().png()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pattern(64, 48))


async def test_jpeg_looks_the_same_and_quality_counts() -> None:
    one = frame(320, 240)
    good, bad = await one.jpeg(quality=95), await one.jpeg(quality=20)
    assert len(bad) < len(good)
    picture = Image.open(io.BytesIO(good))
    assert picture.format == "JPEG"
    assert np.abs(np.asarray(picture).astype(int) - pattern(320, 240)).mean() < 6
    for wrong in (0, 101):
        with pytest.raises(InvalidInput):
            await one.jpeg(quality=wrong)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("b.JPG", "JPEG"), ("c.jpeg", "JPEG")])
async def test_save_goes_by_the_suffix(tmp_path: Path, name: str, kind: str) -> None:
    await frame().crop((0, 0, 33, 21)).save(tmp_path / name)
    with Image.open(tmp_path / name) as picture:
        assert (picture.format, picture.size) == (kind, (33, 21))


async def test_save_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="gif"):
        await frame().save(tmp_path / "a.gif")
    with pytest.raises(OSError, match="nowhere"):
        await frame().save(tmp_path / "nowhere" / "a.png")


def test_the_longest_side_of_a_jpeg() -> None:
    from neko_trio.media.picture_files import encode_jpeg

    with pytest.raises(InvalidInput, match=r"65,500"):
        encode_jpeg(np.zeros((1, 65_501, 3), np.uint8), 85)


def test_an_overlay_lies_where_it_belongs_whatever_is_cut_out_or_scaled() -> None:
    context = FrameContext(session=None, epoch=1, screen_size=(640, 480), stream=None)
    desktop = frame_from_rgb(np.full((480, 640, 3), 100, np.uint8), number=1, context=context)
    red, blue = np.zeros((10, 20, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    red[..., 0] = red[..., 3] = 255
    blue[..., 2], blue[..., 3] = 255, 51
    laid = desktop.overlaid(red, 100, 50).overlaid(blue, 100, 50)
    pixels = laid.to_ndarray()
    assert (pixels[50:54, 100:104] == (204, 0, 51)).all(), "the second one above the first"
    assert (pixels[54:60, 100:120] == (255, 0, 0)).all()
    rest = pixels.copy()
    rest[50:60, 100:120] = 100
    assert (rest == 100).all()
    assert (desktop.to_ndarray() == 100).all(), "the frame itself stays as it is"
    part = desktop.crop((90, 40, 130, 70))
    assert (part.overlaid(red, 100, 50).to_ndarray()[10:20, 10:30] == (255, 0, 0)).all(), "in pixels of the screen"
    assert part.overlaid(red, 100, 50).to_screen(10, 10) == (100, 50)
    small = desktop.scaled(max_edge=320).overlaid(red, 100, 50).to_ndarray()
    assert (small[25:30, 50:60] == (255, 0, 0)).all()
    for place in ((-1000, 0), (640, 480), (0, -10)):
        assert (desktop.overlaid(red, *place).to_ndarray() == 100).all()


@pytest.mark.parametrize(
    ("rgba", "place"),
    [
        (np.zeros((4, 4, 3), np.uint8), (0, 0)),
        (np.zeros((4, 4), np.uint8), (0, 0)),
        (np.zeros((0, 4, 4), np.uint8), (0, 0)),
        (np.zeros((4, 4, 4), np.float32), (0, 0)),
        (np.zeros((4, 4, 4), np.uint8), (0.5, 0)),
    ],
)
def test_what_is_no_overlay(rgba: Any, place: Any) -> None:
    context = FrameContext(session=None, epoch=1, screen_size=(16, 16), stream=None)
    desktop = frame_from_rgb(np.zeros((16, 16, 3), np.uint8), number=1, context=context)
    with pytest.raises(InvalidInput):
        desktop.overlaid(rgba, *place)
