"""Moving, clicking, dragging and scrolling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, SupportsIndex

import trio

from neko_trio._ports.held import Release
from neko_trio._ports.inputs import InputPort
from neko_trio._ports.state import StateCell
from neko_trio.desktop.clicks import Clicks
from neko_trio.desktop.cursor import CursorPort
from neko_trio.desktop.keys import held_around, modifiers_of
from neko_trio.desktop.pixels import Pixel, Point, pixel, pixels, seconds, way, whole, whole_steps
from neko_trio.errors import InvalidInput
from neko_trio.protocol.data_channel import ButtonDown, ButtonUp, ClientMessage, KeyDown, KeyUp, Move, Scroll

if TYPE_CHECKING:
    from neko_trio._state import State

Button = Literal["left", "middle", "right", "back", "forward"]

BUTTONS: dict[str, int] = {"left": 1, "middle": 2, "right": 3, "back": 8, "forward": 9}
"""X11's numbers of the buttons; 4 to 7 are the wheel."""

MOST_CLICKS = 10
"""Of one call. Three is a triple click; more is no gesture."""

MOST_WHEEL_CLICKS = 1000
"""Of one call in one direction: each is a press and a release at the server."""

LONGEST_DRAG = 9.0
"""Seconds. The server lets go of a button that has been held for 10 (its ``internal/desktop/manager.go``)."""

CHUNK = 16
"""Points of a drag that are handed over together, if it takes no time."""


