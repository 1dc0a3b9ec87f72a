"""The receiver on a real RTCRtpReceiver, a real loop, a real decoder; only the transport below is made here."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from itertools import count
from typing import cast

import pytest
import trio
from aiortc import RTCRtpReceiver
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import (
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpPacket,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    RtpPacket,
)
from hypothesis import example, given
from hypothesis import strategies as st

from neko_trio._ports.frames import FrameSlot
from neko_trio._timeline import Timeline
from neko_trio.errors import UnsupportedCodec
from neko_trio.media.depayload import depayload_vp8
from neko_trio.media.frames import Frame, FrameContext
from neko_trio.media.receiver import VideoReceiver, nack_batches

Recorded = Callable[[str], list[tuple[float, RtpPacket]]]
CONTEXT = FrameContext(session=object(), epoch=3, screen_size=(1280, 720), stream="hq")
OUR_SSRC = 4711


class Transport:
    """Below the receiver: keeps what it sends."""

    state = "new"

    def __init__(self) -> None:
        self.sent = list[AnyRtcpPacket]()
        self.wanted: Callable[[AnyRtcpPacket], bool] = lambda packet: False
        self.came = asyncio.Event()

    async def _send_rtp(self, data: bytes) -> None:
        for packet in RtcpPacket.parse(data):
            self.sent.append(packet)
            if self.wanted(packet):
                self.came.set()

    async def wait(self, wanted: Callable[[AnyRtcpPacket], bool]) -> None:
        self.wanted = wanted
        if not any(wanted(packet) for packet in self.sent):
            async with asyncio.timeout(10):
                await self.came.wait()
        self.came.clear()


class Slot(FrameSlot):
    """Tells a loop of each frame; can hold the decoder's thread at one."""

    loop: asyncio.AbstractEventLoop
    progress: asyncio.Event

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def put(self, frame: Frame) -> None:
        assert self.gate.wait(30)
        super().put(frame)
        self.loop.call_soon_threadsafe(self.progress.set)


class Bench:
    """A receiver attached to a transport, the slot it fills, and what it asked for."""

    def __init__(self, codec: str, slot: Slot, looking: bool) -> None:
        self.looking = looking
        slot.loop, slot.progress = asyncio.get_running_loop(), asyncio.Event()
        self.slot, self.timeline, self.transport = slot, Timeline(), Transport()
        self.keyframes_needed, self.keyframe_needed = 0, asyncio.Event()
        self.numbers, self.gate = count(1), slot.gate
        self.receiver = VideoReceiver(
            codec,
            slot=slot,
            timeline=self.timeline,
            new_number=lambda: next(self.numbers),
            frame_context=lambda: CONTEXT,
            on_keyframe_needed=self._keyframe_needed,
        )
        self.rtp = RTCRtpReceiver("video", cast(RTCDtlsTransport, self.transport))
        self.rtp._set_rtcp_ssrc(OUR_SSRC)
        self.receiver.attach(self.rtp)

    def _keyframe_needed(self) -> None:
        self.keyframes_needed += 1
        self.keyframe_needed.set()

    async def feed(self, packets: list[tuple[float, RtpPacket]]) -> None:
        """As the transport does; the decoder, if somebody looks, is given time to keep up."""
        for _, packet in packets:
            await self.rtp._handle_rtp_packet(packet, 0)
            if packet.marker and self.looking:
                await self.decoded()

    async def decoded(self) -> None:
        """Wait until the decoder has done all it was given."""
        async with asyncio.timeout(30):
            while True:
                self.slot.progress.clear()
                now = self.receiver.statistics()
                if now.frames_received == self.slot.put_total + now.frames_dropped + now.decode_errors:
                    return
                await self.slot.progress.wait()


Scenario = Callable[[Bench], Awaitable[None]]


async def play(codec: str, scenario: Scenario, *, looking: bool = True, slot: Slot | None = None) -> Bench:
    """Run the scenario on a loop in a thread; nothing of the receiver is left afterwards."""
    slot = slot or Slot()

    async def main() -> Bench:
        bench = Bench(codec, slot, looking)
        try:
            await scenario(bench)
        finally:
            bench.gate.set()
            await bench.receiver.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("neko-trio-decode-")]
        return bench

    with slot.looking() if looking else nullcontext():
        return await trio.to_thread.run_sync(asyncio.run, main())


