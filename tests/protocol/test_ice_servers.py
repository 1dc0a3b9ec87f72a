"""ICE servers in every spelling, and their URLs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.protocol import Malformed
from neko_trio.protocol.ice_servers import IceServer, IceUrl, parse_ice_servers, parse_ice_url, read_ice_servers

URL = "turn:192.0.2.1:3478?transport=udp"


@pytest.mark.parametrize("key", ["iceservers", "iceServers", "ice_servers", "ice"])
@pytest.mark.parametrize(
    "urls", [{"urls": [URL]}, {"urls": URL}, {"url": URL}, {"url": [URL]}, {"urls": None, "url": URL}]
)
@pytest.mark.parametrize("credential", ["credential", "password"])
def test_every_spelling(key: str, urls: dict[str, Any], credential: str) -> None:
    payload = {key: [{**urls, "username": "u", credential: "c"}]}
    assert parse_ice_servers(payload) == (IceServer(urls=(URL,), username="u", credential="c"),)


@pytest.mark.parametrize(
    ("entries", "servers", "skipped"),
    [
        (None, 0, 0),
        ([], 0, 0),
        ("stun:192.0.2.1", 0, 1),
        ({}, 0, 1),
        (["stun:192.0.2.1"], 1, 0),
        ([{"urls": []}], 0, 1),
        ([{}], 0, 1),
        ([None, 5, [], {"urls": 7}], 0, 4),
        ([{"urls": ["stun:192.0.2.1", "http://x", 3]}], 1, 2),
        ([{"urls": ["stun:192.0.2.1"], "username": 5}], 0, 1),
        ([{"urls": ["stun:192.0.2.1"], "credential": {}}, {"urls": "stun:192.0.2.2"}], 1, 1),
    ],
)
def test_malformed_entries_are_left_out_and_counted(entries: Any, servers: int, skipped: int) -> None:
    found = read_ice_servers({"iceservers": entries})
    assert (len(found.servers), found.skipped) == (servers, skipped)


def test_no_list_is_no_server() -> None:
    assert read_ice_servers({"sdp": "v=0"}) == ((), 0)


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=9) | st.sampled_from([URL, "stun:[::1]"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["urls", "url", "username", "credential", "password", "x"]), inner, max_size=4
        )
    ),
)


@given(st.sampled_from(["iceservers", "ice"]), JSON)
def test_whatever_comes_is_read(key: str, entries: Any) -> None:
    for server in read_ice_servers({key: entries}).servers:
        assert server.urls
        for url in server.urls:
            parse_ice_url(url)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("stun:stun.example.org", IceUrl("stun", "stun.example.org", 3478, "udp")),
        ("STUN:192.0.2.1:19302", IceUrl("stun", "192.0.2.1", 19302, "udp")),
        ("stuns:stun.example.org", IceUrl("stuns", "stun.example.org", 5349, "tcp")),
        ("turn:[2001:DB8::1]", IceUrl("turn", "2001:db8::1", 3478, "udp")),
        ("turn:[2001:db8::1]:80?transport=tcp", IceUrl("turn", "2001:db8::1", 80, "tcp")),
        ("turn:a_b:3479?transport=UDP", IceUrl("turn", "a_b", 3479, "udp")),
        ("turns:relay.example?transport=tcp", IceUrl("turns", "relay.example", 5349, "tcp")),
    ],
)
def test_urls(text: str, url: IceUrl) -> None:
    assert parse_ice_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stun:",
        "stun://host",
        "stun:host:0",
        "stun:host:65536",
        "stun:host:1:2",
        "stun:host?transport=udp",
        "turn:host?transport=sctp",
        "turn:host?x=y",
        "turn:user:secret@host",
        "turn:2001:db8::1",
        "turn:[nonsense]",
        "turn:[1::2::3]",
        "http://host",
        "turn:host\n",
        "turn:hőst",
    ],
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_ice_url(text)
    assert "secret" not in str(caught.value)


HOSTS = st.sampled_from(["a.example", "h", "192.0.2.1"]) | st.ip_addresses(v=6).map(str)


@given(
    st.sampled_from(["stun", "stuns", "turn", "turns"]), HOSTS, st.integers(1, 65535), st.sampled_from(["udp", "tcp"])
)
def test_a_url_survives_its_text(scheme: Any, host: str, port: int, transport: Any) -> None:
    if scheme.startswith("stun"):
        transport = "tcp" if scheme == "stuns" else "udp"
    url = IceUrl(scheme, host, port, transport)
    assert parse_ice_url(str(url)) == url


@given(st.text(max_size=30) | st.from_regex(r"(stun|turn)s?:.{0,20}", fullmatch=True))
def test_any_text_is_a_url_or_malformed(text: str) -> None:
    with suppress(Malformed):
        assert parse_ice_url(text).port
