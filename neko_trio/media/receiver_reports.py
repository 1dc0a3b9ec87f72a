"""The RTCP receiver reports about one stream (RFC 3550 §6.4.2), so that the sender knows what arrives."""

from __future__ import annotations

import asyncio
import random
from time import perf_counter

from aiortc import RTCRtpReceiver
from aiortc.rtp import AnyRtcpPacket, RtcpReceiverInfo, RtcpRrPacket, RtcpSrPacket

from neko_trio.media import aiortc_private
from neko_trio.media.reception import Reception


class ReceiverReports:
    """Counts the packets of one synchronisation source after the other and reports on the current one."""

    def __init__(self, clock_rate: int) -> None:
        """``clock_rate`` is the RTP clock's, in Hz."""
        self._clock_rate = clock_rate
        self._ssrc: int | None = None
        self._sender_report: tuple[int, float] | None = None  # middle 32 bits of its NTP time, when it came
        self.reception = Reception(clock_rate)
        """Of the current source."""
        self.sent = 0
        """Reports sent so far."""

    def begin(self, ssrc: int) -> None:
        """From now on the packets are those of another source."""
        self._ssrc = ssrc
        self._sender_report = None
        self.reception = Reception(self._clock_rate)

    def hear(self, packet: AnyRtcpPacket) -> None:
        """Note a sender report: ours say when the last one came."""
        if isinstance(packet, RtcpSrPacket) and packet.ssrc == self._ssrc:
            self._sender_report = (packet.sender_info.ntp_timestamp >> 16) & 0xFFFFFFFF, perf_counter()

    async def run(self, receiver: RTCRtpReceiver) -> None:
        """Report every 0.5 to 1.5 s (RFC 3550 §6.3.1: at random) while packets come, until cancelled."""
        while True:
            await asyncio.sleep(0.5 + random.random())
            await self._report(receiver)

    async def _report(self, receiver: RTCRtpReceiver) -> None:
        sender, report = aiortc_private.rtcp_ssrc(receiver), self.reception.report()
        if sender is None or report is None or self._ssrc is None:
            return
        last_report, delay = 0, 0
        if self._sender_report is not None:
            last_report, came = self._sender_report
            delay = min(int((perf_counter() - came) * 65536), 0xFFFFFFFF)
        block = RtcpReceiverInfo(
            ssrc=self._ssrc,
            fraction_lost=report.fraction_lost,
            packets_lost=report.packets_lost,
            highest_sequence=report.highest_sequence,
            jitter=report.jitter,
            lsr=last_report,
            dlsr=delay,
        )
        await aiortc_private.send_rtcp(receiver, RtcpRrPacket(ssrc=sender, reports=[block]))
        self.sent += 1
