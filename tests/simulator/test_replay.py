"""The simulator is held to the recordings of the real server, line by line (design.md, law 8)."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import pytest
import trio

from neko_trio._ports.frames import FrameSlot
from neko_trio._timeline import Timeline
from neko_trio.simulator import Timings, open_simulator

if TYPE_CHECKING:
    from neko_trio.media.peer_api import Peer
    from tests.simulator import replay, replay_compare
else:

    def _load(name: str) -> ModuleType:
        import sys

        if name not in sys.modules:
            spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
            sys.modules[name] = module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        return sys.modules[name]

    replay, replay_compare = _load("replay"), _load("replay_compare")

RECORDINGS = Path(__file__).parent.parent / "recordings"
NAMES = sorted(path.stem for path in RECORDINGS.glob("*.jsonl"))
NOT_REPRODUCED = json.loads((RECORDINGS / "not_reproduced.json").read_text())
SHORT = Timings(connect_limit=1.5)
"""The server's ten seconds until an answered peer must be connected, shortened."""


class ReplayPeer:
    """The client's peer connection, as the player wants it."""

    def __init__(self, peer: Peer, answer: str, data: list[bytes]) -> None:
        self.answer = answer
        self.data = data
        self._peer = peer

    def start(self) -> None:
        self._peer.start_checks()

    async def wait_data_channel(self) -> None:
        await self._peer.wait_data_channel()

    async def send_data(self, message: bytes) -> None:
        await self._peer.send_data((message,))

    async def aclose(self) -> None:
        await self._peer.aclose()


@asynccontextmanager
async def open_peer(address: str, offer: str, heard: Callable[[], None]) -> AsyncGenerator[ReplayPeer, None]:
    """``address``: the server's, from which it is decided what the answer offers; nothing is trickled after it."""
    from neko_trio.media.bridge import open_lease
    from neko_trio.media.frames import FrameContext
    from neko_trio.media.peer import open_peer_connection
    from neko_trio.media.peer_api import IceOptions, PeerSetup

    data: list[bytes] = []

    def on_data(message: bytes) -> None:
        data.append(message)
        heard()

    async with open_lease() as lease:
        setup = PeerSetup(
            lease=lease,
            offer_sdp=offer,
            ice_servers=(),
            ice=IceOptions(),
            server_address=address,
            timeline=Timeline(),
            slot=FrameSlot(),
            new_number=lambda: 1,
            frame_context=lambda: FrameContext(None, 1, (1280, 720), None),
            on_candidate=lambda candidate: None,
            on_data=on_data,
            on_keyframe_needed=lambda: None,
        )
        async with open_peer_connection(setup) as peer:
            await peer.set_remote_description()
            yield ReplayPeer(peer, await peer.set_local_description(), data)


OWN_SERVER = {
    "clipboard": "a program must copy on the server's desktop",
    "handshake-cookie": "session.cookie.enabled",
    "handshake-h264": "an x264enc pipeline",
    "handshake-vp9": "a vp9enc pipeline",
    "handshake-av1": "an av1enc pipeline",
    "handshake-icelite": "webrtc.icelite",
    "handshake-tcpmux": "webrtc.tcpmux",
}
"""Recordings of servers with settings of their own: a given server is not held to these."""
CLOCKED = ("restart", "handshake-icelite")
"""Recordings with a heartbeat in them: the server's clock is made to strike more often for these."""


@asynccontextmanager
async def open_server(config: pytest.Config, name: str) -> AsyncIterator[replay.Server]:
    url = config.getoption("--neko-url", None)
    if url:
        password, admin_password = (config.getoption(f"--neko-{kind}", "") for kind in ("password", "admin-password"))
        yield replay.Server(url, password or "neko", admin_password or "admin", patience=15.0)
        return
    from neko_trio.simulator import Cookie

    async with open_simulator(
        rate=30,
        codec=next((codec for codec in ("h264", "vp9", "av1") if codec in name), "vp8"),
        cookie=Cookie() if "cookie" in name else None,
        ice_servers=({"urls": ["stun:127.0.0.1:3479"]},),
        transports=("tcp",) if "tcpmux" in name else ("udp",),
        icelite="icelite" in name,
        timings=replace(SHORT, heartbeat=0.5) if name in CLOCKED else SHORT,
    ) as simulator:
        yield replay.Server(simulator.url, simulator.password, simulator.admin_password, simulator.copy)


async def compare(config: pytest.Config, name: str) -> list[str]:
    """What differs, each with the client and the channel it was heard on."""
    lines = replay.read_recording(RECORDINGS / f"{name}.jsonl")
    given = bool(config.getoption("--neko-url", None))
    excused = _excused(name)
    with trio.fail_after(90):
        async with (
            open_server(config, name) as server,
            httpx2.AsyncClient(base_url=server.url, timeout=None) as client,
            replay.playing(server, lines, partial(open_peer, urlsplit(server.url).hostname or "")) as player,
        ):
            about = {line.entry["body"]["id"] for line in lines if line.entry.get("path") is None and _is_login(line)}

            seen: set[tuple[str, str, str]] = set()

            def expected(line: replay.Line) -> bool:
                if line.entry.get("event") == "signal/candidate":
                    # How many addresses of a type the recorded server had is its own affair.
                    ufrag = line.entry["payload"]["candidate"].split()[-1]
                    key = line.who, replay.name_of(line.entry), ufrag
                    if key in seen:
                        return False
                    seen.add(key)
                ids = {each: each for each in about}
                return line.number not in excused and replay_compare.normal(line.entry, ids, recorded=True) is not None

            await player.play(client, expected)
    found = [] if given else [f"did not come: {each}" for each in player.waited_in_vain]
    for who, kind in sorted({(line.who, line.kind) for line in lines if not line.is_sent and line.kind != "note"}):
        wanted = [line for line in lines if (line.who, line.kind, line.is_sent) == (who, kind, False)]
        different = judge(name, wanted, player, given=given, as_the_simulator=True)
        if given and different:
            different = judge(name, wanted, player, given=given, as_the_simulator=False)
        found += [f"{who or 'client'} {kind}: {each}" for each in different]
    return found


