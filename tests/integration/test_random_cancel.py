"""Public coroutines cancelled at random moments, on real sockets: a few seconds of `benchmarks/cancels.py`.

The deterministic sweep over all of them, in virtual time, is `tests/test_cancel_calls.py`.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import trio

import neko_trio
from neko_trio.testing import open_test_server
from tests.test_cancel_calls import surface

pytestmark = pytest.mark.real_time

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SECONDS = 4.0
"""For which plays are cancelled."""


@pytest.fixture
def cancels(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("cancels")
    for name in ("cancels", "figures", "servers"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("video", ["live", "off"])
async def test_cancelled_at_a_random_moment_nothing_is_left(
    embedded_only: None, cancels: ModuleType, video: str
) -> None:
    failures: list[str] = []
    moments = random.Random(8)
    plays = [play for play in cancels.PLAYS if video == "live" or play.__name__ in cancels.ALSO_WITHOUT_PEER]
    rows = {play: cancels.Row(play.__name__, video) for play in plays}
    async with cancels.open_room() as simulator:
        opened = cancels.open_stage(
            simulator.url,
            simulator.admin_password,
            video=video,
            moments=moments,
            failures=failures,
            simulator=simulator,
        )
        async with opened as stage:
            ends = trio.current_time() + SECONDS
            while trio.current_time() < ends:
                play = moments.choice(plays)
                await stage.cancel_once(play, rows[play])
    assert failures == []
    assert sum(row.outcomes["cancelled"] for row in rows.values()) >= 2


async def test_every_public_coroutine_is_played(embedded_only: None, cancels: ModuleType) -> None:
    async with (
        open_test_server() as server,
        neko_trio.open_session(server.url, username="surface", password=server.password) as session,
    ):
        names = surface(session)
    played = {name for names in cancels.PLAYS.values() for name in names}
    assert played - names == set(), "plays of what is not there"
    assert names - played == set(), "public coroutines that no play cancels"
