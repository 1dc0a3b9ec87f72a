"""Each call about the room: what goes out, what is waited for, what a refusal means."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from neko_trio import Session
from neko_trio.errors import (
    ControlLost,
    FeatureOff,
    InvalidInput,
    NekoError,
    NotAllowed,
    ProtocolViolation,
    SessionClosed,
    SessionLost,
)
from neko_trio.events import (
    BroadcastStatus,
    Cursor,
    SessionCursorList,
    SessionCursors,
    SessionDeleted,
    SessionProfile,
    SessionState,
    SessionStateChanged,
    Settings,
    SystemSettings,
)
from neko_trio.protocol import requests
from neko_trio.testing import cancel_at_every_step
from neko_trio.testing._scripted import profile
from tests.room.conftest import ME, OTHER, Call, RoomServer, opened, somebody

BOB = profile(name="bob")
AS_JSON = msgspec.to_builtins(somebody())


async def test_settings_are_sent_alone_and_shown_before_it_returns(autojump_clock: MockClock) -> None:
    server = RoomServer(settings=Settings(merciful_reconnect=True, heartbeat_interval=10))
    async with opened(server) as session:
        got = await session.room.change_settings(locked_controls=True, plugins={"chat.can_send": False})
        assert server.rest.calls == [
            ("POST", "/api/room/settings", {"locked_controls": True, "plugins": {"chat.can_send": False}})
        ]
        assert got == session.state.settings == server.settings
        assert got.locked_controls
        assert got.merciful_reconnect


async def test_another_admins_settings_are_not_taken_for_ours(autojump_clock: MockClock) -> None:
    server = RoomServer()

    def both(body: dict[str, Any]) -> None:
        server.send(SystemSettings(id=OTHER, settings=Settings(private_mode=True, locked_logins=True)))
        server.send(SystemSettings(id=ME, settings=Settings(private_mode=True)))

    server.rest.on["POST", "/api/room/settings"] = both
    async with opened(server) as session:
        assert await session.room.change_settings(private_mode=True) == Settings(private_mode=True)


async def test_an_event_that_comes_before_the_answer_confirms_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each on its own connection: what was sent first has come first, as a rule long before."""
    server = RoomServer()
    answered = server.rest.request

    async def slow(method: str, path: str, **options: Any) -> Any:
        answer = await answered(method, path, **options)
        await trio.testing.wait_all_tasks_blocked()
        return answer

    monkeypatch.setattr(server.rest, "request", slow)
    async with opened(server) as session:
        assert (await session.room.change_settings(private_mode=True)).private_mode
        assert (await session.room.update_profile(name="new")).name == "new"


CONFIRMED: list[tuple[str, str, Call]] = [
    ("POST", "/api/room/settings", lambda s: s.room.change_settings(private_mode=True)),
    ("POST", "/api/profile", lambda s: s.room.rename("new")),
    ("POST", "/api/room/control/take", lambda s: s.room.take_control()),
    ("POST", f"/api/room/control/give/{OTHER}", lambda s: s.room.give_control(OTHER)),
    ("POST", "/api/room/broadcast/start", lambda s: s.room.broadcast.start("rtmp://x")),
    ("POST", "/api/room/broadcast/stop", lambda s: s.room.broadcast.stop()),
]


@pytest.mark.parametrize(("method", "path", "call"), CONFIRMED)
async def test_an_event_that_is_never_sent_is_an_error_and_no_hang(
    autojump_clock: MockClock, method: str, path: str, call: Call
) -> None:
    server = RoomServer()
    server.rest.on[method, path] = lambda _: None
    async with opened(server) as session:
        with trio.fail_after(1), pytest.raises(ProtocolViolation, match="sent no"):
            await call(session)


