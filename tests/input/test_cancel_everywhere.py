"""Cancel a scenario of input at every one of its task steps: the desktop is always left clean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from neko_trio.protocol import requests
from neko_trio.protocol.data_channel import ButtonDown, ButtonUp, KeyDown, KeyUp, TouchBegin, TouchEnd
from tests.cancelling import cancelled_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.input.conftest import Desk


async def use(desk: Desk, wait: bool) -> None:
    keyboard, mouse = desk.keyboard, desk.mouse
    async with desk.control.control(wait=wait):
        await mouse.click(10, 10, keys="ctrl")
        async with keyboard.hold("shift"):
            await mouse.down(1, 1)
            await keyboard.type("Hello World! " * 4)
            await mouse.up(2, 2)
            await mouse.drag([(2, 2), (9, 9)], steps=3, keys="shift")
        await desk.touch.down(5, 5, finger=7)
        await desk.touch.swipe((5, 5), (90, 90), steps=3)
        await desk.touch.pinch((100, 100), start=50, end=10, steps=2, duration=0)
        await desk.inputs.flush()
        desk.data.data_channel_open = False
        await keyboard.press("ctrl+s")


@pytest.mark.parametrize("delay", [0, 0.01])
@pytest.mark.parametrize("wait", [False, True])
async def test_cancelled_anywhere_nothing_stays_down_and_the_role_is_given_back(
    make_desk: Callable[[], Desk], autojump_clock: MockClock, wait: bool, delay: float
) -> None:
    for step in range(1000):
        desk = make_desk()
        desk.server.set_host(None)
        desk.server.data_delay = desk.server.socket_delay = delay
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.server.serve, "data")
            nursery.start_soon(desk.server.serve, "socket")
            with cancelled_after(step) as sweep:
                await use(desk, wait)
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
        assert not desk.state.value.is_host
        assert desk.inputs.held == ()
        assert _down_at_the_server(desk) == set()
        if not sweep.fired:
            assert step > 20
            return
    raise AssertionError("the scenario did not end")


def _down_at_the_server(desk: Desk) -> set[tuple[str, int]]:
    down: set[tuple[str, int]] = set()
    for message in desk.server.handled:
        match message:
            case KeyDown(code) | requests.ControlKeyDown(keysym=code):
                down.add(("key", code))
            case KeyUp(code) | requests.ControlKeyUp(keysym=code):
                down.discard(("key", code))
            case ButtonDown(code) | requests.ControlButtonDown(code=code):
                down.add(("button", code))
            case ButtonUp(code) | requests.ControlButtonUp(code=code):
                down.discard(("button", code))
            case TouchBegin(touch_id) | requests.ControlTouchBegin(touch_id=touch_id):
                down.add(("finger", touch_id))
            case TouchEnd(touch_id) | requests.ControlTouchEnd(touch_id=touch_id):
                down.discard(("finger", touch_id))
            case _:
                pass
    return down
