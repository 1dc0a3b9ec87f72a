"""A host role that a person took away and that is waited for politely, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from neko_trio.errors import ControlLocked, ControlLost, HostTaken, InputInDoubt, InvalidInput, NotAllowed, SessionLost
from neko_trio.protocol import requests
from neko_trio.protocol.data_channel import ButtonDown, ButtonUp, KeyDown, KeyUp, Move
from neko_trio.protocol.events import Settings

if TYPE_CHECKING:
    from tests.input.conftest import Desk

ME, OTHER, THIRD = "me-12345", "other-67890", "third-11111"
REQUEST, RELEASE = requests.ControlRequest(), requests.ControlRelease()
SHIFT = 0xFFE1


@pytest.fixture
def free(desk: Desk) -> Desk:
    """A desk that nobody controls."""
    desk.server.set_host(None)
    return desk


async def at(when: float, *steps: Callable[[], object]) -> None:
    """Call functions, a second apart, the first at ``when``."""
    for step in steps:
        await trio.sleep_until(when)
        step()
        when += 1


async def test_input_waits_until_the_role_is_given_back(
    free: Desk, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    server = free.server
    nursery.start_soon(at, 1, lambda: server.set_host(OTHER))
    nursery.start_soon(at, 10, lambda: server.set_host(ME))
    async with free.control.control(regain=True):
        await free.inputs.submit([Move(1, 1)])
        await free.inputs.flush()
        await trio.sleep(5)
        assert server.handled == [REQUEST, Move(1, 1)], "nothing is asked before somebody wants it"
        await free.inputs.submit([Move(2, 2)])
        assert trio.current_time() == pytest.approx(10)
    assert server.handled == [REQUEST, Move(1, 1), REQUEST, Move(2, 2), RELEASE]
    assert not free.state.value.is_host


async def test_it_is_taken_when_it_is_free_and_asked_for_once(
    free: Desk, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    server = free.server
    asked: list[int] = []
    nursery.start_soon(
        at,
        1,
        lambda: server.set_host(OTHER),
        lambda: None,
        lambda: server.set_host(THIRD),
        lambda: asked.append(server.handled.count(REQUEST)),
        lambda: server.set_host(None),
    )
    async with free.control.control(regain=True), trio.open_nursery() as several:
        await trio.sleep(1.5)
        for x in range(3):  # however many wait
            several.start_soon(free.inputs.submit, [Move(x, 0)])
    assert asked == [2], "once to become host, once of the one who took it"
    assert server.handled[:3] == [REQUEST, REQUEST, REQUEST]
    assert server.handled.count(REQUEST) == 3
    assert server.handled[-1] == RELEASE
    assert trio.current_time() == pytest.approx(5)


async def test_with_implicit_hosting_it_is_not_taken_from_anybody(
    free: Desk, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    server = free.server
    server.set_state(settings=Settings(implicit_hosting=True))
    nursery.start_soon(at, 1, lambda: server.set_host(OTHER))
    nursery.start_soon(at, 10, lambda: server.set_host(None))
    async with free.control.control(regain=True):
        await trio.sleep(2)
        await free.inputs.submit([Move(2, 2)])
        assert trio.current_time() == pytest.approx(10)
    assert server.handled == [REQUEST, REQUEST, Move(2, 2), RELEASE]


async def test_nothing_leaves_while_another_is_host(free: Desk, autojump_clock: MockClock) -> None:
    async with free.control.control(regain=True):
        await free.inputs.submit([KeyDown(SHIFT)])
        await free.inputs.flush()
        free.server.set_host(OTHER)
        with trio.move_on_after(100):
            await free.inputs.submit([KeyDown(97), KeyUp(97)])
        await free.inputs.release([KeyUp(SHIFT)])
        await free.inputs.release_held()
        await free.inputs.flush()
    assert free.server.handled == [REQUEST, KeyDown(SHIFT), REQUEST]


async def test_a_patience_that_ends_cancels_the_block(free: Desk, autojump_clock: MockClock) -> None:
    with pytest.raises(ControlLost, match="has it now") as lost:
        async with free.control.control(regain=4):
            free.server.set_host(OTHER)
            await trio.sleep(60)  # who wants nothing of it does not wait for it
            await free.inputs.submit([Move(1, 1)])
    assert trio.current_time() == pytest.approx(64)
    assert lost.value.holder == OTHER
    assert free.server.handled == [REQUEST, REQUEST]


async def test_the_patience_begins_anew_with_each_wait(
    free: Desk, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    server = free.server
    async with free.control.control(regain=4):
        for _ in range(3):
            server.set_host(OTHER)
            nursery.start_soon(at, trio.current_time() + 3, lambda: server.set_host(ME))
            await free.inputs.submit([Move(1, 1)])
            await free.inputs.flush()
        server.set_host(OTHER)
        with trio.move_on_after(3):
            await free.inputs.submit([Move(1, 1)])
        await trio.sleep(10)  # the wait was given up
    assert server.handled.count(Move(1, 1)) == 3


async def test_a_wait_that_is_given_up_and_taken_up_again_has_the_same_deadline(
    free: Desk, autojump_clock: MockClock
) -> None:
    with pytest.raises(ControlLost):
        async with free.control.control(regain=4):
            free.server.set_host(OTHER)
            for _ in range(10):
                with trio.move_on_after(1):
                    await free.inputs.submit([Move(1, 1)])
    assert trio.current_time() == pytest.approx(4)


async def test_a_deadline_that_has_passed_unheeded_ends_the_next_wait(free: Desk, autojump_clock: MockClock) -> None:
    with pytest.raises(ControlLost):
        async with free.control.control(regain=4):
            free.server.set_host(OTHER)
            with trio.move_on_after(1):
                await free.inputs.submit([Move(1, 1)])
            await trio.sleep(9)  # nobody waits
            await free.inputs.submit([Move(1, 1)])
    assert trio.current_time() == pytest.approx(10)


async def test_the_shorter_patience_ends_its_own_block(
    free: Desk, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Nested blocks share the role, not the patience."""
    nursery.start_soon(at, 10, lambda: free.server.set_host(ME))
    async with free.control.control(regain=True):
        with pytest.raises(ControlLost):
            async with free.control.control(regain=2):
                free.server.set_host(OTHER)
                await free.inputs.submit([Move(1, 1)])
        assert trio.current_time() == pytest.approx(2)
        with pytest.raises(HostTaken):
            async with free.control.control():
                raise AssertionError
        await free.inputs.submit([Move(2, 2)])
        assert trio.current_time() == pytest.approx(10)
    assert free.server.handled[-2:] == [Move(2, 2), RELEASE]


