"""The video receiver below aiortc: RTP packets in, decoded frames into the session's frame slot."""

from __future__ import annotations

from collections.abc import Callable

from aiortc import RTCRtpReceiver

from neko_trio._ports.frames import FrameSlot
from neko_trio._timeline import Timeline
from neko_trio.media.frames import FrameContext
from neko_trio.media.video_statistics import VideoStatistics

__all__ = ["VideoReceiver", "VideoStatistics"]


class VideoReceiver:
    """Takes the packets of one RTCRtpReceiver before aiortc does."""

    def __init__(
        self,
        codec: str,
        *,
        slot: FrameSlot,
        timeline: Timeline,
        new_number: Callable[[], int],
        frame_context: Callable[[], FrameContext],
        on_keyframe_needed: Callable[[], None],
    ) -> None:
        self._statistics = VideoStatistics(codec)

    def attach(self, rtp_receiver: RTCRtpReceiver) -> None:
        """Take over. On the asyncio thread, after ``setRemoteDescription`` and before the first packet."""
        raise NotImplementedError  # filled in by the next commit

    def statistics(self) -> VideoStatistics:
        """A snapshot; any thread, also after ``aclose``."""
        return self._statistics

    async def aclose(self) -> None:
        """Stop timers, feedback and the decoder's thread. On the asyncio thread; idempotent."""
