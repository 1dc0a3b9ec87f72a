"""A second member of the room, to script what others do: takeovers, requests, locks, chat, kicks.

A person is in the room without sockets: what they send goes through the same decoder and the same rules as a client's
message, what they are told is kept in a bounded list.
"""

from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from neko_trio.protocol import requests
from neko_trio.simulator._http import Request, Response
from neko_trio.simulator._session import NO_PAYLOAD, Session
from neko_trio.simulator._socket import envelope

if TYPE_CHECKING:
    from neko_trio.simulator._rest import Rest

__all__ = ["Person", "PersonRefused", "PersonSocket"]

KEPT = 1000


class PersonRefused(Exception):
    """The server refused the REST call of a person; `status` and `message` are its answer."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(f"{status} {message}")


class Person:
    """Made by `simulator.person(...)`.  Everything is done when a method returns."""

    def __init__(self, rest: "Rest", session: Session) -> None:
        self._rest = rest
        self._session = session
        self._received: deque[tuple[str, Any]] = deque(maxlen=KEPT)
        self._news = trio.Event()
        self.disconnected: str | None = None
        """Why the server ended it, once it did."""

    def __repr__(self) -> str:
        return f"<Person {self.id}>"

    @property
    def id(self) -> str:
        """The session id."""
        return self._session.id

    @property
    def is_host(self) -> bool:
        return self._rest.room.is_host(self._session)

    @property
    def received(self) -> list[tuple[str, Any]]:
        """The last 1000 messages as (event, payload), oldest first."""
        return list(self._received)

    async def wait_for(self, event: str, predicate: Callable[[Any], bool] = lambda payload: True) -> Any:
        """The payload of the first kept or coming message of this event for which `predicate` holds.
        Safe to cancel, nothing is lost."""
        await trio.lowlevel.checkpoint()
        while True:
            for name, payload in self._received:
                if name == event and predicate(payload):
                    return payload
            await self._news.wait()

    def forget(self) -> None:
        """Drop what has been received, so that `wait_for` sees only what comes."""
        self._received.clear()

    async def send(self, request: requests.ClientRequest) -> None:
        """As over the WebSocket: what is not allowed is dropped in silence.  Raises `Malformed` for what a client
        could not send."""
        await self.send_text(requests.encode(request))

    async def send_text(self, text: str) -> None:
        if self.disconnected is None:
            await self._rest.dispatcher.receive(self._session, text)

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """A REST call ("POST", "/api/room/control/take"): the decoded answer.  Raises `PersonRefused`."""
        response = await self._call(method, path, body)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise PersonRefused(response.status, msgspec.json.decode(response.body)["message"])
        if response.content_type == "application/json" and response.body:
            return msgspec.json.decode(response.body)
        return response.body or None

    async def request_control(self) -> None:
        """Becomes host when nobody is; else the host is asked."""
        await self.send(requests.ControlRequest())

    async def release_control(self) -> None:
        await self.send(requests.ControlRelease())

    async def take_control(self) -> None:
        """Admins: become host whoever is."""
        await self.call("POST", "/api/room/control/take")

    async def give_control(self, session_id: str) -> None:
        """Hosts and admins."""
        await self.call("POST", f"/api/room/control/give/{session_id}")

    async def reset_control(self) -> None:
        """Admins: nobody is host."""
        await self.call("POST", "/api/room/control/reset")

    async def set_settings(self, **settings: object) -> None:
        """Admins: `set_settings(locked_controls=True)`."""
        await self.call("POST", "/api/room/settings", settings)

    async def set_screen(self, width: int, height: int, rate: int = 25) -> None:
        """Admins."""
        await self.call("POST", "/api/room/screen", {"width": width, "height": height, "rate": rate})

    async def disconnect(self, session_id: str) -> None:
        """Admins: end somebody's WebSocket and peer; their token stays valid."""
        await self.call("POST", f"/api/sessions/{session_id}/disconnect")

    async def delete(self, session_id: str) -> None:
        """Admins: end somebody's session."""
        await self.call("DELETE", f"/api/sessions/{session_id}")

    async def say(self, text: str) -> None:
        await self.send(requests.ChatMessage(text))

    async def _call(self, method: str, path: str, body: object) -> Response:
        headers = {"authorization": f"Bearer {self._session.token}"}
        encoded = b"" if body is None else msgspec.json.encode(body)
        return await self._rest.answer(Request(method, self._rest.prefix + path, {}, headers, encoded))

    def _hear(self, event: str, payload: object) -> None:
        text = envelope(event, payload)
        self._rest.room.journal.add(self.id, "ws", "sent", event, text)
        self._received.append((event, msgspec.json.decode(text).get("payload")))
        self._news.set()
        self._news = trio.Event()


class PersonSocket:
    """The room's `SocketSide` of a person."""

    def __init__(self, person: Person) -> None:
        self._person = person

    def send(self, event: str, payload: object = NO_PAYLOAD) -> None:
        self._person._hear(event, payload)

    def destroy(self, reason: str) -> None:
        self.send("system/disconnect", {"message": reason})
        self._person.disconnected = reason
