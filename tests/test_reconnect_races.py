"""What becomes of a call in whose middle the connection is lost: moments that are easily missed, in virtual time."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock

from neko_trio import Reconnect, Session
from neko_trio.errors import ControlLost, InputInDoubt, Kicked, LoginRefused, ServerUnreachable, SessionLost
from neko_trio.protocol import events, requests
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session
from neko_trio.testing._scripted import system_init

POLICY = Reconnect(jitter=0)


async def down(session: Session) -> None:
    """Wait until the loss has been noticed."""
    await session._parts.up.wait(lambda up: not up)


async def test_input_whose_confirmation_the_end_of_the_block_waited_for_is_in_doubt(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    async with (
        open_scripted_session(server, FakeMedia(), video="off", reconnect=POLICY) as session,
        trio.open_nursery() as nursery,
    ):

        async def cut() -> None:
            await trio.sleep(1)
            server.host = None
            server.on["send/unicast"] = server._unicast
            server.end()

        with pytest.raises(InputInDoubt):
            async with session.control():
                server.on["send/unicast"] = lambda _request: None
                await session.mouse.click(5, 5)
                nursery.start_soon(cut)


async def test_a_loss_is_known_before_the_old_peer_has_said_goodbye(autojump_clock: MockClock) -> None:
    """Else whoever does again what is in doubt does so, and is told so, as often as the processor allows."""
    server, goodbye = ScriptedServer(), 0.5
    async with open_scripted_session(server, FakeMedia(delays={"aclose": goodbye}), reconnect=POLICY) as session:
        lost_at = trio.current_time()
        server.end()
        await down(session)
        assert trio.current_time() == lost_at
        assert not session.connected
        await session.room.send(session.state.session_id, "note")
        assert trio.current_time() >= lost_at + goodbye
        await session.wait_connected()
        assert session.statistics().outages == 1


async def test_a_lost_peer_is_known_before_it_has_said_goodbye_and_input_goes_the_other_way(
    autojump_clock: MockClock,
) -> None:
    server, media = ScriptedServer(), FakeMedia(delays={"aclose": 0.5})
    async with open_scripted_session(server, media, reconnect=POLICY) as session, session.control():
        await session.mouse.move(1, 1)
        await session.flush()
        lost_at = trio.current_time()
        server.send(events.SignalClose())
        await down(session)
        assert trio.current_time() == lost_at
        await session.mouse.move(2, 2)
        await session.flush()
        assert trio.current_time() == lost_at
        assert server.got(requests.ControlMove), "the WebSocket is well"
        await session.wait_connected()
        assert session.epoch == 2


async def test_what_ends_the_next_connection_too_is_what_the_server_said(autojump_clock: MockClock) -> None:
    """It says so while the WebSocket is asked for the first time."""
    server = ScriptedServer()

    def kick(_request: requests.ClientRequest) -> None:
        server.send(events.SystemDisconnect(message="session disconnected"))

    with pytest.raises(SessionLost) as caught:
        async with open_scripted_session(server, FakeMedia(), reconnect=POLICY) as session:
            server.on["send/unicast"] = kick
            server.end()
            await down(session)
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, Kicked)


async def test_who_waits_for_the_role_asks_for_it_on_the_next_connection_too(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    server.init = system_init(host="somebody")
    server.on["control/request"] = lambda _request: None
    async with open_scripted_session(server, FakeMedia(), reconnect=POLICY) as session:
        held = trio.Event()

        async def want() -> None:
            async with session.control(wait=True):
                held.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(want)
            await trio.sleep(1)
            assert len(server.got(requests.ControlRequest)) == 1
            server.end()
            await down(session)
            await session.wait_connected()
            await trio.sleep(1)
            assert len(server.got(requests.ControlRequest)) == 2, "who is host there knows of no request"
            server.give_host("agent-1")
            with trio.fail_after(5):
                await held.wait()
        assert len(server.got(requests.ControlRelease)) == 1, "it was given because it was asked for"


async def test_a_role_is_not_taken_for_ours_while_there_is_no_connection(autojump_clock: MockClock) -> None:
    """One block's goodbye is cut off, and the next, which waited for its turn, looks at what was so before."""
    server = ScriptedServer()
    async with open_scripted_session(server, FakeMedia(), reconnect=POLICY) as session:
        confirmed = trio.Event()

        async def leave() -> None:
            try:
                async with session.control():
                    server.on["send/unicast"] = lambda _request: None  # from here on nothing is confirmed
                    server.on["control/release"] = lambda _request: None
            except InputInDoubt:
                confirmed.set()

        async def enter() -> None:
            await trio.sleep(0.5)
            async with session.control():
                assert session.connected or session.state.is_host
                await session.wait_connected()
                assert session.state.is_host
                await session.mouse.move(3, 3)
                await session.flush()

        async def cut() -> None:
            await trio.sleep(1)
            server.on["send/unicast"] = server._unicast
            server.on["control/release"] = lambda _request: server.give_host(None)
            server.init = system_init(host=None)
            server.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            nursery.start_soon(enter)
            nursery.start_soon(cut)
        assert confirmed.is_set()
        assert len(server.got(requests.ControlRequest)) == 2
        assert not session.state.is_host


