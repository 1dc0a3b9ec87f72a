"""The one byte of an Opus packet that says how long it is (RFC 6716 §3.1). No I/O, no decoder."""

from __future__ import annotations

RATE = 48_000
LONGEST = 5760
"""Samples that one packet may hold: 120 ms."""

_SILK = (480, 960, 1920, 2880)
_HYBRID = (480, 960)
_CELT = (120, 240, 480, 960)


class BadSound(Exception):
    """A payload that is none of the codec's. Never leaves ``media.audio``."""


def frame_length(packet: bytes) -> int:
    """Samples (at 48 kHz) of each frame of a packet. Raises :class:`BadSound` for an empty one."""
    if not packet:
        raise BadSound("an empty Opus packet")
    configuration = packet[0] >> 3
    if configuration < 12:
        return _SILK[configuration & 3]
    if configuration < 16:
        return _HYBRID[configuration & 1]
    return _CELT[configuration & 3]


def packet_length(packet: bytes) -> int:
    """Samples (at 48 kHz) of a whole packet. Raises :class:`BadSound` when it says more than 120 ms, or nothing."""
    length = frame_length(packet)
    match packet[0] & 3:
        case 0:
            return length
        case 1 | 2:
            length *= 2
        case _:
            if len(packet) < 2:
                raise BadSound("an Opus packet without its frame count")
            length *= packet[1] & 0x3F
    if not 0 < length <= LONGEST:
        raise BadSound(f"an Opus packet of {length} samples")
    return length


def lost_frame(packet: bytes) -> bytes:
    """A packet with one frame like those of ``packet``, but empty: what makes libopus conceal a lost one.

    A frame of no bytes is one that was not received (RFC 6716 §3.2.1); libopus then extrapolates.
    """
    return bytes((packet[0] & 0xFC,))
