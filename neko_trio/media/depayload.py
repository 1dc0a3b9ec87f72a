"""RTP payloads to pieces of encoded pictures: one :class:`VideoFormat` per codec, values only.

A codec is added by writing its ``depayload`` (and, where pieces are not simply concatenated, its ``join``) and listing
it in ``FORMATS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from neko_trio.errors import UnsupportedCodec


class BadPayload(ValueError):
    """The payload is none of this codec's."""


class Payload(NamedTuple):
    """What one RTP packet carries."""

    data: bytes
    """Its piece of the picture, as the decoder wants it."""
    opens_key: bool
    """A picture can be started here without knowing anything before: surely its first piece, and of a keyframe."""
    key: bool
    """Carries a part of a keyframe (H264: of an IDR picture)."""


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """How one codec travels in RTP and which of FFmpeg's decoders reads it."""

    name: str
    """The codec's name in SDP, upper case."""
    decoder: str
    """FFmpeg's name of the decoder."""
    depayload: Callable[[bytes], Payload]
    """One RTP payload, not empty, to its content. Raises :class:`BadPayload`, and nothing else, for garbage."""
    join: Callable[[Sequence[bytes]], bytes] = b"".join
    """All pieces of one picture, in order, to what the decoder takes."""


def video_format(codec: str) -> VideoFormat:
    """The format for an SDP codec name, in any case. Raises :class:`~neko_trio.errors.UnsupportedCodec`."""
    try:
        return FORMATS[codec.upper()]
    except KeyError:
        raise unsupported((codec,)) from None


def unsupported(offered: Sequence[str], *, step: str | None = None) -> UnsupportedCodec:
    """The error for a server that offers none but these codecs."""
    return UnsupportedCodec(
        f"The server offers {' and '.join(offered)} video; this client decodes {' and '.join(FORMATS)}.",
        offered=tuple(offered),
        hint=f"Set the server's capture.video.codec, and its pipeline, to {' or '.join(FORMATS)}.",
        step=step,
    )


def depayload_vp8(payload: bytes) -> Payload:
    """RFC 7741 §4.2: the payload descriptor is cut off; what follows is the picture's next bytes."""
    try:
        at = 1
        if payload[0] & 0x80:  # X: extensions
            extensions = payload[1]
            at = 2
            if extensions & 0x80:  # I: picture id, 7 or 15 bits
                at += 2 if payload[at] & 0x80 else 1
            at += bool(extensions & 0x40) + bool(extensions & 0x30)  # L: TL0PICIDX; T or K: one byte for both
        first = payload[0] & 0x17 == 0x10  # S, and partition 0
        key = first and not payload[at] & 1  # RFC 6386 §9.1: the inverse key frame flag
    except IndexError:
        raise BadPayload("VP8 payload descriptor cut short") from None
    if at >= len(payload):
        raise BadPayload("VP8 payload without content")
    return Payload(payload[at:], key, key)


_START_CODE = b"\0\0\0\1"
_IDR, _SPS, _STAP_A, _FU_A = 5, 7, 24, 28


def depayload_h264(payload: bytes) -> Payload:
    """RFC 6184 §5.4, packetization modes 0 and 1: single NAL units, STAP-A and FU-A, to Annex B."""
    kind = payload[0] & 0x1F
    if payload[0] & 0x80:
        raise BadPayload("H264 forbidden_zero_bit is set")
    if 1 <= kind <= 23:
        return Payload(_START_CODE + payload, kind == _SPS, kind == _IDR)
    if kind == _FU_A:
        if len(payload) < 3:
            raise BadPayload("H264 FU-A without content")
        unit = payload[1] & 0x1F
        data = payload[2:]
        if payload[1] & 0x80:  # S: the fragment that carries the unit's own header, taken apart
            data = _START_CODE + bytes((payload[0] & 0xE0 | unit,)) + data
        return Payload(data, False, unit == _IDR)
    if kind == _STAP_A:
        return _stap_a(payload)
    raise BadPayload(f"H264 packet type {kind} belongs to no packetization mode of WebRTC")


def _stap_a(payload: bytes) -> Payload:
    data, kinds, at = bytearray(), set[int](), 1
    while at < len(payload):
        size = int.from_bytes(payload[at : at + 2], "big")
        unit = payload[at + 2 : at + 2 + size]
        if not size or len(unit) != size:
            raise BadPayload("H264 STAP-A cut short")
        kinds.add(unit[0] & 0x1F)
        data += _START_CODE + unit
        at += 2 + size
    if not kinds:
        raise BadPayload("H264 STAP-A without content")
    return Payload(bytes(data), _SPS in kinds, _IDR in kinds)


FORMATS = {
    "VP8": VideoFormat("VP8", "vp8", depayload_vp8),
    "H264": VideoFormat("H264", "h264", depayload_h264),
}
"""By SDP name: every codec that can be decoded."""
