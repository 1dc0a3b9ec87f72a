"""Text and keys over real sockets, as a program reads them: the embedded desktop's, or an XTerm on a real server.

With ``--neko-url`` the XTerm runs on that server's screen: ``--neko-display`` names its X display.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from neko_trio import InvalidInput, NotAllowed, Session
from neko_trio.desktop.key_map import Layout
from neko_trio.testing import TestServer
from tests.integration.terminal import Embedded, Terminal, display, open_terminal

__all__ = ["display"]

pytestmark = pytest.mark.real_time

WITHIN = 90.0
"""Seconds for a test: others may be host of a shared server for a while."""

GREEK = "αβγδεζηθικλμνξοπρστυφχψω"
MIXED = (
    "The quick brown Fox: 0123456789 ~!@#$%^&*()_+{}|<>?`-=[]\\;',./ Grüße, ÆØÅ, " + GREEK + " Привет €§ 日本語 👋🏽 ǅ"
)


def thousand_characters() -> str:
    """1,000 characters of mixed Unicode in lines."""
    lines = "\n".join(f"{number} {MIXED}" for number in range(10))
    return lines[:1000]


@pytest.fixture
async def terminal(neko_simulator: TestServer, neko_session: Session, display: str | None) -> AsyncIterator[Terminal]:
    """A program that is typed into, in the hands of ``neko_session``."""
    with trio.fail_after(WITHIN):
        async with (
            neko_session.control(wait=True),
            open_terminal(neko_simulator, display, neko_session) as opened,
        ):
            neko_session.keyboard.paste_chord = opened.paste_chord
            yield opened


async def test_typed_text_arrives_byte_for_byte(neko_session: Session, terminal: Terminal) -> None:
    for text in ("A!é€👋Ω", "Hello, World! ~`\\|\nTwo", "éÉüÜßяЯ\n", "x" * 500):
        await neko_session.keyboard.type(text, paste=False)
        await terminal.until(text)


async def test_freeing_the_spare_keycodes_spoils_nothing_that_is_being_read(
    neko_session: Session, terminal: Terminal
) -> None:
    for _ in range(5):
        neko_session._parts.key_map.forget()  # as if another had been host
        await neko_session.keyboard.type("plain text " * 20)
        await neko_session.keyboard.type("é👋 and on")
        await terminal.until("plain text " * 20 + "é👋 and on")


async def test_a_thousand_characters_of_mixed_unicode(neko_session: Session, terminal: Terminal) -> None:
    text = thousand_characters()
    assert len(text) == 1000
    await neko_session.clipboard.write("what was there")
    await neko_session.keyboard.type(text)
    await terminal.until(text)
    assert await neko_session.clipboard.read() == "what was there"
    with pytest.raises(InvalidInput, match="spare keycodes"):
        await neko_session.keyboard.type(text, paste=False)


async def test_pasted_at_once(neko_session: Session, terminal: Terminal) -> None:
    text = (MIXED + "\n") * 40
    for _ in range(3):
        await neko_session.keyboard.type(text, paste=True)
        await neko_session.keyboard.type("typed behind it")
        await terminal.until(text + "typed behind it")


async def test_what_others_have_used_up_is_free_again(
    neko_session: Session, neko_simulator: TestServer, terminal: Terminal
) -> None:
    neko_session.keyboard.spare_keycodes = None  # as a client that does not count
    await neko_session.keyboard.type(GREEK)
    await neko_session.flush()
    await trio.sleep(1)  # XTerm reads it
    neko_session.keyboard.spare_keycodes = 12
    neko_session._parts.key_map.forget()  # as if another had been host
    if isinstance(terminal, Embedded):
        await terminal.until(GREEK[:19])
    else:
        with pytest.raises(AssertionError):
            await terminal.until(GREEK)  # some are lost, as many as there were too few spare keycodes
    await neko_session.keyboard.type("Привет", paste=False)
    await terminal.until("Привет")


async def test_a_layout_of_another_country(neko_session: Session, terminal: Terminal) -> None:
    keyboard = neko_session.keyboard
    before = await keyboard.layout()
    text = "zy ZY / ? üÖß (a+b) * 'c' \"d\" #<>|"
    try:
        await keyboard.set_layout("de")
        assert await keyboard.layout() == Layout("de", "")
        await keyboard.type(text, paste=False)
        await terminal.until(text)
        await keyboard.set_layout("ru")
        await keyboard.type("Съешь ещё этих мягких французских булок, да выпей же чаю.", paste=False)
        await terminal.until("Съешь ещё этих мягких французских булок, да выпей же чаю.")
        with pytest.raises(InvalidInput, match="nowhere"):
            await keyboard.set_layout("nowhere")
    finally:
        with trio.move_on_after(5, shield=True):
            await keyboard.set_layout(before.name, variant=before.variant)


async def test_caps_lock(neko_session: Session, terminal: Terminal) -> None:
    keyboard = neko_session.keyboard
    try:
        await keyboard.set_modifiers(capslock=True)
        assert (await keyboard.modifiers())["capslock"]
        await keyboard.type("aBc 1!")
        await terminal.until("aBc 1!")
    finally:
        with trio.move_on_after(5, shield=True):
            await keyboard.set_modifiers(capslock=False)
    assert not (await keyboard.modifiers())["capslock"]
    await keyboard.type("aBc")
    await terminal.until("aBc")


async def test_chords(neko_session: Session, terminal: Terminal) -> None:
    """As xterm's control sequences have them."""
    if isinstance(terminal, Embedded):
        await neko_session.keyboard.type("one")
        await neko_session.keyboard.press("Left")
        await neko_session.keyboard.press("shift+a")
        await terminal.until("onAe")
        return
    keys = {
        "ctrl+a": "\x01",
        "CTRL+SHIFT+ARROWLEFT": "\x1b[1;6D",
        "alt+Left": "\x1b[1;3D",
        "shift+Tab": "\x1b[Z",
        "Escape": "\x1b",
        "F5": "\x1b[15~",
        "Page_Up": "\x1b[5~",
        "BackSpace": "\x7f",
        "DELETE": "\x1b[3~",
        "ENTER": "\r",
        "shift+1": "!",
        "A": "A",
        "é": "é",
    }
    for chord, sequence in keys.items():
        await neko_session.keyboard.press(chord)
        await neko_session.flush()
        await terminal.until(sequence)


