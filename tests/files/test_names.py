"""Names of files: what the server keeps under just that name, and what is written here inside of the folder."""

from __future__ import annotations

import os
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neko_trio.desktop.file_names import check_local_name, check_name
from neko_trio.errors import InvalidInput

PIECES = [*'ab.~-_ /\\:*?"<>|\0\r\n\t\x7f\x85$%é👋', "\ud800", "..", "con", "nul"]
NASTY = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
NAMES = st.text(max_size=300) | NASTY

BAD = {
    "": "empty",
    "a/b": "path",
    "/": "path",
    "/etc/passwd": "path",
    "../../x": "path",
    "..": "dot",
    ".": "dot",
    "a..": "dot",
    "a\0b": "control",
    "a\nb": "control",
    "a\r": "control",
    "\x7f": "control",
    "\x85": "control",
    "\ud800": "surrogate",
    "a" * 256: "256 bytes",
    "é" * 128: "256 bytes",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_says_why_and_what_is_allowed(name: str) -> None:
    with pytest.raises(InvalidInput, match=BAD[name]) as caught:
        check_name(name)
    assert "1 to 255 bytes of UTF-8" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", [None, 7, b"bytes", ["a"]])
def test_a_name_is_a_text(name: object) -> None:
    with pytest.raises(InvalidInput, match="text"):
        check_name(name)


@pytest.mark.parametrize(
    "name",
    ["a", ".bashrc", "a.tar.gz", "a b", "..a", "a..b", "é" * 127, "👋", 'a"b', "a\\b", "100%", "a;b=c&d", "a" * 255],
)
def test_a_good_name_stays_as_it_is(name: str) -> None:
    assert check_name(name) == name


def go_keeps(name: str) -> bool:
    """Whether the server's rules leave the name alone: `filepath.Base`, the pattern of bad names, a form's header."""
    base = name.rstrip("/").rpartition("/")[2] if name.strip("/") else ""
    return base == name and name != "." and not name.endswith("..")


@given(NAMES)
@example("..")
def test_what_passes_is_kept_by_the_server_under_just_that_name(name: str) -> None:
    try:
        assert check_name(name) == name
    except InvalidInput:
        return
    assert go_keeps(name)
    assert name.isprintable() or not any(ord(char) < 32 for char in name)
    assert 1 <= len(os.fsencode(name)) <= 255


@given(NAMES, st.booleans())
@example("folder/name", False)
@example("C:name", True)
def test_what_is_written_here_is_in_the_folder(name: str, windows: bool) -> None:
    """On either kind of system the name is one part of a path, and not one that leads anywhere else."""
    try:
        check_local_name(name, windows=windows)
    except InvalidInput:
        return
    kind = PureWindowsPath if windows else PurePosixPath
    folder = kind("C:/folder") if windows else kind("/folder")
    joined = folder / name
    assert joined.parent == folder
    assert joined.name == name
    assert ".." not in joined.parts


@pytest.mark.parametrize(
    "name",
    [
        "con",
        "CON",
        "Nul.txt",
        "aux.tar.gz",
        "com1",
        "LPT9.x",
        "com¹",
        "conin$",
        "prn .txt",
        "a:b",
        "c:\\x",
        "a?",
        "x.",
        "x ",
    ],
)
def test_what_windows_gives_a_meaning_is_not_written_there(name: str) -> None:
    with pytest.raises(InvalidInput, match="Windows") as caught:
        check_local_name(name, windows=True)
    assert "save_as" in str(caught.value)
    assert check_local_name(name, windows=False) == name


@pytest.mark.parametrize("name", ["console", "com", "com10", "lpt", "auxiliary", "nulls.txt", "a.con"])
def test_what_only_looks_like_a_device_is_written(name: str) -> None:
    assert check_local_name(name, windows=True) == name
