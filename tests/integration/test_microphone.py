"""Speaking into the desktop on real sockets: the embedded server, or with ``--neko-url`` a real one.

What a program on the desktop then hears can be looked at on the embedded one only; that a real server takes the sound
is known by its reports (``flush``), and by their absence.
"""

from __future__ import annotations

import numpy as np
import pytest
import trio

import neko_trio
from neko_trio import Session
from neko_trio.errors import FeatureOff, MicrophoneTaken, NotAllowed, SessionClosed
from neko_trio.media.bridge import open_lease, open_loops
from neko_trio.simulator import Member, Profile, open_simulator
from neko_trio.testing import TestServer, leak_check
from tests.audio.tones import LEFT, LEVEL, RIGHT, frequency, level, tones
from tests.integration.conftest import open_watch, unique

pytestmark = pytest.mark.real_time

SPEECH = 0.6
"""Seconds; a word."""


async def say(session: Session, seconds: float = SPEECH) -> None:
    """Say tones, until the server has them."""
    async with session.microphone() as mic:
        await mic.write(tones(0, round(seconds * 48_000)))
        with trio.fail_after(seconds + 5):
            await mic.flush()


@pytest.mark.parametrize("video", ["live", "on_demand"])
async def test_a_word_is_taken_twice_and_nothing_is_left(apart: TestServer, video: str) -> None:
    name = unique("speaker")
    async with open_watch(apart) as watch:
        with leak_check():
            async with neko_trio.open_session(
                apart.url, username=name, password=apart.password, video=video
            ) as session:
                await say(session)
                await say(session)
                assert session.epoch == 1  # the peer connection is the same
                frame = await session.screen.frame(fresh=video == "live")  # and the picture goes on
                assert frame.epoch == 1
        await watch.gone(name)


async def test_one_speaks_and_listens_on_one_connection(apart: TestServer) -> None:
    async with neko_trio.open_session(
        apart.url, username=unique("both"), password=apart.password, audio=True, video="off"
    ) as session:
        async with session.audio.blocks() as blocks:
            with trio.fail_after(10):
                await anext(blocks)
            await say(session)
            with trio.fail_after(10):
                heard = [await anext(blocks) for _ in range(25)]
        assert not any(block.lost for block in heard[1:])


async def test_the_input_of_the_desktop_goes_on_beside_it(apart: TestServer) -> None:
    async with (
        neko_trio.open_session(apart.url, username=unique("both"), password=apart.password) as session,
        session.control(wait=True),
        session.microphone() as mic,
    ):
        await mic.write(tones(0, 9600))
        await session.mouse.move(100, 100)
        await session.flush()
        with trio.fail_after(5):
            await mic.flush()


async def test_the_last_to_speak_has_the_microphone(apart: TestServer) -> None:
    async with (
        neko_trio.open_session(apart.url, username=unique("one"), password=apart.password, video="on_demand") as one,
        neko_trio.open_session(apart.url, username=unique("two"), password=apart.password, video="on_demand") as two,
    ):
        async with one.microphone() as first:
            await first.write(tones(0, 24_000))
            with trio.fail_after(5):
                await first.flush()
            await say(two)
            with trio.fail_after(10), pytest.raises(MicrophoneTaken):
                await first.write(tones(0, 48_000 * 20))
        await say(one)  # opened again, it is taken back


async def test_cancelled_in_the_middle_of_a_word(apart: TestServer) -> None:
    name = unique("cut")
    async with open_watch(apart) as watch:
        with leak_check():
            async with neko_trio.open_session(apart.url, username=name, password=apart.password) as session:
                for seconds in (0.0, 0.001, 0.004, 0.02, 0.3):
                    with trio.move_on_after(seconds):
                        async with session.microphone() as mic:
                            await mic.write(tones(0, 480_000))
                    tasks = [task for loop in open_loops().values() for task in _names(loop)]
                    assert "neko-trio-microphone" not in tasks
                await say(session)
        await watch.gone(name)


def _names(loop: object) -> list[str]:
    import asyncio

    assert isinstance(loop, asyncio.AbstractEventLoop)
    return [task.get_name() for task in asyncio.all_tasks(loop)]


