"""What the benchmarks of loss, scale, memory and closing must object to, and how they count."""

from __future__ import annotations

import argparse
from itertools import islice, pairwise
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from neko_trio.simulator import FrameCode
from neko_trio.simulator._frame_code import draw_frame_code
from neko_trio.testing import MovingDesktop
from tests.benchmarks.scripts import script

pytest.importorskip("websockets", reason="the benchmarks' rival needs the extra bench")


@script("loss")
def test_a_gap_is_a_freeze_unless_the_server_made_it(benchmark: ModuleType) -> None:
    seen = benchmark.Seen()
    at = 0.0
    for number, (shown, drawn) in enumerate(
        [(1.1, 0.04), (0.04, 0.04), (0.2, 0.2), (0.2, 0.04), (0.16, 0.0), (0.1, 0)]
    ):
        at += shown
        seen.times.append(at)
        before = seen.checked[-1][1] if seen.checked else 0.0
        seen.checked.append((number if number < 4 else number + 1, before + drawn))
    seen.times.insert(0, 0.0)  # the first picture, after which a second does not count
    seen.checked.insert(0, None)
    figures = seen.figures(seconds=3)
    assert figures["freeze_ms"] == [200, 160]
    assert figures["server_gaps_ms"] == [200]
    assert figures["gap_ms"]["max"] == 200.0


@script("loss")
def test_wrong_pictures_are_counted(benchmark: ModuleType) -> None:
    desktop, seen = MovingDesktop((320, 192)), benchmark.Seen()
    good = desktop.picture(FrameCode.of(3, 1.0))
    stale = desktop.picture(FrameCode.of(3, 1.0))
    draw_frame_code(stale, FrameCode.of(9, 1.0), black=0, white=255)
    for picture in (good, stale, np.zeros_like(good)):
        seen.check(desktop, lambda picture=picture: picture)
    assert [wrong["code"] for wrong in seen.wrong] == [9, None]
    assert seen.checked == [(3, 1.0), (9, 1.0), None]


@script("scale")
def test_scale_objects_to_cost_delay_and_failure(benchmark: ModuleType) -> None:
    def row(sessions: int, core: float, p95: float, failures: tuple[str, ...] = ()) -> dict[str, Any]:
        row = {"way": "demand", "sessions": sessions, "threads": 1, "processes": 1, "core": core, "failures": failures}
        return {**row, "latency_ms": {"p95": p95}}

    assert benchmark.judge([row(1, 0.01, 10.0), row(100, 0.9, 29.0)]) == []
    assert len(benchmark.judge([row(1, 0.01, 10.0), row(100, 1.0, 30.0, ("lost",))])) == 3
    assert benchmark.judge([row(100, 0.9, 1000.0)]) == []  # nothing to compare with


@script("closing")
def test_closing_objects_to_time_and_blocks(benchmark: ModuleType) -> None:
    def row(close: float, loop: float, case: str = "flowing") -> dict[str, Any]:
        figures = {"close": close, "loop": loop, "trio": 1.0, "floor_loop": 2.0, "floor_trio": 1.0}
        return {
            "case": case,
            "failures": [],
            "milliseconds": {key: {"median": value} for key, value in figures.items()},
        }

    arguments = argparse.Namespace(round_trip=20.0)
    assert benchmark.judge([row(99.0, 11.0), row(139.0, 2.0, "lossy")], arguments) == []
    assert len(benchmark.judge([row(100.0, 12.0)], arguments)) == 2
    assert len(benchmark.judge([row(140.0, 2.0, "lossy")], arguments)) == 1
    assert benchmark.judge([{"case": "nobody", "failures": [], "milliseconds": {}}], arguments) == [
        "nobody: no close at all"
    ]


@script("memory")
def test_the_replay_goes_on_where_the_recording_ends(benchmark: ModuleType) -> None:
    packets = benchmark.recording("VP8")
    replayed = list(islice(benchmark.endless(packets), 70_000))
    numbers = [packet.sequence_number for packet in replayed]
    assert all((later - earlier) & 0xFFFF == 1 for earlier, later in pairwise(numbers))
    stamps = [packet.timestamp for packet in replayed]
    steps = {(later - earlier) & 0xFFFFFFFF for earlier, later in pairwise(stamps)}
    assert max(steps) < 90_000
    kept = list(islice(benchmark.lossy(benchmark.endless(packets), 1), 50_000))
    late = sum((later.sequence_number - earlier.sequence_number) & 0xFFFF > 0x8000 for earlier, later in pairwise(kept))
    assert 300 < late < 700  # one in a hundred comes later
