from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from neko_trio.desktop.mouse import Mouse
from neko_trio.errors import ControlLost, HostTaken, InvalidInput, NotAllowed
from neko_trio.protocol import requests
from neko_trio.protocol.data_channel import ButtonDown, ButtonUp, KeyDown, KeyUp, Move, Scroll
from neko_trio.protocol.events import ScreenSize

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
        lambda mouse: mouse.drag([(1, 1)]),
        lambda mouse: mouse.drag([]),
        lambda mouse: mouse.drag(None),
        lambda mouse: mouse.drag([1, 2]),
        lambda mouse: mouse.drag([(1, 1), (2, 2, 2)]),
        lambda mouse: mouse.drag([(1, 1), (1280, 2)]),
        lambda mouse: mouse.drag([(1, 1), (2, 2.5), (3, 3)]),
        lambda mouse: mouse.drag([(1, 1), (2, 2)], steps=0),
        lambda mouse: mouse.drag([(1, 1), (2, 2)], steps=1001),
        lambda mouse: mouse.drag([(1, 1), (2, 2)], steps=2.5),
        lambda mouse: mouse.drag([(1, 1), (2, 2)] * 10, steps=1000),
        lambda mouse: mouse.drag(((x % 9, 1) for x in itertools.count()), steps=1),
        lambda mouse: mouse.drag([(1, 1), (2, 2)], duration=10),
        lambda mouse: mouse.drag([(1, 1), (2, 2)], duration=-1),
        lambda mouse: mouse.drag([(1, 1), (2, 2)], duration=float("nan")),
        lambda mouse: mouse.drag([(1, 1), (2, 2)], button="wheel"),
        lambda mouse: mouse.drag([(1, 1), (2, 2)], keys="nosuchkey"),
    ],
)
async def test_what_the_server_would_bend_or_drop(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock, call: Any
) -> None:
    with pytest.raises(InvalidInput):
        await call(mouse)
    assert desk.server.hops == []


