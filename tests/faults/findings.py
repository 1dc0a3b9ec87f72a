"""What the matrix has found and nobody has mended yet: each is told as an expected failure, and has to be found."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.faults.table import Cell


@dataclass(frozen=True, slots=True)
class Finding:
    """Verdicts that look like this are known."""

    name: str
    verdict: re.Pattern[str]
    why: str
    cell: Cell
    """One in which it is found each time."""
    rig: str = "virtual"


FINDINGS: tuple[Finding, ...] = ()


def known(verdict: str) -> Finding | None:
    """The finding that it is an instance of."""
    return next((finding for finding in FINDINGS if finding.verdict.match(verdict)), None)
