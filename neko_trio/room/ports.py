"""What the calls about the room share: the session's ports, who may call, and being sure that the server did it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from neko_trio._ports.bus import EventBus
from neko_trio._ports.inputs import InputPort
from neko_trio._ports.rest import RestPort
from neko_trio._ports.state import StateCell
from neko_trio.errors import InvalidInput, NekoError, NotAllowed, ProtocolViolation
from neko_trio.protocol import Malformed, requests
from neko_trio.protocol.events import ServerEvent
from neko_trio.protocol.requests import ClientRequest

if TYPE_CHECKING:
    from neko_trio._state import State

E = TypeVar("E", bound=ServerEvent)
V = TypeVar("V")

STEP = "room"
"""``NekoError.step`` of everything here."""


@dataclass(frozen=True, slots=True)
class RoomPorts:
    """The session's ports, and what is known of the room."""

    state: StateCell[State]
    inputs: InputPort
    rest: RestPort
    bus: EventBus[ServerEvent]

    def need_admin(self, what: str) -> None:
        """Raise :class:`NotAllowed` at once where the server would answer 403."""
        if not self.state.value.profile.is_admin:
            raise NotAllowed(f"Only an admin may {what}.", hint="Log in with an admin's password.", step=STEP)

    async def settle(self) -> None:
        """Have seen every event that the server sent before this: the WebSocket's barrier."""
        await self.inputs.ask()

    async def confirmed(self, event: type[E], where: Callable[[E], bool], act: Callable[[], Awaitable[object]]) -> E:
        """Do ``act`` and return the event by which the server tells everybody of it.

        The server sends its events before it answers the call, on the one WebSocket: behind a barrier the event has
        been seen, or is never sent, which is :class:`ProtocolViolation`.
        """
        with self.bus.expect(event.event, where) as expected:
            await act()
            await self.settle()
        if not expected.arrived:
            raise ProtocolViolation(f"The server accepted the call, but sent no {event.event!r}.", step=STEP)
        seen: E = expected.value
        return seen


class RoomCalls:
    """Base of what is called about the room."""

    def __init__(self, ports: RoomPorts) -> None:
        self._ports = ports


def checked(request: ClientRequest) -> ClientRequest:
    """``request``, if it can be written as the server reads it; else :class:`InvalidInput`. Its text is not quoted."""
    for field in msgspec.structs.fields(request):
        if field.type is str and not isinstance(getattr(request, field.name), str):  # bytes would go as Base64
            raise InvalidInput(f"{request.event!r} cannot be sent: {field.name} must be a text.", step=STEP)
    try:
        requests.encode(request)
    except Malformed as error:
        raise InvalidInput(f"{request.event!r} cannot be sent: {error.reason}.", step=STEP) from None
    return request


def checked_json(value: object, what: str) -> None:
    """Raise :class:`InvalidInput` unless ``value`` is what JSON can hold, in Unicode. It is not quoted."""
    try:
        json.dumps(value)
        requests.encode_raw(what, value)
    except (Malformed, TypeError, ValueError, RecursionError):
        raise InvalidInput(f"{what} must be what JSON can hold.", step=STEP) from None


def read(value: object, type_: Any, what: str) -> Any:
    """``value``, decoded JSON of the server, as ``type_``; :class:`ProtocolViolation` when it is none."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise ProtocolViolation(f"The server's {what} cannot be read: {error}.", step=STEP) from None


def path_part(value: str, what: str) -> str:
    """An id as part of a path. Raises :class:`InvalidInput` for what the server's routes cannot name.

    Escaped exactly as Go's ``net/url`` does: the router matches a path that is written otherwise as it stands, and
    then looks for an id with the escapes in it. So a slash cannot be named at all (``go-chi/chi``, ``mux.go``).
    """
    if not isinstance(value, str) or value in ("", ".", "..") or "/" in value:
        raise InvalidInput(f"{what} {value!r}: a text without slashes is due, and not '.' or '..'.", step=STEP)
    try:
        return quote(value, safe="$&+,:;=@")
    except UnicodeEncodeError:
        raise InvalidInput(f"{what}: text that is not Unicode.", step=STEP) from None


def invalid(text: str) -> Callable[[str], NekoError]:
    """For ``refusals=``: the caller named something that is not there, or not fit."""
    return lambda _message: InvalidInput(text, step=STEP)
