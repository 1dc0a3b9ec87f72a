"""Freezes: how often and how long the picture stood still. No clock: ``now`` is an argument, in seconds."""

from __future__ import annotations

from collections import deque


class FreezeMeter:
    """Counts freezes as the W3C's webrtc-stats define ``freezeCount`` and ``totalFreezesDuration``.

    An interval between two frames is a freeze when it is at least three times the average of the 30 intervals before
    it, and at least 150 ms longer than that average. Here the frames are the complete ones, looked at or not. A video
    that was switched off is no freeze: see :meth:`pause`.
    """

    INTERVALS = 30
    """Intervals that make the average."""
    LEAST_INTERVALS = 5
    """Intervals without which there is no average (as in libwebrtc)."""
    LONGER = 0.15
    """Seconds above the average."""

    def __init__(self) -> None:
        self.count = 0
        """Freezes that have ended."""
        self.seconds = 0.0
        """How long they lasted together: from the frame before to the frame after."""
        self._intervals: deque[float] = deque(maxlen=self.INTERVALS)
        self._last: float | None = None

    def frame(self, now: float) -> None:
        """A frame is complete and can be shown."""
        if self._last is not None:
            interval = now - self._last
            known = len(self._intervals)
            if known >= self.LEAST_INTERVALS:
                average = sum(self._intervals) / known
                if interval >= max(3 * average, average + self.LONGER):
                    self.count += 1
                    self.seconds += interval
            self._intervals.append(interval)
        self._last = now

    def pause(self) -> None:
        """No frame was due since the last one."""
        self._last = None
