"""The host role while somebody here uses it: who does, and how patient each is when it is taken away."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from neko_trio.errors import CallerError, ControlLost
from neko_trio.room.rights import host_name

if TYPE_CHECKING:
    from neko_trio._state import State


class Use:
    """One ``async with control()`` block."""

    def __init__(self, patience: float | None) -> None:
        self.patience = patience
        """Seconds for which its input waits for a role that another has; ``None``: it does not."""
        self.scope = trio.CancelScope()
        self.lost: ControlLost | None = None
        self.leaving = False
        self.lease: Lease

    def end(self, lost: ControlLost) -> None:
        """Cancel the block: it has lost the role for good."""
        if self.lost is None:
            self.lost = lost
            self.scope.cancel(reason="the host role was lost")


class Lease:
    """The host role as this session has it, or had it and wants it back. Trio thread only; nothing here waits."""

    def __init__(self) -> None:
        self.taken = False
        """By us: so it is ours to give back."""
        self.uses: set[Use] = set()
        self.away = False
        """It was taken away, or has gone with the connection, and there are blocks that want it back."""
        self.interrupted = False
        """It has gone with the connection: it may be ours still, or free, in which case it is asked for again."""
        self.releasing = False
        """The server is asked to take it back: that this session is host no longer is our own doing."""
        self._waits: set[trio.CancelScope] = set()
        self._missed_since: float | None = None  # input began to wait for it while another had it: once per absence

    @property
    def patient(self) -> bool:
        """Whether a block wants the role back when it is taken away."""
        return any(use.patience is not None and not use.leaving for use in self.uses)

    def go_away(self, state: State) -> None:
        """It was taken away. Blocks without patience end; the others do once their input has waited for too long."""
        self.away, self.interrupted = True, False
        for use in self.uses:
            if use.patience is None:
                use.end(lost(state))
        self._count()

    def interrupt(self) -> None:
        """The connection is gone, and is made anew: every block waits to see whose the role is then."""
        self.away = self.interrupted = True

    def come_back(self, given: bool) -> None:
        """This session is host again; ``given``: because it had asked."""
        self.away = self.interrupted = False
        self.taken |= given
        self._missed_since = None
        self._set_deadlines(math.inf)  # who waits sees it: cut off, it would take its request back

    def end(self, state: State, why: CallerError | None) -> None:
        """It is lost for good, ``why`` nobody could give it back, if so: every block ends, and every wait for it."""
        self.away = self.interrupted = False
        for use in self.uses:
            use.end(lost(state, why))
        self.stop_waits()

    def stop_waits(self) -> None:
        """Nobody wants it back any more."""
        for scope in self._waits:
            scope.cancel(reason="the host role is not wanted back any more")

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The caller waits for the role to come back; cancelled by what :meth:`stop_waits` is called for."""
        with trio.CancelScope() as scope:
            self._waits.add(scope)
            self._count()
            try:
                yield
            finally:
                self._waits.discard(scope)
                if not self._waits:
                    self._set_deadlines(math.inf)

    def _count(self) -> None:
        """One deadline for each absence: neither an outage in it nor a wait that is given up begins it anew."""
        if self._waits and not self.interrupted:
            if self._missed_since is None:
                self._missed_since = trio.current_time()
            self._set_deadlines(self._missed_since)

    def _set_deadlines(self, since: float) -> None:
        for use in self.uses:
            if use.patience is not None:
                use.scope.deadline = since + use.patience


def lost(state: State, why: CallerError | None = None) -> ControlLost:
    """The error for what is in ``state`` now; ``why`` nobody could give the role back, if so."""
    if why is not None:
        reason = why.message[0].lower() + why.message[1:].rstrip(".")
    elif state.host is not None:
        reason = f"{host_name(state)} has it now"
    else:
        reason = "it was taken away"
    error = ControlLost(f"The host role was lost while it was in use: {reason}.", holder=state.host)
    error.__cause__ = why
    return error
