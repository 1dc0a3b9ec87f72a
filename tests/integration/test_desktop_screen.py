"""Waiting on the screen over real sockets, and what the server answers about it: the embedded one, or a real one's X.

With ``--neko-url`` a terminal on that server's screen is looked at: ``--neko-display`` names the X display. The size of
the screen is changed with ``--neko-own-room`` alone.
"""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import trio
from PIL import Image, ImageDraw

import neko_trio
from neko_trio import FeatureOff, InvalidInput, NotAllowed, Session
from neko_trio.desktop.regions import Box
from neko_trio.simulator import InputEvent, KeyDown
from neko_trio.testing import TestServer, open_test_server
from neko_trio.testing._server import named_server
from tests.integration.conftest import unique
from tests.integration.terminal import display as display  # a fixture

pytestmark = pytest.mark.real_time

WITHIN = 60.0
"""Seconds for a test: others may be host of a shared server for a while."""
SOON = 5.0
"""Seconds in which what was typed must show."""
REGION = (742, 62, 1130, 186)
"""Inside of the terminal."""
TITLE = (940, 48)
"""Of the terminal's window."""
CURSOR = ((744, 140, 754, 152), (0, 160, 110))


class Paper:
    """A program for the embedded server: what is typed stands on it, something runs along below, a caret may blink."""

    def __init__(self, *, blinks: bool) -> None:
        self._blinks = blinks
        self._text = ""

    def on_input(self, event: InputEvent, /) -> None:
        if isinstance(event, KeyDown) and event.text:
            self._text += event.text

    def render(self, now: float, /) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        image = Image.new("RGB", (1280, 720), (50, 60, 80))
        draw = ImageDraw.Draw(image)
        draw.rectangle((730, 50, 1140, 200), (255, 255, 255))
        for line in range(4):
            draw.text((744, 62 + 13 * line), f"Line {line}, and what stands in it", (20, 20, 30))
        draw.text((760, 140), self._text, (0, 0, 0))
        if not self._blinks or int(now * 2) % 2:
            draw.rectangle(*CURSOR)
        left = int(now * 200) % 1200
        draw.rectangle((left, 600, left + 60, 700), (250, 90, 40))
        return np.asarray(image)


@asynccontextmanager
async def open_paper(real: TestServer | None, screen: str | None, *, blinks: bool) -> AsyncIterator[TestServer]:
    """A server with a still piece of text on its screen, in :data:`REGION`, and something that moves elsewhere."""
    if real is None or screen is None:
        async with open_test_server(desktop=Paper(blinks=blinks)) as server:
            yield server
        return
    lines = "; ".join(f"echo 'Line {line}, and what stands in it'" for line in range(4))
    resources = ["-bg", "white", "-fg", "black", "-xrm", f"XTerm*cursorBlink: {str(blinks).lower()}", "+sb"]
    still = ["xterm", *resources, "-geometry", "66x10+740+40", "-e", f"{lines}; exec cat"]
    moves = ["xterm", "-geometry", "20x4+40+560", "-e", "while :; do date +%N; sleep 0.05; done"]
    environment = {**os.environ, "DISPLAY": screen}
    async with trio.open_nursery() as nursery:
        for command in (still, moves):
            run = partial(trio.run_process, command, env=environment, stderr=subprocess.DEVNULL, check=False)
            nursery.start_soon(run)
        yield real
        nursery.cancel_scope.cancel()


class Look(NamedTuple):
    """What the tests run with."""

    real: TestServer | None
    display: str | None

    @asynccontextmanager
    async def session(
        self, *, video: str = "live", blinks: bool = False, admin: bool = False
    ) -> AsyncIterator[Session]:
        """A session that sees the paper, once it is there and drawn; it has been clicked on, and is host."""
        with trio.fail_after(WITHIN):
            async with (
                open_paper(self.real, self.display, blinks=blinks) as server,
                neko_trio.open_session(
                    server.url,
                    username=unique("screen"),
                    password=server.admin_password if admin else server.password,
                    video=video,
                ) as session,
                session.control(wait=True),
            ):
                await drawn(session)
                await session.mouse.click(*TITLE)  # for the keyboard's focus
                await session.flush()
                if not blinks:
                    await session.screen.wait_stable(REGION, for_=0.5)
                yield session


async def drawn(session: Session) -> None:
    """The paper shows: it is white for the most part."""
    with trio.fail_after(WITHIN / 2):
        async with session.screen.frames(max_rate=5) as frames:
            async for frame in frames:
                if np.median(frame.crop(REGION).to_ndarray()) > 200:
                    return


@pytest.fixture
def look(request: pytest.FixtureRequest, display: str | None) -> Look:
    return Look(named_server(request.config), display)


def is_inside(inner: Box, outer: Box) -> bool:
    return outer[0] <= inner[0] < inner[2] <= outer[2] and outer[1] <= inner[1] < inner[3] <= outer[3]


@pytest.mark.parametrize("video", ["live", "on_demand"])
async def test_a_still_screen_is_stable_and_one_character_is_a_change(look: Look, video: str) -> None:
    async with look.session(video=video) as session:
        screen = session.screen
        with trio.move_on_after(3) as scope:
            change = await screen.wait_change(REGION)
            raise AssertionError(f"the noise of the codec is no change: {change}")
        assert scope.cancelled_caught
        for text in (".", "i"):
            before = await screen.frame()
            await session.keyboard.type(text)
            with trio.fail_after(SOON):
                change = await screen.wait_change(REGION, since=before)
            assert is_inside(change.box, REGION)
            assert change.box[2] - change.box[0] <= 48, "a character, and the cursor behind it"
            assert change.box[3] - change.box[1] <= 40
            with trio.fail_after(SOON):
                after = await screen.wait_stable(REGION)
            assert after.number >= change.frame.number
        with trio.move_on_after(1.5) as scope:
            await screen.wait_stable((0, 520, 300, 720) if look.real else None)
        assert scope.cancelled_caught, "something moves there"


