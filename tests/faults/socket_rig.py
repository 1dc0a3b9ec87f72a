"""The rig on real sockets: the simulator behind a proxy that spoils bytes and a network that spoils datagrams.

Each cell has a server of its own; many run side by side in one trio program, because most of them wait.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import trio

import neko_trio
from neko_trio.simulator import InputEvent, KeyDown, Simulator, open_simulator
from neko_trio.simulator._picture import Picture
from neko_trio.testing import LossyNetwork
from tests.faults import messages
from tests.faults.outcome import Limits, Observed
from tests.faults.program import play
from tests.faults.proxy import Connection, Proxy, open_proxy
from tests.faults.rules import allowed
from tests.faults.table import CONNECT_TIMEOUT, LINK_WATCH, MEDIA_WATCH, RETRIED, Allowed, Cell

LIMITS = Limits(connect_timeout=4, close_timeout=2, slack=8)
SIZE, RATE = (64, 64), 25
AT_ONCE, WAITING = 8, 20
"""Cells that run side by side: those that have something to do, and those that mostly wait. To connect takes a tenth of
a second of this one process: more of them at once do not come up within their connect_timeout (seen)."""
STALL, DOWN, HOLE = 0.5, 0.5, 0.75
HANG = 60.0
_PATHS = {b"/api/login": "login", b"/api/ws": "upgrade", b"/api/stats": "rest"}
_EVENTS = {b'"system/init"': "init", b'"signal/provide"': "offer"}
_GARBAGE = b"\x00\xff\x13 220 ready when you are\r\n\r\n\x81\xff" * 8
_WEATHER: dict[str, dict[str, float]] = {
    "udp_blackhole": {"loss": 1.0},
    "udp_blackhole_short": {"loss": 1.0},
    "udp_loss_5": {"loss": 0.05},
    "udp_loss_30": {"loss": 0.3},
    "udp_reorder": {"reorder": 0.2, "reorder_by": 0.01},
    "udp_duplicate": {"duplicate": 0.33},
    "udp_corrupt": {"corrupt": 0.05},
}


class Desk:
    """A desktop that keeps what is typed, and draws nothing."""

    def __init__(self) -> None:
        self.text = ""
        self.on_text: Callable[[], None] = lambda: None
        self._paper = Picture(*SIZE)

    def render(self, _now: float, /) -> Picture:
        return self._paper

    def on_input(self, event: InputEvent, /) -> None:
        if isinstance(event, KeyDown):
            self.text += event.text
            self.on_text()


class Network(LossyNetwork):
    """The UDP between, which tells at which step the peer is."""

    def __init__(self, at: Callable[[str], None], on_ice: Callable[[], None]) -> None:
        """``on_ice`` is called in whichever thread the pair was found: a millisecond later DTLS is through."""
        super().__init__(seed=1)
        self.at, self._on_ice = at, on_ice

    @asynccontextmanager
    async def open_peer_connection(self, setup: Any) -> AsyncIterator[Any]:
        token = trio.lowlevel.current_trio_token()

        def found() -> None:
            self._on_ice()
            token.run_sync_soon(self.at, "dtls")

        timeline = _Telling(setup.timeline, found)
        async with super().open_peer_connection(replace(setup, timeline=timeline)) as peer:
            yield _Stepping(peer, self.at)


class _Telling:
    def __init__(self, timeline: Any, found: Callable[[], None]) -> None:
        self._timeline, self._found = timeline, found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._timeline, name)

    def __contains__(self, name: object) -> bool:
        return name in self._timeline

    def mark(self, name: str, at: float | None = None) -> None:
        """Any thread."""
        self._timeline.mark(name, at)
        if name == "ice_connected":
            self._found()


class _Stepping:
    def __init__(self, peer: Any, at: Callable[[str], None]) -> None:
        self._peer, self._at = peer, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._peer, name)

    async def wait_connected(self) -> None:
        self._at("ice")
        await self._peer.wait_connected()
        self._at("first_frame")


class Bench:
    """One cell's server, proxy and network."""

    def __init__(self, cell: Cell, simulator: Simulator, proxy: Proxy, desk: Desk, nursery: trio.Nursery) -> None:
        self.observed = Observed(cell, "sockets")
        self._cell, self._simulator, self._proxy, self._desk = cell, simulator, proxy, desk
        self._nursery = nursery
        self.network = Network(self.at, self._ice_connected)
        self._armed = cell.policy != "again"
        self._down = False
        proxy.accepted, proxy.saw = self._accepted, self._saw

    # -- where the client is

    def at(self, step: str, connection: Connection | None = None) -> None:
        if step == self._cell.step and self._armed and self.observed.struck_at is None:
            self._strike(connection)

    def _ice_connected(self) -> None:
        first = self._armed and self.observed.struck_at is None
        if self._cell.step == "dtls" and first and self._cell.fault in _WEATHER:
            self.network.change(**_WEATHER[self._cell.fault])

    def _accepted(self, connection: Connection) -> None:
        # The first connection is the login's; the WebSocket is dialled when that has been answered.
        if self.observed.logins:
            self.at("dial", connection)

    def _saw(self, connection: Connection, data: bytes) -> None:
        if data == connection.request:
            for path, step in _PATHS.items():
                if path in data:
                    self.observed.logins += step == "login"
                    self.observed.dials += step == "upgrade"
                    self.at(step, connection)
            return
        for name, step in _EVENTS.items():
            if name in data:
                self.observed.offers += step == "offer"
                self.at(step, connection)

    # -- the rig's side of the program

    def strike(self) -> None:
        self.at(self._cell.step)

    def break_link(self) -> None:
        self._armed = True
        if self._cell.step == "login":
            self._nursery.start_soon(self._forget)
        else:
            self._end_web_socket()

    async def _forget(self) -> None:
        async with self._simulator.faults.expire_tokens():
            self._end_web_socket()
            await trio.sleep_forever()

    def _end_web_socket(self) -> None:
        assert self._proxy.web_socket is not None
        self._proxy.web_socket.end(reset=True)

    def strike_when_typed(self, characters: int) -> None:
        def typed() -> None:
            if len(self._desk.text) >= characters:
                self.at("typing")

        self._desk.on_text = typed

    def expect_closing(self) -> None:
        self.at("closing")

    async def renegotiate(self, session: neko_trio.Session) -> None:
        raise NotImplementedError("the table leaves that to virtual time")

    def typed(self) -> str:
        return self._desk.text

    # -- the faults

    def _strike(self, connection: Connection | None) -> None:
        self.observed.struck_at = trio.current_time()
        fault = self._cell.fault
        if fault in _WEATHER:
            self._spoil(fault)
        elif fault.startswith("restart_"):
            self._nursery.start_soon(self._restart, fault == "restart_kept")
        elif fault == "peer_silent":
            self._nursery.start_soon(self._kill_peer)
        else:
            struck = connection or self._proxy.web_socket
            assert struck is not None
            _spoil_bytes(fault, struck, self._cell.step)

    def _spoil(self, fault: str) -> None:
        self.network.change(**_WEATHER[fault])
        if fault == "udp_blackhole_short":

            async def go_on() -> None:
                await trio.sleep(HOLE)
                self.network.change(loss=0.0)

            self._nursery.start_soon(go_on)

    async def _restart(self, keep: bool) -> None:
        self._down = True
        async with self._simulator.faults.restart(down=DOWN, keep=keep):
            self._down = False
            await trio.sleep_forever()

    async def _kill_peer(self) -> None:
        async with self._simulator.faults.kill_peers(silently=True):
            await trio.sleep_forever()

    def left_behind(self) -> list[str]:
        """What is left when the session's block has ended. Who cannot be told of a goodbye cannot act on it."""
        simulator, cell = self._simulator, self._cell
        untold = cell.step == "login" or self._down or cell.fault.startswith("restart_")
        left = [] if untold else [f"session {name} at the server" for name in simulator.sessions]
        if any(simulator.held) and not untold:
            left.append(f"held {simulator.held}")
        return left