async def test_the_screen_may_change(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
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


# -- dragging


async def test_a_drag_goes_along_the_path_in_steps(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await mouse.drag([(100, 100), (140, 100), (140, 120)], steps=2, duration=0.4)
    assert trio.current_time() == pytest.approx(began + 0.4)
    await desk.inputs.flush()
    assert desk.server.handled == [
        *(Move(100, 100), ButtonDown(1)),
        *(Move(120, 100), Move(140, 100), Move(140, 110), Move(140, 120)),
        ButtonUp(1),
    ]
    assert desk.server.hops == [2, 1, 1, 1, 2, 1], "press, each point, the last with the release, a ping"


async def test_a_drag_with_keys_and_another_button(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    await mouse.drag([(1, 1), (1, 1), (9, 1)], steps=1, button="right", keys="ctrl+shift", duration=0)
    await desk.inputs.flush()
    assert desk.server.handled == [
        *(KeyDown(CTRL), KeyDown(SHIFT), Move(1, 1), ButtonDown(3)),
        *(Move(9, 1), ButtonUp(3), KeyUp(SHIFT), KeyUp(CTRL)),
    ]


async def test_a_quick_drag_goes_out_in_pieces_of_sixteen(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await mouse.drag([(0, 0), (500, 0)], steps=50, duration=0)
    assert trio.current_time() == began
    await desk.inputs.flush()
    assert desk.server.hops == [2, 16, 16, 16, 1, 2, 1]
    moves = [message.x for message in desk.server.handled if isinstance(message, Move)]
    assert moves == list(range(0, 501, 10))


async def test_a_drag_to_where_it_began_is_a_press_and_a_release(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock
) -> None:
    await mouse.drag([(5, 5), (5, 5)])
    await desk.inputs.flush()
    assert desk.server.handled == [Move(5, 5), ButtonDown(1), Move(5, 5), ButtonUp(1)]


async def test_a_drag_cancelled_between_two_points_lets_go(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    with trio.move_on_after(0.55) as scope:
        await mouse.drag([(0, 0), (100, 0)], steps=10, duration=1, keys="ctrl")
    assert scope.cancelled_caught
    assert desk.inputs.held == ()
    await desk.inputs.flush()
    assert desk.server.handled[-3:] == [Move(50, 0), ButtonUp(1), KeyUp(CTRL)]
    assert mouse.position == (50, 0)


async def test_a_drag_cancelled_while_its_press_goes_out_lets_go_of_what_may_be_down(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock
) -> None:
    desk.data.stuck = trio.Event()

    async def unstick() -> None:
        await trio.sleep(1.5)
        assert desk.data.stuck is not None
        desk.data.stuck.set()
        desk.data.stuck = None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(unstick)
        with trio.move_on_after(1):
            await mouse.drag([(0, 0), (100, 0)])
    assert desk.inputs.held == ()
    await desk.inputs.flush()
    assert desk.server.handled == [ButtonUp(1)]


async def test_a_drag_cancelled_before_its_turn_leaves_another_ones_button_alone(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock
) -> None:
    await mouse.down(1, 1)
    with pytest.raises(InvalidInput, match="held down already"):
        await mouse.drag([(0, 0), (100, 0)])
    desk.data.stuck = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mouse.move, 3, 3)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await mouse.drag([(0, 0), (100, 0)], button="right")
        desk.data.stuck.set()
        desk.data.stuck = None
    assert desk.inputs.held == (ButtonUp(1),)
    await desk.inputs.flush()
    assert desk.server.handled == [Move(1, 1), ButtonDown(1), Move(3, 3)]


async def test_an_outer_hold_of_a_key_survives_a_cancelled_drag_with_it(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock
) -> None:
    await desk.inputs.submit([KeyDown(CTRL)])
    with trio.move_on_after(0.5):
        await mouse.drag([(0, 0), (100, 0)], duration=1, keys="ctrl")
    assert desk.inputs.held == (KeyUp(CTRL),)
    await desk.inputs.flush()
    assert KeyUp(CTRL) not in desk.server.handled


async def test_a_drag_whose_role_is_lost_says_so(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    async def lose() -> None:
        await trio.sleep(0.5)
        desk.server.set_host("other-67890")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lose)
        with pytest.raises((HostTaken, ControlLost)):
            await mouse.drag([(0, 0), (100, 0)], duration=1)
    assert desk.inputs.held == ()


# -- where it is


async def test_the_position_is_where_we_moved_it(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    assert mouse.position is None
    await mouse.click()
    assert mouse.position is None
    await mouse.move(3, 4)
    assert mouse.position == (3, 4)
    await mouse.scroll(5, 6, down=1)
    assert mouse.position == (5, 6)
    await mouse.down(7, 8)
    await mouse.up(9, 10)
    assert mouse.position == (9, 10)
    with pytest.raises(InvalidInput):
        await mouse.move(5000, 1)
    assert mouse.position == (9, 10)
    await desk.inputs.flush()
    desk.data.data_channel_open = False
    await mouse.move(1279, 719)
    await desk.inputs.flush()
    assert desk.server.handled[-1] == requests.ControlMove(x=1279, y=719)
    assert mouse.position == (1279, 719)
    desk.server.set_state(screen=ScreenSize(width=800, height=600, rate=30))
    assert mouse.position == (799, 599), "a smaller screen pushes it inside"


async def test_what_has_not_left_moves_nothing(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    await mouse.move(1, 1)
    desk.data.stuck = trio.Event()
    with trio.move_on_after(1):
        await mouse.move(2, 2)
    assert mouse.position == (1, 1)


# -- single clicks stay single


async def test_two_clicks_at_one_place_are_kept_apart(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await mouse.click(100, 100)
    assert trio.current_time() == began
    await mouse.click(100, 100)
    assert trio.current_time() == pytest.approx(began + 0.55)
    await mouse.click(107, 107)
    assert trio.current_time() == pytest.approx(began + 1.1)
    await trio.sleep(0.4)
    await mouse.click()
    assert trio.current_time() == pytest.approx(began + 1.65), "what is left of it"
    await trio.sleep(0.6)
    now = trio.current_time()
    await mouse.click(107, 107)
    assert trio.current_time() == now


async def test_clicks_that_no_program_takes_for_one_do_not_wait(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    await mouse.click(100, 100)
    await mouse.click(100, 100, button="right")
    await mouse.click(120, 100)
    await mouse.click(100, 100, count=2, button="middle")
    assert trio.current_time() == began
    await mouse.click(120, 100, count=2)
    assert trio.current_time() == pytest.approx(began + 0.55), "or it would be a triple click"
    await desk.inputs.flush()
    assert desk.server.handled[-5:] == [Move(120, 100), *[ButtonDown(1), ButtonUp(1)] * 2]


async def test_clicks_of_several_tasks_are_kept_apart_too(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(mouse.click, 5, 5)
    assert trio.current_time() == pytest.approx(began + 1.1)


async def test_a_drag_after_a_click_and_a_click_after_a_drag(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock
) -> None:
    """A double click that is dragged selects whole words."""
    began = trio.current_time()
    await mouse.click(10, 10)
    await mouse.drag([(10, 10), (300, 10)], duration=0)
    assert trio.current_time() == pytest.approx(began + 0.55)
    await mouse.click(300, 10)
    assert trio.current_time() == pytest.approx(began + 1.1)
    await trio.sleep(1)
    await mouse.drag([(10, 10), (300, 10)], duration=0)
    now = trio.current_time()
    await mouse.click(10, 10)
    assert trio.current_time() == pytest.approx(now + 0.55), "where it was pressed"


async def test_down_and_up_never_wait_but_count(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    for _ in range(2):
        await mouse.down(4, 4)
        await mouse.up()
    assert trio.current_time() == began
    await mouse.click(4, 4)
    assert trio.current_time() == pytest.approx(began + 0.55)


async def test_while_the_place_is_not_known_every_click_may_be_the_second(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    await mouse.click()
    await mouse.click(5, 5)
    assert trio.current_time() == pytest.approx(began + 0.55)


async def test_the_time_can_be_set(desk: Desk, mouse: Mouse, autojump_clock: MockClock) -> None:
    assert mouse.double_click_time == 0.5
    mouse.double_click_time = 0
    began = trio.current_time()
    await mouse.click(5, 5)
    await mouse.click(5, 5)
    assert trio.current_time() == began
    mouse.double_click_time = 1
    await mouse.click(5, 5)
    assert trio.current_time() == pytest.approx(began + 1.05)
    for wrong in (-1, 11, float("nan"), "1", True):
        with pytest.raises(InvalidInput):
            mouse.double_click_time = wrong  # type: ignore[assignment]


async def test_a_click_that_was_long_on_its_way_is_waited_for(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock
) -> None:
    """As after the loss of a datagram: what comes after it waits for it, and both would arrive together."""
    desk.server.data_delay = 0.25
    began = trio.current_time()
    await mouse.click(5, 5)
    await mouse.click(5, 5)
    assert trio.current_time() == pytest.approx(began + 1 + 0.55), "three messages and the ping took a second"


async def test_cancelled_or_not_allowed_while_it_waits_nothing_is_sent(
    desk: Desk, mouse: Mouse, autojump_clock: MockClock
) -> None:
    await mouse.click(5, 5)
    with trio.move_on_after(0.2):
        await mouse.click(5, 5)
    desk.server.set_host("other-67890")
    now = trio.current_time()
    with pytest.raises(HostTaken):
        await mouse.click(5, 5)
    assert trio.current_time() == now
    assert desk.server.hops == [3, 1]
