"""What this session holds down: keys, buttons and fingers, counted where holding them twice makes sense."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from neko_trio.errors import InvalidInput
from neko_trio.protocol.data_channel import (
    ButtonDown,
    ButtonUp,
    ClientMessage,
    KeyDown,
    KeyUp,
    TouchBegin,
    TouchEnd,
    TouchUpdate,
)

MODIFIERS = frozenset(
    {0xFFE1, 0xFFE2, 0xFFE3, 0xFFE4, 0xFFE7, 0xFFE8, 0xFFE9, 0xFFEA, 0xFFEB, 0xFFEC, 0xFFED, 0xFFEE, 0xFE03, 0xFE11}
)
"""Keysyms that only change what other keys mean: Shift, Control, Meta, Alt, Super, Hyper, level 3 and level 5."""

Release = KeyUp | ButtonUp | TouchEnd


class Held:
    """The keys, buttons and fingers that are down, oldest first. A value: :meth:`after` makes a new one.

    The server refuses a second down without an up in between, and an up without a down, both silently (its
    ``pkg/xorg/xorg.go`` and ``pkg/xinput/xinput.go``). So an overlapping hold of a modifier is counted here and sent
    once, and any other such message is an error before it leaves.
    """

    def __init__(self, counts: dict[Release, int] | None = None, lifts: dict[Release, TouchEnd] | None = None) -> None:
        self._counts: dict[Release, int] = counts or {}  # a finger's key says which, not where: see which()
        self._lifts: dict[Release, TouchEnd] = lifts or {}  # where each finger is

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def releases(self) -> tuple[Release, ...]:
        """The messages that let go of everything, newest first."""
        return tuple(self._lifts.get(key, key) for key in reversed(self._counts))

    def has(self, release: Release) -> bool:
        """Whether what this would let go of is held."""
        return which(release) in self._counts

    def after(self, plan: Iterable[ClientMessage]) -> tuple[list[ClientMessage], Held]:
        """Those messages of ``plan`` that must be sent, and what is held once they are.

        Raises :class:`~neko_trio.errors.InvalidInput` for what the server would drop.
        """
        counts, lifts = dict(self._counts), dict(self._lifts)
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
                case TouchBegin(touch_id, x, y):
                    send = _press(counts, _finger(touch_id), False)
                    lifts[_finger(touch_id)] = TouchEnd(touch_id, x, y, 0)
                case TouchUpdate(touch_id, x, y) | TouchEnd(touch_id, x, y):
                    finger = _finger(touch_id)
                    if finger not in counts:
                        raise InvalidInput(f"{_name(finger)} is not down: there is nothing to move or to lift.")
                    lifts[finger] = TouchEnd(touch_id, x, y, 0)
                    send = isinstance(message, TouchUpdate) or _let_go(counts, finger)
                    if finger not in counts:
                        del lifts[finger]
                case _:
                    send = True
            if send:
                messages.append(message)
        return messages, Held(counts, lifts)

    def without(self, releases: Sequence[Release]) -> tuple[list[ClientMessage], Held]:
        """Like :meth:`after` for messages that let go, except that what is not held any more is left out, and that a
        finger is lifted where it is."""
        counts, lifts = dict(self._counts), dict(self._lifts)
        messages: list[ClientMessage] = []
        for release in releases:
            key = which(release)
            if key in counts and _let_go(counts, key):
                messages.append(lifts.pop(key, key))  # a finger is lifted where it is
        return messages, Held(counts, lifts)

    @property
    def keys(self) -> Held:
        """The keys alone: what can be pressed again later. A button or a finger pressed again is another gesture."""
        return Held({key: count for key, count in self._counts.items() if isinstance(key, KeyUp)})

    @property
    def presses(self) -> tuple[KeyDown, ...]:
        """The messages that would press its keys, oldest first."""
        return tuple(KeyDown(key.keysym) for key in self._counts if isinstance(key, KeyUp))

    def joined(self, other: Held) -> Held:
        """What is held in either: the truth lies between the two."""
        counts = {key: max(self._counts.get(key, 0), count) for key, count in other._counts.items()}
        return Held({**self._counts, **counts}, {**self._lifts, **other._lifts})


def which(release: Release) -> Release:
    """Stands for the key, the button or the finger alone: a finger is the same one wherever it is lifted."""
    return _finger(release.touch_id) if isinstance(release, TouchEnd) else release


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


def _finger(touch_id: int) -> TouchEnd:
    return TouchEnd(touch_id, 0, 0, 0)


def _name(key: Release) -> str:
    if isinstance(key, TouchEnd):
        return f"Finger {key.touch_id % 16}"  # see desktop/touch.py
    return f"Mouse button {key.code}" if isinstance(key, ButtonUp) else f"Key 0x{key.keysym:x}"
