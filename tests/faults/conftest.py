"""Behind the tests, the table of what came of each cell; as JSON in the file that ``NEKO_FAULT_MATRIX`` names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from tests.faults import report as matrix


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The runs on sockets are made once, hence in one process."""
    if config.pluginmanager.has_plugin("xdist"):
        for item in items:
            if item.path.name == "test_matrix_sockets.py":
                item.add_marker(pytest.mark.xdist_group("fault matrix on sockets"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take up what came of a cell, in whichever process it was run."""
    if report.when == "call":
        for name, value in report.user_properties:
            if name == matrix.PROPERTY:
                matrix.note_kept(cast("dict[str, Any]", value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, if cells were run."""
    if not matrix.any_noted():
        return
    terminalreporter.section("fault matrix")
    for line in matrix.lines():
        terminalreporter.write_line(line)
    path = os.environ.get("NEKO_FAULT_MATRIX")
    if path:
        matrix.write_json(Path(path))
        terminalreporter.write_line(f"JSON: {path}")
