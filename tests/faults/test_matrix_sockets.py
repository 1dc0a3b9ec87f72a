"""The fault matrix on real sockets: cells run side by side, once, and each test judges one.

A sixth of the cells, and none that moves 20 MB: all of them take a minute and a half of a machine that does nothing
else, and are run by ``python -m tests.faults --rig sockets``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast
from zlib import crc32

import pytest

from neko_trio.testing import leak_check
from tests.faults import report, socket_rig
from tests.faults.findings import known
from tests.faults.outcome import Observed
from tests.faults.rules import allowed
from tests.faults.table import Allowed, Cell, cells

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(300)]

SHARE = 6
POSSIBLE = [cell for cell in cells() if isinstance(found := allowed(cell), Allowed) and "sockets" in found.rigs]
CELLS = [cell for cell in POSSIBLE if crc32(str(cell).encode()) % SHARE == 0 and cell.fault != "message_20mb"]


@pytest.fixture(scope="module")
def observed(request: pytest.FixtureRequest) -> dict[Cell, Observed]:
    """What came of the cells whose tests are run in this process."""
    chosen: list[Cell] = [
        cast("Cell", item.callspec.params["cell"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path and hasattr(item, "callspec")
    ]
    with leak_check():
        return socket_rig.run_all(chosen)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_what_comes_of_it_is_allowed(
    cell: Cell, observed: dict[Cell, Observed], record_property: Callable[[str, object], None]
) -> None:
    found = allowed(cell)
    assert isinstance(found, Allowed)
    wrong = observed[cell].verdict(found, socket_rig.LIMITS)
    report.keep(record_property, observed[cell], wrong)
    if wrong is not None and (finding := known(wrong)) is not None:
        pytest.xfail(f"{finding.name}: {wrong}")
    assert wrong is None, f"{cell}: {wrong}"