def _spoil_bytes(fault: str, struck: Connection, step: str) -> None:
    match fault:
        case "reset" | "fin":
            struck.end(reset=fault == "reset")
        case "cut":
            struck.cut = True
        case "half_open":
            struck.shut(math.inf)
        case "stall_short":
            struck.shut(STALL)
        case "stall_long":
            struck.shut(HANG)
        case "trickle":
            struck.slow = True
        case "duplicate":
            struck.twice = True
        case _ if step in ("login", "upgrade", "rest"):
            struck.instead = _http(fault, step)
        case "garbage_raw":
            struck.before = _GARBAGE
        case "message_20mb" | "message_40mb":
            struck.before = _frame(messages.large(20 if fault == "message_20mb" else 40))
        case _:
            raise ValueError(f"no such fault of bytes: {fault}")


def _frame(text: str) -> bytes:
    """A server's WebSocket frame: final, text, unmasked, with the long form of its length (RFC 6455 section 5.2)."""
    data = text.encode()
    return b"\x81\x7f" + struct.pack(">Q", len(data)) + data


def _http(fault: str, step: str) -> bytes:
    """A whole HTTP answer that spoils a call, or bytes that are none."""
    status, kind = "200 OK", "application/json"
    match fault:
        case "garbage_raw":
            return _GARBAGE
        case "garbage_text":
            body = b"{bad"
        case "garbage_binary":
            body, kind = bytes(range(256)), "application/octet-stream"
        case "wrong_types":
            body = json.dumps({"id": 5, "token": [], "has_host": "no", "total_users": {}}).encode()
        case "message_20mb" if step == "upgrade":
            return b"HTTP/1.1 101 Switching Protocols\r\nX-Padding: " + b"x" * (20 * 2**20)
        case "message_20mb":
            body = b" " * (20 * 2**20) + json.dumps(_STATS).encode()
        case _:
            status, kind = f"{fault.removeprefix('http_')} Whatever", "text/html"
            body = b"<html>nothing of Neko's</html>"
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_STATS = {
    "has_host": False,
    "server_started_at": "2026-11-23T03:00:00Z",
    "total_users": 1,
    "total_admins": 0,
    "last_user_left_at": None,
    "last_admin_left_at": None,
}


