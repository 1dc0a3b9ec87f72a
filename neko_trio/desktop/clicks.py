"""Which clicks belong together: programs go by the time between two and by their places; so does this.

A program takes two clicks of one button for a double click when the second one comes within its double-click time of
the first: GTK and Qt 0.4 s, Chromium and Java 0.5 s, xterm 0.25 s, each by the X server's timestamps; most of them want
the two within some pixels, too (GTK 5). What is sent without a pause arrives with the same timestamp (seen).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import trio

from neko_trio._ports.inputs import InputPort
from neko_trio.desktop.pixels import Pixel, distance

DOUBLE_CLICK_TIME = 0.5
"""Seconds between two clicks from which on no program in use takes them for a double click."""

DOUBLE_CLICK_DISTANCE = 10
"""Pixels between two clicks from which on programs that go by the place do not take them for a double click."""

JITTER = 0.05
"""Seconds by which the second may have been faster on its way than the first."""


@dataclass(frozen=True, slots=True)
class _Last:
    places: tuple[Pixel | None, ...]
    at: float


class Clicks:
    """When and where each button was let go last. One per session; trio thread."""

    def __init__(self, inputs: InputPort) -> None:
        self._inputs = inputs
        self._last: dict[object, _Last] = {}
        self._turn = trio.Lock()
        self.time = DOUBLE_CLICK_TIME
        """Seconds that clicks of the same button at the same place are kept apart; 0 for not at all."""
        self.distance: float = DOUBLE_CLICK_DISTANCE
        """Pixels that count as the same place."""

    async def apart(self, button: object, place: Pixel | None) -> None:
        """Wait until a click of ``button`` at ``place`` (``None``: unknown) is no part of the one before.

        No wait, but a checkpoint, where there was none within :attr:`time`. Cancelling is safe. Raises what the input
        port does.
        """
        self._inputs.check()
        last = self._last.get(button)
        now = trio.current_time()
        if last is None or not self.time or now >= last.at + self.time + JITTER or not self._near(last.places, place):
            await trio.lowlevel.checkpoint()
            return
        # A message that got lost comes late, and lets those behind it wait: both would arrive together.
        await self._inputs.flush()
        confirmed = trio.current_time()
        handled = last.at if confirmed - now <= JITTER else confirmed
        await trio.sleep_until(handled + self.time + JITTER)

    def released(self, button: object, *places: Pixel | None) -> None:
        """``button`` has been let go; it was pressed and let go at ``places``."""
        self._last[button] = _Last(places, trio.current_time())

    def _near(self, places: Iterable[Pixel | None], place: Pixel | None) -> bool:
        return place is None or any(each is None or distance(each, place) <= self.distance for each in places)

    @property
    def turn(self) -> trio.Lock:
        """Held from the wait to the click itself, so that clicks of several tasks are kept apart, too."""
        return self._turn
