"""What this session holds down: keys and buttons, counted where holding them twice makes sense."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from neko_trio.errors import InvalidInput
from neko_trio.protocol.data_channel import ButtonDown, ButtonUp, ClientMessage, KeyDown, KeyUp

MODIFIERS = frozenset(
    {0xFFE1, 0xFFE2, 0xFFE3, 0xFFE4, 0xFFE7, 0xFFE8, 0xFFE9, 0xFFEA, 0xFFEB, 0xFFEC, 0xFFED, 0xFFEE, 0xFE03, 0xFE11}
)
"""Keysyms that only change what other keys mean: Shift, Control, Meta, Alt, Super, Hyper, level 3 and level 5."""

Release = KeyUp | ButtonUp


class Held:
    """The keys and buttons that are down, oldest first. A value: :meth:`after` makes a new one.

    The server refuses a second down without an up in between, and an up without a down, both silently (its
    ``pkg/xorg/xorg.go``). So an overlapping hold of a modifier is counted here and sent once, and any other such
    message is an error before it leaves.
    """

    def __init__(self, counts: dict[Release, int] | None = None) -> None:
        self._counts: dict[Release, int] = counts or {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def releases(self) -> tuple[Release, ...]:
        """The messages that let go of everything, newest first."""
        return tuple(reversed(self._counts))

    def after(self, plan: Iterable[ClientMessage]) -> tuple[list[ClientMessage], Held]:
        """Those messages of ``plan`` that must be sent, and what is held once they are.

        Raises :class:`~neko_trio.errors.InvalidInput` for what the server would drop.
        """
        counts = dict(self._counts)
        messages: list[ClientMessage] = []
        for message in plan:
            match message:
                case KeyDown(keysym=code):
                    send = _press(counts, KeyUp(code), code in MODIFIERS)
                case ButtonDown(code=code):
                    send = _press(counts, ButtonUp(code), False)
                case KeyUp() | ButtonUp():
                    if message not in counts:
                        raise InvalidInput(f"{_name(message)} is not held by this session: there is nothing to let go.")
                    send = _let_go(counts, message)
                case _:
                    send = True
            if send:
                messages.append(message)
        return messages, Held(counts)

    def without(self, releases: Sequence[Release]) -> tuple[list[ClientMessage], Held]:
        """Like :meth:`after` for messages that let go, except that what is not held any more is left out."""
        counts = dict(self._counts)
        messages: list[ClientMessage] = [key for key in releases if key in counts and _let_go(counts, key)]
        return messages, Held(counts)

    def joined(self, other: Held) -> Held:
        """What is held in either: the truth lies between the two."""
        return Held({**self._counts, **other._counts})


def _press(counts: dict[Release, int], key: Release, overlaps: bool) -> bool:
    if key not in counts:
        counts[key] = 1
        return True
    if not overlaps:
        raise InvalidInput(f"{_name(key)} is held down already: the server would ignore a second press.")
    counts[key] += 1
    return False


def _let_go(counts: dict[Release, int], key: Release) -> bool:
    counts[key] -= 1
    if counts[key]:
        return False
    del counts[key]
    return True


def _name(key: Release) -> str:
    return f"Mouse button {key.code}" if isinstance(key, ButtonUp) else f"Key 0x{key.keysym:x}"
