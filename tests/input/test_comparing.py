"""What counts as a change between two pictures, against a slow and plain account of it."""

from __future__ import annotations

import threading

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from neko_trio.desktop.comparing import BAND, BLOCK, BLOCK_SHARE, changed, sight
from neko_trio.desktop.regions import Box, box_in_picture, box_on_screen
from neko_trio.errors import InvalidInput
from neko_trio.media.frames import Frame, FrameContext, frame_from_rgb

CONTEXT = FrameContext(session=None, epoch=1, screen_size=(64, 48), stream=None)


def frame_of(luma: NDArray[np.uint8], blue: NDArray[np.uint8], red: NDArray[np.uint8]) -> Frame:
    """A frame as a decoder makes it, its lines padded."""
    picture = av.VideoFrame(luma.shape[1], luma.shape[0], "yuv420p")
    for plane, values in zip(picture.planes, (luma, blue, red), strict=True):
        lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        lines.flags.writeable = True
        lines[: values.shape[0], : values.shape[1]] = values
    return Frame(1, 0.0, CONTEXT, picture)


def random_planes(seed: int, width: int, height: int) -> list[NDArray[np.uint8]]:
    values = np.random.default_rng(seed)
    half = -(-height // 2), -(-width // 2)
    return [values.integers(0, 256, shape, dtype=np.uint8) for shape in ((height, width), half, half)]


@pytest.mark.parametrize("size", [(64, 48), (63, 47), (1, 1), (8, 200), (16, 131)])
def test_planes_are_what_the_decoder_made(size: tuple[int, int]) -> None:
    planes = random_planes(1, *size)
    frame = frame_of(*planes)
    for given_, got in zip(planes, frame.planes(), strict=True):
        np.testing.assert_array_equal(got, given_)
        with pytest.raises(ValueError, match="read-only"):
            got[0, 0] = 1
    for other in (frame.crop((0, 0, 1, 1)), frame.scaled(max_edge=1)):
        np.testing.assert_array_equal(other.planes()[0], planes[0])
        assert other.picture_size == size


def test_planes_of_rgb() -> None:
    rgb = np.zeros((6, 8, 3), np.uint8)
    rgb[:, 4:] = 255
    luma, blue, red = frame_from_rgb(rgb, number=1, context=CONTEXT).planes()
    assert luma[0].tolist() == [16] * 4 + [235] * 4
    assert set(blue.ravel().tolist()) | set(red.ravel().tolist()) == {128}


def test_planes_in_several_threads() -> None:
    """As every thing of a frame: while others convert it, and keep what they got when it has gone."""
    planes = random_planes(2, 640, 360)
    frame: Frame | None = frame_of(*planes)
    wrong: list[object] = []

    def work(frame: Frame) -> None:
        for _ in range(40):
            luma = frame.planes()[0]
            frame.to_ndarray()
            if not np.array_equal(luma, planes[0]):
                wrong.append(luma)

    assert frame is not None
    kept = frame.planes()
    threads = [threading.Thread(target=work, args=(frame,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threads.clear()
    del frame
    for one, other in zip(kept, planes, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not wrong


def slowly(before: list[NDArray[np.uint8]], after: list[NDArray[np.uint8]], box: Box, tolerance: float) -> Box | None:
    """The same as ``changed``, pixel by pixel."""
    left, top, right, bottom = box
    marked = np.zeros((bottom + 2 * BLOCK, right + 2 * BLOCK), np.bool_)
    for scale, one, other in zip((1, 2, 2), before, after, strict=True):
        difference = abs(one.astype(int) - other)
        x0, y0, x1, y1 = left // scale, top // scale, -(-right // scale), -(-bottom // scale)
        side = BLOCK // scale
        for y in range(y0, y1):
            for x in range(x0, x1):
                if difference[y, x] > tolerance:
                    marked[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale] = True
                if (y - y0) % side == (x - x0) % side == 0 and y + side <= y1 and x + side <= x1:
                    block = one[y : y + side, x : x + side].astype(int) - other[y : y + side, x : x + side]
                    if abs(block.sum()) > tolerance / BLOCK_SHARE * side * side:
                        marked[y * scale : y * scale + BLOCK, x * scale : x * scale + BLOCK] = True
    lines, columns = np.nonzero(marked)
    if not len(lines):
        return None
    return (
        max(left, int(columns.min())),
        max(top, int(lines.min())),
        min(right, int(columns.max()) + 1),
        min(bottom, int(lines.max()) + 1),
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 40), st.integers(1, 300)),
    edges=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    marks=st.integers(0, 4),
    strength=st.integers(1, 120),
    tolerance=st.floats(0, 100),
)
def test_changes_are_what_a_plain_account_says(
    seed: int,
    size: tuple[int, int],
    edges: tuple[float, float, float, float],
    marks: int,
    strength: int,
    tolerance: float,
) -> None:
    width, height = size
    left, right = sorted((round(edges[0] * (width - 1)), round(edges[1] * (width - 1))))
    top, bottom = sorted((round(edges[2] * (height - 1)), round(edges[3] * (height - 1))))
    box = left, top, right + 1, bottom + 1
    before = random_planes(seed, width, height)
    after = [plane.copy() for plane in before]
    chance = np.random.default_rng(seed)
    for plane in after:
        for _ in range(marks):
            y, x = (int(chance.integers(0, length)) for length in plane.shape)
            spot = plane[y : y + int(chance.integers(1, 12)), x : x + int(chance.integers(1, 12))]
            spot[:] = np.clip(spot.astype(int) + strength * int(chance.choice([-1, 1])), 0, 255)
    found = changed(sight(frame_of(*before), box), sight(frame_of(*after), box), tolerance)
    assert found == slowly(before, after, box, tolerance)


def test_changes_far_apart_are_in_one_box() -> None:
    """Farther than what is compared at once."""
    before = random_planes(3, 40, 3 * BAND)
    after = [plane.copy() for plane in before]
    for line, column in ((1, 30), (BAND + 5, 4), (3 * BAND - 2, 20)):
        after[0][line, column] ^= 0x80
    box = (0, 0, 40, 3 * BAND)
    assert changed(sight(frame_of(*before), box), sight(frame_of(*after), box), 100) == (4, 1, 31, 3 * BAND - 1)


@given(
    screen=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    picture=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    edges=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_boxes_go_outwards_from_one_size_to_the_other(
    screen: tuple[int, int], picture: tuple[int, int], edges: tuple[float, float, float, float]
) -> None:
    left, right = sorted((round(edges[0] * (screen[0] - 1)), round(edges[1] * (screen[0] - 1))))
    top, bottom = sorted((round(edges[2] * (screen[1] - 1)), round(edges[3] * (screen[1] - 1))))
    region = left, top, right + 1, bottom + 1
    there = box_in_picture(region, screen, picture)
    assert 0 <= there[0] < there[2] <= picture[0]
    assert 0 <= there[1] < there[3] <= picture[1]
    back = box_on_screen(there, picture, screen)
    assert back[0] <= region[0]
    assert back[1] <= region[1]
    assert back[2] >= region[2]
    assert back[3] >= region[3]
    if screen == picture:
        assert back == there == region


def test_a_region_that_the_screen_has_become_too_small_for() -> None:
    assert box_in_picture(None, (64, 48), (32, 24)) == (0, 0, 32, 24)
    with pytest.raises(InvalidInput, match="64x48"):
        box_in_picture((0, 0, 65, 48), (64, 48), (64, 48))
