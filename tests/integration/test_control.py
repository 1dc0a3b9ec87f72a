"""The host role between two sessions on real sockets: the embedded server, or with ``--neko-url`` a real one.

What locks or sets up the room needs a server of one's own there (``--neko-own-room``); with its X display
(``--neko-display``) X itself is asked what is pressed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

import neko_trio
from neko_trio import Session
from neko_trio.errors import (
    ControlLocked,
    ControlLost,
    HostTaken,
    InputInDoubt,
    Kicked,
    NekoError,
    NotAllowed,
    SessionLost,
)
from neko_trio.protocol import data_channel
from neko_trio.simulator import JournalEntry
from neko_trio.testing import TestServer
from tests.integration.conftest import open_watch, unique
from tests.integration.test_session import data_channel_open
from tests.integration.x_state import XState

pytestmark = pytest.mark.real_time

SOON = 8.0
"""Seconds in which anything here happens; it takes milliseconds."""
WAYS = pytest.mark.parametrize("video", ["live", "off"], ids=["data-channel", "websocket"])
SHIFT = 0xFFE1
Call = Callable[[], Awaitable[None]]
SHUT = [
    ({"locked_controls": True}, ControlLocked, "locked"),
    ({"private_mode": True}, NotAllowed, "private mode"),
]


class Asked:
    """Counts how often a person is asked to give the role."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.times = 0

    async def count(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with self._session.events("control/request") as events:
            task_status.started()
            async for _event in events:
                self.times += 1

    async def settled(self) -> int:
        """The number so far, all that the server has sent included."""
        await barrier(self._session)
        await trio.testing.wait_all_tasks_blocked()
        return self.times


@asynccontextmanager
async def person(server: TestServer, *, admin: bool = True) -> AsyncIterator[tuple[Session, Asked]]:
    """Somebody else in the room, and how often they are asked for the role."""
    password = server.admin_password if admin else server.password
    async with (
        neko_trio.open_session(server.url, username=unique("person"), password=password, video="off") as session,
        trio.open_nursery() as nursery,
    ):
        asked = Asked(session)
        await nursery.start(asked.count)
        try:
            yield session, asked
        finally:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def agent(server: TestServer, video: str = "off", *, admin: bool = False) -> AsyncIterator[Session]:
    """The session that is tested. With video its input goes over the data channel."""
    password = server.admin_password if admin else server.password
    async with neko_trio.open_session(server.url, username=unique("agent"), password=password, video=video) as session:
        if video == "live":
            with trio.fail_after(SOON):
                await data_channel_open(session)
        yield session


async def barrier(session: Session) -> None:
    """Have seen every event that the server has sent to this session so far."""
    await session._parts.inputs.ask()


async def sees_host(session: Session, host: Session | None) -> None:
    """Wait until a session knows who is host."""
    wanted = host.state.session_id if host is not None else None
    with trio.fail_after(SOON):
        await session.wait_state(lambda state: state.host == wanted)


def input_of(server: TestServer, session: Session) -> list[JournalEntry]:
    """The input that the embedded server has had of a session."""
    if server.simulator is None:
        return []
    return [
        entry
        for entry in server.simulator.journal.select(
            lambda entry: entry.who == session.state.session_id and entry.direction == "received"
        )
        if (entry.channel == "data" and entry.event != "Ping")
        or (entry.event.startswith("control/") and entry.event not in ("control/request", "control/release"))
    ]


@pytest.fixture
def x_state(request: pytest.FixtureRequest) -> Iterator[XState | None]:
    """With ``--neko-display``."""
    display = request.config.getoption("--neko-display")
    state = XState(display) if display else None
    yield state
    if state is not None:
        state.close()


class Desk:
    """What the server has pressed: the embedded one says so itself, of a real one its X server does."""

    def __init__(self, server: TestServer, x_state: XState | None) -> None:
        self._simulator, self._x_state = server.simulator, x_state

    def is_pressed(self, *, keys: int = 0, buttons: int = 0) -> bool:
        """Whether exactly so many are. Always true where nobody can be asked."""
        pressed = (keys, buttons)
        if self._simulator is not None:
            return tuple(map(len, self._simulator.held)) == pressed
        return self._x_state is None or self._x_state.pressed() == pressed


@pytest.fixture
def desk(neko_simulator: TestServer, x_state: XState | None) -> Desk:
    return Desk(neko_simulator, x_state)


async def press_both(session: Session) -> None:
    """A key and a button down, and X has them."""
    await session._parts.inputs.submit([data_channel.KeyDown(SHIFT)])
    await session.mouse.down(30, 30)
    await session.flush()


# -- the role between two


@WAYS
async def test_everyone_sees_who_is_host(neko_simulator: TestServer, video: str) -> None:
    async with person(neko_simulator) as (other, _), agent(neko_simulator, video) as session:
        async with session.control():
            await sees_host(other, session)
            (answer,) = await other.room.batch([("GET", "/api/room/control")])
            assert answer.body == {"has_host": True, "host_id": session.state.session_id}
        await sees_host(other, None)
        (answer,) = await other.room.batch([("GET", "/api/room/control")])
        assert answer.body == {"has_host": False}


async def take(other: Session) -> None:
    await other.room.take_control()


async def give(other: Session) -> None:
    await other.room.give_control(other.state.session_id)


async def reset(other: Session) -> None:
    await other.room.reset_control()


@WAYS
@pytest.mark.parametrize("revoke", [take, give, reset])
async def test_a_loss_by_rest_cancels_the_body_and_no_input_leaves(
    neko_simulator: TestServer, video: str, revoke: Callable[[Session], Awaitable[None]]
) -> None:
    async with person(neko_simulator) as (other, asked), agent(neko_simulator, video) as session:
        with trio.fail_after(SOON), pytest.raises(ControlLost) as lost:
            async with session.control():
                await session.mouse.move(10, 10)
                await session.flush()
                await revoke(other)
                await trio.sleep_forever()
        holder = None if revoke is reset else other.state.session_id
        assert lost.value.holder == session.state.host == holder
        before = len(input_of(neko_simulator, session))
        calls: tuple[Call, ...] = (
            lambda: session.mouse.click(5, 5),
            lambda: session.keyboard.type("nobody sees this"),
            lambda: session.keyboard.press("ctrl+a"),
            lambda: session.mouse.drag([(1, 1), (9, 9)]),
        )
        for call in calls:
            with pytest.raises(HostTaken if holder else NotAllowed):
                await call()
        await barrier(session)
        assert await asked.settled() == 0
        assert len(input_of(neko_simulator, session)) == before


@WAYS
async def test_a_role_that_is_wanted_back(neko_simulator: TestServer, video: str, desk: Desk) -> None:
    """The person is asked once, and has no input of ours until they give the role back."""
    server = neko_simulator
    async with person(server) as (other, asked), agent(server, video) as session:
        given = False

        async def work(x: int) -> None:
            await session.mouse.move(x, 0)
            assert given
            assert session.state.is_host

        with trio.fail_after(SOON):
            async with session.control(regain=True):
                async with session.keyboard.hold("shift"):
                    await session.flush()
                    await other.room.take_control()
                    await sees_host(session, other)
                    assert await asked.settled() == 0, "nobody wants it yet"
                    before = len(input_of(server, session))
                    async with trio.open_nursery() as several:
                        for x in range(5):
                            several.start_soon(work, x)
                        await trio.testing.wait_all_tasks_blocked(0.05)
                        await barrier(session)
                        assert await asked.settled() == 1
                        assert len(input_of(server, session)) == before
                        given = True
                        await other.room.give_control(session.state.session_id)
                    await session.flush()
                    assert desk.is_pressed(keys=1)
                await session.flush()
                assert desk.is_pressed()
            assert await asked.settled() == 1
        await sees_host(other, None)


async def test_a_person_who_leaves_lets_it_come_back(neko_simulator: TestServer) -> None:
    async with agent(neko_simulator) as session:
        with trio.fail_after(SOON):
            async with session.control(regain=True):
                async with person(neko_simulator) as (other, _):
                    await other.room.take_control()
                    await sees_host(session, other)
                await session.mouse.move(1, 1)
                await session.flush()
                assert session.state.is_host


async def test_a_patience_that_ends(neko_simulator: TestServer) -> None:
    async with person(neko_simulator) as (other, asked), agent(neko_simulator) as session:
        with trio.fail_after(SOON), pytest.raises(ControlLost, match="person"):
            async with session.control(regain=0.2):
                await other.room.take_control()
                await sees_host(session, other)
                await session.mouse.move(1, 1)
        assert await asked.settled() == 1


async def test_several_who_wait_ask_once(neko_simulator: TestServer) -> None:
    async with person(neko_simulator) as (other, asked), agent(neko_simulator) as session:
        await other.room.take_control()
        await sees_host(session, other)
        entered = 0

        async def wait() -> None:
            nonlocal entered
            async with session.control(wait=True):
                entered += 1

        with trio.fail_after(SOON):
            async with trio.open_nursery() as several:
                for _ in range(3):
                    several.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked(0.05)
                await barrier(session)
                assert await asked.settled() == 1
                await other.room.give_control(session.state.session_id)
        assert entered == 3
        await sees_host(other, None)


async def test_given_to_one_who_has_gone_it_comes_back_at_once(neko_simulator: TestServer) -> None:
    async with person(neko_simulator) as (other, asked), agent(neko_simulator) as session:
        await other.room.take_control()
        await sees_host(session, other)
        with trio.move_on_after(0.2):
            async with session.control(wait=True):
                raise AssertionError
        assert await asked.settled() == 1
        await other.room.give_control(session.state.session_id)
        await sees_host(other, None)


async def test_an_admin_steals(neko_simulator: TestServer) -> None:
    async with person(neko_simulator, admin=False) as (other, asked), agent(neko_simulator, admin=True) as session:
        with trio.fail_after(SOON):
            with pytest.raises(ControlLost):
                async with other.control():
                    await sees_host(session, other)
                    async with session.control(steal=True):
                        await session.mouse.click(1, 1)
                        assert session.state.is_host
                    await trio.sleep_forever()
        assert await asked.settled() == 0
        await sees_host(session, None)


async def test_a_user_does_not_steal(neko_simulator: TestServer) -> None:
    async with person(neko_simulator) as (other, asked), agent(neko_simulator) as session, other.control():
        await sees_host(session, other)
        with pytest.raises(NotAllowed, match="only an admin"):
            async with session.control(steal=True):
                raise AssertionError
        with pytest.raises(HostTaken) as taken:
            async with session.control():
                raise AssertionError
        assert taken.value.holder == other.state.session_id
        await barrier(session)
        assert await asked.settled() == 0


# -- what is held


@WAYS
async def test_giving_it_away_lets_go_first(neko_simulator: TestServer, desk: Desk, video: str) -> None:
    async with person(neko_simulator) as (other, _), agent(neko_simulator, video) as session:
        with trio.fail_after(SOON), pytest.raises(ControlLost):
            async with session.control():
                await press_both(session)
                assert desk.is_pressed(keys=1, buttons=1)
                await session.room.give_control(other.state.session_id)
        assert desk.is_pressed()
        await sees_host(session, other)


@WAYS
@pytest.mark.parametrize("regain", [False, True])
async def test_a_person_takes_over_during_a_drag(
    neko_simulator: TestServer, desk: Desk, video: str, regain: bool
) -> None:
    """The server leaves pressed what was, for 10 s, and nothing can be done about it; the next plan lets go first."""
    async with person(neko_simulator) as (other, asked), agent(neko_simulator, video) as session:

        async def drag_on() -> None:
            await session.mouse.down(100, 100)
            for x in range(100, 1000):
                await session.mouse.move(x, 100)
                await session.flush()
                if x == 110:
                    await other.room.take_control()

        with trio.fail_after(SOON):
            if regain:
                async with session.control(regain=True):
                    with pytest.raises(InputInDoubt):
                        await drag_on()
                    assert desk.is_pressed(buttons=1)
                    await other.room.reset_control()
                    await session.mouse.move(5, 5)
                    await session.flush()
                    assert desk.is_pressed()
            else:
                with pytest.raises(ControlLost):
                    async with session.control():
                        await drag_on()
                assert desk.is_pressed(buttons=1)
                await other.room.give_control(session.state.session_id)
                await sees_host(session, session)
                async with session.control():
                    await session.mouse.click(5, 5)
                    await session.flush()
                    assert desk.is_pressed()
                assert session.state.is_host, "it was given, nobody had asked for it"
        assert await asked.settled() == 0


@WAYS
async def test_kicked_while_keys_are_down_the_server_lets_go(
    neko_simulator: TestServer, desk: Desk, video: str
) -> None:
    async with person(neko_simulator) as (other, _):
        with trio.fail_after(SOON), pytest.raises(SessionLost) as lost:
            async with agent(neko_simulator, video) as session, session.control():
                await press_both(session)
                assert desk.is_pressed(keys=1, buttons=1)
                await other.room.disconnect(session.state.session_id)
                await trio.sleep_forever()
        assert isinstance(lost.value.__cause__, Kicked)
        await sees_host(other, None)
        assert desk.is_pressed()


@WAYS
async def test_the_close_goes_in_one_order(neko_simulator: TestServer, desk: Desk, video: str) -> None:
    """Keys up, flush, role back, connections closed, logout: nothing overtakes what must be before it."""
    server, name = neko_simulator, unique("close")
    async with open_watch(server) as watch:
        with trio.CancelScope() as scope:
            async with neko_trio.open_session(
                server.url, username=name, password=server.password, video=video
            ) as session:
                with trio.fail_after(SOON):
                    if video == "live":
                        await data_channel_open(session)
                async with session.control():
                    await press_both(session)
                    scope.cancel()
                    await trio.sleep_forever()
        assert desk.is_pressed()
        await watch.gone(name)
        if server.simulator is not None:
            me = session.state.session_id
            names = [
                entry.event
                for entry in server.simulator.journal.select(
                    lambda entry: (
                        entry.direction == "received" and (entry.who == me or entry.event == "POST /api/logout")
                    )
                )
            ]
            down, up = ("KeyDown", "KeyUp") if video == "live" else ("control/keydown", "control/keyup")
            order = [down, up, "Ping" if video == "live" else "send/unicast", "control/release", "POST /api/logout"]
            places = [len(names) - 1 - names[::-1].index(name) for name in order[:2]]
            places += [names.index(name, places[1]) for name in order[2:]]
            assert places == sorted(places), names


# -- who may not


@pytest.mark.parametrize(("settings", "error", "why"), SHUT)
@pytest.mark.parametrize("options", [{}, {"wait": True}, {"steal": True}, {"regain": True}], ids=str)
async def test_a_room_that_is_shut_says_so_at_once(
    own_room: TestServer,
    settings: dict[str, bool],
    error: type[NekoError],
    why: str,
    options: dict[str, bool],
) -> None:
    async with person(own_room) as (other, asked), agent(own_room) as session:
        await other.room.change_settings(**settings)  # type: ignore[arg-type]
        await barrier(session)
        with pytest.raises(error, match=why):
            async with session.control(**options):
                raise AssertionError
        with pytest.raises(error, match=why):
            await session.mouse.click(1, 1)
        async with other.control():  # an admin is not bound
            await other.mouse.click(1, 1)
            with pytest.raises(error, match=why):
                await session.keyboard.type("x")
            await barrier(session)
            assert await asked.settled() == 0
        assert input_of(own_room, session) == []


@pytest.mark.parametrize(("settings", "error", "why"), SHUT)
@pytest.mark.parametrize("regain", [False, True])
async def test_a_room_that_is_shut_during_the_block(
    own_room: TestServer, settings: dict[str, bool], error: type[NekoError], why: str, regain: bool
) -> None:
    async with person(own_room) as (other, _), agent(own_room) as session:
        with trio.fail_after(SOON), pytest.raises(ControlLost) as lost:
            async with session.control(regain=regain):
                await other.room.change_settings(**settings)  # type: ignore[arg-type]
                await trio.sleep_forever()
        await barrier(session)
        if regain:
            assert isinstance(lost.value.__cause__, error)
            assert why in str(lost.value)
        with pytest.raises(error, match=why):
            async with session.control(wait=True):
                raise AssertionError
        await other.room.change_settings(locked_controls=False, private_mode=False)
        await barrier(session)
        async with session.control():
            await session.mouse.click(1, 1)


async def test_a_right_that_is_withdrawn(own_room: TestServer) -> None:
    async with agent(own_room, admin=True) as session:
        with trio.fail_after(SOON), pytest.raises(ControlLost) as lost:
            async with session.control(regain=True):
                await session.room.update_profile(can_host=False)
                await trio.sleep_forever()
        assert isinstance(lost.value.__cause__, NotAllowed)
        with pytest.raises(NotAllowed, match="may not control"):
            async with session.control(steal=True):
                raise AssertionError
        with pytest.raises(NotAllowed, match="may not control"):
            await session.mouse.click(1, 1)


async def test_control_protection_locks_when_the_last_admin_leaves(own_room: TestServer) -> None:
    async with agent(own_room) as session:
        async with person(own_room) as (other, _):
            await other.room.change_settings(control_protection=True)
            async with session.control():
                await session.mouse.click(1, 1)
        with trio.fail_after(SOON):
            await session.wait_state(lambda state: state.settings.locked_controls)
        with pytest.raises(ControlLocked):
            async with session.control(wait=True):
                raise AssertionError
        async with person(own_room) as (other, _):
            with trio.fail_after(SOON):
                await session.wait_state(lambda state: not state.settings.locked_controls)
            async with session.control():
                await session.mouse.click(1, 1)
            await other.room.change_settings(control_protection=False, locked_controls=False)


# -- implicit hosting: every control message of the WebSocket makes its sender host


@WAYS
async def test_with_implicit_hosting_nothing_is_stolen_by_accident(own_room: TestServer, video: str) -> None:
    async with person(own_room) as (other, _), agent(own_room, video) as session:
        await other.room.change_settings(implicit_hosting=True)
        async with other.control():
            await sees_host(session, other)
            calls: tuple[Call, ...] = (
                lambda: session.mouse.move(1, 1),
                lambda: session.mouse.drag([(1, 1), (9, 9)]),
                lambda: session.keyboard.type("mine"),
                lambda: session.mouse.scroll(down=1),
            )
            for call in calls:
                with pytest.raises(HostTaken):
                    await call()
            with trio.move_on_after(0.3):
                async with session.control(wait=True):
                    raise AssertionError
            await barrier(session)
            assert session.state.host == other.state.session_id
        assert input_of(own_room, session) == []


async def test_with_implicit_hosting_who_wants_it_back_does_not_take_it(own_room: TestServer) -> None:
    async with person(own_room) as (other, asked), agent(own_room) as session:
        await other.room.change_settings(implicit_hosting=True)
        with trio.fail_after(SOON):
            async with session.control(regain=True):
                async with other.control(steal=True):
                    await sees_host(session, other)
                    with trio.move_on_after(0.3) as waited:
                        await session.mouse.move(3, 3)
                    assert waited.cancelled_caught
                    assert other.state.is_host
                await session.mouse.move(3, 3)
                await session.flush()
                assert session.state.is_host
        assert await asked.settled() == 0


async def test_with_implicit_hosting_a_user_steals_when_asked_to(own_room: TestServer) -> None:
    async with person(own_room) as (other, _), agent(own_room) as session:
        await other.room.change_settings(implicit_hosting=True)
        with trio.fail_after(SOON), pytest.raises(ControlLost):
            async with other.control():
                await sees_host(session, other)
                async with session.control(steal=True):
                    await session.mouse.move(1, 1)
                await trio.sleep_forever()


async def test_the_data_channel_makes_nobody_host(own_room: TestServer) -> None:
    """Not even with implicit hosting, where the WebSocket does at once, while another is host, too: as the server."""
    messages: list[data_channel.ClientMessage] = [
        data_channel.Move(7, 7),
        data_channel.ButtonDown(1),
        data_channel.ButtonUp(1),
        data_channel.KeyDown(97),
    ]
    for implicit in (False, True):
        async with person(own_room) as (other, asked), agent(own_room, "live") as session:
            await other.room.change_settings(implicit_hosting=implicit)
            assert session._parts.peer is not None
            for host in (None, other):
                async with other.control() if host is not None else trio.open_nursery():
                    await session._parts.peer.send_data([data_channel.encode(message) for message in messages])
                    assert await session._parts.inputs.drain_media()
                    await barrier(session)
                    assert session.state.host == (host.state.session_id if host is not None else None)
            assert await asked.settled() == 0
            async with trio.open_nursery():
                await other.room.take_control()
                await session.send_event("control/move", {"x": 1, "y": 1})
                await barrier(session)
                assert session.state.is_host is implicit
                assert await asked.settled() == (0 if implicit else 1)
