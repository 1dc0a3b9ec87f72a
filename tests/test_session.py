"""The session's life, on scripted signaling: what it yields, how it ends, and that no wait outlives it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import neko_trio
from neko_trio._ports.budget import HURRY
from neko_trio.errors import (
    InvalidInput,
    Kicked,
    MediaThreadLost,
    NekoError,
    ServerUnreachable,
    SessionClosed,
    SessionLost,
    VideoOff,
)
from neko_trio.events import ControlHost, Dropped
from neko_trio.protocol import data_channel, events, requests
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session
from neko_trio.testing._scripted import SESSION_ID
from tests.pictures import frame


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


async def test_it_yields_connected_and_leaves_nothing(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = FakeMedia()
    async with open_scripted_session(server, media) as session:
        assert session.epoch == 1
        assert session.state.session_id == SESSION_ID
        assert "connected" in session.timeline
        assert (media.leases, server.connections, len(media.open_peers)) == (1, 1, 1)
    assert (media.leases, server.connections, len(media.open_peers)) == (0, 0, 0)
    assert (server.logins, server.logouts) == (1, 1)
    assert server.close_codes == [1000]


async def test_a_callers_token_stays_valid(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, FakeMedia(), token=True) as session:
        assert "login" not in session.timeline
    assert server.logouts == 0


async def test_without_video_there_is_no_peer(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = FakeMedia()
    async with open_scripted_session(server, media, video="off") as session:
        assert session.epoch == 0
        assert media.peers == []
        assert media.leases == 0
        with pytest.raises(VideoOff):
            await session.screen.frame()
        async with session.control():
            await session.mouse.click(3, 4)
            await session.flush()
    assert [request.event for request in server.requests[:5]] == [
        "control/request",
        "send/unicast",
        "control/move",
        "control/buttondown",
        "control/buttonup",
    ]


async def test_the_bodys_error_leaves_bare(autojump_clock: MockClock, server: ScriptedServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_scripted_session(server, FakeMedia()):
            raise ZeroDivisionError
    assert server.logouts == 1


async def test_an_interrupt_leaves_bare(autojump_clock: MockClock, server: ScriptedServer) -> None:
    with pytest.raises(KeyboardInterrupt):
        async with open_scripted_session(server, FakeMedia()):
            raise KeyboardInterrupt
    assert server.logouts == 1


LOSSES: dict[str, tuple[Any, type[BaseException]]] = {
    "kicked": (lambda server, media: server.send(events.SystemDisconnect(message="session deleted")), Kicked),
    "socket": (lambda server, media: server.end(1006), ServerUnreachable),
    "peer": (lambda server, media: media.peers[0].end("no consent"), SessionLost),
    "signal/close": (lambda server, media: server.send(events.SignalClose()), SessionLost),
    "thread": (lambda server, media: media.lost.set(), MediaThreadLost),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_loss_cancels_the_body_and_ends_every_wait(
    autojump_clock: MockClock, server: ScriptedServer, loss: str
) -> None:
    """Whoever waits, wherever it waits, on whatever: one error of its own, at once."""
    media = FakeMedia()
    lose, cause = LOSSES[loss]
    ended: list[str] = []
    sessions: list[neko_trio.Session] = []

    async def wait_on(name: str, session: neko_trio.Session) -> None:
        with pytest.raises(SessionLost):
            match name:
                case "frame":
                    await session.screen.frame()
                case "frames":
                    async with session.screen.frames() as frames:
                        await anext(frames)
                case "state":
                    await session.wait_state(lambda state: state.is_host)
                case "events":
                    async with session.events("none/*") as seen:
                        await anext(seen)
        ended.append(name)

    started = trio.current_time()
    async with trio.open_nursery() as outside:
        with pytest.raises(SessionLost) as caught:
            async with open_scripted_session(server, media) as session:
                sessions.append(session)
                for name in ("frame", "frames", "state", "events"):
                    outside.start_soon(wait_on, name, session)
                await trio.testing.wait_all_tasks_blocked()
                lose(server, media)
                await trio.sleep_forever()
    error = caught.value
    assert isinstance(error, cause) or isinstance(error.__cause__, cause)
    assert sorted(ended) == ["events", "frame", "frames", "state"]
    assert trio.current_time() - started < 2.5
    assert (media.leases, server.connections, len(media.open_peers)) == (0, 0, 0)
    with pytest.raises(SessionLost):
        await sessions[0].send_event("x/y")


async def test_after_the_block_everything_is_closed(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, FakeMedia()) as session:
        pass
    calls: list[Callable[[], Awaitable[object]]] = [
        session.screen.frame,
        lambda: session.wait_state(lambda state: True),
        lambda: session.send_event("a/b", {}),
        session.flush,
        lambda: session.mouse.move(1, 1),
        lambda: session.keyboard.press("a"),
    ]
    for call in calls:
        with pytest.raises(SessionClosed):
            await call()
    with pytest.raises(SessionClosed):
        async with session.control():
            pass
    with pytest.raises(SessionClosed):
        async with session.events() as seen:
            await anext(seen)
    # What was known stays readable.
    assert session.state.session_id == SESSION_ID
    assert session.statistics().messages_sent > 0


async def test_a_sibling_that_waits_is_told_of_the_close(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with trio.open_nursery() as nursery:

        async def sibling(session: neko_trio.Session) -> None:
            with pytest.raises(SessionClosed):
                await session.screen.frame()

        async with open_scripted_session(server, FakeMedia()) as session:
            nursery.start_soon(sibling, session)
            await trio.testing.wait_all_tasks_blocked()


async def test_the_close_goes_in_one_order(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """Held keys up, flush, host role back, then peer and socket, then logout."""
    media = FakeMedia()
    order: list[str] = []

    def release(_request: requests.ClientRequest) -> None:
        order.append("release")
        server.give_host(None)

    server.on["control/release"] = release
    async with open_scripted_session(server, media) as session:
        entered = session.control()
        await entered.__aenter__()
        peer = media.peers[0]
        await session.mouse.down(5, 5)
        await entered.__aexit__(None, None, None)
        order.append("body")
    assert isinstance(peer.inputs[-1], data_channel.ButtonUp)
    assert order == ["release", "body"]
    assert server.close_codes == [1000]
    assert server.logouts == 1


async def test_the_goodbye_is_bounded(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """A server that confirms nothing any more costs the close its budget, not more."""
    server.delays["logout"] = 1000
    server.on["control/release"] = lambda _request: None
    server.on["send/unicast"] = lambda request: None if silent else server._unicast(request)
    silent = False
    started = 0.0
    with pytest.raises(NekoError):
        async with (
            open_scripted_session(server, FakeMedia(data_channel=False), close_timeout=2) as session,
            session.control(),
        ):
            await session.mouse.click(1, 1)
            silent = True
            started = trio.current_time()
    assert trio.current_time() - started <= 2 + HURRY + 0.1  # control()'s own bound, then there is no more to wait for


async def test_events_are_typed_bounded_and_counted(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, FakeMedia()) as session:
        async with session.events("control/*", buffer=2) as seen:
            for _ in range(4):
                server.give_host("other-1")
            server.send(events.UnknownEvent(event="new/thing", payload={"a": 1}))
            await trio.testing.wait_all_tasks_blocked()
            assert await anext(seen) == Dropped(2)
            assert isinstance(await anext(seen), ControlHost)
        with pytest.raises(InvalidInput):
            async with session.events(buffer=0):
                pass


async def test_the_state_follows_the_events(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, FakeMedia()) as session:
        before = session.state
        server.give_host("other-1")
        server.send(events.ScreenUpdated(id="x", width=800, height=600, rate=25))
        state = await session.wait_state(lambda state: state.screen.width == 800)
        assert state.host == "other-1"
        assert not state.is_host
        assert state.revision > before.revision
        assert before.screen.width == 1280


async def test_anything_can_be_sent(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, FakeMedia()) as session:
        await session.send_event("custom/thing", {"a": [1, None]})
        await session.send_event("bare/thing")
        with pytest.raises(InvalidInput):
            await session.send_event("bad/thing", object())
    custom, bare = (request for request in server.requests if request.event.endswith("/thing"))
    assert custom.event == "custom/thing"
    assert bare.event == "bare/thing"


async def test_a_heartbeat_keeps_proxies_open(autojump_clock: MockClock, server: ScriptedServer) -> None:
    from neko_trio.testing._scripted import system_init

    server.init = system_init(settings=events.Settings(heartbeat_interval=10))
    async with open_scripted_session(server, FakeMedia()):
        await trio.sleep(35)
    assert len(server.got(requests.ClientHeartbeat)) == 3


async def test_frames_are_numbered_and_know_their_session(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = FakeMedia()
    async with open_scripted_session(server, media) as session:
        peer = media.peers[0]
        peer.show(frame(peer.setup))
        first = await session.screen.frame()
        assert (first.number, first.epoch, first.screen_size, first.stream) == (1, 1, (1280, 720), "main")
        peer.show(frame(peer.setup))
        assert (await session.screen.frame(newer_than=first)).number == 2
        async with open_scripted_session(ScriptedServer(), FakeMedia()) as other:
            with pytest.raises(InvalidInput):
                await other.screen.frame(newer_than=first)
    assert first.to_ndarray().shape == (48, 64, 3)


async def test_statistics_subtract(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = FakeMedia()
    async with open_scripted_session(server, media) as session:
        await trio.testing.wait_all_tasks_blocked()
        before = session.statistics()
        media.peers[0].show(frame(media.peers[0].setup))
        await session.send_event("a/b")
        gone = session.statistics() - before
        assert (gone.frames_shown, gone.messages_sent, gone.epoch) == (1, 1, 1)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "password"),
    ({"password": "x", "token": "y"}, "exactly one"),
    ({"token": ""}, "token"),
    ({"password": "x", "video": "on"}, "video"),
    ({"password": "x", "linger": -1}, "linger"),
    ({"password": "x", "linger": math.inf}, "linger"),
    ({"password": "x", "audio": "yes"}, "audio="),
    ({"password": "x", "reconnect": object()}, "Reconnect"),
    ({"password": "x", "connect_timeout": 0}, "connect_timeout"),
    ({"password": "x", "close_timeout": math.nan}, "close_timeout"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
async def test_wrong_options_are_told_before_anything_is_dialled(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        async with neko_trio.open_session("http://127.0.0.1:9", username="u", **options):
            pass


async def test_a_jumping_clock_is_refused(autojump_clock: MockClock) -> None:
    with pytest.raises(InvalidInput, match="FakePeer"):
        async with neko_trio.open_session("http://127.0.0.1:9", username="u", password="p"):
            pass


async def test_a_secret_is_in_no_repr(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, FakeMedia()) as session:
        assert "scripted" not in repr(session)
        assert "scripted" not in repr(server.wiring(FakeMedia()))
