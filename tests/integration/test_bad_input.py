"""Bad input: a typed error at once that says what is allowed, and nothing has left the client.

The journal of the embedded server proves the latter; with ``--neko-url`` the errors are those of a real one.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trio

import neko_trio
from neko_trio import Session
from neko_trio.errors import FeatureOff, InvalidInput, NekoError, NotAllowed
from neko_trio.testing import TestServer
from tests.integration.conftest import unique
from tests.integration.test_session import data_channel_open

pytestmark = pytest.mark.real_time

Call = Callable[[Session], Awaitable[object]]
QUESTIONS = ("GET ", "Ping", "send/unicast", "filetransfer/update", "client/heartbeat")
"""What changes nothing: questions, and the barrier behind which their answers are known."""


@dataclass(frozen=True)
class Bad:
    """A call that must not be made. ``says``: what its error must tell of what is allowed (a regular expression)."""

    name: str
    call: Call
    says: str
    error: type[NekoError] = InvalidInput
    asks: bool = False
    """It may ask the server first what there is."""


def context(call: Callable[[Session], object]) -> Call:
    """The same for an async context manager."""

    async def enter(session: Session) -> None:
        async with call(session):  # type: ignore[attr-defined]
            raise AssertionError("it was entered")

    return enter


AS_HOST = [
    # the mouse
    Bad("x outside", lambda s: s.mouse.click(100_000, 5), r"outside the screen.*\d+x\d+"),
    Bad("x negative", lambda s: s.mouse.move(-1, 5), r"outside the screen"),
    Bad("x is the width", lambda s: s.mouse.move(s.state.screen.width, 5), r"outside the screen"),
    Bad("y is the height", lambda s: s.mouse.scroll(5, s.state.screen.height, down=1), r"outside the screen"),
    Bad("a fraction", lambda s: s.mouse.click(10.5, 5), r"whole number"),  # type: ignore[arg-type]
    Bad("no number", lambda s: s.mouse.move(math.nan, 5), r"whole number"),  # type: ignore[arg-type]
    Bad("text for a number", lambda s: s.mouse.move("10", 5), r"whole number"),  # type: ignore[arg-type]
    Bad("x without y", lambda s: s.mouse.click(10), r"both x and y"),
    Bad("an unknown button", lambda s: s.mouse.click(1, 1, button="wheel"), r"left, middle, right"),  # type: ignore[arg-type]
    Bad("no click", lambda s: s.mouse.click(1, 1, count=0), r"1 to 10"),
    Bad("too many clicks", lambda s: s.mouse.click(1, 1, count=11), r"1 to 10"),
    Bad("unknown held keys", lambda s: s.mouse.click(1, 1, keys="hyperspace"), r"hyperspace"),
    Bad("nothing to scroll", lambda s: s.mouse.scroll(1, 1), r"up, down, left or right"),
    Bad("scrolled by pixels", lambda s: s.mouse.scroll(1, 1, down=5000), r"0 to 1000"),
    Bad("scrolled by less than nothing", lambda s: s.mouse.scroll(1, 1, down=-1), r"0 to 1000"),
    Bad("a fraction of a wheel click", lambda s: s.mouse.scroll(1, 1, down=0.5), r"whole number"),  # type: ignore[arg-type]
    Bad("a drag of one point", lambda s: s.mouse.drag([(1, 1)]), r"two|point"),
    Bad("a drag that leaves the screen", lambda s: s.mouse.drag([(1, 1), (1, 10**6)]), r"outside the screen"),
    Bad("a drag between pixels", lambda s: s.mouse.drag([(1, 1), (1.5, 2)]), r"whole number"),  # type: ignore[list-item]
    Bad("a drag in no steps", lambda s: s.mouse.drag([(1, 1), (9, 9)], steps=0), r"\d"),
    Bad("a button that is not held", lambda s: s.mouse.up(1, 1), r"not held"),
    # the keyboard
    Bad("an unknown key", lambda s: s.keyboard.press("ctrl+nokey"), r"nokey"),
    Bad("no key", lambda s: s.keyboard.press(""), r"\w"),
    Bad("half a combination", lambda s: s.keyboard.press("ctrl+"), r"\w"),
    Bad("an unknown key held", context(lambda s: s.keyboard.hold("nokey")), r"nokey"),
    Bad("a control character", lambda s: s.keyboard.type("secret\x07"), r"U\+0007|\\x07|control"),
    Bad("escape in a text", lambda s: s.keyboard.type("secret\x1b[A"), r"U\+001B|\\x1b|control"),
    Bad("a lone surrogate", lambda s: s.keyboard.type("secret\ud800"), r"surrogate|D800|Unicode"),
    Bad("no text", lambda s: s.keyboard.type(42), r"text|str"),  # type: ignore[arg-type]
    Bad("an unknown layout", lambda s: s.keyboard.set_layout("no layout!"), r"layout"),
    Bad("an unknown modifier", lambda s: s.keyboard.set_modifiers(turbo=True), r"turbo|capslock"),
    # touch
    Bad("no touch driver", lambda s: s.touch.tap(5, 5), r"desktop\.input", FeatureOff),
    # the clipboard
    Bad("no text for the clipboard", lambda s: s.clipboard.write(7), r"text|str"),  # type: ignore[arg-type]
    Bad("a lone surrogate pasted", lambda s: s.clipboard.paste("\ud800"), r"surrogate|Unicode"),
    # files
    Bad("dropped beside the screen", lambda s: s.files.drop([("a", b"x")], 10**6, 5), r"outside the screen"),
    Bad("dropped nothing", lambda s: s.files.drop([], 200, 200), r"file"),
    Bad("a path in a dropped name", lambda s: s.files.drop([("../a", b"x")], 200, 200), r"name"),
    Bad("too large a drop", lambda s: s.files.drop([("a", b"x" * 11)], 200, 200, limit=10), r"10 bytes|limit"),
    Bad("a link that is none", lambda s: s.open_link("not a link"), r"http|link"),
    Bad("a link to a file", lambda s: s.open_link("file:///etc/passwd"), r"http"),
]
"""With the host role, of which only the call is wrong."""

ANYBODY = [
    # the screen
    Bad("a region off the screen", lambda s: s.screen.wait_change((0, 0, 10**6, 5)), r"screen"),
    Bad("an empty region", lambda s: s.screen.wait_stable((5, 5, 5, 5)), r"\w"),
    Bad("nothing to match", lambda s: s.screen.wait_match(np.zeros((0, 0, 3), np.uint8)), r"\w"),
    Bad("a stream that is not there", lambda s: s.screen.select("no such stream"), r"main|stream"),
    Bad("a buffer of nothing", context(lambda s: s.screen.frames(buffer=0)), r"\w"),
    Bad("no events kept", context(lambda s: s.events("*", buffer=0)), r"at least 1"),
    # the room
    Bad("a payload that is no JSON", lambda s: s.send_event("send/broadcast", {1: object()}), r"JSON"),
    Bad("a message to nobody", lambda s: s.room.send("nobody", "subject", 1), r"session", asks=True),
    Bad("a log of an unknown level", lambda s: s.room.log("loud", "x"), r"info|level"),
    Bad("a batch of something else", lambda s: s.room.batch([("PATCH", "/api/whoami")]), r"GET, POST"),
    Bad("a batch that leaves the server", lambda s: s.room.batch([("GET", "http://example.org/")]), r"/api/"),
    Bad("a batch in a batch", lambda s: s.room.batch([("POST", "/api/batch", [])]), r"batch"),
    Bad("a patience of nothing", context(lambda s: s.control(regain=0)), r"above 0"),
    # files of the shared folder, before anybody asks whether there is one
    Bad("a path in a file's name", lambda s: s.files.upload(b"x", name="../x"), r"name"),
    Bad("a control character in a name", lambda s: s.files.upload(b"x", name="a\nb"), r"control|name"),
    Bad("too large a file", lambda s: s.files.upload(b"x" * 11, name="x", limit=10), r"10 bytes|limit"),
    Bad("a name that is too long", lambda s: s.files.upload(b"x", name="n" * 300), r"255"),
    Bad("a path to download", lambda s: s.files.download("a/../../b"), r"name"),
    Bad("a path to delete", lambda s: s.files.delete("../x"), r"name"),
]
"""Whoever calls it."""

NO_ROLE = [
    Bad("clicked", lambda s: s.mouse.click(5, 5), r"control\(\)", NotAllowed),
    Bad("dragged", lambda s: s.mouse.drag([(1, 1), (9, 9)]), r"control\(\)", NotAllowed),
    Bad("scrolled", lambda s: s.mouse.scroll(5, 5, down=1), r"control\(\)", NotAllowed),
    Bad("typed", lambda s: s.keyboard.type("secret"), r"control\(\)", NotAllowed),
    Bad("typed what would be pasted", lambda s: s.keyboard.type("secret", paste=True), r"control\(\)", NotAllowed),
    Bad("pressed", lambda s: s.keyboard.press("ctrl+a"), r"control\(\)", NotAllowed),
    Bad("held", context(lambda s: s.keyboard.hold("shift")), r"control\(\)", NotAllowed),
    Bad("changed the layout", lambda s: s.keyboard.set_layout("de"), r"control\(\)", NotAllowed),
    Bad("changed modifiers", lambda s: s.keyboard.set_modifiers(capslock=True), r"control\(\)", NotAllowed),
    Bad("wrote the clipboard", lambda s: s.clipboard.write("secret"), r"control\(\)", NotAllowed),
    Bad("read the clipboard", lambda s: s.clipboard.read(), r"control\(\)", NotAllowed),
    Bad("pasted", lambda s: s.clipboard.paste("secret"), r"control\(\)", NotAllowed),
    Bad("copied", lambda s: s.clipboard.copy(), r"control\(\)", NotAllowed),
    Bad("dropped a file", lambda s: s.files.drop([("a", b"x")], 200, 200), r"control\(\)", NotAllowed),
]
"""Without the host role: the server would drop it silently, or make the sender host."""

NO_RIGHT = [
    Bad("changed settings", lambda s: s.room.change_settings(private_mode=True), r"admin", NotAllowed),
    Bad("read settings", lambda s: s.room.settings(), r"admin", NotAllowed),
    Bad("kicked", lambda s: s.room.disconnect(s.state.session_id), r"admin", NotAllowed),
    Bad("removed", lambda s: s.room.remove("somebody"), r"admin", NotAllowed),
    Bad("took the role", lambda s: s.room.take_control(), r"admin", NotAllowed),
    Bad("reset the role", lambda s: s.room.reset_control(), r"admin", NotAllowed),
    Bad("gave the role away", lambda s: s.room.give_control("somebody"), r"admin", NotAllowed),
    Bad("made a member", lambda s: s.room.members.create("new", "secret"), r"admin", NotAllowed),
    Bad("deleted a member", lambda s: s.room.members.delete("somebody"), r"admin", NotAllowed),
    Bad("broadcast", lambda s: s.room.broadcast.start("rtmp://192.0.2.1/x"), r"admin", NotAllowed),
    Bad("resized the screen", lambda s: s.screen.set_size(640, 480, 25), r"admin", NotAllowed),
    Bad("took a screenshot", lambda s: s.screen.screenshot(), r"admin", NotAllowed),
]
"""As a user, what only admins may."""

OFF = [
    Bad("no shared folder to fill", lambda s: s.files.upload(b"x", name="x"), r"filetransfer", FeatureOff, asks=True),
    Bad("no shared folder to list", lambda s: s.files.list(), r"filetransfer", FeatureOff, asks=True),
    Bad("no shared folder to read", lambda s: s.files.download("x"), r"filetransfer", FeatureOff, asks=True),
    Bad("no links", lambda s: s.open_link("https://example.org/"), r"openinapp", FeatureOff),
    Bad("no screencast", lambda s: s.screen.cast(), r"screencast", FeatureOff),
]
"""What a server with its default settings does not have: who runs it must act."""


async def check(server: TestServer, session: Session, bad: Bad) -> None:
    """The call fails as it must, and has done nothing."""
    await session.flush()
    await session._parts.inputs.ask()
    journal = server.simulator.journal if server.simulator is not None else None
    before = len(journal.select(lambda _entry: True)) if journal is not None else 0
    held = session._parts.inputs.held
    with trio.fail_after(5), pytest.raises(bad.error, match=bad.says) as raised:
        await bad.call(session)
    assert "secret" not in f"{raised.value} {raised.value!r}", "what was typed stands in the error"
    if bad.error is InvalidInput:
        assert isinstance(raised.value, ValueError)
    await session._parts.inputs.ask()
    assert session._parts.inputs.held == held
    if journal is not None:
        left = [entry.event for entry in list(journal)[before:] if entry.direction == "received"]
        allowed = QUESTIONS if bad.asks else ("Ping", "client/heartbeat")
        left.remove("send/unicast")  # the barrier of this test
        assert [event for event in left if not event.startswith(allowed)] == [], "something has left the client"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a download that must fail might write is not left here."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("video", ["live", "off"], ids=["data-channel", "websocket"])
async def test_a_host_who_asks_for_what_cannot_be(neko_simulator: TestServer, video: str) -> None:
    server = neko_simulator
    async with neko_trio.open_session(
        server.url, username=unique("bad"), password=server.password, video=video
    ) as session:
        if video == "live":
            await data_channel_open(session)
        async with session.control():
            await every(server, session, AS_HOST)


async def test_whoever_asks_for_what_cannot_be(neko_simulator: TestServer, neko_session: Session) -> None:
    await data_channel_open(neko_session)
    await every(neko_simulator, neko_session, ANYBODY)


async def test_without_the_host_role(neko_simulator: TestServer, neko_session: Session) -> None:
    await every(neko_simulator, neko_session, NO_ROLE)
    assert neko_session.state.host is None


async def test_without_the_right(neko_simulator: TestServer, neko_session: Session) -> None:
    await every(neko_simulator, neko_session, NO_RIGHT)


async def test_what_the_server_does_not_have(neko_simulator: TestServer) -> None:
    """Of an admin, who has every right; as host."""
    server = neko_simulator
    async with (
        neko_trio.open_session(
            server.url, username=unique("bad"), password=server.admin_password, video="off"
        ) as session,
        session.control(),
    ):
        await session.flush()
        await session._parts.inputs.ask()  # what the plugins say of themselves, they say right after the connect
        state = session.state
        there = {
            "filetransfer": state.file_transfer is not None and state.file_transfer.enabled,
            "openinapp": state.opens_links,
            "screencast": state.screencast,
        }
        if server.simulator is not None:
            assert not any(there.values())
        await every(server, session, [bad for bad in OFF if not there[bad.says]])


async def every(server: TestServer, session: Session, table: list[Bad]) -> None:
    """Each row, and all that fail in one report."""
    failures: list[str] = []
    for bad in table:
        try:
            await check(server, session, bad)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - told below, all together
            failures.append(f"{bad.name}: {type(error).__name__}: {str(error)[:300]}")
    assert not failures, "\n".join(failures)
