"""The fault matrix in virtual time: each cell a run of its own, exact to the step."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

import neko_trio.media.peer_api  # noqa: F401 - loaded before the first run, not in it
from neko_trio.testing import leak_check
from tests.faults import findings, report, virtual_rig
from tests.faults.findings import FINDINGS, Finding, known
from tests.faults.rules import allowed
from tests.faults.table import Allowed, Cell, cells

CELLS = [cell for cell in cells() if isinstance(found := allowed(cell), Allowed) and "virtual" in found.rigs]


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


def test_what_was_found_is_still_so() -> None:
    """What has been mended is taken off the list."""
    for finding in FINDINGS:
        if finding.rig == "virtual":
            assert still_found(finding), finding.name


def still_found(finding: Finding) -> bool:
    found = allowed(finding.cell)
    assert isinstance(found, Allowed)
    wrong = virtual_rig.run(finding.cell).verdict(found, virtual_rig.LIMITS)
    return wrong is not None and known(wrong) is finding


def test_a_finding_is_known_by_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("running", "reset", "off")
    found = allowed(cell)
    assert isinstance(found, Allowed)
    name, nothing = "made up", replace(found, outcomes=frozenset({"nothing"}))
    made_up = Finding(name, re.compile(r"lost: \w+ instead of nothing"), "of this test", cell)
    wrong = virtual_rig.run(cell).verdict(nothing, virtual_rig.LIMITS)
    assert wrong is not None
    assert known(wrong) is None
    monkeypatch.setattr(findings, "FINDINGS", (made_up,))
    assert known(wrong) is made_up
    assert known("lost: SessionLost") is None
    assert not still_found(made_up)  # for what comes of that cell is allowed
