"""The microphone over scripted signaling, in virtual time: what is held back, what is cleared, who may, how it ends."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from neko_trio._peer_microphone import PLAYER_DELAY
from neko_trio._ports.microphone import UNREPORTED_LIMIT, Nothing, SoundQueue
from neko_trio.errors import (
    AudioOff,
    FeatureOff,
    InvalidInput,
    MicrophoneTaken,
    NotAllowed,
    ProtocolViolation,
    SessionClosed,
    SessionLost,
)
from neko_trio.protocol import events, requests
from neko_trio.testing import FakeMedia, FakePeer, ScriptedServer, cancel_at_every_step, open_scripted_session
from neko_trio.testing._scripted import OFFER, profile, system_init

PACKET = 960


def ramp(seconds: float, start: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """So much sound, of which every sample says where it stands (modulo 30,000), and none is 0."""
    return (np.arange(start - 1, start - 1 + round(seconds * 48_000)) % 30_000 + 1).astype(np.int16)


def heard(peer: FakePeer) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """What the server was sent, less the silence at the ends of packets."""
    sound = np.concatenate([samples for _, samples in peer.microphone.heard] or [np.zeros((0, 2), np.int16)])
    assert (sound[:, 0] == sound[:, 1]).all()
    return np.asarray(sound[sound[:, 0] != 0, 0])


async def test_what_is_written_is_sent_in_real_time_and_held_back(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media) as session:
        (peer,) = media.peers
        assert server.got(requests.SignalOffer) == []  # nothing is said of it before it is wanted
        async with session.microphone() as mic:
            assert peer.microphone.offers == [True]
            assert mic.queued_duration == 0
            began = trio.current_time()
            await mic.write(ramp(0.2))
            assert trio.current_time() == began  # there was room
            assert mic.queued_duration == pytest.approx(0.2)
            await mic.write(ramp(1, 9601))
            assert trio.current_time() - began == pytest.approx(1.0, abs=0.021)  # all but what the buffer holds
            assert mic.queued_duration == pytest.approx(0.2, abs=0.021)
            await mic.wait_for_playout()
            assert trio.current_time() - began == pytest.approx(1.2, abs=0.021)
            assert mic.queued_duration == 0
            assert np.array_equal(heard(peer), ramp(1.2))
            times = [at - began for at, _ in peer.microphone.heard]
            assert times == pytest.approx([number * 0.02 for number in range(61)])  # and one of silence at the end
            await trio.sleep(5)
            assert len(peer.microphone.heard) == 61  # nothing is sent while there is nothing to say
            await mic.write(ramp(0.02))
            await mic.flush()
            assert heard(peer).size == 1.22 * 48_000
        assert peer.microphone.offers == [True, False]
        assert not peer.microphone.listening


@given(pieces=st.lists(st.integers(0, 3000), max_size=12), buffer=st.sampled_from([0.02, 0.05, 0.2]))
@settings(max_examples=40, deadline=None)
def test_no_sample_is_lost_or_moved_however_it_is_cut(pieces: list[int], buffer: float) -> None:
    async def main() -> None:
        media = FakeMedia()
        async with open_scripted_session(ScriptedServer(), media) as session:
            async with session.microphone(buffer=buffer) as mic:
                at = 0
                for size in pieces:
                    await mic.write(ramp(size / 48_000, at + 1))
                    assert mic.queued_duration <= buffer + 1e-9
                    at += size
                await mic.wait_for_playout()
            assert np.array_equal(heard(media.peers[0]), ramp(at / 48_000))

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_a_source_that_is_only_just_in_time_is_heard_without_a_hole(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session:
        async with session.microphone() as mic:
            for number in range(100):  # 10 ms each, as a device gives it, and now and then one comes 8 ms late
                await mic.write(ramp(0.01, number * 480 + 1))
                await trio.sleep(0.018 if number % 20 == 7 else 0.002 if number % 20 == 8 else 0.01)
            await mic.wait_for_playout()
        sound = np.concatenate([samples[:, 0] for _, samples in media.peers[0].microphone.heard])
        assert np.array_equal(sound[: 48_000 - PACKET], ramp(1)[: 48_000 - PACKET])


async def test_floats_and_one_channel_or_two_are_the_same_sound(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    whole = np.array([0, 1, -1, 100, 32767, -32767], np.int16)
    tones = whole / 32767
    async with open_scripted_session(ScriptedServer(), media) as session, session.microphone() as mic:
        for sound in (
            whole,
            whole[:, np.newaxis],
            np.stack([whole, whole], axis=1),
            tones.astype(np.float32),
            tones,
            np.stack([tones, tones], axis=1).astype(np.float32)[::1],
        ):
            await mic.write(sound)
        await mic.write(np.array([2.0, -2.0]))  # clipped
        await mic.wait_for_playout()
        sent = np.concatenate([samples for _, samples in media.peers[0].microphone.heard])
    assert sent[:38, 0].tolist() == sent[:38, 1].tolist() == whole.tolist() * 6 + [32767, -32767]


@pytest.mark.parametrize(
    "pcm",
    [
        [0, 1],
        b"\0\0",
        np.zeros(10, np.int32),
        np.zeros(10, np.uint8),
        np.zeros(10, bool),
        np.zeros((10, 3), np.int16),
        np.zeros((10, 0), np.int16),
        np.zeros((2, 2, 2), np.int16),
        np.array(0, np.int16),
        np.array([0.0, np.nan]),
        np.array([np.inf], np.float32),
    ],
    ids=str,
)
async def test_what_is_no_sound_is_refused_and_nothing_of_it_is_heard(autojump_clock: MockClock, pcm: object) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session, session.microphone() as mic:
        with pytest.raises(InvalidInput, match="pcm"):
            await mic.write(pcm)  # type: ignore[arg-type]
        assert mic.queued_duration == 0
        await trio.sleep(1)
        assert media.peers[0].microphone.heard == []


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 44_101},
        {"rate": 0},
        {"rate": 48_000.0},
        {"rate": True},
        {"rate": 384_000},
        {"buffer": 0.01},
        {"buffer": 11},
        {"buffer": float("nan")},
        {"buffer": "1"},
        {"bitrate": 5_999},
        {"bitrate": 600_000},
        {"bitrate": 64_000.5},
    ],
    ids=str,
)
async def test_options_that_cannot_be_are_refused_before_anything_is_sent(
    autojump_clock: MockClock, options: dict[str, object]
) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media) as session:
        with pytest.raises(InvalidInput, match=next(iter(options))):
            async with session.microphone(**options):  # type: ignore[arg-type]
                pass
    assert server.got(requests.SignalOffer) == []


# -- cleared


async def test_a_cleared_microphone_is_silent_at_once_and_speaks_again(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session, session.microphone() as mic:
        await mic.write(ramp(0.2))
        await trio.sleep(0.05)
        mic.clear()
        assert mic.queued_duration == 0
        cleared = trio.current_time()
        await mic.wait_for_playout()
        assert trio.current_time() - cleared <= 0.02
        (peer,) = media.peers
        assert heard(peer).size == 3 * PACKET
        await mic.write(ramp(0.1, 5001))
        await mic.wait_for_playout()
        assert np.array_equal(heard(peer)[3 * PACKET :], ramp(0.1, 5001))
        mic.clear()
        await mic.wait_for_playout()


@pytest.mark.parametrize("at", ["write", "playout", "block"])
async def test_cancelled_or_left_what_is_queued_is_not_heard(autojump_clock: MockClock, at: str) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session:
        (peer,) = media.peers
        async with session.microphone() as mic:
            if at == "write":
                with trio.move_on_after(0.05):
                    await mic.write(ramp(3))
            else:
                await mic.write(ramp(0.2))
                with trio.move_on_after(0.05):
                    if at == "playout":
                        await mic.wait_for_playout()
                    await trio.sleep(1)
            if at != "block":
                assert mic.queued_duration == 0
                await trio.sleep(1)
        assert heard(peer).size == 3 * PACKET
        assert not peer.microphone.listening
        with pytest.raises(SessionClosed):
            await mic.write(ramp(1))
        with pytest.raises(SessionClosed):
            await mic.wait_for_playout()
        assert peer.microphone.offers == [True, False]


async def test_who_waits_for_its_turn_to_write_clears_nothing(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session, session.microphone() as mic:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mic.write, ramp(1))
            await wait_all_tasks_blocked()
            with trio.move_on_after(0.1):
                await mic.write(ramp(1))
        await mic.wait_for_playout()
        assert np.array_equal(heard(media.peers[0]), ramp(1))


async def test_the_last_word_may_sound_before_its_track_is_taken_back(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session:
        (peer,) = media.peers
        for said, wait, lingers in (
            (0.0, 0.0, 0.0),
            (0.1, 0.0, PLAYER_DELAY),
            (0.1, 0.1, PLAYER_DELAY - 0.1),
            (0.1, 1.0, 0.0),
        ):
            async with session.microphone() as mic:
                await mic.write(ramp(said))
                await mic.wait_for_playout()
                await trio.sleep(wait)
                left = trio.current_time()
            assert trio.current_time() - left == pytest.approx(lingers, abs=0.001)
        with trio.move_on_after(0.1 + 0.05) as scope:  # cancelled, it does not wait
            async with session.microphone() as mic:
                await mic.write(ramp(0.1))
                await mic.wait_for_playout()
        assert scope.cancelled_caught
        assert trio.current_time() == scope.deadline
        assert peer.microphone.offers == [True, False] * 5


# -- who may, and one at a time


async def test_without_the_right_it_is_refused_at_once(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    server.init = system_init(member=profile(without="can_share_media"))
    async with open_scripted_session(server, media) as session:
        with pytest.raises(NotAllowed, match="can_share_media"):
            async with session.microphone():
                pass
    assert server.got(requests.SignalOffer) == []


async def test_private_mode_and_another_host_do_not_matter(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    server.init = system_init(settings=events.Settings(locked_controls=True), host="somebody")
    async with open_scripted_session(server, media) as session:
        shut = events.Settings(private_mode=True, locked_controls=True)
        server.send(events.SystemSettings(id="admin", settings=shut))
        await session.wait_state(lambda state: state.settings.private_mode)
        async with session.microphone() as mic:
            await mic.write(ramp(0.1))
            await mic.flush()
    assert heard(media.peers[0]).size == 4800


async def test_without_a_peer_it_is_refused_at_once(autojump_clock: MockClock) -> None:
    server = ScriptedServer()
    async with open_scripted_session(server, FakeMedia(), video="off") as session:
        with pytest.raises(AudioOff, match="on_demand"):
            async with session.microphone():
                pass
    with pytest.raises(SessionClosed):
        async with session.microphone():
            pass


async def test_one_at_a_time(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    async with open_scripted_session(server, media) as session:
        async with session.microphone() as mic:
            with pytest.raises(MicrophoneTaken):
                async with session.microphone():
                    pass
            await mic.write(ramp(0.1))
            await mic.wait_for_playout()
        async with session.microphone() as mic:
            await mic.write(ramp(0.1))
            await mic.wait_for_playout()
        assert media.peers[0].microphone.offers == [True, False, True, False]


# -- a server that does not take it


async def test_a_server_that_has_no_microphone_is_noticed(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session:
        media.peers[0].microphone.deaf = True
        async with session.microphone() as mic:
            began = trio.current_time()
            with pytest.raises(FeatureOff, match=r"capture\.microphone"):
                await mic.write(ramp(60))
            assert trio.current_time() - began == pytest.approx(UNREPORTED_LIMIT * 0.02, abs=0.03)
            with pytest.raises(FeatureOff):
                await mic.wait_for_playout()
        async with session.microphone() as mic:
            await mic.write(ramp(0.1))
            await mic.wait_for_playout()  # too short to say
            with pytest.raises(FeatureOff, match="4 s"):
                await mic.flush()


async def test_another_client_that_takes_it_is_noticed_also_over_short_words(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session, session.microphone() as mic:
        await mic.write(ramp(1))
        await mic.flush()
        media.peers[0].microphone.deaf = True
        said: list[float] = []
        with pytest.raises(MicrophoneTaken, match="another client"):
            while len(said) < 100:
                await mic.write(ramp(0.5))
                await mic.wait_for_playout()
                said.append(0.5)
                await trio.sleep(3)
        assert sum(said) == 3.5  # noticed in the fourth second of words


async def test_a_server_that_does_not_answer_is_told_as_such(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    server.on["signal/offer"] = lambda _request: None
    async with open_scripted_session(server, media) as session:
        with pytest.raises(ProtocolViolation, match="microphone"):
            async with session.microphone():
                raise AssertionError("it was not answered")
        assert not media.peers[0].microphone.listening
        server.on["signal/offer"] = lambda _request: server.send(events.SignalAnswer(sdp="v=0"))
        async with session.microphone():
            await wait_all_tasks_blocked()
            assert media.peers[0].microphone.listening


async def test_an_offer_that_crosses_one_of_the_servers_is_made_again(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    crossed: list[bool] = []

    def cross(_request: requests.ClientRequest) -> None:
        if not crossed:
            crossed.append(True)
            server.send(events.SignalOffer(sdp=OFFER))  # and refuses ours, having one of its own
        else:
            server.send(events.SignalAnswer(sdp="v=0"))

    server.on["signal/offer"] = cross
    async with open_scripted_session(server, media) as session, session.microphone() as mic:
        await mic.write(ramp(0.1))
        await mic.wait_for_playout()
    assert len(server.got(requests.SignalAnswer)) == 2
    assert len(server.got(requests.SignalOffer)) == 3
    assert heard(media.peers[0]).size == 4800


async def test_an_offer_of_the_servers_is_answered_before_ours_is_made(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia(delays={"renegotiate": 0.5})
    async with open_scripted_session(server, media) as session:
        server.send(events.SignalOffer(sdp=OFFER))
        await wait_all_tasks_blocked()
        async with session.microphone():
            assert trio.current_time() == pytest.approx(0.5)
    described = [each for each in server.requests if isinstance(each, requests.SignalAnswer | requests.SignalOffer)]
    assert [type(each).__name__ for each in described] == ["SignalAnswer"] * 2 + ["SignalOffer"] * 2


# -- the end


async def test_the_end_of_the_session_ends_a_write(autojump_clock: MockClock) -> None:
    server, media = ScriptedServer(), FakeMedia()
    with pytest.raises(SessionLost):
        async with open_scripted_session(server, media) as session, session.microphone() as mic:
            server.end()
            await mic.write(ramp(60))
    assert media.open_peers == set()


async def test_a_microphone_left_open_ends_with_its_session(autojump_clock: MockClock) -> None:
    media = FakeMedia()
    async with open_scripted_session(ScriptedServer(), media) as session:
        opened = session.microphone()
        mic = await opened.__aenter__()
        await mic.write(ramp(0.1))
    assert not media.peers[0].microphone.listening
    with pytest.raises(SessionClosed):
        await mic.write(ramp(0.1))
    before = trio.current_time()
    await opened.__aexit__(None, None, None)
    assert trio.current_time() == before


def test_it_is_left_clean_at_every_step() -> None:
    made: list[tuple[ScriptedServer, FakeMedia]] = []

    async def scenario() -> None:
        server, media = ScriptedServer(), FakeMedia()
        made.append((server, media))
        async with open_scripted_session(server, media) as session:
            async with session.microphone(buffer=0.04) as mic:
                await mic.write(ramp(0.1))
                await mic.flush()
            await trio.sleep(0.01)

    def check() -> None:
        server, media = made[-1]
        assert (server.connections, server.logins - server.logouts, len(media.open_peers)) == (0, 0, 0)
        for peer in media.peers:
            assert not peer.microphone.listening
            assert peer.microphone.offers in ([], [True], [True, False], [False])

    assert cancel_at_every_step(scenario, check) > 60
    _, media = made[-1]
    assert heard(media.peers[0]).size == 4800  # it came to its end at last


# -- the queue between two threads


async def test_a_sender_in_another_thread_gets_every_sample_once() -> None:
    queue = SoundQueue(rate=48_000, limit=PACKET * 3)
    sound = threading.Event()
    taken: list[np.ndarray[tuple[int, ...], np.dtype[np.int16]]] = []
    queue.wake = sound.set

    def send() -> None:
        while True:
            samples = queue.take()
            if samples is Nothing.ANY_MORE:
                if not sound.wait(5):
                    return
                sound.clear()
                if ended.is_set():
                    return
            elif not isinstance(samples, Nothing):
                taken.append(samples)

    ended = threading.Event()
    every = np.repeat((np.arange(300_000) % 30_000 + 1).astype(np.int16)[:, np.newaxis], 2, axis=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, send)
        with trio.fail_after(20):
            for at in range(0, len(every), 7_001):
                await queue.write(every[at : at + 7_001])
            await queue.wait_silent()
        ended.set()
        sound.set()
    got = np.concatenate(taken)
    assert np.array_equal(got[got[:, 0] != 0], every)
