"""What is known of the server's keyboard: its layout, and which of its spare keycodes are in use."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neko_trio._ports.rest import Refusals, RestPort
from neko_trio.desktop.keys import Key
from neko_trio.errors import InvalidInput, NotAllowed, ProtocolViolation
from neko_trio.protocol.keysyms import char_needs_shift, keysym_of_char
from neko_trio.protocol.layout_table import LAYOUTS, NAMED

if TYPE_CHECKING:
    from neko_trio._state import State

logger = logging.getLogger("neko_trio.keyboard")

STEP = "keyboard"

SPARE_KEYCODES = 12
"""Characters beyond the layout that are put on spare keycodes: as many as every server has.

With the layout ``us`` of xkeyboard-config 2.35 there are 19 (seen); newer versions give four more to the keys of
laptops, and Japanese keyboards have two more than others.
"""

_MAP = "/api/room/keyboard/map"
_MODIFIERS = "/api/room/keyboard/modifiers"


@dataclass(frozen=True, slots=True)
class Layout:
    """A keyboard layout, by X.Org's names: ``"us"``, ``"de"`` with the variant ``"nodeadkeys"``."""

    name: str
    variant: str = ""

    @property
    def known(self) -> bool:
        """Whether the characters on its keys are known here."""
        return self.name in LAYOUTS and not self.variant

    def key(self, char: str) -> Key | None:
        """How the character is typed on it, ``None`` when it has no key for it, or when that is not known."""
        if not self.known:
            return None
        plain, shifted = LAYOUTS[self.name]
        if char in plain or char in shifted:
            # The server compares keysyms, not characters (lib/xorg.c): я is Cyrillic_ya on a Russian keyboard.
            return Key(NAMED.get(char) or keysym_of_char(char), char in shifted)
        return None


def spare_key(char: str) -> Key:
    """How a character is typed by a spare keycode.

    The server binds both cases to one (``lib/xorg.c``), where the plain key gives the small letter.
    """
    return Key(keysym_of_char(char), char_needs_shift(char) or char.isupper())


def only_pasted(char: str) -> bool:
    """Whether no key types it: of letters with a third case the server's spare keycodes have the other two."""
    return unicodedata.category(char) == "Lt"


