"""ICE candidates as text."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.protocol import Malformed
from neko_trio.protocol.candidates import Candidate, parse_candidate

HOST = Candidate("1", 1, "udp", 2130706431, "192.0.2.1", 5000, "host")


@pytest.mark.parametrize("prefix", ["", "candidate:", "a=candidate:"])
@pytest.mark.parametrize("end", ["", "\r\n"])
def test_the_three_spellings(prefix: str, end: str) -> None:
    assert parse_candidate(f"{prefix}1 1 UDP 2130706431 192.0.2.1 5000 typ host{end}") == HOST


@pytest.mark.parametrize(
    ("text", "candidate"),
    [
        (
            "candidate:8421 1 udp 1677729535 198.51.100.7 46154 typ srflx raddr 10.0.0.5 rport 46154 ufrag EsAw a 1",
            Candidate("8421", 1, "udp", 1677729535, "198.51.100.7", 46154, "srflx", "10.0.0.5", 46154, ufrag="EsAw"),
        ),
        (
            "candidate:2 1 tcp 1671430143 2001:DB8:0::1 59290 typ host tcptype passive ufrag abc",
            Candidate("2", 1, "tcp", 1671430143, "2001:db8::1", 59290, "host", tcptype="passive", ufrag="abc"),
        ),
        (
            "candidate:3 2 udp 41885439 2001:db8::2 9 typ relay raddr :: rport 0",
            Candidate("3", 2, "udp", 41885439, "2001:db8::2", 9, "relay", "::", 0),
        ),
        (
            "candidate:4 1 udp 2113937151 1F4712DB-ea17-4bcf-a596-105139dfd8bf.local 54596 typ host",
            Candidate("4", 1, "udp", 2113937151, "1f4712db-ea17-4bcf-a596-105139dfd8bf.local", 54596, "host"),
        ),
        (
            "candidate:5 1 udp 1 fe80::1%eth0 1 typ host",
            Candidate("5", 1, "udp", 1, "fe80::1%eth0", 1, "host"),
        ),
    ],
)
def test_known_forms(text: str, candidate: Candidate) -> None:
    assert parse_candidate(text) == candidate
    assert parse_candidate(candidate.to_text()) == candidate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "candidate:",
        "candidate:1 1 udp 1 192.0.2.1 5000",
        "candidate:1 1 udp 1 192.0.2.1 5000 host",
        "candidate:1 1 udp 1 192.0.2.1 5000 type host",
        "candidate:1 1 udp 1 192.0.2.1 5000 typ nonsense",
        "candidate:1 1 ssltcp 1 192.0.2.1 5000 typ host",
        "candidate:1 0 udp 1 192.0.2.1 5000 typ host",
        "candidate:1 257 udp 1 192.0.2.1 5000 typ host",
        "candidate:1 x udp 1 192.0.2.1 5000 typ host",
        "candidate:1 1 udp 4294967296 192.0.2.1 5000 typ host",
        "candidate:1 1 udp -1 192.0.2.1 5000 typ host",
        "candidate:1 1 udp 1 192.0.2.1 65536 typ host",
        "candidate:1 1 udp 1 192.0.2.1 ٥ typ host",
        "candidate:1 1 udp 1 192.0.2 5000 typ host",
        "candidate:1 1 udp 1 192.0.2.256 5000 typ host",
        "candidate:1 1 udp 1 1::2::3 5000 typ host",
        "candidate:1 1 udp 1 fe80::1% 5000 typ host",
        "candidate:1 1 udp 1 [2001:db8::1] 5000 typ host",
        "candidate:1 1 udp 1 -bad 5000 typ host",
        "candidate:1 1 udp 1 host\nname 5000 typ host",
        "candidate:! 1 udp 1 192.0.2.1 5000 typ host",
        "candidate:1 1 udp 1 192.0.2.1 5000 typ host generation",
        "candidate:1 1 udp 1 192.0.2.1 5000 typ srflx raddr 300.1.1.1 rport 1",
        "candidate:1 1 udp 1 192.0.2.1 5000 typ srflx raddr 10.0.0.1 rport x",
        "candidate:1 1 tcp 1 192.0.2.1 5000 typ host tcptype sideways",
        "candidate:1 1 udp 1 192.0.2.1 5000 typ host" + " x y" * 1000,
    ],
)
def test_what_is_no_candidate(text: str) -> None:
    with pytest.raises(Malformed):
        parse_candidate(text)


ADDRESSES = st.ip_addresses().map(str) | st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,4}){0,3}\.local", fullmatch=True)
PORTS = st.integers(0, 65535)
CANDIDATES = st.builds(
    Candidate,
    foundation=st.from_regex(r"[A-Za-z0-9+/]{1,32}", fullmatch=True),
    component=st.integers(1, 256),
    transport=st.sampled_from(["udp", "tcp"]),
    priority=st.integers(0, 2**32 - 1),
    host=ADDRESSES.filter(lambda address: not address.split(".")[0].isdecimal() or address.count(".") == 3),
    port=PORTS,
    type=st.sampled_from(["host", "srflx", "prflx", "relay"]),
    related_address=st.none() | st.ip_addresses().map(str),
    related_port=st.none() | PORTS,
    tcptype=st.sampled_from([None, "active", "passive", "so"]),
    ufrag=st.none() | st.from_regex(r"[A-Za-z0-9+/]{4,16}", fullmatch=True),
)


@given(CANDIDATES)
def test_a_candidate_survives_its_text(candidate: Candidate) -> None:
    assert parse_candidate(candidate.to_text()) == candidate
    assert parse_candidate(candidate.to_text() + " generation 0 network-cost 999") == candidate


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["1", "udp", "typ", "host", "a=candidate:", "::", "%", "192.0.2.1"])).map(" ".join)
)
def test_any_text_is_a_candidate_or_malformed(text: str) -> None:
    with suppress(Malformed):
        parse_candidate(text)
