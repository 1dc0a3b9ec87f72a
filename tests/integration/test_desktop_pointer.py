"""Mouse, touch and cursor over real sockets, as the desktop gets them: the embedded one, or a real server's X.

With ``--neko-url`` a window on that server's screen tells what X sends it: ``--neko-display`` names the X display. A
server without a touch screen refuses touches; with one they are looked at, too.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import trio
from PIL import Image

import neko_trio
from neko_trio import FeatureOff, InvalidInput, Session
from neko_trio.desktop.cursor import Cursor
from neko_trio.desktop.mouse import Button
from neko_trio.simulator import ButtonDown, ButtonUp, InputEvent, PointerMoved, SmallDesktop, Touched
from neko_trio.testing import TestServer, open_test_server
from neko_trio.testing._server import named_server
from tests.integration.conftest import unique

pytestmark = pytest.mark.real_time

WITHIN = 60.0
"""Seconds for a test: others may be host of a shared server for a while."""
LEFT, TOP, WIDTH, HEIGHT = 760, 360, 320, 240
"""The window."""


class Seen(NamedTuple):
    """What a program is told."""

    kind: str
    detail: int
    """The button, or which finger, counted from 0."""
    x: int
    y: int
    time: float
    """X's, in seconds."""


class Witness:
    """A program on the desktop: what it was told since :meth:`start`."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._fingers: list[int] = []
        self._news = trio.Event()

    def tell(self, kind: str, detail: int, x: float, y: float, time: float) -> None:
        if kind in ("begin", "update", "end"):
            if detail not in self._fingers:
                self._fingers.append(detail)
            detail = self._fingers.index(detail)
        self.seen.append(Seen(kind, detail, round(x), round(y), time))
        self._news.set()
        self._news = trio.Event()

    async def until(self, predicate: Callable[[list[Seen]], bool]) -> list[Seen]:
        """What was seen, once the predicate holds for it."""
        with trio.move_on_after(5):
            while not predicate(self.seen):
                await self._news.wait()
            return self.seen
        raise AssertionError(f"after 5 s the desktop has seen only {self.seen}")

    async def start(self, session: Session) -> None:
        """Forget what was before: the session, which is host, is its only user from now on."""
        for place in ((LEFT + 3, TOP + 3), (LEFT + 5, TOP + 5)):
            await session.mouse.move(*place)
            await session.flush()
            await self.until(partial(_has_move, place))
        self.seen.clear()
        self._fingers.clear()

    def shape(self) -> list[tuple[str, int, int, int]]:
        """What was seen without the times, and without moves to where the pointer was already."""
        shape = [(each.kind, each.detail, each.x, each.y) for each in self.seen]
        places = [(LEFT + 5, TOP + 5), *(each[2:] for each in shape)]
        return [each for each, before in zip(shape, places, strict=False) if each[0] != "move" or each[2:] != before]


def _has_move(place: tuple[int, int], seen: list[Seen]) -> bool:
    return any(each.kind == "move" and (each.x, each.y) == place for each in seen)


class Program(SmallDesktop):
    """The embedded server's desktop, with a witness."""

    def __init__(self, witness: Witness) -> None:
        super().__init__((1280, 720))
        self._witness = witness

    def on_input(self, event: InputEvent, /) -> None:
        super().on_input(event)
        match event:
            case PointerMoved(x, y):
                self._witness.tell("move", 0, x, y, 0)
            case ButtonDown(button, x, y):
                self._witness.tell("down", button, x, y, event.time)
            case ButtonUp(button, x, y):
                self._witness.tell("up", button, x, y, 0)
            case Touched(phase, touch_id, x, y):
                self._witness.tell(phase, touch_id, x, y, 0)
            case _:
                pass


@asynccontextmanager
async def open_window(witness: Witness, display: str, *options: str) -> AsyncIterator[None]:
    """A window on an X display that tells the witness."""
    script = Path(__file__).with_name("x_window.py")
    numbers = [str(number) for number in (LEFT, TOP, WIDTH, HEIGHT)]
    command = [sys.executable, str(script), *numbers, *options]
    environment = {**os.environ, "DISPLAY": display}
    async with trio.open_nursery() as nursery:
        start = partial(
            trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, check=False
        )
        process: trio.Process = await nursery.start(start)
        lines = _lines(process)
        with trio.fail_after(10):
            assert await anext(lines) == "ready"

        async def read() -> None:
            async for kind, detail, x, y, _state, time in lines:
                witness.tell(kind, detail, x, y, time / 1000)

        nursery.start_soon(read)
        yield
        nursery.cancel_scope.cancel()


