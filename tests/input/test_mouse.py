from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from neko_trio.desktop.mouse import Mouse
from neko_trio.errors import InvalidInput, NotAllowed
from neko_trio.protocol.data_channel import ButtonDown, ButtonUp, KeyDown, KeyUp, Move, Scroll

if TYPE_CHECKING:
    from tests.input.conftest import Desk

CTRL, SHIFT = 0xFFE3, 0xFFE1


@pytest.fixture
def mouse(desk: Desk) -> Mouse:
    return desk.mouse


async def test_a_click_is_one_hop(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    await mouse.click(640, 360)
    await desk.inputs.flush()
    assert desk.server.handled == [Move(640, 360), ButtonDown(1), ButtonUp(1)]
    assert desk.server.hops == [3, 1]


async def test_what_a_click_may_be(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    await mouse.click(button="right", count=2, keys="ctrl+shift")
    await mouse.click(np.int64(0), np.int64(719), button="back", keys=["ctrl"])
    await desk.inputs.flush()
    assert desk.server.handled == [
        *(
            KeyDown(CTRL),
            KeyDown(SHIFT),
            ButtonDown(3),
            ButtonUp(3),
            ButtonDown(3),
            ButtonUp(3),
            KeyUp(SHIFT),
            KeyUp(CTRL),
        ),
        *(KeyDown(CTRL), Move(0, 719), ButtonDown(8), ButtonUp(8), KeyUp(CTRL)),
    ]


async def test_down_and_up(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    await mouse.down(1, 2)
    await mouse.move(3, 4)
    with pytest.raises(InvalidInput, match="held down already"):
        await mouse.click()
    await mouse.up(5, 6)
    with pytest.raises(InvalidInput, match="not held"):
        await mouse.up()
    await desk.inputs.flush()
    assert desk.server.handled == [Move(1, 2), ButtonDown(1), Move(3, 4), Move(5, 6), ButtonUp(1)]


@pytest.mark.parametrize(
    ("options", "scroll"),
    [
        ({"down": 3}, Scroll(0, -3)),
        ({"up": 3}, Scroll(0, 3)),
        ({"left": 2}, Scroll(2, 0)),
        ({"right": 2, "down": 1}, Scroll(-2, -1)),
    ],
)
async def test_scrolling(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock, options: dict[str, Any], scroll: Scroll
) -> None:
    await mouse.scroll(7, 8, **options)
    await mouse.scroll(**options, keys="ctrl")
    await desk.inputs.flush()
    assert desk.server.handled == [Move(7, 8), scroll, KeyDown(CTRL), scroll, KeyUp(CTRL)]


@pytest.mark.parametrize(
    "call",
    [
        lambda mouse: mouse.move(1280, 0),
        lambda mouse: mouse.move(0, 720),
        lambda mouse: mouse.move(-1, 0),
        lambda mouse: mouse.click(640.5, 1),
        lambda mouse: mouse.click(640.0, 1),
        lambda mouse: mouse.click(float("nan"), 1),
        lambda mouse: mouse.click("1", 1),
        lambda mouse: mouse.click(1),
        lambda mouse: mouse.click(y=1),
        lambda mouse: mouse.click(count=0),
        lambda mouse: mouse.click(count=1.5),
        lambda mouse: mouse.click(count=1000),
        lambda mouse: mouse.click(button="wheel"),
        lambda mouse: mouse.click(button=4),
        lambda mouse: mouse.click(keys="nosuchkey"),
        lambda mouse: mouse.down(button=None),
        lambda mouse: mouse.up(button="x"),
        lambda mouse: mouse.scroll(1, 1),
        lambda mouse: mouse.scroll(down=-1),
        lambda mouse: mouse.scroll(down=1001),
        lambda mouse: mouse.scroll(down=0.5),
        lambda mouse: mouse.scroll(up=1, down=1),
    ],
)
async def test_what_the_server_would_bend_or_drop(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock, call: Any
) -> None:
    with pytest.raises(InvalidInput):
        await call(mouse)
    assert desk.server.hops == []


async def test_the_screen_may_change(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    from neko_trio.protocol.events import ScreenSize

    desk.server.set_state(screen=ScreenSize(width=1920, height=1080, rate=30))
    await mouse.move(1919, 1079)
    await desk.inputs.flush()
    assert desk.server.handled == [Move(1919, 1079)]


async def test_not_host(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    desk.server.set_host(None)
    with pytest.raises(NotAllowed, match="control"):
        await mouse.click(1, 1)
    assert desk.server.hops == []


async def test_a_click_is_whole_or_not_at_all(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    for stuck in (True, False):
        desk.server.handled.clear()
        desk.data.stuck = trio.Event() if stuck else None
        with trio.CancelScope() as scope:
            if not stuck:
                scope.cancel()
            else:
                scope.deadline = trio.current_time() + 1
            await mouse.click(1, 1, keys="ctrl")
        desk.data.stuck = None
        await desk.inputs.release_held()
        await desk.inputs.flush()
        assert KeyDown(CTRL) not in desk.server.handled
        assert ButtonDown(1) not in desk.server.handled
