from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from neko_trio.desktop.clipboard import Clipboard
from neko_trio.desktop.clipboard_values import LONGEST, ClipboardUpdate
from neko_trio.errors import ClipboardEmpty, HostTaken, InvalidInput, NotAllowed, ProtocolViolation, SessionClosed
from neko_trio.protocol import requests
from neko_trio.protocol.data_channel import KeyDown, KeyUp
from neko_trio.protocol.events import ClipboardUpdated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.input.conftest import Desk

PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.fixture
def clipboard(desk: Desk) -> Clipboard:
    return desk.clipboard


async def test_write_and_read(desk: Desk, clipboard: Clipboard, autojump_clock: MockClock) -> None:
    assert await clipboard.read() == ""
    assert await clipboard.read_html() == ""
    for text in ("Grüße 👋\n\t中", "", "\x00"):
        await clipboard.write(text)
        assert desk.x.text == text
        assert await clipboard.read() == text
    await clipboard.write_html("<b>x</b>")
    assert desk.front.calls[-1] == ("POST", "/api/room/clipboard", {"html": "<b>x</b>"})
    assert await clipboard.read_html() == "<b>x</b>"
    desk.x.put("text", html="<i>text</i>")
    assert (await clipboard.read(), await clipboard.read_html()) == ("text", "<i>text</i>")


async def test_what_was_typed_comes_before(desk: Desk, clipboard: Clipboard, autojump_clock: MockClock) -> None:
    desk.server.data_delay = 1
    await desk.keyboard.press("ctrl+c")
    await clipboard.write("text")
    assert len(desk.server.handled) == 4