def is_nack(packet: AnyRtcpPacket) -> bool:
    return isinstance(packet, RtcpRtpfbPacket)


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_recording_becomes_frames_in_the_slot(codec: str, recorded: Recorded) -> None:
    bench = await play(codec.lower(), lambda bench: bench.feed(recorded(codec)))
    assert bench.slot.put_total == 80
    frame = bench.slot.newest
    assert frame is not None
    assert (frame.number, frame.size, frame.context) == (80, (1280, 720), CONTEXT)
    assert 0 <= frame.age() < 10
    assert frame.to_ndarray().std() > 10
    assert bench.timeline.between("first_packet", "first_frame") > 0
    assert bench.keyframes_needed == 0
    statistics = bench.receiver.statistics()
    packets = recorded(codec)
    assert statistics.codec == codec
    assert statistics.packets_received == len(packets)
    assert statistics.bytes_received == sum(len(packet.payload) for _, packet in packets)
    assert (statistics.frames_received, statistics.keyframes_received, statistics.frames_decoded) == (80, 4, 80)
    assert (statistics.packets_lost, statistics.nacks_sent, statistics.frames_skipped) == (0, 0, 0)


async def test_while_nobody_looks_one_frame_is_decoded_and_a_look_gives_the_newest(recorded: Recorded) -> None:
    async def scenario(bench: Bench) -> None:
        packets = recorded("VP8")
        first = next(at for at, (_, packet) in enumerate(packets) if packet.marker) + 1
        await bench.feed(packets[:first])
        await bench.decoded()
        await bench.feed(packets[first:])
        statistics = bench.receiver.statistics()
        assert (statistics.frames_decoded, statistics.frames_waiting, statistics.frames_undecoded) == (1, 5, 74)
        # The loop stands still meanwhile: the look and the decoding need no help from it.
        frame = trio.from_thread.run(bench.slot.wait)
        assert frame.number == 80
        assert frame.arrived == bench.receiver.statistics().last_frame_arrived
        bench.receiver.stop()
        assert trio.from_thread.run(bench.slot.wait) is frame

    bench = await play("VP8", scenario, looking=False)
    statistics = bench.receiver.statistics()
    assert (statistics.frames_decoded, statistics.frames_waiting, statistics.frames_undecoded) == (6, 0, 74)
    assert bench.timeline.between("first_packet", "first_frame") > 0


async def test_every_frame_is_there_for_who_wants_every_frame_though_trio_is_busy(recorded: Recorded) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.feed(recorded("VP8"))

    slot = Slot()
    with slot.subscribe(100) as buffer, slot.subscribe(10) as small:
        await play("VP8", scenario, slot=slot)
        assert [(await buffer.take()).number for _ in range(80)] == list(range(1, 81))
        assert [(await small.take()).number for _ in range(10)] == list(range(71, 81))
        assert (buffer.dropped, small.dropped) == (0, 70)


async def test_a_frame_that_cannot_be_decoded_asks_for_a_keyframe(recorded: Recorded) -> None:
    packets = recorded("VP8")
    keys = [at for at, (_, packet) in enumerate(packets) if depayload_vp8(packet.payload).opens_key]
    (at,) = [at for at, (_, packet) in enumerate(packets[: keys[1]]) if packet.marker][5:6]
    bad = RtpPacket.parse(packets[at][1].serialize())
    bad.payload = bad.payload[:4] + b"\1"  # a whole frame of one byte that is none
    assert packets[at - 1][1].marker, "the frame is one packet"

    async def scenario(bench: Bench) -> None:
        await bench.feed(packets[:at])
        await bench.rtp._handle_rtp_packet(bad, 0)
        async with asyncio.timeout(10):
            await bench.keyframe_needed.wait()
        await bench.feed(packets[at + 1 : keys[1] + 200])

    bench = await play("VP8", scenario)
    statistics = bench.receiver.statistics()
    assert (statistics.decode_errors, statistics.keyframes_requested, bench.keyframes_needed) == (1, 1, 1)
    assert statistics.frames_dropped == 25 - 6
    frame = bench.slot.newest
    assert frame is not None
    assert frame.number > 25


