"""A short run of each fuzzer of ``benchmarks/fuzz.py``; and that the fuzzers find what is there to be found."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
INPUTS = 1000
SEED = 20
NAMES = [
    "events", "sdp", "microphone-answers", "candidates", "ice-servers", "rest-answers", "upgrade-answers",
    "file-names", "urls", "rtp", "rtcp", "payloads-vp8", "payloads-vp9", "payloads-h264", "payloads-av1",
    "pictures-vp8", "pictures-vp9", "pictures-h264", "pictures-av1", "sound-opus", "sound-g722", "sound-pcmu",
    "sound-pcma", "data-channel", "streams", "stun", "srtp", "sctp", "offers",
]  # fmt: skip


@pytest.fixture(scope="module")
def fuzzing() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        importlib.import_module("fuzzing.targets")
        yield importlib.import_module("fuzzing.runner")
    for name in [name for name in sys.modules if name.partition(".")[0] == "fuzzing"]:
        sys.modules.pop(name)


def targets() -> dict[str, Any]:
    found: dict[str, Any] = sys.modules["fuzzing.targets"].TARGETS
    return found


def test_all_targets_are_in_this_list(fuzzing: ModuleType) -> None:
    assert list(targets()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_ours_comes_out(name: str, fuzzing: ModuleType) -> None:
    target = targets()[name]
    outcome = fuzzing.run_target(target, max(5, round(INPUTS * min(1, target.share))), SEED)
    assert outcome.failure is None, f"{outcome.traceback}\ninput: {outcome.hex}"


def test_the_same_seed_makes_the_same_inputs(fuzzing: ModuleType) -> None:
    for name in NAMES:
        one, again = (targets()[name].make(fuzzing.seeded(targets()[name], 3)) for _ in range(2))
        assert [one() for _ in range(5)] == [again() for _ in range(5)], name


def test_a_failure_is_found_made_small_and_told(fuzzing: ModuleType) -> None:
    target = sys.modules["fuzzing.target"].Target

    def check(data: bytes) -> None:
        if b"!" in data:
            raise KeyError("!")

    broken = target("broken", lambda rng: lambda: bytes(rng.choice(b"abc!") for _ in range(40)), lambda: check)
    outcome = fuzzing.run_target(broken, 1000, 1)
    assert outcome.inputs < 10
    assert bytes.fromhex(outcome.hex) == b"!"
    assert outcome.failure == "KeyError: '!'"


def test_what_does_not_end_is_interrupted(fuzzing: ModuleType) -> None:
    def check(data: bytes) -> None:
        while True:
            with suppress(Exception):  # what hangs may swallow what is raised
                sum(range(1000))

    target = sys.modules["fuzzing.target"].Target
    hanging = target("hanging", lambda rng: lambda: b"", lambda: check, limit=0.05)
    assert fuzzing.run_target(hanging, 10, 1).failure.startswith("TooSlow")
