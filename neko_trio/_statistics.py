"""What a session has counted: a frozen snapshot, and the difference of two."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neko_trio.media.peer_api import PeerStatistics


@dataclass(frozen=True, slots=True)
class Statistics:
    """Totals since the session began (counts unless a unit is named). Two snapshots subtract: ``later - earlier``."""

    epoch: int = 0
    """Which peer connection of the session this is, from 1; 0 without one."""
    messages_received: int = 0
    """WebSocket messages received."""
    messages_sent: int = 0
    """WebSocket messages sent."""
    messages_malformed: int = 0
    """WebSocket messages skipped: no JSON, or not of their event's shape."""
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
    """How often the video was switched off and on to get a keyframe."""
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
    background_failures: int = 0
    """Exceptions in the asyncio thread that nobody awaited."""
    peer: PeerStatistics | None = None
    """The current peer connection's own counters; never a difference."""

    def __sub__(self, earlier: Statistics) -> Statistics:
        """What was counted between ``earlier`` and this snapshot; ``epoch`` and ``peer`` are this one's."""
        kept = {"epoch", "peer"}
        return Statistics(
            **{
                field.name: getattr(self, field.name)
                if field.name in kept
                else getattr(self, field.name) - getattr(earlier, field.name)
                for field in fields(self)
            }
        )