async def test_a_microphone_left_open_ends_with_its_session(apart: TestServer) -> None:
    async with open_lease():  # so that the loop goes on
        async with neko_trio.open_session(apart.url, username=unique("left"), password=apart.password) as session:
            opened = session.microphone()
            mic = await opened.__aenter__()
            await mic.write(tones(0, 4800))
            (loop,) = (loop for name, loop in open_loops().items() if name == "media")
            assert "neko-trio-microphone" in _names(loop)
        assert "neko-trio-microphone" not in _names(loop)
        with pytest.raises(SessionClosed):
            await mic.write(tones(0, 4800))
        await opened.__aexit__(None, None, None)


# -- what is heard there, and what is refused: the embedded server


@pytest.mark.usefixtures("embedded_only")
@pytest.mark.parametrize("rate", [48_000, 24_000, 16_000, 44_100])
async def test_the_tone_that_is_spoken_is_heard(neko_simulator: TestServer, neko_session: Session, rate: int) -> None:
    assert neko_simulator.simulator is not None
    microphone = neko_simulator.simulator.microphone
    at = np.arange(rate) * (2 * np.pi / rate)
    sound = np.stack([LEVEL * np.sin(LEFT * at), LEVEL / 2 * np.sin(RIGHT * at)], axis=1).astype(np.int16)
    assert microphone.speaker is None
    async with neko_session.microphone(rate=rate) as mic:
        await mic.write(sound)
        assert microphone.speaker == neko_session.state.session_id
        with trio.fail_after(5):
            await mic.flush()
    heard = microphone.samples()
    assert 48_000 <= len(heard) <= 48_000 + 3 * 960
    middle = heard[12_000:36_000]
    assert frequency(middle[:, 0]) == pytest.approx(LEFT, abs=3)
    assert frequency(middle[:, 1]) == pytest.approx(RIGHT, abs=3)
    assert level(middle[:, 0]) == pytest.approx(LEVEL, rel=0.15)
    assert level(middle[:, 1]) == pytest.approx(LEVEL / 2, rel=0.15)
    with trio.fail_after(2):
        await microphone.wait_for(lambda microphone: microphone.speaker is None)


@pytest.mark.usefixtures("embedded_only")
async def test_a_pause_is_no_sound_and_no_packets(neko_simulator: TestServer, neko_session: Session) -> None:
    assert neko_simulator.simulator is not None
    microphone = neko_simulator.simulator.microphone
    async with neko_session.microphone() as mic:
        await mic.write(tones(0, 4800))
        await mic.wait_for_playout()
        await mic.flush()
        before = microphone.heard
        await trio.sleep(0.3)
        assert microphone.heard == before
        await mic.write(tones(4800, 4800))
        with trio.fail_after(5):
            await mic.flush()
        assert microphone.heard - before == 4800 + 960
        assert microphone.starts == 1


async def test_a_server_whose_microphone_is_off_is_noticed() -> None:
    async with (
        open_simulator(microphone=False) as simulator,
        neko_trio.open_session(simulator.url, username="mute", password=simulator.password) as session,
        session.microphone() as mic,
    ):
        with trio.fail_after(8), pytest.raises(FeatureOff):
            await mic.write(tones(0, 48_000 * 20))


async def test_a_member_without_the_right_is_refused_before_and_by_the_server() -> None:
    members = {
        "mute": Member("mute", Profile(name="mute", can_share_media=False)),
        "loud": Member("loud", Profile(name="loud")),
    }
    async with open_simulator(members=members) as simulator:
        async with neko_trio.open_session(simulator.url, username="mute", password="mute") as session:
            with pytest.raises(NotAllowed, match="can_share_media"):
                async with session.microphone():
                    pass
        async with neko_trio.open_session(simulator.url, username="loud", password="loud") as session:
            (loud,) = [each for each in simulator.sessions.values() if each.profile.name == "loud"]
            loud.profile = Profile(name="loud", can_share_media=False)  # behind the client's back
            async with session.microphone() as mic:
                await mic.write(tones(0, 9600))
                with trio.fail_after(8), pytest.raises(FeatureOff):
                    await mic.flush()
            assert (simulator.microphone.starts, simulator.microphone.heard) == (0, 0)
