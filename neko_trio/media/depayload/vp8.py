"""VP8 in RTP: RFC 7741."""

from __future__ import annotations

from neko_trio.media.depayload.payload import BadPayload, Payload

__all__ = ["depayload_vp8"]


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
