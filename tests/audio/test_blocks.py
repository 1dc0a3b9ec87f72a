"""The sound port and what a caller sees of it: bounded, counted, shared, and every wait ends."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

from neko_trio._ports.audio import AudioBlock, AudioPort
from neko_trio.audio.sound import Audio
from neko_trio.errors import AudioOff, CallerError, InvalidInput, SessionClosed, SessionLost


def put(port: AudioPort, value: int = 0, *, lost: int = 0, length: int = 960, concealed: bool = False) -> None:
    port.put(np.full((length, 2), value, np.int16), rate=48_000, arrived=1.0, lost=lost, concealed=concealed, epoch=1)


def put_many(port: AudioPort, count: int) -> None:
    for _ in range(count):
        put(port, length=1)


async def test_every_listener_gets_every_block_in_order() -> None:
    port = AudioPort()
    audio = Audio(port, on=True)
    async with audio.blocks() as one, audio.blocks() as two:
        for value in range(5):
            put(port, value)
        for reader in (one, two):
            got = [await anext(reader) for _ in range(5)]
            assert [int(block.samples[0, 0]) for block in got] == [0, 1, 2, 3, 4]
            assert [block.number for block in got] == [1, 2, 3, 4, 5]
            assert [block.position for block in got] == [0, 960, 1920, 2880, 3840]
            assert reader.dropped == 0


async def test_a_gap_moves_the_position_by_what_is_missing() -> None:
    port = AudioPort()
    async with Audio(port, on=True).blocks() as blocks:
        put(port)
        put(port, lost=480)
        put(port, concealed=True)
        got = [await anext(blocks) for _ in range(3)]
    assert [block.position for block in got] == [0, 1440, 2400]
    assert [block.lost for block in got] == [0, 480, 0]
    assert [block.concealed for block in got] == [False, False, True]
    assert got[0].duration == 0.02
    assert repr(got[2]) == "<AudioBlock 3 at 2400: 960 samples x 2, 48000 Hz, concealed>"


async def test_a_slow_reader_loses_the_oldest_blocks_and_knows_how_many() -> None:
    port = AudioPort()
    audio = Audio(port, on=True)
    async with audio.blocks(buffer=3) as slow, audio.blocks() as quick:
        for value in range(10):
            put(port, value)
        assert [(await anext(slow)).number for _ in range(3)] == [8, 9, 10]
        assert (slow.dropped, quick.dropped) == (7, 0)
        assert port.dropped_total == 7


async def test_the_samples_are_shared_and_cannot_be_written() -> None:
    port = AudioPort()
    async with Audio(port, on=True).blocks() as blocks:
        put(port)
        block = await anext(blocks)
        with pytest.raises(ValueError, match="read-only"):
            block.samples[0, 0] = 1
        block.samples.copy()[0, 0] = 1


async def test_what_nobody_listens_to_is_not_even_numbered() -> None:
    port = AudioPort()
    audio = Audio(port, on=True)
    put(port, 1)
    assert not port.wanted
    async with audio.blocks() as blocks:
        assert port.wanted
        put(port, 2)
        block = await anext(blocks)
        assert (block.number, block.position, int(block.samples[0, 0])) == (1, 0, 2)
    put(port, 3)
    async with audio.blocks() as blocks:
        put(port, 4, lost=0)
        block = await anext(blocks)
        assert (block.number, block.position) == (2, 960)


async def test_the_port_tells_whether_it_is_listened_to() -> None:
    port = AudioPort()
    told: list[str] = []

    async def tell() -> None:
        await port.wait_wanted(False)
        told.append("nobody")
        await port.wait_wanted(True)
        told.append("somebody")
        await port.wait_wanted(False)
        told.append("nobody")

    audio = Audio(port, on=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        await trio.testing.wait_all_tasks_blocked()
        assert (told, port.spell) == (["nobody"], 0)
        async with audio.blocks():
            async with audio.blocks():
                await trio.testing.wait_all_tasks_blocked()
                assert told == ["nobody", "somebody"]
            await trio.testing.wait_all_tasks_blocked()
            assert told == ["nobody", "somebody"]
    assert told == ["nobody", "somebody", "nobody"]
    assert port.spell == 1


async def test_a_block_put_by_another_thread_wakes_every_waiter() -> None:
    port = AudioPort()
    got: list[AudioBlock] = []
    async with Audio(port, on=True).blocks() as blocks, trio.open_nursery() as nursery:

        async def read() -> None:
            got.append(await anext(blocks))

        nursery.start_soon(read)
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        thread = threading.Thread(target=put_many, args=(port, 2))
        thread.start()
        await trio.to_thread.run_sync(thread.join)
    assert sorted(block.number for block in got) == [1, 2]


async def test_blocks_from_a_busy_thread_are_neither_lost_nor_doubled() -> None:
    port, count = AudioPort(), 3000
    async with Audio(port, on=True).blocks(buffer=2) as blocks:
        thread = threading.Thread(target=put_many, args=(port, count))
        thread.start()
        numbers: list[int] = []
        while not numbers or numbers[-1] < count:
            numbers.append((await anext(blocks)).number)
        await trio.to_thread.run_sync(thread.join)
    assert numbers == sorted(set(numbers))
    assert len(numbers) + blocks.dropped == count


async def test_cancelling_a_wait_loses_nothing() -> None:
    port = AudioPort()
    async with Audio(port, on=True).blocks() as blocks:
        with trio.move_on_after(0) as scope:
            await anext(blocks)
        assert scope.cancelled_caught
        put(port)
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(blocks)
        assert scope.cancelled_caught
        assert (await anext(blocks)).number == 1


async def test_the_session_s_end_comes_behind_what_was_buffered() -> None:
    port = AudioPort()
    audio = Audio(port, on=True)
    errors: list[BaseException] = []
    async with audio.blocks() as blocks, trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(SessionLost) as caught:
                while True:
                    await anext(blocks)
            errors.append(caught.value)

        nursery.start_soon(read)
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        put(port)
        port.fail(lambda: SessionLost("gone"))
        port.fail(lambda: SessionClosed("later"))
    assert len({id(error) for error in errors}) == 2
    async with audio.blocks() as blocks:
        with pytest.raises(SessionLost):
            await anext(blocks)


async def test_the_iteration_ends_with_its_block_whoever_waits() -> None:
    port = AudioPort()
    async with trio.open_nursery() as nursery:

        async def read(blocks: Any) -> None:
            assert [block async for block in blocks] == []

        async with Audio(port, on=True).blocks() as blocks:
            nursery.start_soon(read, blocks)
            await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(StopAsyncIteration):
        await anext(blocks)


async def test_without_sound_it_says_so() -> None:
    with pytest.raises(AudioOff, match="audio=True") as caught:
        async with Audio(AudioPort(), on=False).blocks():
            pass
    assert isinstance(caught.value, CallerError)


@pytest.mark.parametrize("buffer", [0, -1, True, 2.5, "many"])
async def test_a_buffer_is_a_positive_number(buffer: Any) -> None:
    with pytest.raises(InvalidInput, match="buffer"):
        async with Audio(AudioPort(), on=True).blocks(buffer=buffer):
            pass


async def test_both_opening_and_reading_are_checkpoints() -> None:
    port = AudioPort()
    opened = Audio(port, on=True).blocks()
    with trio.testing.assert_checkpoints():
        blocks = await opened.__aenter__()
    put(port)
    with trio.testing.assert_checkpoints():
        await anext(blocks)
    await opened.__aexit__(None, None, None)
    assert not port.wanted
