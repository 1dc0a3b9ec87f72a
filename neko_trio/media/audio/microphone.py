"""One peer's microphone: the track that is offered, and what sends on it. Everything on the asyncio thread."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import AnyRtcpPacket, RtcpRrPacket

from neko_trio._ports.microphone import SoundQueue
from neko_trio.errors import FeatureOff
from neko_trio.media.aiortc_private import observe_reports, send_srtp
from neko_trio.media.audio.description import SoundPlace, find_opus, make_offer, takes_sound, with_microphone
from neko_trio.media.audio.sender import SoundSender

__all__ = ["MicrophoneTrack"]


class MicrophoneTrack:
    """At most one at a time; each has an SSRC of its own, because the server starts a track it does not know."""

    def __init__(self) -> None:
        self.transport: RTCDtlsTransport | None = None
        """What the peer connection is carried by; set before the answer."""
        self._answer = ""
        self._place: SoundPlace | None = None
        self._version = 0
        self._ssrc: int | None = None
        self._sender: SoundSender | None = None
        self._unobserve: Callable[[], None] = _nothing

    def answered(self, answer: str) -> str:
        """Our answer to an offer of the server's; returned with the track in it, if there is one."""
        self._answer = answer
        self._place = find_opus(answer)
        if self._ssrc is None or self._place is None:
            return answer
        return with_microphone(answer, self._place, self._ssrc)

    def offer(self, *, on: bool) -> str:
        """See :meth:`Peer.offer_microphone`."""
        if self._place is None:
            raise FeatureOff(
                "The server takes no sound of the codec that is sent, Opus.",
                hint="Its owner can set capture.audio.codec to opus, which is its default.",
                step="microphone",
            )
        self._ssrc = random.randrange(1, 1 << 32) if on else None
        self._version += 1
        return make_offer(self._answer, self._place, self._ssrc, version=self._version)

    def start(self, answer: str, queue: SoundQueue, bitrate: int) -> SoundSender:
        """See :meth:`Peer.start_microphone`. Whoever puts sound into the queue wakes what this returns."""
        assert self._place is not None, "an answer follows an offer"
        assert self._ssrc is not None
        assert self.transport is not None
        if not takes_sound(answer, self._place):
            raise FeatureOff("The server's answer does not take the microphone's track.", step="microphone")
        ssrc = self._ssrc
        sender = self._sender = SoundSender(
            queue,
            partial(send_srtp, self.transport),
            ssrc=ssrc,
            payload_type=self._place.payload_type,
            bitrate=bitrate,
        )

        def hear(packet: AnyRtcpPacket) -> None:
            if isinstance(packet, RtcpRrPacket):
                for report in packet.reports:
                    if report.ssrc == ssrc:
                        sender.note_report(report.highest_sequence)

        self._unobserve = observe_reports(self.transport, ssrc, hear)
        return sender

    async def stop(self) -> None:
        """See :meth:`Peer.stop_microphone`."""
        self._unobserve()
        self._unobserve = _nothing
        sender, self._sender = self._sender, None
        if sender is not None:
            await sender.aclose()


def _nothing() -> None:
    """There is nobody who listens."""
