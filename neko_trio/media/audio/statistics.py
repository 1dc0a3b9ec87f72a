"""The counters of one peer's sound, from the first packet to the blocks."""

from __future__ import annotations

from dataclasses import dataclass

from neko_trio._counters import balance, gauge


@dataclass(frozen=True, slots=True)
class AudioStatistics:
    """A snapshot; totals since the peer's audio track was opened. Counts, unless a unit is given."""

    codec: str
    """``"OPUS"``, ``"G722"``, ``"PCMU"`` or ``"PCMA"``."""
    packets_received: int = 0
    """RTP packets, duplicates included."""
    bytes_received: int = 0
    """Bytes of RTP payload."""
    packets_lost: int = balance(0)
    """Expected minus received (RFC 3550 §6.4.1); duplicates can make it negative."""
    packets_late: int = 0
    """Packets that came twice, or after they had been given up."""
    packets_malformed: int = 0
    """Packets whose payload is none of this codec's, or that the decoder refused."""
    packets_unheard: int = 0
    """Packets that came while nobody listened: not decoded."""
    jitter: float = gauge(0.0)
    """Interarrival jitter in seconds (RFC 3550 §6.4.1). A state, no total."""
    reports_sent: int = 0
    """RTCP receiver reports."""
    blocks_decoded: int = 0
    """Blocks made of a packet that came."""
    blocks_concealed: int = 0
    """Blocks made up because packets were lost."""
    samples_concealed: int = 0
    """Samples per channel in those."""
    samples_lost: int = 0
    """Samples per channel that are in no block: more than is concealed."""
    decode_seconds: float = 0.0
    """Time that decoding and concealing took, in seconds."""