class Mouse:
    """The pointer of the desktop, in its pixels, (0, 0) at the upper left. Needs the host role: ``session.control()``.

    Every call plans its messages first, and returns when they are in a bounded buffer on their way; ``flush()``
    confirms them. Cancelled, all of a call is sent or nothing, but for :meth:`drag`. Raises what :class:`Keyboard`
    does; :class:`~neko_trio.errors.InvalidInput` also for a position outside the screen or between pixels, which the
    server would move or drop silently.

    **Clicks in a row stay single clicks.** A program takes two clicks of one button at one place for a double click if
    they come within half a second (GTK 0.4 s, Chromium 0.5 s), whoever meant them. So :meth:`click` and :meth:`drag`
    wait for what is left of :attr:`double_click_time` since the same button was let go at the same place, give or take
    10 px. A double click is ``count=2``; :meth:`down` and :meth:`up` never wait.
    """

    def __init__(self, inputs: InputPort, state: StateCell[State], cursor: CursorPort, clicks: Clicks) -> None:
        self._inputs = inputs
        self._state = state
        self._cursor = cursor
        self._clicks = clicks
        self._pressed: dict[int, Pixel | None] = {}

    @property
    def position(self) -> Pixel | None:
        """(x, y) of the pointer in pixels of the screen, ``None`` before the first word of it.

        While this session is host, where it last moved it; while it is not, where the server says (which needs the
        data channel, and does not tell of moves by programs on the desktop).
        """
        return self._cursor.position

    @property
    def double_click_time(self) -> float:
        """Seconds that single clicks of one button at one place are kept apart: 0.5; 0 for not at all. Can be set."""
        return self._clicks.time

    @double_click_time.setter
    def double_click_time(self, value: float) -> None:
        self._clicks.time = seconds(value, "double_click_time", 10)

    async def move(self, x: SupportsIndex, y: SupportsIndex) -> None:
        """Move the pointer to (x, y), in pixels of the screen."""
        await self._inputs.submit([Move(*self._pixel(x, y))])

    async def click(
        self,
        x: SupportsIndex | None = None,
        y: SupportsIndex | None = None,
        *,
        button: Button = "left",
        count: int = 1,
        keys: str | Iterable[str] = (),
    ) -> None:
        """Click at (x, y), or where the pointer is; ``count`` 2 is a double click, 3 a triple click.

        ``keys`` are held down meanwhile: ``"ctrl"``, ``"ctrl+shift"`` or ``["ctrl", "shift"]``. Waits first, if the
        same button was let go at the same place just now: see :class:`Mouse`.
        """
        code = _button(button)
        times = whole(count, "count")
        if not 1 <= times <= MOST_CLICKS:
            raise InvalidInput(f"A click is repeated 1 to {MOST_CLICKS} times, not {times}.")
        clicks: list[ClientMessage] = [ButtonDown(code), ButtonUp(code)] * times
        place, moves = self._to(x, y)
        plan = held_around(modifiers_of(keys), [*moves, *clicks])
        async with self._clicks.turn:
            await self._clicks.apart(code, place)
            await self._inputs.submit(plan)
            self._clicks.released(code, place)

    async def down(
        self, x: SupportsIndex | None = None, y: SupportsIndex | None = None, *, button: Button = "left"
    ) -> None:
        """Press a button, at (x, y) if given, and keep it down until :meth:`up` or the end of the host role.

        The server lets go by itself of what is held for 10 s. Never waits: two of these in quick succession at one
        place are a double click.
        """
        code, (place, moves) = _button(button), self._to(x, y)
        await self._inputs.submit([*moves, ButtonDown(code)])
        self._pressed[code] = place

    async def up(
        self, x: SupportsIndex | None = None, y: SupportsIndex | None = None, *, button: Button = "left"
    ) -> None:
        """Let go of a button that this session holds, at (x, y) if given."""
        code, (place, moves) = _button(button), self._to(x, y)
        await self._inputs.submit([*moves, ButtonUp(code)])
        self._clicks.released(code, self._pressed.pop(code, None), place)

    async def drag(
        self,
        path: Iterable[Point],
        *,
        button: Button = "left",
        steps: SupportsIndex = 10,
        duration: float = 0.2,
        keys: str | Iterable[str] = (),
    ) -> None:
        """Press a button at the first point of ``path``, move it along, let go at the last.

        ``path``: two or more (x, y), in pixels of the screen. The way from each to the next is made in ``steps`` moves,
        because programs go by the moves between: most do not take a drag for one before some of them. ``duration`` is
        how many seconds it takes, 0 to 9: dropping something elsewhere is a talk between two programs, which needs some
        time before the button is let go of. 0 is as fast as the server takes it. ``keys`` are held down meanwhile, as
        for :meth:`click`.

        Every point is checked before anything is sent. Cancelled, it stops between two points, and the button is let go
        of there; so it is on every other way out.
        """
        code, along, held = _button(button), pixels(path, self._state.value.screen, least=2), modifiers_of(keys)
        rest = way(along, whole_steps(steps))
        lasts = seconds(duration, "duration", LONGEST_DRAG)
        releases: list[Release] = [ButtonUp(code), *(KeyUp(keysym) for keysym in reversed(held))]
        press: list[ClientMessage] = [*(KeyDown(keysym) for keysym in held), Move(*along[0]), ButtonDown(code)]
        async with self._clicks.turn:
            await self._clicks.apart(code, along[0])
            async with self._inputs.pressed(press, releases):
                began, size = trio.current_time(), 1 if lasts else CHUNK
                for start in range(0, len(rest) - 1, size):
                    await trio.sleep_until(began + lasts * (start + 1) / len(rest))
                    chunk = rest[start : min(start + size, len(rest) - 1)]
                    await self._inputs.submit([Move(*point) for point in chunk])
                await trio.sleep_until(began + lasts)
                await self._inputs.submit([Move(*along[-1]), *releases])
            self._clicks.released(code, along[0], along[-1])

    async def scroll(
        self,
        x: SupportsIndex | None = None,
        y: SupportsIndex | None = None,
        *,
        up: int = 0,
        down: int = 0,
        left: int = 0,
        right: int = 0,
        keys: str | Iterable[str] = (),
    ) -> None:
        """Turn the wheel at (x, y), or where the pointer is, by clicks of the wheel (not pixels).

        ``keys`` are held down meanwhile, as for :meth:`click`.
        """
        clicks = [whole(value, "A number of wheel clicks") for value in (up, down, left, right)]
        if min(clicks) < 0 or max(clicks) > MOST_WHEEL_CLICKS:
            raise InvalidInput(f"Each direction takes 0 to {MOST_WHEEL_CLICKS} wheel clicks.")
        # Positive is up, and button 6, which by X11's habit is left (the server's lib/xorg.c presses 4 and 6).
        scroll = Scroll(delta_x=clicks[2] - clicks[3], delta_y=clicks[0] - clicks[1])
        if scroll.delta_x == scroll.delta_y == 0:
            raise InvalidInput("Nothing to scroll.", hint="Give up, down, left or right a number of wheel clicks.")
        await self._inputs.submit(held_around(modifiers_of(keys), [*self._to(x, y)[1], scroll]))

    def _to(self, x: SupportsIndex | None, y: SupportsIndex | None) -> tuple[Pixel | None, list[ClientMessage]]:
        """Where a call acts, if that is known, and the move there."""
        if x is None and y is None:
            return self.position, []
        if x is None or y is None:
            raise InvalidInput("A position needs both x and y.")
        place = self._pixel(x, y)
        return place, [Move(*place)]

    def _pixel(self, x: SupportsIndex, y: SupportsIndex) -> Pixel:
        return pixel(x, y, self._state.value.screen)


def _button(button: str) -> int:
    if button not in BUTTONS:
        raise InvalidInput(f"There is no button {button!r}.", hint=f"Buttons are {', '.join(BUTTONS)}.")
    return BUTTONS[button]
