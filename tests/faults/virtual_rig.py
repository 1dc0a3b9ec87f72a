"""The rig in virtual time: a scripted server and a fake peer that do what no server should, at an exact step."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, Generic, TypeVar, Unpack, cast

import msgspec
import trio
from trio._core import _run as _run_module  # the seed hook of trio's own determinism test; there is no public one
from trio.testing import MockClock

import neko_trio
from neko_trio._checks import checked_options
from neko_trio._ports.rest import RequestOptions
from neko_trio._session import run_session
from neko_trio._wiring import Media, Wiring
from neko_trio.errors import ServerUnreachable
from neko_trio.protocol import data_channel, events, requests
from neko_trio.protocol.keysyms import char_of_keysym
from neko_trio.signaling.answers import Answer
from neko_trio.signaling.credential import Credential
from neko_trio.signaling.web_socket import SocketEnded
from neko_trio.testing import FakeMedia, ScriptedRest, ScriptedServer
from neko_trio.testing._fake_peer import FakePeer
from neko_trio.testing._scripted import CANDIDATE, OFFER, SESSION_ID, ScriptedSocket
from tests.faults import messages
from tests.faults.outcome import Limits, Observed
from tests.faults.program import play
from tests.faults.table import BEFORE_THE_OFFER, REASONS, Cell

T = TypeVar("T")

LIMITS = Limits(connect_timeout=9, close_timeout=2, slack=0)
STEP_TIME = 0.02
"""Seconds that a step of the peer takes."""
STALL, LONG_STALL = 0.5, 60.0
DOWN = 0.5
"""Seconds that a restart takes."""
GRACE = 5.0
"""Seconds for which the server keeps the host role of a session whose WebSocket ended abnormally."""
SILENCE = 5.2
"""Seconds after which the server gives up a peer that it hears nothing of."""
TRICKLE = 0.1
"""Seconds between two messages."""
HANG = 200.0
_CHARS = {keysym: char for char in map(chr, range(32, 127)) if (keysym := ord(char))}


class Line(Generic[T]):
    """One direction of a WebSocket: open, shut, or slow. What waits keeps its order."""

    def __init__(self, hand_over: Callable[[T], None]) -> None:
        self._hand_over = hand_over
        self._waiting: deque[T] = deque()
        self._open = True
        self.copies = 1

    def put(self, item: T) -> None:
        self._waiting.extend([item] * self.copies)
        if self._open:
            self._empty()

    def shut(self) -> None:
        self._open = False

    def reopen(self) -> None:
        self._open = True
        self._empty()

    def _empty(self) -> None:
        while self._waiting:
            self._hand_over(self._waiting.popleft())

    async def trickle(self) -> None:
        """One message at a time, for ever."""
        self.shut()
        while True:
            await trio.sleep(TRICKLE)
            if self._waiting:
                self._hand_over(self._waiting.popleft())


class FaultySocket(ScriptedSocket):
    """A WebSocket whose two directions can be shut."""

    def __init__(self, server: FaultyServer) -> None:
        super().__init__(server)
        self.faulty = server
        self.to_client: Line[str | bytes] = Line(lambda text: ScriptedSocket.deliver(self, cast("str", text)))
        self.to_server: Line[str] = Line(server._received)

    def deliver(self, text: str | bytes) -> None:
        self.to_client.put(text)

    async def send(self, *texts: str) -> None:
        await trio.lowlevel.checkpoint()
        if self._ended is not None:
            raise SocketEnded(self._ended.code, self._ended.reason)
        for text in texts:
            self.to_server.put(text)

    async def aclose(self, code: int = 1000) -> None:
        if self._ended is None:
            self.faulty.leave()
        await super().aclose(code)


class Calls(ScriptedRest):
    """The server's REST front, which takes its time over one call."""

    def __init__(self, server: FaultyServer) -> None:
        super().__init__()
        self._server = server
        self.on["GET", "/api/room/keyboard/map"] = lambda _: {"layout": "us", "variant": ""}
        modifiers = ("shift", "capslock", "control", "alt", "numlock", "meta", "super", "altgr")
        self.on["GET", "/api/room/keyboard/modifiers"] = lambda _: dict.fromkeys(modifiers, False)
        self.on["GET", "/api/stats"] = lambda _: {
            "has_host": False,
            "server_started_at": "2026-11-23T03:00:00Z",
            "total_users": 1,
            "total_admins": 0,
            "last_user_left_at": None,
            "last_admin_left_at": None,
        }

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> Answer:
        if path == "/api/stats":
            self._server.at("rest")
            await trio.sleep(10 * STEP_TIME)
        self._server.refuse_when_down()
        return await super().request(method, path, **options)


