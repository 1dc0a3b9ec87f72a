"""What a session has counted: a frozen snapshot, and the difference of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from neko_trio._counters import added, difference, gauge, numbers

if TYPE_CHECKING:
    from neko_trio.media.peer_api import PeerStatistics
    from neko_trio.media.video_statistics import VideoStatistics


@dataclass(frozen=True, slots=True)
class Statistics:
    """Totals since the session began, all its links and peers together; counts, unless a unit is named.

    Two snapshots subtract: ``later - earlier`` is what was counted between them, and its properties are the rates and
    means of that time. What is a state and no total (says its text) is the later one's.
    """

    seconds: float = 0.0
    """Seconds that this covers: since the session began, or between the two snapshots."""
    epoch: int = gauge(0)
    """Which peer connection of the session is the newest, from 1; 0 without one. A state."""
    outages: int = 0
    """How often the connection was lost and has come back (``reconnect=``)."""
    outage_seconds: float = 0.0
    """Seconds for which it was away, the outage that there may be now included."""
    messages_received: int = 0
    """WebSocket messages received."""
    messages_sent: int = 0
    """WebSocket messages sent."""
    messages_malformed: int = 0
    """Messages skipped: no JSON, or not of their event's shape; those of the data channel included."""
    offers_unrequested: int = 0
    """Offers ignored because nobody had asked for them."""
    offers_dropped: int = 0
    """Renegotiating offers beyond what may wait for an answer."""
    candidates_malformed: int = 0
    """Remote ICE candidates skipped because they are none."""
    candidates_dropped: int = 0
    """Remote ICE candidates beyond what is kept for a peer."""
    candidates_stray: int = 0
    """Remote ICE candidates that came while no peer was asked for."""
    local_candidates_dropped: int = 0
    """ICE candidates of this side beyond what may wait for the socket."""
    video_toggles: int = 0
    """How often the video was switched off and on to get a keyframe, or to have a slow pipeline started anew."""
    video_seconds_on: float = 0.0
    """Seconds for which the server was asked for video."""
    pictures_on_demand: int = 0
    """How often the video, otherwise off, was switched on because somebody wanted a picture."""
    frames_shown: int = 0
    """Decoded frames that reached the newest-frame slot."""
    frames_unseen: int = 0
    """Frames that a newer one replaced before any reader took them."""
    audio_blocks: int = 0
    """Blocks of sound that were heard."""
    audio_blocks_dropped: int = 0
    """Blocks that slow readers of the sound did not get; of several readers the sum."""
    frame_age_seconds: float = 0.0
    """Sum of the ages, in seconds since its last packet came, at which frames reached the slot."""
    frame_age: float | None = gauge(None)
    """Age of the newest decoded frame, in seconds since its last packet came; ``None`` before the first. A state."""
    round_trip: float | None = gauge(None)
    """Seconds from the newest ping on the data channel to its pong, the two programs' own delays included; ``None``
    before the first. A ping goes out when the channel opens and every 5 s. A state."""
    pings_sent: int = 0
    """Pings that measure the round trip. The barriers of ``flush()`` are not among them."""
    pongs_received: int = 0
    """Their answers."""
    background_failures: int = 0
    """Exceptions in the asyncio thread that nobody awaited, whichever session they belong to."""
    peer: PeerStatistics | None = None
    """What the session's peer connections counted; ``None`` before the first."""

    def __sub__(self, earlier: Statistics) -> Statistics:
        """What was counted between ``earlier`` and this snapshot."""
        return difference(self, earlier)

    def __add__(self, other: Statistics) -> Statistics:
        """Both together; states are ``other``'s."""
        return added(self, other)

    # -- rates and means

    def per_second(self, count: float) -> float:
        """``count`` of this snapshot's by its seconds; 0 when it covers no time."""
        return count / self.seconds if self.seconds > 0 else 0.0

    @property
    def bitrate(self) -> float:
        """Video received, in bits of RTP payload per second."""
        video = self._video
        return self.per_second(8 * video.bytes_received) if video else 0.0

    @property
    def frame_rate(self) -> float:
        """Encoded frames received per second."""
        video = self._video
        return self.per_second(video.frames_received) if video else 0.0

    @property
    def decode_time(self) -> float | None:
        """Mean time to decode a frame, in seconds; ``None`` when none was."""
        video = self._video
        return video.decode_seconds / video.frames_decoded if video and video.frames_decoded else None

    @property
    def mean_frame_age(self) -> float | None:
        """Mean age at which frames reached the slot, in seconds since their last packet came; ``None`` without any."""
        return self.frame_age_seconds / self.frames_shown if self.frames_shown else None

    @property
    def _video(self) -> VideoStatistics | None:
        return self.peer.video if self.peer else None

    # -- for other systems

    def totals(self) -> dict[str, float]:
        """Every number that only grows, by its name: that of its field, led by the names of those it stands in, such
        as ``peer_video_frames_decoded``. What Prometheus calls counters."""
        return {name: value for name, kind, value in numbers(self) if kind == "total"}

    def gauges(self) -> dict[str, float]:
        """Every other number, by its name; what is unknown is left out."""
        return {name: value for name, kind, value in numbers(self) if kind != "total"}
