"""Whether this session has asked for the host role: what comes because of that is its own to give back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from neko_trio._state import State

LATE = 2.0
"""Seconds after a connection has been made anew in which the role may still come because of what was asked for on the
one before: a server that had stopped reads both at once. What comes later has been given by somebody."""


class Claim:
    """What was asked for, and what came of it. Trio thread only; nothing here waits."""

    def __init__(self, *, hosting: bool, away: Callable[[], bool]) -> None:
        """``away``: whether there is no connection now, and one is being made."""
        self.hosting = hosting
        """Whether this session is host, on this connection."""
        self.given = False
        """It was given because this session had asked."""
        self.waiting = 0
        """Who would have the role from its host, of blocks to enter and of input."""
        self.unsettled = False
        """A connection has been lost, and what is owed on the next has not been looked at."""
        self._away = away
        self._asked = False  # since they began to wait
        self._asked_of: str | None = None  # the host who may still give it because of that
        self._owed_until = -math.inf  # a connection was lost before what may be ours on the next was given back

    def on_state(self, state: State) -> None:
        """A new snapshot has been set."""
        was_host, self.hosting = self.hosting, state.is_host
        if state.is_host and not was_host:
            owed = trio.current_time() <= self._owed_until
            self.given, self._asked, self._owed_until = owed or self._asked_of is not None, False, -math.inf
            self._asked_of = None
        elif not state.is_host:
            if was_host:
                self.given = False
            if state.host != self._asked_of:
                self._asked_of = None

    def idle(self, *, waiting: int) -> bool:
        """Whether the role was given because of what was asked, and all but ``waiting`` who wanted it have gone."""
        return self.hosting and self.given and self.waiting == waiting

    # -- asking

    @contextmanager
    def wanting(self) -> Iterator[None]:
        """Whoever waits in here wants the role: the host is asked once for all of them."""
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            if self.waiting == 0:
                self._asked = False

    def ask(self, host: str) -> None:
        """This host gets the request, and may give the role because of it, now or later."""
        self._asked, self._asked_of = True, host

    def unasked(self, state: State) -> bool:
        """Whether its host does not know that the role is wanted."""
        return not self._asked and not state.settings.implicit_hosting  # then to ask is to take

    # -- outages

    def owe(self) -> None:
        """The role may be ours on the next connection, or come there, and nobody wants it by then."""
        self._owed_until = math.inf if self._away() else trio.current_time() + LATE

    def on_link_lost(self, *, used: bool) -> None:
        """The connection is gone, and is made anew. ``used``: the role is in use here."""
        if (self.hosting and self.given and not used) or trio.current_time() <= self._owed_until:
            self._owed_until = math.inf
        self.hosting = self.given = self._asked = False  # who was asked may still give it: ``_asked_of`` stays
        self.unsettled = True

    def settle(self) -> None:
        """The connection has been made anew, and the server has said whose the role is."""
        self.unsettled = False
        self._owed_until = min(self._owed_until, trio.current_time() + LATE)