class FaultyServer(ScriptedServer):
    """The server, its peers and the network, for one run."""

    def __init__(self, cell: Cell, nursery: trio.Nursery) -> None:
        super().__init__()
        self.cell = cell
        self.observed = Observed(cell, "virtual")
        self.media = FaultyMedia(self)
        self.rest = Calls(self)
        self.tokens: set[str] = set()
        self.held: set[int] = set()
        self._nursery = nursery
        self._armed = cell.policy != "again"
        self._instead: dict[str, str] = {}
        self._down_until = 0.0
        self._gone_at: float | None = None  # when the WebSocket ended abnormally
        self._typed = ""
        self._strike_at: int | None = None
        self._closing = False
        self._has_peer = False
        self._late_offers: list[float] = []
        self.answered = trio.Event()
        for event, step in {"signal/request": "offer", "signal/answer": "candidates"}.items():
            self.on[event] = self._struck_before(step, self.on[event])
        self.on["signal/video"] = self._video_switched
        self.media.on_input = self._input

    # -- where the client is

    def at(self, step: str) -> None:
        """The client has come to a step."""
        if step == self.cell.step and self._armed:
            self.strike()

    def _struck_before(
        self, step: str, act: Callable[[requests.ClientRequest], None]
    ) -> Callable[[requests.ClientRequest], None]:
        def received(request: requests.ClientRequest) -> None:
            if step == "offer":
                self.observed.offers += 1
                self.answered = trio.Event()
                self._silence_peers()  # a new request replaces the peer
                self._has_peer = True
            else:
                self.answered.set()
            self.at(step)
            if trio.current_time() >= self._down_until:
                act(request)

        return received

    def _video_switched(self, request: requests.ClientRequest) -> None:
        assert isinstance(request, requests.SignalVideo)
        on = request.disabled is False
        if on:
            self.at("video_enable")
        elif self._closing:
            self.at("closing")
        if self._has_peer:  # without one it is silent
            self._video(request)
        if on:
            self.at("first_frame")

    def _input(self, message: data_channel.ClientMessage) -> None:
        if self.host != SESSION_ID:
            return
        match message:
            case data_channel.KeyDown(keysym=keysym):
                self.held.add(keysym)
                self._typed += char_of_keysym(keysym) or ""
                if self._strike_at is not None and len(self._typed) >= self._strike_at and self._armed:
                    self.strike()
            case data_channel.KeyUp(keysym=keysym):
                self.held.discard(keysym)
            case _:
                pass

    # -- the rig's side of the program

    def typed(self) -> str:
        return self._typed

    def strike_when_typed(self, characters: int) -> None:
        self._strike_at = characters

    def break_link(self) -> None:
        self._armed = True
        self.end(1006)

    def expect_closing(self) -> None:
        self._closing = True

    async def renegotiate(self, session: neko_trio.Session) -> None:
        self.send(events.SignalOffer(sdp=OFFER))

    def strike(self) -> None:
        """Let the cell's fault happen, once."""
        if self.observed.struck_at is not None:
            return
        self.observed.struck_at = trio.current_time()
        fault = self.cell.fault
        if fault.startswith("close_"):
            self.end(int(fault.removeprefix("close_")))
        elif fault.startswith("disconnect_"):
            self._say_why(fault.removeprefix("disconnect_"))
        else:
            _DEEDS[fault](self)

    # -- what may happen

    @property
    def socket(self) -> FaultySocket:
        assert isinstance(self._socket, FaultySocket)
        return self._socket

    def end(self, code: int = 1006, reason: str = "") -> None:
        """As the real one: the socket goes at once, and with an abnormal end the session has some grace."""
        if self._gone_at is None:
            self._gone_at = trio.current_time()
        if code in (1000, 1001):
            self.leave()
        super().end(code, reason)

    def leave(self) -> None:
        """The session is known to have gone: it is host no longer, and its keys are let go."""
        if self.host == SESSION_ID:
            self.host = None
            self.held.clear()

    def _say_why(self, name: str) -> None:
        self.send(events.SystemDisconnect(message=REASONS[name]))
        if name in ("session_not_found", "deleted"):
            self.tokens.clear()
            self.leave()
            self._silence_peers()
        self.end(1006)

    def stall(self, seconds: float) -> None:
        socket = self.socket
        socket.to_client.shut()
        socket.to_server.shut()

        async def go_on() -> None:
            await trio.sleep(seconds)
            socket.to_client.reopen()
            socket.to_server.reopen()

        if seconds < HANG:
            self._nursery.start_soon(go_on)

    def trickle(self) -> None:
        self._nursery.start_soon(self.socket.to_client.trickle)
        self.socket.to_client.shut()

    def duplicate(self) -> None:
        self.socket.to_client.copies = 2

    def reorder_candidates(self) -> None:
        texts = [CANDIDATE.replace("192.0.2.1", f"192.0.2.{number}") for number in range(9, 0, -1)]
        for text in ["", *texts, *texts]:
            self.send(events.SignalCandidate(candidate=text, sdp_mid="0", sdp_mline_index=0, username_fragment=None))

    def delay_offer(self, seconds: float) -> None:
        self._late_offers.append(seconds)

    def withdraw(self) -> None:
        self.send(events.SignalClose())
        if self.cell.step not in BEFORE_THE_OFFER:
            self._silence_peers()

    def end_peer(self) -> None:
        peer = self.media.peers[-1]
        self._silence_peers()
        peer.end("the server closed it (DTLS)")
        self.send(events.SignalClose())

    def silence_peer(self) -> None:
        self._silence_peers()
        offers, socket = self.observed.offers, self._socket

        async def notice() -> None:
            await trio.sleep(SILENCE)
            if self.observed.offers == offers and self._socket is socket:
                self.send(events.SignalClose())

        self._nursery.start_soon(notice)

    def _silence_peers(self) -> None:
        self._has_peer = False
        for peer in self.media.peers:
            if peer.deaf_since is None:
                peer.deaf_since = trio.current_time()
        self.video.set(disabled=True, stream=self.video.stream)

    def restart(self, *, forgotten: bool) -> None:
        self._down_until = trio.current_time() + DOWN
        self._silence_peers()
        self.host = None
        self.held.clear()
        self.unanswered = 0
        if forgotten:
            self.tokens.clear()
        self.end(1006)

    def refuse_when_down(self) -> None:
        if trio.current_time() < self._down_until:
            raise ServerUnreachable("nobody listens", step="dial")

    def say(self, *texts: str | bytes) -> None:
        for text in texts:
            self.socket.deliver(text)

    def say_wrong_types(self) -> None:
        awaited = messages.AWAITED.get(self.cell.step)
        if awaited is None:
            self.say(*messages.WRONG_TYPES)
        else:
            event: str = msgspec.json.decode(awaited)["event"]
            self._instead[event] = awaited

    def say_data(self) -> None:
        for peer in self.media.open_peers:
            for data in messages.GARBAGE_DATA:
                peer.setup.on_data(data)

    # -- how it serves

    def send(self, event: events.ServerEvent) -> None:
        instead = self._instead.pop(event.event, None)
        if instead is not None:
            self.send_text(instead)
        elif isinstance(event, events.SignalProvide) and self._late_offers:
            self._nursery.start_soon(self._send_late, event, self._late_offers.pop())
        else:
            super().send(event)

    async def _send_late(self, offer: events.SignalProvide, seconds: float) -> None:
        await trio.sleep(seconds)
        super().send(offer)

    def wiring(self, media: Media, *, token: bool = False) -> Wiring:
        async def login() -> Credential:
            await trio.lowlevel.checkpoint()
            self.refuse_when_down()
            self.observed.logins += 1
            credential = Credential.bearer(f"scripted-{self.observed.logins}")
            self.tokens.add(_token(credential))
            return credential

        async def logout(credential: Credential) -> None:
            await trio.lowlevel.checkpoint()
            self.refuse_when_down()
            self.tokens.discard(_token(credential))
            self.unanswered = 0
            self.leave()

        def dial(credential: Credential, *_: object) -> Any:
            return self._dial_with(_token(credential))

        return replace(super().wiring(media), login=login, logout=logout, dial=dial)

    @asynccontextmanager
    async def _dial_with(self, token: str) -> AsyncIterator[FaultySocket]:
        await trio.lowlevel.checkpoint()
        self.refuse_when_down()
        self.observed.dials += 1
        socket = FaultySocket(self)
        self._socket = socket
        self.connections += 1
        if self._gone_at is not None and trio.current_time() - self._gone_at >= GRACE:
            self.leave()
        self._gone_at = None
        if token not in self.tokens:
            self._say_why("session_not_found")
        else:
            self.at("init")
            assert self.init is not None
            hosting = events.ControlHostInfo(id="", has_host=self.host is not None, host_id=self.host)
            self.send(msgspec.structs.replace(self.init, control_host=hosting))
            self.at("request")
        try:
            yield socket
        finally:
            self.connections -= 1
            if self._socket is socket:
                self._socket = None
            with trio.CancelScope(shield=True):  # one checkpoint, no wait
                await socket.aclose()

    def left_behind(self) -> list[str]:
        """What is left when the session's block has ended."""
        left = [f"held keys {self.held}"] if self.held else []
        if self.connections:
            left.append(f"{self.connections} WebSockets")
        if self.tokens and trio.current_time() >= self._down_until:
            left.append(f"sessions at the server: {sorted(self.tokens)}")
        if self.media.open_peers:
            left.append("peer connections")
        if self.media.leases:
            left.append("leases of the media thread")
        if self.unanswered and self.tokens:
            left.append("an unanswered offer at the server")
        return left


