from __future__ import annotations

from neko_trio.media.keyframe_requests import KeyframeRequests


def test_a_loss_asks_once_and_at_once() -> None:
    requests = KeyframeRequests()
    assert not requests.take(0)
    requests.lost()
    assert requests.take(0)
    assert not requests.take(0)
    assert requests.total == 1


def test_a_request_that_brought_none_is_not_repeated_for_eight_seconds() -> None:
    requests = KeyframeRequests()
    asked = []
    for tick in range(300):
        requests.lost()
        if requests.take(tick / 10):
            asked.append(tick / 10)
    assert asked == [0.0, 8.0, 16.0, 24.0]


def test_while_each_keyframe_is_lost_again_the_interval_doubles_up_to_eight_seconds() -> None:
    requests = KeyframeRequests()
    asked = []
    for tick in range(300):
        requests.lost()
        if requests.take(tick / 10):
            asked.append(tick / 10)
            requests.began()
    assert asked == [0.0, 1.0, 3.0, 7.0, 15.0, 23.0]


def test_a_keyframe_ends_the_reasons_and_the_doubling_but_not_the_least_distance() -> None:
    requests = KeyframeRequests()
    for now in (0.0, 1.0):
        requests.lost()
        assert requests.take(now)
        requests.began()
    requests.lost()
    requests.arrived()
    assert not requests.take(100.0)
    requests.lost()
    assert requests.take(100.0)
    requests.arrived()
    requests.lost()
    assert not requests.take(100.9)
    assert requests.take(101.0)


def test_the_periodic_keyframe_ends_the_wait_after_a_vain_request() -> None:
    requests = KeyframeRequests()
    requests.lost()
    assert requests.take(0.0)
    requests.lost()
    assert not requests.take(2.0)
    requests.began()
    requests.arrived()
    assert not requests.take(2.5)
    requests.lost()
    assert requests.take(3.0)


def test_skipped_frames_ask_after_a_second() -> None:
    requests = KeyframeRequests()
    for tick in range(26):
        requests.skipped(tick / 25)
        assert requests.take(tick / 25) == (tick == 25)
