"""Does each property's test notice when the property is broken? Apply every patch here, one at a time, and see.

    python tests/mutants/run.py [NAME…]

A patch names its test in its header. The tree is copied, the named tests pass in the copy as it is, and in a copy with
the patch its test fails: by an assertion or an error of ours, not because something cannot be imported, and not because
a time limit ran out. Exit code 0 when all of that is so. Several patches are judged side by side.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PARTS = ("neko_trio", "tests", "pyproject.toml", "README.md")
PLUGIN = "tests.mutants.verdicts"
START_LIMIT, TEST_LIMIT = 50.0, 10.0
"""Seconds that one run of pytest may take, and more for each test in it."""
SIDE_BY_SIDE = 1 + (os.cpu_count() or 1)
"""How many runs there are at once: some of the time they wait."""
PASSED = "passed"
NOTICED, MISSED, SKIPPED = "noticed", "MISSED", "skipped"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One patch, with the property it breaks and the test that must notice."""

    name: str
    patch: Path
    property: str
    change: str
    test: str


def read_mutant(patch: Path) -> Mutant:
    """Read a patch's header. ``ValueError`` says what is missing."""
    header: dict[str, str] = {}
    for line in patch.read_text().splitlines():
        if line.startswith("--- "):
            break
        key, colon, value = line.partition(": ")
        if colon:
            header[key.lower()] = value
    if set(header) != {"property", "change", "test"}:
        raise ValueError(f"{patch.name}: the header must have Property, Change and Test, not {sorted(header)}")
    return Mutant(patch.stem, patch, **header)


def read_mutants() -> list[Mutant]:
    """All of them, by name."""
    return [read_mutant(patch) for patch in sorted(HERE.glob("*.patch"))]


def apply(patch: Path, tree: Path, *options: str) -> None:
    """Apply a patch to a tree; ``ValueError`` with git's words when it does not fit."""
    # Outside of any repository, wherever the tree lies: inside of one, git would look for the paths in its index.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    done = subprocess.run(
        ["git", "apply", *options, str(patch)], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ValueError(done.stderr.strip())


@contextmanager
def copied_tree(root: Path) -> Iterator[Path]:
    """A copy of what the tests need."""
    with tempfile.TemporaryDirectory(prefix="neko-trio-mutants-") as place:
        tree = Path(place).resolve()
        for part in PARTS:
            source = root / part
            if source.is_dir():
                shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy2(source, tree / part)
        yield tree


def run_tests(tree: Path, tests: Iterable[str]) -> dict[str, str]:
    """What became of each test, in words; :data:`PASSED` when it passed."""
    tests = list(dict.fromkeys(tests))
    limit = START_LIMIT + TEST_LIMIT * len(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", PLUGIN, *tests]
    with tempfile.TemporaryDirectory(prefix="neko-trio-verdicts-") as place:
        verdicts = Path(place) / "verdicts.json"
        environment = {
            **os.environ,
            "PYTHONPATH": str(tree),
            "PYTHONDONTWRITEBYTECODE": "1",  # a patch may leave a file's size and second as they were
            "NEKO_TRIO_VERDICTS": str(verdicts),
        }
        try:
            done = subprocess.run(
                command, cwd=tree, env=environment, capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            return dict.fromkeys(tests, f"did not end within {limit:g} s")
        if not verdicts.exists():
            return dict.fromkeys(tests, f"pytest failed ({done.returncode}): {done.stdout[-500:]} {done.stderr[-500:]}")
        found: dict[str, str] = json.loads(verdicts.read_text())
    return {test: found.get(test, f"did not run ({done.returncode}): {done.stdout[-500:]}") for test in tests}


def main(names: list[str]) -> int:
    """Judge the mutants of these names, or all; 0 when none went unnoticed."""
    mutants = [mutant for mutant in read_mutants() if not names or mutant.name in names]
    if not mutants:
        print(f"no mutant is called {' or '.join(names)}" if names else "there is no patch here")
        return 2
    count: Counter[str] = Counter()
    width = max(len(mutant.name) for mutant in mutants)
    with copied_tree(ROOT) as tree, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        unpatched: dict[str, str] = {}
        tests = sorted({mutant.test for mutant in mutants})
        shares = [share for start in range(SIDE_BY_SIDE) if (share := tests[start::SIDE_BY_SIDE])]
        for verdicts in pool.map(partial(run_tests, tree), shares):
            unpatched |= verdicts
        judged = pool.map(partial(judge, tree, unpatched), mutants)
        for mutant, (judgement, why, took) in zip(mutants, judged, strict=True):
            count[judgement] += 1
            test = mutant.test.rpartition("::")[2]
            print(f"{judgement:<9} {mutant.name:<{width}} {took:4.1f} s  {test}: {why}", flush=True)
    print(", ".join(f"{number} {judgement}" for judgement, number in count.items()))
    return 1 if count[MISSED] else 0


def judge(tree: Path, unpatched: dict[str, str], mutant: Mutant) -> tuple[str, str, float]:
    """Whether its test notices the mutant, how, and the seconds it took to tell."""
    before = unpatched[mutant.test]
    if before.startswith("skipped"):
        return SKIPPED, before, 0.0
    if before != PASSED:
        return MISSED, f"does not pass without the patch: {before}", 0.0
    started = perf_counter()
    try:
        with copied_tree(tree) as copy:
            apply(mutant.patch, copy)
            verdict = run_tests(copy, [mutant.test])[mutant.test]
    except ValueError as error:
        return MISSED, f"the patch does not apply: {error}", 0.0
    return (NOTICED if verdict.startswith("failed by ") else MISSED), verdict, perf_counter() - started


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