def judge(
    name: str, wanted: list[replay.Line], player: replay.Player, *, given: bool, as_the_simulator: bool
) -> list[str]:
    """What one client heard on one channel against its lines of the recording.

    `as_the_simulator`: where the simulator says something else instead, expect that.  A `given` real server may say
    either, may say what the simulator does not, and has cursors of its own.
    """
    listed, excused = NOT_REPRODUCED.get(name, []), _excused(name)
    instead = {item["line"]: item["instead"] for item in listed if "instead" in item and as_the_simulator}
    removed = {item["line"]: item["remove"] for item in listed if "remove" in item}
    surplus = [item["heard"] for item in listed if "heard" in item]
    normals = [(line, replay_compare.normal(line.entry, player.ids, recorded=True)) for line in wanted]
    said = [
        _without(instead.get(line.number, normal), removed.get(line.number))
        for line, normal in normals
        if normal is not None and line.number not in excused
    ]
    messages = player.heard.get((wanted[0].who, wanted[0].kind), replay.Heard()).messages
    read = (replay_compare.normal(message, player.ids, recorded=False) for message in messages)
    heard = replay_compare.gathered([normal for normal in read if normal is not None])
    said = replay_compare.gathered(said)
    if given:
        said, heard = ([each for each in both if each.get("hex") != "<cursor image>"] for both in (said, heard))
        surplus += replay_compare.gathered([n for line, n in normals if n is not None and line.number in excused])
    for message in surplus:
        heard = _less(heard, message)
    return replay_compare.differences(said, heard)


def _excused(name: str) -> set[int]:
    listed = NOT_REPRODUCED.get(name, [])
    return {item["line"] for item in listed if "line" in item and not {"remove", "instead"} & set(item)}


def _less(heard: list[dict[str, Any]], surplus: dict[str, Any]) -> list[dict[str, Any]]:
    """Without the first message that is this one."""
    for index, message in enumerate(heard):
        if message == surplus:
            return [*heard[:index], *heard[index + 1 :]]
    return heard


def _without(message: dict[str, Any], sdp_line: str | None) -> dict[str, Any]:
    if sdp_line is None:
        return message
    payload = message["payload"]
    return {**message, "payload": {**payload, "sdp": [each for each in payload["sdp"] if each != sdp_line]}}


def _is_login(line: replay.Line) -> bool:
    body = line.entry.get("body")
    return line.kind == "http" and not line.is_sent and isinstance(body, dict) and {"profile", "state"} <= set(body)


@pytest.mark.real_time
@pytest.mark.parametrize("name", NAMES)
async def test_the_server_says_what_the_recorded_one_said(name: str, pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--neko-url", None) and name in OWN_SERVER:
        pytest.skip(f"needs a server with: {OWN_SERVER[name]}")
    assert await compare(pytestconfig, name) == []


def test_what_is_not_reproduced_is_listed_with_a_reason_and_exists() -> None:
    assert set(NOT_REPRODUCED) <= set(NAMES)
    for name, items in NOT_REPRODUCED.items():
        lines = {line.number: line for line in replay.read_recording(RECORDINGS / f"{name}.jsonl")}
        for item in items:
            assert len(item["reason"]) > 10
            assert "line" in item or "heard" in item
            assert "line" not in item or not lines[item["line"]].is_sent


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("event", "changes"),
    [
        ("control/host", {"has_host": 1}),
        ("system/settings", {"surplus": None}),
        ("control/request", {"id": "somebody"}),
    ],
)
async def test_a_server_that_says_something_else_is_found_out(
    event: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    """A value, a type or a key that differs anywhere makes the comparison fail."""

    @asynccontextmanager
    async def open_altered(config: pytest.Config, name: str) -> AsyncIterator[replay.Server]:
        async with open_simulator(rate=30, timings=SHORT) as simulator, simulator.faults.alter(event, **changes):
            yield replay.Server(simulator.url, simulator.password, simulator.admin_password, patience=0.2)

    monkeypatch.setitem(globals(), "open_server", open_altered)
    found = await compare(pytestconfig, "two-users-control")
    assert any(each.startswith(("admin ws: too much", "user ws: too much")) for each in found)


@pytest.mark.real_time
async def test_a_message_that_does_not_come_is_missed(
    monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    @asynccontextmanager
    async def open_silent(config: pytest.Config, name: str) -> AsyncIterator[replay.Server]:
        async with open_simulator(rate=30, timings=SHORT) as simulator, simulator.faults.withhold("chat/init"):
            yield replay.Server(simulator.url, simulator.password, simulator.admin_password, patience=0.2)

    monkeypatch.setitem(globals(), "open_server", open_silent)
    found = await compare(pytestconfig, "two-users-control")
    assert any("missing" in each and "chat/init" in each for each in found)


def test_order_is_compared_except_where_it_is_declared_free() -> None:
    host, settings = {"event": "control/host", "payload": 1}, {"event": "system/settings", "payload": 2}
    chat, files = {"event": "chat/init", "payload": 3}, {"event": "filetransfer/update", "payload": 4}
    again = {"event": "control/host", "payload": 5}
    assert replay_compare.differences([host, settings, chat, files], [host, settings, files, chat]) == []
    assert replay_compare.differences([host, settings], [settings, host]) != []
    assert replay_compare.differences([host, again], [again, host]) != []
    assert replay_compare.differences([host, chat], [host, chat, chat]) != []
