from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.benchmarks.scripts import importable


@pytest.fixture
def benchmark(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The module that the test's parameter names: see ``script``."""
    with importable():
        yield importlib.import_module(request.param)
