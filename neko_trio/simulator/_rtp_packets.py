"""Cutting encoded frames into RTP payloads, as pion's payloaders do it for the real server.

Payloads are at most 1188 bytes (seen; pion's MTU of 1200 less the RTP header).
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Iterator
from typing import Protocol

__all__ = [
    "MAX_PAYLOAD",
    "Av1Payloader",
    "H264Payloader",
    "Payloader",
    "Vp8Payloader",
    "Vp9Payloader",
    "payloader_for",
]

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


class Vp9Payloader:
    """RFC 9628 §4.2 in non-flexible mode with a picture id of 15 bits, which begins at random; a keyframe opens with a
    scalability structure of one layer and its size (seen; pion)."""

    _STRUCTURE = struct.Struct(">BHHBBB")

    def __init__(self, *, picture: int | None = None) -> None:
        self._picture = random.getrandbits(15) if picture is None else picture

    def payloads(self, frame: bytes) -> list[bytes]:
        """The payloads of one VP9 frame, or superframe."""
        number = (0x8000 | self._picture).to_bytes(2, "big")
        self._picture = (self._picture + 1) & 0x7FFF
        size = _vp9_keyframe_size(frame)
        # N_S 0, Y, G; width and height; a group of one picture: TID 0, U, and one reference, to the picture before
        structure = self._STRUCTURE.pack(0x18, *size, 1, 0x14, 1) if size else b""
        payloads, at = [], 0
        while at < len(frame):
            flags = 0x81 if size else 0xC1  # I, P, Z
            if at == 0:
                flags |= 0x0A if size else 0x08  # B, V
            extra = b"" if at else structure
            end = at + MAX_PAYLOAD - 3 - len(extra)
            if end >= len(frame):
                flags |= 0x04  # E
            payloads.append(bytes((flags,)) + number + extra + frame[at:end])
            at = end
        return payloads


def _vp9_keyframe_size(frame: bytes) -> tuple[int, int] | None:
    """(width, height) of a keyframe of profile 0 or 1 by its header (VP9 bitstream specification §6.2), or ``None``."""
    if len(frame) < 9 or frame[0] & 0xDC != 0x80 or frame[1:4] != b"\x49\x83\x42":
        return None
    # 3 bits of colour space, 1 of range, in profile 1 (4:4:4) 3 about subsampling, then twice 16 of size
    bits = int.from_bytes(frame[4:9], "big") >> (1 if frame[0] & 0x20 else 4)
    return (bits >> 16 & 0xFFFF) + 1, (bits & 0xFFFF) + 1


class Av1Payloader:
    """AV1's RTP payload format 1.0 §4: OBUs without their sizes and without temporal delimiters; a sequence header
    opens a packet, which says that a coded video sequence begins; the elements of a packet are counted, up to three,
    and the last has no length (seen; pion)."""

    _SEQUENCE_HEADER, _TEMPORAL_DELIMITER, _TILE_LIST = 1, 2, 8
    _COUNTED = 3

    def payloads(self, frame: bytes) -> list[bytes]:
        """The payloads of one temporal unit of OBUs with sizes."""
        payloads: list[bytes] = []
        elements: list[bytes] = []  # of the packet that is being filled
        flags = 0

        def room() -> int:
            return MAX_PAYLOAD - 1 - sum(len(_leb128(len(element))) + len(element) for element in elements)

        def close() -> None:
            *others, last = elements
            counted = b"".join(_leb128(len(element)) + element for element in others)
            payloads.append(bytes((flags | len(elements) << 4,)) + counted + last)
            elements.clear()

        for kind, obu in self._obus(frame):
            if elements and (kind == self._SEQUENCE_HEADER or len(elements) == self._COUNTED or room() < 1):
                close()
                flags = 0
            if not elements and kind == self._SEQUENCE_HEADER:
                flags |= 0x08  # N
            while len(obu) > (space := room()):
                elements.append(obu[:space])
                obu = obu[space:]
                flags |= 0x40  # Y
                close()
                flags = 0x80  # Z
            elements.append(obu)
        if elements:
            close()
        return payloads

    def _obus(self, frame: bytes) -> Iterator[tuple[int, bytes]]:
        """(type, OBU without its size) of those that are sent."""
        at = 0
        while at < len(frame):
            kind = frame[at] >> 3 & 15
            head = frame[at : at + (2 if frame[at] & 4 else 1)]
            size, at = _read_leb128(frame, at + len(head))
            if kind not in (self._TEMPORAL_DELIMITER, self._TILE_LIST):
                yield kind, bytes((head[0] & ~2,)) + head[1:] + frame[at : at + size]
            at += size


def _read_leb128(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def _leb128(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_PAYLOADERS: dict[str, Callable[[], Payloader]] = {
    "vp8": Vp8Payloader,
    "vp9": Vp9Payloader,
    "h264": H264Payloader,
    "av1": Av1Payloader,
}


def payloader_for(codec: str) -> Payloader:
    """A fresh payloader; ``codec`` is "vp8", "vp9", "h264" or "av1"."""
    return _PAYLOADERS[codec]()
