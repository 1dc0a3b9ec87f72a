"""The REST calls about the room, and the routes of all of them.

Facts: `server/internal/api/room` and the plugins.
"""

import re
from http import HTTPStatus

import msgspec
import trio

from neko_trio.simulator._chat import may_chat
from neko_trio.simulator._http import NO_CONTENT, HttpError, Response, json_response
from neko_trio.simulator._keyboard import MODIFIER_NAMES
from neko_trio.simulator._rest import Call, Route, read_body
from neko_trio.simulator._rest_checks import (
    admins,
    can_clipboard,
    can_host,
    can_watch,
    hosts,
    hosts_or_admins,
)
from neko_trio.simulator._rest_files import FILE_ROUTES
from neko_trio.simulator._rest_members import MEMBER_ROUTES
from neko_trio.simulator._rest_sessions import (
    logout,
    named_session,
    profile,
    session_delete,
    session_disconnect,
    session_read,
    sessions,
    stats,
    whoami,
)
from neko_trio.simulator._room import RoomError
from neko_trio.simulator._values import RoomSettings, ScreenSize, from_json

__all__ = ["ROUTES"]

_NO_CACHE = (("Cache-Control", "no-cache, no-store, must-revalidate"),)

_CAST_QUALITY = 60
"""JPEG quality of the screencast (`server/internal/config/capture.go`)."""


class Text(msgspec.Struct, frozen=True):
    text: str = ""
    html: str = ""


class Url(msgspec.Struct, frozen=True):
    url: str = ""


class KeyboardLayout(msgspec.Struct, frozen=True):
    layout: str = ""
    variant: str = ""


Modifiers = msgspec.defstruct("Modifiers", [(name, bool | None, None) for name in MODIFIER_NAMES], frozen=True)
"""Which modifiers to lock or unlock; what is not named stays."""


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
    if call.room.is_broadcasting:
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "server is already broadcasting")
    call.room.set_broadcasting(url)
    return NO_CONTENT


async def _broadcast_stop(call: Call) -> Response:
    if not call.room.is_broadcasting:
        raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "server is not broadcasting")
    call.room.set_broadcasting(None)
    return NO_CONTENT


async def _clipboard_get(call: Call) -> Response:
    """An owner such as xclip answers every form with the same bytes: then `html` repeats `text`."""
    clipping = call.room.desk.clipping
    if clipping is None or clipping.shown is None:
        raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR)
    forms = {"text": clipping.shown, "html": (clipping.html or b"").decode("utf-8", "replace")}
    return json_response({name: form for name, form in forms.items() if form})


async def _clipboard_set(call: Call) -> Response:
    given = read_body(call.request, Text())
    call.room.desk.set_clipboard(given.html or given.text)
    return NO_CONTENT


async def _clipboard_image(call: Call) -> Response:
    """Not checked to be a PNG: with text in the clipboard the body is that text."""
    clipping = call.room.desk.clipping
    if clipping is None or clipping.image is None:
        raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR)
    return Response(HTTPStatus.OK, clipping.image, "image/png", _NO_CACHE)


async def _keyboard_map_get(call: Call) -> Response:
    keyboard = call.room.desk.keyboard
    return json_response({"layout": keyboard.layout, "variant": keyboard.variant})


async def _keyboard_map_set(call: Call) -> Response:
    given = read_body(call.request, KeyboardLayout())
    if not call.room.desk.keyboard.set_map(given.layout, given.variant):
        raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "unable to change keyboard map")
    return NO_CONTENT


async def _modifiers_get(call: Call) -> Response:
    """What is locked, of which only Caps and Num Lock show."""
    locked = call.room.desk.keyboard.locked & {"capslock", "numlock"}
    return json_response({name: name in locked for name in MODIFIER_NAMES})


async def _modifiers_set(call: Call) -> Response:
    call.rest.dispatcher.set_modifiers(msgspec.structs.asdict(read_body(call.request, Modifiers())))
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
    target = named_session(call, "target session was not found")
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
    quality = int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else 90  # as Go's strconv.Atoi
    image = await trio.to_thread.run_sync(call.rest.screenshot, max(1, min(quality, 100)))
    return Response(HTTPStatus.OK, image, "image/jpeg", _NO_CACHE)


async def _screen_cast(call: Call) -> Response:
    if call.room.private_for(call.session):
        raise HttpError(HTTPStatus.BAD_REQUEST, "private mode is enabled but no fallback image available")
    if not call.room.screencast:
        raise HttpError(HTTPStatus.BAD_REQUEST, "screencast pipeline is not enabled")
    image = await trio.to_thread.run_sync(call.rest.screenshot, _CAST_QUALITY)
    return Response(HTTPStatus.OK, image, "image/jpeg", _NO_CACHE)


# Plugins


async def _chat(call: Call) -> Response:
    if not may_chat(call.room, call.session, "can_send"):
        raise HttpError(HTTPStatus.FORBIDDEN, "not allowed to send chat messages")
    call.rest.dispatcher.chat(call.session, read_body(call.request, Text()).text)
    return NO_CONTENT


ROUTES = (
    Route("POST", "logout", logout),
    Route("GET", "whoami", whoami),
    Route("POST", "profile", profile),
    Route("GET", "stats", stats),
    Route("GET", "sessions", sessions),
    Route("GET", "sessions/{id}", session_read, (admins,)),
    Route("DELETE", "sessions/{id}", session_delete, (admins,)),
    Route("POST", "sessions/{id}/disconnect", session_disconnect, (admins,)),
    *MEMBER_ROUTES,
    Route("GET", "room/settings", _settings_get, (admins,)),
    Route("POST", "room/settings", _settings_set, (admins,)),
    Route("GET", "room/broadcast", _broadcast_get, (admins,)),
    Route("POST", "room/broadcast/start", _broadcast_start, (admins,)),
    Route("POST", "room/broadcast/stop", _broadcast_stop, (admins,)),
    Route("GET", "room/clipboard", _clipboard_get, (can_clipboard, hosts)),
    Route("POST", "room/clipboard", _clipboard_set, (can_clipboard, hosts)),
    Route("GET", "room/clipboard/image.png", _clipboard_image, (can_clipboard, hosts)),
    Route("GET", "room/keyboard/map", _keyboard_map_get, (can_host,)),
    Route("POST", "room/keyboard/map", _keyboard_map_set, (can_host, hosts)),
    Route("GET", "room/keyboard/modifiers", _modifiers_get, (can_host,)),
    Route("POST", "room/keyboard/modifiers", _modifiers_set, (can_host, hosts)),
    Route("GET", "room/control", _control_get, (can_host,)),
    Route("POST", "room/control/request", _control_request, (can_host,)),
    Route("POST", "room/control/release", _control_release, (can_host,)),
    Route("POST", "room/control/take", _control_take, (can_host, admins)),
    Route("POST", "room/control/give/{id}", _control_give, (can_host, hosts_or_admins)),
    Route("POST", "room/control/reset", _control_reset, (can_host, admins)),
    Route("GET", "room/screen", _screen_get, (can_watch,)),
    Route("POST", "room/screen", _screen_set, (can_watch, admins)),
    Route("GET", "room/screen/configurations", _screen_sizes, (can_watch, admins)),
    Route("GET", "room/screen/cast.jpg", _screen_cast, (can_watch,)),
    Route("GET", "room/screen/shot.jpg", _screen_shot, (can_watch, admins)),
    Route("POST", "chat", _chat, (admins,)),
    *FILE_ROUTES,
)
