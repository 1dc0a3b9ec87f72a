"""The core under attack in virtual time: races, a talkative close, errors in the goodbye, interrupts, wild bodies."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import outcome
import pytest
import trio
from trio.testing import MockClock

import neko_trio
from neko_trio._ports.budget import HURRY
from neko_trio._ports.bus import EventBus
from neko_trio._services import open_services
from neko_trio.errors import (
    ConnectTimeout,
    Kicked,
    NekoError,
    ProtocolViolation,
    ServerUnreachable,
    SessionClosed,
    SessionLost,
)
from neko_trio.protocol import events, requests
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session
from neko_trio.testing._scripted import SESSION_ID, ScriptedSocket, system_init


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


# -- races


async def test_a_deadline_that_passes_at_the_last_step_is_no_session(
    autojump_clock: MockClock, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last send has ended, and before its task runs again the deadline passes: what yields now would be dead."""
    clock = autojump_clock
    send = ScriptedSocket.send

    async def slow(socket: ScriptedSocket, *texts: str) -> None:
        await send(socket, *texts)
        if not any("signal/video" in text for text in texts):
            return
        done = trio.Event()

        async def late() -> None:
            await trio.lowlevel.checkpoint()
            done.set()
            clock.jump(100)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(late)
            await done.wait()

    monkeypatch.setattr(ScriptedSocket, "send", slow)
    with pytest.raises(NekoError) as caught:
        async with open_scripted_session(server, FakeMedia()) as session:
            with trio.fail_after(5):
                await session.screen.frame()
    assert isinstance(caught.value, ConnectTimeout), repr(caught.value)
    assert server.connections == 0


def refuse_behind_others(server: ScriptedServer) -> None:
    """The reason is the last of several messages, and the socket has ended before the first of them is read."""
    for number in range(8):
        server.send(events.UnknownEvent(event="a/b", payload=number))
    server.send(events.SystemDisconnect(message="session deleted"))
    server.end()


