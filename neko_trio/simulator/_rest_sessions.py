"""The REST calls about oneself and sessions (`server/internal/api`: session, sessions)."""

from collections.abc import Callable
from http import HTTPStatus

import msgspec

from neko_trio.simulator._http import NO_CONTENT, HttpError, Response, json_response
from neko_trio.simulator._rest import Call, read_body
from neko_trio.simulator._room import RoomError
from neko_trio.simulator._session import Session
from neko_trio.simulator._values import Profile

__all__ = [
    "logout",
    "named_session",
    "profile",
    "session_delete",
    "session_disconnect",
    "session_read",
    "sessions",
    "stats",
    "whoami",
]


# Oneself


async def logout(call: Call) -> Response:
    try:
        call.room.delete(call.session.id)
    except RoomError as refusal:
        raise HttpError(HTTPStatus.BAD_REQUEST, "session is not logged in") from refusal
    cookie = call.rest.cookie
    if cookie is None or call.request.cookie(cookie.name) is None:
        return json_response(True)
    return json_response(True, headers=(("Set-Cookie", f"{cookie.name}=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),))


async def whoami(call: Call) -> Response:
    return json_response(call.session.data())


async def profile(call: Call) -> Response:
    """An admin changes all of it, everybody else only the name."""
    old = call.session.profile
    if old.is_admin:
        new = read_body(call.request, old)
    else:
        new = msgspec.structs.replace(old, name=read_body(call.request, Profile()).name)
    try:
        call.room.update_profile(call.session.id, new)
    except RoomError as refusal:
        raise HttpError(HTTPStatus.BAD_REQUEST, "session does not exist") from refusal
    return json_response(True)


async def stats(call: Call) -> Response:
    return json_response(call.room.statistics())


# Sessions


def named_session(call: Call, message: str = "session not found") -> Session:
    session = call.room.sessions.get(call.parameters[0])
    if session is None:
        raise HttpError(HTTPStatus.NOT_FOUND, message)
    return session


async def sessions(call: Call) -> Response:
    return json_response([session.data() for session in call.room.sessions.values()])


async def session_read(call: Call) -> Response:
    return json_response(named_session(call).data())


async def session_delete(call: Call) -> Response:
    if call.parameters[0] == call.session.id:
        raise HttpError(HTTPStatus.BAD_REQUEST, "cannot delete own session")
    return _of_room(call.room.delete, call.parameters[0])


async def session_disconnect(call: Call) -> Response:
    return _of_room(call.room.disconnect, call.parameters[0])


def _of_room(action: Callable[[str], None], session_id: str) -> Response:
    try:
        action(session_id)
    except RoomError as refusal:
        raise HttpError(HTTPStatus.BAD_REQUEST, str(refusal)) from refusal
    return NO_CONTENT
