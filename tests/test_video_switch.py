"""The video at the server, on scripted signaling: who switches it, when, and what a picture then is."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import neko_trio
from neko_trio import Frame, Session
from neko_trio._video_patience import STALL_PATIENCE
from neko_trio.errors import InvalidInput, NotAllowed, SessionClosed, SessionLost, VideoOff, VideoStalled
from neko_trio.protocol import events, requests
from neko_trio.testing import FakeMedia, ScriptedServer, cancel_at_every_step, open_scripted_session
from neko_trio.testing._scripted import profile, system_init
from tests.pictures import frame

RATE = 25
LINGER = 0.2


@pytest.fixture
def server() -> ScriptedServer:
    server = ScriptedServer()
    server.init = system_init(streams=("high", "low"))
    return server


def filming(**options: Any) -> FakeMedia:
    return FakeMedia(rate=RATE, **options)


class Switches:
    """When the server was told to switch the video on (True) or off, by trio's clock from the start of watching."""

    def __init__(self, server: ScriptedServer) -> None:
        self.seen: list[tuple[float, bool]] = []
        self._began = trio.current_time()

        def note(request: requests.ClientRequest) -> None:
            assert isinstance(request, requests.SignalVideo)
            if request.disabled is not None:
                self.seen.append((round(trio.current_time() - self._began, 3), not request.disabled))
            server._video(request)

        server.on["signal/video"] = note

    @property
    def ons(self) -> list[bool]:
        return [on for _at, on in self.seen]


def other_watches(server: ScriptedServer, *, watching: bool = True) -> None:
    """Somebody else in the room, who watches or does not."""
    state = events.SessionState(is_connected=True, is_watching=watching)
    server.send(events.SessionCreated(id="other-1", profile=profile(name="other"), state=state))


# -- live


async def test_live_it_is_on_from_connected_to_the_close(autojump_clock: MockClock, server: ScriptedServer) -> None:
    switches = Switches(server)
    async with open_scripted_session(server, filming()) as session:
        await session.screen.frame()
        await trio.sleep(10)
        statistics = session.statistics()
        assert (statistics.pictures_on_demand, statistics.video_toggles) == (0, 0)
        assert statistics.video_seconds_on == pytest.approx(trio.current_time(), abs=0.01)
    assert switches.ons == [True, False]
    assert session.statistics().video_seconds_on == pytest.approx(trio.current_time(), abs=0.01)


# -- on demand


async def test_on_demand_it_is_off_until_a_picture_is_wanted(autojump_clock: MockClock, server: ScriptedServer) -> None:
    switches = Switches(server)
    async with open_scripted_session(server, filming(start=0.03), video="on_demand") as session:
        assert "video_enabled" not in session.timeline
        await trio.sleep(60)
        assert switches.seen == []
        first = await session.screen.frame()
        assert trio.current_time() == pytest.approx(60.03)
        await trio.sleep(60)
        assert switches.seen == [(60.0, True), (60.23, False)]
        second = await session.screen.frame()
        assert second.number > first.number
        assert second.arrived == pytest.approx(120.06)
        statistics = session.statistics()
        assert statistics.pictures_on_demand == 2
        assert statistics.video_toggles == 0
        assert statistics.video_seconds_on == pytest.approx(0.03 + LINGER + 0.03, abs=0.001)
    assert switches.ons == [True, False] * 2


async def test_a_picture_younger_than_the_linger_time_is_new(autojump_clock: MockClock, server: ScriptedServer) -> None:
    switches = Switches(server)
    media = filming()
    async with open_scripted_session(server, media, video="on_demand") as session:
        first = await session.screen.frame()
        assert await session.screen.frame() is first
        await trio.sleep(0.1)
        second = await session.screen.frame()  # the newest, for the video is still on
        assert first.number < second.number
        assert trio.current_time() == pytest.approx(0.12)
        third = await session.screen.frame(newer_than=second)
        assert third.number == second.number + 1
        assert switches.ons == [True]
        await trio.sleep(1)
        assert switches.seen[-1] == (round(third.arrived + LINGER, 3), False)
        newest = media.peers[0].setup.slot.newest
        assert newest is not None
        assert newest.number > third.number
        assert (await session.screen.frame()).number > newest.number  # that one is a second old


