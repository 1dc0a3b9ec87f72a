"""Media past aiortc's DTLS task: two real DTLS transports over pipes, and what arrives in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import trio
from aiortc import RTCRtpReceiver
from aiortc.rtcrtpparameters import RTCRtpCodecParameters, RTCRtpReceiveParameters
from aiortc.rtp import AnyRtcpPacket, RtcpSenderInfo, RtcpSrPacket, RtpPacket

from neko_trio.media import aiortc_private as private
from neko_trio.media.media_path import WINDOW, MediaPath
from tests.media.pipes import Pipe

SSRC = 7


class HandshakePipe(Pipe):
    """Carries the handshake; what comes after it is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.media = list[bytes]()

    async def send(self, datagram: bytes) -> None:
        if 127 < datagram[0] < 192:
            self.media.append(datagram)
        else:
            await super().send(datagram)


class Bench:
    """A connected pair: what ``send`` encrypts, ``path`` gives to ``taken`` and ``heard``."""

    def __init__(self) -> None:
        self.pipe, other = HandshakePipe(), HandshakePipe()
        self.pipe.join(other)
        self.sender, self.transport = self.pipe.dtls(), other.dtls()
        self.path = MediaPath(self.transport)
        self.taken, self.heard = list[RtpPacket](), list[AnyRtcpPacket]()
        receiver = RTCRtpReceiver("video", self.transport)
        private.take_packets(receiver, self.taken.append)
        private.observe_rtcp(receiver, self.heard.append)
        codec = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90_000, payloadType=96)
        parameters = RTCRtpReceiveParameters(codecs=[codec], muxId="0")
        self.transport._register_rtp_receiver(receiver, parameters)

    async def connect(self, role: str = "client") -> None:
        self.sender._set_role("server" if role == "client" else "client")
        self.transport._set_role(role)
        async with asyncio.timeout(10):
            await asyncio.gather(
                self.sender.start(self.transport.getLocalParameters()),
                self.transport.start(self.sender.getLocalParameters()),
            )

    async def send(self, packet: RtpPacket | RtcpSrPacket) -> bytes:
        await private.send_srtp(self.sender, packet.serialize() if isinstance(packet, RtpPacket) else bytes(packet))
        return self.pipe.media.pop()

    async def rtp(self, number: int) -> bytes:
        return await self.send(RtpPacket(payload_type=96, sequence_number=number & 0xFFFF, ssrc=SSRC, payload=b"x"))


async def run(scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        bench = Bench()
        try:
            await scenario(bench)
        finally:
            await private.stop_dtls(bench.sender)
            await private.stop_dtls(bench.transport)

    await trio.to_thread.run_sync(asyncio.run, main())


@pytest.mark.parametrize("role", ["client", "server"])
async def test_media_are_decrypted_and_handed_over_at_once(role: str) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.connect(role)
        assert bench.path.take(await bench.rtp(65_535))
        assert bench.path.take(await bench.rtp(65_536))
        assert [packet.sequence_number for packet in bench.taken] == [65_535, 0]
        assert (bench.taken[0].payload, bench.taken[0].ssrc) == (b"x", SSRC)
        info = RtcpSenderInfo(ntp_timestamp=1, rtp_timestamp=2, packet_count=3, octet_count=4)
        assert bench.path.take(await bench.send(RtcpSrPacket(ssrc=SSRC, sender_info=info)))
        (report,) = bench.heard
        assert isinstance(report, RtcpSrPacket)
        assert report.sender_info == info
        assert bench.path.packets_refused == 0

    await run(scenario)


async def test_before_dtls_is_up_nothing_is_taken() -> None:
    async def scenario(bench: Bench) -> None:
        assert not bench.path.take(b"\x80" + bytes(30))
        await bench.connect()
        assert bench.path.take(await bench.rtp(1))

    await run(scenario)


async def test_what_is_forged_comes_twice_or_is_for_nobody_goes_nowhere() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.connect()
        good = await bench.rtp(5)
        for datagram in (good[:-1] + bytes((good[-1] ^ 1,)), b"\x80", b"\x80\xc8", b"\x80" + bytes(3000)):
            assert bench.path.take(datagram)
        assert bench.path.packets_refused == 4
        assert bench.path.take(good)
        assert bench.path.take(good)
        assert bench.path.packets_refused == 5
        assert bench.path.take(await bench.send(RtpPacket(payload_type=13, ssrc=1, payload=b"y")))
        info = RtcpSenderInfo(ntp_timestamp=1, rtp_timestamp=2, packet_count=3, octet_count=4)
        assert bench.path.take(await bench.send(RtcpSrPacket(ssrc=SSRC + 1, sender_info=info)))
        assert (len(bench.taken), bench.heard) == (1, [])

    await run(scenario)


async def test_what_is_sent_again_after_the_burst_of_a_big_keyframe_is_still_taken() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.connect()
        burst = [await bench.rtp(number) for number in range(WINDOW - 1)]
        assert all(bench.path.take(datagram) for datagram in burst[1:])
        assert bench.path.take(burst[0])
        assert (len(bench.taken), bench.path.packets_refused) == (len(burst), 0)

    await run(scenario)


async def test_another_receivers_method_is_left_to_aiortc() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.connect()
        plain = RTCRtpReceiver("video", bench.transport)
        codec = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90_000, payloadType=97)
        parameters = RTCRtpReceiveParameters(codecs=[codec], muxId="1")
        bench.transport._register_rtp_receiver(plain, parameters)
        assert bench.path.take(await bench.send(RtpPacket(payload_type=97, ssrc=9, payload=b"z")))
        assert (bench.taken, bench.path.packets_refused) == ([], 0)

    await run(scenario)
