"""What a bad network does to one direction's datagrams. No I/O, no clock: a seed and the order decide everything."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields

from neko_trio.errors import InvalidInput

__all__ = ["DirectionCounts", "NetworkConditions", "Weather"]

_SHARES = ("loss", "reorder", "duplicate", "corrupt")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConditions:
    """How a :class:`LossyNetwork` treats datagrams: the same in both directions. Shares are from 0 to 1.

    Raises :class:`~neko_trio.errors.InvalidInput` for anything outside of its range.
    """

    loss: float = 0.0
    """Share of the datagrams that are lost. 1: the network is cut."""
    round_trip: float = 0.0
    """Seconds there and back, half of it in each direction; at most 10."""
    reorder: float = 0.0
    """Share of the datagrams that are held back for ``reorder_by``, so that others overtake them."""
    reorder_by: float = 0.01
    """Seconds; at most 10."""
    duplicate: float = 0.0
    """Share of the datagrams that arrive twice."""
    corrupt: float = 0.0
    """Share of the datagrams that arrive with one bit turned over."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, limit = getattr(self, field.name), 1.0 if field.name in _SHARES else 10.0
            if not 0 <= value <= limit:
                raise InvalidInput(f"{field.name}={value!r} must be from 0 to {limit:g}.")


@dataclass(frozen=True, slots=True)
class DirectionCounts:
    """What became of one direction's datagrams so far."""

    received: int = 0
    """Datagrams that entered the network."""
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0
    unroutable: int = 0
    """Datagrams that the network had no way for: more addresses, or more datagrams under way, than it keeps."""


class Weather:
    """Decides what becomes of each datagram. The n-th one's fate depends on ``seed``, n and the conditions alone."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)
        self._received = self._lost = self._duplicated = self._reordered = self._corrupted = 0
        self.unroutable = 0

    @property
    def counts(self) -> DirectionCounts:
        """A snapshot. Any thread."""
        return DirectionCounts(
            self._received, self._lost, self._duplicated, self._reordered, self._corrupted, self.unroutable
        )

    def fate(self, datagram: bytes, conditions: NetworkConditions) -> list[tuple[float, bytes]]:
        """What arrives of it: pairs of a delay in seconds and the bytes, none for a loss."""
        # Every datagram takes the same number of draws, so that a change of conditions leaves the later ones' luck.
        lost, late, twice, broken, where = (self._random.random() for _ in range(5))
        self._received += 1
        if lost < conditions.loss:
            self._lost += 1
            return []
        delay = conditions.round_trip / 2
        if late < conditions.reorder:
            self._reordered += 1
            delay += conditions.reorder_by
        if broken < conditions.corrupt and datagram:
            self._corrupted += 1
            datagram = _bit_turned(datagram, where)
        copies = 1
        if twice < conditions.duplicate:
            self._duplicated += 1
            copies = 2
        return [(delay, datagram)] * copies


def _bit_turned(datagram: bytes, where: float) -> bytes:
    bit = int(where * len(datagram) * 8)
    turned = bytearray(datagram)
    turned[bit // 8] ^= 1 << bit % 8
    return bytes(turned)
