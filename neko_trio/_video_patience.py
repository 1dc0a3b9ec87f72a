"""How long a picture is waited for, while the video is on: nobody waits for ever on a dead pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from neko_trio._ports.state import StateCell
from neko_trio._state import State
from neko_trio.errors import NekoError, NotAllowed, VideoStalled

STALL_PATIENCE = 6.5
"""Seconds without a picture, the video being on, after which whoever waits for one is told: ``VideoStalled``.

A loaded server takes up to 0.4 s to start its pipeline (seen), and the longest distance between keyframes that it
configures by itself is 2.4 s (60 frames at 25 Hz: server/internal/config/capture_pipeline.go). A media connection that
is dead altogether is noticed after four, and then it is that which is told, or mended."""


class PicturePatience:
    """Watches every wait for a picture. Trio thread only."""

    def __init__(self, state: StateCell[State], packets: Callable[[], int]) -> None:
        """``packets``: how many of the video have been received so far."""
        self._state, self._packets = state, packets
        self._on = False
        self._waits: set[trio.CancelScope] = set()

    def switch(self, *, on: bool) -> None:
        """The video is being switched on or off: patience begins anew, or has no end."""
        self._on = on
        for scope in self._waits:
            scope.deadline = self._deadline()

    def _deadline(self) -> float:
        return trio.current_time() + STALL_PATIENCE if self._on else math.inf

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Around each wait: raises :class:`VideoStalled` when no picture comes although the video is on."""
        packets = self._packets()
        with trio.CancelScope(deadline=self._deadline()) as scope:
            self._waits.add(scope)
            try:
                yield
            finally:
                self._waits.discard(scope)
        if scope.cancelled_caught:
            raise self._stalled(self._packets() - packets)

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
