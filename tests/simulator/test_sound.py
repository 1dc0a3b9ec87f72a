"""The simulator's sound: the desktop's voice, encoded once, for as long as somebody listens."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
import trio

import neko_trio
from neko_trio._ports.audio import AudioBlocks
from neko_trio.simulator import InputEvent, Simulator, open_simulator
from neko_trio.simulator._desktop import LockedDesktop, Samples, Sounding
from neko_trio.simulator._media import DesktopFailed
from neko_trio.simulator._picture import Bytes2D
from neko_trio.simulator._sound import PACKET, _encode, _open_encoder
from tests.audio.tones import LEFT, LEVEL, RATE, RIGHT, frequency, level, tones

SIZE = (320, 200)


class Quiet:
    """A dark screen."""

    def render(self, now: float, /) -> Bytes2D:
        return np.zeros((SIZE[1], SIZE[0], 3), np.uint8)

    def on_input(self, event: InputEvent, /) -> None:
        pass


class Tones(Quiet):
    """A dark screen that sounds. Counts how often it is asked to."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def sound(self, start: int, count: int, /) -> Samples:
        self.asked.append(start)
        return tones(start, count)


@asynccontextmanager
async def heard(desktop: Quiet) -> AsyncIterator[tuple[Simulator, neko_trio.Session]]:
    with trio.fail_after(30):
        async with (
            open_simulator(size=SIZE, desktop=desktop) as simulator,
            neko_trio.open_session(simulator.url, password=simulator.password, audio=True, video="off") as session,
        ):
            yield simulator, session


async def take(blocks: AudioBlocks, count: int) -> list[neko_trio.AudioBlock]:
    return [await anext(blocks) for _ in range(count)]


@pytest.mark.real_time
async def test_a_desktop_is_heard_as_it_sounds() -> None:
    desktop = Tones()
    async with heard(desktop) as (_, session), session.audio.blocks(buffer=200) as blocks:
        got = await take(blocks, 60)
    assert [block.position for block in got] == [n * PACKET for n in range(60)]
    assert not any(block.lost or block.concealed for block in got)
    assert {(block.rate, block.samples.shape) for block in got} == {(RATE, (PACKET, 2))}
    sound = np.concatenate([block.samples for block in got])[RATE // 5 :]
    assert frequency(sound[:, 0]) == pytest.approx(LEFT, abs=2)
    assert frequency(sound[:, 1]) == pytest.approx(RIGHT, abs=2)
    assert level(sound[:, 0]) == pytest.approx(LEVEL, rel=0.02)
    assert level(sound[:, 1]) == pytest.approx(LEVEL / 2, rel=0.02)
    assert desktop.asked == [n * PACKET for n in range(len(desktop.asked))]


@pytest.mark.real_time
async def test_it_sounds_only_while_somebody_listens_and_goes_on_where_it_was() -> None:
    desktop = Tones()
    async with heard(desktop) as (simulator, session):
        await trio.sleep(0.1)
        assert desktop.asked == []
        async with session.audio.blocks() as blocks:
            await take(blocks, 3)
        off = await simulator.journal.wait_for(
            lambda entry: entry.event == "signal/audio" and '"disabled":true' in str(entry.message).replace(" ", "")
        )
        assert off.direction in ("received", "sent")
        await trio.sleep(0.05)  # a packet may be on its way
        asked = len(desktop.asked)
        await trio.sleep(0.1)
        assert len(desktop.asked) == asked
        async with session.audio.blocks() as blocks:
            await take(blocks, 1)
        assert desktop.asked == [n * PACKET for n in range(len(desktop.asked))]


@pytest.mark.real_time
async def test_a_desktop_without_a_voice_is_silent() -> None:
    async with heard(Quiet()) as (_, session), session.audio.blocks() as blocks:
        got = await take(blocks, 5)
    assert not any(block.samples.any() for block in got)
    assert [block.position for block in got] == [n * PACKET for n in range(5)]


@pytest.mark.real_time
async def test_in_private_mode_nothing_is_heard_and_afterwards_it_goes_on() -> None:
    desktop = Tones()
    async with (
        heard(desktop) as (simulator, session),
        simulator.person("alice", admin=True) as alice,
        session.audio.blocks() as blocks,
    ):
        await take(blocks, 3)
        await alice.set_settings(private_mode=True)
        with trio.move_on_after(0.3):
            await take(blocks, 1000)
        with trio.move_on_after(0.1) as scope:
            await anext(blocks)
        assert scope.cancelled_caught, "it is heard in private mode"
        await alice.set_settings(private_mode=False)
        (block,) = await take(blocks, 1)
        assert (block.lost, block.concealed) == (0, False)


@pytest.mark.real_time
async def test_several_listeners_share_one_voice() -> None:
    desktop = Tones()
    with trio.fail_after(30):
        async with (
            open_simulator(size=SIZE, desktop=desktop) as simulator,
            neko_trio.open_session(simulator.url, password=simulator.password, audio=True) as one,
            neko_trio.open_session(simulator.url, password=simulator.password, audio=True) as two,
            one.audio.blocks() as first,
            two.audio.blocks() as second,
        ):
            await take(first, 10)
            await take(second, 10)
    assert desktop.asked == [n * PACKET for n in range(len(desktop.asked))]
    assert not [thread for thread in threading.enumerate() if "simulator-sound" in thread.name]


@pytest.mark.real_time
async def test_a_voice_that_fails_ends_the_simulator() -> None:
    class Hoarse(Quiet):
        def sound(self, start: int, count: int, /) -> Samples:
            return tones(start, count - 1)

    with pytest.raises(DesktopFailed, match="samples"):
        async with open_simulator(size=SIZE, desktop=Hoarse()) as simulator:
            with pytest.raises(neko_trio.SessionLost):
                async with (
                    neko_trio.open_session(simulator.url, password=simulator.password, audio=True) as session,
                    session.audio.blocks() as blocks,
                ):
                    await anext(blocks)


def test_floats_and_one_channel_are_taken_too() -> None:
    from neko_trio.media.audio.decoder import AUDIO_FORMATS, AudioDecoder

    encoder, decoder = _open_encoder(), AudioDecoder(AUDIO_FORMATS["OPUS"])
    pieces = []
    for n in range(50):
        mono = tones(n * PACKET, PACKET)[:, 0].astype(np.float32) / 32767
        pieces += [decoder.decode(packet) for packet in _encode(encoder, mono, n * PACKET)]
    sound = np.concatenate(pieces)[RATE // 5 :]
    for channel in (0, 1):
        assert frequency(sound[:, channel]) == pytest.approx(LEFT, abs=2)
        assert level(sound[:, channel]) == pytest.approx(LEVEL, rel=0.02)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((PACKET - 1, 2), np.int16),
        np.zeros((PACKET, 3), np.int16),
        np.zeros((2, PACKET), np.int16),
        np.zeros((PACKET, 2), np.int32),
    ],
)
def test_anything_else_is_refused(samples: Samples) -> None:
    with pytest.raises(ValueError, match="sound:"):
        _encode(_open_encoder(), samples, 0)


def test_the_lock_is_held_while_it_sounds() -> None:
    class Nosy(Tones):
        locked: LockedDesktop

        def sound(self, start: int, count: int, /) -> Samples:
            assert self.locked._lock.locked()
            return super().sound(start, count)

    desktop = Nosy()
    desktop.locked = LockedDesktop(desktop)
    assert desktop.locked.sounds
    assert desktop.locked.sound(0, PACKET).shape == (PACKET, 2)
    assert isinstance(desktop, Sounding)
    assert not LockedDesktop(Quiet()).sounds
