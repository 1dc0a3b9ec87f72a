"""Everything a client can ask of the server has its method here, and everything the server says its place.

One list: route or event → where a caller finds it. A route of the simulator, a request or an event of the wire without
a row fails, and so does a row whose method is not there.
"""

from __future__ import annotations

import typing

import pytest

from neko_trio import Session, State
from neko_trio.protocol.events import EVENT_TYPES
from neko_trio.protocol.requests import REQUEST_TYPES
from neko_trio.simulator._rest_calls import ROUTES

REST = {
    "POST login": "open_session",
    "POST logout": "open_session",
    "POST batch": "room.batch",
    "GET whoami": "room.whoami",
    "POST profile": "room.update_profile",
    "GET stats": "room.stats",
    "GET sessions": "room.sessions",
    "GET sessions/{id}": "room.session",
    "DELETE sessions/{id}": "room.remove",
    "POST sessions/{id}/disconnect": "room.disconnect",
    "GET members": "room.members.list",
    "POST members": "room.members.create",
    "GET members/{id}": "room.members.get",
    "POST members/{id}": "room.members.update",
    "DELETE members/{id}": "room.members.delete",
    "POST members/{id}/password": "room.members.set_password",
    "POST members_bulk/update": "room.members.update_many",
    "POST members_bulk/delete": "room.members.delete_many",
    "GET room/settings": "room.settings",
    "POST room/settings": "room.change_settings",
    "GET room/broadcast": "room.broadcast.status",
    "POST room/broadcast/start": "room.broadcast.start",
    "POST room/broadcast/stop": "room.broadcast.stop",
    "GET room/clipboard": "clipboard.read",
    "POST room/clipboard": "clipboard.write_html",
    "GET room/clipboard/image.png": "clipboard.read_image",
    "GET room/keyboard/map": "keyboard.layout",
    "POST room/keyboard/map": "keyboard.set_layout",
    "GET room/keyboard/modifiers": "keyboard.modifiers",
    "POST room/keyboard/modifiers": "keyboard.set_modifiers",
    "GET room/control": "state.host",
    "POST room/control/request": "control",
    "POST room/control/release": "control",
    "POST room/control/take": "room.take_control",
    "POST room/control/give/{id}": "room.give_control",
    "POST room/control/reset": "room.reset_control",
    "GET room/screen": "state.screen",
    "POST room/screen": "screen.set_size",
    "GET room/screen/configurations": "screen.sizes",
    "GET room/screen/cast.jpg": "screen.cast",
    "GET room/screen/shot.jpg": "screen.screenshot",
    "POST room/upload/drop": "files.drop",
    "POST room/upload/dialog": "files.answer_dialog",
    "DELETE room/upload/dialog": "files.close_dialog",
    "POST chat": "chat.say",
    "GET filetransfer": "files.download",
    "POST filetransfer": "files.upload",
    "DELETE filetransfer": "files.delete",
    "POST openinapp/openlink": "open_link",
}
"""Below ``/api/``; of the server's other two, ``/health`` and ``/metrics`` need no session."""

REQUESTS = {
    "signal/request": "open_session",
    "signal/answer": "open_session",
    "signal/candidate": "open_session",
    "signal/offer": "microphone",
    "signal/restart": "send_event",  # never sent here: law 1 of the handshake
    "signal/video": "screen.frames",
    "signal/audio": "audio.blocks",
    "control/request": "control",
    "control/release": "control",
    "control/move": "mouse.move",
    "control/scroll": "mouse.scroll",
    "control/buttonpress": "mouse.click",
    "control/buttondown": "mouse.down",
    "control/buttonup": "mouse.up",
    "control/keypress": "keyboard.press",
    "control/keydown": "keyboard.hold",
    "control/keyup": "keyboard.hold",
    "control/touchbegin": "touch.down",
    "control/touchupdate": "touch.move",
    "control/touchend": "touch.up",
    "control/cut": "clipboard.cut",
    "control/copy": "clipboard.copy",
    "control/paste": "clipboard.paste",
    "control/select_all": "clipboard.select_all",
    "clipboard/set": "clipboard.write",
    "keyboard/map": "keyboard.set_layout",
    "keyboard/modifiers": "keyboard.set_modifiers",
    "screen/set": "screen.set_size",
    "send/unicast": "room.send",
    "send/broadcast": "room.send_all",
    "chat/message": "chat.say",
    "client/heartbeat": "send_event",  # the server ignores it
    "system/logs": "room.log",
    "filetransfer/update": "files.list",
}

EVENTS = {
    "system/init": "state.session_id",
    "system/admin": "state.broadcast",
    "system/settings": "state.settings",
    "system/disconnect": "open_session",
    "system/heartbeat": "events",
    "signal/provide": "open_session",
    "signal/offer": "open_session",
    "signal/answer": "microphone",
    "signal/restart": "events",
    "signal/candidate": "open_session",
    "signal/video": "state.stream",
    "signal/audio": "audio.blocks",
    "signal/close": "open_session",
    "session/created": "state.sessions",
    "session/deleted": "state.sessions",
    "session/profile": "state.profile",
    "session/state": "state.sessions",
    "session/cursors": "room.cursors",
    "control/host": "state.host",
    "control/request": "events",
    "screen/updated": "state.screen",
    "clipboard/updated": "clipboard.updates",
    "broadcast/status": "state.broadcast",
    "send/unicast": "room.messages",
    "send/broadcast": "room.messages",
    "file_chooser_dialog/opened": "state.file_dialog",
    "file_chooser_dialog/closed": "state.file_dialog",
    "chat/init": "state.chat_enabled",
    "chat/message": "chat.messages",
    "filetransfer/update": "state.file_transfer",
    "openinapp/init": "state.opens_links",
}

PLACES = sorted({*REST.values(), *REQUESTS.values(), *EVENTS.values()} - {"open_session"})


def test_every_route_of_the_simulator_has_a_row_and_the_other_way_round() -> None:
    by_hand = {"POST login", "POST batch"}  # answered before the routes are looked at
    assert {f"{route.method} {route.path}" for route in ROUTES} | by_hand == set(REST)


def test_every_request_of_the_wire_has_a_row() -> None:
    assert set(REQUEST_TYPES) == set(REQUESTS)


def test_every_event_of_the_wire_has_a_row() -> None:
    assert set(EVENT_TYPES) == set(EVENTS)


@pytest.mark.parametrize("place", PLACES)
def test_a_row_names_what_there_is(place: str) -> None:
    assert found(place), f"a session has no {place}"


@pytest.mark.parametrize("place", ["room.nothing", "nothing", "state.nothing", "room.members.nothing"])
def test_what_is_not_there_is_noticed(place: str) -> None:
    assert not found(place)


def found(place: str) -> bool:
    """Whether a session has it: by its classes alone, no session is opened."""
    owner: typing.Any = Session
    *parts, last = place.split(".")
    for part in parts:
        owner = State if part == "state" else typing.get_type_hints(owner).get(part)
        if owner is None:
            return False
    return hasattr(owner, last) or last in typing.get_type_hints(owner)
