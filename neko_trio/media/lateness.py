"""How late a frame comes, measured by its own kind: no frame says when it was captured."""

from __future__ import annotations

from collections import deque

RTP_CLOCK = 90_000
"""Hz, of every video codec's RTP timestamps (RFC 7741, RFC 6184, RFC 9628, AV1's)."""


class Lateness:
    """How much later each frame comes than the promptest of the last :data:`WINDOW` seconds would let expect.

    The timestamps of Neko's frames count durations: of two frames captured on time, they tell how far apart those were
    captured. What they are further apart on arrival, the second spent waiting: in the queue of a server whose encoder
    is behind, or on the way. A server that leaves frames out, because it is behind for good, counts as ever later.
    """

    WINDOW = 10.0

    def __init__(self) -> None:
        self.seconds = 0.0
        """That of the newest frame."""
        self._unwrapped: int | None = None
        self._promptest: deque[tuple[float, float]] = deque()  # (arrived, way), both ascending: the first is the least

    def add(self, timestamp: int, arrived: float) -> float:
        """A frame with this RTP timestamp was complete at ``arrived`` (seconds): how late it is, in seconds.

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
        self.seconds = way - ways[0][1]
        return self.seconds

    def restart(self) -> None:
        """The server has begun anew: its timestamps go on as if there had been no pause."""
        self.seconds, self._unwrapped = 0.0, None
        self._promptest.clear()