async def test_the_settings_and_what_the_server_says_to_strangers(autojump_clock: MockClock) -> None:
    server = RoomServer()
    server.rest.on["GET", "/api/room/settings"] = lambda _: {"private_mode": True, "more": 1}
    async with opened(server) as session:
        assert await session.room.settings() == Settings(private_mode=True)
        server.rest.on["GET", "/api/room/settings"] = lambda _: {"private_mode": "yes"}
        with pytest.raises(ProtocolViolation, match="settings"):
            await session.room.settings()
        server.refuse("GET", "/api/room/settings", 403)
        with pytest.raises(NotAllowed, match="said the server"):
            await session.room.settings()


async def test_oneself(autojump_clock: MockClock) -> None:
    server = RoomServer(admin=False)
    server.rest.on["GET", "/api/whoami"] = lambda _: AS_JSON
    async with opened(server) as session:
        assert await session.room.whoami() == somebody()
        await session.room.rename("Grüße 👋")
        assert session.state.profile.name == "Grüße 👋"
        assert server.rest.calls[1:] == [("POST", "/api/profile", {"name": "Grüße 👋"})]
        with pytest.raises(NotAllowed, match="name"):
            await session.room.update_profile(name="x", can_host=False)
        assert len(server.rest.calls) == 2


async def test_an_admin_changes_their_whole_profile(autojump_clock: MockClock) -> None:
    server = RoomServer()
    async with opened(server) as session:
        changed = await session.room.update_profile(can_host=False, plugins={"a": 1})
        assert changed == session.state.profile
        assert not changed.can_host


async def test_stats(autojump_clock: MockClock) -> None:
    server = RoomServer(admin=False)
    server.rest.on["GET", "/api/stats"] = lambda _: {
        "has_host": True,
        "host_id": ME,
        "server_started_at": "2026-11-22T20:00:00Z",
        "total_users": 2,
        "total_admins": 1,
        "last_admin_left_at": "2026-11-22T21:00:00Z",
    }
    async with opened(server) as session:
        stats = await session.room.stats()
        assert (stats.host_id, stats.total_users, stats.last_user_left_at) == (ME, 2, None)


async def test_sessions(autojump_clock: MockClock) -> None:
    server = RoomServer()
    server.rest.on["GET", "/api/sessions"] = lambda _: [AS_JSON]
    server.rest.on["GET", f"/api/sessions/{OTHER}"] = lambda _: AS_JSON
    server.rest.on["DELETE", f"/api/sessions/{OTHER}"] = lambda _: server.send(SessionDeleted(id=OTHER))
    gone = SessionStateChanged(id=OTHER, state=SessionState(is_connected=False, is_watching=False))
    server.rest.on["POST", f"/api/sessions/{OTHER}/disconnect"] = lambda _: server.send(gone)
    async with opened(server, somebody()) as session:
        assert await session.room.sessions() == (somebody(),)
        assert await session.room.session(OTHER) == somebody()
        await session.room.disconnect(OTHER)
        assert not session.state.sessions[OTHER].state.is_connected
        await session.room.remove(OTHER)
        assert set(session.state.sessions) == {ME}


NO_SUCH: list[tuple[str, str, int, Call]] = [
    ("GET", "/api/sessions/x", 404, lambda s: s.room.session("x")),
    ("POST", "/api/sessions/x/disconnect", 400, lambda s: s.room.disconnect("x")),
    ("DELETE", "/api/sessions/x", 400, lambda s: s.room.remove("x")),
    ("POST", "/api/room/control/give/x", 404, lambda s: s.room.give_control("x")),
    ("GET", "/api/members/x", 404, lambda s: s.room.members.get("x")),
    ("POST", "/api/members/x", 404, lambda s: s.room.members.update("x", can_host=True)),
    ("POST", "/api/members/x/password", 404, lambda s: s.room.members.set_password("x", "new")),
    ("DELETE", "/api/members/x", 404, lambda s: s.room.members.delete("x")),
    ("POST", "/api/members", 422, lambda s: s.room.members.create("x", "secret")),
]


