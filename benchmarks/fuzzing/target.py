"""What a fuzzer is: how its inputs are made, and what they are given to."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

Make = Callable[[], bytes]
"""The next input."""
Check = Callable[[bytes], None]
"""Gives one input to what is tested. Raises for what must not be: an exception that is not ours, a wrong value.

One that holds something open has a method ``close``, which is called at the end."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is fuzzed."""

    name: str
    make: Callable[[random.Random], Make]
    """Inputs for a seeded generator."""
    check: Callable[[], Check]
    """What takes them; made once for a run, so anything that costs time is paid for once."""
    share: float = 1.0
    """How many inputs, of the number asked for: less for what is slow."""
    limit: float = 1.0
    """CPU seconds that one input may take, on a machine that is busy with other things too."""
    growth: int = 96 << 20
    """Bytes by which the process may have grown at the end."""


def pack(packets: list[bytes]) -> bytes:
    """Several packets as one input, so that what they do together can be played again."""
    return b"".join(len(packet).to_bytes(2, "big") + packet for packet in (each[:65535] for each in packets))


def unpack(data: bytes) -> list[bytes]:
    """The packets of an input; of one that was shrunk, the last may be shorter than it says."""
    packets, at = [], 0
    while at + 2 <= len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        packets.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return packets


def must(condition: bool, what: str) -> None:
    """Fail the input unless that holds."""
    if not condition:
        raise AssertionError(what)
