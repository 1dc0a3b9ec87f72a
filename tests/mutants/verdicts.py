"""A pytest plugin for the mutants' runs: writes down what became of each test, and why."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from _pytest.outcomes import Failed

import neko_trio
from neko_trio.errors import NekoError
from neko_trio.protocol import Malformed

_verdicts: dict[str, str] = {}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to judge another tree than the one the tests are in."""
    if not Path(neko_trio.__file__).is_relative_to(session.config.rootpath):
        pytest.exit(f"neko_trio is imported from {neko_trio.__file__}", returncode=3)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note the outcome of each phase; a test with parameters counts as one, and fails with any of them."""
    report = yield
    test = item.nodeid.partition("[")[0]
    if report.skipped and call.excinfo is not None:
        _verdicts.setdefault(test, f"skipped: {call.excinfo.value}")
    elif report.failed and call.excinfo is not None:
        if not _verdicts.get(test, "").startswith(("failed", "broke")):  # the first failure is the one that says why
            _verdicts[test] = _why(call.excinfo.value)
    elif report.passed and report.when == "call":
        _verdicts.setdefault(test, "passed")
    return report


def pytest_sessionfinish() -> None:
    """Write the verdicts where the run was told to."""
    Path(os.environ["NEKO_TRIO_VERDICTS"]).write_text(json.dumps(_verdicts))


def _why(error: BaseException) -> str:
    leaves = list(_leaves(error))
    words = "; ".join(dict.fromkeys(f"{type(leaf).__name__}: {_line(leaf)}" for leaf in leaves))
    good = any(isinstance(leaf, AssertionError | NekoError | Malformed | Failed) for leaf in leaves)
    return f"{'failed by' if good else 'broke with'} {words}"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:100]