@pytest.mark.parametrize(("method", "path", "status", "call"), NO_SUCH)
async def test_who_is_not_there_is_named(
    autojump_clock: MockClock, method: str, path: str, status: int, call: Call
) -> None:
    server = RoomServer()
    server.refuse(method, path, status)
    async with opened(server) as session:
        with pytest.raises(InvalidInput, match="'x'") as caught:
            await call(session)
        assert "secret" not in str(caught.value)


async def test_an_id_is_escaped_as_the_servers_router_wants_it(autojump_clock: MockClock) -> None:
    server = RoomServer()
    path = "/api/sessions/a%20b%21%C3%A9%25+&:@-abcde"
    server.rest.on["GET", path] = lambda _: AS_JSON
    async with opened(server) as session:
        assert await session.room.session("a b!é%+&:@-abcde") == somebody()


async def test_the_host_role_of_others(autojump_clock: MockClock) -> None:
    server = RoomServer()
    async with opened(server, somebody()) as session:
        await session.room.take_control()
        assert session.state.is_host
        await session.room.give_control(OTHER)
        assert session.state.host == OTHER
        await session.room.reset_control()
        assert session.state.host is None
        await session.room.reset_control()  # nobody is: nothing to wait for


async def test_the_host_gives_it_away_and_its_block_ends(autojump_clock: MockClock) -> None:
    server = RoomServer(admin=False)
    async with opened(server, somebody()) as session:
        with pytest.raises(ControlLost) as caught:
            async with session.control():
                await session.room.give_control(OTHER)
        assert caught.value.holder == OTHER


async def test_a_host_that_gives_its_role_away_lets_go_first(autojump_clock: MockClock) -> None:
    """The server would keep the key pressed, in the other one's hands."""
    server = RoomServer(admin=False)
    before: list[requests.ClientRequest] = []

    def give(_body: object) -> None:
        before.extend(server.sent)
        server.say_host(OTHER)

    server.rest.on["POST", f"/api/room/control/give/{OTHER}"] = give
    async with opened(server, somebody()) as session:
        with pytest.raises(ControlLost):
            async with session.control(), session.keyboard.hold("ctrl"):
                await session.room.give_control(OTHER)
    assert before[-2:] == [requests.ControlKeyDown(keysym=0xFFE3), requests.ControlKeyUp(keysym=0xFFE3)]


async def test_who_may_not_host_is_not_given_it(autojump_clock: MockClock) -> None:
    server = RoomServer()
    server.refuse("POST", "/api/room/control/give/new-1", 400)
    async with opened(server, somebody(can_host=False)) as session:
        for unfit in (OTHER, "new-1"):  # known here, or only to the server
            with pytest.raises(NotAllowed, match="may not control"):
                await session.room.give_control(unfit)
        assert [path for _, path, _ in server.rest.calls] == ["/api/room/control/give/new-1"]


async def test_members(autojump_clock: MockClock) -> None:
    server = RoomServer()
    member = {"id": "bob", "profile": msgspec.to_builtins(BOB)}
    server.rest.on["GET", "/api/members?limit=0&offset=0"] = lambda _: [member]
    server.rest.on["GET", "/api/members?limit=2&offset=4"] = lambda _: []
    server.rest.on["GET", "/api/members/bob"] = lambda _: member["profile"]
    server.rest.on["POST", "/api/members"] = lambda _: member
    for path in ("/api/members/bob/password", "/api/members_bulk/delete"):
        server.rest.on["POST", path] = lambda _: None
    for path in ("/api/members/bob", "/api/members_bulk/update"):
        server.rest.on["POST", path] = lambda _: server.send(SessionProfile(id=OTHER, profile=BOB))
    server.rest.on["DELETE", "/api/members/bob"] = lambda _: server.send(SessionDeleted(id=OTHER))
    async with opened(server, somebody()) as session:
        members = session.room.members
        (listed,) = await members.list()
        assert (listed.id, listed.profile) == ("bob", BOB)
        assert await members.list(limit=2, offset=4) == ()
        assert await members.get("bob") == BOB
        assert await members.create("bob", "pw", name="bob", can_host=False) == listed
        await members.set_password("bob", "pw2")
        await members.update("bob", can_host=True)
        assert session.state.sessions[OTHER].profile == BOB
        await members.update_many(iter(["bob"]), can_host=False)
        await members.delete_many(["bob"])
        await members.delete("bob")
        assert OTHER not in session.state.sessions
    bodies = [body for method, path, body in server.rest.calls if method == "POST"]
    assert bodies == [
        {"username": "bob", "password": "pw", "profile": {"name": "bob", "can_host": False}},
        {"password": "pw2"},
        {"can_host": True},
        {"ids": ("bob",), "profile": {"can_host": False}},
        {"ids": ("bob",)},
    ]


