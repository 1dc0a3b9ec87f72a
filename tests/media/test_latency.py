from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.media.latency import UNKNOWN_START, Latency

TICKS = 3600  # 25 Hz


def test_frames_on_time_have_the_latency_of_the_first() -> None:
    late = Latency()
    late.restart(0.0)
    assert [late.add(number * TICKS, 5 + number * 0.04) for number in range(50)] == pytest.approx([0.0] * 50)


def test_a_queue_that_builds_up_and_is_worked_off() -> None:
    """The encoder stands still for 0.2 s; then the five frames that waited come all at once."""
    late = Latency()
    late.restart(0.0)
    arrivals = [*(number * 0.04 for number in range(10)), *(0.56 + number / 1000 for number in range(5)), 0.6]
    seen = [late.add(number * TICKS, at) for number, at in enumerate(arrivals)]
    assert seen[:10] == pytest.approx([0.0] * 10)
    assert seen[10:15] == pytest.approx([0.16, 0.121, 0.082, 0.043, 0.004])
    assert seen[15] == pytest.approx(0.0)


def test_an_encoder_that_is_behind_for_good_is_ever_later() -> None:
    """20 frames a second arrive of 25 that were due, and the missing ones are not counted by the timestamps."""
    late = Latency()
    late.restart(0.0)
    seen = [late.add(number * TICKS, number * 0.05) for number in range(100)]
    assert seen[-1] == pytest.approx(0.99)


def test_what_was_long_ago_says_nothing_more() -> None:
    late = Latency()
    late.restart(0.0)
    late.add(0, 0.0)
    shifted = [late.add(number * TICKS, 0.3 + number * 0.04) for number in range(1, 260)]
    assert shifted[0] == pytest.approx(0.3)
    assert shifted[-1] == pytest.approx(0.0)


def test_a_new_beginning() -> None:
    late = Latency()
    assert late.add(0, 0.0) == UNKNOWN_START
    late.restart(0.03)
    assert late.add(TICKS, 30.0) == pytest.approx(0.03)
    assert late.add(2 * TICKS, 30.05) == pytest.approx(0.04)
    late.restart(-1.0)
    assert late.add(3 * TICKS, 31.0) == 0.0
    late.restart(None)
    assert late.add(4 * TICKS, 32.0) == UNKNOWN_START


def test_timestamps_wrap() -> None:
    late = Latency()
    late.restart(0.0)
    seen = [late.add((0xFFFF_FFFF - 2 * TICKS + number * TICKS) % 2**32, number * 0.04) for number in range(6)]
    assert seen == pytest.approx([0.0] * 6, abs=1e-4)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.floats(0, 2)), max_size=60))
def test_whatever_comes_it_is_never_early(frames: list[tuple[int, float]]) -> None:
    late, now = Latency(), 0.0
    for timestamp, gap in frames:
        now += gap
        seconds = late.add(timestamp, now)
        assert seconds >= UNKNOWN_START
        assert seconds == late.seconds