async def test_a_block_without_patience_inside_of_one_with(free: Desk, autojump_clock: MockClock) -> None:
    async with free.control.control(regain=True):
        with pytest.raises(ControlLost):
            async with free.control.control():
                free.server.set_host(OTHER)
                await free.inputs.submit([Move(1, 1)])
        free.server.set_host(ME)
        await free.inputs.submit([Move(2, 2)])
    assert free.server.handled[-2:] == [Move(2, 2), RELEASE]
    assert Move(1, 1) not in free.server.handled


async def test_another_block_enters_meanwhile_and_has_it_back(
    free: Desk, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(at, 5, lambda: free.server.set_host(None))
    async with free.control.control(regain=True):
        free.server.set_host(OTHER)
        async with free.control.control(wait=True):
            await free.inputs.submit([Move(1, 1)])
        await free.inputs.submit([Move(2, 2)])
        assert RELEASE not in free.server.handled
    assert free.server.handled == [REQUEST, REQUEST, REQUEST, Move(1, 1), Move(2, 2), RELEASE]


# -- what was under way


async def test_held_keys_are_pressed_again(free: Desk, autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """The server did not let go of them when the role was taken, nor does it for whoever has it next."""
    server = free.server
    async with free.control.control(regain=True):
        await free.inputs.submit([KeyDown(SHIFT), KeyDown(97)])
        await free.inputs.flush()
        server.set_host(OTHER)
        nursery.start_soon(at, 20, lambda: server.set_host(ME))
        await free.inputs.submit([Move(1, 1)])
        await free.inputs.submit([KeyUp(97)])
        await free.inputs.submit([KeyUp(SHIFT)])
    ups, downs = [KeyUp(97), KeyUp(SHIFT)], [KeyDown(SHIFT), KeyDown(97)]
    assert server.handled == [REQUEST, *downs, REQUEST, *ups, *downs, Move(1, 1), KeyUp(97), KeyUp(SHIFT), RELEASE]


async def test_keys_let_go_meanwhile_are_not_pressed_again(free: Desk, autojump_clock: MockClock) -> None:
    server = free.server
    async with free.control.control(regain=True):
        await free.inputs.submit([KeyDown(SHIFT), KeyDown(97)])
        await free.inputs.flush()
        server.set_host(OTHER)
        await free.inputs.release([KeyUp(97)])
        server.set_host(ME)
        await free.inputs.release([KeyUp(SHIFT)])
        await free.inputs.submit([Move(1, 1)])
    assert server.handled == [REQUEST, KeyDown(SHIFT), KeyDown(97), KeyUp(97), KeyUp(SHIFT), Move(1, 1), RELEASE]


async def test_a_hold_that_ends_first_leaves_the_others_down(free: Desk, autojump_clock: MockClock) -> None:
    server = free.server
    async with free.control.control(regain=True):
        await free.inputs.submit([KeyDown(SHIFT), KeyDown(97)])
        await free.inputs.flush()
        server.set_host(OTHER)
        server.set_host(ME)
        await free.inputs.release([KeyUp(97)])
        await free.inputs.submit([Move(1, 1)])
    assert server.handled == [
        REQUEST, KeyDown(SHIFT), KeyDown(97), KeyUp(97), KeyUp(SHIFT), KeyDown(SHIFT), Move(1, 1), KeyUp(SHIFT), RELEASE
    ]  # fmt: skip


async def test_a_drag_that_came_apart_is_told_once(free: Desk, autojump_clock: MockClock) -> None:
    server = free.server
    async with free.control.control(regain=True):
        await free.inputs.submit([ButtonDown(1)])
        await free.inputs.flush()
        server.set_host(OTHER)
        with pytest.raises(InputInDoubt, match="broken gesture"):  # at once: nobody is asked for a drag that is over
            await free.inputs.submit([Move(9, 9)])
        assert server.handled == [REQUEST, ButtonDown(1)]
        server.set_host(ME)
        await free.inputs.submit([Move(9, 9)])
        with pytest.raises(InvalidInput, match="not held"):
            await free.inputs.submit([ButtonUp(1)])
    assert server.handled == [REQUEST, ButtonDown(1), ButtonUp(1), Move(9, 9), RELEASE]


async def test_input_that_nobody_confirmed_is_in_doubt(free: Desk, autojump_clock: MockClock) -> None:
    async with free.control.control(regain=True):
        await free.inputs.submit([Move(1, 1)])
        free.server.set_host(OTHER)
        with pytest.raises(InputInDoubt, match="before the server had confirmed"):
            await free.inputs.flush()
        free.server.set_host(ME)
        await free.inputs.submit([Move(2, 2)])


async def test_a_flush_whose_answer_overtakes_the_loss(
    free: Desk, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """The pong comes on the data channel, the loss on the WebSocket, and not in one order."""
    server = free.server
    server.socket_delay = 1
    async with free.control.control(regain=True):
        await free.inputs.submit([Move(1, 1)])
        nursery.start_soon(at, trio.current_time() + 0.5, lambda: server.set_host(OTHER))
        with pytest.raises(InputInDoubt):
            await free.inputs.flush()


async def test_a_loss_while_a_plan_is_being_sent(free: Desk, autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    stuck = free.data.stuck = trio.Event()

    def unstick() -> None:
        free.data.stuck = None
        stuck.set()

    nursery.start_soon(at, 1, lambda: free.server.set_host(OTHER), unstick)
    async with free.control.control(regain=True):
        await free.inputs.submit([KeyDown(SHIFT), KeyDown(97), KeyUp(97)])
        assert free.inputs.held == (KeyUp(SHIFT),)
        with pytest.raises(InputInDoubt):
            await free.inputs.submit([Move(1, 1)])
        await trio.sleep(1)
        free.server.set_host(ME)
        await free.inputs.submit([Move(1, 1)])
    assert free.server.handled == [
        REQUEST, KeyUp(97), KeyUp(SHIFT), KeyDown(SHIFT), Move(1, 1), KeyUp(SHIFT), RELEASE
    ]  # fmt: skip


async def test_a_doubt_that_nobody_asked_about_is_told_at_the_end(free: Desk, autojump_clock: MockClock) -> None:
    with pytest.raises(InputInDoubt):
        async with free.control.control(regain=True):
            await free.inputs.submit([Move(1, 1)])
            free.server.set_host(OTHER)
    async with trio.open_nursery() as nursery:  # and once
        nursery.cancel_scope.deadline = trio.current_time() + 5
        free.server.set_host(None)
        async with free.control.control():
            await free.inputs.submit([Move(1, 1)])


async def test_without_regain_a_new_block_lets_go_of_what_the_loss_left_pressed(
    free: Desk, autojump_clock: MockClock
) -> None:
    """A second press without a release in between would be dropped silently."""
    with pytest.raises(ControlLost):
        async with free.control.control():
            await free.inputs.submit([KeyDown(97), ButtonDown(1)])
            free.server.set_host(OTHER)
            await trio.sleep(1000)
    free.server.set_host(None)
    free.server.handled.clear()
    async with free.control.control():
        await free.inputs.submit([KeyDown(97), KeyUp(97)])
    assert free.server.handled == [REQUEST, ButtonUp(1), KeyUp(97), KeyDown(97), KeyUp(97), RELEASE]
    free.server.handled.clear()
    async with free.control.control():
        await free.inputs.submit([KeyDown(97), KeyUp(97)])
    assert free.server.handled == [REQUEST, KeyDown(97), KeyUp(97), RELEASE]


async def test_a_new_block_that_sends_nothing_lets_go_all_the_same(free: Desk, autojump_clock: MockClock) -> None:
    with pytest.raises(ControlLost):
        async with free.control.control():
            await free.inputs.submit([ButtonDown(1)])
            free.server.set_host(OTHER)
    await free.inputs.flush()
    free.server.set_host(ME)
    free.server.handled.clear()
    async with free.control.control():
        pass
    assert free.server.handled == [ButtonUp(1)]


# -- who may have it


@pytest.mark.parametrize(
    ("settings", "profile", "why"),
    [
        (Settings(locked_controls=True), {}, ControlLocked),
        (Settings(private_mode=True), {}, NotAllowed),
        (Settings(), {"can_host": False}, NotAllowed),
    ],
)
async def test_what_nobody_could_give_back_ends_the_block(
    free: Desk,
    autojump_clock: MockClock,
    nursery: trio.Nursery,
    settings: Settings,
    profile: dict[str, object],
    why: type[Exception],
) -> None:
    """The server says first that nobody is host, and then why."""
    server = free.server

    def shut_out() -> None:
        server.set_host(None)
        server.set_state(settings=settings)
        server.profile(**profile)

    nursery.start_soon(at, 1, shut_out)
    with pytest.raises(ControlLost, match=r"controls are locked|private mode|may not control") as lost:
        async with free.control.control(regain=True):
            await trio.sleep(1000)
    assert trio.current_time() == pytest.approx(1)
    assert isinstance(lost.value.__cause__, why)
    assert server.handled == [REQUEST]


async def test_a_lock_while_input_waits(free: Desk, autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    nursery.start_soon(at, 3, lambda: free.server.set_state(settings=Settings(locked_controls=True)))
    with pytest.raises(ControlLost, match="locked"):
        async with free.control.control(regain=True):
            free.server.set_host(OTHER)
            await free.inputs.submit([Move(1, 1)])
    assert trio.current_time() == pytest.approx(3)


async def test_whoever_waits_without_a_block_is_told_when_the_block_has_ended(
    free: Desk, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:

        async def outside() -> None:
            with pytest.raises(HostTaken):
                await free.inputs.submit([Move(1, 1)])

        async with free.control.control(regain=True):
            free.server.set_host(OTHER)
            nursery.start_soon(outside)
            await trio.sleep(1)
    assert trio.current_time() == pytest.approx(1)


async def test_the_session_ends_meanwhile(free: Desk, autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    def end() -> None:
        free.state.fail(lambda: SessionLost("gone"))
        free.inputs.fail(lambda: SessionLost("gone"))

    nursery.start_soon(at, 1, end)
    with pytest.raises(SessionLost):
        async with free.control.control(regain=True):
            free.server.set_host(OTHER)
            await free.inputs.submit([Move(1, 1)])


async def test_the_sessions_close_gives_up_the_wait(free: Desk, autojump_clock: MockClock) -> None:
    async with free.control.control(regain=True):
        free.server.set_host(OTHER)
        await free.control.give_back()
        with pytest.raises(HostTaken):
            await free.inputs.submit([Move(1, 1)])
    assert free.server.handled == [REQUEST]


@pytest.mark.parametrize("regain", [0, -1, float("nan"), "soon"])
async def test_a_patience_that_is_none(free: Desk, autojump_clock: MockClock, regain: float) -> None:
    with pytest.raises(InvalidInput, match="regain"):
        async with free.control.control(regain=regain):
            raise AssertionError
    assert free.server.hops == []


# -- what is ours to give back


async def test_given_back_unasked_to_a_host_of_before_it_stays_host(desk: Desk, autojump_clock: MockClock) -> None:
    async with desk.control.control(regain=True):
        desk.server.set_host(OTHER)
        desk.server.set_host(ME)
        await desk.inputs.submit([Move(1, 1)])
    assert desk.state.value.is_host
    assert desk.server.handled == [Move(1, 1)]


async def test_a_host_of_before_who_asked_gives_it_back(
    desk: Desk, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(at, 2, lambda: desk.server.set_host(ME))
    async with desk.control.control(regain=True):
        desk.server.set_host(OTHER)
        await desk.inputs.submit([Move(1, 1)])
    assert desk.server.handled == [REQUEST, Move(1, 1), RELEASE]


async def test_given_when_nobody_waits_any_more_it_goes_back(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.control.run)
        with trio.move_on_after(5):
            async with desk.control.control(wait=True):
                raise AssertionError
        await trio.sleep(5)
        desk.server.set_host(ME)
        await trio.sleep(1)
        assert desk.server.handled == [REQUEST, RELEASE]
        assert not desk.state.value.is_host
        desk.server.set_host(ME)  # this time of the giver's own accord
        await trio.sleep(1)
        assert desk.state.value.is_host
        nursery.cancel_scope.cancel()


async def test_given_at_the_end_of_the_session_it_goes_back(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)
    with trio.move_on_after(5):
        async with desk.control.control(wait=True):
            raise AssertionError
    desk.server.set_host(ME)
    await desk.control.give_back()
    assert desk.server.handled == [REQUEST, RELEASE]


async def test_one_who_was_asked_and_is_not_host_any_more_gives_nothing(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)
    with trio.move_on_after(5):
        async with desk.control.control(wait=True):
            raise AssertionError
    desk.server.set_host(THIRD)
    desk.server.set_host(ME)
    await desk.control.give_back()
    assert desk.state.value.is_host


async def test_the_service_ends_with_the_session(desk: Desk, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.control.run)
        await trio.testing.wait_all_tasks_blocked()
        desk.state.fail(lambda: SessionLost("gone"))


async def test_several_who_wait_ask_once(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            async with desk.control.control(wait=True):
                await trio.sleep(1)

        for _ in range(3):
            nursery.start_soon(wait)
        await trio.sleep(5)
        assert desk.server.handled == [REQUEST]
        desk.server.set_host(ME)
    assert desk.server.handled == [REQUEST, RELEASE]


async def test_a_loss_that_crosses_the_release(free: Desk, autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    """Input may have come after the taking; it was confirmed by a channel that knows nothing of it."""
    with pytest.raises(ControlLost):
        async with free.control.control():
            await free.inputs.submit([Move(1, 1)])
            free.server.socket_delay = 1
            nursery.start_soon(at, 0.5, lambda: free.server.set_host(OTHER))


async def test_a_taking_after_the_release_is_no_loss(free: Desk, autojump_clock: MockClock) -> None:
    async with free.control.control():
        await free.inputs.submit([Move(1, 1)])
    free.server.set_host(OTHER)
    assert free.server.handled == [REQUEST, Move(1, 1), RELEASE]


async def test_a_steal_from_one_who_was_just_faster(
    free: Desk, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """The room was free when it was asked for, and another's when the server was asked."""
    free.server.profile(is_admin=True)
    free.server.socket_delay = 1
    nursery.start_soon(at, 0.5, lambda: free.server.set_host(OTHER))
    async with free.control.control(steal=True):
        assert free.state.value.is_host
    assert free.takes == 1
    assert free.server.handled == [REQUEST, RELEASE]


async def test_back_in_time_while_the_question_is_still_under_way(
    free: Desk, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async with free.control.control(regain=4):
        free.server.socket_delay = 2.5
        nursery.start_soon(at, 3, lambda: free.server.set_host(ME))
        free.server.set_host(OTHER)
        await free.inputs.submit([Move(1, 1)])
        assert trio.current_time() == pytest.approx(5)
        free.server.socket_delay = 0


async def test_a_right_that_went_before_the_role_did(free: Desk, autojump_clock: MockClock) -> None:
    """The server tells of a profile first, and then that nobody is host."""
    with pytest.raises(ControlLost, match="may not control") as lost:
        async with free.control.control(regain=True):
            free.server.profile(can_host=False)
            free.server.set_host(None)
            await trio.sleep(1000)
    assert isinstance(lost.value.__cause__, NotAllowed)
