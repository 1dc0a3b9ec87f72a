from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.desktop.keys import SHIFT, keys_of, modifiers_of, spare_keys, text_keys, text_plans
from neko_trio.errors import InvalidInput
from neko_trio.protocol.data_channel import KeyDown, KeyUp

CTRL = 0xFFE3


@pytest.mark.parametrize(
    ("combination", "keysyms"),
    [
        ("a", [ord("a")]),
        ("A", [SHIFT, ord("A")]),
        ("ctrl+s", [CTRL, ord("s")]),
        ("Ctrl+S", [CTRL, ord("s")]),
        ("ctrl + s", [CTRL, ord("s")]),
        ("ctrl+shift+t", [CTRL, SHIFT, ord("T")]),
        ("shift+1", [SHIFT, ord("!")]),
        ("shift+\\", [SHIFT, ord("|")]),
        ("ctrl+?", [CTRL, SHIFT, ord("?")]),
        ("+", [SHIFT, ord("+")]),
        ("ctrl++", [CTRL, SHIFT, ord("+")]),
        ("ctrl+plus", [CTRL, SHIFT, ord("+")]),
        ("ctrl+-", [CTRL, ord("-")]),
        ("Return", [0xFF0D]),
        ("ENTER", [0xFF0D]),
        ("Page_Up", [0xFF55]),
        ("F5", [0xFFC2]),
        ("shift+Tab", [SHIFT, 0xFF09]),
        (" ", [0x20]),
        ("ctrl+ ", [CTRL, 0x20]),
        ("ß", [0xDF]),
        ("É", [SHIFT, 0xC9]),
        ("Я", [SHIFT, 0x0100042F]),
        ("👋", [0x0101F44B]),
        ("ctrl", [CTRL]),
    ],
)
def test_keys_of(combination: str, keysyms: list[int]) -> None:
    assert list(keys_of(combination)) == keysyms


@pytest.mark.parametrize("wrong", ["", "ctrl+", "+ctrl", "ctrl++s", "ctrl+nosuchkey", "a+a", "\ud800", None, 7])
def test_what_is_no_combination(wrong: str) -> None:
    with pytest.raises(InvalidInput):
        keys_of(wrong)


def test_modifiers_of() -> None:
    assert modifiers_of(()) == modifiers_of("") == ()
    assert modifiers_of("ctrl+shift") == modifiers_of(["ctrl", "shift"]) == (CTRL, SHIFT)
    assert modifiers_of(["ctrl", "control"]) == (CTRL,)
    with pytest.raises(InvalidInput):
        modifiers_of([1])  # type: ignore[list-item]


def test_a_line_break_is_one_return_however_it_is_spelled() -> None:
    assert [keysym for keysym, _ in text_keys("a\r\nb\nc\rd\t")] == [97, 0xFF0D, 98, 0xFF0D, 99, 0xFF0D, 100, 0xFF09]


@pytest.mark.parametrize("wrong", ["a\x00", "\x9f", "\udc00", b"bytes", 5])
def test_what_cannot_be_typed(wrong: str) -> None:
    with pytest.raises(InvalidInput):
        text_keys(wrong)


def test_shift_is_held_over_a_run_and_let_go_at_the_end_of_a_plan() -> None:
    plans = list(text_plans(text_keys("aBCd!"), 3))
    a, b, c, d, exclam = (ord(char) for char in "aBCd!")
    assert plans == [
        [KeyDown(a), KeyUp(a), KeyDown(SHIFT), KeyDown(b), KeyUp(b), KeyDown(c), KeyUp(c), KeyUp(SHIFT)],
        [KeyDown(d), KeyUp(d), KeyDown(SHIFT), KeyDown(exclam), KeyUp(exclam), KeyUp(SHIFT)],
    ]


def test_both_cases_share_a_spare_key() -> None:
    assert spare_keys("Grüße, ÜBER 👋") == {"ü", "ß", "👋"}


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))), st.integers(1, 50))
def test_every_plan_types_its_characters_and_leaves_nothing_down(text: str, size: int) -> None:
    typed: list[int] = []
    for plan in text_plans(text_keys(text), size):
        down: set[int] = set()
        for message in plan:
            if isinstance(message, KeyDown):
                assert message.keysym not in down
                down.add(message.keysym)
                if message.keysym != SHIFT:
                    character = chr(message.keysym - 0x01000000 if message.keysym > 0xFFFF else message.keysym)
                    upper = character.isupper() or character in '~!@#$%^&*()_+{}|:"<>?'
                    assert (SHIFT in down) is upper
                    typed.append(ord(character))
            else:
                assert isinstance(message, KeyUp)
                down.remove(message.keysym)
        assert not down
    assert typed == [ord(char) for char in text]
