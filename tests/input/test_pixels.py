from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.desktop.pixels import at_fraction, pixel, pixels, way
from neko_trio.errors import InvalidInput
from neko_trio.protocol.events import ScreenSize

SCREEN = ScreenSize(width=1280, height=720, rate=30)


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ((0, 0), (0, 0)),
        ((1, 1), (1279, 719)),
        ((0.5, 0.25), (640, 180)),
        ((0.99999, 0.0013), (1279, 0)),
        ((np.float64(0.5), np.float32(0.5)), (640, 360)),
    ],
)
def test_parts_of_the_screen(part: tuple[float, float], place: tuple[int, int]) -> None:
    assert at_fraction(*part, SCREEN) == place


@pytest.mark.parametrize("part", [(-0.1, 0), (0, 1.1), (float("nan"), 0), (float("inf"), 0), ("0.5", 0), (True, 0)])
def test_what_is_no_part_of_the_screen(part: Any) -> None:
    with pytest.raises(InvalidInput, match="from 0 to 1"):
        at_fraction(part[0], part[1], SCREEN)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 5000), st.integers(1, 5000))
def test_every_part_of_every_screen_is_a_pixel_of_it(x: float, y: float, width: int, height: int) -> None:
    screen = ScreenSize(width=width, height=height, rate=30)
    place = at_fraction(x, y, screen)
    assert pixel(*place, screen) == place
    assert abs(place[0] - x * width) <= 1
    assert abs(place[1] - y * height) <= 1


@given(st.lists(st.tuples(st.integers(0, 1279), st.integers(0, 719)), min_size=1, max_size=6), st.integers(1, 40))
def test_a_way_is_on_the_screen_has_its_points_and_no_pixel_twice_in_a_row(
    path: list[tuple[int, int]], steps: int
) -> None:
    along = [path[0], *way(pixels(path, SCREEN), steps)]
    assert pixels(along, SCREEN) == along
    assert along[-1] == path[-1]
    assert all(one != other for one, other in pairwise(along))
    assert len(along) <= 1 + (len(path) - 1) * steps
    left = iter(along)
    once = [point for place, point in enumerate(path) if place == 0 or point != path[place - 1]]
    assert all(point in left for point in once), "in order"


@pytest.mark.parametrize("points", [None, 5, [1], [(1,)], [(1, 2, 3)], ["ab"], [(1, 2.0)], [(1280, 0)]])
def test_what_is_no_path(points: Any) -> None:
    with pytest.raises(InvalidInput):
        pixels(points, SCREEN)
