"""Finding a picture in another one: the same place as looking at every one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from neko_trio.desktop import searching
from neko_trio.desktop.searching import Found, Template

Pixels = NDArray[np.uint8]


def by_brute_force(picture: Pixels, template: Pixels, tolerance: float) -> Found | None:
    windows = sliding_window_view(picture.astype(np.int64), template.shape)[:, :, 0]
    differences = np.sqrt(((windows - template.astype(np.int64)) ** 2).mean(axis=(2, 3, 4)))
    place = int(differences.argmin())
    top, left = divmod(place, differences.shape[1])
    difference = float(differences[top, left])
    return Found(left, top, difference) if difference <= tolerance else None


def random_picture(seed: int, height: int, width: int, levels: int) -> Pixels:
    """Blots of a few colours, so that many windows are alike."""
    colours = np.random.default_rng(seed)
    palette = colours.integers(0, 256, (levels, 3), dtype=np.uint8)
    blots: Pixels = palette[colours.integers(0, levels, (-(-height // 3), -(-width // 3)))]
    return np.ascontiguousarray(blots.repeat(3, axis=0).repeat(3, axis=1)[:height, :width])


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 40), st.integers(1, 50)),
    part=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    levels=st.integers(1, 6),
    noise=st.integers(0, 20),
    tolerance=st.floats(0, 120),
)
def test_it_is_where_brute_force_finds_it(
    seed: int,
    size: tuple[int, int],
    part: tuple[float, float, float, float],
    levels: int,
    noise: int,
    tolerance: float,
) -> None:
    height, width = size
    picture = random_picture(seed, height, width, levels)
    tall, wide = max(1, round(part[0] * height)), max(1, round(part[1] * width))
    top, left = round(part[2] * (height - tall)), round(part[3] * (width - wide))
    template = picture[top : top + tall, left : left + wide].copy()
    colours = np.random.default_rng(seed + 1)
    picture = np.clip(picture + colours.integers(-noise, noise + 1, picture.shape), 0, 255).astype(np.uint8)
    expected = by_brute_force(picture, template, tolerance)
    found = Template(template).find(picture, tolerance)
    if expected is None or found is None:
        assert found is expected
        return
    assert found.difference == pytest.approx(expected.difference, abs=1e-4)
    if found.difference < expected.difference - 1e-4 or found.difference == expected.difference:
        assert (found.left, found.top) == (expected.left, expected.top)


def test_near_a_box_is_only_what_shares_a_pixel_with_it() -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    spot = np.full((4, 6, 3), 255, np.uint8)
    picture[20:24, 30:36] = spot
    template = Template(spot)
    assert template.find(picture, 1) == Found(30, 20, 0.0)
    for box in ((35, 23, 36, 24), (30, 20, 31, 21), (-5, -5, 31, 21), (35, 23, 500, 500), (0, 0, 80, 60)):
        assert template.find(picture, 1, near=box) == Found(30, 20, 0.0)
    for box in ((36, 20, 37, 24), (30, 24, 36, 25), (0, 0, 30, 60), (0, 0, 80, 20)):
        assert template.find(picture, 1, near=box) is None


def test_nothing_to_find_in_what_is_smaller() -> None:
    assert Template(np.zeros((5, 5, 3), np.uint8)).find(np.zeros((4, 9, 3), np.uint8), 255) is None


@pytest.mark.parametrize("size", [(300, 300), (700, 700)])
def test_large_windows_do_not_overflow(size: tuple[int, int]) -> None:
    """Sums of squares of 300x300 white pixels need more than 32 bits."""
    picture = np.full((720, 1280, 3), 255, np.uint8)
    picture[3 : 3 + size[0], 500 : 500 + size[1]] -= 90
    picture[50:60, 600:700] = 0
    template = picture[3 : 3 + size[0], 500 : 500 + size[1]].copy()
    assert Template(template).find(picture, 5) == Found(500, 3, 0.0)


def test_on_a_plain_ground_it_ends_soon() -> None:
    """All windows are the same: they are not all compared."""
    picture = np.random.default_rng(0).integers(126, 130, (200, 300, 3), dtype=np.uint8)
    template = Template(np.full((40, 40, 3), 128, np.uint8))
    compared = 0
    counted = template._difference

    def difference(*arguments: Any) -> float | None:
        nonlocal compared
        compared += 1
        return counted(*arguments)

    template._difference = difference  # type: ignore[method-assign, assignment]
    found = template.find(picture, 20)
    assert found is not None
    assert found.difference < 2
    assert compared <= searching.ENOUGH


@pytest.mark.parametrize("calls", [1, 2, 5])
def test_whoever_checks_ends_it(calls: int) -> None:
    class Enough(Exception):
        pass

    def checks(left: int) -> Callable[[], None]:
        def check() -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Enough

        return check

    picture = random_picture(1, 720, 1280, 5)
    with pytest.raises(Enough):
        Template(picture[::-1][:100, :100].copy()).find(picture, 60, check=checks(calls))
