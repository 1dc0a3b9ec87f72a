"""SRTP from the socket straight to the receivers: decrypted and handed over within the datagram's own callback.

aiortc queues every datagram for its DTLS task, which costs the loop a second turn for each packet, and gives SRTP a
replay window of 1,024 packets: what is sent again for the beginning of a keyframe of 3,000 packets would be refused.
"""

from __future__ import annotations

import pylibsrtp
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import is_rtcp

from neko_trio.media.aiortc_private import open_srtp, route_rtcp, route_rtp

WINDOW = 8_192
"""Packets that one may come behind the newest: twice what the jitter buffer can hold."""


class MediaPath:
    """One peer's way for media. On the asyncio thread."""

    def __init__(self, transport: RTCDtlsTransport) -> None:
        self._transport = transport
        self._session: pylibsrtp.Session | None = None
        self.packets_refused = 0
        """Packets that were not authentic, came twice, or make no sense."""

    def take(self, datagram: bytes) -> bool:
        """Handle a datagram of SRTP or SRTCP; ``False``: DTLS is not up, aiortc may keep it until it is."""
        if self._session is None:
            self._session = open_srtp(self._transport, window=WINDOW)
            if self._session is None:
                return False
        try:
            if is_rtcp(datagram):
                route_rtcp(self._transport, self._session.unprotect_rtcp(datagram))
            else:
                route_rtp(self._transport, self._session.unprotect(datagram))
        except (pylibsrtp.Error, ValueError):
            self.packets_refused += 1
        return True