@pytest.mark.parametrize("waits", [True, False])
async def test_a_role_that_was_given_on_request_during_an_outage_is_given_back(
    waits: bool, autojump_clock: MockClock
) -> None:
    server = ScriptedServer()
    server.init = system_init(host="somebody")
    server.on["control/request"] = lambda _request: None
    async with open_scripted_session(server, FakeMedia(), reconnect=POLICY) as session:

        async def outage() -> None:
            await trio.sleep(2)
            server.init = system_init(host="agent-1")
            server.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(outage)
            with trio.move_on_after(math.inf if waits else 1):
                async with session.control(wait=True):
                    assert waits
        with trio.fail_after(5):
            await session.wait_state(lambda state: state.host is None)
        assert len(server.got(requests.ControlRelease)) == 1


async def test_a_finger_that_an_outage_left_down_is_lifted_when_the_block_has_ended(autojump_clock: MockClock) -> None:
    """The server lets go of keys and buttons when the role is released, and not of fingers."""
    server = ScriptedServer()
    async with open_scripted_session(server, FakeMedia(), video="off", reconnect=POLICY) as session:
        with pytest.raises(InputInDoubt):
            async with session.control():
                await session.touch.down(5, 5)
                server.init = system_init(host="agent-1")
                server.host = "agent-1"
                server.end()
                await down(session)
        await session.wait_state(lambda state: state.host is None)
        kinds = [type(request).__name__ for request in server.requests if request.event.startswith("control/")]
        assert "ControlTouchEnd" in kinds[-4:], kinds


