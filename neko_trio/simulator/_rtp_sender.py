"""One RTP stream: numbers, timestamps, the history that answers NACKs, and the reports of a sender.

Pure: packets are returned, the clock is an argument. As the real server (pion) behaves: sequence numbers go on by
one and timestamps by one frame's duration however long nothing was sent; a NACK brings the packet again as it was,
same SSRC and payload type, from the last 1024; PLI and FIR do nothing.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["HISTORY", "RtpSender", "SenderCounts"]

HISTORY = 1024
"""Packets kept for retransmission (pion's NACK responder)."""
_HEADER = struct.Struct(">BBHII")
_REPORT = struct.Struct(">BBHIQIII")
_NTP_EPOCH = 2_208_988_800
"""Seconds from 1900 to 1970."""


@dataclass(slots=True)
class SenderCounts:
    """What one stream has done so far."""

    packets: int = 0
    octets: int = 0
    frames: int = 0
    keyframes: int = 0
    nacks: int = 0
    """Sequence numbers asked for again."""
    resent: int = 0


class RtpSender:
    """Makes the packets of one stream, not yet encrypted."""

    def __init__(self, payload_type: int, *, ssrc: int | None = None) -> None:
        self.payload_type = payload_type
        self.ssrc = random.getrandbits(32) if ssrc is None else ssrc
        # libsrtp wants the first sequence number in the lower half (RFC 3711 §3.3.1: the rollover counter is guessed)
        self._sequence = random.getrandbits(15)
        self._timestamp = random.getrandbits(32)
        self._sent_timestamp = self._timestamp
        self._history: list[tuple[int, bytes] | None] = [None] * HISTORY
        self.counts = SenderCounts()

    def frame(self, payloads: Sequence[bytes], duration: int, *, keyframe: bool = False) -> list[bytes]:
        """The packets of one frame's payloads; the marker is on the last. ``duration`` in ticks of the stream's clock
        (90 kHz for video): what the next frame's timestamp is later by."""
        packets = []
        last = len(payloads) - 1
        for index, payload in enumerate(payloads):
            marked = self.payload_type | (0x80 if index == last else 0)
            packet = _HEADER.pack(0x80, marked, self._sequence, self._timestamp, self.ssrc) + payload
            self._history[self._sequence % HISTORY] = (self._sequence, packet)
            self._sequence = (self._sequence + 1) & 0xFFFF
            self.counts.packets += 1
            self.counts.octets += len(payload)
            packets.append(packet)
        self._sent_timestamp = self._timestamp
        self._timestamp = (self._timestamp + duration) & 0xFFFFFFFF
        self.counts.frames += 1
        self.counts.keyframes += keyframe
        return packets

    def again(self, lost: Iterable[int]) -> list[bytes]:
        """The packets with these sequence numbers, as far as they are still known: the answer to a NACK."""
        packets = []
        for sequence in lost:
            self.counts.nacks += 1
            kept = self._history[sequence % HISTORY]
            if kept is not None and kept[0] == sequence:
                self.counts.resent += 1
                packets.append(kept[1])
        return packets

    def report(self, now: float) -> bytes:
        """A sender report (RFC 3550 §6.4.1) as of ``now``, seconds since 1970."""
        ntp = int((now + _NTP_EPOCH) * (1 << 32))
        counts = self.counts
        return _REPORT.pack(
            0x80, 200, 6, self.ssrc, ntp, self._sent_timestamp, counts.packets & 0xFFFFFFFF, counts.octets & 0xFFFFFFFF
        )
