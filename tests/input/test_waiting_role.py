"""What waits for a role that is away, and what may not leave without one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trio

from neko_trio.desktop.key_map import Layout
from neko_trio.protocol import requests
from neko_trio.protocol.data_channel import KeyDown

if TYPE_CHECKING:
    from tests.input.conftest import Desk

ME, OTHER = "me-12345", "other-67890"


async def test_a_touch_that_nobody_has_flushed_and_something_quiet(desk: Desk) -> None:
    """The flush inside wakes X behind touches: by a plan, and the turn is held."""
    await desk.touch.tap(10, 10)
    await desk.clipboard.copy()
    assert desk.server.handled[-1] == requests.ControlCopy()


CALLS: dict[str, Callable[[Desk], Awaitable[object]]] = {
    "type": lambda desk: desk.keyboard.type("é"),
    "paste": lambda desk: desk.keyboard.type("abc", paste=True),
    "press": lambda desk: desk.keyboard.press("é"),
    "copy": lambda desk: desk.clipboard.copy(),
    "read": lambda desk: desk.clipboard.read(),
    "write": lambda desk: desk.clipboard.write("text"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_all_input_waits_for_the_role(
    desk: Desk, nursery: trio.Nursery, call: Callable[[Desk], Awaitable[object]]
) -> None:
    desk.server.set_host(None)

    async def another() -> None:
        await trio.sleep(1)
        desk.server.set_host(OTHER)
        await trio.sleep(5)
        desk.server.set_host(ME)

    nursery.start_soon(another)
    async with desk.control.control(regain=True):
        await trio.sleep(2)
        await call(desk)
        assert trio.current_time() > 5


async def test_typing_goes_by_the_layout_that_the_other_host_has_left(desk: Desk, nursery: trio.Nursery) -> None:
    desk.server.set_host(None)

    async def another() -> None:
        await trio.sleep(1)
        desk.server.set_host(OTHER)
        await trio.sleep(2)
        desk.x.layout = {"layout": "ru", "variant": ""}
        desk.server.set_host(ME)

    nursery.start_soon(another)
    async with desk.control.control(regain=True):
        await trio.sleep(2)
        await desk.keyboard.type("я")
    russian = Layout("ru").key("я")
    assert russian is not None
    assert KeyDown(russian.keysym) in desk.server.handled


async def test_no_control_message_of_a_session_whose_role_went_with_its_connection(
    desk: Desk, nursery: trio.Nursery
) -> None:
    """On the new connection another is host: Ctrl+C for the program in front would nag that person."""
    from tests.input.conftest import Socket

    desk.server.set_host(None)
    desk.inputs.returns = True

    async def outage() -> None:
        await trio.sleep(1)
        desk.control.on_link_lost()
        desk.inputs.go_away()
        await trio.sleep(2)
        desk.server.set_host(OTHER)
        desk.inputs.plug(None, Socket(desk.server), session_id=ME)
        await trio.sleep(2)
        desk.server.set_host(ME)

    nursery.start_soon(outage)
    async with desk.control.control(regain=True):
        await trio.sleep(2)
        await desk.clipboard.copy()
        assert trio.current_time() >= 5, "sent while another was host"
    assert requests.ControlCopy() in desk.server.handled