class KeyMap:
    """The server's keyboard as far as this session knows it. Trio thread only.

    The layout is asked for when it is first needed. Another host may have changed it, and may have used up the spare
    keycodes, of which the server says nothing: both are forgotten then. What is forgotten of the spare keycodes is made
    certain by setting the same layout again, which frees them all (neko-protocol.md §5).
    """

    def __init__(self, rest: RestPort) -> None:
        self._rest = rest
        self._host: str | None = None
        self._shared = False  # another was host since this session was
        self._era = 0  # counts what is forgotten: answers from before it say nothing of now
        self._layout: Layout | None = None
        self._caps_lock = False
        self._spares: set[str] | None = None
        self.spare_keycodes: int | None = SPARE_KEYCODES
        """How many there are, ``None`` for any number."""

    def on_state(self, state: State) -> None:
        """A new snapshot has been set. Never blocks."""
        if state.host == self._host:
            return
        self._host = state.host
        if state.host is not None and (self._shared or not state.is_host):
            # Again at the other's end: the server tells nobody of a layout.
            self._shared = not state.is_host
            self.forget()

    def forget(self) -> None:
        """Somebody else may have changed everything."""
        self._era += 1
        self._layout = self._spares = None

    def forget_locks(self) -> None:
        """Caps Lock may have been pressed."""
        self._era += 1
        self._layout = None

    @property
    def known(self) -> bool:
        """Whether there is nothing to :meth:`learn`."""
        return self._layout is not None

    async def learn(self) -> Layout:
        """The layout and Caps Lock, asked for unless they are known. A checkpoint only when they are not.

        A server that refuses to tell, or does not know how, is taken for one with the layout ``us``. What says nothing
        of the server, such as a proxy's page in its place, is raised: with a wrong layout other characters are typed.
        """
        while self._layout is None:
            era = self._era
            try:
                layout, modifiers = await self.layout(), await self.modifiers()
            except (NotAllowed, ProtocolViolation) as error:
                if era == self._era:
                    logger.info("the server does not say its keyboard layout, taken for us: %s", error)
                    self._layout, self._spares = Layout("us"), set() if self._spares is None else self._spares
            else:
                if era == self._era:
                    self._layout, self._caps_lock = layout, modifiers["capslock"] is True
        return self._layout

    def key(self, char: str) -> Key:
        """How a character is typed now; :meth:`learn` goes before. Raises ``InvalidInput`` for none."""
        assert self._layout is not None, "learn() goes before"
        key = self._layout.key(char) or spare_key(char)
        if self._caps_lock and char.lower() != char.upper():
            return Key(key.keysym, not key.shift)  # under Caps Lock it is Shift that gives small letters
        return key

    def wanting(self, chars: Iterable[str]) -> frozenset[str]:
        """Those that would use up spare keycodes, or that no key types. None while the layout is not known."""
        if self._layout is None:
            return frozenset()
        wanting = {char for char in chars if char not in "\n\t" and self._layout.key(char) is None}
        if self.spare_keycodes is None:
            return frozenset(filter(only_pasted, wanting))
        return frozenset(wanting - (self._spares or set()))

    def uses_spares(self, chars: Iterable[str]) -> bool:
        """Whether any of these is typed by a spare keycode. ``False`` while the layout is not known."""
        layout = self._layout
        return layout is not None and any(char not in "\n\t" and layout.key(char) is None for char in chars)

    def fits(self, wanting: frozenset[str]) -> bool:
        """Whether spare keycodes for all of these are left, once :meth:`secure` has been called."""
        if any(map(only_pasted, wanting)):
            return False
        return self.spare_keycodes is None or len(wanting) + len(self._spares or ()) <= self.spare_keycodes

    @property
    def doubtful(self) -> bool:
        """Whether it is not known which spare keycodes are free."""
        return self._spares is None and self.spare_keycodes is not None

    async def secure(self) -> None:
        """Free all spare keycodes."""
        layout = await self.learn()
        if layout.name:
            await self.set(layout)
        else:
            self._spares = set()

    def use(self, wanting: frozenset[str]) -> None:
        """These characters will have spare keycodes."""
        if self._spares is not None:
            self._spares |= wanting

    # -- the server's calls

    async def layout(self) -> Layout:
        """``GET``, which needs ``can_host``."""
        answer = await self._rest.call("GET", _MAP, step=STEP, refusals=_REFUSALS)
        match answer:
            case {"layout": str(name), "variant": str(variant)}:
                return Layout(name, variant)
        raise ProtocolViolation("The server's answer is no keyboard layout.", step=STEP)

    async def set(self, layout: Layout) -> None:
        """``POST``, which needs the host role. Cancelled, it is not known whether it has been set."""
        learned, era = self._layout is not None, self._era
        self._layout = self._spares = None
        refused = f"The server cannot set the keyboard layout {layout.name!r} with the variant {layout.variant!r}."
        await self._rest.call(
            "POST",
            _MAP,
            json={"layout": layout.name, "variant": layout.variant},
            step=STEP,
            refusals={
                **_REFUSALS,
                500: lambda _: InvalidInput(refused, hint="Use X.Org's names, such as 'us' or 'de'.", step=STEP),
            },
        )
        if era == self._era:
            self._spares = set()
            if learned:
                self._layout = layout  # and Caps Lock is as it was

    async def modifiers(self) -> dict[str, Any]:
        """``GET``, which needs ``can_host``."""
        answer = await self._rest.call("GET", _MODIFIERS, step=STEP, refusals=_REFUSALS)
        if not isinstance(answer, dict) or not isinstance(answer.get("capslock"), bool | None):
            raise ProtocolViolation("The server's answer says nothing of modifiers.", step=STEP)
        return answer

    async def set_modifiers(self, modifiers: dict[str, bool]) -> None:
        """``POST``, which needs the host role."""
        self.forget_locks()
        await self._rest.call("POST", _MODIFIERS, json=modifiers, step=STEP, refusals=_REFUSALS)


_REFUSALS: Refusals = {403: lambda message: NotAllowed(f"The server refuses the keyboard: {message!r}.", step=STEP)}
