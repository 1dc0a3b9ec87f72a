"""How long a picture is waited for, while the video is on: nobody waits for ever on a dead pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import trio

from neko_trio._awake import LATE
from neko_trio._ports.state import StateCell
from neko_trio._state import State
from neko_trio.errors import NekoError, NotAllowed, VideoStalled

STALL_PATIENCE = 6.5
"""Seconds without a picture, the video being on, after which whoever waits for one is told: ``VideoStalled``.

A loaded server takes up to 0.4 s to start its pipeline (seen), and the longest distance between keyframes that it
configures by itself is 2.4 s (60 frames at 25 Hz: server/internal/config/capture_pipeline.go)."""

GRACE = 1.0
"""Seconds more for a picture once a connection that was in doubt has answered: there may have been a reason to doubt.
Less than the watchdog lets pass before it doubts again, or a quiet connection would put it off for ever. It is also the
last of patience, waited for by itself: pictures that came while this process did not run are handed out by then."""


class Doubt(Protocol):
    """What is known of the connection: ``_watch.Watch``."""

    @property
    def in_doubt(self) -> bool:
        """Whether it has been asked for a sign of life, and has given none yet."""
        ...


class _Wait:
    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.due = math.inf
        self.last = False  # when it is due, patience has ended
        self.overdue = False  # and only the doubt about the connection lets it go on

    def until(self, due: float, *, last: bool = False, overdue: bool = False) -> None:
        self.due = self.scope.deadline = due
        self.last, self.overdue = last, overdue


class PicturePatience:
    """Every wait for a picture. Trio thread only.

    Patience runs while the video is on and the connection is well. One that is dead brings no picture either, but then
    it is made anew, or ends the session with what it died of: neither is the video's fault.
    """

    def __init__(self, state: StateCell[State], packets: Callable[[], int], connection: Doubt) -> None:
        """``packets``: how many of the video have been received so far."""
        self._state, self._packets, self._connection = state, packets, connection
        self._on = False
        self._waits: set[_Wait] = set()

    def switch(self, *, on: bool) -> None:
        """The video is being switched on or off: patience begins anew, or has no end."""
        self._on = on
        for wait in self._waits:
            self._begin(wait)

    def note_certain(self) -> None:
        """The connection is known to be well: waits that go on only for doubt of that will end."""
        for wait in self._waits:
            if wait.overdue:
                wait.until(trio.current_time() + GRACE, last=True)

    def _begin(self, wait: _Wait) -> None:
        wait.until(trio.current_time() + STALL_PATIENCE - GRACE if self._on else math.inf)

    async def wait(self, picture: trio.Event) -> None:
        """Return when ``picture`` is set. A checkpoint; cancelling is safe.

        Raises :class:`VideoStalled` when it is not, although the video is on and the connection is well.
        """
        packets = self._packets()
        wait = _Wait()
        self._begin(wait)
        self._waits.add(wait)
        try:
            while True:
                with trio.CancelScope(deadline=wait.due) as wait.scope:
                    await picture.wait()
                if picture.is_set():
                    return
                late = trio.current_time() - wait.due
                if late >= LATE:  # this process did not run meanwhile
                    self._begin(wait)
                elif late >= 0:  # else the video was switched in this very moment
                    if not wait.last:
                        wait.until(trio.current_time() + GRACE, last=True)
                        continue
                    if not self._connection.in_doubt:
                        raise self._stalled(self._packets() - packets)
                    wait.until(math.inf, overdue=True)
        finally:
            self._waits.discard(wait)

    def _stalled(self, packets: int) -> NekoError:
        state = self._state.value
        if state.settings.private_mode and not state.profile.is_admin:
            return NotAllowed(
                "The room is in private mode: only admins see the desktop.",
                hint="Have an admin switch private mode off; then the pictures go on by themselves.",
                step="frame",
            )
        if packets > 0:
            return VideoStalled(
                f"No picture for {STALL_PATIENCE:g} s: {packets} video packets came, but no picture of them.",
                hint="Too many are lost on the way, or this machine is too slow: session.statistics() tells.",
                step="frame",
            )
        return VideoStalled(
            f"No picture for {STALL_PATIENCE:g} s: the video is switched on, but the server sends nothing.",
            hint="Look at the server's log for its video pipeline. Once packets come again, pictures do.",
            step="frame",
        )
