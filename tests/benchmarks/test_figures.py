"""What every benchmark tells, and how: its figures, its JSON, its exit code."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.scripts import importable

VALUES = [float(number) for number in range(200, 0, -1)]


@pytest.fixture(scope="module")
def figures() -> Iterator[ModuleType]:
    with importable():
        yield importlib.import_module("figures")


def test_a_percentile_is_a_value_that_was_measured(figures: ModuleType) -> None:
    assert figures.summary(VALUES) == {"median": 100.0, "p95": 190.0, "p99": 198.0, "max": 200.0}
    assert figures.summary([7.0]) == dict.fromkeys(("median", "p95", "p99", "max"), 7.0)
    assert figures.rounded([0.0012345], scale=1000)["max"] == 1.23
    assert figures.rounded([0.0012345], 4)["max"] == 0.0012


@given(values=st.lists(st.floats(0, 1e6), min_size=1), share=st.floats(0, 1, exclude_min=True))
def test_so_many_do_not_exceed_it(figures: ModuleType, values: list[float], share: float) -> None:
    found = figures.percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6
    assert sum(value < found for value in values) < share * len(values) + 1e-6


@pytest.mark.parametrize("failures", [(), ("too slow", "too late")])
def test_a_report_goes_where_it_is_wanted(
    figures: ModuleType, failures: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {"figure": 1.5, **figures.environment()}
    told = "".join(f"failed: {failure}\n" for failure in failures)
    code = figures.report(result, None, table="a table", failures=failures)
    assert (code, *capsys.readouterr()) == (bool(failures), "a table\n", told)
    file = tmp_path / "figures.json"
    assert figures.report(result, str(file), failures=failures) == code
    assert capsys.readouterr() == ("", told)
    assert json.loads(file.read_text()) == result
    assert figures.report(result, "-", table="a table", failures=iter(failures)) == code
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (result, told)
    assert result["versions"]["python"] == sys.version.split()[0]


def test_where_to_is_an_option(figures: ModuleType) -> None:
    for default, given_, expected in ((None, [], None), ("-", [], "-"), ("-", ["--json", "f"], "f")):
        parser = argparse.ArgumentParser()
        figures.add_json_option(parser, default)
        assert parser.parse_args(given_).json == expected
