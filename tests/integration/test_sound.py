"""Sound from end to end on real sockets: the embedded server, or with ``--neko-url`` a real one with a sound device."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio

import neko_trio
from neko_trio.testing import TestServer, leak_check
from tests.integration.conftest import open_watch, unique

pytestmark = pytest.mark.real_time

SOUND_WITHIN = 10.0
"""Seconds. A real server's recorder takes up to 2 s on a desktop that has long been silent."""


@pytest.mark.parametrize("video", ["off", "live"])
async def test_half_a_second_is_heard_twice_and_nothing_is_left(apart: TestServer, video: str) -> None:
    name = unique("sound")
    async with open_watch(apart) as watch:
        with leak_check():
            async with neko_trio.open_session(
                apart.url, username=name, password=apart.password, audio=True, video=video
            ) as session:
                for _ in range(2):
                    async with session.audio.blocks() as blocks:
                        with trio.fail_after(SOUND_WITHIN):
                            heard = [await anext(blocks) for _ in range(25)]
                    assert all(b.position == a.position + len(a.samples) + b.lost for a, b in pairwise(heard))
                    assert {block.samples.shape[1] for block in heard} == {2}
                    assert sum(block.concealed or block.lost > 0 for block in heard) <= 2
                    assert blocks.dropped == 0
                peer = session.statistics().peer
                assert peer is not None
                assert peer.audio is not None
                assert peer.audio.packets_malformed == 0
        await watch.gone(name)
