"""The judge of ``benchmarks/networks.py``: what it must object to. The laboratory itself needs root and a server."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.benchmarks.scripts import importable

if TYPE_CHECKING:
    from netlab.judge import Taken
    from netlab.programs import Program
    from netlab.row import Row

PAIR = {
    "local": "10.71.1.2:5000",
    "remote": "10.71.2.2:6000",
    "local_type": "host",
    "remote_type": "host",
    "protocol": "udp",
}


@pytest.fixture(autouse=True)
def benchmarks_can_be_imported() -> Iterator[None]:
    with importable():
        yield


def run(connected: float = 20.0, **changes: Any) -> dict[str, Any]:
    return {
        "marks": {"dial": 0.0, "offer_received": 5.0, "connected": connected, "first_frame": connected + 30},
        "codec": "VP8",
        "pair": PAIR,
        "role_given_back": False,
        "gathering_errors": [],
        "collections": [],
        "close": 40.0,
        **changes,
    }


def failure(text: str = "IceFailed: no path", after: float = 8000.0) -> dict[str, Any]:
    return {"failure": text, "after": after}


def taken(*runs: dict[str, Any], failures: tuple[dict[str, Any], ...] = (), hung: bool = False) -> Taken:
    from netlab.judge import Taken

    return Taken(list(runs), list(failures), hung)


def row(goal: str = "connects", limit: float = 0.0, **changes: Any) -> Row:
    from netlab.row import Goal, Row

    return Row(name="a", what="", goal=Goal(goal, limit), **changes)  # type: ignore[arg-type]  # one of the kinds


def problems(row: Row, own: Taken, *, reference: Taken | None = None, **seen: Any) -> list[str]:
    from netlab.judge import judged

    targets = {"row": own} | ({} if reference is None else {"reference": reference})
    found: list[str] = judged(row, targets, seen.get("counters", {}), seen.get("trip", 0.02))["problems"]
    return found


def test_a_good_row_has_no_problems() -> None:
    assert problems(row(), taken(run(), run())) == []


def test_what_failed_hung_or_was_never_told_is_a_problem() -> None:
    assert problems(row(), taken(run(), failures=(failure(),))) == ["1 failed"]
    assert problems(row(), taken(failures=(failure(),))) == ["1 failed", "never connects"]
    assert problems(row(), taken()) == ["never connects"]
    assert problems(row(), taken(run(), hung=True)) == ["hangs"]


def test_a_median_beyond_the_limit_misses_the_goal() -> None:
    assert problems(row("within", 50.0), taken(run(49.0), run(50.0), run(900.0))) == []
    assert problems(row("within", 50.0), taken(run(20.0), run(50.1), run(51.0))) == ["connected after 50.1 ms"]


def test_a_ratio_is_to_what_was_measured_beside_it() -> None:
    dead = row("ratio", 1.2)
    assert problems(dead, taken(run(24.0)), reference=taken(run(20.0))) == []
    assert problems(dead, taken(run(24.2)), reference=taken(run(20.0))) == [
        "connected after 1.21 x the default row's time"
    ]
    assert problems(dead, taken(run(20.0)), reference=taken()) == ["the default row beside it failed"]
    assert problems(dead, taken(run(20.0)), reference=taken(run(20.0), failures=(failure(),))) == [
        "the default row beside it failed"
    ]
    assert problems(dead, taken(run(20.0))) == ["the default row beside it failed"]


def test_what_cannot_connect_must_fail_by_name_and_in_time() -> None:
    hopeless = row("fails", 12_000.0)
    assert problems(hopeless, taken(failures=(failure(),))) == []
    assert problems(hopeless, taken(run())) == ["connects, though nothing leads there", "did not even try"]
    assert problems(hopeless, taken(failures=(failure(after=12_500.0),))) == ["fails after 12.5 s"]
    assert problems(hopeless, taken(failures=(failure("TooSlowError: "),))) == ["fails as TooSlowError: "]


@pytest.mark.parametrize(
    ("pair", "objected"),
    [
        ({"protocol": "udp"}, False),
        ({"protocol": "tcp"}, True),
        ({"local_type": "relay"}, True),
        ({"remote": "10.71.2.2"}, False),
        ({"remote": "[fd71:2::2]"}, True),
    ],
)
def test_a_row_uses_the_path_that_it_is_about(pair: dict[str, str], objected: bool) -> None:
    found = problems(row(pair=pair), taken(run(), run()))
    assert found == (["not what it says: 2 used host to host over udp"] if objected else [])
    assert problems(row(pair=pair), taken(run(pair=None))) == ["not what it says: 1 used no pair"]


def test_a_row_is_what_its_packets_prove() -> None:
    from netlab.row import Proof

    proven = row(proofs=(Proof("dead"), Proof("udp_to_server", some=False)))
    assert problems(proven, taken(run()), counters={"dead": 3, "udp_to_server": 0}) == []
    assert problems(proven, taken(run()), counters={"dead": 0, "udp_to_server": 1}) == [
        "not what it says: expected some packets counted as dead",
        "not what it says: expected no packets counted as udp_to_server",
    ]


def test_codec_role_and_round_trip_are_what_the_row_says() -> None:
    assert problems(row(codec="AV1"), taken(run())) == ["not what it says: the codec was VP8"]
    assert problems(row(gives_role_back=True), taken(run(), run(role_given_back=True))) == [
        "not what it says: 1 never had to give the role back"
    ]
    slow = row(round_trip=(50.0, 55.0))
    assert problems(slow, taken(run()), trip=50.3) == []
    assert problems(slow, taken(run()), trip=0.02) == ["not what it says: a round trip takes 0.0 ms"]


def test_steps_and_collections_say_where_the_time_went() -> None:
    from netlab.judge import collections, steps

    pause = {"at": 6.0, "ms": 12.0, "generation": 2}
    own = taken(run(), run(collections=[pause, {**pause, "at": 90.0}, {**pause, "ms": 0.5}]))
    assert steps(own)["connected"]["median"] == 15.0
    assert collections(own) == {
        "steps_hit": {"connected": 1},
        "generation 2": {"count": 1, "median": 12.0, "p95": 12.0, "p99": 12.0, "max": 12.0},
    }


def test_failures_that_differ_in_their_ports_alone_are_one() -> None:
    texts = ("IceFailed: 10.71.1.2:56514 and [fd71:2::2]:20058", "IceFailed: 10.71.1.2:41 and [fd71:2::2]:20059")
    own = taken(failures=tuple(failure(text) for text in texts))
    assert own.figures()["failures"] == {"IceFailed: 10.71.1.2:… and [fd71:2::2]:…": 2}


def test_each_row_has_a_name_of_its_own_and_configures_a_server(tmp_path: Path) -> None:
    from netlab.lab import Lab
    from netlab.rows import CODEC_ENCODERS, ROWS
    from netlab.shop import Workshop, server_command

    elements = frozenset(name for names in CODEC_ENCODERS.values() for name in names)
    arguments, screen = argparse.Namespace(neko="neko"), cast("Program", None)
    shop = Workshop(arguments, tmp_path, screen, ":7", elements, True, tmp_path / "a", tmp_path / "k")
    assert len({row.name for row in ROWS}) == len(ROWS)
    for one in ROWS:
        command = server_command(one, Lab(one.network), shop, 18130)
        told = {flag: value for flag, value in pairwise(command) if flag.startswith("--webrtc.ice")}
        servers = [*json.loads(told["--webrtc.iceservers.frontend"]), *json.loads(told["--webrtc.iceservers.backend"])]
        assert all(isinstance(server["urls"], list) for server in servers)
        assert ("--capture.video.pipeline" in command) == (one.encoder is not None)


async def test_a_client_that_says_nothing_hangs_and_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    from netlab import measure

    monkeypatch.setattr(measure, "SILENCE", 0.2)
    line = json.dumps({"target": "row", "number": 1, **run()})
    heard = await measure.listen(["sh", "-c", f"echo '{line}'; exec sleep 60"], {})
    assert heard["row"].hung
    assert len(heard["row"].runs) == 1, "what it said before counts"


async def test_a_client_that_breaks_is_told_with_its_last_words() -> None:
    from netlab import measure
    from netlab.programs import LabError

    with pytest.raises(LabError, match="exit code 3: out of luck"):
        await measure.listen(["sh", "-c", "echo out of luck >&2; exit 3"], {})


async def test_a_program_is_ready_when_it_says_so_and_ends_with_its_block() -> None:
    from netlab.programs import LabError, leaves, running

    async with running("a", ["sh", "-c", "echo ready; exec sleep 60"], ready="ready") as program:
        assert program.process.poll() is None
    assert program.process.poll() is not None
    found: list[str] = []
    for command, limit in (("echo no", 10.0), ("echo slow; exec sleep 60", 0.2)):
        try:
            async with running("b", ["sh", "-c", command], ready="ready", limit=limit):
                pytest.fail("it is not ready")
        except* LabError as group:
            found += [str(error) for error in leaves(group)]
    assert found == ["b ended: no", "b was not ready in time: slow"]
