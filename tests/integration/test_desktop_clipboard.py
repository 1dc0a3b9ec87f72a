"""The clipboard over real sockets, both ways: of the embedded desktop, or of a real server's X.

With ``--neko-url`` programs on that server's screen copy and are pasted into: ``--neko-display`` names its X display.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio
from PIL import Image

import neko_trio
from neko_trio import ClipboardEmpty, HostTaken, InvalidInput, NotAllowed, Session
from neko_trio.testing import TestServer
from tests.integration.conftest import unique
from tests.integration.terminal import Embedded, display, open_terminal

__all__ = ["display"]

pytestmark = pytest.mark.real_time

WITHIN = 90.0
"""Seconds for a test: others may be host of a shared server for a while."""
TEXT = "Grüße 👋\n\tΩ 日本語 'quoted' \"twice\" <b>&amp;</b>\n"


@pytest.fixture
async def host(neko_session: Session) -> AsyncIterator[Session]:
    with trio.fail_after(WITHIN):
        async with neko_session.control(wait=True):
            yield neko_session


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(out, "png")
    return out.getvalue()


@asynccontextmanager
async def copied_by_a_program(
    server: TestServer, display: str | None, folder: Path, content: bytes, target: str
) -> AsyncIterator[None]:
    """A program on the desktop owns the clipboard, with this content, while the block runs."""
    if server.simulator is not None:
        if target == "image/png":
            server.simulator.copy(image=content)
        else:
            server.simulator.copy(content.decode())
        yield
        return
    file = folder / "copied"
    file.write_bytes(content)
    command = ["xclip", "-quiet", "-selection", "clipboard", "-t", target, "-i", str(file)]
    environment = {**os.environ, "DISPLAY": display or ""}
    async with trio.open_nursery() as nursery:
        start = partial(trio.run_process, command, env=environment, check=False, stderr=subprocess.DEVNULL)
        process: trio.Process = await nursery.start(start)
        yield
        process.terminate()


@pytest.fixture
def programs(display: str | None) -> str | None:
    """The display, where programs can copy."""
    if display is not None and shutil.which("xclip") is None:
        pytest.skip("copies with xclip: it is not installed")
    return display


async def test_what_is_written_is_read(host: Session) -> None:
    clipboard = host.clipboard
    for text in (TEXT, "", "x" * 100_000, "a\x00b\r\n", " "):
        await clipboard.write(text)
        assert await clipboard.read() == text
    await clipboard.write_html("<b>é</b>")
    assert await clipboard.read_html() == "<b>é</b>"
    with pytest.raises(ClipboardEmpty):
        await clipboard.read_image()
    await clipboard.write(TEXT * 1000)
    with pytest.raises(InvalidInput, match="limit=1000"):
        await clipboard.read(limit=1000)


async def test_a_megabyte(host: Session) -> None:
    text = "é" * 500_000
    await host.clipboard.write(text)
    assert await host.clipboard.read() == text


async def test_nothing_owns_it(host: Session, embedded_only: None) -> None:
    assert await host.clipboard.read() == ""
    assert await host.clipboard.read_html() == ""
    with pytest.raises(ClipboardEmpty):
        await host.clipboard.read_image()


async def test_what_a_program_copies(
    host: Session, neko_simulator: TestServer, programs: str | None, tmp_path: Path
) -> None:
    async with host.clipboard.updates() as updates:
        await host.clipboard.write("ours")
        first = await updates.__anext__()
        assert (first.text, first.own) == ("ours", True)
        async with copied_by_a_program(neko_simulator, programs, tmp_path, TEXT.encode(), "UTF8_STRING"):
            second = await updates.__anext__()
            assert (second.text, second.own) == (TEXT, False)
            assert await host.clipboard.read() == TEXT
        picture = png()
        async with copied_by_a_program(neko_simulator, programs, tmp_path, picture, "image/png"):
            if programs is not None:
                await updates.__anext__()
            assert await host.clipboard.read_image() == picture


async def test_copied(host: Session, neko_simulator: TestServer, programs: str | None, tmp_path: Path) -> None:
    if neko_simulator.simulator is not None:
        await host.keyboard.type("some text")
        await host.clipboard.select_all()
        assert await host.clipboard.copied() == "some text"
        assert await host.clipboard.copied(cut=True) == "some text"
        await host.clipboard.paste()
        await host.clipboard.paste("\nand more")
        desktop = neko_simulator.simulator.desktop
        assert getattr(desktop, "text", None) == "some text\nand more"
        return
    texts: list[str] = []
    done = trio.Event()

    async def copy() -> None:
        texts.append(await host.clipboard.copied())
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(copy)
        await host.clipboard.write("our own write is no copy")
        async with copied_by_a_program(neko_simulator, programs, tmp_path, TEXT.encode(), "UTF8_STRING"):
            await done.wait()
    assert texts == [TEXT]


async def test_chords_reach_the_program(host: Session, neko_simulator: TestServer, display: str | None) -> None:
    async with open_terminal(neko_simulator, display, host) as terminal:
        if isinstance(terminal, Embedded):
            await host.clipboard.paste("pasted")
            await terminal.until("pasted")
            return
        for call, control in (
            (host.clipboard.copy, "\x03"),
            (host.clipboard.cut, "\x18"),
            (host.clipboard.select_all, "\x01"),
            (host.clipboard.paste, "\x16"),
        ):
            await call()
            await terminal.until(control)
        host.clipboard.paste_chord = terminal.paste_chord
        await host.clipboard.paste(TEXT)
        await terminal.until(TEXT)


async def test_refused_before_anything_is_sent(neko_simulator: TestServer, host: Session) -> None:
    async with neko_trio.open_session(
        neko_simulator.url, username=unique("guest"), password=neko_simulator.password, video="off"
    ) as guest:
        calls: list[Callable[[], Awaitable[object]]] = [
            guest.clipboard.read,
            guest.clipboard.read_image,
            lambda: guest.clipboard.write("x"),
            lambda: guest.clipboard.write_html("x"),
            guest.clipboard.copy,
            guest.clipboard.copied,
            guest.clipboard.paste,
        ]
        async with host.events("control/request") as nagged:
            for call in calls:
                with pytest.raises(HostTaken):
                    await call()
            await guest.flush()
            with trio.move_on_after(0.3) as scope:
                await nagged.__anext__()
            assert scope.cancelled_caught, "the host was nagged"


async def test_without_the_right(neko_simulator: TestServer, embedded_only: None) -> None:
    assert neko_simulator.simulator is not None
    async with neko_trio.open_session(
        neko_simulator.url, username=unique("guest"), password=neko_simulator.password, video="off"
    ) as session:
        simulated = neko_simulator.simulator.sessions[session.state.session_id]
        room = neko_simulator.simulator._room
        room.update_profile(simulated.id, msgspec.structs.replace(simulated.profile, can_access_clipboard=False))
        await session.wait_state(lambda state: not state.profile.can_access_clipboard)
        async with session.control():
            with pytest.raises(NotAllowed, match="can_access_clipboard"):
                await session.clipboard.read()
            with pytest.raises(NotAllowed, match="can_access_clipboard"):
                await session.keyboard.type("x", paste=True)
            await session.clipboard.copy()
