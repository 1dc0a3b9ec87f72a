"""How long a frame has been on its way from its capture, without a clock at the server: no frame carries its time."""

from __future__ import annotations

from collections import deque

RTP_CLOCK = 90_000
"""Hz, of every video codec's RTP timestamps (RFC 7741, RFC 6184, RFC 9628, AV1's)."""

UNKNOWN_START = 0.1
"""Seconds taken for the latency of the first frame where nothing is known of it: the pipeline ran before."""


class Latency:
    """An upper estimate of the time from each frame's capture to its arrival.

    The first frame of a pipeline was captured after the server was told to start it: no longer ago than that is.
    For those after it there are the timestamps, which in Neko count durations: of two frames captured on time, they
    tell how far apart those were captured; what they are further apart on arrival, the second spent waiting longer, in
    the queue of a server whose encoder is behind or on the way. They are compared with the promptest of the last
    :data:`WINDOW` seconds. A server that leaves frames out, because it is behind for good, counts as ever later.
    """

    WINDOW = 10.0

    def __init__(self) -> None:
        self.seconds = 0.0
        """That of the newest frame."""
        self._first = UNKNOWN_START
        self._unwrapped: int | None = None
        self._promptest: deque[tuple[float, float]] = deque()  # (arrived, way), both ascending: the first is the least

    def restart(self, first: float | None) -> None:
        """The server has begun anew, and its timestamps go on as if there had been no pause.

        ``first``: at most how long the frame took that comes next, in seconds; ``None`` for unknown.
        """
        self._first = UNKNOWN_START if first is None else max(0.0, first)
        self._unwrapped = None
        self._promptest.clear()

    def add(self, timestamp: int, arrived: float) -> float:
        """A frame with this RTP timestamp was complete at ``arrived`` (seconds): its latency, in seconds.

        Constant time, amortised; memory for at most the frames of the window.
        """
        if self._unwrapped is None:
            self._unwrapped = timestamp
        else:
            self._unwrapped += (timestamp - self._unwrapped + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000
        way = arrived - self._unwrapped / RTP_CLOCK  # but for a constant
        ways = self._promptest
        while ways and ways[-1][1] >= way:
            ways.pop()
        ways.append((arrived, way))
        while ways[0][0] < arrived - self.WINDOW:
            ways.popleft()
        self.seconds = self._first + (way - ways[0][1])
        return self.seconds
