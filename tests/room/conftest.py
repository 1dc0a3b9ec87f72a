"""A room of messages alone: the real session over a scripted server, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import msgspec
import trio

from neko_trio import Session
from neko_trio.events import (
    ControlHost,
    Profile,
    SessionCreated,
    SessionInfo,
    SessionProfile,
    SessionState,
    Settings,
    SystemSettings,
)
from neko_trio.protocol import requests
from neko_trio.testing import FakeMedia, RestRefusal, ScriptedServer, open_scripted_session
from neko_trio.testing._scripted import SESSION_ID, profile, system_init

ME = SESSION_ID
OTHER = "other-67890"
Call: TypeAlias = Callable[[Session], Awaitable[object]]


def somebody(session_id: str = OTHER, *, connected: bool = True, **fields: Any) -> SessionInfo:
    """Another session of the room."""
    member = msgspec.structs.replace(profile(name="other"), **fields)
    return SessionInfo(id=session_id, profile=member, state=SessionState(is_connected=connected, is_watching=False))


class RoomServer(ScriptedServer):
    """Does what the server does with the calls about the room: the event to everybody, then the answer."""

    def __init__(self, *, admin: bool = True, member: Profile | None = None, settings: Settings | None = None) -> None:
        super().__init__()
        self.init = system_init(member=member or profile(is_admin=admin), settings=settings)
        self.settings = settings or Settings()
        self.profile = self.init.sessions[ME].profile
        self.rest.on["POST", "/api/room/settings"] = self._settings
        self.rest.on["POST", "/api/profile"] = self._profile
        self.rest.on["POST", f"/api/room/control/give/{OTHER}"] = lambda _: self.say_host(OTHER)
        self.rest.on["POST", "/api/room/control/reset"] = lambda _: self.say_host(None)

    def say_host(self, host: str | None, *, by: str = ME) -> None:
        self.host = host
        self.send(ControlHost(id=by, has_host=host is not None, host_id=host))

    def enter(self, info: SessionInfo) -> None:
        self.send(SessionCreated(id=info.id, profile=info.profile, state=info.state))

    def refuse(self, method: str, path: str, status: int, message: str = "said the server") -> None:
        def answer(_body: object) -> None:
            raise RestRefusal(status, message)

        self.rest.on[method, path] = answer

    def _settings(self, body: dict[str, Any]) -> None:
        self.settings = msgspec.structs.replace(self.settings, **body)
        self.send(SystemSettings(id=ME, settings=self.settings))

    def _profile(self, body: dict[str, Any]) -> bool:
        self.profile = msgspec.structs.replace(self.profile, **body)
        self.send(SessionProfile(id=ME, profile=self.profile))
        return True

    @property
    def sent(self) -> list[requests.ClientRequest]:
        """What the client sent but for barriers."""
        return [r for r in self.requests if not (isinstance(r, requests.SendUnicast) and "barrier" in r.subject)]


@asynccontextmanager
async def opened(server: ScriptedServer, *others: SessionInfo) -> AsyncIterator[Session]:
    """A session without video in that room; the others are there when it yields."""
    async with open_scripted_session(server, FakeMedia(), video="off") as session:
        for other in others:
            server.send(SessionCreated(id=other.id, profile=other.profile, state=other.state))
        await trio.testing.wait_all_tasks_blocked()
        yield session
