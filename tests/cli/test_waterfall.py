"""The picture of a timeline."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from neko_trio._timeline import MARKS
from neko_trio.cli.waterfall import BAR, LABEL, waterfall, waterfall_text


def test_each_step_has_its_moment_its_duration_and_its_bar() -> None:
    assert waterfall({"start": 0.0, "dial": 25.0, "connected": 100.0}, width=8) == [
        "start                         0.0 ms      +0.0  ▏",
        "dial                         25.0 ms     +25.0  ██",
        "connected                   100.0 ms     +75.0    ██████",
    ]


@given(st.dictionaries(st.sampled_from(MARKS), st.floats(0, 1e6), min_size=1))
def test_bars_stay_on_their_scale_in_order(timeline: dict[str, float]) -> None:
    rows = waterfall(timeline)
    assert sorted(row[:LABEL].strip() for row in rows) == sorted(timeline)
    bars = [row.split("ms", 1)[1][12:] for row in rows]
    starts = [len(bar) - len(bar.lstrip(" ")) for bar in bars]
    assert starts == sorted(starts)
    assert max(map(len, bars)) <= BAR + 1


def test_a_stream_without_blocks_gets_plain_characters() -> None:
    text = waterfall_text({"start": 0.0, "dial": 1.0}, io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert text.isascii()
    assert "#" in text
    assert "█" in waterfall_text({"start": 0.0, "dial": 1.0}, io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
