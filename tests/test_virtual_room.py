"""The virtual room's WebSocket ends as a real one does, also while a message is being handled."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from neko_trio.protocol import requests
from tests.virtual_room import MemorySocket, open_virtual_room

MESSAGES = [requests.encode(requests.SendBroadcast(subject="a", body=number)) for number in range(3)]


@pytest.mark.parametrize("how", ["cut", "close"])
async def test_ended_while_a_message_is_handled(
    how: str, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_virtual_room() as server, server.open_session("agent", video="off") as session:
        room = server.simulator._room.sessions[session.state.session_id]
        handled: list[str] = []

        async def receive(_session: object, text: str) -> None:
            await trio.sleep(1)
            handled.append(text)

        monkeypatch.setattr(server.simulator._rest.dispatcher, "receive", receive)
        socket = MemorySocket(server, room)
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:  # left when serve() has come to its end
                nursery.start_soon(socket.serve)
                await socket.send_texts(*MESSAGES)
                await wait_all_tasks_blocked()  # the first is being handled
                if how == "cut":
                    socket.cut()
                else:
                    await socket.aclose()
        assert handled == (MESSAGES[:1] if how == "cut" else MESSAGES)
