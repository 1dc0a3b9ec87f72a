"""Keysyms of characters and names; the table against the headers it was made from."""

from __future__ import annotations

import runpy
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.protocol import Malformed, keysym_table
from neko_trio.protocol.keysyms import char_needs_shift, char_of_keysym, keysym_of_char, keysym_of_name

GENERATOR = runpy.run_path(str(Path(__file__).with_name("generate_keysyms.py")))


def test_the_table_is_what_the_headers_say() -> None:
    if not (GENERATOR["HEADERS"] / "XF86keysym.h").exists():
        pytest.skip("the X.Org headers are not installed")
    of_headers = GENERATOR["keysyms"]()
    words = keysym_table.KEYSYMS.split()
    table = {name: int(value, 16) for name, value in zip(words[::2], words[1::2], strict=True)}
    # Another version of the headers may know more or fewer names, but a name never changes its value.
    both = table.keys() & of_headers.keys()
    assert len(both) >= 2400
    assert {name: table[name] for name in both} == {name: of_headers[name] for name in both}


@pytest.mark.parametrize(
    ("char", "keysym"),
    [
        ("a", 0x61),
        ("A", 0x41),
        (" ", 0x20),
        ("é", 0xE9),
        ("ÿ", 0xFF),
        ("€", 0x010020AC),
        ("😀", 0x0101F600),
        ("\n", 0xFF0D),
        ("\r", 0xFF0D),
        ("\t", 0xFF09),
        ("\b", 0xFF08),
        ("\x1b", 0xFF1B),
        ("\x7f", 0xFFFF),
    ],
)
def test_characters(char: str, keysym: int) -> None:
    assert keysym_of_char(char) == keysym


@pytest.mark.parametrize("char", ["", "ab", "e\u0301", "\x00", "\x80", "\ud83d"])
def test_what_no_key_types(char: str) -> None:
    with pytest.raises(Malformed):
        keysym_of_char(char)


@given(st.characters(exclude_categories=["Cs", "Cc"]))
def test_a_character_comes_back(char: str) -> None:
    assert char_of_keysym(keysym_of_char(char)) == char
    assert keysym_of_name(char) == keysym_of_char(char)


@given(st.integers(0, 2**32 - 1))
def test_any_keysym_has_a_character_or_none(keysym: int) -> None:
    char = char_of_keysym(keysym)
    assert char is None or keysym_of_char(char) in (keysym, keysym - 0x01000000)


def test_keys_without_a_character() -> None:
    assert char_of_keysym(keysym_of_name("Return")) is None
    assert char_of_keysym(keysym_of_name("F1")) is None
    assert char_of_keysym(0x0100D800) is None
    assert char_of_keysym(0x010000E9) == "é"


@pytest.mark.parametrize(
    ("name", "keysym"),
    [
        ("Return", 0xFF0D),
        ("XK_Return", 0xFF0D),
        ("RETURN", 0xFF0D),
        ("enter", 0xFF0D),
        ("Ctrl", 0xFFE3),
        ("CONTROL", 0xFFE3),
        ("Control_R", 0xFFE4),
        ("shift", 0xFFE1),
        ("alt", 0xFFE9),
        ("altgr", 0xFE03),
        ("super", 0xFFEB),
        ("win", 0xFFEB),
        ("esc", 0xFF1B),
        ("pageup", 0xFF55),
        ("Page Up", 0xFF55),
        ("page-down", 0xFF56),
        ("PgDn", 0xFF56),
        ("backspace", 0xFF08),
        ("del", 0xFFFF),
        ("ArrowLeft", 0xFF51),
        ("space", 0x20),
        ("plus", 0x2B),
        ("+", 0x2B),
        ("F12", 0xFFC9),
        ("f12", 0xFFC9),
        ("Eacute", 0xC9),
        ("eacute", 0xE9),
        ("EuroSign", 0x20AC),
        ("U20AC", 0x010020AC),
        ("U+00E9", 0xE9),
        ("XF86AudioMute", 0x1008FF12),
        ("KP_Enter", 0xFF8D),
    ],
)
def test_names(name: str, keysym: int) -> None:
    assert keysym_of_name(name) == keysym


@pytest.mark.parametrize("name", ["", "nonsense", "EACUTE", "U110000", "Ud800", "U0000", "ctrl+c"])
def test_names_that_mean_no_key(name: str) -> None:
    with pytest.raises(Malformed):
        keysym_of_name(name)


def test_every_name_of_the_table_means_its_key() -> None:
    words = keysym_table.KEYSYMS.split()
    for name, value in zip(words[::2], words[1::2], strict=True):
        assert keysym_of_name(name) == int(value, 16)


def test_shift_on_the_us_layout() -> None:
    shifted = {char for char in map(chr, range(0x20, 0x7F)) if char_needs_shift(char)}
    assert shifted == set(string.ascii_uppercase) | set('~!@#$%^&*()_+{}|:"<>?')
    assert not char_needs_shift("É")
