"""H.264 in RTP: RFC 6184, packetization modes 0 and 1, which are those of WebRTC.

A picture can be started at an IDR picture only. That is enough for Neko: its x264enc makes each keyframe one, with its
parameter sets before it (tests/recordings/rtp-h264-720p.bin); intra refresh and recovery points are not used.
"""

from __future__ import annotations

from neko_trio.media.depayload.payload import BadPayload, Payload

__all__ = ["depayload_h264"]

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
