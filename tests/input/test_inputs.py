"""The input port in virtual time: one channel per plan, barriers, doubt, cancellation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from neko_trio._ports.channels import BARRIER_SUBJECT, as_request
from neko_trio._ports.wires import WINDOW
from neko_trio.errors import HostTaken, InputInDoubt, InvalidInput, NotAllowed, SessionClosed, SessionLost
from neko_trio.protocol import data_channel, requests
from neko_trio.protocol.data_channel import (
    ButtonDown,
    ButtonUp,
    ClientMessage,
    KeyDown,
    KeyUp,
    Move,
    Ping,
    Pong,
    Scroll,
    TouchBegin,
    TouchEnd,
    TouchUpdate,
)
from neko_trio.protocol.events import SendUnicast

if TYPE_CHECKING:
    from tests.input.conftest import Desk

CLICK: list[ClientMessage] = [Move(10, 20), ButtonDown(1), ButtonUp(1)]


async def test_a_plan_is_one_hop_over_the_data_channel(desk: Desk, autojump_clock: MockClock) -> None:
    with assert_checkpoints():
        await desk.inputs.submit(CLICK)
    await desk.inputs.flush()
    assert desk.server.handled == CLICK
    assert desk.server.hops == [3, 1]
    assert (desk.inputs.plans_total, desk.inputs.messages_total) == (1, 3)


async def test_without_a_data_channel_it_goes_over_the_web_socket(desk: Desk, autojump_clock: MockClock) -> None:
    desk.data.data_channel_open = False
    await desk.inputs.submit([*CLICK, KeyDown(97), KeyUp(97), Scroll(-1, 2, True)])
    await desk.inputs.flush()
    assert desk.server.handled == [
        requests.ControlMove(x=10, y=20),
        requests.ControlButtonDown(code=1),
        requests.ControlButtonUp(code=1),
        requests.ControlKeyDown(keysym=97),
        requests.ControlKeyUp(keysym=97),
        requests.ControlScroll(delta_x=-1, delta_y=2, control_key=True),
    ]
    assert desk.server.hops == [6, 1]


def test_touches_have_a_spelling_for_the_web_socket_and_pings_have_none() -> None:
    assert as_request(TouchBegin(1, 2, 3, 4)) == requests.ControlTouchBegin(touch_id=1, x=2, y=3, pressure=4)
    assert as_request(TouchUpdate(1, 2, 3, 4)) == requests.ControlTouchUpdate(touch_id=1, x=2, y=3, pressure=4)
    assert as_request(TouchEnd(1, 2, 3, 4)) == requests.ControlTouchEnd(touch_id=1, x=2, y=3, pressure=4)
    with pytest.raises(TypeError):
        as_request(Ping(1))


async def test_flush_returns_when_the_server_has_handled_it_and_not_before(
    desk: Desk, autojump_clock: MockClock
) -> None:
    desk.server.data_delay = 0.5
    began = trio.current_time()
    await desk.inputs.submit(CLICK)
    assert trio.current_time() == began
    await desk.inputs.flush()
    assert trio.current_time() == began + 2.0  # three messages and the ping
    assert desk.server.handled == CLICK
    await desk.inputs.flush()
    assert trio.current_time() == began + 2.0  # nothing new: no round trip
    assert desk.server.hops == [3, 1]


async def test_two_flushes_at_once_both_wait(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.data_delay = 1
    await desk.inputs.submit(CLICK)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.inputs.flush)
        nursery.start_soon(desk.inputs.flush)
    assert trio.current_time() == began + 5
    with assert_checkpoints():
        await desk.inputs.flush()


async def test_a_flush_does_not_confirm_a_plan_that_is_still_on_its_way_out(
    desk: Desk, autojump_clock: MockClock
) -> None:
    stuck = desk.data.stuck = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.inputs.submit, CLICK)
        await wait_all_tasks_blocked()
        assert desk.server.handled == []
        desk.data.stuck = None
        await desk.inputs.flush()  # its ping overtakes the plan
        assert desk.server.handled == []
        stuck.set()
    await desk.inputs.flush()
    assert desk.server.handled == CLICK


async def test_changing_the_channel_waits_for_the_barrier_of_the_one_left(
    desk: Desk, autojump_clock: MockClock
) -> None:
    """Law 9: the fast channel must not overtake the slow one."""
    desk.server.socket_delay, desk.server.data_delay = 1, 0.001
    desk.plug(data=False)
    await desk.inputs.submit([KeyDown(97), KeyUp(97)])
    desk.plug(data=True)
    await desk.inputs.submit([KeyDown(98), KeyUp(98)])
    await desk.inputs.flush()
    assert desk.server.channels == ["socket", "socket", "data", "data"]


async def test_a_confirmed_channel_is_changed_without_a_round_trip(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit(CLICK)
    await desk.inputs.flush()
    desk.data.data_channel_open = False
    await desk.inputs.submit(CLICK)
    assert desk.server.hops == [3, 1, 3]


async def test_plans_of_several_tasks_are_not_mixed(desk: Desk, autojump_clock: MockClock) -> None:
    async def click(button: int) -> None:
        await desk.inputs.submit([Move(button, button), ButtonDown(button), ButtonUp(button)])

    async with trio.open_nursery() as nursery:
        for button in range(1, 9):
            nursery.start_soon(click, button)
    await desk.inputs.flush()
    handled = desk.server.handled
    assert len(handled) == 24
    for start in range(0, 24, 3):
        move = handled[start]
        assert isinstance(move, Move)
        assert handled[start : start + 3] == [move, ButtonDown(move.x), ButtonUp(move.x)]


async def test_unconfirmed_input_is_bounded(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.data_delay = 0.01
    for _ in range(WINDOW // 2):
        await desk.inputs.submit([KeyDown(97), KeyUp(97)])
    assert trio.current_time() == 0
    await desk.inputs.submit([KeyDown(97), KeyUp(97)])
    assert trio.current_time() == pytest.approx((WINDOW + 1) * 0.01)


# -- who may


async def test_nothing_leaves_without_the_host_role(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host("other-67890")
    with pytest.raises(HostTaken) as taken:
        await desk.inputs.submit(CLICK)
    assert taken.value.holder == "other-67890"
    desk.server.set_host(None)
    with pytest.raises(NotAllowed, match="not host"):
        await desk.inputs.submit(CLICK)
    assert desk.server.hops == []


async def test_the_role_is_looked_at_again_after_waiting(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.data_delay = 1
    await desk.inputs.submit([Move(1, 1)] * WINDOW)
    async with trio.open_nursery() as nursery:

        async def late() -> None:
            with pytest.raises(HostTaken):
                await desk.inputs.submit([Move(2, 2)])

        nursery.start_soon(late)  # waits for the barrier of the thousand before it
        await trio.sleep(10)
        desk.server.set_host("other-67890")
    assert desk.server.hops == [WINDOW, 1]


async def test_a_plan_that_waits_for_its_turn_is_checked_when_it_has_it(desk: Desk, autojump_clock: MockClock) -> None:
    desk.data.stuck = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.inputs.submit, CLICK)
        await wait_all_tasks_blocked()

        async def second() -> None:
            with pytest.raises(HostTaken):
                await desk.inputs.submit(CLICK)

        nursery.start_soon(second)
        await wait_all_tasks_blocked()
        desk.server.set_host("other-67890")
        desk.data.stuck.set()
    assert desk.server.hops == [3]


# -- what is held


async def test_held_keys_are_let_go_newest_first(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit([KeyDown(0xFFE1), KeyDown(97)])
    await desk.inputs.submit([KeyDown(0xFFE1), ButtonDown(1)])
    assert desk.inputs.held == (ButtonUp(1), KeyUp(97), KeyUp(0xFFE1))
    await desk.inputs.release_held()
    assert not desk.inputs.held
    await desk.inputs.flush()
    assert desk.server.handled[-3:] == [ButtonUp(1), KeyUp(97), KeyUp(0xFFE1)]
    with assert_checkpoints():
        await desk.inputs.release_held()


async def test_a_plan_of_nothing_new_sends_nothing(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit([KeyDown(0xFFE1)])
    await desk.inputs.submit([KeyDown(0xFFE1)])
    assert desk.server.hops == [1]
    await desk.inputs.release([KeyUp(0xFFE1)])
    assert desk.server.hops == [1]
    await desk.inputs.release([KeyUp(0xFFE1)])
    assert desk.server.hops == [1, 1]


async def test_a_second_press_is_refused_before_anything_leaves(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit([ButtonDown(1)])
    with pytest.raises(InvalidInput):
        await desk.inputs.submit(CLICK)
    assert desk.server.hops == [1]


async def test_losing_the_role_forgets_what_was_held(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit([KeyDown(97)])
    desk.server.set_host("other-67890")
    assert desk.inputs.held == ()
    await desk.inputs.release([KeyUp(97)])
    await desk.inputs.release_held()
    assert desk.server.hops == [1]


async def test_losing_the_role_while_a_plan_goes_out_leaves_nothing_held(desk: Desk, autojump_clock: MockClock) -> None:
    desk.data.stuck = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.inputs.submit, [KeyDown(97)])
        await wait_all_tasks_blocked()
        desk.server.set_host("other-67890")
        desk.data.stuck.set()
    assert desk.inputs.held == ()


async def test_cancelled_on_its_way_out_a_key_counts_as_held(desk: Desk, autojump_clock: MockClock) -> None:
    desk.data.stuck = trio.Event()
    with trio.move_on_after(1):
        await desk.inputs.submit([KeyDown(97)])
    assert desk.inputs.held == (KeyUp(97),)
    desk.data.stuck = None
    await desk.inputs.release_held()
    await desk.inputs.flush()
    assert desk.server.handled == [KeyUp(97)]


async def test_cancelled_before_its_turn_nothing_is_sent(desk: Desk, autojump_clock: MockClock) -> None:
    desk.data.stuck = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.inputs.submit, CLICK)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await desk.inputs.submit([KeyDown(97)])
        assert desk.inputs.held == ()
        desk.data.stuck.set()
    await desk.inputs.flush()
    assert desk.server.handled == CLICK


# -- connections that go


async def test_input_in_doubt_when_the_peer_dies_unconfirmed(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.silent = True
    await desk.inputs.submit(CLICK)
    async with trio.open_nursery() as nursery:

        async def flush() -> None:
            with pytest.raises(InputInDoubt):
                await desk.inputs.flush()

        nursery.start_soon(flush)
        await trio.sleep(1)
        desk.plug(data=False)
    desk.server.silent = False
    await desk.inputs.submit(CLICK)  # told once; over the WebSocket now
    await desk.inputs.flush()
    assert desk.server.channels[-3:] == ["socket"] * 3


async def test_the_next_plan_tells_the_doubt_and_sends_nothing(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit(CLICK)
    desk.plug(data=False)
    with pytest.raises(InputInDoubt):
        await desk.inputs.submit([Move(1, 1)])
    await desk.inputs.submit([Move(2, 2)])
    await desk.inputs.flush()
    assert desk.server.handled[3:] == [requests.ControlButtonUp(code=1), requests.ControlMove(x=2, y=2)]


async def test_a_data_channel_that_closed_under_unconfirmed_input(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit(CLICK)
    desk.data.data_channel_open = False
    with pytest.raises(InputInDoubt):
        await desk.inputs.submit([Move(1, 1)])
    await desk.inputs.submit([Move(2, 2)])
    assert desk.server.hops == [3, 2]  # with what lets go of the click before it


async def test_letting_go_does_not_stop_at_a_doubt(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit([KeyDown(97)])
    desk.plug(data=False)
    await desk.inputs.release_held()
    with pytest.raises(InputInDoubt):
        await desk.inputs.flush()
    await desk.inputs.flush()
    assert desk.server.handled == [KeyDown(97), requests.ControlKeyUp(keysym=97)]


async def test_confirmed_input_leaves_no_doubt(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit(CLICK)
    await desk.inputs.flush()
    desk.inputs.unplug()
    await desk.inputs.flush()
    with pytest.raises(SessionLost, match="nothing was sent"):
        await desk.inputs.submit(CLICK)
    with pytest.raises(SessionLost, match="nothing was sent"):
        await desk.inputs.ask()
    desk.plug()
    await desk.inputs.submit(CLICK)


async def test_a_wire_that_breaks_while_sending(desk: Desk, autojump_clock: MockClock) -> None:
    desk.data.stuck = trio.Event()
    async with trio.open_nursery() as nursery:

        async def submit() -> None:
            with pytest.raises(InputInDoubt):
                await desk.inputs.submit(CLICK)

        nursery.start_soon(submit)
        await wait_all_tasks_blocked()
        desk.data.data_channel_open = False
        desk.data.stuck.set()
    await desk.inputs.submit(CLICK)
    assert desk.server.hops == [4]  # with what lets go of the one before


async def test_a_socket_that_breaks_is_not_used_again(desk: Desk, autojump_clock: MockClock) -> None:
    desk.plug(data=False)
    desk.socket.open = False
    for _ in range(2):
        with pytest.raises(SessionLost):
            await desk.inputs.submit(CLICK)
    with pytest.raises(SessionLost):
        await desk.inputs.ask()


async def test_plugging_the_same_wires_again_changes_nothing(desk: Desk, autojump_clock: MockClock) -> None:
    await desk.inputs.submit(CLICK)
    desk.plug()
    await desk.inputs.flush()


async def test_the_sessions_end_ends_every_wait(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.silent = True
    await desk.inputs.submit(CLICK)
    ended: set[tuple[type, type]] = set()

    async def wait(what: str) -> None:
        try:
            await (desk.inputs.flush() if what == "flush" else desk.inputs.ask())
        except (InputInDoubt, SessionClosed) as error:
            ended.add((type(error), type(error.__cause__)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "flush")
        nursery.start_soon(wait, "ask")
        await trio.sleep(1)
        desk.inputs.fail(lambda: SessionClosed("over"))
        desk.inputs.fail(lambda: SessionLost("never seen"))
    assert ended == {(InputInDoubt, SessionClosed), (SessionClosed, type(None))}
    for call in (desk.inputs.flush, desk.inputs.ask):
        with pytest.raises(SessionClosed):
            await call()
    with pytest.raises(SessionClosed):
        await desk.inputs.submit(CLICK)
    await desk.inputs.release_held()


# -- the barrier of the WebSocket, and what is none


async def test_ask_returns_when_the_server_has_handled_the_request(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.socket_delay = 0.5
    began = trio.current_time()
    with assert_checkpoints():
        await desk.inputs.ask(requests.ControlCopy())
    assert desk.server.handled == [requests.ControlCopy()]
    assert desk.server.hops == [2]
    assert trio.current_time() == began + 1


async def test_answers_that_are_somebody_elses(desk: Desk, autojump_clock: MockClock) -> None:
    def unicast(sender: str, subject: str, body: object) -> bool:
        return desk.inputs.on_unicast(SendUnicast(sender=sender, receiver="me-12345", subject=subject, body=body))

    desk.server.silent = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.inputs.ask)
        await wait_all_tasks_blocked()
        assert desk.inputs._wires.socket is not None
        (number,) = desk.inputs._wires.socket._barriers
        assert not unicast("other-67890", BARRIER_SUBJECT, number)
        assert not unicast("me-12345", "hello", number)
        assert not unicast("me-12345", BARRIER_SUBJECT, number + 1)
        assert not unicast("me-12345", BARRIER_SUBJECT, str(number))
        assert not unicast("me-12345", BARRIER_SUBJECT, {"number": number})
        assert not desk.inputs.on_pong(Pong(number, 0))
        await wait_all_tasks_blocked()
        assert unicast("me-12345", BARRIER_SUBJECT, number)
    assert not unicast("me-12345", BARRIER_SUBJECT, number)


async def test_a_cancelled_flush_leaves_nothing_behind(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.silent = True
    await desk.inputs.submit(CLICK)
    with trio.move_on_after(1):
        await desk.inputs.flush()
    assert desk.inputs._wires.data is not None
    assert desk.inputs._wires.data._barriers == {}
    desk.server.silent = False
    await desk.inputs.flush()


def test_the_ping_number_fits_the_wire() -> None:
    assert data_channel.decode_client(data_channel.encode(Ping(2**31))) == Ping(2**31)
