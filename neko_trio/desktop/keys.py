"""From what a caller writes to keysyms and plans: key names, combinations, text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from neko_trio.errors import InvalidInput
from neko_trio.protocol.data_channel import ClientMessage, KeyDown, KeyUp
from neko_trio.protocol.keysyms import char_needs_shift, keysym_of_char, keysym_of_name

SHIFT = 0xFFE1
"""Keysym of the left Shift key."""

_SHIFTS = frozenset({SHIFT, 0xFFE2})
_CONTROL_CHARACTERS = {"\n": 0xFF0D, "\r": 0xFF0D, "\t": 0xFF09, "\b": 0xFF08, "\x1b": 0xFF1B, "\x7f": 0xFFFF}


def keys_of(combination: str) -> tuple[int, ...]:
    """The keysyms of ``"ctrl+shift+t"``, in the order in which they go down.

    Parts are separated by ``+``; each is a single character or a key's name (X.Org's, or a common alias, in any case).
    The plus key is ``plus``, or the last ``+`` of ``"ctrl++"``. Letters in a combination are the keys, whatever their
    case, as in "Ctrl+S"; a letter alone is the character. What needs Shift on a US keyboard gets it.
    Raises :class:`~neko_trio.errors.InvalidInput` for what is no key.
    """
    parts = _split(combination)
    keysyms: list[int] = []
    for part in parts:
        character = part if len(part) == 1 else None
        if character is not None and len(parts) > 1:
            lower = character.lower()
            character = lower if len(lower) == 1 else character
        keysym = _keysym_of_character(character) if character is not None else _keysym_of_name(part, combination)
        if character is None and 0x20 < keysym < 0x7F and len(part) > 1:
            character = chr(keysym)  # "plus", "question": the name of a character that may need Shift
        if character is not None and char_needs_shift(character) and not _SHIFTS.intersection(keysyms):
            keysyms.append(SHIFT)
        if keysym in keysyms:
            raise InvalidInput(f"The combination {combination!r} names a key twice.")
        keysyms.append(keysym)
    return tuple(keysyms)


def modifiers_of(keys: str | Iterable[str]) -> tuple[int, ...]:
    """The keysyms of keys to hold during a click: ``"ctrl+shift"`` or ``["ctrl", "shift"]``; nothing for nothing."""
    combinations = [keys] if isinstance(keys, str) else list(keys)
    if not all(isinstance(key, str) for key in combinations):
        raise InvalidInput(f"Keys are names such as 'ctrl', not {keys!r}.")
    keysyms = dict.fromkeys(keysym for combination in combinations if combination for keysym in keys_of(combination))
    return tuple(keysyms)


def held_around(keysyms: Sequence[int], messages: Sequence[ClientMessage]) -> list[ClientMessage]:
    """The plan that holds the keys down, in order, while ``messages`` are sent."""
    downs: list[ClientMessage] = [KeyDown(keysym) for keysym in keysyms]
    ups: list[ClientMessage] = [KeyUp(keysym) for keysym in reversed(keysyms)]
    return [*downs, *messages, *ups]


def text_keys(text: str) -> list[tuple[int, bool]]:
    """The (keysym, needs Shift) of each key that types ``text``; a line break, however spelled, is one Return.

    Raises :class:`~neko_trio.errors.InvalidInput` for a character that no key types.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"Text to type is a str, not {type(text).__name__}.")
    return [(_keysym_of_character(char), char_needs_shift(char)) for char in re.sub(r"\r\n?", "\n", text)]


def text_plans(keys: Sequence[tuple[int, bool]], size: int) -> Iterator[list[ClientMessage]]:
    """Plans of at most ``size`` characters. Shift is held only where it is needed, and never over a plan's end."""
    for start in range(0, len(keys), size):
        plan: list[ClientMessage] = []
        shifted = False
        for keysym, needs_shift in keys[start : start + size]:
            if needs_shift is not shifted:
                plan.append(KeyDown(SHIFT) if needs_shift else KeyUp(SHIFT))
                shifted = needs_shift
            plan += (KeyDown(keysym), KeyUp(keysym))
        if shifted:
            plan.append(KeyUp(SHIFT))
        yield plan


def _split(combination: str) -> list[str]:
    if not isinstance(combination, str) or not combination:
        raise InvalidInput(f"A key combination is a text such as 'ctrl+s', not {combination!r}.")
    if combination == "+":
        return ["+"]
    parts = combination.removesuffix("++").split("+")
    if combination.endswith("++"):
        parts.append("+")
    parts = [part.strip() or part for part in parts]
    if not all(parts):
        raise InvalidInput(
            f"The combination {combination!r} has an empty part.", hint="Write keys as in 'ctrl+shift+t'."
        )
    return parts


def _keysym_of_name(name: str, combination: str) -> int:
    try:
        return keysym_of_name(name)
    except (KeyError, ValueError):
        raise InvalidInput(
            f"{name!r} in {combination!r} is no key that is known.",
            hint="Use X.Org's names (Return, Page_Up, F5) or common ones (enter, pageup, ctrl).",
        ) from None


def _keysym_of_character(char: str) -> int:
    if char in _CONTROL_CHARACTERS:
        return _CONTROL_CHARACTERS[char]
    code = ord(char)
    if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000:
        raise InvalidInput(f"No key types the character U+{code:04X}.", hint="Take it out of the text.")
    return keysym_of_char(char)
