"""What a receiver report says about one RTP stream (RFC 3550 §6.4.1, A.3, A.8). No clock: ``now`` is an argument."""

from __future__ import annotations

from dataclasses import dataclass

_LOST_MIN, _LOST_MAX = -(1 << 23), (1 << 23) - 1


@dataclass(frozen=True, slots=True)
class ReceptionReport:
    """The fields of a report block that depend on the RTP packets, as they go on the wire."""

    fraction_lost: int
    """Lost since the report before, in 1/256."""
    packets_lost: int
    """Lost since the beginning, signed 24 bit."""
    highest_sequence: int
    """Highest sequence number received, with the count of its cycles above, 32 bit."""
    jitter: int
    """Interarrival jitter in ticks of the RTP clock."""


class Reception:
    """Counts the packets of one synchronisation source."""

    def __init__(self, clock_rate: int = 90_000) -> None:
        """``clock_rate`` is the RTP clock's, in Hz."""
        self._clock_rate = clock_rate
        self._base: int | None = None
        self._highest = 0  # unwrapped
        self._received = 0
        self._expected_before = self._received_before = 0
        self._transit = 0
        self._last_timestamp: int | None = None
        self._jitter = 0.0

    def add(self, sequence_number: int, timestamp: int, now: float) -> None:
        """Count a packet that arrived at ``now`` seconds."""
        self._received += 1
        if self._base is None:
            self._base = self._highest = sequence_number
        else:
            step = ((sequence_number - self._highest + 0x8000) & 0xFFFF) - 0x8000
            if step <= 0:
                return  # late, twice or retransmitted: says nothing about the jitter
            self._highest += step
        transit = (int(now * self._clock_rate) - timestamp) & 0xFFFFFFFF
        if self._last_timestamp is not None and timestamp != self._last_timestamp:
            difference = ((transit - self._transit + 0x80000000) & 0xFFFFFFFF) - 0x80000000
            self._jitter += (abs(difference) - self._jitter) / 16
        if (
            timestamp != self._last_timestamp
        ):  # a frame's packets share a timestamp and leave in a burst: its first counts
            self._transit, self._last_timestamp = transit, timestamp

    @property
    def _expected(self) -> int:
        return 0 if self._base is None else self._highest - self._base + 1

    @property
    def packets_lost(self) -> int:
        """Expected minus received; duplicates make it smaller."""
        return max(_LOST_MIN, min(self._expected - self._received, _LOST_MAX))

    @property
    def jitter(self) -> float:
        """Interarrival jitter in seconds."""
        return self._jitter / self._clock_rate

    def report(self) -> ReceptionReport | None:
        """What to report now, ``None`` if no packet came since the report before."""
        received, expected = self._received - self._received_before, self._expected - self._expected_before
        if not received:
            return None
        self._received_before, self._expected_before = self._received, self._expected
        lost = expected - received
        return ReceptionReport(
            fraction_lost=min((lost << 8) // expected, 255) if expected > 0 and lost > 0 else 0,
            packets_lost=self.packets_lost,
            highest_sequence=self._highest & 0xFFFFFFFF,
            jitter=min(int(self._jitter), 0xFFFFFFFF),
        )
