"""Frames shared by threads and readers: in a process of its own, because what may go wrong there is a crash."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import trio

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "shared_frames.py"


async def test_four_threads_and_four_readers_share_frames_that_are_decoded_once() -> None:
    command = [sys.executable, "-W", "error", str(SCRIPT), "--seconds", "4", "--json", "-"]
    with trio.fail_after(60):
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    result = json.loads(done.stdout)
    assert result["wrong"] == []
    assert result["counts"]["recorder"] > 50
    assert result["frames_decoded"] <= result["frames_received"]
