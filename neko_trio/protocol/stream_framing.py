"""Packets over a stream, as ICE-TCP has them (RFC 4571 §2): a 16-bit length in network order, then the packet."""

from __future__ import annotations

__all__ = ["LONGEST_PACKET", "Deframer", "frame"]

LONGEST_PACKET = 0xFFFF
"""Bytes that the length can say."""


def frame(packet: bytes) -> bytes:
    """One packet as the stream carries it. Raises :class:`ValueError` for one that no length can say."""
    if len(packet) > LONGEST_PACKET:
        raise ValueError(f"a packet of {len(packet)} bytes does not fit a frame")
    return len(packet).to_bytes(2, "big") + packet


class Deframer:
    """Takes a stream apart. Holds one unfinished packet at most: less than 64 KiB, whatever comes."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that ``data`` completes, in order; empty ones, which keep a connection alive, are left out."""
        held = self._held
        held += data
        packets, start = [], 0
        while len(held) - start >= 2:
            end = start + 2 + int.from_bytes(held[start : start + 2], "big")
            if end > len(held):
                break
            if end > start + 2:
                packets.append(bytes(held[start + 2 : end]))
            start = end
        del held[:start]
        return packets
