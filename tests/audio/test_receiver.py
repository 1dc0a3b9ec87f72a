"""The audio receiver on a real RTCRtpReceiver, a real loop, a real decoder; the transport below is made here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
import trio
from aiortc import RTCRtpReceiver
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import AnyRtcpPacket, RtcpPacket, RtcpRrPacket, RtcpSenderInfo, RtcpSrPacket, RtpPacket
from hypothesis import given
from hypothesis import strategies as st

from neko_trio._ports.audio import AudioBlock, AudioPort
from neko_trio.media.audio.decoder import AUDIO_FORMATS, CONCEAL_LIMIT
from neko_trio.media.audio.receiver import AudioReceiver, Heard, gap_between
from tests.audio.tones import FRAME, LEFT, RATE, RIGHT, encode, frequency, opus_tones, tones

SSRC, OUR_SSRC = 1234, 4711
GIVING_UP = 0.09
"""Seconds in which what is missing has been given up."""


class Transport:
    """Below the receiver: keeps what it sends."""

    state = "new"

    def __init__(self) -> None:
        self.sent = list[AnyRtcpPacket]()
        self.came = asyncio.Event()

    async def _send_rtp(self, data: bytes) -> None:
        self.sent += RtcpPacket.parse(data)
        self.came.set()


class Bench:
    """A receiver attached to a transport, on a loop."""

    def __init__(self, port: AudioPort, codec: str) -> None:
        self.transport = Transport()
        self.receiver = AudioReceiver(AUDIO_FORMATS[codec], port, epoch=2)
        self.rtp = RTCRtpReceiver("audio", cast(RTCDtlsTransport, self.transport))
        self.rtp._set_rtcp_ssrc(OUR_SSRC)
        self.receiver.attach(self.rtp)

    async def feed(self, packets: Iterable[RtpPacket]) -> None:
        for packet in packets:
            await self.rtp._handle_rtp_packet(packet, 0)


Scenario = Callable[[Bench], Awaitable[None]]


def stream(count: int = 100, *, first: int = 65_500, ssrc: int = SSRC) -> list[RtpPacket]:
    """The tones as packets; sequence numbers and timestamps wrap on the way."""
    packets = []
    for n, payload in enumerate(opus_tones()[:count]):
        packet = RtpPacket(
            payload_type=111,
            sequence_number=(first + n) & 0xFFFF,
            timestamp=(0xFFFF_0000 + n * FRAME) & 0xFFFFFFFF,
            ssrc=ssrc,
            payload=payload,
        )
        packets.append(packet)
    return packets


async def play(
    scenario: Scenario, *, port: AudioPort | None = None, codec: str = "OPUS"
) -> tuple[Bench, list[AudioBlock]]:
    """Run the scenario on a loop in a thread, with a listener unless a port is given; return what was heard."""
    listening = port is None
    port = port or AudioPort()

    async def main() -> Bench:
        bench = Bench(port, codec)
        try:
            await scenario(bench)
        finally:
            await bench.receiver.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return bench

    with ExitStack() as stack:
        reader = stack.enter_context(port.subscribe(1000)) if listening else None
        bench = await trio.to_thread.run_sync(asyncio.run, main())
        heard = [await anext(reader) for _ in range(port.blocks_total)] if reader is not None else []
    return bench, heard


def is_continuous(blocks: list[AudioBlock]) -> bool:
    return all(b.position == a.position + len(a.samples) + b.lost for a, b in pairwise(blocks))


async def test_packets_become_blocks_one_by_one() -> None:
    bench, heard = await play(lambda bench: bench.feed(stream()))
    assert [block.number for block in heard] == list(range(1, 101))
    assert [block.position for block in heard] == [n * FRAME for n in range(100)]
    assert all(block.samples.shape == (FRAME, 2) and block.rate == RATE and block.epoch == 2 for block in heard)
    assert not any(block.lost or block.concealed for block in heard)
    sound = np.concatenate([block.samples for block in heard])
    assert frequency(sound[RATE:, 0]) == pytest.approx(LEFT, abs=2)
    statistics = bench.receiver.statistics()
    assert statistics.codec == "OPUS"
    assert (statistics.packets_received, statistics.blocks_decoded) == (100, 100)
    assert statistics.bytes_received == sum(map(len, opus_tones()))
    assert (statistics.packets_lost, statistics.packets_unheard, statistics.blocks_concealed) == (0, 0, 0)
    assert 0 < statistics.decode_seconds < 1


async def test_lost_packets_are_concealed_and_counted() -> None:
    lost = {20, 40, 41, 70}

    async def scenario(bench: Bench) -> None:
        packets = stream()
        await bench.feed(packet for n, packet in enumerate(packets[:90]) if n not in lost)
        await asyncio.sleep(GIVING_UP)
        await bench.feed(packets[90:])

    bench, heard = await play(scenario)
    assert is_continuous(heard)
    assert heard[-1].position == 99 * FRAME
    assert [(block.position // FRAME, len(block.samples) // FRAME) for block in heard if block.concealed] == [
        (20, 1),
        (40, 2),
        (70, 1),
    ]
    assert not any(block.lost for block in heard)
    statistics = bench.receiver.statistics()
    assert (statistics.packets_lost, statistics.blocks_concealed, statistics.samples_concealed) == (4, 3, 4 * FRAME)
    assert statistics.samples_lost == 0


async def test_a_long_gap_is_told() -> None:
    async def scenario(bench: Bench) -> None:
        packets = stream()
        await bench.feed(packets[:10] + packets[60:])
        await asyncio.sleep(GIVING_UP)

    bench, heard = await play(scenario)
    assert is_continuous(heard)
    bridge, behind = heard[10], heard[11]
    assert (bridge.concealed, len(bridge.samples)) == (True, int(CONCEAL_LIMIT * RATE))
    assert (behind.position, behind.lost) == (60 * FRAME, 50 * FRAME - int(CONCEAL_LIMIT * RATE))
    assert bench.receiver.statistics().samples_lost == behind.lost


async def test_packets_out_of_order_are_put_in_order() -> None:
    packets = stream()
    for at in range(1, 99, 4):
        packets[at], packets[at + 1] = packets[at + 1], packets[at]
    bench, heard = await play(lambda bench: bench.feed([*packets, packets[50]]))
    assert [block.position for block in heard] == [n * FRAME for n in range(100)]
    assert not any(block.concealed for block in heard)
    assert bench.receiver.statistics().packets_late == 1


async def test_a_pause_of_the_sender_is_filled_as_silence_would_be() -> None:
    async def scenario(bench: Bench) -> None:
        packets = stream()
        for packet in packets[50:]:  # DTX: the numbers go on, the clock has run
            packet.sequence_number = (packet.sequence_number - 10) & 0xFFFF
        await bench.feed(packets[:40] + packets[50:])

    _, heard = await play(scenario)
    assert is_continuous(heard)
    assert [len(block.samples) for block in heard if block.concealed] == [10 * FRAME]
    assert heard[-1].position == 99 * FRAME


async def test_a_clock_that_stumbles_makes_no_gap() -> None:
    async def scenario(bench: Bench) -> None:
        packets = stream()
        for packet in packets[1:]:  # the first buffer of GStreamer's encoder is short: 13.5 ms
            packet.timestamp = (packet.timestamp - 312) & 0xFFFFFFFF
        await bench.feed(packets)

    _, heard = await play(scenario)
    assert [block.position for block in heard] == [n * FRAME for n in range(100)]


async def test_nothing_is_decoded_while_nobody_listens() -> None:
    port = AudioPort()
    bench, _ = await play(lambda bench: bench.feed(stream()), port=port)
    statistics = bench.receiver.statistics()
    assert (statistics.packets_received, statistics.packets_unheard, statistics.blocks_decoded) == (100, 100, 0)
    assert bench.receiver._decoder is None
    assert port.blocks_total == 0


async def test_who_listens_again_hears_no_gap_of_the_time_between() -> None:
    port = AudioPort()
    token = trio.lowlevel.current_trio_token()
    heard: list[AudioBlock] = []

    async def listen(feed: Callable[[], object]) -> None:
        with port.subscribe(100) as reader:
            await trio.to_thread.run_sync(feed)
            heard.extend([await anext(reader) for _ in range(20)])

    async def scenario(bench: Bench) -> None:
        loop, packets = asyncio.get_running_loop(), stream()

        def feed(first: int) -> None:
            asyncio.run_coroutine_threadsafe(bench.feed(packets[first : first + 20]), loop).result(10)

        for first in (0, 40):
            await asyncio.to_thread(partial(trio.from_thread.run, trio_token=token), listen, partial(feed, first))
            await bench.feed(packets[first + 20 : first + 30])

    bench, _ = await play(scenario, port=port)
    assert [block.position for block in heard] == [n * FRAME for n in range(40)]
    assert not any(block.lost or block.concealed for block in heard)
    assert bench.receiver.statistics().packets_unheard == 20


async def test_another_source_begins_anew() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.feed(stream(10))
        await bench.feed(stream(10, first=7, ssrc=77))

    _, heard = await play(scenario)
    assert [block.position for block in heard] == [n * FRAME for n in range(20)]
    assert not any(block.lost or block.concealed for block in heard)


async def test_garbage_is_counted_and_bridged() -> None:
    async def scenario(bench: Bench) -> None:
        packets = stream(20)
        packets[10].payload = b""
        packets[15].payload = b"\xff\x3f"
        await bench.feed(packets)

    bench, heard = await play(scenario)
    assert is_continuous(heard)
    assert [block.position // FRAME for block in heard if block.concealed] == [10, 15]
    assert heard[-1].position == 19 * FRAME
    assert bench.receiver.statistics().packets_malformed == 2


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("name", "codec"), [("PCMU", "pcm_mulaw"), ("PCMA", "pcm_alaw")])
async def test_g711_has_the_channels_that_its_clock_tells(name: str, codec: str, channels: int) -> None:
    """Neko sends two where its offer says one."""
    samples = np.ascontiguousarray(tones(0, RATE)[::6, :channels])
    payloads = encode(samples, codec=codec, rate=8000, frame=80)
    packets = [
        RtpPacket(sequence_number=n, timestamp=n * 80, ssrc=SSRC, payload=payload) for n, payload in enumerate(payloads)
    ]
    _, heard = await play(lambda bench: bench.feed(packets), codec=name)
    assert [block.position for block in heard] == [n * 80 for n in range(100)]
    assert {(block.rate, block.samples.shape) for block in heard} == {(8000, (80, channels))}
    sound = np.concatenate([block.samples for block in heard])
    for channel, expected in enumerate((LEFT, RIGHT)[:channels]):
        assert frequency(sound[:, channel], 8000) == pytest.approx(expected, abs=2)


async def test_nothing_comes_after_the_close() -> None:
    port = AudioPort()

    async def scenario(bench: Bench) -> None:
        packets = stream()
        await bench.feed([packets[0], packets[2]])
        await bench.receiver.aclose()
        await bench.feed(packets[3:])
        await asyncio.sleep(GIVING_UP)
        with pytest.raises(RuntimeError, match="once"):
            bench.receiver.attach(bench.rtp)

    with port.subscribe(10) as reader:
        bench, _ = await play(scenario, port=port)
        assert (await anext(reader)).position == 0
    assert port.blocks_total == 1
    assert bench.receiver.statistics().packets_received == 2


async def test_receiver_reports_say_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neko_trio.media.receiver_reports.random.random", lambda: 0.0)

    async def scenario(bench: Bench) -> None:
        packets = stream(20)
        await bench.feed([*packets[:5], *packets[7:]])
        info = RtcpSenderInfo(ntp_timestamp=0x1234_5678_9ABC_DEF0, rtp_timestamp=0, packet_count=1, octet_count=1)
        await bench.rtp._handle_rtcp_packet(RtcpSrPacket(ssrc=SSRC, sender_info=info))
        async with asyncio.timeout(10):
            await bench.transport.came.wait()

    bench, _ = await play(scenario, port=AudioPort())
    (report,) = (packet for packet in bench.transport.sent if isinstance(packet, RtcpRrPacket))
    (block,) = report.reports
    assert (report.ssrc, block.ssrc, block.packets_lost) == (OUR_SSRC, SSRC, 2)
    assert block.fraction_lost == 2 * 256 // 20
    assert block.highest_sequence == 65_519
    assert block.lsr == 0x5678_9ABC
    assert 0 < block.dlsr < 5 * 65536
    assert bench.receiver.statistics().reports_sent == 1


@given(
    end=st.integers(0, 0xFFFFFFFF),
    duration=st.sampled_from([120, 480, 960, 2880, 5760]),
    missing=st.integers(0, 999),
    moved=st.integers(-(1 << 33), 1 << 33),
)
def test_a_gap_is_never_negative_nor_endless(end: int, duration: int, missing: int, moved: int) -> None:
    last = Heard(70_000, end, duration)
    gap = gap_between(last, 70_001 + missing, (end + moved) & 0xFFFFFFFF, RATE)
    assert 0 <= gap <= max(60 * RATE, missing * duration)
    assert gap or not missing


@pytest.mark.parametrize(
    ("missing", "moved", "gap"),
    [
        (0, 0, 0),
        (0, -312, 0),
        (0, 312, 0),
        (0, 960, 960),
        (1, 960, 960),
        (1, 648, 648),
        (1, 120, 120),
        (3, 2880, 2880),
        (2, 0, 1920),
        (2, -5000, 1920),
        (2, 61 * RATE, 1920),
    ],
)
def test_the_clock_says_how_much_is_missing_where_it_can_be_true(missing: int, moved: int, gap: int) -> None:
    assert gap_between(Heard(10, 0xFFFF_FFF0, FRAME), 11 + missing, (0xFFFF_FFF0 + moved) & 0xFFFFFFFF, RATE) == gap
