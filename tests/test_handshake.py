"""Law 1, on scripted signaling: each step after the one before it, and nothing but what the offer says."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from neko_trio import _timeline
from neko_trio._signals import OFFER_LIMIT, OfferAlreadyTaken, PeerSignals
from neko_trio.errors import (
    ConnectionRejected,
    ConnectTimeout,
    IceFailed,
    InvalidInput,
    Kicked,
    LoginRefused,
    NoOffer,
    NotAllowed,
    NotNeko,
    ProtocolViolation,
    ServerUnreachable,
    UnsupportedCodec,
)
from neko_trio.protocol import events, requests
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session
from neko_trio.testing._fake_peer import ANSWER
from neko_trio.testing._scripted import CANDIDATE, OFFER, profile, system_init

ONLY = events.IceServer(urls=("turn:192.0.2.9:3478",), username="u", credential="c")
OTHER = "candidate:2 1 udp 2130706430 192.0.2.2 50001 typ host"


def candidate(text: str) -> events.SignalCandidate:
    return events.SignalCandidate(candidate=text, sdp_mid="0", sdp_mline_index=0, username_fragment=None)


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer()


async def test_peer_connection_is_made_after_the_offer(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = FakeMedia()
    waiting = trio.Event()
    server.on["signal/request"] = lambda _request: waiting.set()
    async with trio.open_nursery() as nursery:

        async def offer_later() -> None:
            await waiting.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert media.peers == []
            server.send(server.offer())

        nursery.start_soon(offer_later)
        async with open_scripted_session(server, media):
            assert len(media.peers) == 1
            assert media.peers[0].setup.offer_sdp == OFFER


async def test_ice_servers_are_those_of_the_offer_and_no_others(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    media = FakeMedia()
    server.on["signal/request"] = lambda _request: server.send(server.offer(ice_servers=(ONLY,)))
    async with open_scripted_session(server, media):
        setup = media.peers[0].setup
        assert setup.ice_servers == (ONLY,)
        assert setup.ice.servers is None


async def test_negotiation_is_one_flow(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = FakeMedia(delays=dict.fromkeys(("set_remote_description", "set_local_description", "wait_connected"), 0.1))
    async with open_scripted_session(server, media) as session:
        names = [name for name, _at in session.timeline.marks]
        assert media.peers[0].calls == [
            "open_peer_connection",
            "set_remote_description",
            "set_local_description",
            "start_checks",
            "wait_connected",
        ]
    straight = [name for name in _timeline.MARKS if name in names]
    assert names == straight
    sent = [request.event for request in server.requests]
    assert sent[:3] == ["signal/request", "signal/answer", "signal/candidate"]
    request = server.got(requests.SignalRequest)[0]
    assert request.video.disabled is True
    assert request.audio.disabled is True
    assert server.got(requests.SignalAnswer)[0].sdp == ANSWER


async def test_checks_begin_when_the_answer_is_on_the_socket(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = FakeMedia()
    seen: list[list[str]] = []
    server.on["signal/answer"] = lambda _request: seen.append(list(media.peers[0].calls))
    async with open_scripted_session(server, media):
        assert "start_checks" not in seen[0]


async def test_video_is_switched_on_once_connected(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = FakeMedia(delays={"wait_connected": 1.0})
    server.on["signal/video"] = lambda _request: enabled_at.append(trio.current_time())
    enabled_at: list[float] = []
    started = trio.current_time()
    async with open_scripted_session(server, media):
        await trio.testing.wait_all_tasks_blocked()
        assert enabled_at == [pytest.approx(started + 1.0)]


async def test_local_candidates_are_sent_with_their_prefix_and_line(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    async with open_scripted_session(server, FakeMedia()):
        await trio.testing.wait_all_tasks_blocked()
    (sent,) = server.got(requests.SignalCandidate)
    assert sent.candidate.startswith("candidate:1 1 udp ")
    assert (sent.sdp_mid, sent.sdp_mline_index) == ("0", 0)


async def test_early_candidates_are_kept_and_applied_in_order(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    media = FakeMedia(delays={"set_remote_description": 1.0})
    early = [f"candidate:{number} 1 udp 1 192.0.2.{number} 50000 typ host" for number in range(1, 60)]

    def respond(_request: requests.ClientRequest) -> None:
        for text in early:
            server.send(candidate(text))
        server.send(server.offer())
        server.send(candidate(OTHER))

    server.on["signal/request"] = respond
    async with open_scripted_session(server, media):
        await trio.testing.wait_all_tasks_blocked()
        assert [one.host for one in media.peers[0].candidates] == [f"192.0.2.{n}" for n in range(1, 60)] + ["192.0.2.2"]


async def test_one_peer_connection_for_one_offer(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = FakeMedia()
    async with open_scripted_session(server, media) as session:
        server.send(server.offer())
        server.send(events.SignalRestart(sdp=OFFER))
        await trio.testing.wait_all_tasks_blocked()
        assert len(media.peers) == 1
        assert media.peers[0].calls.count("set_remote_description") == 1
        assert not media.peers[0].closed
        assert session.statistics().offers_unrequested == 2
    assert server.got(requests.SignalRestart) == []


async def test_what_nobody_has_room_or_use_for_is_counted(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, FakeMedia(), video="off") as session:
        server.send(candidate(OTHER))
        await trio.testing.wait_all_tasks_blocked()
        assert session.statistics().candidates_stray == 1
    async with open_scripted_session(server, FakeMedia(delays={"renegotiate": 1})) as session:
        server.send(events.SignalOffer(sdp=OFFER))
        await trio.testing.wait_all_tasks_blocked()  # the first is being answered
        for _ in range(OFFER_LIMIT + 2):
            server.send(events.SignalOffer(sdp=OFFER))
        await trio.testing.wait_all_tasks_blocked()
        assert session.statistics().offers_dropped == 2


async def test_a_further_offer_is_answered_on_the_same_peer_connection(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    media = FakeMedia()
    async with open_scripted_session(server, media):
        server.send(events.SignalOffer(sdp=OFFER))
        await trio.testing.wait_all_tasks_blocked()
        assert media.peers[0].calls[-1] == "renegotiate"
    assert len(media.peers) == 1
    assert len(server.got(requests.SignalAnswer)) == 2


async def test_an_offer_that_cannot_be_applied_leaves_the_peer_alone(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    media = FakeMedia(failures={"renegotiate": ProtocolViolation("no")})
    async with open_scripted_session(server, media):
        server.send(events.SignalOffer(sdp=OFFER))
        await trio.testing.wait_all_tasks_blocked()
        assert not media.peers[0].closed
    assert len(server.got(requests.SignalAnswer)) == 1


async def test_a_signal_offer_before_any_provide_is_the_offer(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    media = FakeMedia()
    server.on["signal/request"] = lambda _request: server.send(events.SignalOffer(sdp=OFFER))
    async with open_scripted_session(server, media):
        assert media.peers[0].setup.ice_servers == ()


async def test_the_wait_for_the_offer_is_single_use(autojump_clock: MockClock) -> None:
    signals = PeerSignals()
    offer = ScriptedServer().offer()
    with trio.move_on_after(1):
        await signals.take_offer()  # cancelled: the offer is still there to be taken
    assert signals.put_offer(offer)
    assert not signals.put_offer(offer)
    assert await signals.take_offer() is offer
    with pytest.raises(OfferAlreadyTaken):
        await signals.take_offer()
    signals.close()


async def test_the_frame_slot_exists_before_the_track(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """The very first thing a peer is told is where its frames go: one that comes early has a place."""
    from tests.pictures import frame

    media = FakeMedia()

    def show(_request: requests.ClientRequest) -> None:
        media.peers[0].show(frame(media.peers[0].setup))

    server.on["signal/answer"] = show
    async with open_scripted_session(server, media) as session:
        assert session.statistics().frames_shown == 1
        assert (await session.screen.frame()).number == 1


async def test_garbage_candidates_are_skipped_and_counted(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = FakeMedia()
    async with open_scripted_session(server, media) as session:
        for text in ("garbage", "candidate:1 1 udp", "candidate:x y z"):
            server.send(candidate(text))
        server.send(candidate(OTHER))
        await trio.testing.wait_all_tasks_blocked()
        assert session.statistics().candidates_malformed == 3
        assert media.peers[0].candidates[-1].host == "192.0.2.2"


async def test_garbage_messages_are_skipped_and_counted(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, FakeMedia()) as session:
        for text in ("{", "[]", '{"event": 3}', '{"event": "control/host", "payload": []}'):
            server.send_text(text)
        await trio.testing.wait_all_tasks_blocked()
        assert session.statistics().messages_malformed == 4


# -- what cannot work says why, in time


async def fails(server: ScriptedServer, media: FakeMedia | None = None, **options: Any) -> Exception:
    """Try to connect; return the error. It is one error, bare, and nothing is left."""
    media = media or FakeMedia()
    try:
        async with open_scripted_session(server, media, **options):
            pytest.fail("connected")
    except Exception as error:  # noqa: BLE001 - returned to be looked at
        failure = error
    assert not isinstance(failure, BaseExceptionGroup)
    assert server.connections == 0
    assert media.open_peers == set()
    assert media.leases == 0
    assert server.logouts == server.logins
    return failure


async def test_no_offer_is_told_at_the_deadline(autojump_clock: MockClock, server: ScriptedServer) -> None:
    server.on["signal/request"] = lambda _request: server.send(candidate(OTHER))
    started = trio.current_time()
    error = await fails(server, connect_timeout=3)
    assert isinstance(error, NoOffer)
    assert error.step == "offer"
    assert error.timeline is not None
    assert "request_sent" in error.timeline
    assert trio.current_time() - started == pytest.approx(3, abs=0.01)


async def test_a_silent_server_is_no_neko(autojump_clock: MockClock, server: ScriptedServer) -> None:
    server.init = None
    error = await fails(server)
    assert isinstance(error, NotNeko)
    assert error.step == "init"


@pytest.mark.parametrize("step", ["login", "dial"])
async def test_a_step_that_never_ends_is_a_timeout_with_its_name(
    autojump_clock: MockClock, server: ScriptedServer, step: str
) -> None:
    server.delays[step] = 1000
    started = trio.current_time()
    error = await fails(server)
    assert isinstance(error, ConnectTimeout)
    assert isinstance(error, TimeoutError)
    assert error.step == step
    # A login under way is waited for: only its answer could be logged out again.
    assert trio.current_time() - started <= 9 + 2 + 0.1


async def test_ice_that_never_connects_is_told_at_the_deadline(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    error = await fails(server, FakeMedia(delays={"wait_connected": 1000}))
    assert isinstance(error, IceFailed)
    assert error.step == "ice"


async def test_signal_close_ends_the_connect_at_once(autojump_clock: MockClock, server: ScriptedServer) -> None:
    server.on["signal/answer"] = lambda _request: server.send(events.SignalClose())
    started = trio.current_time()
    error = await fails(server, FakeMedia(delays={"wait_connected": 1000}))
    assert isinstance(error, IceFailed)
    assert "signal/close" in str(error)
    assert error.remote == (CANDIDATE,)
    assert trio.current_time() - started < 1


async def test_a_signal_close_before_the_offer_is_of_another_peer(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    """A session with a token that connects again soon hears the end of its peer of before."""

    def respond(_request: requests.ClientRequest) -> None:
        server.send(events.SignalClose())
        server.send(server.offer())

    server.on["signal/request"] = respond
    server.on_connect = lambda: server.send(events.SignalClose())
    async with open_scripted_session(server, FakeMedia()) as session:
        await trio.testing.wait_all_tasks_blocked()
        assert session.epoch == 1


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("session not found", LoginRefused), ("session disconnected", Kicked), ("weird", ConnectionRejected)],
)
async def test_a_refusal_after_the_upgrade_is_typed(
    autojump_clock: MockClock, server: ScriptedServer, reason: str, kind: type[Exception]
) -> None:
    def refuse() -> None:
        server.send(events.SystemDisconnect(message=reason))
        server.end(1006)

    server.init, server.on_connect = None, refuse
    error = await fails(server)
    assert isinstance(error, kind)
    if isinstance(error, ConnectionRejected):
        assert error.reason == reason


async def test_a_socket_that_ends_in_the_handshake_is_told(autojump_clock: MockClock, server: ScriptedServer) -> None:
    server.on["signal/request"] = lambda _request: server.end()
    error = await fails(server)
    assert isinstance(error, ServerUnreachable)


@pytest.mark.parametrize(
    ("init", "options", "kind", "said"),
    [
        (system_init(member=profile(without="can_watch")), {}, NotAllowed, "can_watch"),
        (system_init(member=profile(without="can_connect")), {}, ConnectionRejected, "can_connect"),
        (system_init(settings=events.Settings(private_mode=True)), {}, NotAllowed, "private mode"),
        (system_init(streams=("high", "low")), {"stream": "main"}, InvalidInput, "'high', 'low'"),
    ],
)
async def test_what_init_says_is_told_before_anything_is_asked(
    autojump_clock: MockClock,
    server: ScriptedServer,
    init: events.SystemInit,
    options: dict[str, Any],
    kind: type[Exception],
    said: str,
) -> None:
    server.init = init
    error = await fails(server, **options)
    assert isinstance(error, kind)
    assert said in str(error)
    assert server.requests == []


async def test_an_admin_watches_in_private_mode(autojump_clock: MockClock, server: ScriptedServer) -> None:
    server.init = system_init(member=profile(is_admin=True), settings=events.Settings(private_mode=True))
    async with open_scripted_session(server, FakeMedia()):
        pass


async def test_no_common_codec_names_the_servers(autojump_clock: MockClock, server: ScriptedServer) -> None:
    server.on["signal/request"] = lambda _request: server.send(server.offer(OFFER.replace("VP8/90000", "H265/90000")))
    error = await fails(server)
    assert isinstance(error, UnsupportedCodec)
    assert error.offered == ("H265",)
    assert "H265 video; this client decodes VP8, VP9, H264 and AV1" in str(error)


async def test_an_offer_that_is_no_sdp_is_a_violation(autojump_clock: MockClock, server: ScriptedServer) -> None:
    server.on["signal/request"] = lambda _request: server.send(server.offer("hello"))
    assert isinstance(await fails(server), ProtocolViolation)


async def test_an_init_without_ourselves_is_a_violation(autojump_clock: MockClock, server: ScriptedServer) -> None:
    init = system_init()
    server.init = events.SystemInit(**{**{f: getattr(init, f) for f in init.__struct_fields__}, "sessions": {}})
    assert isinstance(await fails(server), ProtocolViolation)


@pytest.mark.parametrize("step", ["open_peer_connection", "set_remote_description", "set_local_description"])
async def test_an_offer_is_answered_even_when_nobody_wants_it_any_more(
    autojump_clock: MockClock, server: ScriptedServer, step: str
) -> None:
    """With a caller's token there is no logout, and the server keeps an unanswered offer for ever."""
    media = FakeMedia(delays={step: 0.5})
    with trio.move_on_after(0.25) as scope:
        async with open_scripted_session(server, media, token=True):
            pytest.fail("connected")
    assert scope.cancelled_caught
    assert server.unanswered == 0
    assert media.open_peers == set()


