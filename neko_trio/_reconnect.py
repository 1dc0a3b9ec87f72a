"""Reconnecting as a policy: how a session that was up, and is lost, is made anew."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import trio

from neko_trio._awake import LATE
from neko_trio.errors import InvalidInput, NekoError, NoOffer, NotNeko, ProtocolViolation, SessionLost

logger = logging.getLogger("neko_trio.reconnect")

STEADY = 5.0
"""Seconds that a connection must have held for its end to be a new outage, with all its tries before it. Else it
belongs to the outage before: a server that takes every connection and drops it at once is not asked for ever."""

PASSING_STEPS = frozenset({"ice", "running"})
"""Steps in which a violation of the protocol is one of this peer connection alone: DTLS that fails, a broken stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """What becomes of a session whose connection is lost: ``open_session(reconnect=Reconnect(...))``.

    The first try is made at once, the others after a back-off, counted from one try to the next: ``delay``, twice that,
    and so on up to ``longest_delay`` seconds, each made shorter at random by up to ``jitter`` of itself. What no try
    can cure, such as having been kicked, ends the session at once. Raises :class:`~neko_trio.errors.InvalidInput` for
    what is no such number.
    """

    limit: float = 60.0
    """Seconds that one outage may last; then the session ends with ``SessionLost``. Losses less than 5 s apart are one
    outage, of which only the time without a connection counts, and in which this process ran; ``math.inf`` has none."""
    attempts: int | None = None
    """Tries for one outage; ``None``: as many as its time allows."""
    delay: float = 0.1
    longest_delay: float = 0.75
    jitter: float = 0.5
    """Between 0 and 1: many clients of one server that comes back shall not all ask in the same moment."""

    def __post_init__(self) -> None:
        for name in ("limit", "delay", "longest_delay", "jitter"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise InvalidInput(f"{name}={value!r} must be a number.")
        if not self.limit > 0:
            raise InvalidInput(f"limit={self.limit!r} must be a positive number of seconds.")
        attempts = self.attempts
        if attempts is not None and (not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1):
            raise InvalidInput(f"attempts={attempts!r} must be a whole number above 0; None has no limit but the time.")
        if not 0 < self.delay <= self.longest_delay < math.inf:
            raise InvalidInput(
                f"delay={self.delay!r} must be above 0 and at most longest_delay={self.longest_delay!r}."
            )
        if not 0 <= self.jitter <= 1:
            raise InvalidInput(f"jitter={self.jitter!r} must be a number from 0 to 1.")

    def wait_before(self, attempt: int, chance: float) -> float:
        """Seconds before the ``attempt``-th try, counted from 1; ``chance`` is a random number from 0 to 1."""
        if attempt <= 1:
            return 0.0
        doubled = self.delay * 2.0 ** min(attempt - 2, 64)
        return min(doubled, self.longest_delay) * (1 - self.jitter * chance)


class Outage:
    """The outage that there is, or the last one: what was tried, and what is left to try. One per session."""

    def __init__(self, policy: Reconnect | None, *, chance: Callable[[], float] = random.random) -> None:
        """``policy``: ``None`` tries nothing."""
        self._policy, self._chance = policy, chance
        self._down = 0.0  # seconds that count, of the losses before that belong to the same outage
        self._counts_since = 0.0
        self._came_back = False  # within the same outage
        self._up_since = -math.inf
        self._lost_at: float | None = None
        self._attempts = 0
        self._tried_at = -math.inf
        self._given_up = False
        self.overcome = 0
        """Outages that ended with the session up again."""
        self._seconds = 0.0

    @property
    def seconds(self) -> float:
        """How long the session has been without its connection, all outages together."""
        return self._seconds + (trio.current_time() - self._lost_at if self._lost_at is not None else 0.0)

    @property
    def repeats(self) -> bool:
        """Whether anything is tried again at all."""
        return self._policy is not None and not self._given_up

    def cures(self, error: NekoError) -> bool:
        """Whether a new connection can help against this error."""
        if isinstance(error, ProtocolViolation):
            passes = error.step in PASSING_STEPS
        else:
            # The server has been there: what stands in its place, or is silent in its place, is not there for good.
            passes = error.retryable or isinstance(error, NoOffer | NotNeko)
        return self.repeats and passes

    @property
    def time_left(self) -> float:
        """Seconds until the outage has lasted too long."""
        if self._policy is None or self._lost_at is None:
            return math.inf
        return self._policy.limit - self._lasted

    @property
    def _lasted(self) -> float:
        return self._down + trio.current_time() - self._counts_since

    def begin(self, error: NekoError) -> None:
        """The connection is lost, because of that. Within an outage: a try has failed."""
        if self._lost_at is not None:
            logger.debug("a try to connect again has failed: %s", error)
            return
        logger.info("the connection was lost, and is made anew: %s", error)
        self._lost_at = self._counts_since = now = trio.current_time()
        if now - self._up_since >= STEADY:
            self._down, self._attempts, self._came_back = 0.0, 0, False

    def end(self) -> None:
        """The session is up."""
        self._up_since = trio.current_time()
        if self._lost_at is not None:
            self._down, self._came_back = self._lasted, True
            self._seconds += self._up_since - self._lost_at
            logger.info("the connection is back after %.1f s", self._up_since - self._lost_at)
            self._lost_at = None
            self.overcome += 1

    async def pause(self, error: NekoError, *, at_once: bool = False) -> None:
        """Wait until it is time for the next try. Raises :class:`SessionLost` when there is none any more.

        ``error``: why the last one failed, or the connection was lost. ``at_once``: it was no failure but an answer
        that says what to do, and nothing is waited for. A checkpoint; cancelling is safe.
        """
        assert self._policy is not None
        self._attempts += not at_once
        wait = 0.0 if at_once else self._policy.wait_before(self._attempts, self._chance())
        seconds = max(0.0, self._tried_at + wait - trio.current_time())  # what the last try took has been waited
        exhausted = self._policy.attempts is not None and self._attempts > self._policy.attempts
        if exhausted or seconds >= self.time_left:
            self._given_up = True
            tries = self._attempts - (not at_once)
            lost = "was lost, came back, was lost again" if self._came_back else "was lost"
            raise SessionLost(
                f"The session {lost} and did not come back in {self._lasted:.1f} s and "
                f"{tries} {'try' if tries == 1 else 'tries'}: {error.message}",
                hint=error.hint,
                step=error.step,
            ) from error
        due = trio.current_time() + seconds
        await trio.sleep(seconds)
        if trio.current_time() - due >= LATE:
            # So long this process did not run, which says nothing of the server: it does not count, nor does the try
            # before.
            self._counts_since += trio.current_time() - max(self._tried_at, self._counts_since)
        self._tried_at = trio.current_time()
