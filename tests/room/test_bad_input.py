"""What the server would drop or misread is refused here, whatever it is, and nothing of it is sent or shown."""

from __future__ import annotations

import string
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from neko_trio.errors import InvalidInput, ProtocolViolation
from neko_trio.events import BroadcastInfo, Profile, SessionInfo, Settings
from neko_trio.room.fields import ProfileFields, SettingsFields, checked_fields
from neko_trio.room.ports import path_part, read
from neko_trio.room.values import Member, Stats
from tests.room.conftest import ME, Call, RoomServer, opened

ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers())


@given(st.text(min_size=1))
def test_an_id_survives_its_way_through_a_path(value: str) -> None:
    if value in (".", "..") or "/" in value:
        with pytest.raises(InvalidInput):
            path_part(value, "member")
        return
    part = path_part(value, "member")
    assert unquote(part) == value
    # RFC 3986 §3.3: one segment, no query, no fragment.
    assert set(part) <= set(string.ascii_letters + string.digits + "-._~%$&+,:;=@")


@pytest.mark.parametrize("value", ["", "a/b", ".", "..", "\ud800", None, 3, b"x"])
def test_what_no_path_can_name(value: Any) -> None:
    with pytest.raises(InvalidInput):
        path_part(value, "member")


@pytest.mark.parametrize(("fields", "struct"), [(SettingsFields, Settings), (ProfileFields, Profile)])
def test_the_fields_are_those_of_the_wire(fields: type, struct: type) -> None:
    assert set(fields.__annotations__) == set(struct.__struct_fields__)  # type: ignore[attr-defined]


@given(st.dictionaries(st.sampled_from([*SettingsFields.__annotations__, "plugin", "Private_Mode"]), ANY, min_size=1))
def test_settings_are_what_they_may_be_or_an_error_that_quotes_nothing(given_: dict[str, Any]) -> None:
    def fits(name: str, value: Any) -> bool:
        if name == "plugins":
            return value is None
        if name == "heartbeat_interval":
            return type(value) is int and 0 <= value < 2**63
        return name in SettingsFields.__annotations__ and isinstance(value, bool)

    if all(fits(name, value) for name, value in given_.items()):
        assert checked_fields(given_, SettingsFields, what="settings") == given_
        return
    with pytest.raises(InvalidInput):
        checked_fields(given_, SettingsFields, what="settings")


@pytest.mark.parametrize(
    "plugins", [{1: True}, {"x": float("nan")}, {"x": {1, 2}}, {"x": b"y"}, {"x": "\ud800"}, [], "x", {"x": object()}]
)
def test_plugins_hold_json(plugins: Any) -> None:
    with pytest.raises(InvalidInput, match="plugins must be"):
        checked_fields({"plugins": plugins}, SettingsFields, what="settings")


WRONG: dict[str, Call] = {
    "no settings": lambda s: s.room.change_settings(),
    "no such setting": lambda s: s.room.change_settings(locked=True),  # type: ignore[call-arg]
    "a wrong type": lambda s: s.room.change_settings(private_mode=1),  # type: ignore[arg-type]
    "a number below 0": lambda s: s.room.change_settings(heartbeat_interval=-1),
    "no profile": lambda s: s.room.update_profile(),
    "a name that is none": lambda s: s.room.rename(b"secret"),  # type: ignore[arg-type]
    "a name that is not Unicode": lambda s: s.room.rename("secret\ud800"),
    "an id with a slash": lambda s: s.room.session("a/b"),
    "no id": lambda s: s.room.disconnect(""),
    "oneself, disconnected": lambda s: s.room.disconnect(ME),
    "oneself, removed": lambda s: s.room.remove(ME),
    "a limit of none": lambda s: s.room.members.list(limit=0),
    "a limit that is none": lambda s: s.room.members.list(limit=True),
    "a limit with a fraction": lambda s: s.room.members.list(limit=1.5),  # type: ignore[arg-type]
    "an offset before the first": lambda s: s.room.members.list(offset=-1),
    "an offset that is none": lambda s: s.room.members.list(offset="0"),  # type: ignore[arg-type]
    "no user name": lambda s: s.room.members.create("", "secret"),
    "no password": lambda s: s.room.members.create("x", ""),
    "a password that is none": lambda s: s.room.members.create("x", None),  # type: ignore[arg-type]
    "a password that is not Unicode": lambda s: s.room.members.create("x", "secret\ud800"),
    "rights that are none": lambda s: s.room.members.create("x", "secret", can_fly=True),  # type: ignore[call-arg]
    "no change": lambda s: s.room.members.update("x"),
    "no new password": lambda s: s.room.members.set_password("x", ""),
    "one for many": lambda s: s.room.members.update_many("bob", can_host=True),
    "many that are none": lambda s: s.room.members.delete_many(["bob", ""]),
    "oneself, deleted": lambda s: s.room.members.delete(ME),
    "oneself among many": lambda s: s.room.members.delete_many(["bob", ME]),
    "no address": lambda s: s.room.broadcast.start(""),
    "an address with a line feed": lambda s: s.room.broadcast.start("rtmp://secret\nx"),
    "an address that is none": lambda s: s.room.broadcast.start(None),  # type: ignore[arg-type]
    "no such level": lambda s: s.room.log("warning", "secret"),
    "a line that is none": lambda s: s.room.log("info", b"secret"),  # type: ignore[arg-type]
    "a field that the server writes": lambda s: s.room.log("info", "secret", session_id="x"),
    "a field that is no JSON": lambda s: s.room.log("info", "secret", x=b"y"),
    "a line that is not Unicode": lambda s: s.room.log("info", "secret\ud800"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_it_is_refused_and_nothing_is_sent(autojump_clock: MockClock, name: str) -> None:
    server = RoomServer()
    async with opened(server) as session:
        with pytest.raises(InvalidInput) as caught:
            await WRONG[name](session)
        assert "secret" not in str(caught.value)
        assert server.rest.calls == []
        assert server.requests == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    "type_", [SessionInfo, tuple[SessionInfo, ...], Settings, Stats, Member, Profile, BroadcastInfo]
)
@settings(max_examples=20)
@given(st.data())
def test_whatever_a_server_answers_is_read_or_a_typed_error(type_: Any, data: st.DataObject) -> None:
    fields = [*getattr(type_, "__struct_fields__", ()), "id", "profile", "state"]
    answer = data.draw(JSON | st.dictionaries(st.sampled_from(fields), JSON))
    with suppress(ProtocolViolation):
        read(answer, type_, "answer")