async def _lines(process: trio.Process) -> AsyncIterator[Any]:
    assert process.stdout is not None
    kept = b""
    async for part in process.stdout:
        *whole, kept = (kept + part).split(b"\n")
        for line in whole:
            yield json.loads(line)


@pytest.fixture
def x_display(request: pytest.FixtureRequest) -> str | None:
    """The X display of the real server, ``None`` for the embedded one; skips where it is not known."""
    if request.config.getoption("--neko-url") is None:
        return None
    display: str | None = request.config.getoption("--neko-display")
    if display is None:
        pytest.skip("looks at what X sees: needs --neko-display")
    return display


@pytest.fixture
def real_server(request: pytest.FixtureRequest) -> TestServer | None:
    return named_server(request.config)


class Desk(NamedTuple):
    server: TestServer
    witness: Witness

    @asynccontextmanager
    async def host(self, video: str = "live") -> AsyncIterator[Session]:
        """A session that is host, and whose first event is the test's."""
        async with neko_trio.open_session(
            self.server.url, username=unique("pointer"), password=self.server.password, video=video
        ) as session:
            if video == "live":
                await data_channel_open(session)
            async with session.control(wait=True):
                await self.witness.start(session)
                yield session


@asynccontextmanager
async def open_desk(real: TestServer | None, display: str | None, *options: str) -> AsyncIterator[Desk]:
    witness = Witness()
    with trio.fail_after(WITHIN):
        if real is None or display is None:
            async with open_test_server(desktop=Program(witness), touch=True) as server:
                yield Desk(server, witness)
        else:
            async with open_window(witness, display, *options):
                yield Desk(real, witness)


@pytest.fixture
async def desk(real_server: TestServer | None, x_display: str | None) -> AsyncIterator[Desk]:
    async with open_desk(real_server, x_display) as opened:
        yield opened


@pytest.fixture
async def touch_desk(real_server: TestServer | None, x_display: str | None) -> AsyncIterator[Desk]:
    """Its program takes touches as such."""
    async with open_desk(real_server, x_display, "--touch") as opened:
        yield opened


async def data_channel_open(session: Session) -> None:
    frame = await session.screen.frame()
    while "data_channel_open" not in session.timeline or session.screen.cursor is None:
        frame = await session.screen.frame(newer_than=frame)


WAYS = pytest.mark.parametrize("video", ["live", "off"], ids=["data-channel", "websocket"])
X, Y = LEFT + 100, TOP + 100
BUTTONS: dict[Button, int] = {"left": 1, "middle": 2, "right": 3, "back": 8, "forward": 9}


@WAYS
async def test_a_click_with_each_button(desk: Desk, video: str) -> None:
    async with desk.host(video) as session:
        expected: list[tuple[str, int, int, int]] = []
        for number, (button, code) in enumerate(BUTTONS.items()):
            place = X + number, Y + number
            await session.mouse.click(*place, button=button)
            expected += [("move", 0, *place), ("down", code, *place), ("up", code, *place)]
        await session.flush()
        await desk.witness.until(lambda seen: len(seen) >= len(expected))
        assert desk.witness.shape() == expected
        assert session.mouse.position == (X + 4, Y + 4)


@WAYS
async def test_a_double_click_is_one_and_two_clicks_are_two(desk: Desk, video: str) -> None:
    """Programs go by the time between two presses: 0.4 s in GTK and Qt, 0.5 s in Chromium and Java."""
    async with desk.host(video) as session:
        await session.mouse.click(X, Y, count=2)
        await session.mouse.click(X, Y)
        await session.mouse.click(X + 3, Y)
        await session.flush()
        await desk.witness.until(lambda seen: [each.kind for each in seen].count("up") == 4)
        times = [each.time for each in desk.witness.seen if each.kind == "down"]
        assert times[1] - times[0] < 0.1
        assert times[2] - times[1] >= 0.5
        assert times[3] - times[2] >= 0.5
        if desk.server.simulator is not None:
            assert desk.server.simulator.desktop.double_clicks == 1  # type: ignore[attr-defined]


