"""Each fault with a real client session over real sockets: what it says is what goes over the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio

import neko_trio
from neko_trio.errors import InvalidInput, LoginRefused, NekoError
from neko_trio.signaling.credential import Credential
from neko_trio.signaling.rest import login
from neko_trio.signaling.url import parse_server_url
from neko_trio.signaling.web_socket import SocketEnded, WebSocket, open_web_socket
from neko_trio.simulator import Fault, Faults, Simulator, Timings, open_simulator

pytestmark = pytest.mark.real_time

QUICK = Timings(reconnect_grace=0.3, connect_limit=2.0, silence_limit=1.0)
In = AbstractAsyncContextManager[Fault]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    with trio.fail_after(60):
        async with open_simulator(size=(320, 240), timings=QUICK) as opened:
            yield opened


def session(simulator: Simulator, **options: Any) -> AbstractAsyncContextManager[neko_trio.Session]:
    return neko_trio.open_session(
        simulator.url, username="ann", password=simulator.password, connect_timeout=4, **options
    )


@asynccontextmanager
async def plain(simulator: Simulator) -> AsyncIterator[WebSocket]:
    """A logged-in WebSocket with nobody's logic behind it."""
    url = parse_server_url(simulator.url)
    mine = await login(url, "ann", simulator.password)
    async with open_web_socket(url, mine.credential) as socket:
        await heard(socket, "openinapp/init")
        yield socket


async def heard(socket: WebSocket, event: str) -> list[dict[str, Any]]:
    """The messages up to the next of this event."""
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1]["event"] != event:
        messages.append(json.loads(await socket.receive()))
    return messages


async def outcome(simulator: Simulator) -> str:
    """What becomes of a session that looks at one frame."""
    try:
        async with session(simulator) as opened:
            await opened.screen.frame()
    except NekoError as error:
        return type(error).__name__
    return "frame"


def fault(name: str, *arguments: Any, **options: Any) -> Callable[[Faults], In]:
    def made(faults: Faults) -> In:
        entered: In = getattr(faults, name)(*arguments, **options)
        return entered

    return made


SURVIVED = [
    fault("duplicate", "signal/provide"),
    fault("duplicate", "signal/candidate", copies=5),
    fault("reorder"),
    fault("postpone", "signal/provide", 0.5),
    fault("delay", "signal/provide", 0.3),
    fault("follow", "system/init", '{"event":"unknown/event"}', "{bad", b"\x00\xff"),
    fault("big_message", after="system/init"),
    fault("pad", "signal/provide"),
    fault("inject", b"\xff\x00", "[]", after="system/init"),
    fault("inject", b"are you there", opcode=9, after="system/init"),
    fault("stall", seconds=0.5, after="received signal/request"),
    fault("half_open", seconds=0.5, after="received signal/request"),
    fault("slow_calls", 0.3, path="/api/login"),
    fault("packet_loss", 0.05),
    fault("packet_delay", 0.02),
    fault("packet_reorder", 0.2),
    fault("packet_duplicate", 0.3),
]
REFUSED = [
    (fault("withhold", "signal/provide"), "NoOffer"),
    (fault("wrong_types", "signal/provide"), "ProtocolViolation"),
    (fault("drop_websockets", after="signal/provide"), "ServerUnreachable"),
    (fault("drop_websockets", reset=True, after="received signal/request"), "ServerUnreachable"),
    (fault("close_websockets", 1011, after="signal/provide"), "ServerUnreachable"),
    (fault("disconnect", "session deleted", after="signal/provide"), "Kicked"),
    (fault("half_open", after="received signal/request"), "NoOffer"),
    (fault("stall", after="received signal/request"), "NoOffer"),
    (fault("garbage", after="system/init"), "ServerUnreachable"),
    (fault("inject", b"\xff\xfe", opcode=1, after="system/init"), "ServerUnreachable"),
    (fault("withdraw_offer"), "IceFailed"),
    (fault("withdraw_offer", sent=False), "NoOffer"),
    (fault("kill_peers", after="received signal/answer"), "IceFailed"),
    (fault("kill_peers", silently=True, after="received signal/answer"), "IceFailed"),
    (fault("blackhole"), "IceFailed"),
    (fault("blackhole", direction="to_client"), "IceFailed"),
    (fault("blackhole", direction="to_server"), "IceFailed"),
    (fault("lock_logins"), "LoginRefused"),
    (fault("fail_calls", 500), "ProtocolViolation"),
    (fault("fail_calls", 502), "ServerUnreachable"),
    (fault("fail_calls", 503), "ServerUnreachable"),
    (fault("fail_calls", 502, path="/api/ws"), "ServerUnreachable"),
    (fault("hang_calls", path="/api/login"), "ConnectTimeout"),
    (fault("drop_calls"), "ServerUnreachable"),
    (fault("drop_calls", after=30, reset=True, path="/api/login"), "ServerUnreachable"),
    (fault("garble_calls", path="/api/login"), "NotNeko"),
]


