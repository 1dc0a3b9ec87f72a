"""One sound port, peers that come and go: a new offer on the same peer connection, and the next peer."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from neko_trio._ports.audio import AudioBlock, AudioBlocks, AudioPort
from neko_trio._ports.frames import FrameSlot
from neko_trio._timeline import Timeline
from neko_trio.media.bridge import Lease, open_lease
from neko_trio.media.frames import FrameContext
from neko_trio.media.peer import PeerConnection, open_peer_connection
from neko_trio.media.peer_api import IceOptions, PeerSetup
from neko_trio.simulator._media import SimulatorMedia, open_media
from neko_trio.simulator._media_api import PeerCallbacks
from neko_trio.simulator._media_peer import SimulatorPeer
from tests.audio.test_network import Tones
from tests.audio.tones import FRAME

pytestmark = pytest.mark.real_time


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[SimulatorMedia, Lease]]:
    with trio.fail_after(30):
        async with (
            open_lease("simulator") as servers,
            open_media(servers, Tones(), (320, 200)) as media,
            open_lease() as lease,
        ):
            yield media, lease
            assert servers.background_failures.total == 0
            assert lease.background_failures.total == 0


@asynccontextmanager
async def connected(
    media: SimulatorMedia, lease: Lease, port: AudioPort | None, *, epoch: int = 1, replace: tuple[str, str] = ("", "")
) -> AsyncIterator[tuple[SimulatorPeer, PeerConnection, str]]:
    """A server's peer, the client's, and the client's answer. ``replace`` changes the offer."""
    offered, candidates = trio.open_memory_channel[str](1), trio.open_memory_channel[str](99)
    callbacks = PeerCallbacks(
        on_offer=offered[0].send_nowait,
        on_candidate=lambda candidate: candidates[0].send_nowait(candidate.candidate),
        on_connected=lambda: None,
        on_closed=lambda reason: None,
        on_data=lambda message: None,
    )
    server = await media.new_peer(callbacks, video_disabled=True, stream="main", audio_disabled=False)
    numbers = itertools.count(1)
    async with trio.open_nursery() as nursery:
        setup = PeerSetup(
            lease=lease,
            offer_sdp=(await offered[1].receive()).replace(*replace),
            ice_servers=(),
            ice=IceOptions(),
            server_address="127.0.0.1",
            timeline=Timeline(),
            slot=FrameSlot(),
            new_number=lambda: next(numbers),
            frame_context=lambda: FrameContext(session=None, epoch=epoch, screen_size=(320, 200), stream="main"),
            on_candidate=lambda text: nursery.start_soon(server.add_candidate, text, "0", 0),
            on_data=lambda message: None,
            on_keyframe_needed=lambda: None,
            audio=port,
        )
        async with open_peer_connection(setup) as client:

            async def feed() -> None:
                async for candidate in candidates[1]:
                    await client.add_candidate(candidate, "0", 0)

            await client.set_remote_description()
            answer = await client.set_local_description()
            await server.answer(answer)
            client.start_checks()
            nursery.start_soon(feed)
            await client.wait_connected()
            yield server, client, answer
        nursery.cancel_scope.cancel()
    await server.aclose()


def direction(answer: str) -> str:
    """Of the audio."""
    lines = answer[answer.index("m=audio") : answer.index("m=video")].splitlines()
    (found,) = set(lines) & {"a=recvonly", "a=inactive", "a=sendrecv", "a=sendonly"}
    return found


async def take(blocks: AudioBlocks, count: int) -> list[AudioBlock]:
    return [await anext(blocks) for _ in range(count)]


async def test_a_new_offer_leaves_the_sound_as_it_is() -> None:
    port = AudioPort()
    async with serving() as (media, lease), connected(media, lease, port) as (server, client, answer):
        assert direction(answer) == "a=recvonly"
        with port.subscribe(100) as blocks:
            await take(blocks, 5)
            again = await client.renegotiate(await server.create_offer())
            await server.answer(again)
            assert direction(again) == "a=recvonly"
            for block in await take(blocks, 20):
                assert (block.lost, block.concealed) == (0, False)


async def test_the_next_peer_goes_on_in_the_same_iteration() -> None:
    port = AudioPort()
    async with serving() as (media, lease):
        with port.subscribe(100) as blocks:
            async with connected(media, lease, port, epoch=1):
                first = await take(blocks, 5)
            while port.blocks_total > first[-1].number:  # what still came from it
                first.append(await anext(blocks))
            async with connected(media, lease, port, epoch=2):
                second = await take(blocks, 5)
    got = first + second
    assert [block.epoch for block in got] == [1] * len(first) + [2] * 5
    assert [block.number for block in got] == list(range(1, len(got) + 1))
    assert [block.position for block in got] == [n * FRAME for n in range(len(got))]


async def test_who_wants_no_sound_says_so_in_the_answer() -> None:
    async with serving() as (media, lease), connected(media, lease, None) as (_, client, answer):
        assert direction(answer) == "a=inactive"
        assert client.statistics().audio is None


@pytest.mark.parametrize("codec", ["telephone-event/8000", "L16/44100/2"])
async def test_a_codec_that_is_not_decoded_costs_the_sound_and_nothing_else(codec: str) -> None:
    port = AudioPort()
    offer = ("a=rtpmap:111 opus/48000/2", f"a=rtpmap:111 {codec}")
    async with serving() as (media, lease), connected(media, lease, port, replace=offer) as (_, client, answer):
        assert client.statistics().audio is None
        assert "m=video" in answer
