"""How long goodbyes may wait: one budget for all of a session's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

HURRY = 0.6
"""Seconds that the goodbyes of a cancelled exit may wait for a server of which nothing is heard, all together: a
process that Ctrl-C ends shall be gone within a second, and Python's own end takes a tenth of one."""
ROUND_TRIPS = 16
"""Round trips that they may wait at least: the last of them, the logout, has the time of two even if no other is
answered."""


LAST = 1.0
"""The share of the last step."""
LAST_LEAST = 0.15
"""Seconds that the last step has in any hurry: on a busy machine the steps before may have needed all of theirs for
themselves, and a login that is not logged out stays in everyone's list."""


class Heard(Protocol):
    """What a budget asks of a link."""

    @property
    def heard_at(self) -> float:
        """When the newest message came (trio's clock)."""
        ...

    @property
    def opening_seconds(self) -> float:
        """How long dialling took, two round trips at least."""
        ...


class Budget:
    """One absolute deadline for every step of a close, started by the first of them (trio's clock, seconds).

    Each step may take half of what is left, so that one that hangs leaves time for those behind it; the last, the
    logout, may take all of it.

    A close in a *hurry* (:meth:`hurry`) waits no longer than :data:`HURRY` seconds for a server of which nothing is
    heard meanwhile. One that answers, however slowly, is given all of the budget. The goodbyes of blocks inside the
    session (:meth:`until`) count towards the same: what they have waited in vain is not waited again. Trio thread only.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = math.inf
        self._hurried_at = math.inf
        self._link: Heard | None = None
        self._steps: list[_Step] = []

    def listen_to(self, link: Heard) -> None:
        """The server is heard over this link from now on."""
        self._link = link

    def renew(self) -> None:
        """The next close has all of it again."""
        self._deadline = self._hurried_at = math.inf

    def note(self, error: BaseException) -> None:
        """``error`` ends a block inside the session. With Ctrl-C the session ends, too: then its goodbye is in a hurry.

        With any other cancellation it may go on, and with it a server that has much to do still: that one is heard out.
        """
        if isinstance(error, trio.Cancelled):
            # A nursery that Ctrl-C struck cancels its other tasks, and says why; so does who catches the signal.
            if KeyboardInterrupt.__name__ in (error.reason or ""):
                self.hurry()
        elif not isinstance(error, Exception):
            self.hurry()

    def hurry(self) -> None:
        """Whatever waits for a goodbye, now or later, is in a hurry: since before, if the server was silent since."""
        self._forget_hurry()
        self._hurried_at = min(self._hurried_at, trio.current_time())
        for step in self._steps:
            if not step.ours:
                step.scope.deadline = min(step.scope.deadline, self._end_of_share(step.share))

    def limit(self, seconds: float) -> float:
        """``seconds`` for a goodbye of a block inside the session, or, in a hurry, half of what is left at most."""
        if self._deadline == math.inf:
            self._forget_hurry()
        return min(seconds, self._hurried_left(trio.current_time()) / 2)

    def until(self) -> float:
        """When the goodbye of a block inside the session has to end."""
        return trio.current_time() + self.limit(self._seconds)

    def answered(self, *, yes: bool) -> None:
        """Whether the server has answered the goodbye of a block inside the session; if not, the next is in a hurry."""
        if not yes:
            self.hurry()
        elif self._deadline == math.inf:
            self._hurried_at = math.inf

    def close(self, *, hurried: bool) -> None:
        """The session's close begins."""
        self._deadline = trio.current_time() + self._seconds
        if hurried:
            self.hurry()
        else:
            self._forget_hurry()

    @contextmanager
    def shield(self, share: float = 0.5, *, ours: bool = False) -> Iterator[trio.CancelScope]:
        """A shielded scope for one step, which may take this share of what is left; ``LAST``: all of it.

        ``ours``: it waits for no answer, but does work of our own, which takes its time in a hurry, too.
        """
        if self._deadline == math.inf:  # of a peer or a link that goes alone
            self.close(hurried=False)
        with trio.CancelScope(deadline=self._end_of_share(share, ours=ours), shield=True) as scope:
            step = _Step(scope, share, ours)
            self._steps.append(step)
            try:
                yield scope
            finally:
                self._steps.remove(step)

    def _end_of_share(self, share: float, *, ours: bool = False) -> float:
        now = trio.current_time()
        hurried = math.inf if ours else self._hurried_left(now)
        if share == LAST:
            hurried = max(hurried, LAST_LEAST)
        return now + share * max(0.0, min(self._deadline - now, hurried))

    def _forget_hurry(self) -> None:
        """If it was that of a block before, and the server has been heard since."""
        if self._heard_at > self._hurried_at:
            self._hurried_at = math.inf

    def _hurried_left(self, now: float) -> float:
        if self._hurried_at == math.inf:
            return math.inf
        opening = 0.0 if self._link is None else self._link.opening_seconds
        limit = max(HURRY, ROUND_TRIPS / 2 * opening)
        return max(0.0, max(self._hurried_at, self._heard_at) + limit - now)

    @property
    def _heard_at(self) -> float:
        return -math.inf if self._link is None else self._link.heard_at


@dataclass(eq=False, slots=True)
class _Step:
    scope: trio.CancelScope
    share: float
    ours: bool