MEMBER_CALLS: list[tuple[str, str, Call]] = [
    ("POST", "/api/members", lambda s: s.room.members.create("x", "secret")),
    ("GET", "/api/members/x", lambda s: s.room.members.get("x")),
    ("POST", "/api/members/x", lambda s: s.room.members.update("x", can_host=True)),
    ("POST", "/api/members/x/password", lambda s: s.room.members.set_password("x", "secret")),
    ("DELETE", "/api/members/x", lambda s: s.room.members.delete("x")),
    ("POST", "/api/members_bulk/update", lambda s: s.room.members.update_many(["x"], can_host=True)),
    ("POST", "/api/members_bulk/delete", lambda s: s.room.members.delete_many(["x"])),
]


@pytest.mark.parametrize(("method", "path", "call"), MEMBER_CALLS)
async def test_a_provider_that_keeps_no_members(autojump_clock: MockClock, method: str, path: str, call: Call) -> None:
    server = RoomServer()
    server.refuse(method, path, 500, "Internal Server Error")
    async with opened(server) as session:
        with pytest.raises(FeatureOff, match="provider") as caught:
            await call(session)
        assert "secret" not in str(caught.value)


async def test_a_bulk_change_that_stops_shows_what_it_did(autojump_clock: MockClock) -> None:
    server = RoomServer()

    def stop(_body: object) -> None:
        server.send(SessionProfile(id=OTHER, profile=BOB))
        server.refuse("POST", "/api/members_bulk/update", 500, "failed to update member x")
        server.rest.on["POST", "/api/members_bulk/update"](None)

    server.rest.on["POST", "/api/members_bulk/update"] = stop
    async with opened(server, somebody()) as session:
        with pytest.raises(FeatureOff, match="failed to update member x"):
            await session.room.members.update_many([OTHER, "x"], name="bob")
        assert session.state.sessions[OTHER].profile == BOB


async def test_the_broadcast(autojump_clock: MockClock) -> None:
    server = RoomServer()
    url = "rtmp://live.example/app/key-1234"
    server.rest.on["GET", "/api/room/broadcast"] = lambda _: {"is_active": False, "url": url}
    server.rest.on["POST", "/api/room/broadcast/start"] = lambda body: server.send(
        BroadcastStatus(is_active=True, url=body["url"])
    )
    server.rest.on["POST", "/api/room/broadcast/stop"] = lambda _: server.send(BroadcastStatus(is_active=False))
    async with opened(server) as session:
        broadcast = session.room.broadcast
        assert not (await broadcast.status()).is_active
        await broadcast.start(url)
        state = session.state.broadcast
        assert state is not None
        assert state.is_active
        assert state.url == url
        assert "key-1234" not in repr(session.state) + repr(BroadcastStatus(is_active=True, url=url))
        await broadcast.stop()
        assert session.state.broadcast is not None
        assert not session.state.broadcast.is_active


