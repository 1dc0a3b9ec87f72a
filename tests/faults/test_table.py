"""The table itself: nothing is left out, nothing is said twice or in vain."""

from __future__ import annotations

import pytest

from tests.faults.rules import RULES, allowed, rule_for
from tests.faults.table import FAULTS, POLICIES, STEPS, Allowed, Impossible, cells


def test_every_cell_has_its_outcomes_or_its_reason() -> None:
    for cell in cells():
        found = allowed(cell)
        assert found.why
        if isinstance(found, Allowed):
            assert found.outcomes, f"nothing is allowed for {cell}"
            assert found.rigs, f"nobody runs {cell}"


def test_no_rule_is_in_vain() -> None:
    used = {id(rule_for(cell)) for cell in cells()}
    assert [rule for rule in RULES if id(rule) not in used] == []


def test_rules_name_what_there_is() -> None:
    for rule in RULES:
        assert set(rule.steps) <= set(STEPS)
        assert set(rule.faults) <= set(FAULTS)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_a_step(fault: str, policy: str) -> None:
    found = [allowed(cell) for cell in cells() if (cell.fault, cell.policy) == (fault, policy)]
    possible = [cell for cell in found if not isinstance(cell, Impossible)]
    assert possible or (policy == "again" and fault in ("garbage_data", "peer_loud")), "at least the peer's first steps"
