"""The matrix as it came out: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.outcome import Observed
from tests.faults.rules import allowed
from tests.faults.table import FAULTS, POLICIES, STEPS, Allowed, Cell, cells

PROPERTY = "fault matrix"


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a cell in one rig."""

    cell: Cell
    rig: str
    outcome: str
    seconds: float | None
    wrong: str | None


_RUNS: dict[tuple[str, Cell], Run] = {}


def keep(record_property: Callable[[str, object], None], observed: Observed, wrong: str | None) -> None:
    """Hand a run to the process that prints the table, as a property of the test."""
    record_property(PROPERTY, asdict(_run(observed, wrong)))


def note(observed: Observed, wrong: str | None) -> None:
    """Keep a run for the table of this process."""
    _note(_run(observed, wrong))


def note_kept(kept: Mapping[str, Any]) -> None:
    """Keep what :func:`keep` has handed over."""
    _note(Run(**{**kept, "cell": Cell(**kept["cell"])}))


def _run(observed: Observed, wrong: str | None) -> Run:
    seconds = None if observed.struck_at is None or observed.done_at is None else round(observed.seconds, 3)
    return Run(observed.cell, observed.rig, observed.outcome, seconds, wrong)


def _note(run: Run) -> None:
    _RUNS[run.rig, run.cell] = run


def any_noted() -> bool:
    """Whether anything was run."""
    return bool(_RUNS)


SHORT = {
    "works": "ok",
    "works later": "later",
    "recovers by a new WebSocket": "+link",
    "recovers by a new login": "+login",
    "recovers by a new offer": "+peer",
}
LEGEND = (
    "ok: nobody notices; later: when the fault is over; +link, +login, +peer: recovers by a new WebSocket, login, "
    "offer, ?: with InputInDoubt told; c:, l:, x: open_session raises, the session is lost because of, the call "
    "raises; -: impossible; .: not run; !: not allowed"
)


def short(outcome: str) -> str:
    """The outcome in a few characters."""
    doubt = outcome.endswith(", InputInDoubt told")
    bare = outcome.removesuffix(", InputInDoubt told")
    if bare in SHORT:
        return SHORT[bare] + ("?" if doubt else "")
    kind, _, error = bare.partition(": ")
    initials = "".join(letter for letter in error if letter.isupper())
    return f"{kind[0] if kind != 'call' else 'x'}:{initials}" if error else "?"


def lines() -> Iterator[str]:
    """One table for each policy that was run: faults down, steps across; and the sum of it."""
    runs: dict[Cell, list[Run]] = {}
    for run in _RUNS.values():
        runs.setdefault(run.cell, []).append(run)
    for policy, what in POLICIES.items():
        if not any(cell.policy == policy for cell in runs):
            continue
        yield f"-- {policy}: {what}"
        yield f"{'':20}" + "".join(f"{step[:9]:>10}" for step in STEPS)
        for fault in FAULTS:
            row = (_shown(Cell(step, fault, policy), runs) for step in STEPS)
            yield f"{fault[:19]:20}" + "".join(f"{shown[:9]:>10}" for shown in row)
    yield LEGEND
    verdicts = Counter("not allowed" if run.wrong else run.outcome for run in _RUNS.values())
    yield f"{sum(verdicts.values())} runs: " + ", ".join(f"{count} {name}" for name, count in verdicts.most_common())
    impossible = sum(not isinstance(allowed(cell), Allowed) for cell in cells())
    yield f"{impossible} cells are impossible: python -m tests.faults --expected says why"


def _shown(cell: Cell, runs: dict[Cell, list[Run]]) -> str:
    if not isinstance(allowed(cell), Allowed):
        return "-"
    if cell not in runs:
        return "."
    return "/".join(dict.fromkeys(("!" if run.wrong else "") + short(run.outcome) for run in runs[cell]))


def write_json(path: Path) -> None:
    """Every cell with what it allows, or why it is none, and what came of it."""
    table = []
    for cell in cells():
        found = allowed(cell)
        entry: dict[str, object] = {"step": cell.step, "fault": cell.fault, "policy": cell.policy, "why": found.why}
        if isinstance(found, Allowed):
            entry |= {"allowed": sorted(found.outcomes), "within": found.within, "runs": _runs(cell)}
        else:
            entry["impossible"] = True
        table.append(entry)
    path.write_text(json.dumps(table, indent=1))


def _runs(cell: Cell) -> dict[str, object]:
    return {
        run.rig: {"outcome": run.outcome, "seconds": run.seconds, "wrong": run.wrong}
        for run in _RUNS.values()
        if run.cell == cell
    }
