"""A program that is typed into: the embedded desktop's text field, or an XTerm on a real server's screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from neko_trio import Session
from neko_trio.simulator import SmallDesktop
from neko_trio.testing import TestServer

ARRIVES = 20.0
"""Seconds in which what was typed must have arrived: others may be working on the machine."""


class Terminal:
    """What has arrived. ``paste_chord`` makes it paste from the clipboard."""

    paste_chord = "ctrl+v"

    async def until(self, text: str) -> None:
        """Return once ``text``, and nothing else, has arrived since the last time; :class:`AssertionError` else."""
        raise NotImplementedError


class Embedded(Terminal):
    """The text field of the simulator's desktop: it has read what the server has handled."""

    def __init__(self, desktop: SmallDesktop, session: Session) -> None:
        self._desktop, self._session = desktop, session
        self._read = len(desktop.text)

    async def until(self, text: str) -> None:
        await self._session.flush()
        arrived = self._desktop.text[self._read :]
        self._read = len(self._desktop.text)
        assert arrived == text


class XTerm(Terminal):
    """The bytes that an XTerm's program reads, in raw mode."""

    paste_chord = "shift+Insert"

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def until(self, text: str) -> None:
        expected = text.replace("\n", "\r").encode()  # what Return is to a terminal
        arrived = b""
        with trio.move_on_after(ARRIVES):
            while len(arrived) < len(expected):
                arrived += await self._stream.receive_some()
        with trio.move_on_after(0.2):  # and nothing behind
            arrived += await self._stream.receive_some()
        assert arrived.decode(errors="replace") == expected.decode()


@asynccontextmanager
async def open_terminal(server: TestServer, display: str | None, session: Session) -> AsyncIterator[Terminal]:
    """The program, with the focus. ``session`` is host."""
    if server.simulator is not None:
        desktop = server.simulator.desktop
        assert isinstance(desktop, SmallDesktop)
        yield Embedded(desktop, session)
        return
    assert display is not None, "see the fixture display"
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    script = Path(__file__).with_name("x_terminal.py")
    resources = ["-u8", "-xrm", "XTerm*selectToClipboard: true"]
    command = ["xterm", *resources, "-geometry", "80x12+300+500", "-e", sys.executable, str(script), str(port)]
    environment = {**os.environ, "DISPLAY": display}
    async with listeners[0], trio.open_nursery() as nursery:
        start = partial(trio.run_process, command, env=environment, stderr=subprocess.DEVNULL, check=False)
        nursery.start_soon(start)
        with trio.fail_after(ARRIVES):
            stream = await listeners[0].accept()
        async with stream:
            with trio.fail_after(ARRIVES):
                assert await stream.receive_some(6) == b"ready\n"
            yield XTerm(stream)
        nursery.cancel_scope.cancel()


@pytest.fixture
def display(request: pytest.FixtureRequest) -> str | None:
    """The X display of the real server, ``None`` for the embedded one; skips where it is not known."""
    if request.config.getoption("--neko-url") is None:
        return None
    name: str | None = request.config.getoption("--neko-display")
    if name is None:
        pytest.skip("looks at what a program on the screen reads: needs --neko-display")
    if shutil.which("xterm") is None:
        pytest.skip("looks at what XTerm reads: it is not installed")
    return name