async def test_a_hold_outlasts_the_servers_patience(neko_session: Session, terminal: Terminal) -> None:
    async with neko_session.keyboard.hold("shift"):
        await trio.sleep(12)
        await neko_session.keyboard.press("shift+1")
        await neko_session.flush()
    await neko_session.keyboard.type("a")
    await terminal.until("!a")


async def test_cancelled_nothing_stays_down_and_the_clipboard_is_put_back(
    neko_session: Session, terminal: Terminal
) -> None:
    await neko_session.clipboard.write("what was there")
    for hundredth in range(0, 40, 5):
        with trio.move_on_after(hundredth / 100):
            await neko_session.keyboard.type(f"{GREEK}\n{GREEK}")
        assert await neko_session.clipboard.read() == "what was there"
    await neko_session.flush()
    assert neko_session._parts.inputs.held == ()


async def test_what_cannot_be_typed(neko_session: Session, terminal: Terminal) -> None:
    for wrong in ("a\x00", "a\x1b[A", "a\ud800"):
        with pytest.raises(InvalidInput):
            await neko_session.keyboard.type(wrong)
        with pytest.raises(InvalidInput):
            await neko_session.keyboard.type(wrong, paste=True)
    with pytest.raises(InvalidInput):
        await neko_session.keyboard.press("ctrl+nosuchkey")
    await neko_session.keyboard.type("b")
    await terminal.until("b")


async def test_without_the_role(neko_session: Session) -> None:
    keyboard = neko_session.keyboard
    assert (await keyboard.layout()).name
    assert set(await keyboard.modifiers()) == {
        *("shift", "capslock", "control", "alt", "numlock", "meta", "super", "altgr"),
    }
    if neko_session.state.host is None:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: keyboard.type("x"),
            lambda: keyboard.type("x", paste=True),
            lambda: keyboard.set_layout("de"),
            lambda: keyboard.set_modifiers(capslock=True),
        ]
        for call in calls:
            with pytest.raises(NotAllowed, match="not host"):
                await call()
