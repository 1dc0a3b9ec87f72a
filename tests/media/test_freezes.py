from __future__ import annotations

import pytest

from neko_trio.media.freezes import FreezeMeter


def meter(*gaps: float) -> FreezeMeter:
    """25 frames a second for a while, then one after each of ``gaps``."""
    meter, now = FreezeMeter(), 0.0
    for gap in (*[0.04] * 40, *gaps):
        meter.frame(now)
        now += gap
    meter.frame(now)
    return meter


def test_a_freeze_is_150_ms_longer_than_usual() -> None:
    assert meter(0.18).count == 0
    frozen = meter(0.2, 0.04, 0.04, 0.5)
    assert frozen.count == 2
    assert frozen.seconds == pytest.approx(0.7)


def test_and_three_times_as_long() -> None:
    slow, now = FreezeMeter(), 0.0
    for gap in (*[0.2] * 40, 0.55, 0.2, 0.7, 0.0):
        slow.frame(now)
        now += gap
    assert slow.count == 1
    assert slow.seconds == pytest.approx(0.7)


def test_the_average_is_that_of_the_last_30() -> None:
    changed, now = FreezeMeter(), 0.0
    for gap in (*[0.04] * 40, *[1.0] * 31, 1.1, 0.0):
        changed.frame(now)
        now += gap
    assert changed.count == 10  # then the average has reached a third of a second


def test_without_an_average_nothing_is_a_freeze() -> None:
    new = FreezeMeter()
    for now in (0.0, 0.04, 1.0, 1.04, 2.0):
        new.frame(now)
    assert new.count == 0


def test_a_pause_is_no_freeze() -> None:
    paused = meter()
    paused.pause()
    paused.frame(100.0)
    paused.frame(100.3)
    assert paused.count == 1
    assert paused.seconds == pytest.approx(0.3)
