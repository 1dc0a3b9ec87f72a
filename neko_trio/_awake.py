"""Time in which this process ran: after a laptop's sleep, or a debugger's break, no silence is the other side's.

What is late by so much that this process cannot have run meanwhile begins anew, or does not count.
"""

from __future__ import annotations

import trio

LATE = 1.0
"""Seconds later than due from which on it did not. A program that only keeps its event loop busy is late by less."""
SLICE = 0.2
"""Seconds that are slept at once, so that it shows whether this process ran in between."""


async def sleep_awake(seconds: float) -> None:
    """Sleep for so many seconds in which this process was running. A checkpoint; cancelling is safe."""
    left = seconds
    while left > 0:
        part = min(left, SLICE)
        due = trio.current_time() + part
        await trio.sleep_until(due)
        late = trio.current_time() - due
        if late < LATE:
            left -= part + late
