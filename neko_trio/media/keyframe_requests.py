"""When to ask the server for a keyframe, and when to keep quiet. No clock: ``now`` is an argument, in seconds."""

from __future__ import annotations


class KeyframeRequests:
    """Collects reasons for a keyframe; lets a request out at most once a second.

    Asking is not free: with Neko it means switching the video off and on, each keyframe goes to everybody who watches,
    and is a burst in which packets are lost again. And it may be in vain: H264 makes none for a watcher who is not
    alone. A request that brought none is not repeated: the periodic keyframe (every 25 frames) is waited for.
    """

    LEAST_INTERVAL, LONGEST_INTERVAL = 1.0, 8.0
    """Seconds between two requests: doubles with each keyframe that came and was lost again."""
    IN_VAIN = 8.0
    """Seconds until the next request after one that brought no keyframe: longer than those come by themselves."""
    WAIT = 1.0
    """Seconds for which frames are skipped before a keyframe is asked for that nothing is known to have taken away."""

    def __init__(self) -> None:
        self.total = 0
        """Requests so far."""
        self._wanted = False
        self._skipping_since: float | None = None
        self._last = float("-inf")
        self._interval = self._next_interval = self.LEAST_INTERVAL

    def lost(self) -> None:
        """A hole will not be filled any more."""
        self._wanted = True

    def skipped(self, now: float) -> None:
        """A frame was of no use for want of a keyframe."""
        if self._skipping_since is None:
            self._skipping_since = now
        elif now - self._skipping_since >= self.WAIT:
            self._wanted = True

    def began(self) -> None:
        """The first packet of a keyframe is there: the last request, if there was one, was not in vain."""
        self._interval = self._next_interval

    def arrived(self) -> None:
        """A whole keyframe is there: no reason holds any more."""
        self._wanted, self._skipping_since = False, None
        self._interval = self._next_interval = self.LEAST_INTERVAL

    def take(self, now: float) -> bool:
        """Whether to ask now. To be called whenever something happened; asks once per reason and interval."""
        if not self._wanted or now < self._last + self._interval:
            return False
        if self._last > float("-inf"):
            self._next_interval = min(2 * self._next_interval, self.LONGEST_INTERVAL)
        self._interval = self.IN_VAIN
        self._wanted, self._skipping_since, self._last = False, None, now
        self.total += 1
        return True
