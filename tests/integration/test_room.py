"""The room between two sessions on real sockets: what changes nothing for anybody else in it.

The embedded server, or with ``--neko-url`` a real one, shared or not.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

import neko_trio
from neko_trio import Session
from neko_trio.errors import EventTimeout, FeatureOff, InvalidInput, NotAllowed, ProtocolViolation
from neko_trio.events import ChatMessage, SendBroadcast, SendUnicast, SessionProfile
from neko_trio.testing import TestServer
from neko_trio.testing._server import named_server, open_test_server
from tests.integration.conftest import unique

pytestmark = pytest.mark.real_time

SOON = 8.0
"""Seconds in which anything here happens; it takes milliseconds."""


@asynccontextmanager
async def joined(server: TestServer, name: str, *, admin: bool = False) -> AsyncIterator[Session]:
    """Somebody in the room, without video."""
    password = server.admin_password if admin else server.password
    with trio.fail_after(SOON):
        async with neko_trio.open_session(server.url, username=unique(name), password=password, video="off") as session:
            yield session


async def test_oneself_and_the_others(neko_simulator: TestServer) -> None:
    async with joined(neko_simulator, "ann") as ann, joined(neko_simulator, "bob") as bob:
        me = await ann.room.whoami()
        assert me.id == ann.state.session_id
        assert me.profile == ann.state.profile
        assert me.state.is_connected
        listed = {info.id: info for info in await ann.room.sessions()}
        assert {ann.state.session_id, bob.state.session_id} <= set(listed)
        assert set(listed) <= set(ann.state.sessions)
        stats = await ann.room.stats()
        if neko_simulator.simulator is not None:  # a real server's totals drift
            assert (stats.total_users, stats.total_admins) == (2, 0)
        assert stats.server_started_at[:2] == "20"


async def test_a_new_name_is_everybodys_at_once(neko_simulator: TestServer) -> None:
    async with joined(neko_simulator, "ann") as ann, joined(neko_simulator, "bob") as bob:
        me, name = ann.state.session_id, f"Grüße 👋 <{secrets.token_hex(4)}>"
        async with bob.expect(SessionProfile, where=lambda event: event.id == me, timeout=SOON) as renamed:
            await ann.room.rename(name)
        assert ann.state.profile.name == ann.state.sessions[me].profile.name == name
        assert renamed.value.profile.name == bob.state.sessions[me].profile.name == name
        with pytest.raises(NotAllowed):
            await ann.room.update_profile(is_admin=True)
        assert not ann.state.profile.is_admin


async def test_sessions_come_and_go_in_everybodys_state(neko_simulator: TestServer) -> None:
    async with joined(neko_simulator, "ann") as ann:
        async with joined(neko_simulator, "bob") as bob:
            theirs = bob.state.session_id
            await ann.wait_state(lambda state: theirs in state.sessions and state.sessions[theirs].state.is_connected)
        with trio.fail_after(SOON):
            await ann.wait_state(lambda state: theirs not in state.sessions)


async def test_messages_between_two(neko_simulator: TestServer) -> None:
    async with joined(neko_simulator, "ann") as ann, joined(neko_simulator, "bob") as bob:
        mine, theirs = ann.state.session_id, bob.state.session_id
        body = {"n": 1, "text": "é👋\n", "deep": [None, True, 1.5]}
        subject = f"test/{secrets.token_hex(4)}"
        async with bob.room.messages() as messages:
            await ann.room.send(theirs, subject, body)
            await ann.room.send_all(subject, [1])
            heard = []
            async for message in messages:
                if isinstance(message, SendUnicast | SendBroadcast) and message.subject == subject:
                    heard.append(message)
                if len(heard) == 2:
                    break
        assert heard == [
            SendUnicast(sender=mine, receiver=theirs, subject=subject, body=body),
            SendBroadcast(sender=mine, subject=subject, body=[1]),
        ]
        async with ann.expect(SendUnicast, where=lambda event: event.subject == subject, timeout=SOON) as own:
            await ann.room.send(mine, subject, "to myself")
        assert own.value.body == "to myself"
        with pytest.raises(InvalidInput, match="no session"):
            await ann.room.send("nobody-12345", subject)


async def test_what_is_said_is_heard_by_all(neko_simulator: TestServer) -> None:
    async with joined(neko_simulator, "ann") as ann, joined(neko_simulator, "bob") as bob:
        text = f"Grüße <b>&</b> 👋 {secrets.token_hex(4)}\nline 2"
        async with bob.chat.messages() as messages:
            said = await ann.chat.say(text)
            assert said is not None
            assert (said.id, said.text) == (ann.state.session_id, text)
            async for message in messages:
                if isinstance(message, ChatMessage) and message.text == text:
                    assert message == said
                    break


@pytest.fixture
def chat_is_off(request: pytest.FixtureRequest) -> TestServer | None:
    """The server of ``--neko-url``, whose chat plugin is off; not async, because a skip there loses its reason."""
    named = named_server(request.config)

    async def says_so(server: TestServer) -> bool:
        async with joined(server, "probe", admin=True) as session:
            await session.room.log("debug", "is chat on?")  # a barrier: chat/init has come by now
            return session.state.chat_enabled is False

    if named is not None and not trio.run(says_so, named):
        pytest.skip("needs a server that was started with NEKO_CHAT_ENABLED=false")
    return named


@pytest.fixture
async def chatless(chat_is_off: TestServer | None) -> AsyncIterator[TestServer]:
    """A server without the chat plugin."""
    if chat_is_off is not None:
        yield chat_is_off
        return
    async with open_test_server(chat=False) as server:
        yield server


async def test_without_the_plugin_nothing_is_said(chatless: TestServer) -> None:
    async with joined(chatless, "ann", admin=True) as ann:
        with pytest.raises(FeatureOff, match="chat"):
            await ann.chat.say("anybody?")
        with pytest.raises(FeatureOff):
            async with ann.chat.messages():
                pass  # pragma: no cover
        with pytest.raises(NotAllowed):  # REST says so as well
            await ann._parts.rest.call("POST", "/api/chat", json={"text": "x"})


async def test_several_calls_in_one(neko_simulator: TestServer) -> None:
    async with joined(neko_simulator, "ann") as ann:
        name = f"batched {secrets.token_hex(4)}"
        who, renamed, refused, missing, wrong = await ann.room.batch(
            [
                ("GET", "/api/whoami"),
                ("POST", "/api/profile", {"name": name}),
                ("GET", "/api/room/settings"),
                ("GET", "/api/sessions/none"),
                ("DELETE", "/api/whoami"),
            ]
        )
        assert who.body["id"] == ann.state.session_id
        assert renamed.ok
        assert ann.state.profile.name == name
        assert (refused.status, missing.status, wrong.status) == (403, 403, 405)
        assert refused.body["message"] == "session is not admin"


async def test_a_batch_whose_answer_is_lost_says_so(neko_simulator: TestServer) -> None:
    async with joined(neko_simulator, "ann") as ann:
        name = f"done all the same {secrets.token_hex(4)}"
        with pytest.raises(ProtocolViolation, match="told nothing"):
            await ann.room.batch([("POST", "/api/profile", {"name": name}), ("GET", "/api/there-is-no-such-path")])
        assert ann.state.profile.name == name


async def test_a_line_in_the_servers_log(neko_simulator: TestServer) -> None:
    async with joined(neko_simulator, "ann") as ann:
        line, fields = f"step {secrets.token_hex(4)}", {"number": 1, "nested": {"a": ["é"]}}
        await ann.room.log("info", line, **fields)
        if neko_simulator.simulator is not None:
            journal = neko_simulator.simulator.journal
            (entry,) = journal.select(lambda entry: (entry.event, entry.direction) == ("system/logs", "received"))
            assert entry.payload() == [
                {"level": "info", "message": line, "fields": {"number": 1, "nested": {"a": ["é"]}}}
            ]


async def test_what_is_expected_and_does_not_come(neko_simulator: TestServer) -> None:
    async with joined(neko_simulator, "ann") as ann:
        with pytest.raises(EventTimeout, match=r"broadcast/status.*0\.05 s"):
            async with ann.expect("broadcast/status", timeout=0.05):
                await ann.room.whoami()


async def test_a_user_is_no_admin_here_or_there(neko_simulator: TestServer) -> None:
    """What is refused here at once the server refuses as well: nothing is withheld that it would have done."""
    async with joined(neko_simulator, "ann") as ann:
        me = ann.state.session_id
        refused: list[tuple[str, str, object]] = [
            ("GET", f"/api/sessions/{me}", None),
            ("DELETE", f"/api/sessions/{me}", None),
            ("POST", f"/api/sessions/{me}/disconnect", None),
            ("GET", "/api/room/settings", None),
            ("POST", "/api/room/settings", {}),
            ("POST", "/api/room/control/take", None),
            ("POST", "/api/room/control/reset", None),
            ("GET", f"/api/members/{me}", None),
            ("POST", "/api/members", {}),
            ("POST", f"/api/members/{me}", {}),
            ("POST", f"/api/members/{me}/password", {}),
            ("DELETE", f"/api/members/{me}", None),
            ("POST", "/api/members_bulk/update", {}),
            ("POST", "/api/members_bulk/delete", {}),
            ("GET", "/api/room/broadcast", None),
            ("POST", "/api/room/broadcast/start", {"url": "rtmp://127.0.0.1:1/x"}),
            ("POST", "/api/room/broadcast/stop", None),
        ]
        answers = await ann.room.batch([(m, p) if body is None else (m, p, body) for m, p, body in refused])
        assert [(answer.path, answer.status) for answer in answers] == [(path, 403) for _, path, _ in refused]
