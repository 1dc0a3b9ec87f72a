"""VP9 in RTP: RFC 9628, flexible mode, layers and scalability structures included.

A picture is all that has one RTP timestamp: one frame, or one layer frame per spatial layer (a "super frame"), of which
the highest is shown. FFmpeg's decoders need to be told where each layer frame ends: several are joined by a superframe
index (VP9 bitstream specification, annex B).
"""

from __future__ import annotations

from collections.abc import Sequence

from neko_trio.media.depayload.payload import BadPayload, Payload

__all__ = ["depayload_vp9", "join_vp9"]

_MAX_REFERENCES = 3
_MAX_FRAMES = 8  # of a superframe: its index counts them in three bits


class _NextLayer(bytes):
    """The first piece of a layer frame that is not the picture's first."""

    __slots__ = ()


def depayload_vp9(payload: bytes) -> Payload:
    """RFC 9628 §4.2: the payload descriptor is cut off; what follows is the layer frame's next bytes.

    Whether they begin a keyframe is read from the frame's own header: senders are known that leave the P bit out
    (pion in flexible mode), and an intra-only frame, which has none either, is no start.
    """
    flags, layer = payload[0], 0
    try:
        at = 1
        if flags & 0x80:  # I: picture id, 7 or 15 bits
            at += 2 if payload[at] & 0x80 else 1
        if flags & 0x20:  # L: layer indices, and without F the TL0PICIDX
            layer = payload[at] >> 1 & 7
            at += 1 if flags & 0x10 else 2
        if flags & 0x50 == 0x50:  # F and P: reference indices, the last of which has no N bit
            at = _after_references(payload, at)
        if flags & 0x02:  # V: scalability structure
            at = _after_structure(payload, at)
    except IndexError:
        raise BadPayload("VP9 payload descriptor cut short") from None
    data = payload[at:]
    if not data:
        raise BadPayload("VP9 payload without content")
    begins = flags & 0x08
    if begins and layer:
        return Payload(_NextLayer(data), False, False)
    key = bool(begins) and _is_keyframe(data[0])
    return Payload(data, key, key)


def _after_references(payload: bytes, at: int) -> int:
    for end in range(at, at + _MAX_REFERENCES):
        if not payload[end] & 1:  # N: another one follows
            return end + 1
    raise BadPayload(f"VP9 payload descriptor with more than {_MAX_REFERENCES} references")


def _after_structure(payload: bytes, at: int) -> int:
    head = payload[at]
    at += 1
    if head & 0x10:  # Y: width and height of each of the N_S + 1 spatial layers
        at += 4 * ((head >> 5) + 1)
    if head & 0x08:  # G: a picture group
        pictures = payload[at]
        at += 1
        for _ in range(pictures):
            at += 1 + (payload[at] >> 2 & 3)  # R reference indices each
    return at


def _is_keyframe(first: int) -> bool:
    """By a frame's first byte (VP9 bitstream specification §6.2): frame marker, profile, two flags."""
    if first >> 6 != 2:
        return False
    flags = first if first & 0x30 == 0x30 else first >> 1  # profile 3 has a reserved bit, and the flags one later
    return not flags & 6  # neither show_existing_frame nor a frame_type other than key


def join_vp9(pieces: Sequence[bytes]) -> bytes:
    """All pieces of one picture, in order, to what the decoder takes. Raises :class:`BadPayload` for over 8 layers."""
    data = b"".join(pieces)
    if not any(type(piece) is _NextLayer for piece in pieces):
        return data
    sizes = [0]
    for number, piece in enumerate(pieces):
        if number and type(piece) is _NextLayer:
            sizes.append(0)
        sizes[-1] += len(piece)
    if len(sizes) > _MAX_FRAMES:
        raise BadPayload(f"VP9 picture of more than {_MAX_FRAMES} layer frames")
    marker = bytes((0xC0 | 3 << 3 | len(sizes) - 1,))  # sizes of four bytes each
    return b"".join((data, marker, *(size.to_bytes(4, "little") for size in sizes), marker))
