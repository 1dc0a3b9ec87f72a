"""The REST calls about members (`server/internal/api/members`).

A bulk call stops at the first member who cannot be changed; those before it have been.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import msgspec

from neko_trio.simulator._http import NO_CONTENT, HttpError, Response, json_response
from neko_trio.simulator._members import MemberError, MemberExists, MemberMissing
from neko_trio.simulator._rest import Call, Route, read_body
from neko_trio.simulator._rest_checks import admins
from neko_trio.simulator._values import Profile, from_json, merged

__all__ = ["MEMBER_ROUTES"]

_NEW = Profile(can_see_inactive_cursors=True)


class Created(msgspec.Struct, frozen=True):
    username: str = ""
    password: str = ""
    profile: dict[str, object] = {}


class Password(msgspec.Struct, frozen=True):
    password: str = ""


class Bulk(msgspec.Struct, frozen=True):
    ids: list[str] = []
    profile: dict[str, object] = {}


async def _list(call: Call) -> Response:
    limit, offset = _number(call, "limit"), _number(call, "offset")
    listed = call.rest.members.profiles()
    chosen = [each for i, each in enumerate(listed) if i >= offset and (limit == 0 or i < offset + limit)]
    return json_response([{"id": name, "profile": profile} for name, profile in chosen])


async def _create(call: Call) -> Response:
    given = read_body(call.request, Created())
    profile = _merged(given.profile, _NEW)
    for name in ("username", "password"):
        if not getattr(given, name):
            raise HttpError(HTTPStatus.BAD_REQUEST, f"{name} cannot be empty")
    try:
        call.rest.members.insert(given.username, given.password, profile)
    except MemberExists as refusal:
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "member already exists") from refusal
    except MemberError as refusal:
        raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR) from refusal
    return json_response({"id": given.username, "profile": profile})


def _of_member(handler: Callable[[Call, str, Profile], None]) -> Callable[[Call], Awaitable[Response]]:
    """The member is looked up first, whatever the call."""

    async def handle(call: Call) -> Response:
        member_id = call.parameters[0]
        try:
            profile = call.rest.members.select(call.room, member_id)
            handler(call, member_id, profile)
        except MemberMissing as refusal:
            raise HttpError(HTTPStatus.NOT_FOUND, "member not found") from refusal
        except MemberError as refusal:
            raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR) from refusal
        return NO_CONTENT

    return handle


async def _read(call: Call) -> Response:
    found: list[Profile] = []
    await _of_member(lambda _call, _id, profile: found.append(profile))(call)
    return json_response(found[0])


def _update(call: Call, member_id: str, profile: Profile) -> None:
    call.rest.members.update(call.room, member_id, read_body(call.request, profile))


def _password(call: Call, member_id: str, _profile: Profile) -> None:
    call.rest.members.set_password(member_id, read_body(call.request, Password()).password)


def _delete(call: Call, member_id: str, _profile: Profile) -> None:
    call.rest.members.delete(call.room, member_id)


async def _bulk_update(call: Call) -> Response:
    given = _bulk(call)
    _merged(given.profile, Profile())
    members = call.rest.members
    for member_id in given.ids:
        try:
            profile = members.select(call.room, member_id)
            members.update(call.room, member_id, _merged(given.profile, profile))
        except MemberError as refusal:
            raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, f"failed to update member {member_id}") from refusal
    return NO_CONTENT


async def _bulk_delete(call: Call) -> Response:
    for member_id in _bulk(call).ids:
        try:
            call.rest.members.delete(call.room, member_id)
        except MemberError as refusal:
            raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, f"failed to delete member {member_id}") from refusal
    return NO_CONTENT


def _bulk(call: Call) -> Bulk:
    try:
        return from_json(call.request.body, Bulk())
    except ValueError as failure:
        raise HttpError(HTTPStatus.BAD_REQUEST, "unable to unmarshal payload") from failure


def _merged(given: dict[str, object], base: Profile) -> Profile:
    try:
        return merged(given, base)
    except ValueError as failure:
        raise HttpError(HTTPStatus.BAD_REQUEST, "unable to parse provided data") from failure


def _number(call: Call, name: str) -> int:
    try:
        return int(call.request.query.get(name, ""))
    except ValueError:
        return 0


MEMBER_ROUTES = (
    Route("GET", "members", _list),
    Route("POST", "members", _create, (admins,)),
    Route("GET", "members/{id}", _read, (admins,)),
    Route("POST", "members/{id}", _of_member(_update), (admins,)),
    Route("DELETE", "members/{id}", _of_member(_delete), (admins,)),
    Route("POST", "members/{id}/password", _of_member(_password), (admins,)),
    Route("POST", "members_bulk/update", _bulk_update, (admins,)),
    Route("POST", "members_bulk/delete", _bulk_delete, (admins,)),
)