async def test_who_sends_at_the_end_hears_the_servers_reason(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """The reason is on its way when a send fails: it is told, not the bare loss of the socket."""
    with pytest.raises(SessionLost) as caught:
        async with open_scripted_session(server, FakeMedia()) as session:
            refuse_behind_others(server)
            await session.send_event("x/y")
    assert isinstance(caught.value.__cause__, Kicked), repr(caught.value.__cause__)


async def test_a_heartbeat_into_a_dead_socket_does_not_hide_the_reason(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    server.init = system_init(settings=events.Settings(heartbeat_interval=1))
    server.on["client/heartbeat"] = lambda _request: refuse_behind_others(server)
    send = ScriptedSocket.send

    async def send_twice(socket: ScriptedSocket, *texts: str) -> None:
        await send(socket, *texts)
        if any("client/heartbeat" in text for text in texts):
            await send(socket, *texts)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SessionLost) as caught:
        patch.setattr(ScriptedSocket, "send", send_twice)
        async with open_scripted_session(server, FakeMedia()):
            await trio.sleep(3)
    assert isinstance(caught.value.__cause__, Kicked), repr(caught.value.__cause__)


async def test_tasks_that_share_a_subscription_all_end(autojump_clock: MockClock, server: ScriptedServer) -> None:
    ended = 0

    async def observe(seen: Any) -> None:
        nonlocal ended
        with pytest.raises(SessionClosed):
            async for _ in seen:
                pass
        ended += 1

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            async with open_scripted_session(server, FakeMedia()) as session:
                entered = session.events("control/*")
                seen = await entered.__aenter__()
                for _ in range(3):
                    nursery.start_soon(observe, seen)
                await trio.testing.wait_all_tasks_blocked()
            await trio.testing.wait_all_tasks_blocked()
            await entered.__aexit__(None, None, None)
    assert ended == 3


async def test_each_waiting_task_gets_an_event_of_its_own(autojump_clock: MockClock) -> None:
    bus: EventBus[int] = EventBus()
    got: list[object] = []
    with bus.subscribe("*", 8) as seen:

        async def take() -> None:
            got.append(await anext(seen))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            bus.publish("a", 1)
            bus.publish("a", 2)
    assert sorted(map(str, got)) == ["1", "2"]


@pytest.mark.parametrize("loss", ["peer", "socket"])
async def test_a_loss_is_told_before_the_logout_that_may_hang(
    autojump_clock: MockClock, server: ScriptedServer, loss: str
) -> None:
    """Nobody acts on a dead session for as long as its goodbye takes; the block still ends after the goodbye."""
    media = FakeMedia()
    server.delays["logout"] = 1000
    told: list[float] = []
    started = 0.0

    async def wait(session: neko_trio.Session) -> None:
        with pytest.raises(SessionLost):
            await session.screen.frame()
        told.append(trio.current_time() - started)

    async with trio.open_nursery() as nursery:
        with pytest.raises(SessionLost):
            async with open_scripted_session(server, media, close_timeout=2) as session:
                nursery.start_soon(wait, session)
                await trio.testing.wait_all_tasks_blocked()
                started = trio.current_time()
                if loss == "peer":
                    media.peers[0].end("no consent")
                else:
                    server.end()
                try:
                    await trio.sleep_forever()
                finally:
                    told.append(trio.current_time() - started)
        # The loss has cancelled the block, and from the server nothing is heard.
        assert trio.current_time() - started == pytest.approx(HURRY, abs=0.01)
    assert told == [pytest.approx(0, abs=0.01)] * 2
    assert (media.leases, server.connections, server.logouts) == (0, 0, 1)


# -- the server at the close


def provoke(server: ScriptedServer, what: str) -> None:
    match what:
        case "close":
            server.send(events.SignalClose())
        case "disconnect":
            server.send(events.SystemDisconnect(message="session deleted"))
        case "end":
            server.end()
        case "host":
            server.give_host("other-1")
        case "init":
            server.send(system_init())
        case "offer":
            server.send(server.offer())
        case "garbage":
            server.send_text("{bad")


@pytest.mark.parametrize("what", ["close", "disconnect", "end", "host", "init", "offer", "garbage"])
@pytest.mark.parametrize("at", ["control/release", "peer", "socket", "logout"])
@pytest.mark.parametrize("body", [None, KeyError("mine")], ids=["well", "error"])
async def test_whatever_the_server_says_during_the_close(
    autojump_clock: MockClock,
    server: ScriptedServer,
    what: str,
    at: str,
    body: Exception | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The body has ended: its own outcome leaves, not the server's words of after it, and all of it is closed."""
    media = FakeMedia()

    def release(_request: requests.ClientRequest) -> None:
        server.give_host(None)
        if at == "control/release":
            provoke(server, what)

    server.on["control/release"] = release
    closing = ScriptedSocket.aclose

    async def close_socket(socket: ScriptedSocket, code: int = 1000) -> None:
        if at == "socket":
            provoke(server, what)
        await closing(socket, code)

    monkeypatch.setattr(ScriptedSocket, "aclose", close_socket)
    async with trio.open_nursery() as nursery:
        if at == "logout":
            server.delays["logout"] = 0.5

            async def late() -> None:
                await trio.sleep(0.25)
                assert server.logouts == 1
                provoke(server, what)

            nursery.start_soon(late)

        async def play() -> None:
            async with open_scripted_session(server, media) as session:
                if at == "peer":
                    peer = media.peers[0]
                    close_peer = peer.aclose

                    async def and_close() -> None:
                        provoke(server, what)
                        await close_peer()

                    monkeypatch.setattr(peer, "aclose", and_close)
                async with session.control():
                    await session.mouse.click(1, 1)
                if body is not None:
                    raise body

        result = await outcome.acapture(play)
    if body is not None:
        assert isinstance(result, outcome.Error)
        assert result.error is body or isinstance(result.error, NekoError)
        assert result.error is body or at == "control/release", repr(result)
    elif at != "control/release":
        result.unwrap()
    assert server.logouts == 1
    assert (media.leases, server.connections, len(media.open_peers)) == (0, 0, 0)


# -- errors in the goodbye


@pytest.mark.parametrize("error", [ServerUnreachable("gone"), SessionLost("gone")])
async def test_an_error_of_the_goodbye_does_not_replace_the_bodys(
    autojump_clock: MockClock, server: ScriptedServer, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = FakeMedia()

    async def fail(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    with pytest.raises(ZeroDivisionError) as caught:
        async with open_scripted_session(server, media):
            close = media.peers[0].aclose

            async def fail_once() -> None:
                await close()
                raise error

            monkeypatch.setattr(media.peers[0], "aclose", fail_once)
            raise ZeroDivisionError
    assert not isinstance(caught.value, BaseExceptionGroup)
    assert server.connections == 0
    assert server.logouts == 1


# -- Ctrl-C where nobody could protect the task


class Interrupting:
    """A library's own nursery, one of whose tasks is struck by Ctrl-C."""

    @staticmethod
    async def task() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    async def wait(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.task)
            nursery.start_soon(trio.sleep_forever)


async def test_an_interrupt_in_a_service_leaves_bare() -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        async with open_services() as services:
            services.start_soon(Interrupting().wait)
            await trio.sleep_forever()
    assert type(caught.value) is KeyboardInterrupt


async def test_an_interrupt_goes_before_what_else_has_failed() -> None:
    with pytest.raises(KeyboardInterrupt):
        async with open_services() as services:
            services.start_soon(Interrupting().wait)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("body")


@pytest.mark.parametrize("step", ["login", "dial", "set_remote_description", "wait_connected", "logout"])
async def test_an_interrupt_in_a_librarys_task_leaves_the_session_bare(
    autojump_clock: MockClock, server: ScriptedServer, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = FakeMedia()
    struck = False
    sleep = trio.sleep

    async def strike(seconds: float) -> None:
        nonlocal struck
        if seconds == 123 and not struck:
            struck = True
            await Interrupting().wait()
        await sleep(0 if seconds == 123 else seconds)

    server.delays[step] = media.delays[step] = 123
    monkeypatch.setattr(trio, "sleep", strike)
    with pytest.raises(KeyboardInterrupt) as caught:
        async with open_scripted_session(server, media, connect_timeout=1000):
            pass
    assert struck
    assert type(caught.value) is KeyboardInterrupt
    assert (media.leases, server.connections, len(media.open_peers)) == (0, 0, 0)


# -- bodies that misbehave


async def test_a_body_that_swallows_its_cancellation_is_told_all_the_same(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    with pytest.raises(SessionLost) as caught:
        async with open_scripted_session(server, FakeMedia()):
            server.send(events.SystemDisconnect(message="session deleted"))
            with suppress(BaseException):
                await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, Kicked)


async def test_a_body_that_turns_its_cancellation_into_an_error_keeps_it(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    with pytest.raises(KeyError) as caught:
        async with open_scripted_session(server, FakeMedia()):
            server.send(events.SystemDisconnect(message="session deleted"))
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("mine")
    assert "SessionLost" in caught.value.__notes__[0]


async def test_a_session_inside_a_generator(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """Closed where it was opened, a generator around a session is as good as the session."""

    async def states() -> AsyncIterator[neko_trio.State]:
        async with open_scripted_session(server, FakeMedia()) as session:
            while True:
                yield session.state

    @asynccontextmanager
    async def closing(generator: Any) -> AsyncIterator[Any]:
        try:
            yield generator
        finally:
            await generator.aclose()

    async with closing(states()) as generator:
        async for state in generator:
            assert state.session_id == SESSION_ID
            break
    assert (server.connections, server.logouts) == (0, 1)


async def test_sessions_side_by_side_live_and_die_alone(autojump_clock: MockClock) -> None:
    servers = [ScriptedServer(), ScriptedServer(), ScriptedServer()]
    ends: list[str] = []

    async def play(server: ScriptedServer, deed: Callable[[ScriptedServer], Awaitable[None]]) -> None:
        try:
            async with open_scripted_session(server, FakeMedia()) as session:
                await deed(server)
                await session.flush()
                ends.append("well")
        except SessionLost:
            ends.append("lost")
        except ZeroDivisionError:
            ends.append("error")

    async def live(_server: ScriptedServer) -> None:
        await trio.sleep(10)

    async def die(server: ScriptedServer) -> None:
        server.end()
        await trio.sleep(10)

    async def fail(_server: ScriptedServer) -> None:
        raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        for server, deed in zip(servers, (live, die, fail), strict=True):
            nursery.start_soon(play, server, deed)
    assert sorted(ends) == ["error", "lost", "well"]


async def test_a_second_init_of_another_session_is_a_violation(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    """Barriers are addressed to the session's id: a wait on one would have no end."""
    other = system_init()
    info = events.SessionInfo(
        id="other", profile=other.sessions[SESSION_ID].profile, state=other.sessions[SESSION_ID].state
    )
    renamed = events.SystemInit(
        session_id="other",
        control_host=other.control_host,
        screen_size=other.screen_size,
        sessions={"other": info},
        settings=other.settings,
        touch_events=False,
        screencast_enabled=False,
        webrtc=other.webrtc,
    )
    with pytest.raises(SessionLost) as caught:
        async with open_scripted_session(server, FakeMedia()):
            server.send(renamed)
            await trio.sleep(5)
    assert isinstance(caught.value.__cause__, ProtocolViolation)


async def test_the_traceback_of_a_loss_tells_of_no_group(autojump_clock: MockClock, server: ScriptedServer) -> None:
    with pytest.raises(SessionLost) as caught:
        async with open_scripted_session(server, FakeMedia()):
            server.send(events.SystemDisconnect(message="session deleted"))
            await trio.sleep(5)
    told = "".join(traceback.format_exception(caught.value))
    assert "Group" not in told
    assert "Cancelled" not in told