@pytest.mark.parametrize(("status", "kind"), [(422, NotAllowed), (500, ProtocolViolation)])
async def test_a_broadcast_that_cannot_start(autojump_clock: MockClock, status: int, kind: type[NekoError]) -> None:
    server = RoomServer()
    server.refuse("POST", "/api/room/broadcast/start", status, "rtmp://key-1234")
    server.refuse("POST", "/api/room/broadcast/stop", status)
    async with opened(server) as session:
        with pytest.raises(kind) as caught:
            await session.room.broadcast.start("rtmp://key-1234")
        assert "key-1234" not in str(caught.value)
        with pytest.raises(NotAllowed if status == 422 else ProtocolViolation):
            await session.room.broadcast.stop()


async def test_the_cursors_of_others(autojump_clock: MockClock) -> None:
    member = msgspec.structs.replace(profile(), can_see_inactive_cursors=True)
    server = RoomServer(member=member)
    async with opened(server, somebody()) as session:
        assert session.room.cursors == {}
        server.send(SessionCursors(cursors=(SessionCursorList(id=OTHER, cursors=(Cursor(x=1, y=2),)),)))
        await session.wait_state(lambda state: bool(state.cursors))
        assert session.room.cursors == {OTHER: (Cursor(x=1, y=2),)}
        server.send(SessionCursors(cursors=()))
        await session.wait_state(lambda state: not state.cursors)
    assert session.room.cursors == {}  # readable after the end, as the state is


async def test_the_log(autojump_clock: MockClock) -> None:
    server = RoomServer(admin=False)
    async with opened(server) as session:
        await session.room.log("info", "step", number=3, nested={"a": [1]})
    (logged,) = server.got(requests.SystemLogs)
    assert logged.entries == (
        requests.LogEntry(level="info", message="step", fields={"number": 3, "nested": {"a": [1]}}),
    )


# -- who may


FOR_ADMINS: dict[str, Call] = {
    "session": lambda s: s.room.session(OTHER),
    "disconnect": lambda s: s.room.disconnect(OTHER),
    "remove": lambda s: s.room.remove(OTHER),
    "settings": lambda s: s.room.settings(),
    "change_settings": lambda s: s.room.change_settings(private_mode=True),
    "give_control": lambda s: s.room.give_control(OTHER),
    "take_control": lambda s: s.room.take_control(),
    "reset_control": lambda s: s.room.reset_control(),
    "members.get": lambda s: s.room.members.get("x"),
    "members.create": lambda s: s.room.members.create("x", "secret"),
    "members.update": lambda s: s.room.members.update("x", can_host=True),
    "members.set_password": lambda s: s.room.members.set_password("x", "secret"),
    "members.delete": lambda s: s.room.members.delete("x"),
    "members.update_many": lambda s: s.room.members.update_many(["x"], can_host=True),
    "members.delete_many": lambda s: s.room.members.delete_many(["x"]),
    "broadcast.status": lambda s: s.room.broadcast.status(),
    "broadcast.start": lambda s: s.room.broadcast.start("rtmp://secret"),
    "broadcast.stop": lambda s: s.room.broadcast.stop(),
}


@pytest.mark.parametrize("name", FOR_ADMINS)
async def test_a_user_is_refused_before_anything_is_sent(autojump_clock: MockClock, name: str) -> None:
    server = RoomServer(admin=False)
    async with opened(server, somebody()) as session:
        with pytest.raises(NotAllowed) as caught:
            await FOR_ADMINS[name](session)
        assert server.rest.calls == []
        assert server.requests == []
        assert "secret" not in str(caught.value)


async def test_cursors_are_not_for_everybody(autojump_clock: MockClock) -> None:
    async with opened(RoomServer(admin=False)) as session:
        with pytest.raises(NotAllowed, match="cursors"):
            session.room.cursors  # noqa: B018 - a property that raises


