"""The commands against a server: the embedded one, or, where that is possible, the one of ``--neko-url``."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import trio
from PIL import Image

import neko_trio
from neko_trio._timeline import MARKS
from neko_trio.cli.demo import TEXT
from neko_trio.simulator import KeyDown, SmallDesktop
from tests.cli.conftest import Run, environment

if TYPE_CHECKING:
    from neko_trio.testing import TestServer

pytestmark = pytest.mark.real_time


def credentials(server: TestServer) -> dict[str, str]:
    """The server as environment variables."""
    return {"NEKO_URL": server.url, "NEKO_USERNAME": server.username, "NEKO_PASSWORD": server.password}


def check_report(result: dict[str, Any]) -> None:
    assert set(result) >= {"url", "timeline", "frame", "codec", "candidate_pair"}
    assert set(result["timeline"]) <= set(MARKS)
    assert set(result["timeline"]) >= {"start", "login", "dial", "init_received", "connected", "first_frame"}
    moments = list(result["timeline"].values())
    assert moments == sorted(moments)
    assert set(result["candidate_pair"]) == {"local", "remote", "local_type", "remote_type", "protocol"}
    assert result["frame"]["width"] > 0 < result["frame"]["height"]


async def test_connect_as_json(command: Run, neko_simulator: TestServer) -> None:
    ended = await command("connect", "--json", **credentials(neko_simulator))
    assert (ended.code, ended.err) == (0, "")
    result = ended.object()
    assert set(result) == {"url", "timeline", "frame", "codec", "candidate_pair"}
    check_report(result)
    assert result["url"] == neko_simulator.url
    assert result["codec"] in ("VP8", "H264")


async def test_connect_prints_a_row_for_each_mark_and_the_way_of_the_media(
    command: Run, neko_simulator: TestServer
) -> None:
    ended = await command("connect", **credentials(neko_simulator))
    assert (ended.code, ended.err) == (0, "")
    *rows, path = ended.out.splitlines()
    assert {row.split()[0] for row in rows} >= {"start", "login", "offer_received", "connected", "first_frame"}
    assert all(" ms " in row for row in rows)
    assert path.endswith("by udp")


async def test_connect_leaves_nobody_behind(command: Run, neko_simulator: TestServer) -> None:
    if neko_simulator.simulator is None:
        pytest.skip("looks into the embedded server")
    assert (await command("connect", **credentials(neko_simulator))).code == 0
    assert neko_simulator.simulator.sessions == {}


async def test_wrong_password(command: Run, neko_simulator: TestServer) -> None:
    ended = await command("connect", neko_simulator.url, "--password", "certainly-not-it")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("neko-trio: LoginRefused: ")
    assert "Traceback" not in ended.err
    assert "certainly-not-it" not in ended.err


async def test_unknown_stream_is_told_with_the_steps_so_far(command: Run, neko_simulator: TestServer) -> None:
    ended = await command("connect", "--stream", "nosuch", **credentials(neko_simulator))
    assert (ended.code, ended.out) == (1, "")
    first, *rows = ended.err.splitlines()
    assert "'nosuch'" in first
    assert [row.split()[0] for row in rows] == ["start", "login", "dial", "websocket_open", "init_received"]


async def test_screenshot(command: Run, neko_simulator: TestServer, tmp_path: Path) -> None:
    file = tmp_path / "screen.png"
    ended = await command("screenshot", "--json", "-o", str(file), **credentials(neko_simulator))
    assert (ended.code, ended.err) == (0, "")
    result = ended.object()
    check_report(result)
    assert result["screenshot"] == str(file)
    with Image.open(file) as picture:
        assert picture.size == (result["frame"]["width"], result["frame"]["height"])
        assert len(picture.getcolors(1 << 24) or ()) > 10  # a desktop, not one grey plane


async def test_screenshot_that_cannot_be_written(command: Run, neko_simulator: TestServer, tmp_path: Path) -> None:
    file = tmp_path / "missing" / "screen.png"
    ended = await command("screenshot", "-o", str(file), **credentials(neko_simulator))
    assert (ended.code, ended.out) == (1, "")
    assert str(file) in ended.err
    assert "Traceback" not in ended.err


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[tuple[trio.Process, dict[str, str]]]:
    """``neko-trio serve --json`` and what it said when it was ready."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "neko_trio", "serve", "--json", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        with trio.fail_after(30):
            line = b""
            while not line.endswith(b"\n"):
                part = await process.stdout.receive_some()
                assert part, "it ended before it was ready"
                line += part
        yield process, json.loads(line)
    finally:
        if process.poll() is None:
            process.kill()
            with trio.CancelScope(shield=True):  # it has been killed
                await process.wait()
        with trio.CancelScope(shield=True):
            await process.stdout.aclose()
            await process.stderr.aclose()


