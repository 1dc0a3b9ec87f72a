"""AV1 in RTP: the Alliance for Open Media's "RTP Payload Format for AV1", version 1.0.

A packet carries OBU elements, each a whole OBU or a fragment of one, mostly without their sizes; a temporal unit, all
that has one RTP timestamp, is put together again in the AV1 specification's low-overhead format (§5.2), which decoders
take: every OBU with a size, a temporal delimiter in front.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neko_trio.media.depayload.payload import BadPayload, Payload

__all__ = ["depayload_av1", "join_av1", "leb128", "read_leb128"]

_CONTINUES, _TO_BE_CONTINUED, _NEW_SEQUENCE = 0x80, 0x40, 0x08  # Z, Y, N of the aggregation header
_SEQUENCE_HEADER, _TEMPORAL_DELIMITER, _FRAME_HEADER, _FRAME, _TILE_LIST = 1, 2, 3, 6, 8
_EXTENSION, _HAS_SIZE = 0x04, 0x02  # of an OBU's header
_LEB128_BYTES = 8  # AV1 specification §4.10.5
_DELIMITER = b"\x12\x00"


def depayload_av1(payload: bytes) -> Payload:
    """The payload as it is, once it is known to hold together; what it begins is read from its OBUs' headers.

    A keyframe is one that is shown (a key frame that is not, is no start), opened by a sequence header. Where the
    frame's own header is in a later packet, the N bit has to do.
    """
    head = payload[0]
    shown_key: bool | None = None  # whether the first frame that begins here is one
    opens = False
    for number, element in enumerate(_elements(payload)):
        if (number == 0 and head & _CONTINUES) or not element:
            continue
        kind = _kind(element)
        if kind == _SEQUENCE_HEADER and shown_key is None and not head & _CONTINUES:
            opens = True
        elif kind in (_FRAME, _FRAME_HEADER) and shown_key is None:
            shown_key = _is_shown_key(element)
    key = bool(opens and head & _NEW_SEQUENCE) if shown_key is None else shown_key
    return Payload(payload, opens and shown_key is not False, key)


def _elements(payload: bytes) -> Iterator[bytes]:
    """The OBU elements of one payload. Raises :class:`BadPayload`."""
    count = payload[0] >> 4 & 3  # W: how many there are, the last of which has no size; 0: all have
    at, number = 1, 0
    if len(payload) < 2:
        raise BadPayload("AV1 payload without content")
    while at < len(payload):
        number += 1
        if number == count:
            size = len(payload) - at
        else:
            size, at = read_leb128(payload, at)
            if size > len(payload) - at:
                raise BadPayload("AV1 OBU element cut short")
        yield payload[at : at + size]
        at += size
    if number < count:
        raise BadPayload("AV1 payload with fewer OBU elements than it says")


def _kind(obu: bytes) -> int:
    if obu[0] & 0x80:
        raise BadPayload("AV1 obu_forbidden_bit is set")
    return obu[0] >> 3 & 15


def _is_shown_key(obu: bytes) -> bool | None:
    """Whether a frame (header) OBU is of a shown key frame (AV1 specification §5.9.2); ``None``: too short to tell."""
    at = 2 if obu[0] & _EXTENSION else 1
    if obu[0] & _HAS_SIZE:
        while at < len(obu) and obu[at] & 0x80:
            at += 1
        at += 1
    if at >= len(obu):
        return None
    return obu[at] & 0xF0 == 0x10  # show_existing_frame 0, frame_type KEY_FRAME, show_frame 1


def join_av1(payloads: Sequence[bytes]) -> bytes:
    """All payloads of one temporal unit, in order, to what the decoder takes.

    Raises :class:`BadPayload` for fragments that do not fit together: with all packets there, the sender's mistake.
    """
    unit = bytearray(_DELIMITER)
    for obu in _obus(payloads):
        kind = _kind(obu)
        if kind in (_TEMPORAL_DELIMITER, _TILE_LIST):  # to be ignored by receivers (§5)
            continue
        at = 2 if obu[0] & _EXTENSION else 1
        if len(obu) < at:
            raise BadPayload("AV1 OBU header cut short")
        content = obu[at:]
        if obu[0] & _HAS_SIZE:
            size, begin = read_leb128(obu, at)
            if size > len(obu) - begin:
                raise BadPayload("AV1 OBU cut short")
            content = obu[begin : begin + size]
        unit.append(obu[0] | _HAS_SIZE)
        unit += obu[1:at]
        unit += leb128(len(content))
        unit += content
    return bytes(unit)


def _obus(payloads: Sequence[bytes]) -> Iterator[bytes]:
    """The OBUs of one temporal unit, whole and not empty."""
    fragments: list[bytes] = []  # of an OBU that goes on in the next packet
    for payload in payloads:
        if bool(payload[0] & _CONTINUES) != bool(fragments):
            raise BadPayload("AV1 OBU fragments that do not follow each other")
        *others, last = _elements(payload)
        for element in others:
            fragments.append(element)
            yield from _whole(fragments)
        fragments.append(last)
        if not payload[0] & _TO_BE_CONTINUED:
            yield from _whole(fragments)
    if fragments:
        raise BadPayload("AV1 OBU without its last fragment")


def _whole(fragments: list[bytes]) -> Iterator[bytes]:
    """The OBU of these fragments, which are taken."""
    obu = b"".join(fragments)
    fragments.clear()
    if obu:
        yield obu


def read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where it ends (AV1 specification §4.10.5). Raises :class:`BadPayload`."""
    value = 0
    for index, byte in enumerate(data[at : at + _LEB128_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            if value >= 1 << 32:
                break
            return value, at + index + 1
    raise BadPayload("AV1 leb128 number cut short or too large")


def leb128(value: int) -> bytes:
    """A number below 2**32 in as few bytes as possible."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
