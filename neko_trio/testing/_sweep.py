"""Cancel a scenario after each of its task steps, one deterministic trio run for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import trio
import trio.testing
from trio._core import _run  # the seed hook that trio's own determinism test uses; there is no public one

__all__ = ["cancel_at_every_step"]


class CancelAt(trio.abc.Instrument):
    """Cancels ``scope`` when the run's task step number ``step``, counted from when the scope is set, has ended."""

    def __init__(self, step: int) -> None:
        self._step, self._seen = step, 0
        self.fired = False
        self.scope: trio.CancelScope | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.scope is None:
            return
        if self._seen == self._step:
            self.fired = True
            self.scope.cancel(reason=f"sweep, step {self._step}")
        self._seen += 1


_probe: ContextVar[CancelAt] = ContextVar("_probe")


@contextmanager
def swept() -> Iterator[None]:
    """The part of a scenario that ``cancel_at_every_step(…, part=True)`` cancels: what is around it goes on."""
    probe = _probe.get()
    with trio.CancelScope() as scope:
        probe.scope = scope
        try:
            yield
        finally:
            probe.scope = None


def cancel_at_every_step(
    scenario: Callable[[], Awaitable[object]],
    check: Callable[[], object],
    *,
    limit: int = 5000,
    every: int = 1,
    part: bool = False,
) -> int:
    """Run ``scenario`` once for each of its task steps, cancelled after that step; return how many there were.

    Each run is a ``trio.run`` of its own, with a seeded scheduler and a mock clock that jumps: no thread and no socket
    may be involved. ``check`` is called after each and raises when something was left behind. ``every`` takes only
    each n-th step. With ``part`` only the steps in its block :func:`swept` count, and only that is cancelled. Raises
    :class:`AssertionError` when the scenario has more than ``limit`` steps, and what the
    scenario itself raises: being cancelled must not surface as anything but ``Cancelled``.
    """
    flag, state = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: B010 - declared Final, and made to be set by tests
    try:
        for step in range(0, limit, every):
            probe = CancelAt(step)

            async def main(probe: CancelAt = probe) -> None:
                _probe.set(probe)
                if part:
                    await scenario()
                    return
                with swept():
                    await scenario()

            _run._r.seed(0)
            trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[probe])
            check()
            if not probe.fired:
                return step
        raise AssertionError(f"the scenario did not end within {limit} steps")
    finally:
        setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", flag)  # noqa: B010 - see above
        _run._r.setstate(state)