@WAYS
async def test_scrolling_in_four_directions(desk: Desk, video: str) -> None:
    """As X has them: 4 up, 5 down, 6 left, 7 right; one press and release for each click of the wheel."""
    async with desk.host(video) as session:
        await session.mouse.scroll(X, Y, up=3)
        await session.mouse.scroll(X, Y, down=3)
        await session.mouse.scroll(X, Y, left=3)
        await session.mouse.scroll(X, Y, right=3)
        await session.mouse.scroll(up=1, right=2)
        await session.flush()
        await desk.witness.until(lambda seen: [each.kind for each in seen].count("up") == 15)
        buttons = [each.detail for each in desk.witness.seen if each.kind == "down"]
        assert buttons == [4] * 3 + [5] * 3 + [6] * 3 + [7] * 3 + [4] + [7] * 2


@WAYS
async def test_a_drag_along_a_path(desk: Desk, video: str) -> None:
    async with desk.host(video) as session:
        await session.mouse.drag([(X, Y), (X + 80, Y), (X + 80, Y + 40)], steps=4)
        await session.flush()
        await desk.witness.until(lambda seen: seen[-1:] != [] and seen[-1].kind == "up")
        assert desk.witness.shape() == [
            *(("move", 0, X, Y), ("down", 1, X, Y)),
            *(("move", 0, X + step, Y) for step in (20, 40, 60, 80)),
            *(("move", 0, X + 80, Y + step) for step in (10, 20, 30, 40)),
            ("up", 1, X + 80, Y + 40),
        ]


@WAYS
async def test_a_drag_that_is_cancelled_lets_go_at_once(desk: Desk, video: str) -> None:
    async with desk.host(video) as session:
        with trio.move_on_after(0.5) as scope:
            await session.mouse.drag([(X, Y), (X + 100, Y)], steps=100, duration=5)
        assert scope.cancelled_caught
        await session.flush()
        await desk.witness.until(lambda seen: seen[-1:] != [] and seen[-1].kind == "up")
        assert 1 <= desk.witness.seen[-1].x - X <= 50
        if desk.server.simulator is not None:
            assert desk.server.simulator.held == (frozenset(), frozenset())


async def test_a_button_that_is_down_goes_up_with_the_session(desk: Desk) -> None:
    with pytest.raises(RuntimeError, match="mine"):
        async with desk.host() as session:
            await session.mouse.down(X, Y, button="right")
            raise RuntimeError("mine")
    await desk.witness.until(lambda seen: ("up", 3, X, Y) in desk.witness.shape())


async def test_what_is_outside_or_between_pixels_is_refused_and_nothing_is_sent(desk: Desk) -> None:
    async with desk.host() as session:
        screen = session.state.screen
        for call in (
            session.mouse.move(screen.width, 0),
            session.mouse.click(X + 0.5, Y),  # type: ignore[arg-type]
            session.mouse.drag([(X, Y), (X, screen.height)]),
            session.mouse.scroll(X, -1, down=1),
        ):
            with pytest.raises(InvalidInput):
                await call
        await session.mouse.move(*session.screen.at((X + 0.5) / screen.width, (Y + 0.5) / screen.height))
        await session.flush()
        await desk.witness.until(lambda seen: len(seen) > 0)
        assert desk.witness.shape() == [("move", 0, X, Y)]


async def test_another_session_sees_where_the_pointer_is(desk: Desk) -> None:
    async with (
        neko_trio.open_session(desk.server.url, username=unique("onlooker"), password=desk.server.password) as onlooker,
        desk.host() as session,
    ):
        await data_channel_open(onlooker)
        await session.mouse.move(X, Y)
        frame = await onlooker.screen.frame()
        while onlooker.mouse.position != (X, Y):
            frame = await onlooker.screen.frame(newer_than=frame)
        assert not onlooker.state.is_host


