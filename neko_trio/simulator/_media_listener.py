"""What one peer of the simulator hears: a client's microphone, as long as an offer of its says that it speaks.

In the simulator's asyncio thread. As pion does it: a track begins with its first packet; one that the next offer does
not name any more has ended; a report goes back every second while the track is read, and a PLI, audio or not, every
three (server/internal/webrtc/manager.go, OnTrack).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import (
    RTCP_PSFB_PLI,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtpPacket,
)

from neko_trio.media.aiortc_private import hear_rtp, send_srtp
from neko_trio.simulator._microphone import Microphone

__all__ = ["MediaListener"]

REPORT_INTERVAL = 1.0
"""Seconds between receiver reports (pion's report interceptor)."""
REPORTS_PER_PLI = 3


class MediaListener:
    """At most one track at a time."""

    def __init__(self, dtls: RTCDtlsTransport, microphone: Microphone, may_speak: Callable[[], str | None]) -> None:
        """``may_speak``: the session's id if its member may share media, else ``None``; asked when a track begins."""
        self._dtls, self._microphone, self._may_speak = dtls, microphone, may_speak
        self._ssrc: int | None = None
        self._unhear: Callable[[], None] = _nothing
        self._begun = self._has_microphone = False
        self._sender = secrets.randbits(32)
        self._highest = self._first = self._received = 0

    def expect(self, ssrc: int | None, payload_type: int) -> None:
        """What the newest offer says: the track of this SSRC and no other, or none."""
        if ssrc == self._ssrc:
            return
        self.stop()
        if ssrc is not None:
            self._ssrc, self._begun = ssrc, False
            self._highest = self._first = self._received = 0
            self._unhear = hear_rtp(self._dtls, ssrc, payload_type, self._on_packet)

    def stop(self) -> None:
        """Hear nothing any more. Idempotent."""
        self._give_up()
        self._ssrc = None

    def _give_up(self) -> None:
        """The track is not read any more; that the client goes on sending changes nothing."""
        self._unhear()
        self._unhear = _nothing
        if self._has_microphone:
            self._has_microphone = False
            self._microphone.end()

    def _on_packet(self, packet: RtpPacket) -> None:
        if not self._begun:
            self._begun = True
            self._first = self._highest = packet.sequence_number
            speaker = self._may_speak()
            if speaker is None or not self._microphone.begin(speaker, self._give_up):
                self._give_up()
                return
            self._has_microphone = True
        step = ((packet.sequence_number - self._highest + 0x8000) & 0xFFFF) - 0x8000
        self._highest += max(0, step)
        self._received += 1
        self._microphone.hear(packet.payload)

    async def report(self) -> None:
        """Report on the track that is read, until cancelled."""
        for number in range(1, 1 << 62):
            await asyncio.sleep(REPORT_INTERVAL)
            if self._ssrc is None or self._unhear is _nothing:
                continue
            packets = [bytes(RtcpRrPacket(ssrc=self._sender, reports=[self._block(self._ssrc)]))]
            if self._begun and number % REPORTS_PER_PLI == 0:
                packets.append(bytes(RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=self._sender, media_ssrc=self._ssrc)))
            try:
                for packet in packets:
                    await send_srtp(self._dtls, packet)
            except ConnectionError:
                return  # the connection is going down, and says so itself

    def _block(self, ssrc: int) -> RtcpReceiverInfo:
        expected = self._highest - self._first + 1 if self._begun else 0
        return RtcpReceiverInfo(
            ssrc=ssrc,
            fraction_lost=0,
            packets_lost=max(0, min(expected - self._received, 0x7FFFFF)),
            highest_sequence=self._highest & 0xFFFFFFFF,
            jitter=0,
            lsr=0,
            dlsr=0,
        )


def _nothing() -> None:
    """Nothing is heard."""
