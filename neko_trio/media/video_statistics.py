"""The counters of one peer's video, from the first packet to the decoded picture."""

from __future__ import annotations

from dataclasses import dataclass

from neko_trio._counters import balance, gauge


@dataclass(frozen=True, slots=True)
class VideoStatistics:
    """A snapshot; totals since the peer's video track was opened. Counts, unless a unit is given."""

    codec: str
    """``"VP8"``, ``"VP9"``, ``"H264"`` or ``"AV1"``."""
    packets_received: int = 0
    """RTP packets, duplicates and retransmissions included."""
    bytes_received: int = 0
    """Bytes of RTP payload."""
    packets_lost: int = balance(0)
    """Expected minus received (RFC 3550 §6.4.1): retransmissions make it smaller, duplicates can make it negative."""
    packets_late: int = 0
    """Packets that came twice, or after their frame had been given up."""
    packets_malformed: int = 0
    """Packets whose payload is none of this codec's."""
    jitter: float = gauge(0.0)
    """Interarrival jitter in seconds (RFC 3550 §6.4.1). A state, no total."""
    packets_repaired: int = 0
    """Packets that came after they had been missed: sent again, or overtaken on their way."""
    nacks_sent: int = 0
    """Packets asked for again, each time counted."""
    reports_sent: int = 0
    """RTCP receiver reports."""
    holes_given_up: int = 0
    """Losses that retransmission did not fill in time."""
    keyframes_requested: int = 0
    """How often a keyframe was asked for (by toggling the video: Neko ignores PLI)."""
    frames_received: int = 0
    """Complete encoded frames whose references are whole."""
    keyframes_received: int = 0
    """Those of ``frames_received`` that need no reference."""
    frames_skipped: int = 0
    """Complete encoded frames not decoded because a reference was lost, or because their packets made no picture."""
    last_frame_arrived: float | None = gauge(None)
    """When the newest of ``frames_received`` was complete, in seconds of ``time.perf_counter``. No total."""
    latency: float = gauge(0.0)
    """Seconds from the newest frame's capture to its arrival, estimated from above (``Frame.latency``): large for a
    server that is behind. A state, no total."""
    freezes: int = 0
    """Times that no complete frame came for three times as long as usual, and 150 ms longer (webrtc-stats
    ``freezeCount``, average of 30 intervals). Not counted: the video was switched off."""
    freeze_seconds: float = 0.0
    """How long those lasted together, in seconds, each from the frame before to the frame after
    (``totalFreezesDuration``)."""
    frames_decoded: int = 0
    """Frames turned into pictures."""
    frames_undecoded: int = 0
    """Encoded frames dropped because nobody looked before the next keyframe made them useless."""
    frames_waiting: int = gauge(0)
    """Encoded frames kept at this moment, for somebody who may look. A state, no total."""
    frames_dropped: int = 0
    """Encoded frames dropped because the decoder was behind, or failed on one before."""
    decode_errors: int = 0
    """Frames that the decoder refused."""
    decode_seconds: float = 0.0
    """Time the decoder worked, in seconds."""
