"""What input may have left pressed at the server when its connection, or the host role, was lost; in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from neko_trio._ports.channels import WAKE, as_request
from neko_trio.errors import InputInDoubt
from neko_trio.protocol import requests
from neko_trio.protocol.data_channel import (
    ButtonDown,
    ButtonUp,
    ClientMessage,
    KeyDown,
    KeyUp,
    Move,
    TouchBegin,
    TouchEnd,
    TouchUpdate,
)

if TYPE_CHECKING:
    from tests.input.conftest import Desk

ME, OTHER = "me-12345", "other-67890"
FINGER = 2064
TAP: list[ClientMessage] = [TouchBegin(FINGER, 5, 6, 255), TouchEnd(FINGER, 5, 6, 0)]

PLANS: list[tuple[list[ClientMessage], list[ClientMessage]]] = [
    ([*TAP], [TouchEnd(FINGER, 5, 6, 0)]),
    ([Move(1, 1), ButtonDown(1), ButtonUp(1)], [ButtonUp(1)]),
    ([KeyDown(0xFFE3), KeyDown(97), KeyUp(97), KeyUp(0xFFE3)], [KeyUp(97), KeyUp(0xFFE3)]),
    ([*TAP, TouchBegin(FINGER, 9, 9, 255), TouchEnd(FINGER, 9, 9, 0)], [TouchEnd(FINGER, 9, 9, 0)]),
]
"""A plan, and what lets go of all that a part of it may have pressed."""


def lose_the_peer(desk: Desk) -> None:
    """The data channel goes with its peer; the WebSocket stays."""
    desk.server._queues["data"].clear()
    desk.data = type(desk.data)(desk.server)
    desk.plug()


def told(messages: Sequence[object]) -> list[object]:
    """Without what only wakes the server's X."""
    return [message for message in messages if message not in (WAKE, as_request(WAKE))]


@pytest.mark.parametrize(("plan", "releases"), PLANS)
async def test_a_plan_that_is_cut_in_the_middle_is_let_go_of_by_the_next(
    desk: Desk, autojump_clock: MockClock, plan: list[ClientMessage], releases: list[ClientMessage]
) -> None:
    await desk.inputs.submit(plan)
    lose_the_peer(desk)
    desk.server.handled.clear()
    with pytest.raises(InputInDoubt):
        await desk.inputs.flush()
    await desk.inputs.submit([Move(2, 2)])
    await desk.inputs.submit([Move(3, 3)])
    await desk.inputs.flush()
    assert told(desk.server.handled) == [*releases, Move(2, 2), Move(3, 3)], "once"


@pytest.mark.parametrize(("plan", "releases"), PLANS)
async def test_or_at_the_end_of_the_block(
    desk: Desk, autojump_clock: MockClock, plan: list[ClientMessage], releases: list[ClientMessage]
) -> None:
    desk.server.set_host(None)
    with pytest.raises(InputInDoubt):
        async with desk.control.control():
            await desk.inputs.submit(plan)
            desk.data.data_channel_open = False
            await wait_all_tasks_blocked()
            desk.server.handled.clear()
    assert told(desk.server.handled) == [*map(as_request, releases), requests.ControlRelease()]


async def test_what_was_confirmed_is_not_let_go_of_again(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit(TAP)
    await desk.inputs.flush()
    await desk.inputs.submit([KeyDown(97), KeyUp(97)])
    lose_the_peer(desk)
    desk.server.handled.clear()
    with pytest.raises(InputInDoubt):
        await desk.inputs.submit([Move(1, 1)])
    await desk.inputs.submit([Move(2, 2)])
    await desk.inputs.flush()
    assert desk.server.handled == [KeyUp(97), Move(2, 2)]


async def test_what_is_held_stays_held(desk: Desk, autojump_clock: MockClock) -> None:
    """The peer is lost, the role is not: the server has what was pressed before still down."""
    await desk.inputs.submit([KeyDown(0xFFE1)])
    await desk.inputs.submit([KeyUp(0xFFE1), KeyDown(0xFFE1), ButtonDown(1), ButtonUp(1), *TAP, TAP[0]])
    lose_the_peer(desk)
    desk.server.handled.clear()
    with pytest.raises(InputInDoubt):
        await desk.inputs.flush()
    await desk.inputs.submit([TouchUpdate(FINGER, 7, 7, 255)])
    await desk.inputs.release_held()
    await desk.inputs.flush()
    assert told(desk.server.handled) == [
        ButtonUp(1), TouchUpdate(FINGER, 7, 7, 255), TouchEnd(FINGER, 7, 7, 0), KeyUp(0xFFE1)
    ]  # fmt: skip


async def test_a_release_that_is_lost_as_well_is_sent_on_the_wire_after(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit(TAP)
    for _ in range(2):
        lose_the_peer(desk)
        with pytest.raises(InputInDoubt):
            await desk.inputs.flush()
        desk.server.handled.clear()
        await desk.inputs.submit([Move(2, 2)])
    await desk.inputs.flush()
    assert told(desk.server.handled) == [TAP[1], Move(2, 2)]


async def test_a_wire_that_is_lost_while_it_takes_the_releases(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit(TAP)
    lose_the_peer(desk)
    with pytest.raises(InputInDoubt):
        await desk.inputs.flush()
    stuck = desk.data.stuck = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.inputs.submit, [Move(2, 2)])
        await wait_all_tasks_blocked()
        lose_the_peer(desk)
        stuck.set()
    desk.server._queues["data"].clear()  # what the old one still took comes to nothing
    with pytest.raises(InputInDoubt):
        await desk.inputs.flush()
    await desk.inputs.submit([Move(3, 3)])
    await desk.inputs.flush()
    assert told(desk.server.handled) == [TAP[1], Move(3, 3)]


async def test_what_wakes_the_server_or_presses_again_takes_the_releases_along(
    desk: Desk, autojump_clock: MockClock
) -> None:
    await desk.inputs.submit([KeyDown(0xFFE1)])
    await desk.inputs.flush()
    await desk.inputs.submit([ButtonDown(1), ButtonUp(1)])
    lose_the_peer(desk)
    with pytest.raises(InputInDoubt):
        await desk.inputs.flush()
    desk.server.handled.clear()
    await desk.inputs.press_again([KeyUp(0xFFE1)], before=trio.current_time())
    await desk.inputs.flush()
    assert desk.server.handled == [ButtonUp(1), KeyUp(0xFFE1), KeyDown(0xFFE1)]


async def test_a_finger_whose_lifting_came_after_the_role_was_taken(desk: Desk, autojump_clock: MockClock) -> None:
    """The server drops what comes from who is not host."""
    await desk.inputs.submit(TAP)
    desk.server.set_host(OTHER)
    await wait_all_tasks_blocked()
    assert desk.server.handled == []
    desk.server.set_host(ME)
    await desk.inputs.submit([Move(2, 2)])
    await desk.inputs.flush()
    assert told(desk.server.handled) == [TAP[1], Move(2, 2)]
