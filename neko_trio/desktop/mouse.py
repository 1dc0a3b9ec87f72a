"""Moving, clicking and scrolling."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, SupportsIndex

from neko_trio._ports.inputs import InputPort
from neko_trio._ports.state import StateCell
from neko_trio.desktop.keys import held_around, modifiers_of
from neko_trio.errors import InvalidInput
from neko_trio.protocol.data_channel import ButtonDown, ButtonUp, ClientMessage, Move, Scroll

if TYPE_CHECKING:
    from neko_trio._state import State

Button = Literal["left", "middle", "right", "back", "forward"]

BUTTONS: dict[str, int] = {"left": 1, "middle": 2, "right": 3, "back": 8, "forward": 9}
"""X11's numbers of the buttons; 4 to 7 are the wheel."""

MOST_CLICKS = 10
"""Of one call. Three is a triple click; more is no gesture."""

MOST_WHEEL_CLICKS = 1000
"""Of one call in one direction: each is a press and a release at the server."""


class Mouse:
    """The pointer of the desktop, in its pixels, (0, 0) at the upper left. Needs the host role: ``session.control()``.

    Every call plans its messages first, and returns when they are in a bounded buffer on their way; ``flush()``
    confirms them. Cancelled, all of a call is sent or nothing. Raises what :class:`Keyboard` does;
    :class:`~neko_trio.errors.InvalidInput` also for a position outside the screen or between pixels, which the server
    would move or drop silently.
    """

    def __init__(self, inputs: InputPort, state: StateCell[State]) -> None:
        self._inputs = inputs
        self._state = state

    async def move(self, x: SupportsIndex, y: SupportsIndex) -> None:
        """Move the pointer to (x, y), in pixels of the screen."""
        await self._inputs.submit(self._to(x, y))

    async def click(
        self,
        x: SupportsIndex | None = None,
        y: SupportsIndex | None = None,
        *,
        button: Button = "left",
        count: int = 1,
        keys: str | Iterable[str] = (),
    ) -> None:
        """Click at (x, y), or where the pointer is; ``count`` 2 is a double click.

        ``keys`` are held down meanwhile: ``"ctrl"``, ``"ctrl+shift"`` or ``["ctrl", "shift"]``.
        """
        code = _button(button)
        times = _whole(count, "count")
        if not 1 <= times <= MOST_CLICKS:
            raise InvalidInput(f"A click is repeated 1 to {MOST_CLICKS} times, not {times}.")
        clicks: list[ClientMessage] = [ButtonDown(code), ButtonUp(code)] * times
        await self._inputs.submit(held_around(modifiers_of(keys), [*self._to(x, y), *clicks]))

    async def down(
        self, x: SupportsIndex | None = None, y: SupportsIndex | None = None, *, button: Button = "left"
    ) -> None:
        """Press a button, at (x, y) if given, and keep it down until :meth:`up` or the end of the host role.

        The server lets go by itself of what is held for 10 s.
        """
        await self._inputs.submit([*self._to(x, y), ButtonDown(_button(button))])

    async def up(
        self, x: SupportsIndex | None = None, y: SupportsIndex | None = None, *, button: Button = "left"
    ) -> None:
        """Let go of a button that this session holds, at (x, y) if given."""
        await self._inputs.submit([*self._to(x, y), ButtonUp(_button(button))])

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
        clicks = [_whole(value, "A number of wheel clicks") for value in (up, down, left, right)]
        if min(clicks) < 0 or max(clicks) > MOST_WHEEL_CLICKS:
            raise InvalidInput(f"Each direction takes 0 to {MOST_WHEEL_CLICKS} wheel clicks.")
        # Positive is up, and button 6, which by X11's habit is left (the server's lib/xorg.c presses 4 and 6).
        scroll = Scroll(delta_x=clicks[2] - clicks[3], delta_y=clicks[0] - clicks[1])
        if scroll.delta_x == scroll.delta_y == 0:
            raise InvalidInput("Nothing to scroll.", hint="Give up, down, left or right a number of wheel clicks.")
        await self._inputs.submit(held_around(modifiers_of(keys), [*self._to(x, y), scroll]))

    def _to(self, x: SupportsIndex | None, y: SupportsIndex | None) -> list[ClientMessage]:
        if x is None and y is None:
            return []
        if x is None or y is None:
            raise InvalidInput("A position needs both x and y.")
        screen = self._state.value.screen
        left, top = _whole(x, "x"), _whole(y, "y")
        if not (0 <= left < screen.width and 0 <= top < screen.height):
            raise InvalidInput(
                f"({left}, {top}) is outside the screen, which is {screen.width}x{screen.height}.",
                hint="A frame may be smaller than the screen: frame.to_screen(x, y) converts.",
            )
        return [Move(left, top)]


def _button(button: str) -> int:
    if button not in BUTTONS:
        raise InvalidInput(f"There is no button {button!r}.", hint=f"Buttons are {', '.join(BUTTONS)}.")
    return BUTTONS[button]


def _whole(value: SupportsIndex, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidInput(f"{name} is a whole number, not {value!r}.", hint="Round it first.") from None
