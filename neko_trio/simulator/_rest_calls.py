"""What the REST calls do.  Facts: `server/internal/api` (session, sessions, members, room) and the plugins, all at the
server's defaults: file transfer, openinapp, screencast and the file chooser dialog off."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import trio

from neko_trio.simulator._http import NO_CONTENT, HttpError, Response, json_response
from neko_trio.simulator._keyboard import MODIFIER_NAMES
from neko_trio.simulator._rest import Call, Route, read_body
from neko_trio.simulator._room import RoomError, fields_of
from neko_trio.simulator._session import Session
from neko_trio.simulator._values import Profile, RoomSettings, ScreenSize, from_json

__all__ = ["ROUTES"]

_NO_CACHE = (("Cache-Control", "no-cache, no-store, must-revalidate"),)


class Text(msgspec.Struct, frozen=True):
    text: str = ""
    html: str = ""


class Url(msgspec.Struct, frozen=True):
    url: str = ""


class KeyboardLayout(msgspec.Struct, frozen=True):
    layout: str = ""
    variant: str = ""


class Modifiers(msgspec.Struct, frozen=True):
    shift: bool | None = None
    capslock: bool | None = None
    control: bool | None = None
    alt: bool | None = None
    numlock: bool | None = None
    meta: bool | None = None
    super: bool | None = None
    altgr: bool | None = None


# Checks (server/pkg/auth/auth.go)


def _admins(call: Call) -> None:
    if not call.session.profile.is_admin:
        raise HttpError(HTTPStatus.FORBIDDEN, "session is not admin")


def _hosts(call: Call) -> None:
    if not call.room.is_host(call.session):
        raise HttpError(HTTPStatus.FORBIDDEN, "session is not host")


def _hosts_or_admins(call: Call) -> None:
    if not call.room.is_host(call.session) and not call.session.profile.is_admin:
        raise HttpError(HTTPStatus.FORBIDDEN, "session is not host or admin")


def _can_watch(call: Call) -> None:
    if not call.session.profile.can_watch:
        raise HttpError(HTTPStatus.FORBIDDEN, "session cannot watch")


def _can_host(call: Call) -> None:
    if not call.session.profile.can_host:
        raise HttpError(HTTPStatus.FORBIDDEN, "session cannot host")
    if call.room.private_for(call.session):
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "private mode is enabled")


def _can_clipboard(call: Call) -> None:
    if not call.session.profile.can_access_clipboard:
        raise HttpError(HTTPStatus.FORBIDDEN, "session cannot access clipboard")


def _may_upload(call: Call) -> None:
    implicit = call.session.profile.can_host and call.room.settings.implicit_hosting
    if not call.room.is_host(call.session) and not implicit:
        raise HttpError(HTTPStatus.FORBIDDEN, "without implicit hosting, only host can upload files")


# Oneself


async def _logout(call: Call) -> Response:
    call.room.delete(call.session.id)
    cookie = call.rest.cookie
    if cookie is None or call.request.cookie(cookie.name) is None:
        return json_response(True)
    return json_response(True, headers=(("Set-Cookie", f"{cookie.name}=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),))


async def _whoami(call: Call) -> Response:
    return json_response(call.session.data())


async def _profile(call: Call) -> Response:
    profile = call.session.profile
    if profile.is_admin:
        profile = read_body(call.request, profile)
    else:
        profile = msgspec.structs.replace(profile, name=read_body(call.request, Profile()).name)
    call.room.update_profile(call.session.id, profile)
    return json_response(True)


async def _stats(call: Call) -> Response:
    return json_response(call.room.statistics())


# Sessions and members


def _named_session(call: Call, message: str = "session not found") -> Session:
    session = call.room.sessions.get(call.parameters[0])
    if session is None:
        raise HttpError(HTTPStatus.NOT_FOUND, message)
    return session


async def _sessions(call: Call) -> Response:
    return json_response([session.data() for session in call.room.sessions.values()])


async def _session_read(call: Call) -> Response:
    return json_response(_named_session(call).data())


async def _session_delete(call: Call) -> Response:
    if call.parameters[0] == call.session.id:
        raise HttpError(HTTPStatus.BAD_REQUEST, "cannot delete own session")
    return _of_room(call.room.delete, call.parameters[0])


async def _session_disconnect(call: Call) -> Response:
    return _of_room(call.room.disconnect, call.parameters[0])


def _of_room(action: Any, session_id: str) -> Response:
    try:
        action(session_id)
    except RoomError as refusal:
        raise HttpError(HTTPStatus.BAD_REQUEST, str(refusal)) from refusal
    return NO_CONTENT


async def _members(call: Call) -> Response:
    listed: Mapping[str, Profile] = call.rest.members.profiles()
    return json_response([{"id": name, "profile": profile} for name, profile in listed.items()])


# The room


async def _settings_get(call: Call) -> Response:
    return json_response(call.room.settings)


async def _settings_set(call: Call) -> Response:
    try:
        changed: RoomSettings = from_json(call.request.body, call.room.settings)
    except ValueError as failure:
        raise HttpError(HTTPStatus.BAD_REQUEST, "unable to parse provided data") from failure
    call.room.apply_settings(call.session, changed)
    return NO_CONTENT


async def _broadcast_get(call: Call) -> Response:
    return json_response(call.room.broadcast_status())


async def _broadcast_start(call: Call) -> Response:
    url = read_body(call.request, Url()).url
    if not url:
        raise HttpError(HTTPStatus.BAD_REQUEST, "missing broadcast URL")
    if call.room.broadcast_url is not None:
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "server is already broadcasting")
    call.room.broadcast_url = url
    call.room.broadcast_to_admins("broadcast/status", call.room.broadcast_status())
    return NO_CONTENT


async def _broadcast_stop(call: Call) -> Response:
    if call.room.broadcast_url is None:
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "server is not broadcasting")
    call.room.broadcast_url = None
    call.room.broadcast_to_admins("broadcast/status", call.room.broadcast_status())
    return NO_CONTENT


async def _clipboard_get(call: Call) -> Response:
    """An owner such as xclip answers every form with the same bytes, so `html` repeats `text`."""
    text = call.room.desk.clipboard
    if text is None:
        raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR)
    return json_response({"text": text, "html": text} if text else {})


async def _clipboard_set(call: Call) -> Response:
    given = read_body(call.request, Text())
    call.room.desk.set_clipboard(given.html or given.text)
    return NO_CONTENT


async def _clipboard_image(call: Call) -> Response:
    """Not checked to be a PNG: with text in the clipboard the body is that text."""
    text = call.room.desk.clipboard
    if text is None:
        raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR)
    return Response(HTTPStatus.OK, text.encode(), "image/png", _NO_CACHE)


async def _keyboard_map_get(call: Call) -> Response:
    keyboard = call.room.desk.keyboard
    return json_response({"layout": keyboard.layout, "variant": keyboard.variant})


async def _keyboard_map_set(call: Call) -> Response:
    given = read_body(call.request, KeyboardLayout())
    call.room.desk.keyboard.set_map(given.layout, given.variant)
    return NO_CONTENT


async def _modifiers_get(call: Call) -> Response:
    """What is locked, of which only Caps and Num Lock show."""
    locked = call.room.desk.keyboard.locked & {"capslock", "numlock"}
    return json_response({name: name in locked for name in MODIFIER_NAMES})


async def _modifiers_set(call: Call) -> Response:
    call.rest.dispatcher.set_modifiers(fields_of(read_body(call.request, Modifiers())))
    return NO_CONTENT


async def _control_get(call: Call) -> Response:
    status = call.room.host_payload("")
    del status["id"]
    return json_response(status)


async def _control_request(call: Call) -> Response:
    host = call.room.host
    if host is not None:
        host.send("control/request", {"id": call.session.id})
        raise HttpError(HTTPStatus.ACCEPTED, "control request sent")
    if call.room.settings.locked_controls and not call.session.profile.is_admin:
        raise HttpError(HTTPStatus.FORBIDDEN, "controls are locked")
    call.room.set_host(call.session, call.session)
    return NO_CONTENT


async def _control_release(call: Call) -> Response:
    if not call.room.is_host(call.session):
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "session is not the host")
    call.room.desk.release_all()
    call.room.set_host(call.session, None)
    return NO_CONTENT


async def _control_take(call: Call) -> Response:
    call.room.set_host(call.session, call.session)
    return NO_CONTENT


async def _control_give(call: Call) -> Response:
    target = _named_session(call, "target session was not found")
    if not target.profile.can_host:
        raise HttpError(HTTPStatus.BAD_REQUEST, "target session is not allowed to host")
    call.room.set_host(call.session, target)
    return NO_CONTENT


async def _control_reset(call: Call) -> Response:
    if call.room.host is not None:
        call.room.desk.release_all()
        call.room.set_host(call.session, None)
    return NO_CONTENT


async def _screen_get(call: Call) -> Response:
    return json_response(call.room.screen)


async def _screen_set(call: Call) -> Response:
    """The answer repeats what was asked, not what X made of it (`api/room/screen.go`)."""
    wanted = read_body(call.request, ScreenSize())
    try:
        await call.rest.dispatcher.set_screen(call.session, wanted)
    except RoomError as refusal:
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "cannot set screen size") from refusal
    return json_response(wanted)


async def _screen_sizes(call: Call) -> Response:
    return json_response(call.room.screen_sizes())


async def _screen_shot(call: Call) -> Response:
    text = call.request.query.get("quality", "")
    quality = int(text) if text.isascii() and text.isdigit() else 90
    image = await trio.to_thread.run_sync(call.rest.screenshot, max(1, min(quality, 100)))
    return Response(HTTPStatus.OK, image, "image/jpeg", _NO_CACHE)


async def _screen_cast(call: Call) -> Response:
    if call.room.private_for(call.session):
        raise HttpError(HTTPStatus.BAD_REQUEST, "private mode is enabled but no fallback image available")
    raise HttpError(HTTPStatus.BAD_REQUEST, "screencast pipeline is not enabled")


async def _drop(call: Call) -> Response:
    raise HttpError(HTTPStatus.BAD_REQUEST, "upload drop is disabled")


async def _dialog(call: Call) -> Response:
    raise HttpError(HTTPStatus.BAD_REQUEST, "file chooser dialog is disabled")


# Plugins


async def _chat(call: Call) -> Response:
    call.rest.dispatcher.chat(call.session, read_body(call.request, Text()).text)
    return NO_CONTENT


async def _file_transfer(call: Call) -> Response:
    raise HttpError(HTTPStatus.FORBIDDEN, "file transfer is disabled")


async def _open_link(call: Call) -> Response:
    raise HttpError(HTTPStatus.FORBIDDEN, "openinapp is disabled")


ROUTES = (
    Route("POST", "logout", _logout),
    Route("GET", "whoami", _whoami),
    Route("POST", "profile", _profile),
    Route("GET", "stats", _stats),
    Route("GET", "sessions", _sessions),
    Route("GET", "sessions/{id}", _session_read, (_admins,)),
    Route("DELETE", "sessions/{id}", _session_delete, (_admins,)),
    Route("POST", "sessions/{id}/disconnect", _session_disconnect, (_admins,)),
    Route("GET", "members", _members),
    Route("GET", "room/settings", _settings_get, (_admins,)),
    Route("POST", "room/settings", _settings_set, (_admins,)),
    Route("GET", "room/broadcast", _broadcast_get, (_admins,)),
    Route("POST", "room/broadcast/start", _broadcast_start, (_admins,)),
    Route("POST", "room/broadcast/stop", _broadcast_stop, (_admins,)),
    Route("GET", "room/clipboard", _clipboard_get, (_can_clipboard, _hosts)),
    Route("POST", "room/clipboard", _clipboard_set, (_can_clipboard, _hosts)),
    Route("GET", "room/clipboard/image.png", _clipboard_image, (_can_clipboard, _hosts)),
    Route("GET", "room/keyboard/map", _keyboard_map_get, (_can_host,)),
    Route("POST", "room/keyboard/map", _keyboard_map_set, (_can_host, _hosts)),
    Route("GET", "room/keyboard/modifiers", _modifiers_get, (_can_host,)),
    Route("POST", "room/keyboard/modifiers", _modifiers_set, (_can_host, _hosts)),
    Route("GET", "room/control", _control_get, (_can_host,)),
    Route("POST", "room/control/request", _control_request, (_can_host,)),
    Route("POST", "room/control/release", _control_release, (_can_host,)),
    Route("POST", "room/control/take", _control_take, (_can_host, _admins)),
    Route("POST", "room/control/give/{id}", _control_give, (_can_host, _hosts_or_admins)),
    Route("POST", "room/control/reset", _control_reset, (_can_host, _admins)),
    Route("GET", "room/screen", _screen_get, (_can_watch,)),
    Route("POST", "room/screen", _screen_set, (_can_watch, _admins)),
    Route("GET", "room/screen/configurations", _screen_sizes, (_can_watch, _admins)),
    Route("GET", "room/screen/cast.jpg", _screen_cast, (_can_watch,)),
    Route("GET", "room/screen/shot.jpg", _screen_shot, (_can_watch, _admins)),
    Route("POST", "room/upload/drop", _drop, (_may_upload,)),
    Route("POST", "room/upload/dialog", _dialog, (_may_upload,)),
    Route("DELETE", "room/upload/dialog", _dialog, (_may_upload,)),
    Route("POST", "chat", _chat, (_admins,)),
    Route("GET", "filetransfer", _file_transfer),
    Route("POST", "filetransfer", _file_transfer),
    Route("DELETE", "filetransfer", _file_transfer),
    Route("POST", "openinapp/openlink", _open_link),
)
