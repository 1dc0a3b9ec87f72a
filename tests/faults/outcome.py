"""What came of a cell, and whether it was allowed."""

from __future__ import annotations

from dataclasses import dataclass, field

from neko_trio.errors import NekoError, SessionLost
from tests.faults.table import (
    AT_ONCE,
    CONNECT_TIMEOUT,
    IN_DOUBT,
    LATER,
    LINK_WATCH,
    MANY_LOSSES,
    MEDIA_WATCH,
    NEW_LINK,
    NEW_LOGIN,
    NEW_PEER,
    REPEATED,
    RETRIED,
    SOON,
    WORKS,
    Allowed,
    Cell,
    call,
    connect,
    lost,
)

UNNOTICED = 1.0
"""Seconds after the fault until which what was asked is done without anybody noticing."""

TOLD = 2
"""Times that a message may be said to be in doubt: once for each connection that was lost with one under way."""

_TWINS = ({WORKS, LATER}, {WORKS + REPEATED, LATER + REPEATED})


@dataclass(frozen=True, slots=True)
class Limits:
    """A rig's own times, in seconds."""

    connect_timeout: float
    close_timeout: float
    slack: float
    """What a busy machine may add; none in virtual time."""

    def seconds(self, within: str) -> float:
        """How long a run may take from its fault on."""
        goodbye = self.close_timeout + self.slack
        return (
            goodbye
            + {
                AT_ONCE: 1.0,
                SOON: 2.5,
                CONNECT_TIMEOUT: self.connect_timeout + 0.1,
                LINK_WATCH: 5.0 + 6.0 + 2.0,
                MEDIA_WATCH: 5.2 + 2.5,
                MANY_LOSSES: 30.0,
                RETRIED: self.connect_timeout + 2.5,
            }[within]
        )


@dataclass(slots=True)
class Observed:
    """One run. The rig and the program write into it; :meth:`outcome` says what it was."""

    cell: Cell
    rig: str
    struck_at: float | None = None
    done_at: float | None = None
    """When all that was asked was done, or the error came out."""
    entered: bool = False
    """The block was entered."""
    in_doubt: bool = False
    times_told: int = 0
    """That a message to ourselves is in doubt."""
    repeated: bool = False
    call_error: Exception | None = None
    error: Exception | None = None
    logins: int = 0
    dials: int = 0
    offers: int = 0
    hung: bool = False
    left_behind: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """From the fault to the end."""
        assert self.struck_at is not None
        assert self.done_at is not None
        return self.done_at - self.struck_at

    @property
    def outcome(self) -> str:
        """In the words of the table, or in others when it is none of those."""
        if self.hung:
            return "hangs"
        if self.struck_at is None:
            return f"never struck ({self.error!r})"
        if self.error is not None:
            if not isinstance(self.error, NekoError):
                return f"leaves untyped: {self.error!r}"
            if not self.entered:
                return connect(type(self.error))
            return lost(_why(self.error)) if isinstance(self.error, SessionLost) else call(type(self.error))
        if self.call_error is not None:
            return call(type(self.call_error))
        return self._success()

    def _success(self) -> str:
        doubt = (IN_DOUBT if self.in_doubt else "") + (REPEATED if self.repeated else "")
        if self.logins > 1:
            return NEW_LOGIN + doubt
        if self.dials > 1:
            return NEW_LINK + doubt
        if self.offers > 1:
            return NEW_PEER + doubt
        return (WORKS if self.seconds <= UNNOTICED else LATER) + doubt

    def verdict(self, allowed: Allowed, limits: Limits) -> str | None:
        """What is wrong with it, or ``None``."""
        outcome, outcomes = self.outcome, set(allowed.outcomes)
        if limits.slack:  # in real time a second is no promise; the limit below is
            outcomes |= {twin for pair in _TWINS if outcomes & pair for twin in pair}
        if outcome not in outcomes:
            expected = " or ".join(sorted(allowed.outcomes))
            cause = self.error or self.call_error
            return f"{outcome} instead of {expected} ({allowed.why}){f': {cause!r}' if cause else ''}"
        if self.seconds > limits.seconds(allowed.within):
            return f"{outcome}, but only after {self.seconds:.2f} s, not {allowed.within}"
        if self.times_told > TOLD:
            return f"{outcome}, but a doubt was told {self.times_told} times"
        if self.left_behind:
            return f"{outcome}, and left behind: {'; '.join(self.left_behind)}"
        return None


def _why(error: SessionLost) -> type[NekoError]:
    """The first cause that says more than that the session was lost."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NekoError) and not isinstance(cause, SessionLost):
            return type(cause)
        cause = cause.__cause__
    return SessionLost
