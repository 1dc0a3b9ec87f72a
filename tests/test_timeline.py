from __future__ import annotations

import pytest

from neko_trio._timeline import MARKS, Timeline


def test_marks_are_ordered_by_time_and_set_once() -> None:
    timeline = Timeline()
    start = timeline._at["start"]
    timeline.mark("connected", start + 0.2)
    timeline.mark("dial", start + 0.1)
    timeline.mark("dial", start + 5)
    assert timeline.marks == [("start", 0.0), ("dial", pytest.approx(0.1)), ("connected", pytest.approx(0.2))]
    assert timeline.between("dial", "connected") == pytest.approx(0.1)
    assert timeline.to_dict() == {"start": 0.0, "dial": 100.0, "connected": 200.0}
    assert "dial" in timeline
    assert "first_frame" not in timeline


def test_an_unknown_mark_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="dail"):
        Timeline().mark("dail")


def test_a_moment_that_has_not_come_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        Timeline().between("start", "connected")


def test_the_names_that_scripts_rely_on() -> None:
    assert MARKS[0] == "start"
    assert MARKS[-1] == "first_frame"
    assert len(MARKS) == 17
