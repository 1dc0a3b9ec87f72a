"""What the tests over real sockets share: a server that shares nothing with this process, and an eye at the server."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

import neko_trio
from neko_trio import Session, State
from neko_trio.protocol.events import SendUnicast, SessionInfo
from neko_trio.signaling import rest
from neko_trio.signaling.credential import Credential
from neko_trio.signaling.url import parse_server_url
from neko_trio.testing import TestServer
from neko_trio.testing._server import named_server

SEEN_WITHIN = 8.0
"""Seconds in which the server must have noticed that a client is gone: it gives an abnormal loss 5 s of grace."""


def unique(name: str) -> str:
    """A user name that nobody else in the room has: others may be using the server, too."""
    return f"{name}-{secrets.token_hex(4)}"


class Watch:
    """What an admin in the room sees of other people's sessions."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of(self, name: str, state: State | None = None) -> list[SessionInfo]:
        """The sessions of that name now, connected or not."""
        sessions = (state or self._session.state).sessions.values()
        return [info for info in sessions if info.profile.name == name]

    async def until(
        self, name: str, predicate: Callable[[list[SessionInfo]], bool], *, within: float = SEEN_WITHIN
    ) -> None:
        """Wait until ``predicate`` holds for the sessions of that name; :class:`AssertionError` when it does not."""
        with trio.move_on_after(within):
            await self._session.wait_state(lambda state: predicate(self.of(name, state)))
            return
        raise AssertionError(f"after {within} s the server still lists {self.of(name)}")

    async def settled(self) -> None:
        """Have heard of everything that happened at the server before this call: a barrier on the admin's socket."""
        nonce = secrets.token_hex(8)
        with trio.fail_after(SEEN_WITHIN):
            async with self._session.events("send/unicast") as seen:
                me = self._session.state.session_id
                await self._session.send_event("send/unicast", {"receiver": me, "subject": "settled", "body": nonce})
                async for event in seen:
                    if isinstance(event, SendUnicast) and event.body == nonce:
                        return

    async def gone(self, name: str) -> None:
        """Wait until the server lists no session of that name, one that it has just made included."""
        await self.settled()
        await self.until(name, lambda infos: not infos)


@asynccontextmanager
async def open_watch(server: TestServer) -> AsyncIterator[Watch]:
    """Look at the room as an admin without video."""
    async with neko_trio.open_session(
        server.url, username=unique("watch"), password=server.admin_password, video="off"
    ) as session:
        yield Watch(session)


@asynccontextmanager
async def open_token(server: TestServer, name: str) -> AsyncIterator[str]:
    """A token for a session of that name, which the test logs out again."""
    url = parse_server_url(server.url)
    login = await rest.login(url, name, server.password)
    try:
        yield token_of(login.credential)
    finally:
        with trio.move_on_after(SEEN_WITHIN, shield=True):
            await rest.logout(url, login.credential)


def token_of(credential: Credential) -> str:
    """The token in a credential: also a cookie's value is one, and a server takes it in any of its ways."""
    ((_name, value),) = credential.headers()
    return value.removeprefix("Bearer ").rpartition("=")[2]


@pytest.fixture(scope="module")
def apart(request: pytest.FixtureRequest) -> Iterator[TestServer]:
    """A server in another process, so that what is left in this one is the client's: embedded, or ``--neko-url``'s."""
    named = named_server(request.config)
    if named is not None:
        yield named
        return
    command = [sys.executable, "-m", "neko_trio", "serve", "--json", "--width", "640", "--height", "360"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield TestServer(**json.loads(process.stdout.readline()))
        finally:
            process.send_signal(signal.SIGTERM)


@pytest.fixture
def embedded_only(request: pytest.FixtureRequest) -> None:
    """Skip with ``--neko-url``. A fixture, because a skip inside of an async test loses its reason."""
    if request.config.getoption("--neko-url") is not None:
        pytest.skip("needs to see the desktop from behind, or to set the server up: the embedded server only")


@pytest.fixture
def room_is_ours(request: pytest.FixtureRequest) -> None:
    """Skip on a server that others use, too. Not async, because a skip inside of a trio task loses its reason."""
    if request.config.getoption("--neko-url") is not None and not request.config.getoption("--neko-own-room"):
        pytest.skip("changes the whole room: needs --neko-own-room")


@pytest.fixture
async def own_room(room_is_ours: None, neko_simulator: TestServer) -> AsyncIterator[TestServer]:
    """A server whose room the test may lock and set up; its settings are those of before afterwards."""
    yield neko_simulator
    if neko_simulator.simulator is None:
        async with neko_trio.open_session(
            neko_simulator.url, username=unique("tidy"), password=neko_simulator.admin_password, video="off"
        ) as session:
            await session.room.change_settings(
                private_mode=False,
                locked_logins=False,
                control_protection=False,
                locked_controls=False,
                implicit_hosting=False,
                inactive_cursors=False,
            )
