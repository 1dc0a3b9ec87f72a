"""Packets of a sound stream in order: what overtook is held for a moment, what does not come is given up in time.

No clock: ``now`` is an argument, seconds that only go forwards. No NACK: Neko's offer has none for audio (the feedback
of its audio line is ``transport-cc`` alone: server/pkg/types/codec/codecs.go).
"""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE = 0.06
"""Seconds that a missing packet may still come after one behind it has: three packets of 20 ms."""
LIMIT = 64
"""Packets held behind a missing one; beyond that it is given up at once."""
RESTART = 1000
"""A sequence number so far from the expected one is no late or lost packet: the sender began anew."""


@dataclass(frozen=True, slots=True)
class AudioPacket:
    """One RTP packet of sound."""

    sequence: int
    """Its sequence number, unwrapped."""
    timestamp: int
    """Its RTP timestamp, 32 bit."""
    payload: bytes
    arrived: float
    first: bool
    """Whether it joins on to nothing: the first of a stream, or of one that began anew."""


class Reorder:
    """Packets in, packets out in the order of their sequence numbers, each at most once. A hole is a jump in them."""

    def __init__(self) -> None:
        self._next: int | None = None
        self._held: dict[int, AudioPacket] = {}
        self._deadline: float | None = None
        self.packets_late = 0
        """Packets that came twice, or after they had been given up."""

    def receive(self, sequence_number: int, timestamp: int, payload: bytes, now: float) -> list[AudioPacket]:
        """Take a packet with a 16-bit ``sequence_number``; return what may go on now."""
        first = self._next is None
        if self._next is None:
            self._next = sequence_number
        step = ((sequence_number - self._next + 0x8000) & 0xFFFF) - 0x8000
        if step >= RESTART or step < -RESTART:
            released = [self._held[held] for held in sorted(self._held)]
            self._held.clear()
            self._deadline = self._next = None
            return [*released, *self.receive(sequence_number, timestamp, payload, now)]
        sequence = self._next + step
        if step < 0 or sequence in self._held:
            self.packets_late += 1
            return []
        packet = AudioPacket(sequence, timestamp, payload, now, first)
        if step == 0 and not self._held:
            self._next += 1
            return [packet]
        self._held[sequence] = packet
        if step != 0 and len(self._held) > LIMIT:
            self._next = min(self._held)
        return self._release(now)

    def get_timer(self) -> float | None:
        """When ``handle_timer`` has to be called, ``None`` while nothing is missing."""
        return self._deadline

    def handle_timer(self, now: float) -> list[AudioPacket]:
        """Give up what has been missing for too long; return what may go on now."""
        if self._deadline is None or now < self._deadline:
            return []
        self._next = min(self._held)
        return self._release(now)

    def _release(self, now: float) -> list[AudioPacket]:
        assert self._next is not None
        released = []
        while True:
            packet = self._held.pop(self._next, None)
            if packet is not None:
                released.append(packet)
                self._next += 1
                continue
            if not self._held:
                self._deadline = None
                return released
            self._deadline = min(held.arrived for held in self._held.values()) + PATIENCE
            if now < self._deadline:
                return released
            self._next = min(self._held)  # what came behind this hole has waited long enough, too
