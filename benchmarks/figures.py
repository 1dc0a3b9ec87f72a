"""What the benchmarks have in common once they have measured: figures, what they were measured with, and the report."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("neko-trio", "trio", "anyio", "aiortc", "aioice", "av", "numpy")


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary(values: list[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile, maximum."""
    return {
        "median": percentile(values, 0.5),
        "p95": percentile(values, 0.95),
        "p99": percentile(values, 0.99),
        "max": max(values),
    }


def rounded(values: list[float], digits: int = 2, *, scale: float = 1.0) -> dict[str, float]:
    """The :func:`summary` of values times ``scale`` (1000 makes milliseconds of seconds)."""
    return {name: round(value * scale, digits) for name, value in summary(values).items()}


def environment() -> dict[str, Any]:
    """What it was measured with: the versions and the number of processors, as fields of a result."""
    packages = {name: version(name) for name in PACKAGES}
    return {"versions": {"python": platform.python_version(), **packages}, "processors": os.cpu_count()}


def add_json_option(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """``--json FILE`` for :func:`report`."""
    shown = " (- for standard output)" if default is None else f" (- for standard output; {default} unless given)"
    parser.add_argument("--json", metavar="FILE", default=default, help=f"write the figures there{shown}")


def report(result: Any, where: str | None, *, table: str = "", failures: Iterable[str] = ()) -> int:
    """Tell what came of it; the exit code, 1 when anything failed.

    ``result`` goes as JSON to the file ``where``, or to standard output for ``-``; ``None`` is nowhere. ``table`` goes
    to standard output when the JSON does not, the failures to standard error.
    """
    text = json.dumps(result, indent=2)
    if where == "-":
        print(text)
    else:
        print(table, end="\n" if table else "")
        if where is not None:
            Path(where).write_text(text + "\n", encoding="utf-8")
    told = [f"failed: {failure}" for failure in failures]
    print("\n".join(told), end="\n" if told else "", file=sys.stderr)
    return 1 if told else 0
