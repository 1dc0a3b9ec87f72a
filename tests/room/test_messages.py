"""Opaque messages between clients."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from neko_trio._ports.channels import BARRIER_SUBJECT
from neko_trio.errors import InvalidInput, SessionClosed
from neko_trio.events import Dropped, SendBroadcast, SendUnicast, SessionStateChanged
from neko_trio.protocol import requests
from tests.room.conftest import ME, OTHER, RoomServer, opened, somebody


async def test_a_message_to_one_and_to_all(autojump_clock: MockClock) -> None:
    server = RoomServer(admin=False)
    async with opened(server, somebody()) as session:
        await session.room.send(OTHER, "app/x", {"a": [1, None]})
        await session.room.send_all("app/y")
        assert server.sent == [
            requests.SendUnicast(receiver=OTHER, subject="app/x", body={"a": [1, None]}),
            requests.SendBroadcast(subject="app/y", body=None),
        ]


async def test_who_would_not_get_it_is_told_before_it_is_sent(autojump_clock: MockClock) -> None:
    server = RoomServer(admin=False)
    async with opened(server, somebody(connected=False)) as session:
        with pytest.raises(InvalidInput, match="no session 'nobody'"):
            await session.room.send("nobody", "s")
        with pytest.raises(InvalidInput, match="not connected"):
            await session.room.send(OTHER, "s")
        assert server.sent == []


async def test_a_session_that_the_server_knows_and_we_do_not_yet(autojump_clock: MockClock) -> None:
    server = RoomServer(admin=False)
    barrier = server.on["send/unicast"]

    def enter(request: requests.ClientRequest) -> None:
        if isinstance(request, requests.SendUnicast) and request.receiver == ME:
            info = somebody()
            server.enter(info)
            server.send(SessionStateChanged(id=OTHER, state=info.state))
            barrier(request)

    server.on["send/unicast"] = enter
    async with opened(server) as session:
        await session.room.send(OTHER, "s", 1)
        assert server.sent == [requests.SendUnicast(receiver=OTHER, subject="s", body=1)]


@pytest.mark.parametrize(
    ("subject", "body"),
    [(BARRIER_SUBJECT, 1), ("s", {1, 2}), ("s", float("nan")), ("\ud800", 1), (3, 1), ("s", "\udfff")],
)
async def test_what_cannot_be_sent(autojump_clock: MockClock, subject: str, body: object) -> None:
    server = RoomServer(admin=False)
    async with opened(server, somebody()) as session:
        with pytest.raises(InvalidInput):
            await session.room.send(OTHER, subject, body)
        with pytest.raises(InvalidInput):
            await session.room.send_all(subject, body)
        assert server.requests == []


async def test_what_others_send_and_none_of_our_barriers(autojump_clock: MockClock) -> None:
    server = RoomServer(admin=False)
    async with opened(server, somebody()) as session, session.room.messages(buffer=2) as messages:
        unicast = SendUnicast(sender=OTHER, receiver=ME, subject="a", body=1)
        posing = SendUnicast(sender=OTHER, receiver=ME, subject=BARRIER_SUBJECT, body=1)
        server.send(unicast)
        server.send(posing)  # another's is no barrier of ours
        for _ in range(5):
            await session.room.send_all("ours")
        assert [await anext(messages), await anext(messages)] == [unicast, posing]
        for number in range(4):
            server.send(SendBroadcast(sender=OTHER, subject="b", body=number))
        await trio.testing.wait_all_tasks_blocked()
        assert await anext(messages) == Dropped(2)
        assert await anext(messages) == SendBroadcast(sender=OTHER, subject="b", body=2)
        assert messages.dropped_total == 2


async def test_a_buffer_holds_something(autojump_clock: MockClock) -> None:
    async with opened(RoomServer()) as session:
        for listen in (session.room.messages, session.chat.messages):
            with pytest.raises(InvalidInput, match="buffer"):
                async with listen(buffer=0):
                    pass  # pragma: no cover


async def test_listening_ends_with_the_session(autojump_clock: MockClock) -> None:
    async with opened(RoomServer()) as session, trio.open_nursery() as nursery:

        async def listen() -> None:
            with pytest.raises(SessionClosed):
                async with session.room.messages() as messages:
                    nursery.cancel_scope.shield = True
                    async for _message in messages:
                        pass

        async def close() -> None:
            await trio.testing.wait_all_tasks_blocked()
            session._parts.fail(lambda: SessionClosed("closed"))

        nursery.start_soon(listen)
        nursery.start_soon(close)
