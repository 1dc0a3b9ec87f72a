"""What a program must be to be on the simulator's screen, and how it is kept from two threads at once."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from neko_trio.simulator._input_events import InputEvent
from neko_trio.simulator._picture import Bytes2D, Picture

__all__ = ["Copying", "Desktop", "LockedDesktop", "Rendered", "Samples", "Sounding"]

Rendered: TypeAlias = Picture | Bytes2D
"""A `Picture`, or an RGB array (height, width, 3) uint8; another size than the screen's is scaled to it."""

Samples: TypeAlias = NDArray[np.int16] | NDArray[np.float32] | NDArray[np.float64]
"""Sound, see `Sounding`."""


class Desktop(Protocol):
    """A program on the simulator's screen. Draw your own by giving `open_simulator` an object with these two.

    With the method of `Sounding` as well it can be heard.
    """

    def render(self, now: float, /) -> Rendered:
        """Draw the screen as of ``now`` (seconds of ``time.monotonic()``). Called on an encoder's thread once per
        frame, only while someone watches, and for screenshots. The result is read before the next call."""

    def on_input(self, event: InputEvent, /) -> None:
        """One input event (trio thread), in order. Must not block."""


@runtime_checkable
class Sounding(Protocol):
    """A desktop that can be heard."""

    def sound(self, start: int, count: int, /) -> Samples:
        """``count`` samples from sample number ``start`` on, at 48 kHz: shape (count, 2), or (count,) for both
        channels; int16, or floats from -1 to 1. Called on the sound's thread every 20 ms while someone listens;
        ``start`` goes on where it was when someone listens again. The result is read before the next call."""


@runtime_checkable
class Copying(Protocol):
    """A desktop whose programs copy."""

    on_copy: Callable[[str], None]
    """Set by `open_simulator`: call it with what was copied, from within `on_input`."""


class LockedDesktop:
    """Any desktop, with its methods never at the same time, so that it needs no locks of its own."""

    def __init__(self, desktop: Desktop) -> None:
        self.desktop = desktop
        self._lock = Lock()

    def on_input(self, event: InputEvent, /) -> None:
        """Hand ``event`` on, once no picture is being drawn (a few milliseconds at most for `SmallDesktop`)."""
        with self._lock:
            self.desktop.on_input(event)

    def render(self, now: float, /) -> Rendered:
        """A picture that is the caller's own: the desktop's is copied."""
        with self._lock:
            rendered = self.desktop.render(now)
            if isinstance(rendered, Picture):
                picture = Picture(*rendered.size)
                picture.copy_from(rendered)
                return picture
            return rendered.copy()

    @property
    def sounds(self) -> bool:
        """Whether it can be heard."""
        return isinstance(self.desktop, Sounding)

    def sound(self, start: int, count: int, /) -> Samples:
        """What a `Sounding` desktop sounds like."""
        assert isinstance(self.desktop, Sounding)
        with self._lock:
            return self.desktop.sound(start, count)

    def picture(self, now: float, size: tuple[int, int]) -> Picture:
        """Render and convert to 4:2:0 of ``size`` (width, height; even)."""
        rendered = self.render(now)
        if isinstance(rendered, Picture):
            return rendered if rendered.size == size else rendered.scaled(size)
        return Picture.from_rgb(rendered, size)
