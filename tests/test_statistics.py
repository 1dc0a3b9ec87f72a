"""What a session counts: the arithmetic of snapshots, totals across peers, and the round trip."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass, field, fields
from types import ModuleType

import numpy as np
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import neko_trio
from neko_trio import PeerStatistics, Statistics, _statistics
from neko_trio._counters import added, balance, difference, gauge, numbers
from neko_trio._round_trip import PING_INTERVAL
from neko_trio.media import peer_api, video_statistics
from neko_trio.media.audio import statistics as audio_statistics
from neko_trio.media.video_statistics import VideoStatistics
from neko_trio.protocol import data_channel
from neko_trio.testing import FakeMedia, FakePeer, ScriptedServer, open_scripted_session

# -- the arithmetic


@dataclass(frozen=True)
class Inner:
    count: int = 0
    level: float = gauge(0.0)


@dataclass(frozen=True)
class Outer:
    count: int = 0
    seconds: float = 0.0
    lost: int = balance(0)
    name: str = ""
    flag: bool = False
    inner: Inner | None = None
    parts: tuple[str, ...] = field(default=())


inners = st.builds(Inner, st.integers(0, 1000), st.floats(0, 1))
outers = st.builds(
    Outer,
    st.integers(0, 1000),
    st.integers(0, 1000).map(float),  # whose sums are exact
    st.integers(-1000, 1000),
    st.text(max_size=3),
    st.booleans(),
    st.none() | inners,
    st.tuples(st.text(max_size=2)),
)


@given(outers, outers)
def test_what_was_added_can_be_taken_away_again(one: Outer, two: Outer) -> None:
    both = added(one, two)
    assert both.count == one.count + two.count
    assert both.lost == one.lost + two.lost
    assert (both.name, both.flag, both.parts) == (two.name, two.flag, two.parts)
    assert difference(both, one) == two or two.inner is None
    if two.inner is None:
        assert both.inner == one.inner
    else:
        assert both.inner is not None
        assert both.inner.level == two.inner.level


@given(outers)
def test_the_numbers_of_a_snapshot_and_nothing_else(outer: Outer) -> None:
    found = {name: (kind, value) for name, kind, value in numbers(outer)}
    expected = {
        "count": ("total", outer.count),
        "seconds": ("total", outer.seconds),
        "lost": ("balance", outer.lost),
    }
    if outer.inner is not None:
        expected |= {"inner_count": ("total", outer.inner.count), "inner_level": ("gauge", outer.inner.level)}
    assert found == expected


def documented_fields(module: ModuleType, name: str) -> dict[str, tuple[str, str]]:
    """Annotation and text of each field of a dataclass, by name, from its source."""
    (body,) = (node for node in ast.parse(inspect.getsource(module)).body if getattr(node, "name", None) == name)
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node, text in zip(body.body, [*body.body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            doc = text.value.value if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) else ""
            found[node.target.id] = ast.unparse(node.annotation), str(doc)
    return found


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (_statistics, "Statistics"),
        (peer_api, "PeerStatistics"),
        (video_statistics, "VideoStatistics"),
        (audio_statistics, "AudioStatistics"),
    ],
)
def test_a_number_that_is_no_count_has_its_unit(module: ModuleType, name: str) -> None:
    documented = documented_fields(module, name)
    assert set(documented) == {each.name for each in fields(getattr(module, name))}
    for field_name, (annotation, text) in documented.items():
        if "float" in annotation:
            assert re.search(r"second|bit|share", text.lower()), f"{name}.{field_name}: {text}"


# -- a session's


def test_rates_are_those_of_the_difference() -> None:
    def snapshot(seconds: float, frames: int) -> Statistics:
        video = VideoStatistics("VP8", bytes_received=1000 * frames, frames_received=frames, frames_decoded=frames // 2)
        return Statistics(
            seconds=seconds,
            messages_sent=frames,
            frames_shown=frames,
            frame_age_seconds=0.01 * frames,
            frame_age=1.0 / frames,
            peer=PeerStatistics(video=video),
        )

    between = snapshot(14, 300) - snapshot(10, 200)
    assert between.seconds == 4
    assert between.frame_rate == 25
    assert between.bitrate == 8 * 100_000 / 4
    assert between.per_second(between.messages_sent) == 25
    assert between.mean_frame_age == pytest.approx(0.01)
    assert between.frame_age == 1 / 300
    assert between.decode_time == 0.0
    nothing = snapshot(10, 200) - snapshot(10, 200)
    assert (nothing.frame_rate, nothing.bitrate, nothing.decode_time, nothing.mean_frame_age) == (0, 0, None, None)


def test_totals_and_gauges_have_flat_names() -> None:
    statistics = Statistics(seconds=1.5, peer=PeerStatistics(video=VideoStatistics("VP8", packets_lost=-1, jitter=0.5)))
    totals, gauges = statistics.totals(), statistics.gauges()
    assert totals["seconds"] == 1.5
    assert totals["peer_video_frames_decoded"] == 0
    assert (gauges["peer_video_packets_lost"], gauges["peer_video_jitter"]) == (-1, 0.5)
    assert "round_trip" not in gauges  # not known yet
    assert not totals.keys() & gauges.keys()
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in [*totals, *gauges])


async def test_a_second_peer_goes_on_counting(autojump_clock: trio.testing.MockClock) -> None:
    def counted(frames: int, jitter: float) -> PeerStatistics:
        video = VideoStatistics("VP8", frames_decoded=frames, jitter=jitter)
        return PeerStatistics(codec="VP8", packets_received=10 * frames, video=video)

    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session:
        parts = session._parts
        tasks = parts.peer_tasks
        assert tasks is not None
        tasks.candidates_malformed = 3
        first, second = media.peers[0], FakePeer(media, media.peers[0].setup)
        first.statistics = lambda: counted(5, 0.1)  # type: ignore[method-assign]  # one instance
        before = session.statistics()
        assert before.peer == counted(5, 0.1)
        second.statistics = lambda: counted(2, 0.7)  # type: ignore[method-assign]  # one instance
        assert parts.link is not None
        parts.plug_peer(second, type(tasks)(parts.link, tasks._signals, tasks._timeline))
        after = session.statistics()
        assert after.peer is not None
        assert after.peer.packets_received == 70
        assert after.peer.video == VideoStatistics("VP8", frames_decoded=7, jitter=0.7)
        assert after.candidates_malformed == 3
        difference = (after - before).peer
        assert difference is not None
        assert difference.video == VideoStatistics("VP8", frames_decoded=2, jitter=0.7)
        parts.plug_link(parts.link)  # as a new one would be
        assert session.statistics().messages_received == 2 * after.messages_received


async def test_snapshots_of_a_session_subtract(autojump_clock: trio.testing.MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session:
        before = session.statistics()
        assert before.frame_age is None
        for value in range(3):
            media.peers[0].show(_pixels(value))
        await trio.sleep(2)
        await session.screen.frame()
        await session.send_event("any/event")
        between = session.statistics() - before
    assert (between.frames_shown, between.frames_unseen, between.messages_sent) == (3, 2, 1)
    assert between.frame_age == pytest.approx(2)
    assert between.mean_frame_age == 0
    assert between.seconds == pytest.approx(2)
    assert session.statistics().frames_shown == 3  # after the end, too


def _pixels(value: int) -> NDArray[np.uint8]:
    return np.full((48, 64, 3), value, np.uint8)


# -- the round trip


class Slow:
    """The way back from a fake peer: answers lie here until they are let go."""

    def __init__(self, peer: FakePeer) -> None:
        self._on_data, self.answers = peer.setup.on_data, list[bytes]()
        peer.setup.on_data = self.answers.append

    def let_go(self) -> None:
        for answer in self.answers:
            self._on_data(answer)
        self.answers.clear()


async def test_the_round_trip_is_measured_now_and_then(autojump_clock: trio.testing.MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session:
        await trio.testing.wait_all_tasks_blocked()
        assert session.statistics().round_trip == 0.0  # the fake peer answers at once
        slow = Slow(media.peers[0])
        await trio.sleep(PING_INTERVAL + 0.03)
        slow.let_go()
        statistics = session.statistics()
        assert statistics.round_trip == pytest.approx(0.03)
        assert (statistics.pings_sent, statistics.pongs_received) == (2, 2)

        await trio.sleep(2 * PING_INTERVAL)  # two more, the first of them lost
        slow.answers.pop(0)
        slow.let_go()
        statistics = session.statistics()
        assert (statistics.pings_sent, statistics.pongs_received) == (4, 3)
        assert media.peers[0].inputs == []


async def test_an_answer_that_comes_after_the_next_ping_says_nothing(autojump_clock: trio.testing.MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session:
        await trio.testing.wait_all_tasks_blocked()
        slow = Slow(media.peers[0])
        await trio.sleep(2 * PING_INTERVAL + 1)
        late, answer = slow.answers
        slow.answers = [late, late]
        slow.let_go()
        assert session.statistics().pongs_received == 1
        slow.answers = [answer, answer]
        slow.let_go()
        assert session.statistics().pongs_received == 2


async def test_pings_and_barriers_do_not_take_each_others_answers(autojump_clock: trio.testing.MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session, session.control():
        await trio.testing.wait_all_tasks_blocked()
        slow = Slow(media.peers[0])
        await session.mouse.move(1, 1)
        flushed = trio.Event()

        async def flush() -> None:
            await session.flush()
            flushed.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flush)
            await trio.sleep(PING_INTERVAL + 0.5)
            barrier, ping = slow.answers
            slow.answers = [ping]
            slow.let_go()
            await trio.testing.wait_all_tasks_blocked()
            assert not flushed.is_set()
            assert session.statistics().pongs_received == 2
            slow.answers = [barrier]
            slow.let_go()
            await flushed.wait()
        assert session.statistics().pongs_received == 2
        slow.let_go()
    assert [type(message) for message in media.peers[0].inputs[:1]] == [data_channel.Move]


async def test_without_a_data_channel_nothing_is_measured(autojump_clock: trio.testing.MockClock) -> None:
    async with open_scripted_session(ScriptedServer(), FakeMedia(data_channel=False)) as session:
        await trio.sleep(60)
        statistics = session.statistics()
    assert (statistics.round_trip, statistics.pings_sent) == (None, 0)


async def test_a_channel_that_closes_ends_the_measuring_and_not_the_session(
    autojump_clock: trio.testing.MockClock,
) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session:
        await trio.testing.wait_all_tasks_blocked()
        media.peers[0]._channel_open = trio.Event()
        await trio.sleep(60)
        assert session.statistics().pings_sent == 1


@pytest.mark.real_time
async def test_a_real_session_knows_its_round_trip(neko_session: neko_trio.Session) -> None:
    await neko_session.screen.frame()
    with trio.fail_after(10):
        while neko_session.statistics().round_trip is None:
            await neko_session.screen.frame(newer_than=await neko_session.screen.frame())
    statistics = neko_session.statistics()
    assert statistics.round_trip is not None
    assert 0 < statistics.round_trip < 5
    assert statistics.frame_age is not None
    assert statistics.peer is not None
    assert statistics.peer.video is not None
    assert statistics.bitrate > 0
    assert statistics.decode_time is not None
