"""The chat plugin: said when the echo has come, refused where the server would be silent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from neko_trio import Session
from neko_trio.errors import FeatureOff, InvalidInput, NotAllowed, ProtocolViolation, SessionLost
from neko_trio.events import ChatContent, ChatInit, ChatMessage, Dropped, Settings
from neko_trio.protocol import requests
from neko_trio.testing import cancel_at_every_step
from neko_trio.testing._scripted import profile
from tests.room.conftest import ME, OTHER, RoomServer, opened


def said(text: str, *, by: str = ME) -> ChatMessage:
    return ChatMessage(id=by, created="2026-11-22T20:00:00Z", content=ChatContent(text=text))


class ChatServer(RoomServer):
    def __init__(self, *, enabled: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.on["chat/message"] = self.echo
        self.on_connect = lambda: self.send(ChatInit(enabled=enabled))

    def echo(self, request: requests.ClientRequest) -> None:
        assert isinstance(request, requests.ChatMessage)
        self.send(said(request.text, by=OTHER))
        self.send(said("something else"))
        self.send(said(request.text))


async def test_said_is_what_everybody_got(autojump_clock: MockClock) -> None:
    server = ChatServer(admin=False)
    async with opened(server) as session:
        assert session.state.chat_enabled is True
        assert await session.chat.say("Grüße 👋\n") == said("Grüße 👋\n")


async def test_the_same_text_twice_at_once_has_two_echoes(autojump_clock: MockClock) -> None:
    server = ChatServer()
    times = iter("12")
    server.on["chat/message"] = lambda _request: server.send(
        ChatMessage(id=ME, created=next(times), content=ChatContent(text="again"))
    )
    echoes: list[ChatMessage | None] = []

    async def say() -> None:
        echoes.append(await session.chat.say("again"))

    async with opened(server) as session, trio.open_nursery() as nursery:
        nursery.start_soon(say)
        nursery.start_soon(say)
    assert sorted(echo.created for echo in echoes if echo is not None) == ["1", "2"]


@pytest.mark.parametrize("told", [True, False])
async def test_a_plugin_that_is_off_or_not_there(autojump_clock: MockClock, told: bool) -> None:
    server = ChatServer(enabled=False)
    if not told:
        server.on_connect = lambda: None
    async with opened(server) as session:
        with pytest.raises(FeatureOff, match="chat"):
            await session.chat.say("secret text")
        with pytest.raises(FeatureOff):
            async with session.chat.messages():
                pass  # pragma: no cover
    assert server.got(requests.ChatMessage) == []


async def test_whether_it_is_on_is_waited_for(autojump_clock: MockClock) -> None:
    server = ChatServer()
    server.on_connect = lambda: None
    barrier = server.on["send/unicast"]

    def tell(request: requests.ClientRequest) -> None:
        server.send(ChatInit(enabled=True))
        barrier(request)

    server.on["send/unicast"] = tell
    async with opened(server) as session:
        assert session.state.chat_enabled is None
        assert await session.chat.say("x") == said("x")


NOT = {"chat.can_send": False, "chat.can_receive": False}
WRONG = {"chat.can_send": "yes", "chat.can_receive": 1}
RIGHTS = [
    (False, NOT, None, False),
    (True, NOT, None, True),  # the settings bind users alone
    (False, WRONG, None, False),
    (True, WRONG, None, False),  # what the server cannot read it refuses to everybody
    (True, None, NOT, False),
    (False, {"chat.can_send": True, "other": 1}, {"x": 1}, True),
]


@pytest.mark.parametrize(("admin", "of_room", "of_member", "may"), RIGHTS)
async def test_the_rights_are_the_servers(
    autojump_clock: MockClock, admin: bool, of_room: Any, of_member: Any, may: bool
) -> None:
    member = msgspec.structs.replace(profile(is_admin=admin), plugins=of_member)
    server = ChatServer(member=member, settings=Settings(plugins=of_room))
    async with opened(server) as session:
        if may:
            assert await session.chat.say("x") == said("x")
            async with session.chat.messages():
                pass
            return
        with pytest.raises(NotAllowed, match="may not say"):
            await session.chat.say("x")
        with pytest.raises(NotAllowed, match="may not hear"):
            async with session.chat.messages():
                pass  # pragma: no cover
        assert server.got(requests.ChatMessage) == []


async def test_who_may_speak_and_not_listen_has_no_echo(autojump_clock: MockClock) -> None:
    member = msgspec.structs.replace(profile(), plugins={"chat.can_receive": False})
    server = ChatServer(member=member)
    server.on["chat/message"] = lambda _request: None
    async with opened(server) as session:
        assert await session.chat.say("x") is None
        assert len(server.got(requests.ChatMessage)) == 1


async def test_an_echo_that_does_not_come(autojump_clock: MockClock) -> None:
    server = ChatServer()
    server.on["chat/message"] = lambda _request: None
    async with opened(server) as session:
        with pytest.raises(ProtocolViolation) as caught:
            await session.chat.say("secret text")
        assert "secret text" not in str(caught.value)


async def test_it_was_forbidden_while_it_was_under_way(autojump_clock: MockClock) -> None:
    server = ChatServer(admin=False)
    server.on["chat/message"] = lambda _request: server.send(ChatInit(enabled=False))
    async with opened(server) as session:
        with pytest.raises(FeatureOff):
            await session.chat.say("x")


@pytest.mark.parametrize("text", [None, 3, b"x", "\ud83d"])
async def test_what_is_no_text(autojump_clock: MockClock, text: Any) -> None:
    server = ChatServer()
    async with opened(server) as session:
        with pytest.raises(InvalidInput):
            await session.chat.say(text)
        assert server.got(requests.ChatMessage) == []


async def test_what_is_said_is_iterated_in_a_bounded_buffer(autojump_clock: MockClock) -> None:
    server = ChatServer()
    async with opened(server) as session, session.chat.messages(buffer=2) as messages:
        for number in range(4):
            server.send(said(str(number), by=OTHER))
        await trio.testing.wait_all_tasks_blocked()
        assert [await anext(messages) for _ in range(3)] == [Dropped(2), said("2", by=OTHER), said("3", by=OTHER)]


def test_cancelled_at_any_step() -> None:
    server = ChatServer()
    sessions: list[Session] = []

    async def scenario() -> None:
        nonlocal server
        server = ChatServer()
        async with opened(server) as session:
            sessions[:] = [session]
            await session.chat.say("x")

    def check() -> None:
        assert server.connections == 0
        assert len(server.got(requests.ChatMessage)) <= 1
        for session in sessions:
            assert session._parts.bus._subscriptions == []
            assert not session.chat._turn.locked()
        sessions.clear()

    assert cancel_at_every_step(scenario, check) > 20


async def test_a_session_that_dies_while_it_is_said(autojump_clock: MockClock) -> None:
    server = ChatServer()
    server.on["chat/message"] = lambda _request: server.end()
    with pytest.raises(SessionLost):
        async with opened(server) as session:
            await session.chat.say("x")
