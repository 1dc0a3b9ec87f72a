"""Fingers on the screen, and what they do together."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, SupportsIndex

import trio

from neko_trio._ports.inputs import InputPort
from neko_trio._ports.state import StateCell
from neko_trio.desktop.clicks import Clicks
from neko_trio.desktop.pixels import Pixel, Point, is_number, pixel, pixels, seconds, way, whole, whole_steps
from neko_trio.errors import FeatureOff, InvalidInput
from neko_trio.protocol.data_channel import TouchBegin, TouchEnd, TouchUpdate

if TYPE_CHECKING:
    from neko_trio._state import State

FINGERS = 10
"""The server's X driver has so many slots (``utils/xorg-deps/xf86-input-neko/src/neko.c``)."""

MOST_TAPS = 10
"""Of one call."""

LONGEST = 300.0
"""Seconds of one gesture."""

ALIVE = 4.0
"""Seconds after which a finger that rests says that it is there: the server lifts one that was silent for 10."""

LEFT = 1
"""What the first finger is to programs that know nothing of touch: X11's left button."""


@dataclass(frozen=True, slots=True)
class _Finger:
    touch_id: int
    pressure: int

    def begin(self, place: Pixel) -> TouchBegin:
        return TouchBegin(self.touch_id, *place, self.pressure)

    def update(self, place: Pixel) -> TouchUpdate:
        return TouchUpdate(self.touch_id, *place, self.pressure)

    def end(self, place: Pixel) -> TouchEnd:
        return TouchEnd(self.touch_id, *place, 0)