async def test_a_role_that_is_being_given_back_is_not_taken_for_ours(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    async with open_scripted_session(server, FakeMedia(), video="off", reconnect=POLICY) as session:
        async with session.control():
            server.init = system_init(host="agent-1")
            server.dial_failure = ServerUnreachable("Nobody is there.")
            server.end()
            await down(session)
        server.host = "agent-1"
        server.on["control/release"] = lambda _request: None  # it takes a while
        unanswered: list[requests.ClientRequest] = []
        server.on["send/unicast"] = unanswered.append
        server.dial_failure = None
        await session.wait_connected()
        await trio.sleep(1)
        assert len(server.got(requests.ControlRelease)) == 1
        async with trio.open_nursery() as nursery:

            async def release() -> None:
                await trio.sleep(0.5)  # within what a goodbye may take
                server.give_host(None)
                server.on["control/release"] = lambda _request: server.give_host(None)
                server.on["send/unicast"] = server._unicast
                for request in unanswered:
                    server._unicast(request)

            nursery.start_soon(release)
            async with session.control():
                await trio.sleep(3)
                assert session.state.is_host
        assert not session.state.is_host


async def test_a_call_that_meets_a_server_which_has_forgotten_the_login_is_not_told_of_a_wrong_one(
    autojump_clock: MockClock,
) -> None:
    def refuse(_json: object) -> None:
        raise LoginRefused("The server refused the credential.")

    for reconnect in (POLICY, None):
        server = ScriptedServer()
        server.rest.on["GET", "/api/whoami"] = refuse
        async with open_scripted_session(server, FakeMedia(), reconnect=reconnect) as session:
            with pytest.raises(ServerUnreachable if reconnect else LoginRefused):
                await session.room.whoami()


async def test_a_tap_that_an_outage_cut_in_the_middle_leaves_no_finger_down(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    async with open_scripted_session(server, FakeMedia(), video="off", reconnect=POLICY) as session:
        with pytest.raises(InputInDoubt):
            async with session.control():
                server.on["send/unicast"] = lambda _request: None  # from here on nothing is confirmed
                await session.touch.tap(5, 5)
                server.on["send/unicast"] = server._unicast
                server.init = system_init(host="agent-1")
                server.host = "agent-1"
                server.requests.clear()
                server.end()
                await down(session)
        await session.wait_state(lambda state: state.host is None)
        kinds = [request.event for request in server.requests if request.event.startswith("control/")]
        assert kinds == ["control/touchend", "control/scroll", "control/release"]


@pytest.mark.parametrize("late", [0.0, 0.5, 10.0])
async def test_a_role_that_was_owed_and_is_free_again_is_owed_no_more(late: float, autojump_clock: MockClock) -> None:
    """What a server that had stopped still makes of an old request goes back; what is given later is a gift."""
    server = ScriptedServer()
    async with open_scripted_session(server, FakeMedia(), video="off", reconnect=POLICY) as session:
        async with session.control():
            server.init = system_init(host=None if late else "agent-1")
            server.dial_failure = ServerUnreachable("Nobody is there.")
            server.end()
            await down(session)
        server.host = server.dial_failure = None
        await session.wait_connected()
        if late:
            await trio.sleep(late)
            server.give_host("agent-1")
        await trio.sleep(1)
        assert session.state.is_host is (late == 10.0)
        assert len(server.got(requests.ControlRelease)) == (late != 10.0)


async def test_a_block_that_ends_while_its_role_is_asked_for_again_owes_it(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    async with open_scripted_session(server, FakeMedia(), video="off", reconnect=POLICY) as session:

        async def answer(request: requests.ClientRequest) -> None:
            await trio.sleep(5)
            server.give_host("agent-1")
            server.on["send/unicast"] = server._unicast
            for each in unanswered:
                server._unicast(each)

        unanswered: list[requests.ClientRequest] = []
        async with trio.open_nursery() as nursery, session.control():
            server.on["control/request"] = lambda request: nursery.start_soon(answer, request)
            server.on["send/unicast"] = unanswered.append
            server.end()
            await down(session)
            await session.wait_connected()
            await trio.sleep(1)
            assert len(server.got(requests.ControlRequest)) == 2
        await trio.sleep(1)
        assert not session.state.is_host


@pytest.mark.parametrize("outage", [0.0, 1.5])
@pytest.mark.parametrize("drops", [False, True])
async def test_an_outage_does_not_begin_the_patience_anew(
    outage: float, drops: bool, autojump_clock: MockClock
) -> None:
    server = ScriptedServer()
    server.on["control/request"] = lambda _request: None
    async with open_scripted_session(server, FakeMedia(), video="off", reconnect=POLICY) as session:
        server.give_host("agent-1")
        await session.wait_state(lambda state: state.is_host)

        async def cut() -> None:
            server.init, server.delays["dial"] = system_init(host="somebody"), outage
            while True:
                await trio.sleep(2)
                if drops:  # the next connection at once, too
                    server.on_connect = drop
                server.end()

        def drop() -> None:
            server.on_connect = lambda: None
            server.end()

        began = trio.current_time()
        with pytest.raises(ControlLost):
            async with session.control(regain=5), trio.open_nursery() as nursery:
                server.give_host("somebody")
                await session.wait_state(lambda state: not state.is_host)
                nursery.start_soon(cut)
                await session.mouse.move(1, 1)
        assert trio.current_time() == pytest.approx(began + 5)


async def test_an_outage_alone_takes_nothing_of_the_patience(autojump_clock: MockClock) -> None:
    """Its time is the policy's to limit, as it is for a block without patience."""
    server = ScriptedServer()
    async with (
        open_scripted_session(server, FakeMedia(), video="off", reconnect=POLICY) as session,
        session.control(regain=2),
    ):
        server.delays["dial"] = 8
        server.end()
        await down(session)
        await session.mouse.move(1, 1)
        assert trio.current_time() == pytest.approx(8)
        await session.flush()

        async def give() -> None:
            await trio.sleep(9.5)
            server.give_host("agent-1")

        server.init, server.on["control/request"] = system_init(host="somebody"), lambda _request: None
        server.end()
        await down(session)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(give)
            await session.mouse.move(2, 2)
        assert trio.current_time() == pytest.approx(17.5)
