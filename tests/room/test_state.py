"""The snapshot of the room: kept true by every event, and bounded whatever a server sends."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from neko_trio._state import MAX_SESSION_BYTES, MAX_SESSIONS, initial_state, reduce_state
from neko_trio.events import (
    BroadcastInfo,
    BroadcastStatus,
    ChatInit,
    Cursor,
    ScreenSize,
    ServerEvent,
    SessionCreated,
    SessionCursorList,
    SessionCursors,
    SessionDeleted,
    SessionInfo,
    SessionProfile,
    SessionState,
    SessionStateChanged,
    SystemAdmin,
    SystemHeartbeat,
)
from neko_trio.testing._scripted import profile, system_init
from tests.room.conftest import ME, OTHER, RoomServer, opened, somebody

HUGE = "x" * MAX_SESSION_BYTES


def created(info: SessionInfo) -> SessionCreated:
    return SessionCreated(id=info.id, profile=info.profile, state=info.state)


def test_each_event_shows() -> None:
    state = initial_state(system_init())
    steps: list[tuple[ServerEvent, str, object]] = [
        (ChatInit(enabled=False), "chat_enabled", False),
        (ChatInit(enabled=True), "chat_enabled", True),
        (
            SystemAdmin(
                screen_sizes_list=(ScreenSize(width=8, height=8, rate=1),),
                broadcast_status=BroadcastInfo(is_active=False),
            ),
            "broadcast",
            BroadcastInfo(is_active=False),
        ),
        (BroadcastStatus(is_active=True, url="u"), "broadcast", BroadcastInfo(is_active=True, url="u")),
        (
            SessionCursors(cursors=(SessionCursorList(id=OTHER, cursors=(Cursor(x=1, y=2),)),)),
            "cursors",
            {OTHER: (Cursor(x=1, y=2),)},
        ),
        (SessionCursors(cursors=()), "cursors", {}),
    ]
    for event, name, value in steps:
        after = reduce_state(state, event)
        assert getattr(after, name) == value
        assert after.revision == state.revision + 1
        state = after
    assert reduce_state(state, ChatInit(enabled=True)) is state  # nothing new
    assert reduce_state(state, SystemHeartbeat()) is state


def test_sessions_come_change_and_go() -> None:
    state = reduce_state(initial_state(system_init()), created(somebody()))
    assert set(state.sessions) == {ME, OTHER}
    state = reduce_state(state, SessionProfile(id=OTHER, profile=profile(name="renamed")))
    assert state.sessions[OTHER].profile.name == "renamed"
    gone = SessionState(is_connected=False, is_watching=False)
    state = reduce_state(state, SessionStateChanged(id=OTHER, state=gone))
    assert state.sessions[OTHER].state == gone
    state = reduce_state(state, SessionDeleted(id=OTHER))
    assert set(state.sessions) == {ME}
    state = reduce_state(state, SessionProfile(id=ME, profile=profile(is_admin=True)))
    assert state.profile.is_admin
    assert state.sessions[ME].profile.is_admin


def test_a_server_that_lists_sessions_without_end_is_not_believed() -> None:
    state = initial_state(system_init())
    for number in range(MAX_SESSIONS + 10):
        state = reduce_state(state, created(somebody(f"s{number}")))
    assert len(state.sessions) == MAX_SESSIONS
    assert state.sessions_left_out == 11
    state = reduce_state(state, SessionDeleted(id="s0"))  # there is room for one
    state = reduce_state(state, created(somebody("late")))
    assert "late" in state.sessions
    assert len(state.sessions) == MAX_SESSIONS


def test_nor_is_one_whose_list_is_long_from_the_start() -> None:
    init = system_init()
    for number in range(MAX_SESSIONS + 10):
        init.sessions.pop(ME, None)
        init.sessions[f"s{number}"] = somebody(f"s{number}")
    init.sessions["huge"] = somebody("huge", name=HUGE)
    init.sessions[ME] = somebody(ME)  # the last of all
    state = initial_state(init)
    assert len(state.sessions) == MAX_SESSIONS
    assert ME in state.sessions
    assert state.sessions_left_out == 12


def test_a_session_larger_than_any_is_left_out_but_never_oneself() -> None:
    state = initial_state(system_init())
    state = reduce_state(state, created(somebody(OTHER, name=HUGE)))
    assert (set(state.sessions), state.sessions_left_out) == ({ME}, 1)
    state = reduce_state(state, created(somebody(OTHER)))
    state = reduce_state(state, SessionProfile(id=OTHER, profile=profile(name=HUGE)))
    assert (set(state.sessions), state.sessions_left_out) == ({ME}, 2)  # better missing than wrong
    state = reduce_state(state, SessionProfile(id=ME, profile=profile(name=HUGE)))
    assert state.sessions[ME].profile == state.profile == profile(name=HUGE)


async def test_a_message_to_one_who_is_left_out_is_sent(autojump_clock: MockClock) -> None:
    server = RoomServer()
    async with opened(server) as session:
        with trio.fail_after(1):
            server.enter(somebody("big", name=HUGE))
            await session.wait_state(lambda state: state.sessions_left_out == 1)
            await session.room.send("big", "subject")
        assert len(server.sent) == 1