async def test_two_writes_are_never_under_way_at_once(
    desk: Desk, clipboard: Clipboard, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once panic the real server, be one of them cancelled here: there it goes on."""
    takes, begun, answer = 0.25, list[float](), desk.front.request

    async def slow(method: str, path: str, **options: Any) -> Any:
        begun.append(trio.current_time())
        await trio.sleep(takes)
        return await answer(method, path, **options)

    monkeypatch.setattr(desk.front, "request", slow)
    with trio.move_on_after(takes / 2):
        await clipboard.write("cancelled")
    async with trio.open_nursery() as nursery:
        for text in ("one", "two"):
            nursery.start_soon(clipboard.write, text)
    assert begun == [0, takes, 2 * takes]
    assert desk.x.text in ("one", "two")


async def test_a_picture(desk: Desk, clipboard: Clipboard, autojump_clock: MockClock) -> None:
    with pytest.raises(ClipboardEmpty):
        await clipboard.read_image()
    desk.x.put("a text, under the name of a picture")
    with pytest.raises(ClipboardEmpty) as caught:
        await clipboard.read_image()
    assert "a text" not in str(caught.value)
    desk.x.image = PNG
    assert await clipboard.read_image() == PNG
    with pytest.raises(InvalidInput, match="limit=8"):
        await clipboard.read_image(limit=8)


async def test_what_is_read_has_a_limit(desk: Desk, clipboard: Clipboard, autojump_clock: MockClock) -> None:
    desk.x.put("x" * 1000)
    with pytest.raises(InvalidInput, match="limit=500"):
        await clipboard.read(limit=500)
    for wrong in (0, -1, True, 1.5):
        with pytest.raises(InvalidInput):
            await clipboard.read(limit=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["\ud800", b"bytes", None, "x" * (LONGEST + 1), "é" * (LONGEST // 2 + 1)])
async def test_what_is_no_text(desk: Desk, clipboard: Clipboard, autojump_clock: MockClock, wrong: str) -> None:
    for call in (clipboard.write, clipboard.write_html):
        with pytest.raises(InvalidInput):
            await call(wrong)
    if wrong is not None:
        with pytest.raises(InvalidInput):
            await clipboard.paste(wrong)
    for empty in (clipboard.write_html, clipboard.paste):
        with pytest.raises(InvalidInput):
            await empty("")
    assert desk.front.calls == []
    assert desk.server.hops == []


async def test_rights(desk: Desk, clipboard: Clipboard, autojump_clock: MockClock) -> None:
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: clipboard.write("x"),
        clipboard.read,
        clipboard.read_html,
        clipboard.read_image,
        clipboard.copied,
        lambda: clipboard.paste("x"),
    ]
    chords: list[Callable[[], Awaitable[object]]] = [
        clipboard.copy,
        clipboard.cut,
        clipboard.select_all,
        clipboard.paste,
    ]
    desk.server.profile(can_access_clipboard=False)
    for call in calls:
        with pytest.raises(NotAllowed, match="clipboard"):
            await call()
    with pytest.raises(NotAllowed, match="clipboard"):
        async with clipboard.updates():
            raise AssertionError
    for call in chords:
        await call()
    desk.server.handled.clear()
    desk.server.profile(can_access_clipboard=True)
    desk.server.set_host("other-67890")
    for call in calls + chords:
        with pytest.raises(HostTaken):
            await call()
    assert desk.front.calls == []
    assert desk.server.handled == []


async def test_what_the_server_refuses(desk: Desk, clipboard: Clipboard, autojump_clock: MockClock) -> None:
    desk.front.on["GET", "/api/room/clipboard"] = lambda _: [1]
    with pytest.raises(ProtocolViolation):
        await clipboard.read()
    del desk.front.on["POST", "/api/room/clipboard"]
    with pytest.raises(ProtocolViolation):
        await clipboard.write("secret")
    desk.x.put("secret")  # not written here, so it is not ours
    assert clipboard.foreign_total == 1


async def test_chords(desk: Desk, clipboard: Clipboard, autojump_clock: MockClock) -> None:
    await desk.keyboard.press("a")
    await clipboard.copy()
    await clipboard.cut()
    await clipboard.select_all()
    await clipboard.paste()
    await clipboard.paste("text")
    a = ord("a")
    assert desk.server.handled == [
        *(KeyDown(a), KeyUp(a)),
        requests.ControlCopy(),
        requests.ControlCut(),
        requests.ControlSelectAll(),
        requests.ControlPaste(),
        requests.ControlPaste(text="text"),
    ]
    async with desk.keyboard.hold("shift"):
        for call in (clipboard.copy, clipboard.paste):
            with pytest.raises(InvalidInput, match="held"):
                await call()


async def test_another_chord_pastes(desk: Desk, clipboard: Clipboard, autojump_clock: MockClock) -> None:
    clipboard.paste_chord = "ctrl+shift+v"
    await clipboard.paste("text")
    assert desk.x.text == "text"
    keysyms = [message.keysym for message in desk.server.handled if isinstance(message, KeyDown)]
    assert keysyms == [0xFFE3, 0xFFE1, ord("V")]
    async with desk.keyboard.hold("alt"):
        with pytest.raises(InvalidInput, match="held"):
            await clipboard.paste()


async def test_copied(desk: Desk, clipboard: Clipboard, autojump_clock: MockClock) -> None:
    desk.x.put("before")
    texts: list[str] = []

    async def wait() -> None:
        texts.append(await clipboard.copied())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        assert desk.server.handled == [requests.ControlCopy()]
        await clipboard.write("our own")
        await trio.sleep(1)
        assert texts == []
        desk.x.put("copied")
    assert texts == ["copied"]
    with trio.move_on_after(3) as scope:
        await clipboard.copied(cut=True)
    assert scope.cancelled_caught
    assert desk.server.handled[-1] == requests.ControlCut()


async def test_who_waits_for_a_copy_is_told_that_the_role_went(
    desk: Desk, clipboard: Clipboard, autojump_clock: MockClock
) -> None:
    async def lose() -> None:
        await trio.sleep(1)
        desk.server.set_host("other-67890")

    desk.server.set_host(None)
    desk.server.set_host("me-12345")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lose)
        with trio.fail_after(2), pytest.raises(HostTaken):
            await clipboard.copied()


async def test_updates_tell_ones_own_apart(desk: Desk, clipboard: Clipboard, autojump_clock: MockClock) -> None:
    async with clipboard.updates(buffer=3) as updates:
        await clipboard.write("mine")
        desk.x.put("theirs")
        desk.x.put("mine")  # a program copies the same text
        desk.x.put("last")
        assert [(await updates.__anext__()).text for _ in range(3)] == ["theirs", "mine", "last"]
        assert updates.dropped == 1
        await clipboard.write("a")
        await clipboard.write("b")
        desk.x.put("b")
        assert [(await updates.__anext__()).own for _ in range(3)] == [True, True, False]
        clipboard.fail(lambda: SessionClosed("over"))
        with pytest.raises(SessionClosed):
            async for _ in updates:
                raise AssertionError
    for wrong in (0, True, 1.5):
        with pytest.raises(InvalidInput):
            async with clipboard.updates(buffer=wrong):  # type: ignore[arg-type]
                raise AssertionError


async def test_a_write_that_another_overtook_is_not_waited_for(desk: Desk, clipboard: Clipboard) -> None:
    desk.front.on["POST", "/api/room/clipboard"] = lambda _: None
    await clipboard.write("overtaken")
    await clipboard.write("told")
    clipboard.on_update(ClipboardUpdated(text="told"))
    clipboard.on_update(ClipboardUpdated(text="overtaken"))
    assert clipboard.foreign_total == 1


def test_a_text_stands_in_no_repr() -> None:
    assert "secret" not in repr(ClipboardUpdate("secret", True))
