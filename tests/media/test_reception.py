from __future__ import annotations

import pytest

from neko_trio.media.reception import Reception


def test_counts_losses_since_the_last_report_and_altogether() -> None:
    reception = Reception()
    for number in (10, 11, 13, 14):  # 12 is lost: one of five
        reception.add(number, number * 3600, number / 25)
    report = reception.report()
    assert report is not None
    assert (report.fraction_lost, report.packets_lost, report.highest_sequence) == (256 // 5, 1, 14)
    for number in (15, 16):
        reception.add(number, number * 3600, number / 25)
    report = reception.report()
    assert report is not None
    assert (report.fraction_lost, report.packets_lost) == (0, 1)


def test_a_retransmission_makes_up_for_the_loss() -> None:
    reception = Reception()
    for number in (1, 3, 2):
        reception.add(number, 0, 0.0)
    report = reception.report()
    assert report is not None
    assert (report.fraction_lost, report.packets_lost, report.highest_sequence) == (0, 0, 3)


def test_highest_sequence_counts_cycles() -> None:
    reception = Reception()
    for number in (65534, 65535, 0, 1):
        reception.add(number, 0, 0.0)
    report = reception.report()
    assert report is not None
    assert report.highest_sequence == 0x1_0001
    assert report.packets_lost == 0


def test_nothing_new_is_not_reported() -> None:
    reception = Reception()
    assert reception.report() is None
    reception.add(1, 0, 0.0)
    assert reception.report() is not None
    assert reception.report() is None


def test_duplicates_make_the_loss_negative_not_the_fraction() -> None:
    reception = Reception()
    for number in (1, 1, 1):
        reception.add(number, 0, 0.0)
    report = reception.report()
    assert report is not None
    assert (report.fraction_lost, report.packets_lost) == (0, -2)


def test_jitter_is_smoothed_as_the_rfc_says() -> None:
    reception = Reception(clock_rate=90_000)
    reception.add(1, 0, 1.0)
    reception.add(2, 3600, 1.0 + 0.040 + 0.016)  # 16 ms late: 1440 ticks, a sixteenth of it counts
    assert reception.jitter == pytest.approx(0.001, abs=2e-5)
    report = reception.report()
    assert report is not None
    assert report.jitter in (89, 90)


def test_jitter_survives_a_wrapping_timestamp() -> None:
    reception = Reception()
    reception.add(1, 2**32 - 1800, 1.0)
    reception.add(2, 1800, 1.04)
    assert reception.jitter < 1e-5


def test_jitter_survives_a_wrapping_transit_time() -> None:
    reception = Reception()
    reception.add(1, 90_005, 1.0)  # 5 ticks before its own time stamp
    reception.add(2, 93_597, 1.04)  # 3 ticks after
    assert 0 < reception.jitter < 1e-5


def test_packets_of_one_frame_have_no_jitter() -> None:
    reception = Reception()
    for number in range(100):
        reception.add(number, 9000, 1.0 + number / 1000)
    assert reception.jitter == 0