def _token(credential: Credential) -> str:
    ((_name, value),) = credential.headers()
    return value


class FaultyMedia(FakeMedia):
    """Peers whose steps the server knows of, and that connect when it has had the answer."""

    def __init__(self, server: FaultyServer) -> None:
        super().__init__(rate=25)
        self._server = server

    @asynccontextmanager
    async def open_peer_connection(self, setup: Any) -> AsyncIterator[Any]:
        async with super().open_peer_connection(setup) as peer:
            yield _Stepping(peer, self._server)


class _Stepping:
    """A :class:`FakePeer` that takes its time over each step, and tells which it is at."""

    def __init__(self, peer: FakePeer, server: FaultyServer) -> None:
        self._peer, self._server = peer, server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._peer, name)

    async def set_remote_description(self) -> None:
        self._server.at("remote_description")
        await trio.sleep(STEP_TIME)
        await self._peer.set_remote_description()

    async def set_local_description(self) -> str:
        self._server.at("answer")
        await trio.sleep(STEP_TIME)
        return await self._peer.set_local_description()

    async def wait_connected(self) -> None:
        self._server.at("ice")
        await self._server.answered.wait()
        await trio.sleep(STEP_TIME)
        self._server.at("dtls")
        await trio.sleep(STEP_TIME)
        if self._peer.deaf_since is not None:
            await trio.sleep_forever()
        await self._peer.wait_connected()

    async def renegotiate(self, sdp: str) -> str:
        self._server.at("renegotiation")
        await trio.sleep(STEP_TIME)
        return await self._peer.renegotiate(sdp)


