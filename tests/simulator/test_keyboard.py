"""What a key types at the simulated X server: by the layout, Shift, the locks and the spare keycodes."""

from __future__ import annotations

import pytest

from neko_trio.simulator._keyboard import SPARE_KEYCODES, Keyboard

SHIFT, CAPS_LOCK = 0xFFE1, 0xFFE5


@pytest.mark.parametrize(
    ("held", "keysym", "typed"),
    [
        ((), ord("a"), "a"),
        ((SHIFT,), ord("A"), "A"),
        ((SHIFT,), ord("!"), "!"),
        ((CAPS_LOCK,), ord("A"), "A"),
        ((CAPS_LOCK, SHIFT), ord("a"), "a"),
        ((CAPS_LOCK,), ord("1"), "1"),
        # Not what the key gives with the modifiers as they are: a spare keycode takes the pair of cases.
        ((), ord("A"), "a"),
        ((SHIFT,), ord("a"), "A"),
        ((), ord("!"), "!"),
        ((), 0xE4, "ä"),
        ((SHIFT,), 0xE4, "Ä"),
    ],
)
def test_a_key_types_what_the_modifiers_make_of_it(held: tuple[int, ...], keysym: int, typed: str) -> None:
    keyboard = Keyboard()
    for modifier in held:
        assert keyboard.press(modifier) == ""
    assert keyboard.press(keysym) == typed


def test_without_a_spare_keycode_a_key_is_lost() -> None:
    keyboard = Keyboard()
    for number in range(SPARE_KEYCODES):
        assert keyboard.press(0x01004E00 + number) == chr(0x4E00 + number)
    assert keyboard.press(0x01005E00) is None
    assert keyboard.lost == 1
    assert keyboard.press(0x01004E00) == chr(0x4E00), "a character that has its keycode keeps it"
    assert keyboard.press(ord("a")) == "a"


@pytest.mark.parametrize(
    ("layout", "held", "keysym", "spare"),
    [
        ("de", (), 0xFC, False),  # ü
        ("de", (SHIFT,), ord("/"), False),
        ("de", (), ord("/"), True),
        ("ru", (), 0x6D1, False),  # я as Cyrillic_ya, which is on its key
        ("ru", (), 0x0100044F, True),  # and by the Unicode rule, which is not
        ("ru", (), ord("a"), True),
        ("us", (), ord(" "), False),
        ("us", (SHIFT,), ord(" "), False),
    ],
)
def test_a_layout_has_keys_for_some(layout: str, held: tuple[int, ...], keysym: int, spare: bool) -> None:
    keyboard = Keyboard()
    assert keyboard.set_map(layout, "")
    for number in range(SPARE_KEYCODES):
        assert keyboard.press(0x01004E00 + number) == chr(0x4E00 + number)
    for modifier in held:
        keyboard.press(modifier)
    assert (keyboard.press(keysym) is None) is spare


def test_there_are_layouts_that_there_are_not() -> None:
    keyboard = Keyboard()
    assert not keyboard.set_map("nowhere", "")
    assert keyboard.layout == "us"