@pytest.mark.parametrize("name", ["give_control", "take_control", "reset_control"])
async def test_the_host_role_wants_the_right_to_host_of_admins_too(autojump_clock: MockClock, name: str) -> None:
    server = RoomServer(member=profile(is_admin=True, without="can_host"))
    async with opened(server, somebody()) as session:
        with pytest.raises(NotAllowed, match="may not control"):
            await FOR_ADMINS[name](session)
        assert server.rest.calls == []


async def test_in_private_mode_a_host_gives_nothing_away(autojump_clock: MockClock) -> None:
    server = RoomServer(admin=False)
    async with opened(server, somebody()) as session:
        server.say_host(ME)
        server.send(SystemSettings(id=OTHER, settings=Settings(private_mode=True)))
        await session.wait_state(lambda state: state.settings.private_mode)
        with pytest.raises(NotAllowed, match="private mode"):
            await session.room.give_control(OTHER)


# -- the ends


EVERY: dict[str, Call] = {
    **FOR_ADMINS,
    "whoami": lambda s: s.room.whoami(),
    "rename": lambda s: s.room.rename("new"),
    "stats": lambda s: s.room.stats(),
    "sessions": lambda s: s.room.sessions(),
    "members.list": lambda s: s.room.members.list(),
    "send": lambda s: s.room.send(OTHER, "subject"),
    "send_all": lambda s: s.room.send_all("subject"),
    "batch": lambda s: s.room.batch([("GET", "/api/whoami")]),
    "log": lambda s: s.room.log("info", "text"),
    "chat.say": lambda s: s.chat.say("text"),
}


@pytest.mark.parametrize("name", EVERY)
async def test_a_closed_session_says_so(autojump_clock: MockClock, name: str) -> None:
    async with opened(RoomServer(), somebody()) as session:
        pass
    with pytest.raises(SessionClosed):
        await EVERY[name](session)


def everything() -> RoomServer:
    server = RoomServer()
    for name in ("GET /api/whoami", f"GET /api/sessions/{OTHER}"):
        method, path = name.split()
        server.rest.on[method, path] = lambda _: AS_JSON
    server.rest.on["GET", "/api/sessions"] = lambda _: [AS_JSON]
    server.rest.on["POST", f"/api/sessions/{OTHER}/disconnect"] = lambda _: None
    server.rest.on["POST", "/api/members"] = lambda _: {"id": "x", "profile": msgspec.to_builtins(BOB)}
    server.rest.on["POST", "/api/members/x"] = lambda _: None
    server.rest.on["POST", "/api/members_bulk/update"] = lambda _: None
    server.rest.on["POST", "/api/batch"] = lambda _: [{"status": 204}]
    server.rest.on["POST", "/api/room/broadcast/start"] = lambda _: server.send(BroadcastStatus(is_active=True))
    return server


SWEPT = (
    "whoami",
    "rename",
    "sessions",
    "session",
    "disconnect",
    "change_settings",
    "give_control",
    "take_control",
    "reset_control",
    "members.create",
    "members.update",
    "members.update_many",
    "broadcast.start",
    "send",
    "send_all",
    "batch",
    "log",
)


@pytest.mark.parametrize("name", SWEPT)
def test_cancelled_at_any_step_nothing_of_it_stays(name: str) -> None:
    server = everything()
    sessions: list[Session] = []

    async def scenario() -> None:
        nonlocal server
        server = everything()
        async with opened(server, somebody()) as session:
            sessions[:] = [session]
            await EVERY[name](session)

    def check() -> None:
        assert server.connections == 0
        for session in sessions:
            assert session._parts.bus._subscriptions == []
            assert session._parts.rest._scopes == set()
        sessions.clear()

    assert cancel_at_every_step(scenario, check) > 20


async def test_a_session_that_dies_ends_a_call_that_waits(autojump_clock: MockClock) -> None:
    server = RoomServer()
    server.on["send/unicast"] = lambda _request: server.end()  # the barrier
    with pytest.raises(SessionLost):
        async with opened(server) as session:
            await session.room.change_settings(private_mode=True)
