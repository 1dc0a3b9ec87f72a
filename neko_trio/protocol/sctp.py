"""Whether an SCTP packet hangs together (RFC 9260), looked at before a library takes its lengths on trust.

A parameter that says it has no length, or a gap report that spans everything, would keep a reader that believes it busy
for ever, or for seconds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from neko_trio.protocol.malformed import Malformed

__all__ = ["GAPS_LIMIT", "check_packet"]

GAPS_LIMIT = 8192
"""Numbers that one report may say have come out of turn: more than are ever under way."""

_HEADER = 12
_DATA, _INIT, _INIT_ACK, _SACK, _FORWARD = 0, 1, 2, 3, 192
_INIT_HEAD = 16  # of the chunk's value, before its parameters
_WITH_PARAMETERS = frozenset({_INIT, _INIT_ACK, 4, 5, 6, 9, 130})  # HEARTBEAT and its answer, ABORT, ERROR, RE-CONFIG
_SACK_HEAD, _DATA_HEAD = 12, 12


def check_packet(packet: bytes) -> tuple[int, ...]:
    """The streams that the packet's DATA and FORWARD-TSN chunks are for, in order. Raises :class:`Malformed`.

    Only what must be so for the packet to be read in bounded time is looked at; no checksum, no state.
    """
    streams: list[int] = []
    for kind, value in _chunks(packet):
        if kind in _WITH_PARAMETERS:
            _check_parameters(value[_INIT_HEAD:] if kind in (_INIT, _INIT_ACK) else value)
        elif kind == _SACK:
            _check_gaps(value)
        elif kind == _DATA:
            if len(value) <= _DATA_HEAD:
                raise Malformed("SCTP: a DATA chunk without data")
            streams.append(int.from_bytes(value[4:6], "big"))
        elif kind == _FORWARD:
            if len(value) % 4 or not value:
                raise Malformed("SCTP: a FORWARD-TSN chunk cut short")
            streams += [int.from_bytes(value[at : at + 2], "big") for at in range(4, len(value), 4)]
    return tuple(streams)


def _chunks(packet: bytes) -> Iterator[tuple[int, bytes]]:
    if len(packet) < _HEADER:
        raise Malformed("SCTP: shorter than its header")
    at = _HEADER
    while at < len(packet):
        if len(packet) - at < 4:
            raise Malformed("SCTP: a chunk cut short")
        kind, _flags, length = struct.unpack_from(">BBH", packet, at)
        if length < 4 or at + length > len(packet):
            raise Malformed("SCTP: a chunk of a wrong length")
        yield kind, packet[at + 4 : at + length]
        at += length + -length % 4


def _check_parameters(value: bytes) -> None:
    at = 0
    while at + 4 <= len(value):
        length = int.from_bytes(value[at + 2 : at + 4], "big")
        if length < 4 or at + length > len(value):
            raise Malformed("SCTP: a parameter of a wrong length")
        at += length + -length % 4


def _check_gaps(value: bytes) -> None:
    if len(value) < _SACK_HEAD:
        raise Malformed("SCTP: a report cut short")
    gaps, duplicates = struct.unpack_from(">HH", value, 8)
    if len(value) < _SACK_HEAD + 4 * (gaps + duplicates):
        raise Malformed("SCTP: a report with less in it than it says")
    spanned = 0
    for start, end in struct.iter_unpack(">HH", value[_SACK_HEAD : _SACK_HEAD + 4 * gaps]):
        spanned += max(0, end - start + 1)
    if spanned > GAPS_LIMIT:
        raise Malformed(f"SCTP: a report of more than {GAPS_LIMIT} numbers")