_DEEDS: dict[str, Callable[[FaultyServer], None]] = {
    "reset": lambda server: server.end(1006),
    "fin": lambda server: server.end(1006),
    "cut": lambda server: server.end(1006),
    "garbage_raw": lambda server: server.end(1002),
    "message_40mb": lambda server: server.end(1009),
    "half_open": lambda server: server.stall(HANG),
    "stall_short": lambda server: server.stall(STALL),
    "stall_long": lambda server: server.stall(LONG_STALL),
    "trickle": FaultyServer.trickle,
    "duplicate": FaultyServer.duplicate,
    "reordered_candidates": FaultyServer.reorder_candidates,
    "late_offer": lambda server: server.delay_offer(2.0),
    "too_late_offer": lambda server: server.delay_offer(LIMITS.connect_timeout + 0.5),
    "second_offer": lambda server: server.send(server.offer()),
    "signal_offer": lambda server: server.send(events.SignalOffer(sdp=OFFER)),
    "signal_restart": lambda server: server.say(messages.message("signal/restart", {"sdp": OFFER})),
    "offer_withdrawn": FaultyServer.withdraw,
    "message_20mb": lambda server: server.say(messages.large(20)),
    "garbage_text": lambda server: server.say(*messages.GARBAGE_TEXT),
    "garbage_binary": lambda server: server.say(*messages.GARBAGE_BINARY),
    "garbage_data": FaultyServer.say_data,
    "wrong_types": FaultyServer.say_wrong_types,
    "restart_kept": lambda server: server.restart(forgotten=False),
    "restart_forgotten": lambda server: server.restart(forgotten=True),
    "peer_loud": FaultyServer.end_peer,
    "peer_silent": FaultyServer.silence_peer,
}


