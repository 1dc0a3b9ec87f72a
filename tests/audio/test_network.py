"""Sound over a real connection to the simulator: a bad network, slow readers, cancelling, and nothing left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import numpy as np
import pytest
import trio

import neko_trio
from neko_trio.simulator import InputEvent, Simulator, open_simulator
from neko_trio.testing import LossyNetwork, leak_check
from tests.audio.tones import LEFT, LEVEL, RATE, frequency, level, tones

pytestmark = pytest.mark.real_time


class Tones:
    """A dark screen that sounds."""

    def render(self, now: float, /) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.zeros((200, 320, 3), np.uint8)

    def on_input(self, event: InputEvent, /) -> None:
        pass

    def sound(self, start: int, count: int, /) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
        return tones(start, count)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with open_simulator(size=(320, 200), desktop=Tones()) as opened:
        yield opened


@asynccontextmanager
async def listening(
    simulator: Simulator, media: LossyNetwork | None = None, *, video: str = "off"
) -> AsyncIterator[neko_trio.Session]:
    with trio.fail_after(40):
        async with neko_trio.open_session(
            simulator.url, password=simulator.password, audio=True, video=video, media=media
        ) as session:
            yield session


async def test_five_percent_loss_is_bridged_and_counted(simulator: Simulator) -> None:
    network = LossyNetwork(loss=0.05, reorder=0.05, duplicate=0.02, seed=5)
    blocks = []
    async with listening(simulator, network) as session, session.audio.blocks(buffer=500) as reader:
        async for block in reader:
            blocks.append(block)
            if block.position + len(block.samples) >= 6 * RATE:
                break
        audio = session.statistics().peer
        assert audio is not None
        assert audio.audio is not None
        statistics = audio.audio
    assert all(b.position == a.position + len(a.samples) + b.lost for a, b in pairwise(blocks))
    concealed = [block for block in blocks if block.concealed]
    assert 5 <= sum(len(block.samples) for block in concealed) // 960 <= 45
    assert statistics.blocks_concealed >= len(concealed)
    assert statistics.packets_lost >= len(concealed)
    assert sum(block.lost for block in blocks) == 0  # no burst was longer than what is concealed
    sound = np.concatenate([block.samples for block in blocks])[RATE // 5 :]
    assert frequency(sound[:, 0]) == pytest.approx(LEFT, abs=2)
    assert level(sound[:, 0]) == pytest.approx(LEVEL, rel=0.1)
    waited = [later.arrived - earlier.arrived for earlier, later in pairwise(blocks)]
    assert max(waited) < 0.5


async def test_a_network_that_is_cut_for_a_while_leaves_a_gap_that_is_told(simulator: Simulator) -> None:
    network = LossyNetwork()
    async with listening(simulator, network) as session, session.audio.blocks(buffer=500) as reader:
        for _ in range(10):
            last = await anext(reader)
        network.change(loss=1.0)
        with trio.move_on_after(1.0):
            while True:
                last = await anext(reader)
        network.change(loss=0.0)
        bridge, behind = await anext(reader), await anext(reader)
    assert bridge.concealed
    assert bridge.position == last.position + 960
    assert len(bridge.samples) == 0.4 * RATE
    assert behind.lost > 0
    assert behind.position == bridge.position + len(bridge.samples) + behind.lost


async def test_pictures_and_sound_come_side_by_side(simulator: Simulator) -> None:
    async with listening(simulator, video="live") as session, session.audio.blocks() as blocks:
        first = await session.screen.frame()
        for _ in range(10):
            await anext(blocks)
        assert (await session.screen.frame(newer_than=first)).number > first.number
        peer = session.statistics().peer
        assert peer is not None
        assert (peer.codec, peer.audio and peer.audio.codec) == ("VP8", "OPUS")


async def test_nothing_is_sent_or_decoded_that_nobody_listens_to(simulator: Simulator) -> None:
    async with listening(simulator) as session:
        await trio.sleep(0.2)
        peer = session.statistics().peer
        assert peer is not None
        assert peer.audio is not None
        assert (peer.audio.packets_received, peer.audio.blocks_decoded) == (0, 0)
        async with session.audio.blocks() as blocks:
            await anext(blocks)
        decoded = session.statistics().audio_blocks
        await trio.sleep(0.3)  # the server sends on for a moment
        peer = session.statistics().peer
        assert peer is not None
        assert peer.audio is not None
        assert peer.audio.packets_unheard > 5
        assert session.statistics().audio_blocks == decoded


async def test_a_slow_reader_does_not_hold_up_a_quick_one(simulator: Simulator) -> None:
    async with listening(simulator) as session, session.audio.blocks(buffer=3) as slow, session.audio.blocks() as quick:
        for _ in range(20):
            await anext(quick)
        numbers = [(await anext(slow)).number for _ in range(3)]
        assert numbers[0] > 10
        assert slow.dropped >= 10
        assert quick.dropped == 0


async def test_sessions_with_sound_leave_nothing() -> None:
    async def listen(*, seconds: float, video: str) -> None:
        async with open_simulator(size=(320, 200), desktop=Tones()) as simulator:
            with trio.move_on_after(seconds):
                async with listening(simulator, video=video) as session, session.audio.blocks() as blocks:
                    for _ in range(5):
                        await anext(blocks)

    await listen(seconds=30, video="off")  # the first costs the imports
    for video in ("live", "off"):
        with leak_check():
            await listen(seconds=30, video=video)
    for moment in (0.01, 0.03, 0.06, 0.1, 0.15, 0.2):
        with leak_check():
            await listen(seconds=moment, video="off")
