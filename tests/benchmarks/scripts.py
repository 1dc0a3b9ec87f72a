"""The scripts under ``benchmarks/`` as modules, for one test at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@contextmanager
def importable() -> Iterator[None]:
    """They can be imported by their names, and are forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield
    for name, module in list(sys.modules.items()):
        if BENCHMARKS in Path(getattr(module, "__file__", None) or "").parents:
            del sys.modules[name]


def script(name: str) -> pytest.MarkDecorator:
    """The fixture ``benchmark`` is the script of that name."""
    return pytest.mark.parametrize("benchmark", [name], indirect=True)
