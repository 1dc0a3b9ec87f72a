"""Figures over time as a picture: panels one below the other, lines in them, and bands where something was done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#1f5fbf", "#c0392b", "#1e8449", "#7d3c98", "#b9770e", "#117a8b")
BANDS = ("#f6d5d5", "#d9e6f7", "#e1f1dc", "#efe2f4", "#fbeecb", "#dcdcdc")
WIDTH, PANEL = 1400, 230
LEFT, RIGHT, ABOVE, BELOW = 80, 20, 34, 26
"""Pixels around a panel's lines."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line, or dots; ``None`` is a gap."""

    name: str
    values: Sequence[tuple[float, float | None]]
    """(x, y)."""
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    lines: Sequence[Line]
    from_zero: bool = True


@dataclass(frozen=True, slots=True)
class Band:
    """From where to where on the x axis something was done."""

    kind: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Chart:
    """The whole picture."""

    title: str
    panels: Sequence[Panel]
    bands: Sequence[Band] = ()
    x_unit: str = "minutes"
    marks: Sequence[float] = field(default=())
    """Where a vertical line is drawn through all panels."""


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most so many: steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span / (power * factor) <= most - 1)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def limits(panel: Panel) -> tuple[float, float]:
    """The least and the greatest y shown, with room around the lines."""
    values = [y for line in panel.lines for _, y in line.values if y is not None]
    if not values:
        return 0.0, 1.0
    low, high = (0.0 if panel.from_zero else min(values)), max(values)
    room = 0.06 * (high - low) or 0.5
    return (low if panel.from_zero else low - room), high + room


def draw(chart: Chart, where: str | Path) -> None:
    """Write the chart as a PNG file."""
    image = Image.new("RGB", (WIDTH, ABOVE + PANEL * len(chart.panels) + 2 * BELOW), "white")
    pen = ImageDraw.Draw(image)
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    pen.text((LEFT, 8), chart.title, fill="black", font=font)
    xs = [x for panel in chart.panels for line in panel.lines for x, _ in line.values]
    first, last = (min(xs), max(xs)) if xs else (0.0, 1.0)
    span = (last - first) or 1.0
    kinds = sorted({band.kind for band in chart.bands})

    def x_at(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (x - first) / span

    for number, panel in enumerate(chart.panels):
        top = ABOVE + PANEL * number + 20
        bottom = top + PANEL - 46
        low, high = limits(panel)
        for band in chart.bands:
            begin, end = x_at(max(first, band.begin)), x_at(min(last, band.end))
            if end >= begin:
                colour = BANDS[kinds.index(band.kind) % len(BANDS)]
                pen.rectangle((begin, top, max(begin + 1, end), bottom), fill=colour)
        for mark in chart.marks:
            pen.line((x_at(mark), top, x_at(mark), bottom), fill="#555555")
        for y in ticks(low, high):
            at = bottom - (bottom - top) * (y - low) / (high - low)
            pen.line((LEFT, at, WIDTH - RIGHT, at), fill="#dddddd")
            pen.text((LEFT - 8, at), f"{y:g}", fill="black", font=small, anchor="rm")
        for x in ticks(first, last, 16):
            pen.line((x_at(x), bottom, x_at(x), bottom + 4), fill="black")
            pen.text((x_at(x), bottom + 6), f"{x:g}", fill="black", font=small, anchor="ma")
        pen.rectangle((LEFT, top, WIDTH - RIGHT, bottom), outline="black")
        title_at = LEFT + pen.textlength(panel.title, font=font) + 24
        pen.text((LEFT, top - 19), panel.title, fill="black", font=font)
        for colour, line in zip(COLOURS, panel.lines, strict=False):
            pen.text((title_at, top - 17), line.name, fill=colour, font=small)
            title_at += pen.textlength(line.name, font=small) + 18
            _draw_line(
                pen,
                [
                    None if y is None else (x_at(x), bottom - (bottom - top) * (y - low) / (high - low))
                    for x, y in line.values
                ],
                colour,
                dots=line.dots,
            )
    under = ABOVE + PANEL * len(chart.panels) + BELOW // 2
    at = float(LEFT)
    for kind in kinds:
        pen.rectangle((at, under, at + 14, under + 14), fill=BANDS[kinds.index(kind) % len(BANDS)], outline="#888888")
        pen.text((at + 20, under), kind, fill="black", font=small)
        at += 40 + pen.textlength(kind, font=small)
    pen.text((WIDTH - RIGHT, under), chart.x_unit, fill="black", font=small, anchor="ra")
    image.save(where, format="PNG")


def _draw_line(
    pen: ImageDraw.ImageDraw, points: Sequence[tuple[float, float] | None], colour: str, *, dots: bool
) -> None:
    before: tuple[float, float] | None = None
    for point in points:
        if point is not None and dots:
            pen.ellipse((point[0] - 3, point[1] - 3, point[0] + 3, point[1] + 3), fill=colour)
        elif point is not None:
            pen.line((*(before or point), *point), fill=colour, width=2)
        before = point
