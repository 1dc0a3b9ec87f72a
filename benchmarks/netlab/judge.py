"""The judge of a row: its figures, whether it reached its goal, and whether it was what it says."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from figures import percentile, rounded

from neko_trio._timeline import MARKS
from netlab.row import Row

STEPS = MARKS[MARKS.index("dial") :]
_PORT = re.compile(r"(?<=[\d\]]:)\d{2,5}\b")


@dataclass(slots=True)
class Taken:
    """What a client told of one target."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    hung: bool = False

    def milliseconds(self, mark: str) -> list[float]:
        return [run["marks"][mark] for run in self.runs if mark in run["marks"]]

    def figures(self) -> dict[str, Any]:
        marks = {mark: self.milliseconds(mark) for mark in ("connected", "first_frame")}
        failed = Counter(_PORT.sub("…", failure["failure"]) for failure in self.failures)
        return {
            "connects": len(self.runs),
            "failures": dict(failed),
            "failed_after_ms": round(max((failure["after"] for failure in self.failures), default=0.0)) or None,
            "hung": self.hung,
            **{mark: rounded(values) for mark, values in marks.items() if values},
            **({"steps": steps(self)} if self.runs else {}),
        }


def judged(row: Row, taken: dict[str, Taken], counters: dict[str, int], trip: float) -> dict[str, Any]:
    """The row's figures, and what is wrong with them."""
    own = taken.get("row", Taken())
    figures = own.figures()
    result = {"what": row.what, "goal": str(row.goal), **figures, "round_trip_ms": round(trip, 3)}
    problems = list(goal_problems(row, own, taken.get("reference")))
    problems += [f"not what it says: {problem}" for problem in proof_problems(row, own, counters, trip)]
    if "reference" in taken:
        result["reference"] = taken["reference"].figures()
        result["ratio"] = ratio(own, taken["reference"])
    if row.network.delay and own.runs:
        result["round_trips"] = {
            mark: round(percentile(own.milliseconds(mark), 0.5) / trip, 2) for mark in ("connected", "first_frame")
        }
    if own.runs:
        result["close_ms"] = rounded([run["close"] for run in own.runs])
    result["collections"] = collections(own)
    result["pairs"] = dict(Counter(path(run) for run in own.runs))
    result["codecs"] = dict(Counter(str(run["codec"]) for run in own.runs))
    result["roles_given_back"] = sum(run["role_given_back"] for run in own.runs)
    result["gathering_errors"] = dict(Counter(error for run in own.runs for error in run["gathering_errors"]))
    result["packets"] = counters
    result["problems"] = problems
    return result


def goal_problems(row: Row, own: Taken, reference: Taken | None) -> list[str]:
    """Where the row misses its goal."""
    if own.hung:
        return ["hangs"]
    if row.goal.kind == "fails":
        late = [one for one in own.failures if one["after"] > row.goal.limit]
        unnamed = [one for one in own.failures if not one["failure"].startswith("IceFailed")]
        return [
            *(["connects, though nothing leads there"] if own.runs else []),
            *(["did not even try"] if not own.failures else []),
            *(f"fails after {one['after'] / 1000:.1f} s" for one in late),
            *(f"fails as {one['failure'][:80]}" for one in unnamed),
        ]
    found = [f"{len(own.failures)} failed"] if own.failures else []
    if not own.runs:
        return [*found, "never connects"]
    if row.goal.kind == "within":
        median = percentile(own.milliseconds("connected"), 0.5)
        found += [f"connected after {median:.1f} ms"] if median > row.goal.limit else []
    elif row.goal.kind == "ratio":
        by = ratio(own, reference)
        if by is None or (reference and reference.failures):
            found.append("the default row beside it failed")
        elif by > row.goal.limit:
            found.append(f"connected after {by:.2f} x the default row's time")
    return found


def ratio(own: Taken, reference: Taken | None) -> float | None:
    """Medians of connected, by the reference's."""
    if reference is None or not own.runs or not reference.runs:
        return None
    medians = [percentile(one.milliseconds("connected"), 0.5) for one in (own, reference)]
    return round(medians[0] / medians[1], 3)


def proof_problems(row: Row, own: Taken, counters: dict[str, int], trip: float) -> list[str]:
    """Why the row is not what it says."""
    found = [f"expected {proof}" for proof in row.proofs if not proof.holds(counters)]
    low, high = row.round_trip
    if not low <= trip <= high:
        found.append(f"a round trip takes {trip:.1f} ms")
    wrong = Counter(path(run) for run in own.runs if not fits(row, run["pair"]))
    found += [f"{count} used {pair}" for pair, count in wrong.items()]
    kept = sum(row.gives_role_back and not run["role_given_back"] for run in own.runs)
    found += [f"{kept} never had to give the role back"] if kept else []
    codecs = {str(run["codec"]) for run in own.runs} - {row.codec}
    return [*found, *(f"the codec was {codec}" for codec in sorted(codecs))]


def fits(row: Row, pair: dict[str, str] | None) -> bool:
    return pair is not None and all(pair[name].startswith(begin) for name, begin in row.pair.items())


def path(run: dict[str, Any]) -> str:
    pair = run["pair"]
    return "no pair" if pair is None else f"{pair['local_type']} to {pair['remote_type']} over {pair['protocol']}"


def steps(own: Taken) -> dict[str, dict[str, float]]:
    """How long each step took, in milliseconds since the mark before it in the order of the handshake."""
    took: dict[str, list[float]] = {}
    for run in own.runs:
        marks = [name for name in STEPS if name in run["marks"]]
        for before, name in pairwise(marks):
            took.setdefault(name, []).append(run["marks"][name] - run["marks"][before])
    return {name: rounded(values) for name, values in took.items()}


def collections(own: Taken) -> dict[str, Any]:
    """Garbage collections of a millisecond or more between the dial and the first frame, by generation, and how much of
    each step's time they took in the connects that they hit."""
    by_generation: dict[str, list[float]] = {}
    hit: Counter[str] = Counter()
    for run in own.runs:
        ordered = sorted(run["marks"].items(), key=lambda mark: mark[1])
        for pause in run["collections"]:
            if pause["ms"] < 1 or not 0 <= pause["at"] <= run["marks"].get("first_frame", 0):
                continue
            by_generation.setdefault(f"generation {pause['generation']:g}", []).append(pause["ms"])
            hit[next((name for name, at in ordered if at > pause["at"]), "first_frame")] += 1
    return {
        "steps_hit": dict(hit),
        **{name: {"count": len(values), **rounded(values)} for name, values in sorted(by_generation.items())},
    }
