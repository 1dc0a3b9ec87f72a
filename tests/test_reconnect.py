"""Reconnecting in virtual time: what is made anew, what survives it, and what ends the session at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from neko_trio import Reconnect, Session, errors, events
from neko_trio._awake import sleep_awake
from neko_trio._reconnect import STEADY, Outage
from neko_trio._watch import LINK_PATIENCE, LINK_QUIET, MEDIA_PATIENCE, MEDIA_QUIET
from neko_trio.errors import (
    ControlLost,
    InputInDoubt,
    InvalidInput,
    Kicked,
    LoginRefused,
    NekoError,
    NoOffer,
    ProtocolViolation,
    ServerUnreachable,
    SessionClosed,
    SessionLost,
)
from neko_trio.protocol import data_channel, requests
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session
from neko_trio.testing._scripted import system_init

POLICY = Reconnect(jitter=0)


def picture(value: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((8, 8, 3), value, np.uint8)


def unreachable() -> ServerUnreachable:
    return ServerUnreachable("Nobody is there.", step="dial")


async def down(session: Session) -> None:
    """Wait until the loss has been noticed."""
    await session._parts.up.wait(lambda up: not up)


# -- the policy


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": float("nan")}, "limit"),
        ({"limit": "60"}, "limit"),
        ({"limit": None}, "limit"),
        ({"longest_delay": True}, "longest_delay"),
        ({"jitter": "0.5"}, "jitter"),
        ({"attempts": 0}, "attempts"),
        ({"attempts": 1.5}, "attempts"),
        ({"attempts": True}, "attempts"),
        ({"delay": 0}, "delay"),
        ({"delay": 2, "longest_delay": 1}, "longest_delay"),
        ({"longest_delay": float("inf")}, "longest_delay"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter": 1.1}, "jitter"),
    ],
)
def test_a_policy_that_is_none(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        Reconnect(**options)  # that is what is tested


def test_the_back_off_doubles_up_to_its_bound_and_chance_makes_it_shorter() -> None:
    policy = Reconnect(delay=0.1, longest_delay=1, jitter=0.5)
    assert [policy.wait_before(attempt, 0) for attempt in range(1, 8)] == [0, 0.1, 0.2, 0.4, 0.8, 1, 1]
    assert policy.wait_before(10**9, 0) == 1
    assert policy.wait_before(6, 1) == 0.5
    assert policy.wait_before(1, 1) == 0


async def test_an_outage_ends_with_its_tries_or_its_time(autojump_clock: MockClock) -> None:
    outage = Outage(Reconnect(attempts=3, jitter=0))
    outage.begin(unreachable())
    for _ in range(3):
        await outage.pause(unreachable())
    with pytest.raises(SessionLost, match="3 tries: Nobody is there") as caught:
        await outage.pause(unreachable())
    assert isinstance(caught.value.__cause__, ServerUnreachable)
    assert not outage.cures(unreachable())
    assert trio.current_time() == pytest.approx(0.3)

    outage = Outage(Reconnect(limit=5, jitter=0))
    outage.begin(unreachable())
    with pytest.raises(SessionLost):
        while True:
            await outage.pause(unreachable())
    assert outage.seconds <= 5


async def test_a_server_that_takes_every_connection_and_drops_it_is_not_asked_for_ever(
    autojump_clock: MockClock,
) -> None:
    outage = Outage(Reconnect(limit=20, jitter=0))
    tries = 0
    with pytest.raises(SessionLost):
        while True:
            outage.begin(unreachable())
            await outage.pause(unreachable())
            outage.end()
            tries += 1
    assert 26 < tries < 34  # every 0.75 s, in the end
    outage = Outage(Reconnect(attempts=1))
    for _ in range(5):
        outage.begin(unreachable())
        await outage.pause(unreachable())
        outage.end()
        await trio.sleep(STEADY)
    assert outage.overcome == 5


async def test_only_the_time_without_a_connection_counts(autojump_clock: MockClock) -> None:
    outage = Outage(Reconnect(limit=2, jitter=0))
    for _ in range(6):  # of 4 s each, down for less than 0.2
        outage.begin(unreachable())
        assert outage.time_left > 1
        await outage.pause(unreachable())
        outage.end()
        await trio.sleep(STEADY - 1)
        if outage._attempts > 1:
            outage._attempts = 1  # the back-off is another matter
    outage.begin(unreachable())
    with pytest.raises(SessionLost, match=r"was lost, came back, was lost again .* in 1\.[0-9] s"):
        while True:
            await outage.pause(unreachable())


async def test_what_the_server_answered_is_no_try(autojump_clock: MockClock) -> None:
    outage = Outage(Reconnect(attempts=1, jitter=0))
    outage.begin(unreachable())
    await outage.pause(unreachable())
    await outage.pause(LoginRefused("unknown"), at_once=True)
    with pytest.raises(SessionLost, match="1 try: Nobody"):
        await outage.pause(unreachable())


async def test_a_try_in_which_the_process_did_not_run_does_not_count(mock_clock: MockClock) -> None:
    outage = Outage(Reconnect(limit=10, jitter=0))
    outage.begin(unreachable())
    await outage.pause(unreachable())

    async def pause_for(seconds: float) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outage.pause, unreachable())
            await wait_all_tasks_blocked()
            mock_clock.jump(seconds)

    await pause_for(12)  # suspended, where 0.1 s was to be waited
    assert outage.time_left == pytest.approx(10)
    assert outage.seconds == pytest.approx(12)
    await pause_for(1)  # late as on a busy machine
    assert outage.time_left == pytest.approx(9)


CURED: list[tuple[NekoError, bool]] = [
    (unreachable(), True),
    (SessionLost("lost"), True),
    (NoOffer("none"), True),
    (errors.NotNeko("a page of the proxy's"), True),
    (errors.IceFailed("no pair"), True),
    (ProtocolViolation("DTLS failed", step="ice"), True),
    (ProtocolViolation("no SDP", step="offer"), False),
    (errors.ConnectionRejected("shutdown", reason="connection shutdown", retryable=True), True),
    (errors.Kicked("kicked", reason="session disconnected"), False),
    (errors.Replaced("replaced", reason="connection replaced"), False),
    (LoginRefused("wrong password"), False),
    (errors.NotAllowed("no right"), False),
    (errors.UnsupportedCodec("none", offered=("H265",)), False),
]


@pytest.mark.parametrize(("error", "cured"), CURED, ids=lambda value: type(value).__name__)
async def test_what_a_new_connection_can_help_against(error: NekoError, cured: bool) -> None:
    assert Outage(Reconnect()).cures(error) is cured
    assert not Outage(None).cures(error)


# -- what is made anew


async def test_a_lost_link_is_dialled_again_with_the_same_token(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        async with session.screen.frames() as frames, session.events("system/init") as inits:
            media.peers[0].show(picture(1))
            first = await anext(frames)
            server.end()
            await down(session)
            assert not session.connected
            await session.wait_connected()
            assert session.connected
            media.peers[1].show(picture(2))
            second = await anext(frames)  # the same iterator
            assert (first.epoch, second.epoch, session.epoch) == (1, 2, 2)
            assert second.number == first.number + 1
            assert isinstance(await anext(inits), events.SystemInit)
        assert (server.logins, server.logouts, len(media.open_peers)) == (1, 0, 1)
        assert "dial" in session.timeline
        statistics = session.statistics()
        assert (statistics.outages, statistics.epoch) == (1, 2)
    assert (server.logouts, server.connections, media.leases, media.open_peers) == (1, 0, 0, set())


async def test_a_lost_peer_is_made_anew_on_the_same_link(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        media.peers[0].end("the network")
        await down(session)
        await session.wait_connected()
        assert "dial" not in session.timeline  # only what the new peer took
        assert "connected" in session.timeline
        server.send(events.SignalClose())
        await down(session)
        await session.wait_connected()
        assert session.epoch == 3
        assert len(server.got(requests.SignalRequest)) == 3
        assert not server.close_codes
        assert [peer.closed for peer in media.peers] == [True, True, False]


async def test_a_token_that_the_server_has_forgotten_is_logged_in_anew(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        init, server.init = server.init, None

        def refuse_once() -> None:
            server.send(events.SystemDisconnect(message="session not found"))
            server.init, server.on_connect = init, lambda: None

        server.on_connect = refuse_once
        server.end()
        await down(session)
        await session.wait_connected()
        assert (server.logins, server.logouts) == (2, 0)  # nobody logs out a token that is dead
    assert server.logouts == 1


async def test_a_token_of_the_callers_own_that_is_dead_ends_the_session(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    with pytest.raises(SessionLost) as caught:
        async with open_scripted_session(server, FakeMedia(), token=True, reconnect=POLICY):
            server.init = None
            server.on_connect = lambda: server.send(events.SystemDisconnect(message="session not found"))
            server.end()
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, LoginRefused)


async def test_the_first_connect_is_tried_once(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    server.dial_failure = unreachable()
    with pytest.raises(ServerUnreachable):
        async with open_scripted_session(server, FakeMedia(), reconnect=POLICY):
            pytest.fail("there is no session")


async def test_without_a_policy_the_session_ends(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    with pytest.raises(SessionLost):
        async with open_scripted_session(server, FakeMedia()):
            server.end()
            await trio.sleep_forever()


@pytest.mark.parametrize("reason", ["session disconnected", "session deleted", "connection replaced"])
async def test_what_an_admin_or_another_login_ended_stays_ended(reason: str, autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    with pytest.raises(SessionLost) as caught:
        async with open_scripted_session(server, FakeMedia(), reconnect=POLICY):
            server.send(events.SystemDisconnect(message=reason))
            await trio.sleep(1000)
    assert isinstance(caught.value.__cause__, Kicked | errors.Replaced)
    assert server.logins == 1


async def test_a_server_that_stays_away_ends_the_session_in_time(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    with pytest.raises(SessionLost, match="did not come back") as caught:
        async with open_scripted_session(server, FakeMedia(), reconnect=Reconnect(limit=30)) as session:
            server.dial_failure = unreachable()
            server.end()
            with pytest.raises(SessionLost):
                await session.screen.frame()
            assert not session.connected
            await trio.sleep_forever()
    assert 29 < trio.current_time() <= 30
    assert isinstance(caught.value.__cause__, ServerUnreachable)


async def test_a_server_that_is_silent_at_the_next_connect_is_asked_again(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY, connect_timeout=3) as session:
        server.stopped = True
        server.end()
        await down(session)
        await trio.sleep(10)
        server.stopped = False
        began = trio.current_time()
        await session.wait_connected()
        assert trio.current_time() - began <= 3 + POLICY.longest_delay


# -- the watchdogs


async def test_a_silent_media_connection_is_lost_in_seconds(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        await trio.sleep(60)
        assert session.epoch == 1
        media.peers[0].deaf_since = began = trio.current_time()
        await down(session)
        assert trio.current_time() - began <= 2 * MEDIA_QUIET + MEDIA_PATIENCE + 0.1
        await session.wait_connected()
        assert session.epoch == 2
        assert not server.close_codes  # the WebSocket is as it was


async def test_a_media_connection_that_only_answers_is_not_taken_for_a_dead_one(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session:
        media.peers[0].quiet = True
        await trio.sleep(600)
        assert session.connected
        assert session.epoch == 1


async def test_without_a_policy_silence_ends_the_session(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    with pytest.raises(SessionLost, match="Nothing has come over the media connection"):
        async with open_scripted_session(ScriptedServer(), media):
            media.peers[0].deaf_since = trio.current_time()
            await trio.sleep_forever()
    assert trio.current_time() < 6


@pytest.mark.parametrize("video", ["live", "on_demand", "off"])
async def test_a_server_that_has_stopped_is_noticed_and_found_again(video: str, autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, video=video, reconnect=POLICY) as session:
        await trio.sleep(30)
        began = trio.current_time()
        server.stopped = True
        for peer in media.peers:
            peer.deaf_since = began
        server.dial_failure = unreachable()
        await down(session)
        assert trio.current_time() - began <= 2 * LINK_QUIET + LINK_PATIENCE
        await trio.sleep(20)
        server.stopped, server.dial_failure = False, None
        began = trio.current_time()
        await session.wait_connected()
        assert trio.current_time() - began <= POLICY.longest_delay


async def test_an_idle_session_is_not_taken_for_a_dead_one(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    for video in ("live", "on_demand", "off"):
        async with open_scripted_session(server, media, video=video) as session:
            await trio.sleep(3600)
            assert session.connected


async def test_time_in_which_this_process_did_not_run_does_not_count(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        slept = trio.Event()

        async def sleep() -> None:
            await sleep_awake(2.0)
            slept.set()

        autojump_clock.autojump_threshold = float("inf")
        nursery.start_soon(sleep)
        await wait_all_tasks_blocked()
        autojump_clock.jump(3600)  # a laptop was closed
        await wait_all_tasks_blocked()
        assert not slept.is_set()
        autojump_clock.autojump_threshold = 0
        began = trio.current_time()
        await slept.wait()
        assert trio.current_time() - began == pytest.approx(2.0)


# -- what the caller holds


async def test_input_waits_and_what_was_in_doubt_is_told_once_and_not_repeated(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session, session.control():
        await session.mouse.move(1, 1)
        media.peers[0].deaf_since = trio.current_time()  # from here on nothing is confirmed
        await session.mouse.click(5, 5)
        server.dial_failure = unreachable()
        server.host = None
        server.end()
        await down(session)
        with pytest.raises(InputInDoubt, match="The connection that carried"):
            await session.flush()
        await session.flush()  # told once
        server.init = system_init(host="agent-1")
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + 3
            await session.mouse.move(7, 7)
        assert scope.cancelled_caught  # it waits
        server.dial_failure = None
        await session.mouse.move(8, 8)
        await session.flush()
        assert server.got(requests.ControlMove) == [requests.ControlMove(x=8, y=8)]  # the WebSocket is there first
        await session.wait_connected()
        await session.mouse.move(9, 9)
        assert media.peers[1].inputs == [data_channel.Move(9, 9)]
        assert len(media.peers[0].inputs) == 1  # the click was not repeated


async def test_who_was_given_the_role_is_told_what_is_in_doubt_as_well(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    server.init = system_init(host="agent-1")
    async with open_scripted_session(server, media, reconnect=POLICY) as session:  # and there is no control()
        media.peers[0].deaf_since = trio.current_time()
        await session.mouse.click(5, 5)
        server.end()
        await down(session)
        with pytest.raises(InputInDoubt, match="The connection that carried"):
            await session.flush()


async def test_a_role_that_the_server_kept_is_gone_on_with(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        async with session.control():
            server.init = system_init(host="agent-1")
            async with session.keyboard.hold("shift"):
                await session.flush()
                server.end()
                await down(session)
                await session.wait_connected()
                await session.mouse.move(3, 3)
            assert [type(each).__name__ for each in media.peers[1].inputs] == ["KeyUp", "KeyDown", "Move", "KeyUp"]
        assert len(server.got(requests.ControlRequest)) == 1
        assert len(server.got(requests.ControlRelease)) == 1


async def test_a_role_that_the_server_forgot_is_asked_for_again(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        async with session.control():
            server.end()
            await down(session)
            await session.wait_connected()
            await trio.sleep(1)
            assert session.state.is_host  # before there is any input
            await session.mouse.click(4, 4)
            await session.flush()
        assert len(server.got(requests.ControlRequest)) == 2
        assert len(server.got(requests.ControlRelease)) == 1
        assert server.host is None


async def test_a_role_that_another_has_taken_meanwhile_is_lost(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        with pytest.raises(ControlLost):
            async with session.control():
                server.init = system_init(host="somebody")
                server.end()
                await trio.sleep_forever()
        assert len(server.got(requests.ControlRequest)) == 1  # nobody is nagged
        await session.wait_connected()
        async with session.control(wait=True):
            pass


async def test_a_block_that_regains_waits_for_whoever_took_the_role_meanwhile(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session, session.control(regain=True):
        server.init = system_init(host="somebody")
        server.on["control/request"] = lambda _request: None
        server.end()
        await down(session)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.mouse.move, 6, 6)
            await trio.sleep(5)
            assert len(server.got(requests.ControlRequest)) == 2  # asked once, politely
            assert media.peers[1].inputs == []
            server.give_host("agent-1")
        await session.flush()
        assert media.peers[1].inputs == [data_channel.Move(6, 6)]


async def test_a_role_whose_release_was_lost_with_the_connection_is_given_back_on_the_next(
    autojump_clock: MockClock,
) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        async with session.control():
            server.init = system_init(host="agent-1")
            server.host = "agent-1"
            server.dial_failure = unreachable()
            server.end()
            await down(session)
        server.dial_failure = None
        await session.wait_connected()
        await session.wait_state(lambda state: state.host is None)
        assert server.host is None


async def test_a_call_of_the_callers_own_waits_for_the_connection(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        server.dial_failure = unreachable()
        server.end()
        await down(session)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.send_event, "any/event")
            await trio.sleep(3)
            assert all(request.event != "any/event" for request in server.requests)
            server.dial_failure = None
        assert [request.event for request in server.requests].count("any/event") == 1


@pytest.mark.parametrize("lose", [lambda server: server.end(), lambda server: server.send(events.SignalClose())])
async def test_the_block_may_end_in_the_middle_of_an_outage(
    lose: Callable[[ScriptedServer], None], autojump_clock: MockClock
) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media, reconnect=POLICY) as session, session.control():
        server.dial_failure = unreachable()
        server.on["signal/request"] = lambda _request: None
        lose(server)
        await down(session)
    assert trio.current_time() <= 2
    assert (server.logouts, server.connections, media.leases, media.open_peers) == (1, 0, 0, set())
    with pytest.raises(SessionClosed):
        await session.wait_connected()


async def test_cancelled_at_every_step_of_an_outage_nothing_is_left(autojump_clock: MockClock) -> None:
    for moment in np.arange(0.0, 3.0, 0.05):
        server, media = ScriptedServer(), FakeMedia(delays={"wait_connected": 0.1, "set_remote_description": 0.1})
        server.delays = {"dial": 0.1, "login": 0.1}
        with trio.CancelScope() as scope:
            async with open_scripted_session(server, media, reconnect=POLICY) as session, session.control():
                scope.deadline = trio.current_time() + float(moment)
                server.end()
                await down(session)
                server.on["signal/request"] = lambda _request: None
                await session.wait_connected()
                media.peers[-1].end("the network")
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert (server.logins, server.logouts, server.connections, media.leases, media.open_peers) == (
            1,
            1,
            0,
            0,
            set(),
        ), moment


async def test_an_open_microphone_goes_on_with_the_next_peer(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    sound = np.full((960, 2), 1000, np.int16)
    async with open_scripted_session(server, media, reconnect=POLICY) as session, session.microphone() as mic:
        await mic.write(sound)
        await mic.flush()
        for link in (True, False):
            before = len(media.peers)
            if link:
                server.end()
            else:
                media.peers[-1].end("the network")
            await down(session)
            await session.wait_connected()
            assert len(media.peers) == before + 1
            with trio.move_on_after(10) as heard:
                await mic.write(sound)
                await mic.flush()
            assert not heard.cancelled_caught
            assert any((samples == 1000).any() for _at, samples in media.peers[-1].microphone.heard)
            assert media.peers[-1].microphone.offers == [True]
    assert media.peers[-1].microphone.offers == [True, False]
    assert not media.peers[0].microphone.listening


async def test_what_is_said_during_an_outage_is_known_by_the_name_of_the_new_login(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    me = "agent-1"

    def echo(request: requests.ClientRequest) -> None:
        assert isinstance(request, requests.ChatMessage)
        server.send(events.ChatMessage(id=me, created="", content=events.ChatContent(text=request.text)))

    def barrier(request: requests.ClientRequest) -> None:
        assert isinstance(request, requests.SendUnicast)
        server.send(
            events.SendUnicast(sender=me, receiver=request.receiver, subject=request.subject, body=request.body)
        )

    server.on |= {"chat/message": echo, "send/unicast": barrier}
    async with open_scripted_session(server, media, reconnect=POLICY) as session:
        server.send(events.ChatInit(enabled=True))
        await session.chat.say("before")
        me = "agent-2"
        assert server.init is not None
        server.init = msgspec.structs.replace(
            server.init,
            session_id=me,
            sessions={me: msgspec.structs.replace(server.init.sessions["agent-1"], id=me)},
        )
        server.on_connect = lambda: server.send(events.ChatInit(enabled=True))
        server.end()
        await down(session)
        said = await session.chat.say("after")
        assert said is not None
        assert (said.id, session.state.session_id) == (me, me)
