"""What a real server sent, for every test of this directory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from aiortc.rtp import RtpPacket

from neko_trio.media import ice_gathering

RECORDINGS = Path(__file__).parents[1] / "recordings"


def read_recording(name: str) -> list[tuple[float, RtpPacket]]:
    """(seconds since the first packet, packet) of an ``rtp-*.bin`` file; its format stands in the README there."""
    data, at, packets = (RECORDINGS / name).read_bytes(), 0, []
    while at < len(data):
        microseconds, size = struct.unpack_from(">IH", data, at)
        at += 6
        packets.append((microseconds / 1_000_000, RtpPacket.parse(data[at : at + size])))
        at += size
    return packets


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], list[tuple[float, RtpPacket]]]:
    """Three seconds of RTP by codec: 80 frames of 1280x720, keyframes at 0, 25, 50 and 75, no packet missing."""
    return cache(lambda codec: read_recording(f"rtp-{codec.lower()}-720p.bin"))


@pytest.fixture
def one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has loopback only: another interface, offered after a while, would hide what is tried."""
    monkeypatch.setattr(ice_gathering, "host_addresses", list)
