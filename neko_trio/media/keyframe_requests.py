"""When to ask the server for a keyframe, and when to keep quiet. No clock: ``now`` is an argument, in seconds."""

from __future__ import annotations


class KeyframeRequests:
    """Collects reasons for a keyframe; lets a request out at most once a second, then every 2, 4 and 8 s.

    Asking is not free: with Neko it means switching the video off and on, and each keyframe is a burst in which packets
    are lost again. Most of the time the next periodic one (every 25 frames) is as good.
    """

    FIRST_BACK_OFF, LAST_BACK_OFF = 1.0, 8.0
    """Seconds between two requests: doubles while no keyframe arrives."""
    WAIT = 1.0
    """Seconds for which frames are skipped before a keyframe is asked for that nothing is known to have taken away."""

    def __init__(self) -> None:
        self.total = 0
        """Requests so far."""
        self._wanted = False
        self._skipping_since: float | None = None
        self._back_off = self.FIRST_BACK_OFF
        self._last = float("-inf")

    def lost(self) -> None:
        """A hole will not be filled any more."""
        self._wanted = True

    def skipped(self, now: float) -> None:
        """A frame was of no use for want of a keyframe."""
        if self._skipping_since is None:
            self._skipping_since = now
        elif now - self._skipping_since >= self.WAIT:
            self._wanted = True

    def arrived(self) -> None:
        """A whole keyframe is there: no reason holds any more."""
        self._wanted, self._skipping_since, self._back_off = False, None, self.FIRST_BACK_OFF

    def take(self, now: float) -> bool:
        """Whether to ask now. To be called whenever something happened; asks once per reason and back-off."""
        if not self._wanted or now < self._last + self._back_off:
            return False
        if self._last > float("-inf"):
            self._back_off = min(2 * self._back_off, self.LAST_BACK_OFF)
        self._wanted, self._skipping_since, self._last = False, None, now
        self.total += 1
        return True
