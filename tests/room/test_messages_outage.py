"""Messages that waited for a new login: the server has given out new ids meanwhile."""

from __future__ import annotations

import msgspec
import pytest
import trio
from trio.testing import MockClock

from neko_trio import Reconnect
from neko_trio.errors import InvalidInput, ServerUnreachable
from neko_trio.protocol import events, requests
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session
from neko_trio.testing._scripted import SESSION_ID, profile


class Renaming(ScriptedServer):
    """A server that calls the session by another name after each :meth:`restart`, and hands on what is for that."""

    def __init__(self) -> None:
        super().__init__()
        self.me = SESSION_ID
        self.on["send/unicast"] = self._hand_on

    def _hand_on(self, request: requests.ClientRequest) -> None:
        assert isinstance(request, requests.SendUnicast)
        if request.receiver == self.me:
            self.send(events.SendUnicast(sender=self.me, receiver=self.me, subject=request.subject, body=request.body))

    async def restart(self) -> None:
        """Down for a second, and all is forgotten."""
        self.dial_failure = ServerUnreachable("Nobody is there.", step="dial")
        self.end()
        await trio.sleep(1)
        self.me, self.dial_failure = "agent-2", None
        assert self.init is not None
        self.init = msgspec.structs.replace(
            self.init,
            session_id=self.me,
            sessions={
                self.me: events.SessionInfo(
                    id=self.me,
                    profile=profile(),
                    state=events.SessionState(is_connected=True, is_watching=False),
                )
            },
        )


async def test_to_itself_it_goes_to_the_new_id(autojump_clock: MockClock) -> None:
    server = Renaming()
    async with (
        trio.open_nursery() as nursery,
        open_scripted_session(server, FakeMedia(), reconnect=Reconnect(jitter=0)) as session,
        session.room.messages() as messages,
    ):
        before = session.state.session_id
        nursery.start_soon(server.restart)
        await session._parts.up.wait(lambda up: not up)
        with trio.fail_after(20):
            await session.room.send(before, "to-myself", 17)
            got = await anext(messages)
        assert session.state.session_id == "agent-2"
        assert isinstance(got, events.SendUnicast)
        assert (got.receiver, got.body) == ("agent-2", 17)


async def test_to_a_session_of_before_it_is_told(autojump_clock: MockClock) -> None:
    server = Renaming()
    async with (
        trio.open_nursery() as nursery,
        open_scripted_session(server, FakeMedia(), reconnect=Reconnect(jitter=0)) as session,
    ):
        state = events.SessionState(is_connected=True, is_watching=False)
        server.send(events.SessionCreated(id="other", profile=profile(name="other"), state=state))
        await session.wait_state(lambda state: "other" in state.sessions)
        nursery.start_soon(server.restart)
        await session._parts.up.wait(lambda up: not up)
        with trio.fail_after(20), pytest.raises(InvalidInput, match="no session 'other'"):
            await session.room.send("other", "hello", 1)
        assert session.state.session_id == "agent-2"