class Touch:
    """Fingers on the desktop's touch screen, in its pixels. Needs the host role, and a server with a touch driver.

    Every call plans its messages first, checks every point, and returns when they are in a bounded buffer on their way;
    ``flush()`` confirms them. A finger that is down is lifted on every way out: of a gesture when it is cancelled, of
    everything else at the end of ``control()`` and of the session.

    Fingers are numbered 0 to 9; pressure is 0 to 255. X has a touch to within a pixel. The finger that came down first
    takes the pointer along, and programs that know nothing of touch see it as the left button.

    Raises what :class:`Mouse` does, and :class:`~neko_trio.errors.FeatureOff` when the server has no touch driver
    (``state.touch_events``): it would take the messages and do nothing.
    """

    def __init__(self, inputs: InputPort, state: StateCell[State], clicks: Clicks) -> None:
        self._inputs = inputs
        self._state = state
        self._clicks = clicks

    # -- one finger, message by message

    async def down(
        self, x: SupportsIndex, y: SupportsIndex, *, finger: SupportsIndex = 0, pressure: SupportsIndex = 255
    ) -> None:
        """Put a finger down at (x, y), until :meth:`up` or the end of the host role.

        The server lifts a finger that says nothing for 10 s: :meth:`move` it, be it to where it is.
        """
        touched = self._finger(finger, pressure)
        await self._inputs.submit([touched.begin(self._pixel(x, y))])

    async def move(
        self, x: SupportsIndex, y: SupportsIndex, *, finger: SupportsIndex = 0, pressure: SupportsIndex = 255
    ) -> None:
        """Move a finger that is down, or press it differently."""
        touched = self._finger(finger, pressure)
        await self._inputs.submit([touched.update(self._pixel(x, y))])

    async def up(
        self, x: SupportsIndex | None = None, y: SupportsIndex | None = None, *, finger: SupportsIndex = 0
    ) -> None:
        """Lift a finger, at (x, y) or where it is."""
        touched = self._finger(finger, 0)
        if (x is None) != (y is None):
            raise InvalidInput("A position needs both x and y.")
        down = [end for end in self._inputs.held if isinstance(end, TouchEnd) and end.touch_id == touched.touch_id]
        if x is not None and y is not None:
            place = self._pixel(x, y)
            await self._inputs.submit([touched.update(place), touched.end(place)])
        else:
            await self._inputs.submit(down or [touched.end((0, 0))])  # not down: the port's error says it

    # -- gestures

    async def tap(
        self,
        x: SupportsIndex,
        y: SupportsIndex,
        *,
        count: SupportsIndex = 1,
        duration: float = 0.0,
        finger: SupportsIndex = 0,
        pressure: SupportsIndex = 255,
    ) -> None:
        """Put a finger down at (x, y) and lift it; ``count`` 2 is a double tap.

        ``duration``: seconds that it rests there, each time, 0 to 300; a long press is one of a second. Without, a
        tap is sent whole or not at all when it is cancelled. Single taps in a row stay single taps, as single clicks
        do: see :class:`Mouse`.
        """
        touched, place = self._finger(finger, pressure), self._pixel(x, y)
        times, rest = whole(count, "count"), seconds(duration, "duration", LONGEST)
        if not 1 <= times <= MOST_TAPS:
            raise InvalidInput(f"A tap is repeated 1 to {MOST_TAPS} times, not {times}.")
        async with self._clicks.turn:
            await self._clicks.apart(LEFT, place)
            if rest:
                for _ in range(times):
                    await self._gesture([touched], [[place]], rest)
            else:
                await self._inputs.submit([touched.begin(place), touched.end(place)] * times)
            self._clicks.released(LEFT, place)

    async def swipe(
        self,
        *points: Point,
        duration: float = 0.3,
        steps: SupportsIndex = 20,
        finger: SupportsIndex = 0,
        pressure: SupportsIndex = 255,
    ) -> None:
        """Draw a finger along two or more ``points``, each (x, y): ``swipe((600, 500), (600, 100))``.

        It takes ``duration`` seconds (0 to 300), at the same pace from point to point, ``steps`` moves each: a program
        takes a quick one for a throw, a slow one for a pull. Cancelled, it stops between two moves and the finger is
        lifted there.
        """
        touched, path = self._finger(finger, pressure), pixels(points, self._state.value.screen, least=2)
        along = [path[0], *way(path, whole_steps(steps))]
        lasts = seconds(duration, "duration", LONGEST)
        async with self._clicks.turn:
            await self._clicks.apart(LEFT, along[0])
            await self._gesture([touched], [[place] for place in along], lasts)
            self._clicks.released(LEFT, along[0], along[-1])

    async def pinch(
        self,
        center: Point,
        *,
        start: SupportsIndex,
        end: SupportsIndex,
        angle: float = 0.0,
        duration: float = 0.3,
        steps: SupportsIndex = 20,
        pressure: SupportsIndex = 255,
    ) -> None:
        """Draw two fingers, 0 and 1, together or apart: ``start`` and ``end`` are the pixels between them.

        ``pinch((640, 360), start=400, end=100)`` makes smaller, the other way round makes larger. ``center`` is midway
        between them; ``angle`` in degrees turns their line clockwise, 0 is level. ``duration`` and cancelling are as
        for :meth:`swipe`.
        """
        fingers = [self._finger(0, pressure), self._finger(1, pressure)]
        (middle,) = pixels([center], self._state.value.screen)
        first, last, count = whole(start, "start"), whole(end, "end"), whole_steps(steps)
        if min(first, last) < 0:
            raise InvalidInput("Between two fingers are 0 pixels or more.")
        if not is_number(angle) or not math.isfinite(angle):
            raise InvalidInput(f"angle is a number of degrees, not {angle!r}.")
        along = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        lasts = seconds(duration, "duration", LONGEST)
        moments = [self._pair(middle, along, (first + (last - first) * step / count) / 2) for step in range(count + 1)]
        async with self._clicks.turn:
            await self._gesture(fingers, moments, lasts)

    def _pair(self, middle: Pixel, along: tuple[float, float], radius: float) -> list[Pixel]:
        x, y = along[0] * radius, along[1] * radius
        return [
            self._pixel(round(middle[0] - x), round(middle[1] - y)),
            self._pixel(round(middle[0] + x), round(middle[1] + y)),
        ]

    # -- inside

    async def _gesture(self, fingers: Sequence[_Finger], moments: Sequence[Sequence[Pixel]], lasts: float) -> None:
        """Fingers down at the places of the first moment, along those of the others, and up, in ``lasts`` seconds."""
        places, rest = moments[0], moments[1:]
        begins = [finger.begin(place) for finger, place in zip(fingers, places, strict=True)]
        ends = [finger.end(place) for finger, place in zip(fingers, places, strict=True)]
        async with self._inputs.pressed(begins, ends):
            began = trio.current_time()
            for number, following in enumerate(rest, 1):
                await self._wait_until(began + lasts * number / len(rest), fingers, places)
                places = following
                if number < len(rest):
                    await self._inputs.submit(_updates(fingers, places))
            await self._wait_until(began + lasts, fingers, places)
            ends = [finger.end(place) for finger, place in zip(fingers, places, strict=True)]
            await self._inputs.submit([*(_updates(fingers, places) if rest else ()), *ends])

    async def _wait_until(self, due: float, fingers: Sequence[_Finger], places: Sequence[Pixel]) -> None:
        while due - trio.current_time() > ALIVE:
            await trio.sleep(ALIVE)
            await self._inputs.submit(_updates(fingers, places))
        await trio.sleep_until(due)

    def _finger(self, finger: SupportsIndex, pressure: SupportsIndex) -> _Finger:
        if not self._state.value.touch_events:
            raise FeatureOff(
                "This server has no touch screen: touches would do nothing.",
                hint="Start it with its X input driver (desktop.input.enabled), or use session.mouse.",
                step="touch",
            )
        number, force = whole(finger, "finger"), whole(pressure, "pressure")
        if not 0 <= number < FINGERS:
            raise InvalidInput(f"Fingers are numbered 0 to {FINGERS - 1}, not {number}.")
        if not 0 <= force <= 255:
            raise InvalidInput(f"A pressure is 0 to 255, not {force}.")
        return _Finger(_first_id(self._state.value.session_id) + number, force)

    def _pixel(self, x: SupportsIndex, y: SupportsIndex) -> Pixel:
        return pixel(x, y, self._state.value.screen)


def _updates(fingers: Sequence[_Finger], places: Sequence[Pixel]) -> list[TouchUpdate]:
    return [finger.update(place) for finger, place in zip(fingers, places, strict=True)]


def _first_id(session_id: str) -> int:
    """The touch id of finger 0, a multiple of 16.

    Another session's finger that is still down when the host role changes hands keeps its id at the server for 10 s,
    and a touch of the same id is dropped without a word (``server/pkg/xinput/xinput.go``). Hence ids of our own,
    beyond those of browsers; the X driver reads 16 bits of them.
    """
    return 1024 + zlib.crc32(session_id.encode()) % 2048 * 16
