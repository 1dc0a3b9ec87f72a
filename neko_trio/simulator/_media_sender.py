"""What one peer of the simulator sends: its pipeline's frames, the desktop's sound, reports, what was lost again.

In the simulator's asyncio thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import RTCP_RTPFB_NACK, AnyRtcpPacket, RtcpRtpfbPacket

from neko_trio.media.aiortc_private import hear_rtcp, send_srtp
from neko_trio.simulator._encoder import EncodedFrame
from neko_trio.simulator._rtp_packets import payloader_for
from neko_trio.simulator._rtp_sender import RtpSender
from neko_trio.simulator._sdp import AUDIO_PAYLOAD_TYPE, PAYLOAD_TYPES

__all__ = ["MediaSender", "Playback"]

FRAMES_WAITING = 8
"""Frames that may wait for one peer; with more it goes on at the next keyframe."""
SOUND_WAITING = 32
"""Packets of sound that may wait for one peer; more are lost, as they are at the server."""
OPUS_TICKS = 960
"""Ticks of the RTP clock that a packet of sound lasts."""
REPORT_INTERVAL = 1.0
"""Seconds between sender reports (pion's report interceptor)."""


class MediaSender:
    """Packs, encrypts and sends over ``dtls``; the methods that send without end are tasks of the peer's."""

    def __init__(self, dtls: RTCDtlsTransport, codec: str) -> None:
        self.video = RtpSender(PAYLOAD_TYPES[codec])
        self.audio = RtpSender(AUDIO_PAYLOAD_TYPE)
        self.video_taken = False
        """Whether the client's description takes our video."""
        self.audio_taken = False
        self._dtls = dtls
        self._payloader = payloader_for(codec)
        self._frames: asyncio.Queue[EncodedFrame] = asyncio.Queue(FRAMES_WAITING)
        self._sound: asyncio.Queue[bytes] = asyncio.Queue(SOUND_WAITING)
        self._keyframe_awaited = True
        self._connected = self._halted = self._ended = False

    def begin(self) -> None:
        """DTLS is up: frames go out, and NACKs are answered."""
        self._connected = True
        hear_rtcp(self._dtls, self.video.ssrc, self._on_rtcp)

    def halt(self) -> None:
        """Media stop, as at an ICE restart."""
        self._halted = True

    def go_on(self) -> None:
        """Media go on, the video at its next keyframe."""
        self._halted = False
        self._keyframe_awaited = True

    def end(self) -> None:
        """The connection ends: frames are lost from now on."""
        self._ended = True

    def watch(self) -> None:
        """Added as a watcher: nothing is sent before a keyframe."""
        self._keyframe_awaited = True

    def offer_frame(self, frame: EncodedFrame) -> None:
        """The pipeline has made a frame. Lost, keyframe or not, while the connection is not up."""
        if self._keyframe_awaited and not frame.keyframe:
            return
        self._keyframe_awaited = False
        if not self._connected or self._halted or self._ended or not self.video_taken:
            return
        try:
            self._frames.put_nowait(frame)
        except asyncio.QueueFull:
            self._keyframe_awaited = True

    def drop_frames(self) -> None:
        """No watcher any more: what waits is not sent either."""
        while not self._frames.empty():
            self._frames.get_nowait()

    async def send_video(self) -> None:
        """Send the frames offered, until cancelled."""
        while True:
            frame = await self._frames.get()
            payloads = self._payloader.payloads(frame.data)
            await self._send_all(self.video.frame(payloads, frame.duration, keyframe=frame.keyframe))

    def offer_sound(self, packet: bytes) -> None:
        """The desktop has sounded. Lost while the connection is not up."""
        if not self._connected or self._halted or self._ended or not self.audio_taken:
            return
        with suppress(asyncio.QueueFull):
            self._sound.put_nowait(packet)

    async def send_audio(self) -> None:
        """Send the sound offered, until cancelled."""
        while True:
            packet = await self._sound.get()
            await self._send_all(self.audio.frame([packet], OPUS_TICKS))

    async def send_reports(self) -> None:
        """Send a report of each stream that has begun, every :data:`REPORT_INTERVAL`, until cancelled."""
        while True:
            await asyncio.sleep(REPORT_INTERVAL)
            reports = [sender.report(time.time()) for sender in (self.video, self.audio) if sender.counts.packets]
            await self._send_all(reports)

    async def _on_rtcp(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK:
            await self._send_all(self.video.again(packet.lost))

    async def _send_all(self, packets: list[bytes]) -> None:
        try:
            for packet in packets:
                await send_srtp(self._dtls, packet)
        except ConnectionError:
            return  # the connection is going down, and says so itself


class Playback:
    """One watcher's place in a loop of frames that were encoded beforehand."""

    def __init__(self, play: Callable[[EncodedFrame], object]) -> None:
        self._play = play
        self._timer: asyncio.TimerHandle | None = None

    def start(self, frames: Sequence[EncodedFrame], interval: float) -> None:
        """Play from the start, the first frame now, the next ones every ``interval`` seconds, until ``stop``."""
        self.stop()
        self._frames, self._interval, self._at = frames, interval, 0
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._next()

    def _next(self) -> None:
        self._play(self._frames[self._at])
        self._at = (self._at + 1) % len(self._frames)
        self._due = max(self._due + self._interval, self._loop.time())
        self._timer = self._loop.call_at(self._due, self._next)

    def stop(self) -> None:
        """Play no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