async def test_a_blinking_cursor_is_a_change_each_time(look: Look) -> None:
    async with look.session(blinks=True) as session:
        boxes = []
        with trio.fail_after(WITHIN / 2):
            async with session.screen.watch(REGION) as changes:
                async for change in changes:
                    boxes.append(change.box)
                    if len(boxes) == 4:
                        break
        for box in boxes:
            assert is_inside(box, REGION)
            assert box[2] - box[0] <= 40


async def test_a_picture_is_found_where_it_is(look: Look, tmp_path: Path) -> None:
    async with look.session(admin=True) as session:
        screen = session.screen
        frame = await screen.frame()
        part = (742, 64, 902, 114)
        lossless = Image.open(io.BytesIO(await screen.screenshot(quality=100)))
        lossless.crop(part).save(tmp_path / "part.png")
        for image in (frame.crop(part), tmp_path / "part.png", np.asarray(lossless.crop(part))):
            with trio.fail_after(SOON):
                match = await screen.wait_match(image)
            assert match.box == part
            assert match.difference < 20
        with trio.fail_after(SOON):
            assert (await screen.wait_match(frame.crop(part), REGION)).center == (821, 88)
        elsewhere = np.asarray(lossless.crop(part))[::-1, ::-1]
        with trio.move_on_after(1) as scope:
            match = await screen.wait_match(elsewhere)
            raise AssertionError(f"that is not there: {match}")
        assert scope.cancelled_caught
        assert screen._waits._threads.borrowed_tokens == 0, "no thread goes on"


async def test_a_screenshot_while_nobody_watches(neko_simulator: TestServer) -> None:
    server = neko_simulator
    async with neko_trio.open_session(
        server.url, username=unique("shot"), password=server.admin_password, video="off"
    ) as session:
        picture = Image.open(io.BytesIO(await session.screen.screenshot()))
        assert (picture.format, picture.size) == ("JPEG", session.screen.size)
        assert len(await session.screen.screenshot(quality=10)) < len(await session.screen.screenshot(quality=95))
        sizes = await session.screen.sizes()
        assert all(size.width > 0 and size.height > 0 for size in sizes)
        assert sizes


async def test_users_are_told_that_they_may_not(neko_simulator: TestServer) -> None:
    server = neko_simulator
    async with neko_trio.open_session(
        server.url, username=unique("user"), password=server.password, video="off"
    ) as session:
        with pytest.raises(NotAllowed, match="admin"):
            await session.screen.screenshot()
        with pytest.raises(NotAllowed, match="admin"):
            await session.screen.sizes()
        with pytest.raises(NotAllowed, match="admin"):
            await session.screen.set_size(800, 600, 30)


async def test_the_screencast_of_whoever_watches(neko_simulator: TestServer) -> None:
    """Off by default."""
    async with neko_trio.open_session(
        neko_simulator.url, username=unique("cast"), password=neko_simulator.password, video="off"
    ) as session:
        if session.state.screencast:
            picture = Image.open(io.BytesIO(await session.screen.cast()))
            assert (picture.format, picture.size) == ("JPEG", session.screen.size)
        else:
            with pytest.raises(FeatureOff):
                await session.screen.cast()


async def test_the_screencast_of_the_embedded_server(embedded_only: None) -> None:
    async with (
        open_test_server(screencast=True) as server,
        neko_trio.open_session(server.url, username="cast", password=server.password, video="off") as session,
    ):
        picture = Image.open(io.BytesIO(await session.screen.cast()))
        assert (picture.format, picture.size) == ("JPEG", (1280, 720))


async def test_the_size_of_the_screen(own_room: TestServer) -> None:
    """An odd height as well, half a line of colours, where the encoder can: the server's x264enc and ours cannot."""
    async with neko_trio.open_session(
        own_room.url, username=unique("size"), password=own_room.admin_password
    ) as session:
        screen, before = session.screen, session.state.screen
        watched = await screen.frame()
        peer = session.statistics().peer
        odd = own_room.simulator is None and peer is not None and peer.codec == "VP8"
        tall = 601 if odd else 602
        try:
            for width, height in ((800, 600), (1000, tall)):
                size = await screen.set_size(width, height, 30)
                assert (size.width, size.height, size.rate) == (width, height, 30)
                assert screen.size == (width, height)
                with trio.fail_after(10):
                    while watched.size != (width, height):
                        watched = (await screen.wait_change(since=watched)).frame
                    # The first of them may have come before the server had announced it.
                    while watched.screen_size != (width, height):
                        watched = await screen.frame(newer_than=watched)
                with trio.fail_after(10):
                    assert (await screen.frame(newer_than=watched)).size == (width, height)
            with pytest.raises(InvalidInput, match="does not take"):
                await screen.set_size(8000, 4000, 30)
            with pytest.raises(InvalidInput, match="Take 800 or 808"):
                await screen.set_size(801, 600, 30)
            assert screen.size == (1000, tall)
            with pytest.raises(InvalidInput, match=f"1000x{tall}"):
                await screen.wait_change((0, 0, 1001, tall))
        finally:
            with trio.move_on_after(10, shield=True):
                await screen.set_size(before.width, before.height, before.rate)
