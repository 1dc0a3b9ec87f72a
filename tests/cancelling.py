"""Cancel a block after a step of the task that is in it: for sweeps with real sockets, real threads or a desk in them.

A scenario without them is swept by ``neko_trio.testing.cancel_at_every_step``, over the steps of all its tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Probe(trio.abc.Instrument):
    """``fired`` says whether the block had as many steps, and was cancelled."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self._left, self._scope = step, scope
        self._task = trio.lowlevel.current_task()
        self.fired = False

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task and not self.fired:
            self._left -= 1
            if self._left < 0:
                self.fired = True
                self._scope.cancel(reason="the sweep")


@contextmanager
def cancelled_after(step: int) -> Iterator[Probe]:
    """Cancel the block when step number ``step`` of this task in it has ended, counted from 0."""
    with trio.CancelScope() as scope:
        probe = Probe(step, scope)
        trio.lowlevel.add_instrument(probe)
        try:
            yield probe
        finally:
            trio.lowlevel.remove_instrument(probe)
