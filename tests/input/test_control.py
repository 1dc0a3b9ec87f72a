"""The host role in virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from neko_trio._ports.budget import HURRY
from neko_trio.errors import ControlLocked, ControlLost, HostTaken, InputInDoubt, NotAllowed, SessionLost
from neko_trio.protocol import requests
from neko_trio.protocol.data_channel import ButtonDown, ButtonUp, KeyDown, KeyUp, Move
from neko_trio.protocol.events import Settings
from neko_trio.room.rights import check_host, host_name

if TYPE_CHECKING:
    from tests.input.conftest import Desk

ME, OTHER = "me-12345", "other-67890"
REQUEST, RELEASE = requests.ControlRequest(), requests.ControlRelease()


@pytest.fixture
def free(desk: Desk) -> Desk:
    """A desk that nobody controls."""
    desk.server.set_host(None)
    return desk


async def test_become_host_and_give_it_back(free: Desk, autojump_clock: MockClock) -> None:
    async with free.control.control():
        assert free.state.value.is_host
        await free.inputs.submit([Move(1, 2)])
    assert not free.state.value.is_host
    assert free.server.handled == [REQUEST, Move(1, 2), RELEASE]


async def test_all_input_is_handled_before_the_role_goes(free: Desk, autojump_clock: MockClock) -> None:
    """Law 9: the release goes over the WebSocket, which the server reads apart from the data channel."""
    free.server.data_delay = 0.001
    async with free.control.control():
        for _ in range(1400):
            await free.inputs.submit([KeyDown(97), KeyUp(97)])
    assert free.server.handled[0] == REQUEST
    assert free.server.handled[1:-1] == [KeyDown(97), KeyUp(97)] * 1400
    assert free.server.handled[-1] == RELEASE


async def test_a_host_already_does_not_give_it_back(desk: Desk, autojump_clock: MockClock) -> None:
    async with desk.control.control():
        await desk.inputs.submit([KeyDown(97)])
    assert desk.state.value.is_host
    assert desk.server.handled == [KeyDown(97), KeyUp(97)]


async def test_held_keys_are_let_go_before_the_release(free: Desk, autojump_clock: MockClock) -> None:
    async with free.control.control():
        await free.inputs.submit([KeyDown(0xFFE1), ButtonDown(1)])
    assert free.server.handled[-3:] == [ButtonUp(1), KeyUp(0xFFE1), RELEASE]
    assert free.inputs.held == ()


@pytest.mark.parametrize("how", ["exception", "cancelled"])
async def test_given_back_on_every_way_out(free: Desk, autojump_clock: MockClock, how: str) -> None:
    free.server.data_delay = free.server.socket_delay = 0.1
    mine = KeyError("mine")
    left: BaseException | None = None
    with trio.CancelScope() as scope:
        try:
            async with free.control.control():
                await free.inputs.submit([KeyDown(0xFFE1)])
                if how == "exception":
                    raise mine
                scope.cancel()
                await trio.sleep_forever()
        except KeyError as error:
            left = error
    assert left is (mine if how == "exception" else None)
    assert mine.__cause__ is None
    assert free.server.handled == [REQUEST, KeyDown(0xFFE1), KeyUp(0xFFE1), RELEASE]


async def test_taken_by_another_is_told_at_once_and_nothing_is_sent(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)
    with pytest.raises(HostTaken, match="me") as taken:
        async with desk.control.control():
            raise AssertionError
    assert taken.value.holder == OTHER
    assert desk.server.hops == []


@pytest.mark.parametrize(
    ("settings", "profile", "error"),
    [
        (Settings(locked_controls=True), {}, ControlLocked),
        (Settings(private_mode=True), {}, NotAllowed),
        (Settings(), {"can_host": False}, NotAllowed),
        (Settings(), {"can_host": False, "is_admin": True}, NotAllowed),
    ],
)
@pytest.mark.parametrize("options", [{}, {"wait": True}, {"steal": True}])
async def test_what_is_not_allowed_is_told_before_anything_is_sent(
    free: Desk,
    autojump_clock: MockClock,
    settings: Settings,
    profile: dict[str, object],
    error: type[Exception],
    options: dict[str, bool],
) -> None:
    free.server.set_state(settings=settings)
    free.server.profile(**profile)
    with pytest.raises(error):
        async with free.control.control(**options):
            raise AssertionError
    assert free.server.hops == []


async def test_an_admin_is_not_bound_by_locks(free: Desk, autojump_clock: MockClock) -> None:
    free.server.set_state(settings=Settings(locked_controls=True, private_mode=True))
    free.server.profile(is_admin=True)
    async with free.control.control():
        pass
    assert free.server.handled == [REQUEST, RELEASE]


async def test_another_was_faster(free: Desk, autojump_clock: MockClock) -> None:
    free.server.socket_delay = 1
    async with trio.open_nursery() as nursery:

        async def lose() -> None:
            with pytest.raises(HostTaken):
                async with free.control.control():
                    raise AssertionError

        nursery.start_soon(lose)
        await trio.sleep(0.5)
        free.server.set_host(OTHER)


async def test_a_request_refused_without_a_word(free: Desk, autojump_clock: MockClock) -> None:
    free.server.deaf_to_control = True
    with pytest.raises(NotAllowed, match="no reason"):
        async with free.control.control(wait=True):
            raise AssertionError


async def test_a_lock_that_comes_with_the_request(free: Desk, autojump_clock: MockClock) -> None:
    free.server.deaf_to_control = True
    free.server.socket_delay = 1
    async with trio.open_nursery() as nursery:

        async def refused() -> None:
            with pytest.raises(ControlLocked):
                async with free.control.control():
                    raise AssertionError

        nursery.start_soon(refused)
        await trio.sleep(0.5)
        free.server.set_state(settings=Settings(locked_controls=True))


# -- wait


async def test_wait_asks_once_and_takes_it_when_it_is_free(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)
    entered = trio.Event()

    async def wait() -> None:
        async with desk.control.control(wait=True):
            entered.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(5)
        assert desk.server.handled == [REQUEST]
        desk.server.set_state(host="third-11111")
        await trio.sleep(5)
        assert desk.server.handled == [REQUEST]
        assert not entered.is_set()
        desk.server.set_host(None)
    assert desk.server.handled == [REQUEST, REQUEST, RELEASE]


async def test_given_by_the_host_it_is_ours_to_give_back(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)

    async def wait() -> None:
        async with desk.control.control(wait=True):
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(5)
        desk.server.set_host(ME)
    assert desk.server.handled == [REQUEST, RELEASE]


async def test_waiting_ends_with_a_lock(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(ControlLocked):
                async with desk.control.control(wait=True):
                    raise AssertionError

        nursery.start_soon(wait)
        await trio.sleep(5)
        desk.server.set_state(settings=Settings(locked_controls=True))


async def test_one_who_waits_does_not_hold_up_others(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)

    async def wait() -> None:
        async with desk.control.control(wait=True):
            raise AssertionError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        with trio.fail_after(0.5), pytest.raises(HostTaken):
            async with desk.control.control():
                raise AssertionError
        nursery.cancel_scope.cancel()


async def test_given_to_one_who_is_going_away_it_goes_back(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            async with desk.control.control(wait=True):
                raise AssertionError

        nursery.start_soon(wait)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
        desk.server.set_host(ME)
    assert desk.server.handled == [REQUEST, RELEASE]


async def test_with_implicit_hosting_waiting_does_not_take(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_state(host=OTHER, settings=Settings(implicit_hosting=True))
    with trio.move_on_after(5) as scope:
        async with desk.control.control(wait=True):
            raise AssertionError
    assert scope.cancelled_caught
    assert desk.server.handled == []


# -- steal


async def test_an_admin_steals_by_rest(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)
    desk.server.profile(is_admin=True)
    async with desk.control.control(steal=True):
        assert desk.state.value.is_host
    assert desk.takes == 1
    assert desk.server.handled == [RELEASE]


async def test_a_user_does_not_steal(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host(OTHER)
    with pytest.raises(NotAllowed, match="only an admin"):
        async with desk.control.control(steal=True):
            raise AssertionError
    assert desk.takes == 0
    assert desk.server.hops == []


async def test_with_implicit_hosting_a_user_steals_by_asking(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_state(host=OTHER, settings=Settings(implicit_hosting=True))
    async with desk.control.control(steal=True):
        assert desk.state.value.is_host
    assert desk.takes == 0


async def test_stealing_what_is_free_needs_no_admin(free: Desk, autojump_clock: MockClock) -> None:
    async with free.control.control(steal=True):
        pass
    assert free.takes == 0
    assert free.server.handled == [REQUEST, RELEASE]


# -- shared


async def test_nested_and_concurrent_uses_share_one_lease(free: Desk, autojump_clock: MockClock) -> None:
    async def use(seconds: float) -> None:
        async with free.control.control():
            await trio.sleep(seconds)
            async with free.control.control(wait=True):
                await free.inputs.submit([Move(int(seconds), 0)])
            assert free.state.value.is_host

    async with trio.open_nursery() as nursery:
        for seconds in (1, 2, 3):
            nursery.start_soon(use, seconds)
    assert free.server.handled == [REQUEST, Move(1, 0), Move(2, 0), Move(3, 0), RELEASE]


async def test_entering_while_the_last_one_leaves(free: Desk, autojump_clock: MockClock) -> None:
    free.server.data_delay = free.server.socket_delay = 0.1

    async def first() -> None:
        async with free.control.control():
            await free.inputs.submit([Move(1, 0)])

    async def second() -> None:
        async with free.control.control():
            assert free.state.value.is_host
            await free.inputs.submit([Move(2, 0)])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await trio.sleep(0.25)  # the first is flushing now
        nursery.start_soon(second)
    assert free.server.handled in (
        [REQUEST, Move(1, 0), RELEASE, REQUEST, Move(2, 0), RELEASE],
        [REQUEST, Move(1, 0), Move(2, 0), RELEASE],
    )


# -- lost


async def test_a_loss_cancels_the_body(free: Desk, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:

        async def use(key: int) -> None:
            with pytest.raises(ControlLost) as lost:
                async with free.control.control():
                    await free.inputs.submit([KeyDown(key)])
                    await trio.sleep_forever()
            assert lost.value.holder == OTHER

        nursery.start_soon(use, 97)
        nursery.start_soon(use, 98)
        await trio.sleep(1)
        nursery.cancel_scope.deadline = trio.current_time() + 1
        free.server.set_host(OTHER)
    assert RELEASE not in free.server.handled
    assert free.inputs.held == ()


async def test_a_loss_that_is_over_before_anyone_looks(free: Desk, autojump_clock: MockClock) -> None:
    with pytest.raises(ControlLost):
        async with free.control.control():
            free.server.set_host(OTHER)
            free.server.set_host(ME)
            await trio.sleep(1)
            raise AssertionError
    assert free.server.handled == [REQUEST]


async def test_a_body_that_meets_the_loss_first(free: Desk, autojump_clock: MockClock) -> None:
    with pytest.raises(ControlLost) as lost:
        async with free.control.control():
            free.server.set_host(OTHER)
            check_host(free.state.value)
    assert isinstance(lost.value.__cause__, HostTaken)


async def test_a_body_that_ended_just_then(free: Desk, autojump_clock: MockClock) -> None:
    with pytest.raises(ControlLost, match="taken away"):
        async with free.control.control():
            free.server.set_host(None)


async def test_the_bodys_own_error_wins(free: Desk, autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError):
        async with free.control.control():
            free.server.set_host(OTHER)
            raise KeyError


async def test_lost_while_flushing(free: Desk, autojump_clock: MockClock) -> None:
    free.server.data_delay = 0.5
    async with trio.open_nursery() as nursery:

        async def use() -> None:
            with pytest.raises(ControlLost):
                async with free.control.control():
                    await free.inputs.submit([Move(1, 1)])

        nursery.start_soon(use)
        await trio.sleep(0.6)
        free.server.set_host(OTHER)
    assert RELEASE not in free.server.handled


async def test_after_a_loss_it_can_be_taken_again(free: Desk, autojump_clock: MockClock) -> None:
    for _ in range(2):
        with pytest.raises(ControlLost):
            async with free.control.control():
                free.server.set_host(None)
                await trio.sleep(1)
    async with free.control.control():
        pass
    assert free.server.handled == [REQUEST, REQUEST, REQUEST, RELEASE]


# -- servers and connections that fail


async def test_a_server_that_does_not_confirm_is_given_up_within_the_bound(
    free: Desk, autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    with pytest.raises(InputInDoubt, match=r"1\.5 s"):
        async with free.control.control():
            free.server.silent = True
            await free.inputs.submit([Move(1, 1)])
    assert trio.current_time() - began == pytest.approx(2)
    assert free.server.handled == [REQUEST, Move(1, 1), RELEASE]


async def test_cancelled_it_takes_no_longer_than_the_bound(free: Desk, autojump_clock: MockClock) -> None:
    with trio.move_on_after(1):
        async with free.control.control():
            free.server.silent = True
            await free.inputs.submit([Move(1, 1)])
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(3)
    assert free.server.handled[-1] == RELEASE


async def test_with_ctrl_c_it_is_in_a_hurry(free: Desk, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    with pytest.raises(KeyboardInterrupt):
        async with free.control.control():
            free.server.silent = True
            await free.inputs.submit([Move(1, 1)])
            raise KeyboardInterrupt
    assert trio.current_time() - began == pytest.approx(HURRY / 2)  # the session's own goodbyes have the rest
    assert free.server.handled[-1] == RELEASE


async def test_cancelled_while_asking_the_request_is_taken_back(free: Desk, autojump_clock: MockClock) -> None:
    free.server.socket_delay = 0.5
    with trio.move_on_after(0.1):
        async with free.control.control():
            raise AssertionError
    assert free.server.handled == [REQUEST, RELEASE]
    assert not free.state.value.is_host


async def test_the_connection_goes_while_it_is_held(free: Desk, autojump_clock: MockClock) -> None:
    with pytest.raises(SessionLost):
        async with free.control.control():
            free.inputs.fail(lambda: SessionLost("gone"))
    with pytest.raises(KeyError) as error:
        async with free.control.control():
            raise KeyError
    assert any("giving back" in note for note in error.value.__notes__)


async def test_the_session_gives_back_what_is_still_used(free: Desk, autojump_clock: MockClock) -> None:
    await free.control.give_back()
    assert free.server.hops == []
    async with free.control.control():
        await free.inputs.submit([KeyDown(97)])
        await free.control.give_back()
        assert free.server.handled == [REQUEST, KeyDown(97), KeyUp(97), RELEASE]
        await free.control.give_back()
    assert len(free.server.handled) == 4


async def test_giving_back_at_the_end_raises_nothing(free: Desk, autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError):
        async with free.control.control():
            free.inputs.fail(lambda: SessionLost("gone"))
            await free.control.give_back()
            raise KeyError


async def test_names(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_host("stranger")
    assert host_name(desk.state.value) == "Session stranger"
    desk.server.set_host(None)
    assert host_name(desk.state.value) == "Nobody"


async def test_a_host_whom_private_mode_shut_out_sends_nothing(desk: Desk, autojump_clock: MockClock) -> None:
    desk.server.set_state(settings=Settings(private_mode=True))
    with pytest.raises(NotAllowed, match="private mode"):
        await desk.inputs.submit([Move(1, 1)])
    assert desk.server.hops == []
