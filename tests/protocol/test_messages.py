"""Events and requests: inverse codecs, and nothing but :class:`Malformed` whatever comes in."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.protocol import Malformed, events, requests
from neko_trio.protocol.ice_servers import IceServer
from neko_trio.protocol.message import Message

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SAFE_INTS = st.integers(-(2**53), 2**53)
JSON = st.recursive(
    st.none() | st.booleans() | SAFE_INTS | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ICE_URLS = st.sampled_from(["stun:192.0.2.1:3478", "turn:relay.example?transport=tcp", "turns:[2001:db8::1]:5349"])
ICE_SERVERS = st.builds(
    IceServer,
    urls=st.lists(ICE_URLS, min_size=1, max_size=3).map(tuple),
    username=st.none() | TEXT.filter(bool),
    credential=st.none() | TEXT.filter(bool),
)


def of_hint(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return JSON
    if hint is IceServer:
        return ICE_SERVERS
    if origin is Annotated:
        return st.integers(arguments[1].ge, arguments[1].le)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(of_hint(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXT, of_hint(arguments[1]), max_size=3)
    if origin is not None and NoneType in arguments:
        return st.none() | of_hint(Union[tuple(a for a in arguments if a is not NoneType)])  # noqa: UP007
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return of_struct(hint)
    plain: dict[Any, st.SearchStrategy[Any]] = {str: TEXT, bool: st.booleans(), int: SAFE_INTS}
    return plain[hint]


@cache
def of_struct(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    hints = get_type_hints(struct, include_extras=True)
    fields = {field.name: of_hint(hints[field.name]) for field in msgspec.structs.fields(struct)}
    fields.pop("skipped_ice_servers", None)  # not on the wire
    return st.builds(struct, **fields)


@cache
def any_of(types: tuple[type[Message], ...]) -> st.SearchStrategy[Any]:
    return st.one_of(*[of_struct(struct) for struct in types])


def subclasses(base: type[Message]) -> set[type[Message]]:
    return {base}.union(*(subclasses(child) for child in base.__subclasses__()))


ALL_EVENTS = any_of(tuple(events.EVENT_TYPES.values()))
ALL_REQUESTS = any_of(tuple(requests.REQUEST_TYPES.values())).filter(
    lambda request: (getattr(request, "x", None) is None) == (getattr(request, "y", None) is None)
)
ANY_TEXT = st.text(max_size=40) | st.binary(max_size=40)


def test_every_class_is_known_by_its_event_name() -> None:
    public = {struct for struct in subclasses(events.ServerEvent) if struct.__dict__.get("event", None)}
    assert {struct for struct in public if isinstance(struct.event, str)} == set(events.EVENT_TYPES.values())
    named = {struct for struct in subclasses(requests.ClientRequest) if isinstance(struct.__dict__.get("event"), str)}
    assert named == set(requests.REQUEST_TYPES.values())


@given(ALL_EVENTS)
def test_an_event_survives_the_wire(event: events.ServerEvent) -> None:
    assert events.decode(events.encode(event)) == event
    assert events.decode(events.encode(event).encode()) == event


@given(ALL_REQUESTS)
def test_a_request_survives_the_wire(request: requests.ClientRequest) -> None:
    assert requests.decode(requests.encode(request)) == request


@given(TEXT.filter(lambda name: name not in events.EVENT_TYPES and name not in requests.REQUEST_TYPES), JSON)
def test_an_unknown_message_is_readable(name: str, payload: Any) -> None:
    event = events.decode(json.dumps({"event": name, "payload": payload}))
    assert event == events.UnknownEvent(name, payload)
    assert events.decode(events.encode(event)) == event
    assert requests.decode(requests.encode_raw(name, payload)) == requests.UnknownRequest(name, payload)


@given(ANY_TEXT)
def test_garbage_is_malformed_and_nothing_else(text: str | bytes) -> None:
    for decode in (events.decode, requests.decode):
        with suppress(Malformed):
            decode(text)


@given(st.sampled_from(sorted({*events.EVENT_TYPES, *requests.REQUEST_TYPES})), JSON)
def test_any_payload_is_read_or_malformed_by_name(name: str, payload: Any) -> None:
    for decode in (events.decode, requests.decode):
        refused: Malformed | None = None
        try:
            decode(json.dumps({"event": name, "payload": payload}))
        except Malformed as error:
            refused = error
        assert refused is None or (refused.event == name and str(refused).startswith(name))


@given(ALL_EVENTS, st.data())
def test_a_damaged_event_is_read_or_malformed(event: events.ServerEvent, data: st.DataObject) -> None:
    text = bytearray(events.encode(event), "utf-8")
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Malformed):
        events.decode(bytes(text))


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"event": 5}',
        '{"payload": {}}',
        b"\xff\xfe",
        b'{"event":"clipboard/updated","payload":{"text":"\xff"}}',
        '{"event":"control/host"}',
        '{"event":"control/host","payload":null}',
        '{"event":"control/host","payload":{"id":"a"}}',
        '{"event":"control/host","payload":{"id":"a","has_host":1}}',
        '{"event":"screen/updated","payload":{"id":"a","width":10.5,"height":1,"rate":1}}',
        '{"event":"screen/updated","payload":{"id":"a","width":1e3,"height":1,"rate":1}}',
        '{"event":"signal/provide","payload":{"sdp":5}}',
        '{"event":"signal/provide","payload":[]}',
        '{"event":"session/cursors","payload":{}}',
        '{"event":"system/settings","payload":{"id":"a","private_mode":"yes"}}',
        '{"event":"chat/message","payload":' + DEEP,
        '{"event":"no/such","payload":' + DEEP + "]" * 100_000 + "}",
        '{"event":"a\ud800"}',
        "NaN",
    ],
    ids=lambda text: repr(text[:60]),
)
def test_an_event_that_is_none_is_malformed(text: str | bytes) -> None:
    with pytest.raises(Malformed):
        events.decode(text)


def test_malformed_names_the_event_and_never_a_value() -> None:
    with pytest.raises(Malformed) as caught:
        events.decode('{"event":"clipboard/updated","payload":{"text":["hunter2"]}}')
    assert caught.value.event == "clipboard/updated"
    assert caught.value.reason == "Expected `str`, got `array` - at `$.text`"
    with pytest.raises(Malformed) as caught:
        requests.decode('{"event":"signal/video","payload":{"selector":{"type":"hunter2"}}}')
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert "hunter2" not in str(Malformed("x", event="e" * 200 + "hunter2"))


def test_malformed_does_not_carry_the_text_it_was_made_from() -> None:
    with pytest.raises(Malformed, match="not Unicode") as caught:
        events.decode(b'{"event":"clipboard/updated","payload":{"text":"hunter2\xff"}}')
    assert caught.value.__cause__ is None
    with pytest.raises(Malformed, match=r"^control/host: has no payload$"):
        events.decode('{"event":"control/host"}')


def test_the_wire_forms_that_differ_from_the_python_ones() -> None:
    settings = events.SystemSettings(id="a", settings=events.Settings(heartbeat_interval=10))
    assert json.loads(events.encode(settings))["payload"] == {
        "id": "a",
        "private_mode": False,
        "locked_logins": False,
        "locked_controls": False,
        "control_protection": False,
        "implicit_hosting": False,
        "inactive_cursors": False,
        "merciful_reconnect": False,
        "heartbeat_interval": 10,
        "plugins": None,
    }
    assert events.encode(events.SignalClose()) == '{"event":"signal/close","payload":null}'
    assert events.encode(events.SystemHeartbeat()) == '{"event":"system/heartbeat"}'
    assert events.encode(events.SessionCursors(cursors=())) == '{"event":"session/cursors","payload":[]}'
    assert requests.encode(requests.ControlPaste()) == '{"event":"control/paste","payload":{}}'
    assert requests.encode(requests.SignalRequest()) == '{"event":"signal/request","payload":{"video":{},"audio":{}}}'
    assert requests.encode(requests.ControlRequest()) == '{"event":"control/request"}'


@pytest.mark.parametrize("key", ["iceservers", "iceServers", "ice_servers", "ice"])
def test_provide_reads_every_spelling_of_the_ice_servers(key: str) -> None:
    payload = {"sdp": "v=0", key: [{"url": "stun:192.0.2.1"}, {"urls": 5}, {"urls": ["nonsense:1"]}]}
    offer = events.decode(json.dumps({"event": "signal/provide", "payload": payload}))
    assert isinstance(offer, events.SignalProvide)
    assert offer.ice_servers == (IceServer(urls=("stun:192.0.2.1",)),)
    assert offer.skipped_ice_servers == 2


@pytest.mark.parametrize(
    ("payload", "request_read"),
    [
        ("null", requests.ControlMove(0, 0)),
        ('{"x":5}', requests.ControlMove(5, 0)),
        ('{"X":5,"Y":6,"z":[]}', requests.ControlMove(5, 6)),
        ('{"x":null,"y":7}', requests.ControlMove(0, 7)),
    ],
)
def test_a_request_is_read_as_leniently_as_go_does(payload: str, request_read: requests.ClientRequest) -> None:
    assert requests.decode('{"Event":"control/move","PAYLOAD":' + payload + "}") == request_read


def test_go_semantics_of_single_requests() -> None:
    def read(event: str, payload: object) -> requests.ClientRequest:
        return requests.decode(json.dumps({"event": event, "payload": payload}))

    assert read("control/buttondown", {"code": 1}) == requests.ControlButtonDown(1)
    assert read("control/buttondown", {"code": 1, "x": 4}) == requests.ControlButtonDown(1, x=4, y=0)
    assert read("control/keyup", {"keysym": 1, "y": None}) == requests.ControlKeyUp(1, x=0, y=0)
    assert read("control/scroll", {"x": 1, "y": -2}) == requests.ControlScroll(1, -2)
    assert read("control/scroll", {"delta_y": 3, "x": 1}) == requests.ControlScroll(0, 3)
    assert read("signal/video", {"selector": {"id": "a", "type": "NEAREST"}}) == requests.SignalVideo(
        selector=requests.StreamSelector("a", "nearest")
    )
    assert read("signal/request", {"video": {"selector": {"id": "a", "type": ""}}}) == requests.SignalRequest(
        video=requests.VideoRequest(selector=requests.StreamSelector("a", "exact"))
    )
    assert read("signal/request", {"video": None}) == requests.SignalRequest()
    assert read("system/logs", None) == requests.SystemLogs(())
    assert read("system/logs", [{"level": "info"}]) == requests.SystemLogs((requests.LogEntry("info", ""),))
    assert read("control/request", "ignored") == requests.ControlRequest()
    assert requests.decode("null") == requests.UnknownRequest("", None)
    assert requests.decode(b'{"event":"chat/message","payload":{"text":"\xff"}}') == requests.ChatMessage("\ufffd")


@pytest.mark.parametrize(
    "text",
    [
        "{bad",
        "5",
        '{"event": []}',
        '{"event":"signal/request"}',
        '{"event":"control/paste"}',
        '{"event":"control/move","payload":{"x":10.7,"y":1}}',
        '{"event":"control/move","payload":{"x":10.0,"y":1}}',
        '{"event":"control/move","payload":{"x":"1","y":1}}',
        '{"event":"control/move","payload":{"x":true,"y":1}}',
        '{"event":"control/move","payload":[1,2]}',
        '{"event":"control/move","payload":{"x":9223372036854775808,"y":1}}',
        '{"event":"control/keydown","payload":{"keysym":-1}}',
        '{"event":"control/keydown","payload":{"keysym":4294967296}}',
        '{"event":"control/touchbegin","payload":{"touch_id":1,"pressure":1}}',
        '{"event":"control/touchbegin","payload":{"touch_id":1,"x":1,"y":1,"pressure":256}}',
        '{"event":"screen/set","payload":{"width":800,"height":600,"rate":32768}}',
        '{"event":"signal/video","payload":{"selector":{"id":"a","type":"best"}}}',
        '{"event":"signal/video","payload":{"selector":{"id":"a","type":3}}}',
        '{"event":"signal/video","payload":{"selector":"a"}}',
        '{"event":"system/logs","payload":{}}',
        '{"event":"send/unicast","payload":' + DEEP,
    ],
    ids=lambda text: text[:70],
)
def test_a_request_that_the_server_drops_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        requests.decode(text)


@pytest.mark.parametrize(
    "request_",
    [
        requests.ControlMove(10.7, 1),  # type: ignore[arg-type]
        requests.ControlMove(10.0, 1),  # type: ignore[arg-type]
        requests.ControlMove(None, 1),  # type: ignore[arg-type]
        requests.ControlMove(True, 1),
        requests.ControlMove(2**63, 1),
        requests.ControlKeyDown(-1),
        requests.ControlKeyDown(2**32),
        requests.ControlKeyDown(65, x=1),
        requests.ControlButtonUp(1, y=1),
        requests.ControlTouchBegin(1, 1, 1, 256),
        requests.ScreenSet(800, 600, 2**15),
        requests.SignalVideo(selector=requests.StreamSelector("a", "best")),  # type: ignore[arg-type]
        requests.ChatMessage("half a pair \ud83d"),
        requests.SendUnicast("a", "s", math.nan),
        requests.SendBroadcast("s", {"deep": [math.inf]}),
        requests.SendBroadcast("s", 1j),
    ],
    ids=repr,
)
def test_what_the_server_would_drop_is_not_written(request_: requests.ClientRequest) -> None:
    with pytest.raises(Malformed):
        requests.encode(request_)


def test_the_escape_hatch_writes_what_json_can_say() -> None:
    assert requests.encode_raw("a/b") == '{"event":"a/b"}'
    assert requests.encode_raw("a/b", None) == '{"event":"a/b","payload":null}'
    assert requests.encode_raw("a/b", {"k": [1, "null", None]}) == '{"event":"a/b","payload":{"k":[1,"null",null]}}'
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for payload in (math.nan, {"k": -math.inf}, {"k": object()}, "\udc00", deep):
        with pytest.raises(Malformed):
            requests.encode_raw("a/b", payload)


def test_no_credential_in_a_repr() -> None:
    server = IceServer(urls=("turn:relay.example",), username="hunter1", credential="hunter2")
    offer = events.SignalProvide(sdp="v=0", ice_servers=(server,))
    assert "hunter" not in repr(server)
    assert "hunter" not in repr(offer)
    assert "relay.example" in repr(offer)