async def test_lost_packets_are_asked_for_until_they_come(recorded: Recorded) -> None:
    packets = recorded("VP8")
    lost = {packets[5][1].sequence_number, packets[7][1].sequence_number, packets[200][1].sequence_number}

    async def scenario(bench: Bench) -> None:
        await bench.feed([entry for entry in packets[:60] if entry[1].sequence_number not in lost])
        rounds = count(1)
        await bench.transport.wait(lambda packet: is_nack(packet) and next(rounds) == 3)
        nacks = [packet for packet in bench.transport.sent if isinstance(packet, RtcpRtpfbPacket)]
        for nack in nacks:
            assert (nack.fmt, nack.ssrc, nack.media_ssrc) == (1, OUR_SSRC, packets[0][1].ssrc)
            assert nack.lost == [packets[5][1].sequence_number, packets[7][1].sequence_number]
        await bench.feed([packets[5], packets[7], *packets[60:200], packets[201], packets[200], *packets[202:]])

    bench = await play("VP8", scenario)
    assert bench.slot.put_total == 80
    assert bench.keyframes_needed == 0
    assert bench.receiver.statistics().nacks_sent >= 6


async def test_a_loss_that_is_not_repaired_ends_with_one_request_for_a_keyframe(recorded: Recorded) -> None:
    packets = recorded("VP8")
    keys = [at for at, (_, packet) in enumerate(packets) if depayload_vp8(packet.payload).opens_key]

    async def scenario(bench: Bench) -> None:
        await bench.feed([*packets[:40], *packets[41 : keys[1]]])
        async with asyncio.timeout(10):
            await bench.keyframe_needed.wait()
        before = bench.slot.put_total
        await bench.feed(packets[keys[1] : keys[2]])
        assert bench.slot.put_total == before + 25

    bench = await play("VP8", scenario)
    assert bench.keyframes_needed == 1
    statistics = bench.receiver.statistics()
    assert (statistics.holes_given_up, statistics.keyframes_requested, statistics.packets_lost) == (1, 1, 1)


async def test_malformed_packets_are_counted_and_asked_for_again(recorded: Recorded) -> None:
    packets = recorded("H264")[:40]
    bad = RtpPacket.parse(packets[5][1].serialize())
    bad.payload = b"\xff\xff"

    async def scenario(bench: Bench) -> None:
        await bench.feed([*packets[:5], (0.0, bad), *packets[6:]])
        await bench.transport.wait(is_nack)
        assert bench.transport.sent[0].lost == [bad.sequence_number]  # type: ignore[union-attr]  # a NACK
        received = bench.receiver.statistics().frames_received
        await bench.feed([packets[5]])
        assert bench.receiver.statistics().frames_received > received

    bench = await play("H264", scenario)
    assert bench.receiver.statistics().packets_malformed == 1