async def test_a_late_offer_is_answered_too(autojump_clock: MockClock, server: ScriptedServer) -> None:
    asked = trio.Event()
    server.on["signal/request"] = lambda _request: asked.set()

    async def offer_late() -> None:
        await asked.wait()
        await trio.sleep(0.9)  # a connect that is cancelled waits 0.45 s for it
        server._offer(requests.SignalRequest(video=requests.VideoRequest(), audio=requests.AudioRequest()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(offer_late)
        with trio.move_on_after(0.5):
            async with open_scripted_session(server, FakeMedia(), token=True):
                pytest.fail("connected")
        assert server.unanswered == 0
        assert len(server.got(requests.SignalAnswer)) == 1


async def test_no_packet_brings_one_second_toggle(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """Not before three seconds: a loaded server is at its slowest then, and may come to a standstill."""
    async with open_scripted_session(server, FakeMedia(silent=True)) as session:
        await trio.sleep(2.95)
        assert len(server.got(requests.SignalVideo)) == 1
        await trio.sleep(30)
        assert [video.disabled for video in server.got(requests.SignalVideo)] == [False, True, False]
        assert session.statistics().video_toggles == 1


async def test_keyframes_are_asked_for_at_most_once_a_second(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = FakeMedia()
    async with open_scripted_session(server, media) as session:
        setup = media.peers[0].setup
        await trio.sleep(1)
        for _ in range(25):
            setup.on_keyframe_needed()
            await trio.sleep(0.1)
        assert 2 <= session.statistics().video_toggles <= 3


async def test_the_video_is_off_before_the_peer_goes(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """Else an enable that the server handles beside the peer's end leaves it a watcher, and a pipeline, for ever."""
    media = FakeMedia()
    seen: list[tuple[bool | None, bool]] = []

    def answer_later(request: requests.ClientRequest) -> None:
        assert isinstance(request, requests.SignalVideo)
        seen.append((request.disabled, media.peers[0].closed))
        server._video(request)

    server.on["signal/video"] = answer_later
    async with open_scripted_session(server, media):
        pass
    assert seen == [(False, False), (True, False)]


async def test_a_server_that_says_nothing_of_the_video_delays_the_close_little(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    server.on["signal/video"] = lambda _request: server.video.set(disabled=False, stream="main")
    async with open_scripted_session(server, FakeMedia()):
        await trio.sleep(1)
        started = trio.current_time()
    assert trio.current_time() - started == pytest.approx(0.25, abs=0.01)


async def test_a_pipeline_that_is_being_started_is_not_ended(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """Taken away before it has sent anything, its only watcher may bring the server to a standstill."""
    media = FakeMedia(rate=25, start=0.3)
    off_at: list[float] = []

    def note(request: requests.ClientRequest) -> None:
        if isinstance(request, requests.SignalVideo) and request.disabled:
            off_at.append(trio.current_time() - started)
        server._video(request)

    server.on["signal/video"] = note
    async with open_scripted_session(server, media) as session:
        started = trio.current_time()
        await session.screen.pause()
    assert off_at == [pytest.approx(0.3, abs=0.001)]
    server.on["signal/video"] = server._video
    async with open_scripted_session(server, FakeMedia(silent=True)):
        started = trio.current_time()
    assert trio.current_time() - started == pytest.approx(1.0, abs=0.01)  # but not for ever


async def test_the_enables_own_answer_may_come_in_between(autojump_clock: MockClock, server: ScriptedServer) -> None:
    def answer_both(request: requests.ClientRequest) -> None:
        if isinstance(request, requests.SignalVideo) and request.disabled:
            for disabled in (False, True):
                server.send(events.SignalVideo(disabled=disabled, id="main", video="main", auto=False))
        else:
            server.video.set(disabled=False, stream="main")

    server.on["signal/video"] = answer_both
    async with open_scripted_session(server, FakeMedia()):
        await trio.sleep(1)
        started = trio.current_time()
    assert trio.current_time() - started < 0.05