@pytest.mark.parametrize("made", SURVIVED)
async def test_a_session_comes_through(simulator: Simulator, made: Callable[[Faults], In]) -> None:
    async with made(simulator.faults) as struck:
        assert await outcome(simulator) == "frame"
        assert struck.hits > 0
    assert await outcome(simulator) == "frame"


@pytest.mark.parametrize(("made", "error"), REFUSED)
async def test_a_session_is_refused_and_the_next_one_is_not(
    simulator: Simulator, made: Callable[[Faults], In], error: str
) -> None:
    async with made(simulator.faults) as struck:
        assert await outcome(simulator) == error
        assert struck.hits > 0
    assert await outcome(simulator) == "frame"


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 1008, 1011, 1012, 4000])
async def test_close_frames_with_each_code(simulator: Simulator, code: int) -> None:
    async with plain(simulator) as socket:
        async with simulator.faults.close_websockets(code, "bye"):
            with pytest.raises(SocketEnded) as ended:
                await heard(socket, "never")
        assert ended.value.code == code
        # The server behind the proxy sees a connection lost, so the session has its grace.
        assert any(each.is_connected for each in simulator.sessions.values())


@pytest.mark.parametrize(
    ("reason", "token_lives"),
    [
        ("session deleted", False),
        ("session disconnected", True),
        ("connection replaced", True),
        ("profile changed", True),
        ("connection disabled", True),
        ("connection shutdown", True),
    ],
)
async def test_disconnects_with_each_reason(simulator: Simulator, reason: str, token_lives: bool) -> None:
    async with plain(simulator) as socket:
        (session_id,) = simulator.sessions
        async with simulator.faults.disconnect(reason, session=session_id):
            assert (await heard(socket, "system/disconnect"))[-1]["payload"] == {"message": reason}
            with pytest.raises(SocketEnded) as ended:
                await socket.receive()
        assert ended.value.code == 1006
        assert (session_id in simulator.sessions) is token_lives


async def test_messages_come_twice_and_in_the_order_asked_for(simulator: Simulator) -> None:
    faults = simulator.faults
    async with plain(simulator) as socket:
        async with faults.duplicate("control/host", copies=3):
            await socket.send('{"event":"control/request"}')
            assert [await heard(socket, "control/host") for _ in range(3)]
        async with faults.reorder("signal/candidate", until="signal/video"):
            await socket.send('{"event":"signal/request","payload":{}}')
            before = await heard(socket, "signal/video")
            assert "signal/candidate" not in [each["event"] for each in before]
            assert len(await heard(socket, "signal/candidate")) == 1  # right behind


async def test_a_late_message_is_overtaken(simulator: Simulator) -> None:
    async with plain(simulator) as socket, simulator.faults.postpone("signal/provide", 0.2):
        await socket.send('{"event":"signal/request","payload":{}}')
        events = [each["event"] for each in await heard(socket, "signal/provide")]
        assert "signal/video" in events


