"""What a scripted server sends: on or off, which stream, and how many packets so far, in virtual time."""

from __future__ import annotations

import math

import trio

PACKET_RATE = 25
"""Hz."""


class FakeVideo:
    """What a scripted server sends its one peer: what ``signal/video`` has said so far."""

    def __init__(self) -> None:
        self.disabled = True
        self.stream = ""
        self.run = 0
        """Which pipeline it is: another one begins with each :meth:`set`."""
        self._on_since = math.inf
        self._packets_before = 0
        self._changed = trio.Event()

    def set(self, *, disabled: bool, stream: str) -> None:
        """Switch: the pipeline of before ends, with the frames in it."""
        self._packets_before, self._on_since = self.packets, math.inf if disabled else trio.current_time()
        self.disabled, self.stream = disabled, stream
        self.run += 1
        self.note()

    @property
    def packets(self) -> int:
        """Packets sent so far: 25 a second, the first a 25th of a second after the switching on."""
        on_for = trio.current_time() - self._on_since
        return self._packets_before + (int(on_for * PACKET_RATE + 1e-6) if on_for > 0 else 0)

    @property
    def next_packet_at(self) -> float:
        """When the next one comes (trio's clock), ``inf`` while the video is off."""
        return self._on_since + (self.packets - self._packets_before + 1) / PACKET_RATE

    def note(self) -> None:
        """Something happened: whoever waits looks again."""
        self._changed.set()
        self._changed = trio.Event()

    async def wait_changed(self) -> None:
        """Until the next :meth:`set` or :meth:`note`."""
        await self._changed.wait()
