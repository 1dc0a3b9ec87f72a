"""Run the fault matrix, or a part of it, and print what came of each cell.

    python -m tests.faults [--rig virtual|sockets] [--json FILE] [--seed N] [PATTERN…]
    python -m tests.faults --expected [PATTERN…]

A pattern is a shell pattern for ``STEP-FAULT-POLICY``, or a part of it. Exit code 0 when every
outcome was allowed, or is a known finding (``findings.py``).
"""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatch
from pathlib import Path

from tests.faults import report, socket_rig, virtual_rig
from tests.faults.findings import known
from tests.faults.outcome import Limits, Observed
from tests.faults.rules import allowed
from tests.faults.table import Allowed, Cell, cells


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    parser.add_argument("--rig", choices=("virtual", "sockets"), default="virtual")
    parser.add_argument("--expected", action="store_true", help="print what each cell allows, and run nothing")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0, help="of trio's scheduler, in virtual time")
    arguments = parser.parse_args()
    chosen = [cell for cell in cells() if _fits(str(cell), arguments.patterns)]
    if arguments.expected:
        for cell in chosen:
            print(_expected(cell))  # noqa: T201 - what the command is for
        return 0
    possible = [cell for cell in chosen if isinstance(found := allowed(cell), Allowed) and arguments.rig in found.rigs]
    wrong = 0
    limits, runs = _run(arguments.rig, possible, arguments.seed)
    for observed in runs:
        found = allowed(observed.cell)
        assert isinstance(found, Allowed)
        verdict = observed.verdict(found, limits)
        report.note(observed, verdict)
        if verdict is not None:
            finding = known(verdict)
            wrong += finding is None
            print(f"{observed.cell}: {verdict}{f' [{finding.name}]' if finding else ''}")  # noqa: T201 - likewise
    for line in report.lines():
        print(line)  # noqa: T201 - likewise
    if arguments.json:
        report.write_json(arguments.json)
    return 1 if wrong else 0


def _run(rig: str, chosen: list[Cell], seed: int) -> tuple[Limits, list[Observed]]:
    import neko_trio.media.peer_api  # noqa: F401 - loaded before the first run, not in it

    if rig == "virtual":
        return virtual_rig.LIMITS, [virtual_rig.run(cell, seed=seed) for cell in chosen]
    return socket_rig.LIMITS, list(socket_rig.run_all(chosen).values())


def _fits(name: str, patterns: list[str]) -> bool:
    return not patterns or any(fnmatch(name, pattern) or pattern in name for pattern in patterns)


def _expected(cell: Cell) -> str:
    found = allowed(cell)
    if not isinstance(found, Allowed):
        return f"{cell}: impossible, because {found.why}"
    rigs = " and ".join(sorted(found.rigs))
    return f"{cell}: {' or '.join(sorted(found.outcomes))}; {found.within}; {rigs}; because {found.why}"


sys.exit(main())
