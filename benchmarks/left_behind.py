"""What this process holds and what a server holds of it: the figures that a leak shows in."""

from __future__ import annotations

import gc
import math
import os
import re
import statistics
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from neko_trio.media.bridge import open_loops

WORKERS_END = 10.5
"""Seconds in which trio's idle worker threads end (its thread cache keeps them for 10)."""
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot of one process."""

    threads: dict[str, int]
    """By name, numbers left out."""
    fds: dict[str, int]
    """File descriptors by kind; empty where there is no /proc."""
    resident: float
    """MiB, see proc(5); 0.0 where there is no /proc."""
    objects: int = 0
    """Python objects that the garbage collector knows."""
    trio_tasks: int = 0
    loops: int = 0
    """asyncio loops."""

    def as_json(self) -> dict[str, Any]:
        return {
            "threads": self.threads,
            "fds": self.fds,
            "resident_mib": round(self.resident, 2),
            "objects": self.objects,
            "trio_tasks": self.trio_tasks,
            "asyncio_loops": self.loops,
        }


def held() -> Held:
    """What this process holds now, garbage not counted. In trio."""
    gc.collect()
    return Held(
        threads=dict(Counter(re.sub(r"\d+", "N", thread.name) for thread in threading.enumerate())),
        fds=fds_of("self"),
        resident=resident_of("self"),
        objects=len(gc.get_objects()),
        trio_tasks=trio.lowlevel.current_statistics().tasks_living,
        loops=len(open_loops()),
    )


def held_by(pid: int) -> Held:
    """What another process holds, as far as /proc tells it."""
    tasks = Path(f"/proc/{pid}/task")
    threads = len(list(tasks.iterdir())) if tasks.is_dir() else 0
    return Held(threads={"thread": threads}, fds=fds_of(str(pid)), resident=resident_of(str(pid)))


def fds_of(pid: str) -> dict[str, int]:
    kinds: Counter[str] = Counter()
    folder = Path(f"/proc/{pid}/fd")
    if folder.is_dir():
        for name in os.listdir(folder):
            try:
                what = os.readlink(folder / name)
            except FileNotFoundError:
                continue  # the descriptor that listed the folder
            kinds[what.partition(":")[0] if ":" in what else "file"] += 1
    return dict(kinds)


def resident_of(pid: str) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except FileNotFoundError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


async def workers_ended() -> None:
    """Give trio's idle worker threads the time that they end in by themselves: they are its cache, left by nobody."""
    if any(thread.name.startswith("Trio thread") for thread in threading.enumerate()):
        await trio.sleep(WORKERS_END)


def left(before: Held, after: Held) -> list[str]:
    """One line for each kind of which there is more than before. Memory is another question: :class:`Trend`."""
    lines = []
    for what, was, now in (("thread", before.threads, after.threads), ("fd", before.fds, after.fds)):
        for kind, count in now.items():
            if count > was.get(kind, 0):
                lines.append(f"{count - was.get(kind, 0)} x {what} {kind!r}")
    if after.trio_tasks > before.trio_tasks:
        lines.append(f"{after.trio_tasks - before.trio_tasks} x trio task")
    if after.loops > before.loops:
        lines.append(f"{after.loops - before.loops} x asyncio loop")
    return lines


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through figures that were taken once a round, the warm-up left out."""

    slope: float
    """Per cycle."""
    error: float
    """The slope's standard error: how far chance alone moves it."""

    @property
    def surely(self) -> float:
        """The least growth per cycle that three standard errors allow; what is below it may be noise."""
        return self.slope - 3 * self.error


def trend(cycles: Sequence[int], values: Sequence[float], *, warm_up: float = 1 / 3) -> Trend | None:
    """The trend of ``values`` over ``cycles``, the first share ``warm_up`` left out; ``None``: too few to say."""
    first = math.ceil(len(values) * warm_up)
    x, y = list(map(float, cycles[first:])), list(values[first:])
    if len(y) < 6:
        return None
    slope, intercept = statistics.linear_regression(x, y)
    mean = statistics.fmean(x)
    residual = sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True)) / (len(x) - 2)
    return Trend(slope, math.sqrt(residual / sum((a - mean) ** 2 for a in x)))
