"""The video receiver below aiortc: RTP packets in, decoded frames into the session's frame slot.

aiortc's own receiver waits for the next frame before it lets one go, shows pictures whose references are lost, asks for
a lost packet once, and decodes into queues without a bound. Here its packets are taken before it sees them::

    DTLS loop ── RTP ──▶ jitter buffer ── whole frames ──▶ picture group ──▶ decoder's thread ── Frame ──▶ FrameSlot
                              │                                  └──────── look, rest ◀───────────────────────┘
                              └─ feedback tasks ── NACK, receiver report ──▶ server
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from time import perf_counter

import av
from aiortc import RTCRtpReceiver
from aiortc.rtp import RtpPacket

from neko_trio._ports.frames import FrameSlot
from neko_trio._timeline import Timeline
from neko_trio.media import aiortc_private
from neko_trio.media.decoder import Decoder
from neko_trio.media.depayload import BadPayload, video_format
from neko_trio.media.frames import Frame, FrameContext
from neko_trio.media.jitter_buffer import EncodedFrame, JitterBuffer
from neko_trio.media.latency import Latency
from neko_trio.media.picture_group import NumberedFrame
from neko_trio.media.receiver_reports import ReceiverReports
from neko_trio.media.video_statistics import VideoStatistics

__all__ = ["VideoReceiver", "VideoStatistics"]


class VideoReceiver:
    """Receives and decodes one peer's video. Everything on the asyncio thread, unless a method says otherwise."""

    def __init__(
        self,
        codec: str,
        *,
        slot: FrameSlot,
        timeline: Timeline,
        new_number: Callable[[], int],
        frame_context: Callable[[], FrameContext],
        on_keyframe_needed: Callable[[], object],
    ) -> None:
        """``codec`` is the SDP name. ``new_number`` and ``frame_context`` are called when an encoded frame is complete;
        ``on_keyframe_needed`` asks to toggle the video: Neko ignores PLI.

        Raises :class:`~neko_trio.errors.UnsupportedCodec`.
        """
        self._format = video_format(codec)
        self._slot, self._timeline = slot, timeline
        self._new_number, self._frame_context = new_number, frame_context
        self._on_keyframe_needed = on_keyframe_needed
        self._buffer = JitterBuffer(self._format)
        self._reports = ReceiverReports(90_000)
        self._decoder = Decoder(self._format, self._deliver, self._on_undecodable)
        self._receiver: RTCRtpReceiver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._feedback: list[asyncio.Task[None]] = []
        self._nacks_due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._ssrc: int | None = None
        self._last_frame_arrived: float | None = None
        self._packet_came: asyncio.Event | None = None
        self._latency = Latency()
        self._earliest: float | None = None  # when the first frame of a start that is expected can come
        self._held_stream: str | None = None
        self._key_arrived = -math.inf
        self._packets = self._bytes = self._malformed = 0

    def attach(self, rtp_receiver: RTCRtpReceiver) -> None:
        """Take the packets of ``rtp_receiver`` from now on; be the slot's source. Once.

        After ``setRemoteDescription``, which makes the receiver, and before the first packet.
        """
        if self._receiver is not None:
            raise RuntimeError("a VideoReceiver is attached once")
        self._receiver, self._loop = rtp_receiver, asyncio.get_running_loop()
        self._decoder.start()
        self._slot.plug(self._decoder)
        self._feedback = [  # ended by aclose()
            self._loop.create_task(self._send_nacks(rtp_receiver), name="neko-trio-video-nacks"),
            self._loop.create_task(self._reports.run(rtp_receiver), name="neko-trio-video-reports"),
        ]
        aiortc_private.take_packets(rtp_receiver, self._on_packet)
        aiortc_private.observe_rtcp(rtp_receiver, self._reports.hear)

    def statistics(self) -> VideoStatistics:
        """A snapshot. Any thread, any time, also after ``aclose``."""
        counts, decoder = self._buffer.counts, self._decoder
        return VideoStatistics(
            codec=self._format.name,
            packets_received=self._packets,
            bytes_received=self._bytes,
            packets_lost=self._reports.reception.packets_lost,
            packets_late=counts.packets_late,
            packets_malformed=self._malformed,
            jitter=self._reports.reception.jitter,
            packets_repaired=counts.packets_repaired,
            nacks_sent=counts.nacks_sent,
            reports_sent=self._reports.sent,
            holes_given_up=counts.holes_given_up,
            keyframes_requested=self._buffer.keyframes.total,
            frames_received=counts.frames_received,
            keyframes_received=counts.keyframes_received,
            frames_skipped=counts.frames_skipped,
            last_frame_arrived=self._last_frame_arrived,
            latency=self._latency.seconds,
            freezes=counts.freezes.count,
            freeze_seconds=counts.freezes.seconds,
            frames_decoded=decoder.frames_decoded,
            frames_undecoded=decoder.frames_undecoded,
            frames_waiting=decoder.frames_waiting,
            frames_dropped=decoder.frames_dropped,
            decode_errors=decoder.decode_errors,
            decode_seconds=decoder.decode_seconds,
        )

    def stop(self) -> None:
        """Let go of everything that does not need the loop: for when it is gone. Any thread; idempotent."""
        self._closed = True
        self._slot.unplug(self._decoder)
        self._decoder.stop()

    async def aclose(self) -> None:
        """End the timer, the feedback tasks and the decoder's thread. Idempotent; packets are ignored from then on.

        Cancelled, all of them end all the same; only the waiting for it is cut short.
        """
        self.stop()
        self._wake_for_packet()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._feedback:
            task.cancel()
        if self._feedback:
            await asyncio.wait(self._feedback)
        await self._decoder.aclose()

    # -- packets

    def expect_start(self, earliest: float) -> None:
        """See :meth:`Peer.expect_start`."""
        self._earliest = earliest

    def hold_stream(self, stream: str) -> None:
        """See :meth:`Peer.hold_stream`."""
        self._held_stream = stream

    def _context(self) -> FrameContext:
        context = self._frame_context()
        return context if self._held_stream is None else replace(context, stream=self._held_stream)

    def _start(self, key: EncodedFrame) -> None:
        """A keyframe has come: the first of a start, if one is expected."""
        if self._earliest is not None:
            self._latency.restart(key.arrived - self._earliest if self._earliest > -math.inf else None)
            self._earliest = self._held_stream = None

    @property
    def packets_received(self) -> int:
        """RTP packets so far. Any thread."""
        return self._packets

    async def wait_packets(self, more_than: int) -> None:
        """Wait until more than so many packets have come, or until the end. Cancelling is safe."""
        while self._packets <= more_than and not self._closed:
            if self._packet_came is None:
                self._packet_came = asyncio.Event()
            await self._packet_came.wait()

    def _wake_for_packet(self) -> None:
        if self._packet_came is not None:
            self._packet_came.set()
            self._packet_came = None

    def _on_packet(self, packet: RtpPacket) -> None:
        if self._closed:
            return
        now = perf_counter()
        if packet.ssrc != self._ssrc:
            self._begin_stream(packet.ssrc, now)
        self._packets += 1
        self._wake_for_packet()
        self._bytes += len(packet.payload)
        self._reports.reception.add(packet.sequence_number, packet.timestamp, now)
        try:
            payload = self._format.depayload(packet.payload) if packet.payload else None
        except BadPayload:
            self._malformed += 1  # and missing from now on: a frame without it must not be decoded
            return
        frames = self._buffer.receive(packet.sequence_number, packet.timestamp, bool(packet.marker), payload, now)
        self._follow_up(frames, now)

    def _begin_stream(self, ssrc: int, now: float) -> None:
        if self._ssrc is None:
            self._timeline.mark("first_packet", now)
        else:
            self._buffer = JitterBuffer(self._format, counts=self._buffer.counts, keyframes=self._buffer.keyframes)
        self._reports.begin(ssrc)
        self._ssrc = ssrc

    def _follow_up(self, frames: list[EncodedFrame], now: float) -> None:
        """Do what the jitter buffer wants done after it has been told something."""
        for frame in frames:
            self._last_frame_arrived = frame.arrived
            if frame.key:
                self._key_arrived = frame.arrived
                self._start(frame)
            latency = self._latency.add(frame.timestamp, frame.arrived)
            numbered = NumberedFrame(self._new_number(), self._context(), frame, latency, self._key_arrived)
            if not self._decoder.submit(numbered):
                self._buffer.keyframes.skipped(now)
        if self._buffer.keyframes.take(now):
            self._on_keyframe_needed()
        if self._buffer.nacks_due:
            self._nacks_due.set()
        due = self._buffer.get_timer()
        if due is not None and self._timer is None:  # one that fires early, for a hole filled since, sets the next
            assert self._loop is not None
            self._timer = self._loop.call_later(max(0.0, due - now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = perf_counter()
        self._follow_up(self._buffer.handle_timer(now), now)

    def _on_undecodable(self) -> None:
        if not self._closed:
            self._buffer.keyframes.lost()
            self._follow_up([], perf_counter())

    def _deliver(self, frame: NumberedFrame, picture: av.VideoFrame) -> None:
        """On the decoder's thread."""
        self._timeline.mark("first_frame")
        encoded = frame.encoded
        self._slot.put(
            Frame(
                frame.number,
                encoded.arrived,
                frame.context,
                picture,
                latency=frame.latency,
                key_arrived=frame.key_arrived,
            )
        )

    # -- feedback

    async def _send_nacks(self, receiver: RTCRtpReceiver) -> None:
        while True:
            await self._nacks_due.wait()
            self._nacks_due.clear()
            for lost in nack_batches(self._buffer.take_nacks()):
                assert self._ssrc is not None
                await aiortc_private.send_nack(receiver, self._ssrc, lost)


def nack_batches(lost: Sequence[int]) -> Iterator[list[int]]:
    """Sequence numbers in stream order to lists that aiortc can pack into one RTCP packet each (RFC 4585 §6.2.1).

    It packs ascending numbers only, so a list ends where the numbers wrap, or begin again. Each entry is a number and a
    mask of the 16 that follow: the 4,096 numbers within the jitter buffer's reach make at most 241 of them, less than
    1 kB.
    """
    batch: list[int] = []
    for number in lost:
        if batch and number <= batch[-1]:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
