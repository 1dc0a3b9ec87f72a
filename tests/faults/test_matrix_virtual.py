"""The fault matrix in virtual time: each cell a run of its own, exact to the step."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import neko_trio.media.peer_api  # noqa: F401 - loaded before the first run, not in it
from neko_trio.testing import leak_check
from tests.faults import report, virtual_rig
from tests.faults.findings import FINDINGS, Finding, known
from tests.faults.rules import allowed
from tests.faults.table import Allowed, Cell, cells

CELLS = [cell for cell in cells() if isinstance(found := allowed(cell), Allowed) and "virtual" in found.rigs]

FOUND = [finding for finding in FINDINGS if finding.rig == "virtual"]


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_what_comes_of_it_is_allowed(cell: Cell, record_property: Callable[[str, object], None]) -> None:
    found = allowed(cell)
    assert isinstance(found, Allowed)
    with leak_check():
        observed = virtual_rig.run(cell)
    wrong = observed.verdict(found, virtual_rig.LIMITS)
    report.keep(record_property, observed, wrong)
    if wrong is not None and (finding := known(wrong)) is not None:
        pytest.xfail(f"{finding.name}: {wrong}")
    assert wrong is None, f"{cell}: {wrong}"


@pytest.mark.parametrize("finding", FOUND, ids=lambda finding: finding.name)
def test_what_was_found_is_still_so(finding: Finding) -> None:
    """What has been mended is taken off the list."""
    found = allowed(finding.cell)
    assert isinstance(found, Allowed)
    wrong = virtual_rig.run(finding.cell).verdict(found, virtual_rig.LIMITS)
    assert wrong is not None
    assert known(wrong) is finding