async def test_receiver_reports_say_what_came(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.0)  # the shortest interval, 0.5 s
    packets = recorded("VP8")[:101]

    async def scenario(bench: Bench) -> None:
        ssrc = packets[0][1].ssrc
        await bench.feed([*packets[:50], *packets[51:]])
        info = RtcpSenderInfo(ntp_timestamp=0xAAAABBBB_CCCCDDDD, rtp_timestamp=0, packet_count=0, octet_count=0)
        await bench.rtp._handle_rtcp_packet(RtcpSrPacket(ssrc=ssrc, sender_info=info))
        info = RtcpSenderInfo(ntp_timestamp=0x11112222_33334444, rtp_timestamp=0, packet_count=0, octet_count=0)
        await bench.rtp._handle_rtcp_packet(RtcpSrPacket(ssrc=ssrc + 1, sender_info=info))  # somebody else's
        await bench.transport.wait(lambda packet: isinstance(packet, RtcpRrPacket))
        (report,) = (packet for packet in bench.transport.sent if isinstance(packet, RtcpRrPacket))
        (block,) = report.reports
        assert (report.ssrc, block.ssrc) == (OUR_SSRC, ssrc)
        assert (block.packets_lost, block.fraction_lost) == (1, 256 // 101)
        assert block.highest_sequence & 0xFFFF == packets[-1][1].sequence_number
        assert block.lsr == 0xBBBBCCCC
        assert 0.2 < block.dlsr / 65536 < 5

    bench = await play("VP8", scenario)
    assert bench.receiver.statistics().reports_sent == 1


async def test_another_source_begins_anew(recorded: Recorded) -> None:
    packets = recorded("VP8")
    renamed = []
    for now, packet in packets[:100]:
        copy = RtpPacket.parse(packet.serialize())
        copy.ssrc = 99
        renamed.append((now, copy))

    async def scenario(bench: Bench) -> None:
        await bench.feed(packets[:100])
        once = bench.receiver.statistics().frames_received
        await bench.feed(renamed)
        assert bench.receiver.statistics().frames_received == 2 * once

    bench = await play("VP8", scenario)
    assert bench.receiver.statistics().packets_late == 0


async def test_a_goodbye_of_the_sender_stops_nothing(recorded: Recorded) -> None:
    packets = recorded("VP8")[:100]

    async def scenario(bench: Bench) -> None:
        await bench.feed(packets[:50])
        await bench.rtp._handle_rtcp_packet(RtcpByePacket(sources=[packets[0][1].ssrc]))
        await bench.feed(packets[50:])

    assert (await play("VP8", scenario)).slot.put_total > 0


async def test_closing_in_the_middle_of_everything(recorded: Recorded) -> None:
    packets = recorded("VP8")

    async def scenario(bench: Bench) -> None:
        bench.gate.clear()  # the decoder is at its first frame
        for _, packet in [*packets[:60], *packets[61:100]]:
            await bench.rtp._handle_rtp_packet(packet, 0)
        closing = asyncio.create_task(bench.receiver.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        bench.gate.set()
        await asyncio.gather(bench.receiver.aclose(), bench.receiver.aclose())
        before = bench.receiver.statistics()
        await bench.rtp._handle_rtp_packet(packets[100][1], 0)
        assert bench.receiver.statistics() == before

    bench = await play("VP8", scenario)
    assert bench.slot.put_total <= 1


async def test_is_attached_once(recorded: Recorded) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(RuntimeError):
            bench.receiver.attach(bench.rtp)

    await play("VP8", scenario)


async def test_closing_one_that_was_never_attached() -> None:
    def receiver(codec: str) -> VideoReceiver:
        return VideoReceiver(
            codec,
            slot=slot,
            timeline=Timeline(),
            new_number=lambda: 1,
            frame_context=lambda: CONTEXT,
            on_keyframe_needed=lambda: None,
        )

    slot = FrameSlot()
    await trio.to_thread.run_sync(asyncio.run, receiver("H264").aclose())
    with pytest.raises(UnsupportedCodec):
        receiver("H265")


@example(start=65_530, gaps=[1] * 20, twice=False)
@example(start=0, gaps=[17] * 240, twice=False)
@example(start=7, gaps=[1], twice=True)
@given(start=st.integers(0, 0xFFFF), gaps=st.lists(st.integers(1, 40), max_size=1500), twice=st.booleans())
def test_nacks_fit_their_packets_and_ask_for_exactly_what_is_lost(start: int, gaps: list[int], twice: bool) -> None:
    lost, number = list[int](), start
    for gap in gaps:
        number += gap
        if number - start >= 4096:
            break
        lost.append(number & 0xFFFF)
    lost *= 1 + twice
    asked = list[int]()
    for batch in nack_batches(lost):
        packet = RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=2, lost=batch)
        data = bytes(packet)  # aiortc cannot pack numbers that wrap
        assert len(data) <= 1000
        (parsed,) = RtcpPacket.parse(data)
        assert isinstance(parsed, RtcpRtpfbPacket)
        asked += parsed.lost
    assert asked == lost