def run_all(cells: Iterable[Cell]) -> dict[Cell, Observed]:
    """Run these cells side by side, in one trio run."""
    return trio.run(_run_all, list(cells))


async def _run_all(cells: list[Cell]) -> dict[Cell, Observed]:
    results: dict[Cell, Observed] = {}
    busy, waiting = trio.CapacityLimiter(AT_ONCE), trio.CapacityLimiter(WAITING)

    async def one(cell: Cell) -> None:
        async with waiting if _waits(cell) else busy:
            results[cell] = await _run(cell)

    async with trio.open_nursery() as nursery:
        for cell in sorted(cells, key=lambda cell: not _waits(cell)):
            nursery.start_soon(one, cell)
    return results


def _waits(cell: Cell) -> bool:
    found = allowed(cell)
    assert isinstance(found, Allowed)
    return found.within in (LINK_WATCH, MEDIA_WATCH, RETRIED) and not cell.fault.startswith("udp_")


def _connect_timeout(cell: Cell) -> float:
    """Short where it is run into; where it is not, a busy machine shall not run into it either."""
    found = allowed(cell)
    assert isinstance(found, Allowed)
    return LIMITS.connect_timeout if found.within in (CONNECT_TIMEOUT, RETRIED, LINK_WATCH) else 9.0


async def _run(cell: Cell) -> Observed:
    desk = Desk()
    async with (
        open_simulator(size=SIZE, rate=RATE, desktop=desk) as simulator,
        open_proxy(urlsplit(simulator.url).port or 0) as proxy,
        trio.open_nursery() as nursery,
    ):
        bench = Bench(cell, simulator, proxy, desk, nursery)

        def opened() -> AbstractAsyncContextManager[neko_trio.Session]:
            return neko_trio.open_session(
                f"http://127.0.0.1:{proxy.port}",
                username="agent",
                password=simulator.password,
                video="on_demand" if cell.step == "on_demand" else "live",
                media=bench.network,
                reconnect=None if cell.policy == "off" else neko_trio.Reconnect(limit=8.0),
                connect_timeout=_connect_timeout(cell),
                close_timeout=LIMITS.close_timeout,
            )

        with trio.move_on_after(HANG) as scope:
            await play(bench, opened)
        bench.observed.hung = scope.cancelled_caught
        bench.observed.left_behind += bench.left_behind()
        nursery.cancel_scope.cancel()
    return bench.observed
