"""From what a caller writes to keysyms and plans: key names, combinations, text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from neko_trio.errors import InvalidInput
from neko_trio.protocol import Malformed
from neko_trio.protocol.data_channel import ClientMessage, KeyDown, KeyUp
from neko_trio.protocol.keysyms import char_needs_shift, char_of_keysym, keysym_of_char, keysym_of_name

SHIFT = 0xFFE1
"""Keysym of the left Shift key."""

_NOT_TYPED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

CAPS_LOCK = 0xFFE5

SHIFTS = frozenset({SHIFT, 0xFFE2})
_WITH_SHIFT = str.maketrans(
    "abcdefghijklmnopqrstuvwxyz`1234567890-=[]\\;',./", 'ABCDEFGHIJKLMNOPQRSTUVWXYZ~!@#$%^&*()_+{}|:"<>?'
)


class Key(NamedTuple):
    """What types one character."""

    keysym: int
    shift: bool
    """Whether Shift is held meanwhile."""


def keys_of(combination: str, *, shifted: bool = False) -> tuple[int, ...]:
    """The keysyms of ``"ctrl+shift+t"``, in the order in which they go down.

    Parts are separated by ``+``; each is a single character or a key's name (X.Org's, or a common alias, in any case).
    The plus key is ``plus``, or the last ``+`` of ``"ctrl++"``. Letters in a combination are the keys, whatever their
    case, as in "Ctrl+S"; a letter alone is the character. What needs Shift gets it.

    The server looks for the key that gives the keysym under the modifiers held (``lib/xorg.c``); hence with Shift the
    keysym is the one that the key of a US keyboard gives with Shift: ``"shift+1"`` is Shift and ``exclam``.
    ``shifted``: Shift is held already.
    Raises :class:`~neko_trio.errors.InvalidInput` for what is no key.
    """
    parts = _split(combination)
    keysyms: list[int] = []
    for part in parts:
        keysym = _keysym_of_name(part.lower() if len(part) == 1 < len(parts) else part, combination)
        character = char_of_keysym(keysym)
        if character is not None:
            if shifted or SHIFTS.intersection(keysyms):
                keysym = keysym_of_char(character.translate(_WITH_SHIFT))
            elif needs_shift(character):
                keysyms.append(SHIFT)
        if keysym in keysyms:
            raise InvalidInput(f"The combination {combination!r} names a key twice.")
        keysyms.append(keysym)
    return tuple(keysyms)


def needs_shift(character: str) -> bool:
    """Whether Shift must be held for a character to arrive as it is.

    Upper case beyond the US layout needs it too: the server binds both cases to one spare key (``lib/xorg.c``), where
    the plain key gives the small letter.
    """
    return char_needs_shift(character) or (not character.isascii() and character.isupper())


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


def checked_text(text: str) -> str:
    """A text to type, each line break, however spelled, as one line feed.

    Raises :class:`~neko_trio.errors.InvalidInput` for what is no text, and for control characters.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"Text to type is a str, not {type(text).__name__}.")
    text = re.sub(r"\r\n?", "\n", text)
    wrong = _NOT_TYPED.search(text)
    if wrong is not None:
        raise InvalidInput(
            f"The text cannot be typed: U+{ord(wrong[0]):04X}, its character {wrong.start()}, is none that is written.",
            hint="Of the control characters a text may have line breaks and tabs; press() presses other keys.",
        )
    return text


def text_plans(keys: Iterable[Key], size: int) -> Iterator[list[ClientMessage]]:
    """Plans of at most ``size`` characters. Shift is held only where it is needed, and never over a plan's end."""
    rest = iter(keys)
    while chunk := list(islice(rest, size)):
        plan: list[ClientMessage] = []
        shifted = False
        for keysym, with_shift in chunk:
            if with_shift is not shifted:
                plan.append(KeyDown(SHIFT) if with_shift else KeyUp(SHIFT))
                shifted = with_shift
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
    except Malformed as error:
        raise InvalidInput(
            f"{name!r} in {combination!r} cannot be pressed: {error.reason}.",
            hint="Use X.Org's names (Return, Page_Up, F5) or common ones (enter, pageup, ctrl).",
        ) from None
