from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.desktop.key_map import Layout, only_pasted, spare_key
from neko_trio.desktop.keys import SHIFT, Key, checked_text, keys_of, modifiers_of, text_plans
from neko_trio.errors import InvalidInput
from neko_trio.protocol.data_channel import KeyDown, KeyUp
from neko_trio.protocol.layout_table import LAYOUTS

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


def test_a_line_break_is_one_however_it_is_spelled() -> None:
    assert checked_text("a\r\nb\nc\rd\t") == "a\nb\nc\nd\t"


@pytest.mark.parametrize("wrong", ["a\x00", "\x1b", "\b", "\x7f", "\x9f", "\udc00", b"bytes", 5])
def test_what_cannot_be_typed(wrong: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked_text(wrong)
    if isinstance(wrong, str):
        assert "line breaks and tabs" in str(caught.value)


def us(char: str) -> Key:
    return Layout("us").key(char) or spare_key(char)


def test_shift_is_held_over_a_run_and_let_go_at_the_end_of_a_plan() -> None:
    plans = list(text_plans(map(us, "aBCd!"), 3))
    a, b, c, d, exclam = (ord(char) for char in "aBCd!")
    assert plans == [
        [KeyDown(a), KeyUp(a), KeyDown(SHIFT), KeyDown(b), KeyUp(b), KeyDown(c), KeyUp(c), KeyUp(SHIFT)],
        [KeyDown(d), KeyUp(d), KeyDown(SHIFT), KeyDown(exclam), KeyUp(exclam), KeyUp(SHIFT)],
    ]


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Lt"))), st.integers(1, 50))
def test_every_plan_types_its_characters_and_leaves_nothing_down(text: str, size: int) -> None:
    typed: list[int] = []
    for plan in text_plans(map(us, text), size):
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


@pytest.mark.parametrize(
    ("layout", "char", "key"),
    [
        ("us", "a", Key(ord("a"), False)),
        ("us", "?", Key(ord("?"), True)),
        ("us", "é", None),
        ("de", "ü", Key(0xFC, False)),
        ("de", "/", Key(ord("/"), True)),
        ("fr", "1", Key(ord("1"), True)),
        ("ru", "я", Key(0x6D1, False)),  # Cyrillic_ya: the keysym of the key, not the one of the Unicode rule
        ("ru", "Я", Key(0x6F1, True)),
        ("ru", "a", None),
        ("gb", "£", Key(0xA3, True)),
        ("nowhere", "a", None),
    ],
)
def test_what_a_layout_gives(layout: str, char: str, key: Key | None) -> None:
    assert Layout(layout).key(char) == key
    assert Layout(layout, "variant").key(char) is None


def test_no_layout_says_two_things_of_a_character() -> None:
    for plain, shifted in LAYOUTS.values():
        assert len(plain) + len(shifted) == len({*plain, *shifted})


def test_a_character_with_three_cases_has_no_key() -> None:
    assert only_pasted("ǅ")
    assert not any(map(only_pasted, "Ǆǆaé👋"))