@pytest.mark.parametrize("linger", [0, 1.5])
async def test_the_linger_time_is_the_callers(autojump_clock: MockClock, server: ScriptedServer, linger: float) -> None:
    switches = Switches(server)
    async with open_scripted_session(server, filming(start=0.02), video="on_demand", linger=linger) as session:
        await session.screen.frame()
        await trio.sleep(2)
    assert switches.seen == [(0.0, True), (round(0.02 + linger, 3), False)]


async def test_readers_on_demand(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """One a second: the video is off in between. Every frame: it is on for as long as the reader is open."""
    switches = Switches(server)
    async with open_scripted_session(server, filming(), video="on_demand") as session:
        async with session.screen.frames(max_rate=1) as frames:
            taken = [await anext(frames) for _ in range(4)]
        assert [frame.number for frame in taken] == sorted({frame.number for frame in taken})
        assert switches.ons == [True, False] * 3 + [True]
        await trio.sleep(1)
        del switches.seen[:]
        async with session.screen.frames(buffer=100) as every:
            await trio.sleep(1.005)
            numbers = [(await anext(every)).number for _ in range(25)]
        assert numbers == list(range(numbers[0], numbers[0] + 25))
        await trio.sleep(1)
        assert switches.ons == [True, False]


async def test_a_picture_nobody_waits_for_any_more(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """The video is not switched off before the server has sent something: that may bring it to a standstill."""
    switches = Switches(server)
    async with open_scripted_session(server, filming(start=0.7), video="on_demand") as session:
        with trio.move_on_after(0.1):
            await session.screen.frame()
        await trio.sleep(2)
        assert switches.seen == [(0.0, True), (0.7, False)]


# -- pause


async def test_pause_and_resume(autojump_clock: MockClock, server: ScriptedServer) -> None:
    switches = Switches(server)
    async with open_scripted_session(server, filming()) as session:
        screen = session.screen
        await screen.frame()
        await trio.sleep(1)
        await screen.pause()
        assert server.video.disabled
        assert screen.paused
        kept = await screen.frame()
        await trio.sleep(1)
        assert await screen.frame() is kept
        with trio.move_on_after(20) as scope:
            await screen.frame(newer_than=kept)  # waits, and nothing stalls
        assert scope.cancelled_caught
        await screen.pause()
        async with trio.open_nursery() as nursery:
            got: list[Frame] = []

            async def read() -> None:
                async with screen.frames() as frames:
                    got.append(await anext(frames))
                    got.append(await anext(frames))

            nursery.start_soon(read)
            await trio.sleep(1)
            assert got == [kept]
            await screen.resume()
            assert not server.video.disabled
        assert got[1].number == kept.number + 1
        assert switches.ons == [True, False, True]
        assert session.statistics().pictures_on_demand == 0


async def test_paused_before_anything_came_frame_takes_a_picture(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    async with open_scripted_session(server, filming(), video="on_demand") as session:
        await session.screen.pause()
        first = await session.screen.frame()
        await trio.sleep(5)
        kept = await session.screen.frame()
        assert kept.number >= first.number  # some more came in the linger time
        assert await session.screen.frame() is kept
        assert server.video.disabled
        assert session.statistics().pictures_on_demand == 1
        await session.screen.resume()
        assert server.video.disabled  # nobody wants one
        assert (await session.screen.frame()).number > first.number


async def test_paused_on_demand_readers_wait(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, filming(), video="on_demand") as session:
        first = await session.screen.frame()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.screen.pause)
            with trio.move_on_after(10) as scope:
                while True:
                    first = await session.screen.frame(newer_than=first)
        assert scope.cancelled_caught
        assert server.video.disabled


# -- fresh


async def fresh(session: Session, media: FakeMedia) -> float:
    """Take a fresh picture; how long after the call it was captured, which must not be before it."""
    asked = trio.current_time()
    frame = await session.screen.frame(fresh=True)
    return media.peers[0].captured[frame.number] - asked


@pytest.mark.parametrize("video", ["live", "on_demand"])
@pytest.mark.parametrize("watched", [False, True], ids=["alone", "watched"])
async def test_a_fresh_frame_was_captured_after_the_input(
    autojump_clock: MockClock, server: ScriptedServer, video: str, watched: bool
) -> None:
    media = filming(pipeline_delay=0.045)
    async with open_scripted_session(server, media, video=video) as session, session.control():
        if watched:
            other_watches(server)
        for number in range(60):
            await trio.sleep(0.013 * (number % 40))
            await session.keyboard.press("a")
            assert 0 <= await fresh(session, media) < (0.15 if watched else 0.1)


async def test_a_fresh_frame_while_paused(autojump_clock: MockClock, server: ScriptedServer) -> None:
    switches = Switches(server)
    media = filming(start=0.03)
    async with open_scripted_session(server, media) as session:
        kept = await session.screen.frame()
        await session.screen.pause()
        await trio.sleep(1)
        del switches.seen[:]
        assert await fresh(session, media) >= 0
        await trio.sleep(1)
        assert switches.seen == [(1.03, True), (round(1.06 + LINGER, 3), False)]
        assert session.screen.paused
        assert (await session.screen.frame()).number > kept.number
        assert session.statistics().pictures_on_demand == 1


async def test_a_server_that_does_not_keep_up_starts_its_pipeline_anew(
    autojump_clock: MockClock, server: ScriptedServer
) -> None:
    """Somebody else watches: then his picture is not cut, and what comes is skipped for as long as it is late."""
    switches = Switches(server)
    media = filming(start=0.4, pipeline_delay=0.35)
    async with open_scripted_session(server, media) as session:
        await session.screen.frame()
        media.peers[0].late = 0.3
        assert await fresh(session, media) >= 0
        assert switches.ons == [True, False, True]
        assert session.statistics().video_toggles == 1
        other_watches(server)
        await trio.sleep(1)
        media.peers[0].late = 0.35
        assert await fresh(session, media) >= 0
        assert switches.ons == [True, False, True]


async def test_what_was_on_its_way_is_not_fresh(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """A frame of the pipeline before that comes late is told by its keyframe."""
    media = FakeMedia()
    async with open_scripted_session(server, media, video="on_demand") as session:
        peer = media.peers[0]
        got: list[Frame] = []

        async def take() -> None:
            got.append(await session.screen.frame(fresh=True))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.sleep(1)
            peer.show(replace(frame(peer.setup), key_arrived=trio.current_time() - 1.5))
            await trio.sleep(1)
            assert got == []
            shown = peer.show(replace(frame(peer.setup), key_arrived=trio.current_time()))
        assert got == [shown]


async def test_fresh_frames_of_several_tasks(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = filming(start=0.03)
    async with open_scripted_session(server, media, video="on_demand") as session, trio.open_nursery() as nursery:

        async def take() -> None:
            for _ in range(5):
                assert await fresh(session, media) >= 0
                await trio.sleep(0.07)

        for _ in range(4):
            nursery.start_soon(take)


async def test_without_a_data_channel_too(autojump_clock: MockClock, server: ScriptedServer) -> None:
    """Then no barrier goes over the media connection, and what the server had sent may still come."""
    media = FakeMedia(rate=RATE, data_channel=False, pipeline_delay=0.01)
    async with open_scripted_session(server, media, video="on_demand") as session, session.control():
        await session.keyboard.press("a")
        assert await fresh(session, media) >= 0


# -- a picture that does not come


async def stalls(session: Session) -> VideoStalled:
    started = trio.current_time()
    with pytest.raises(VideoStalled) as caught:
        await session.screen.frame()
    assert trio.current_time() - started == pytest.approx(STALL_PATIENCE, abs=0.01)
    return caught.value


@pytest.mark.parametrize("video", ["live", "on_demand"])
async def test_no_packets(autojump_clock: MockClock, server: ScriptedServer, video: str) -> None:
    media = FakeMedia(silent=True)
    async with open_scripted_session(server, media, video=video) as session:
        for _ in range(2):
            error = await stalls(session)
            assert "sends nothing" in error.message
            assert error.retryable
            await trio.sleep(5)
        async with session.screen.frames(buffer=3) as frames:
            with pytest.raises(VideoStalled):
                await anext(frames)
        # And it goes on by itself.
        media.rate = RATE
        server.video.note()
        peer = media.peers[0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.film, RATE)
            frame = await session.screen.frame()
            assert (await session.screen.frame(newer_than=frame)).number > frame.number
            nursery.cancel_scope.cancel()


async def test_packets_without_a_picture(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, FakeMedia()) as session:
        assert "packets came" in (await stalls(session)).message


async def test_patience_begins_when_the_video_is_on(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = filming()
    async with open_scripted_session(server, media) as session:
        await session.screen.frame()
        media.silent, media.rate = True, None
        await session.screen.pause()
        frame = await session.screen.frame()
        async with trio.open_nursery() as nursery:
            ended: list[float] = []

            async def wait() -> None:
                with pytest.raises(VideoStalled):
                    await session.screen.frame(newer_than=frame)
                ended.append(trio.current_time())

            nursery.start_soon(wait)
            await trio.sleep(30)
            server.on["signal/video"] = lambda _request: None  # switched on, and dead
            resumed = trio.current_time()
            nursery.start_soon(session.screen.resume)
        assert ended == [pytest.approx(resumed + STALL_PATIENCE)]


async def test_a_room_that_has_become_private_is_told(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, FakeMedia(silent=True)) as session:
        server.send(events.SystemSettings(id="admin-1", settings=events.Settings(private_mode=True)))
        with pytest.raises(NotAllowed, match="private mode"):
            await session.screen.frame()


# -- streams


async def test_another_stream(autojump_clock: MockClock, server: ScriptedServer) -> None:
    media = filming()
    async with open_scripted_session(server, media) as session:
        screen = session.screen
        assert screen.streams == ("high", "low")
        assert (await screen.frame()).stream == "high"
        await screen.select("low")
        assert session.state.stream == "low"
        frame = await screen.frame()
        assert (await screen.frame(newer_than=frame)).stream == "low"
        sent = len(server.got(requests.SignalVideo))
        await screen.select("low")
        assert len(server.got(requests.SignalVideo)) == sent  # the server would not answer
        assert await screen.quality_up() == "high"
        with pytest.raises(InvalidInput, match="higher"):
            await screen.quality_up()
        assert await screen.quality_down() == "low"
        with pytest.raises(InvalidInput, match="lower"):
            await screen.quality_down()
        with pytest.raises(InvalidInput, match="'high', 'low'"):
            await screen.select("main")
        assert server.video.stream == "low"


async def test_a_stream_is_chosen_while_the_video_is_off(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, filming(), video="on_demand", stream="low") as session:
        assert server.video.stream == "low"
        await session.screen.select("high")
        assert server.video.disabled
        assert (await session.screen.frame()).stream == "high"


async def test_a_stream_that_the_server_does_not_switch_to(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, filming()) as session:
        server.on["signal/video"] = lambda _request: None
        with pytest.raises(VideoStalled, match="'low'"):
            await session.screen.select("low")
        server.on["signal/video"] = server._video
        assert session.state.stream == "high"
        await session.screen.select("low")


async def test_of_two_selections_at_once_the_last_counts(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, filming()) as session, trio.open_nursery() as nursery:
        await session.screen.frame()
        nursery.start_soon(session.screen.select, "low")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(session.screen.select, "low")
        nursery.start_soon(session.screen.select, "high")
        await trio.testing.wait_all_tasks_blocked()
    assert server.video.stream in ("high", "low")


async def test_a_session_without_video_has_none_to_steer(autojump_clock: MockClock, server: ScriptedServer) -> None:
    async with open_scripted_session(server, FakeMedia(), video="off") as session:
        screen = session.screen
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: screen.frame(fresh=True),
            lambda: screen.select("low"),
            screen.quality_up,
            screen.quality_down,
            screen.pause,
            screen.resume,
        ]
        for call in calls:
            with pytest.raises(VideoOff):
                await call()


# -- keyframes


@pytest.mark.parametrize(
    ("codec", "watched", "toggles"),
    [("VP8", False, 1), ("VP8", True, 1), ("H264", False, 1), ("H264", True, 0)],
)
async def test_a_keyframe_is_made_where_that_can_be_done(
    autojump_clock: MockClock, server: ScriptedServer, codec: str, watched: bool, toggles: int
) -> None:
    media = FakeMedia(codec=codec)
    async with open_scripted_session(server, media) as session:
        await trio.sleep(1)
        if watched:
            other_watches(server)
        await trio.testing.wait_all_tasks_blocked()
        media.peers[0].setup.on_keyframe_needed()
        await trio.sleep(5)
        assert session.statistics().video_toggles == toggles


async def test_no_keyframe_is_made_while_the_video_is_off(autojump_clock: MockClock, server: ScriptedServer) -> None:
    switches, media = Switches(server), filming()
    async with open_scripted_session(server, media, video="on_demand"):
        media.peers[0].setup.on_keyframe_needed()
        await trio.sleep(5)
        assert switches.seen == []


# -- all at once, and the end


async def everything(session: Session) -> None:
    screen = session.screen
    frame = await screen.frame()
    await screen.pause()
    await screen.frame(fresh=True)
    await screen.select("low")
    await screen.resume()
    await screen.frame(newer_than=frame)
    with suppress(InvalidInput):  # another task has been there
        await screen.quality_up()
    async with screen.frames(buffer=2) as frames:
        await anext(frames)
    await screen.frame(fresh=True)


@pytest.mark.parametrize("video", ["live", "on_demand"])
async def test_everything_at_once(autojump_clock: MockClock, server: ScriptedServer, video: str) -> None:
    async with open_scripted_session(server, filming(), video=video) as session:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(_until_done, session)
        await session.screen.resume()
        await session.screen.frame(fresh=True)
    assert server.video.disabled


async def _until_done(session: Session) -> None:
    """Everything, beside others: who is paused by them for good resumes."""
    with trio.move_on_after(2) as scope:
        await everything(session)
    if scope.cancelled_caught:
        await session.screen.resume()
        await session.screen.frame()


ENDS: dict[str, type[Exception]] = {"closed": SessionClosed, "lost": SessionLost}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("call", ["frame", "fresh", "pause", "select", "select_refused"])
async def test_the_end_of_the_session_ends_every_wait(
    autojump_clock: MockClock, server: ScriptedServer, end: str, call: str
) -> None:
    ended: list[BaseException] = []

    async def wait(session: Session) -> None:
        screen = session.screen
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "frame": screen.frame,
            "fresh": lambda: screen.frame(fresh=True),
            "pause": screen.pause,
            "select": lambda: screen.select("low"),
            "select_refused": lambda: screen.select("low"),
        }
        with pytest.raises(ENDS[end]) as caught:
            await calls[call]()
        ended.append(caught.value)

    async with trio.open_nursery() as outside:
        try:
            async with open_scripted_session(server, FakeMedia()) as session:
                await trio.sleep(0.5)
                server.on["signal/video"] = lambda _request: None  # what is asked for now is never answered
                outside.start_soon(wait, session)
                await trio.testing.wait_all_tasks_blocked()
                if end == "lost":
                    server.end(1006)
                    await trio.sleep_forever()
        except neko_trio.SessionLost:
            assert end == "lost"
    assert len(ended) == 1


class Scene:
    """A session that does everything with its video. ``check`` says what a run left behind at the server."""

    def __init__(self, video: str) -> None:
        self._video = video
        self._server: ScriptedServer | None = None
        self._media: FakeMedia | None = None

    async def play(self) -> None:
        self._server = server = ScriptedServer()
        server.init = system_init(streams=("high", "low"))
        self._media = media = filming()
        self._off_at_the_end: list[bool] = []
        async with open_scripted_session(server, media, video=self._video) as session:
            closes = media.peers[0].aclose

            async def note() -> None:
                self._off_at_the_end.append(server.video.disabled)
                await closes()

            media.peers[0].aclose = note  # type: ignore[method-assign]  # one instance
            await everything(session)

    def check(self) -> None:
        server, media = self._server, self._media
        if server is None or media is None:
            return  # cancelled before it began
        assert server.connections == media.leases == 0
        assert media.open_peers == set()
        assert server.logouts == server.logins
        assert all(self._off_at_the_end), "the peer went while the video was on: a watcher stays behind for ever"
        assert math.isinf(server.video._on_since), "the video is on"


@pytest.mark.parametrize("video", ["live", "on_demand"])
def test_cancelled_at_every_step_the_video_is_off(video: str) -> None:
    scene = Scene(video)
    assert cancel_at_every_step(scene.play, scene.check) > 150, "the sweep ended before the session did"
