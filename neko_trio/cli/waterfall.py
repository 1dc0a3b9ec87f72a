"""A connect as a waterfall: one row for each step, a bar from the moment before it to its own."""

from __future__ import annotations

import sys
from typing import TextIO

LABEL = 24
BAR = 44


def waterfall(timeline: dict[str, float], width: int = BAR) -> list[str]:
    """The rows for ``{mark: milliseconds}``: name, moment, what the step took, and its bar on a common scale."""
    marks = sorted(timeline.items(), key=lambda item: item[1])
    total = marks[-1][1] or 1.0
    rows, before = [], 0.0
    for name, at in marks:
        left = round(before / total * width)
        right = max(round(at / total * width), left)
        bar = " " * left + ("█" * (right - left) or "▏")
        rows.append(f"{name:<{LABEL}}{at:9.1f} ms {at - before:+9.1f}  {bar}")
        before = at
    return rows


def waterfall_text(timeline: dict[str, float], stream: TextIO | None = None) -> str:
    """The waterfall as text, with plain bars where ``stream`` (standard output) cannot show blocks."""
    text = "\n".join(row.rstrip() for row in waterfall(timeline))
    try:
        text.encode((stream or sys.stdout).encoding or "ascii")
    except UnicodeEncodeError:
        return text.replace("█", "#").replace("▏", "|")
    return text