def run(cell: Cell, *, seed: int = 0) -> Observed:
    """Run one cell, in a trio run of its own. In which order tasks run that could run at once depends on ``seed``."""
    with deterministic(seed):
        return trio.run(_run, cell, clock=MockClock(autojump_threshold=0))


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Trio's scheduler is random by design; here it is the same each time."""
    flag, state = _run_module._ALLOW_DETERMINISTIC_SCHEDULING, _run_module._r.getstate()
    setattr(_run_module, "_ALLOW_DETERMINISTIC_SCHEDULING", True)  # noqa: B010 - declared Final, and made to be set by tests
    _run_module._r.seed(seed)
    try:
        yield
    finally:
        setattr(_run_module, "_ALLOW_DETERMINISTIC_SCHEDULING", flag)  # noqa: B010 - see above
        _run_module._r.setstate(state)


async def _run(cell: Cell) -> Observed:
    async with trio.open_nursery() as nursery:
        server = FaultyServer(cell, nursery)
        options = checked_options(
            password="scripted",
            token=None,
            video="on_demand" if cell.step == "on_demand" else "live",
            audio=False,
            stream=None,
            ice=None,
            reconnect=None if cell.policy == "off" else True,
            connect_timeout=LIMITS.connect_timeout,
            close_timeout=LIMITS.close_timeout,
        )
        observed = server.observed
        with trio.move_on_after(HANG) as scope:
            await play(server, lambda: run_session(server.wiring(server.media), options))
        observed.hung = scope.cancelled_caught
        observed.left_behind += server.left_behind()
        nursery.cancel_scope.cancel()
    return observed
