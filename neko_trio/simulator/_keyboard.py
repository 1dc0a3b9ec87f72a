"""The X server's keyboard as far as a program can tell: keysyms to text, modifiers, and the spare keycodes.

Facts (`server/pkg/xorg/xorg.c`, neko-protocol.md §5): a keysym that the layout does not give *under the modifiers held
at that moment* is put on a spare keycode, with both its cases; there are 19 of them with the layout `us`; they are
not given back, and when none is left such keys are lost without a word.  Setting the keyboard map frees them all.
"""

from dataclasses import dataclass, field

from neko_trio.protocol.layout_table import LAYOUTS, NAMED

__all__ = ["Keyboard", "text_of_keysym"]

SPARE_KEYCODES = 19

_CHARACTERS = {keysym: character for character, keysym in NAMED.items()}
_UNICODE = 0x01000000
_KEYPAD = {0xFFB0 + digit: str(digit) for digit in range(10)} | {
    0xFFAA: "*",
    0xFFAB: "+",
    0xFFAD: "-",
    0xFFAE: ".",
    0xFFAF: "/",
    0xFFBD: "=",
    0xFF80: " ",
}
# X.Org keysymdef.h: the modifier keys.
_MODIFIERS = {
    0xFFE1: "shift",
    0xFFE2: "shift",
    0xFFE3: "ctrl",
    0xFFE4: "ctrl",
    0xFFE7: "meta",
    0xFFE8: "meta",
    0xFFE9: "alt",
    0xFFEA: "alt",
    0xFFEB: "super",
    0xFFEC: "super",
    0xFE03: "altgr",
    0xFF7E: "altgr",
}
_CAPS_LOCK = 0xFFE5
_NUM_LOCK = 0xFF7F
_NOT_TYPING = frozenset({"ctrl", "alt", "super", "meta"})

MODIFIER_NAMES = ("shift", "capslock", "control", "alt", "numlock", "meta", "super", "altgr")
"""The fields of `keyboard/modifiers`, in the server's order."""


def text_of_keysym(keysym: int) -> str:
    """The character that a keysym stands for, "" for a named key (X.Org keysymdef.h)."""
    if 0x20 <= keysym <= 0x7E or 0xA0 <= keysym <= 0xFF:
        return chr(keysym)
    if _UNICODE < keysym <= _UNICODE + 0x10FFFF:
        code = keysym - _UNICODE
        return "" if 0xD800 <= code <= 0xDFFF else chr(code)
    return _CHARACTERS.get(keysym) or _KEYPAD.get(keysym, "")


@dataclass(slots=True)
class Keyboard:
    """Held and locked modifiers, and the spare keycodes in use."""

    layout: str = "us"
    variant: str = ""
    held: dict[int, str] = field(default_factory=dict)
    """Modifier keysyms that are down, and what they modify."""
    locked: set[str] = field(default_factory=set)
    """Of `MODIFIER_NAMES`."""
    lost: int = 0
    """Keys that found no spare keycode."""
    _spares: list[tuple[str, str]] = field(default_factory=list)

    @property
    def modifiers(self) -> frozenset[str]:
        locked = {"ctrl" if name == "control" else name for name in self.locked - {"numlock"}}
        return frozenset(self.held.values()) | locked

    def set_map(self, layout: str, variant: str) -> bool:
        """False for a layout that there is not. Variants are taken for their layout."""
        if layout not in LAYOUTS:
            return False
        self.layout, self.variant = layout, variant
        self._spares.clear()
        return True

    def press(self, keysym: int) -> str | None:
        """A key goes down: the text it types ("" for none), or None when it is lost."""
        if keysym in _MODIFIERS:
            self.held[keysym] = _MODIFIERS[keysym]
            return ""
        if keysym in (_CAPS_LOCK, _NUM_LOCK):
            self.locked ^= {"capslock" if keysym == _CAPS_LOCK else "numlock"}
            return ""
        character = text_of_keysym(keysym)
        if not character or keysym in _KEYPAD:
            return "" if self.modifiers & _NOT_TYPING else character
        typed = character if self._layout_gives(keysym, character) else self._through_a_spare(keysym, character)
        if typed is None:
            self.lost += 1
            return None
        return "" if self.modifiers & _NOT_TYPING else typed

    @staticmethod
    def is_modifier(keysym: int) -> bool:
        """Modifiers and locks do not repeat."""
        return keysym in _MODIFIERS or keysym in (_CAPS_LOCK, _NUM_LOCK)

    def release(self, keysym: int) -> None:
        self.held.pop(keysym, None)

    def _through_a_spare(self, keysym: int, character: str) -> str | None:
        if any(self._level(pair) == character for pair in self._spares):
            return character
        if len(self._spares) >= SPARE_KEYCODES:
            return None
        lower, upper = character.lower(), character.upper()
        pair = (lower, upper) if len(lower) == len(upper) == 1 else (character, character)
        self._spares.append(pair)
        return self._level(pair)

    def _layout_gives(self, keysym: int, character: str) -> bool:
        """The server compares keysyms: я is not on a Russian keyboard by the Unicode rule, but as Cyrillic_ya."""
        plain, shifted = LAYOUTS[self.layout]
        if character in NAMED and keysym != NAMED[character]:
            return False
        level = shifted if self._shifted(character.lower() != character.upper()) else plain
        return character in level or character == " "

    def _level(self, pair: tuple[str, str]) -> str:
        return pair[self._shifted(pair[0] != pair[1] and pair[0].isalpha())]

    def _shifted(self, letter: bool) -> bool:
        modifiers = self.modifiers
        return ("shift" in modifiers) is not (letter and "capslock" in modifiers)