@pytest.mark.parametrize("fresh", [False, True])
async def test_a_second_offer(simulator: Simulator, fresh: bool) -> None:
    async with plain(simulator) as socket, simulator.faults.second_offer(fresh=fresh) as struck:
        await socket.send('{"event":"signal/request","payload":{}}')
        first = (await heard(socket, "signal/provide"))[-1]["payload"]["sdp"]
        second = (await heard(socket, "signal/provide" if fresh else "signal/offer"))[-1]["payload"]["sdp"]
        passwords = [next(line for line in sdp.split("\r\n") if "ice-pwd" in line) for sdp in (first, second)]
        assert (passwords[0] != passwords[1]) is fresh
        assert struck.hits == 1


async def test_half_open_is_neither_read_nor_written_and_goes_on(simulator: Simulator) -> None:
    async with plain(simulator) as socket:
        async with simulator.faults.half_open() as struck:
            assert struck.hits >= 1
            await socket.send('{"event":"control/request"}')
            with trio.move_on_after(0.2) as scope:
                await heard(socket, "control/host")
            assert scope.cancelled_caught
            assert simulator.host is None
        await heard(socket, "control/host")


async def test_a_stall_is_for_new_connections_and_media_too(simulator: Simulator) -> None:
    async with session(simulator) as opened:
        await opened.screen.frame()
        async with simulator.faults.stall():
            async with await trio.open_tcp_stream("127.0.0.1", parse_server_url(simulator.url).port) as stream:
                await stream.send_all(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
                with trio.move_on_after(0.3) as scope:
                    await stream.receive_some()
                assert scope.cancelled_caught
            frame = await opened.screen.frame()
            with trio.move_on_after(0.3) as scope:
                while True:
                    frame = await opened.screen.frame(newer_than=frame)
            assert frame.age() > 0.2
        assert (await opened.screen.frame(newer_than=frame)).age() < 0.5


async def test_a_stall_for_one_session_leaves_the_others(simulator: Simulator) -> None:
    async with (
        session(simulator) as ann,
        session(simulator) as ben,
        simulator.faults.stall(session=ann.state.session_id),
    ):
        frame = await ben.screen.frame()
        await ben.screen.frame(newer_than=frame)
        async with ben.control():
            await ben.flush()
            assert ann.state.host is None  # it was told nothing


async def test_peers_that_die_and_video_that_sticks(simulator: Simulator) -> None:
    async with session(simulator) as opened:
        frame = await opened.screen.frame()
        async with simulator.faults.stuck_video() as struck:
            assert struck.hits == 1
            with trio.move_on_after(0.4) as scope:
                while True:
                    frame = await opened.screen.frame(newer_than=frame)
            assert scope.cancelled_caught
            async with opened.control():
                await opened.flush()  # the data channel lives
        await opened.screen.frame(newer_than=frame)


async def test_corrupt_packets_harm_no_session_that_stands(simulator: Simulator) -> None:
    async with session(simulator) as opened:
        frame = await opened.screen.frame()
        async with simulator.faults.packet_corrupt(0.2) as struck:
            await struck.wait_hit(20)
            async with opened.control():
                await opened.flush()
        await opened.screen.frame(newer_than=frame)


@pytest.mark.parametrize("silently", [False, True])
async def test_killed_peers(simulator: Simulator, silently: bool) -> None:
    async with plain(simulator) as socket:
        await socket.send('{"event":"signal/request","payload":{}}')
        await heard(socket, "signal/provide")
        async with simulator.faults.kill_peers(silently=silently) as struck:
            assert struck.hits >= 1
            with trio.move_on_after(0.3) as scope:
                await heard(socket, "signal/close")
            assert scope.cancelled_caught is silently
            assert all(each.peer is None for each in simulator.sessions.values())


@pytest.mark.parametrize("goodbye", [False, True])
@pytest.mark.parametrize("keep", [False, True])
async def test_a_server_that_is_stopped_refuses_and_is_back_at_its_port(
    simulator: Simulator, goodbye: bool, keep: bool
) -> None:
    async with plain(simulator) as socket:
        (session_id,) = simulator.sessions
        token = simulator.sessions[session_id].token
        async with simulator.faults.stopped(goodbye=goodbye, keep=keep):
            said: list[str] = []
            with pytest.raises(SocketEnded):
                while True:
                    said.append(json.loads(await socket.receive())["event"])
            assert ("system/disconnect" in said) is goodbye
            with pytest.raises(OSError, match="all attempts to connect"):
                await trio.open_tcp_stream("127.0.0.1", parse_server_url(simulator.url).port)
        assert (session_id in simulator.sessions) is keep
        async with open_web_socket(parse_server_url(simulator.url), Credential.bearer(token)) as again:
            first = json.loads(await again.receive())
            assert first["event"] == ("system/init" if keep else "system/disconnect")
    assert await outcome(simulator) == "frame"


async def test_a_restart_forgets_the_host(simulator: Simulator) -> None:
    async with plain(simulator) as socket:
        await socket.send('{"event":"control/request"}')
        await heard(socket, "control/host")
        async with simulator.faults.restart(keep=True):
            assert simulator.host is None
            assert not any(each.is_connected for each in simulator.sessions.values())


async def test_expired_tokens(simulator: Simulator) -> None:
    mine = await login(parse_server_url(simulator.url), "ann", simulator.password)
    token = simulator.sessions[mine.session_id].token
    async with simulator.faults.expire_tokens() as struck:
        with pytest.raises(NekoError):
            async with neko_trio.open_session(simulator.url, token=token, video="off"):
                raise AssertionError("it opened")
        assert struck.hits > 0
        assert await outcome(simulator) == "frame"  # a new login
    async with neko_trio.open_session(simulator.url, token=token, video="off"):
        pass


async def test_admins_may_log_in_while_logins_are_locked(simulator: Simulator) -> None:
    async with simulator.faults.lock_logins():
        with pytest.raises(LoginRefused):
            async with session(simulator, video="off"):
                raise AssertionError("it opened")
        admin = neko_trio.open_session(simulator.url, password=simulator.admin_password, video="off")
        async with admin:
            pass


async def test_faults_are_undone_journalled_and_bounded(simulator: Simulator) -> None:
    faults = simulator.faults
    with pytest.raises(KeyError):
        async with faults.lock_logins(), faults.fail_calls(500), faults.stall(), faults.blackhole(), faults.restart():
            raise KeyError("mine")
    assert await outcome(simulator) == "frame"
    noted = [(entry.event, entry.message) for entry in simulator.journal if entry.channel == "fault"]
    assert ("stall", "begins") in noted
    assert ("stall", "strikes") in noted
    assert ("fail_calls", "ends after 0 hits") in noted
    wrong: list[Callable[[], In]] = [
        lambda: faults.delay("x", -1.0),
        lambda: faults.postpone("x", float("nan")),
        lambda: faults.pad("x", 2**40),
        lambda: faults.close_websockets(99),
        lambda: faults.close_websockets(1000, "x" * 124),
        lambda: faults.packet_loss(1.5),
        lambda: faults.blackhole(direction="up"),
        lambda: faults.drop_websockets(after="a b c"),
        lambda: faults.withhold("x", times=0),
        lambda: faults.withhold(""),
        lambda: faults.inject(b"", opcode=16),
    ]
    for make in wrong:
        with pytest.raises(InvalidInput):
            async with make():
                raise AssertionError("it was taken")


async def test_times_bounds_how_often_it_strikes(simulator: Simulator) -> None:
    async with simulator.faults.withhold("signal/provide", times=1) as struck:
        assert await outcome(simulator) == "NoOffer"
        assert await outcome(simulator) == "frame"
        with trio.fail_after(1):
            await struck.wait_hit()
        assert struck.hits == 1


async def _cancelled_at(step: int, work: Callable[[], Awaitable[object]]) -> bool:
    """Whether `work` was still going after so many steps."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                for _ in range(step):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            nursery.start_soon(cancel)
            await work()
            nursery.cancel_scope.cancel()
    return scope.cancelled_caught


async def test_cancelling_a_stop_leaves_the_server_in_its_place(simulator: Simulator) -> None:
    async def work() -> None:
        async with simulator.faults.restart(goodbye=True):
            pass

    step = 0
    while await _cancelled_at(step, work):
        step += 1
        await trio.aclose_forcefully(await trio.open_tcp_stream("127.0.0.1", parse_server_url(simulator.url).port))
    assert step > 2
    assert await outcome(simulator) == "frame"
