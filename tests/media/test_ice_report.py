"""What a failed connection says: the fate of each pair, and what to change at the server, by what was seen."""

from __future__ import annotations

import pytest

from neko_trio.media.ice_report import LINES, IceReport, Remote

HERE = "198.51.100.7"


def report(
    *remotes: Remote, relay_only: bool = False, local: tuple[str, ...] = ("udp 192.168.1.2:5 host",), ignored: int = 0
) -> IceReport:
    return IceReport(
        local=local,
        remotes=remotes,
        pairs=tuple(f"udp a → b{number}: no answer" for number in range(LINES + 3)),
        errors=("stun:x: no answer",),
        server_address=HERE,
        relay_only=relay_only,
        ignored=ignored,
    )


def udp(host: str = HERE, port: int = 50_000, *, guessed: bool = False) -> Remote:
    return Remote("udp", host, port, "prflx" if guessed else "host", guessed)


def tcp(host: str = HERE, port: int = 60_000) -> Remote:
    return Remote("tcp", host, port, "host", False)


HINTS = {
    "private addresses": (
        report(udp("172.17.0.2"), udp(guessed=True)),
        ["announces private addresses only (172.17.0.2)", f"goes to {HERE}", "webrtc.nat1to1", "(50000; webrtc.epr"],
        ["webrtc.tcpmux)."],
    ),
    "another address": (
        report(udp("203.0.113.9"), udp("2001:db8::1")),
        ["announces 203.0.113.9, 2001:db8::1 and", "webrtc.nat1to1"],
        ["private"],
    ),
    "the right address": (
        report(udp(port=50_001), udp(port=50_000)),
        ["(50000, 50001; webrtc.epr or webrtc.udpmux)", "Where UDP is blocked, set webrtc.tcpmux"],
        ["nat1to1"],
    ),
    "tcp only": (report(tcp()), ["Publish its TCP port unchanged (60000; webrtc.tcpmux)"], ["UDP", "nat1to1"]),
    "udp and tcp": (report(udp(), tcp()), ["UDP ports", "TCP port"], ["Where UDP is blocked"]),
    "nothing announced": (
        report(ignored=2),
        ["no address", "2 of its candidates", "webrtc.udpmux", "tcpmux"],
        ["epr)"],
    ),
    "only learned": (report(Remote("udp", HERE, 1, "prflx", False)), ["offered no address"], ["were of no use"]),
    "relays only, none": (report(relay_only=True, local=()), ["webrtc.iceservers.frontend"], ["nat1to1"]),
    "relays only, no path": (
        report(udp("10.0.0.9"), relay_only=True),
        ["TURN server could not reach 10.0.0.9:50000", "nat1to1"],
        ["epr"],
    ),
}


@pytest.mark.parametrize("name", HINTS)
def test_the_hint_depends_on_what_was_seen(name: str) -> None:
    seen, said, unsaid = HINTS[name]
    hint = seen.hint()
    for part in said:
        assert part in hint
    for part in unsaid:
        assert part not in hint


def test_the_error_has_all_and_its_text_is_bounded() -> None:
    error = report(udp("2001:db8::1"), udp(guessed=True)).error("it is so", step="ice")
    assert error.step == "ice"
    assert error.remote == (
        "udp [2001:db8::1]:50000 host",
        f"udp {HERE}:50000 not announced: the WebSocket's address",
    )
    assert error.local == ("udp 192.168.1.2:5 host",)
    assert len(error.pairs) == LINES + 3
    text = str(error)
    assert "it is so" in text
    assert text.count("no answer") == LINES + 1
    assert "and 3 more" in text
    assert "Gathering: stun:x: no answer." in text