async def check_clean_end(process: trio.Process, number: signal.Signals) -> None:
    """After the signal: exit code 0, and neither another word on stdout nor anything on stderr."""
    assert process.stdout is not None
    assert process.stderr is not None
    process.send_signal(number)
    with trio.fail_after(10):
        assert await process.wait() == 0
        assert await process.stdout.receive_some() == b""
        assert await process.stderr.receive_some() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_serve_until_a_signal(number: signal.Signals) -> None:
    async with serving("--width", "640", "--height", "360", "--codec", "h264") as (process, ready):
        assert set(ready) == {"url", "username", "password", "admin_password"}
        async with neko_trio.open_session(
            ready["url"], username=ready["username"], password=ready["password"]
        ) as session:
            with trio.fail_after(10):
                frame = await session.screen.frame()
            assert frame.size == (640, 360)
        await check_clean_end(process, number)
    where = urlsplit(ready["url"])
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect((where.hostname, where.port))


async def test_serve_ends_cleanly_while_somebody_watches() -> None:
    async with serving() as (process, ready):
        with pytest.raises(neko_trio.SessionLost):
            async with neko_trio.open_session(ready["url"], username="a", password=ready["password"]) as session:
                await session.screen.frame()
                await check_clean_end(process, signal.SIGTERM)
                await trio.sleep_forever()


async def test_interrupted_connect_says_so_and_closes(neko_simulator: TestServer) -> None:
    if neko_simulator.simulator is None:
        pytest.skip("needs a server that withholds its offer")
    simulator = neko_simulator.simulator
    async with simulator.faults.withhold("signal/provide"), trio.open_nursery() as nursery:

        async def interrupt() -> None:
            await simulator.journal.wait_for(lambda entry: entry.event == "signal/request")
            process.send_signal(signal.SIGINT)

        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "neko_trio", "connect", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**credentials(neko_simulator)),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        async with process.stdout, process.stderr:
            nursery.start_soon(interrupt)
            with trio.fail_after(30):
                assert await process.wait() == 128 + signal.SIGINT
            error = json.loads(await process.stdout.receive_some())["error"]
            assert error == {"type": "Interrupted", "message": "Interrupted by SIGINT."}
            assert await process.stderr.receive_some() == b""
    assert simulator.sessions == {}


async def test_demo_shows_the_typed_text_in_its_screenshot(command: Run, tmp_path: Path) -> None:
    file = tmp_path / "demo.png"
    ended = await command("demo", "--json", "-o", str(file))
    assert (ended.code, ended.err) == (0, "")
    result = ended.object()
    check_report(result)
    assert result["screenshot"] == str(file)

    with Image.open(file) as opened:
        seen = np.asarray(opened.convert("RGB")).astype(np.int16)
    untouched, typed = SmallDesktop((1280, 720)), SmallDesktop((1280, 720))
    for character in TEXT:
        typed.on_input(KeyDown(ord(character), character))
    x, y, width, height = typed.text_area
    blinked_off = 0.5  # seconds: without the caret
    without = untouched.render(blinked_off).to_rgb().astype(np.int16)
    with_text = typed.render(blinked_off).to_rgb().astype(np.int16)
    judged = 0
    for top in range(y, y + height, 8):
        for left in range(x, x + width, 8):
            tile = np.s_[top : top + 8, left : left + 8]
            ink = np.abs(with_text[tile] - without[tile]).max(axis=2) > 100
            if ink.sum() > 6:
                judged += 1
                assert np.abs(seen[tile] - with_text[tile])[ink].mean() < np.abs(seen[tile] - without[tile])[ink].mean()
    assert judged > 60, "about two tiles for each character"


@pytest.mark.parametrize("name", ["connect", "screenshot"])
async def test_private_addresses_are_refused_on_request(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes of that is ICE's matter: with the embedded server, all is at the one address that stays allowed."""
    from neko_trio.cli.app import run

    asked: list[neko_trio.IceOptions] = []

    class Asked(BaseException):
        pass

    def open_session(_url: str, *, ice: neko_trio.IceOptions, **_options: object) -> None:
        asked.append(ice)
        raise Asked

    monkeypatch.setattr(neko_trio, "open_session", open_session)
    arguments = [name, "http://127.0.0.1:9", "--password", "neko"]
    for extra in ([], ["--no-private-ice"]):
        with pytest.raises(Asked):
            await trio.to_thread.run_sync(run, [*arguments, *extra])
    assert [ice.allow_private for ice in asked] == [True, False]