async def test_the_cursor_is_painted_where_it_is(desk: Desk) -> None:
    async with desk.host() as session:
        await session.mouse.move(X, Y)
        cursor = session.screen.cursor
        assert cursor is not None
        assert cursor.position == (X, Y)
        painted = await session.screen.frame(cursor=True)
        picture = painted.to_ndarray()
        plain = (await session.screen.frame()).to_ndarray()
        rgba, (left, top) = pixels_of(cursor)
        spot = picture[top : top + rgba.shape[0], left : left + rgba.shape[1]]
        opaque = rgba[..., 3] == 255
        assert opaque.sum() > 20
        assert (spot[opaque] == rgba[..., :3][opaque]).all()
        assert picture.shape == plain.shape
        part = painted.crop((left, top, left + rgba.shape[1], top + rgba.shape[0])).to_ndarray()
        assert (part == spot).all()


def pixels_of(cursor: Cursor) -> tuple[Any, tuple[int, int]]:
    """The cursor's RGBA pixels, and where its upper left corner is on the screen."""
    with Image.open(io.BytesIO(cursor.png)) as picture:
        rgba = np.asarray(picture.convert("RGBA"))
    return rgba, (cursor.position[0] - cursor.hotspot[0], cursor.position[1] - cursor.hotspot[1])


# -- touch


async def test_without_a_touch_screen_touches_are_refused(desk: Desk) -> None:
    async with desk.host() as session:
        if session.state.touch_events:
            await session.touch.tap(X, Y)
            await session.flush()
            await desk.witness.until(lambda seen: any(each.kind == "up" for each in seen))
        else:
            with pytest.raises(FeatureOff):
                await session.touch.tap(X, Y)
            await session.flush()
            assert desk.witness.seen == []


@WAYS
async def test_taps_and_a_swipe(touch_desk: Desk, video: str) -> None:
    async with touch_desk.host(video) as session:
        if not session.state.touch_events:
            return  # refused: see above
        await session.touch.tap(X, Y, count=2)
        await session.touch.swipe((X + 50, Y), (X + 50, Y + 60), steps=3)
        await session.flush()
        told = touches(await touch_desk.witness.until(lambda seen: [each.kind for each in seen].count("end") == 3))
        assert near(
            told,
            [("begin", X, Y), ("end", X, Y)] * 2
            + [
                ("begin", X + 50, Y),
                *(("update", X + 50, Y + step) for step in (20, 40, 60)),
                ("end", X + 50, Y + 60),
            ],
        )
        if touch_desk.server.simulator is not None:
            assert touch_desk.server.simulator.touches == frozenset()


@WAYS
async def test_a_pinch(touch_desk: Desk, video: str) -> None:
    async with touch_desk.host(video) as session:
        if not session.state.touch_events:
            return
        await session.touch.pinch((X, Y), start=100, end=20, steps=2)
        await session.flush()
        seen = await touch_desk.witness.until(lambda seen: [each.kind for each in seen].count("end") == 2)
        for finger, side in enumerate((-1, 1)):
            own = touches([each for each in seen if each.detail == finger])
            places = [("begin", X + side * 50, Y), ("update", X + side * 30, Y), ("update", X + side * 10, Y)]
            assert near(own, [*places, ("end", X + side * 10, Y)])


async def test_fingers_are_lifted_when_a_gesture_is_cancelled_and_when_the_session_ends(touch_desk: Desk) -> None:
    async with touch_desk.host() as session:
        if not session.state.touch_events:
            return
        with trio.move_on_after(0.5):
            await session.touch.swipe((X, Y), (X + 100, Y), steps=100, duration=5)
        await session.flush()
        await touch_desk.witness.until(lambda seen: [each.kind for each in seen].count("end") == 1)
        await session.touch.down(X, Y, finger=4)
        await session.flush()
        await touch_desk.witness.until(lambda seen: [each.kind for each in seen].count("begin") == 2)
    await touch_desk.witness.until(lambda seen: [each.kind for each in seen].count("end") == 2)
    if touch_desk.server.simulator is not None:
        assert touch_desk.server.simulator.touches == frozenset()


def touches(seen: list[Seen]) -> list[tuple[str, int, int]]:
    return [(each.kind, each.x, each.y) for each in seen if each.kind in ("begin", "update", "end")]


def near(told: list[tuple[str, int, int]], wanted: list[tuple[str, int, int]]) -> bool:
    """X has a touch to within a pixel."""
    return [kind for kind, *_ in told] == [kind for kind, *_ in wanted] and all(
        abs(x - wanted_x) <= 1 and abs(y - wanted_y) <= 1
        for (_, x, y), (_, wanted_x, wanted_y) in zip(told, wanted, strict=True)
    )
