"""Answers of the wrong shape: login, refusals, ``system/init``, the offer's message; and ICE servers of any kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neko_trio.errors import (
    IceFailed,
    LoginRefused,
    NekoError,
    NotNeko,
    ProtocolViolation,
    ServerUnreachable,
)
from tests.hostile.judge import in_time, meet
from tests.hostile.servers import CREDENTIAL, PASSWORD, TOKEN, HostileNeko, message, recorded
from tests.signaling.conftest import http_answer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
quick = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

BODIES = {
    "empty": b"",
    "text": b"welcome",
    "html": b"<!doctype html><title>login</title>",
    "null": b"null",
    "list": b"[]",
    "number": b"1",
    "no token": b'{"id": "x"}',
    "empty token": b'{"id": "x", "token": ""}',
    "token of another type": b'{"id": "x", "token": 1}',
    "token that is no header": json.dumps({"id": "x", "token": f"{TOKEN}\r\nX: 1"}).encode(),
    "id of another type": json.dumps({"id": [], "token": TOKEN}).encode(),
    "profile of another type": json.dumps({"id": "x", "token": TOKEN, "profile": 5}).encode(),
    "cut short": b'{"id": "x", "token": "' + TOKEN.encode(),
    "not UTF-8": b'{"id": "\xff\xfe", "token": "' + TOKEN.encode() + b'"}',
    "deep": b"[" * 200_000,
    "echo": json.dumps({"password": PASSWORD}).encode(),
}


@pytest.mark.parametrize("body", BODIES)
async def test_a_login_of_the_wrong_shape(body: str) -> None:
    answer = http_answer("200 OK", BODIES[body], "Content-Type: application/json", f"X-Token: {TOKEN}")
    async with HostileNeko(sent={"login": answer}).served() as served, in_time(6):
        error = await meet(served.url, connect_timeout=2)
    assert isinstance(error, NotNeko)
    assert error.step == "login"


STATUSES: dict[str, type[NekoError]] = {
    "201 Created": NotNeko,
    "204 No Content": NotNeko,
    "304 Not Modified": NotNeko,
    "400 Bad Request": NotNeko,
    "401 Unauthorized": NotNeko,
    "407 Proxy Authentication Required": NotNeko,
    "418 Teapot": NotNeko,
    "429 Too Many Requests": NotNeko,
    "500 Oops": NotNeko,
    "502 Bad Gateway": ServerUnreachable,
    "999 What": NotNeko,
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("step", ["login", "upgrade"])
async def test_a_status_that_is_not_nekos(step: str, status: str) -> None:
    answer = http_answer(status, b"<p>no</p>", "Content-Type: text/html", "Connection: close")
    async with HostileNeko(sent={step: answer}).served() as served, in_time(6):
        error = await meet(served.url, connect_timeout=2)
    assert type(error) is STATUSES[status], repr(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500])
@pytest.mark.parametrize("step", ["login", "upgrade"])
async def test_a_refusal_in_nekos_words(step: str, status: int) -> None:
    body = json.dumps({"code": status, "message": "no, and no\r\n again" * 1000}).encode()
    answer = http_answer(f"{status} No", body, "Content-Type: application/json", "Connection: close")
    async with HostileNeko(sent={step: answer}).served() as served, in_time(6):
        error = await meet(served.url, connect_timeout=2)
    assert len(str(error)) < 1000
    if step == "login" and status in (401, 403, 422):
        assert isinstance(error, LoginRefused)


@given(body=JSON)
@quick
async def test_a_login_of_any_shape(body: Any) -> None:
    answer = http_answer("200 OK", json.dumps(body).encode(), "Content-Type: application/json")
    async with HostileNeko(sent={"login": answer}).served() as served, in_time(6):
        error = await meet(served.url, connect_timeout=2)
    assert isinstance(error, NotNeko)


def without(key: str) -> dict[str, Any]:
    init: dict[str, Any] = dict(recorded("system/init")[0])
    del init[key]
    return init


INITS: dict[str, Any] = {
    "null": None,
    "text": "hello",
    "list": [],
    "nothing in it": {},
    "no session id": without("session_id"),
    "no sessions": without("sessions"),
    "no screen": without("screen_size"),
    "no settings": without("settings"),
    "numbers for text": {**recorded("system/init")[0], "session_id": 5},
    "a screen of text": {**recorded("system/init")[0], "screen_size": "1280x720"},
    "a screen of fractions": {**recorded("system/init")[0], "screen_size": {"width": 1.5, "height": 2, "rate": 1}},
    "sessions as a list": {**recorded("system/init")[0], "sessions": []},
    "another session id": {**recorded("system/init")[0], "session_id": "nobody"},
}


@pytest.mark.parametrize("name", INITS)
async def test_an_init_of_the_wrong_shape_is_told_at_once(name: str) -> None:
    """There will be no other ``system/init``: waiting for the deadline would tell less, and later."""
    server = HostileNeko(sent={"init": [message("system/init", INITS[name])]})
    async with server.served() as served, in_time(6):
        error = await meet(served.url, connect_timeout=2)
    assert isinstance(error, ProtocolViolation), repr(error)
    assert error.step == "init"
    assert "system/init" in str(error)
    assert server.logouts == 1


@given(payload=JSON, extra=st.dictionaries(st.sampled_from(sorted(recorded("system/init")[0])), JSON, max_size=2))
@quick
async def test_an_init_of_any_shape(payload: Any, extra: dict[str, Any]) -> None:
    """Some of these are readable after all: then the recorded offer goes its way, and ``signal/close`` ends it."""
    payload = {**recorded("system/init")[0], **extra} if extra else payload
    server = HostileNeko(sent={"init": [message("system/init", payload)]})
    async with server.served() as served, in_time(6):
        await meet(served.url, connect_timeout=2)


PROVIDES: dict[str, Any] = {
    "null": None,
    "text": "v=0",
    "nothing in it": {},
    "no SDP": {key: value for key, value in recorded("signal/provide")[0].items() if key != "sdp"},
    "SDP of another type": {**recorded("signal/provide")[0], "sdp": ["v=0"]},
    "video of another type": {**recorded("signal/provide")[0], "video": 5},
}


@pytest.mark.parametrize("name", PROVIDES)
async def test_an_offer_message_of_the_wrong_shape_is_told_at_once(name: str) -> None:
    server = HostileNeko(sent={"offer": [message("signal/provide", PROVIDES[name])]})
    async with server.served() as served, in_time(6):
        error = await meet(served.url, connect_timeout=2)
    assert isinstance(error, ProtocolViolation), repr(error)
    assert "signal/provide" in str(error)
    assert error.step == "offer"


ICE_SERVERS: dict[str, Any] = {
    "null": None,
    "text": "stun:stun.example",
    "numbers": [1, 2, 3],
    "nested": [[[]], {}, {"urls": None}, {"urls": {}}, {"urls": [None, 1, {}]}],
    "bad URLs": [{"urls": ["", "stun:", "turn", "http://x", "turn:[::1", "stun:x:99999", "turn:x?transport=🦀"]}],
    "no credential": [{"urls": "turn:127.0.0.1:9"}],
    "a credential of another type": [{"urls": "turn:127.0.0.1:9", "username": 5, "credential": {"a": CREDENTIAL}}],
    "nobody there": [{"urls": ["turn:127.0.0.1:9", "stun:127.0.0.1:9"], "username": "u", "credential": CREDENTIAL}],
    "odd characters": [{"urls": "turn:127.0.0.1:9", "username": "\0\ud800"[:1] + "ü" * 999, "credential": CREDENTIAL}],
    "odd addresses": [
        {"urls": ["stun:0.0.0.0", "stun:255.255.255.255", "stun:[::]:1", "turn:[::1%lo]", "stun:224.0.0.1"]}
    ],
    "ten thousand": [{"urls": [f"stun:127.0.0.1:{port}"]} for port in range(1, 10_000)],
    "port 0": [
        {"urls": ["stun:127.0.0.1:0", "turn:127.0.0.1:0?transport=tcp"], "username": "u", "credential": CREDENTIAL}
    ],
    "long name": [{"urls": ["stun:" + "a" * 300 + ".invalid", "turn:" + "a." * 200 + ":1"]}],
}


@pytest.mark.parametrize("name", ICE_SERVERS)
async def test_ice_servers_of_any_kind_do_not_cost_the_connection(name: str) -> None:
    provide = {**recorded("signal/provide")[0], "iceservers": ICE_SERVERS[name]}
    server = HostileNeko(sent={"offer": [message("signal/provide", provide)]})
    async with server.served() as served, in_time(6):
        error = await meet(served.url, connect_timeout=3)
    assert isinstance(error, IceFailed), repr(error)
    assert "signal/answer" in server.events
