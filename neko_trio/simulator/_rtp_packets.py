"""Cutting encoded frames into RTP payloads, as pion's payloaders do it for the real server.

Payloads are at most 1188 bytes (seen; pion's MTU of 1200 less the RTP header).
"""

from __future__ import annotations

import re
from typing import Protocol

__all__ = ["MAX_PAYLOAD", "H264Payloader", "Payloader", "Vp8Payloader", "payloader_for"]

MAX_PAYLOAD = 1188


class Payloader(Protocol):
    """Keeps what one stream's payloads have in common from frame to frame."""

    def payloads(self, frame: bytes) -> list[bytes]:
        """The RTP payloads of one frame, in order."""


class Vp8Payloader:
    """RFC 7741 §4.2 with a picture id: none in the first frame, then 7 bits, from 128 on 15 bits (seen; pion)."""

    def __init__(self) -> None:
        self._picture = 0

    def payloads(self, frame: bytes) -> list[bytes]:
        """The payloads of one VP8 frame."""
        picture, self._picture = self._picture, (self._picture + 1) & 0x7FFF
        if picture == 0:
            first, rest = b"\x10", b"\x00"
        else:
            number = bytes((picture,)) if picture < 128 else bytes((0x80 | picture >> 8, picture & 0xFF))
            first, rest = b"\x90\x80" + number, b"\x80\x80" + number
        step = MAX_PAYLOAD - len(first)
        return [(rest if at else first) + frame[at : at + step] for at in range(0, len(frame), step)]


class H264Payloader:
    """RFC 6184 packetization-mode 1: SPS and PPS together in a STAP-A before the unit that follows them, large units
    in FU-As, all others alone; access unit delimiters and filler are left out (seen; pion)."""

    _START = re.compile(rb"\x00\x00\x00?\x01")

    def __init__(self) -> None:
        self._sps = b""
        self._pps = b""

    def payloads(self, frame: bytes) -> list[bytes]:
        """The payloads of one access unit in Annex B form."""
        payloads: list[bytes] = []
        for unit in self._START.split(frame):
            if not unit:
                continue
            match unit[0] & 0x1F:
                case 7:
                    self._sps = unit
                case 8:
                    self._pps = unit
                case 9 | 12:
                    continue
                case _:
                    if self._sps and self._pps:
                        payloads.append(self._aggregated())
                    payloads += self._fragments(unit)
        return payloads

    def _aggregated(self) -> bytes:
        units = (self._sps, self._pps)
        self._sps = self._pps = b""
        importance = max(unit[0] & 0x60 for unit in units)
        return bytes((importance | 24,)) + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)

    def _fragments(self, unit: bytes) -> list[bytes]:
        if len(unit) <= MAX_PAYLOAD:
            return [unit]
        indicator, kind = unit[0] & 0x60 | 28, unit[0] & 0x1F
        step = MAX_PAYLOAD - 2
        fragments = []
        for at in range(1, len(unit), step):
            bounds = (0x80 if at == 1 else 0) | (0x40 if at + step >= len(unit) else 0)
            fragments.append(bytes((indicator, bounds | kind)) + unit[at : at + step])
        return fragments


def payloader_for(codec: str) -> Payloader:
    """A fresh payloader; ``codec`` is "vp8" or "h264"."""
    return Vp8Payloader() if codec == "vp8" else H264Payloader()
