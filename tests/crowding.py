"""Limits of real time, on a machine that has other things to do too."""

from __future__ import annotations

from time import perf_counter, thread_time

PIECE = 0.1
"""Seconds of computing by which the machine is measured."""


def crowding() -> float:
    """How many times longer computing takes now than it would with a core to itself; 1 when it has one."""
    began, used = perf_counter(), thread_time()
    while thread_time() - used < PIECE:
        pass
    return max(1.0, (perf_counter() - began) / PIECE)


def is_within(took: float, limit: float) -> bool:
    """Whether ``took`` seconds are fewer than ``limit``, or would have been with a core to itself."""
    return took < limit or took < limit * crowding()
