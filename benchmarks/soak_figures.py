"""What `soak.py` has seen over time: its samples, what has drifted among them, and how all of it is shown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from figures import rounded
from plot import Band, Chart, Line, Panel
from soak_faults import KINDS, Fault

MEMORY_LIMIT = 1.02
LATENCY_LIMIT = 1.5
"""Of the last third over the one before."""
NOISE = {"latency": 0.1, "age": 0.002}
"""Seconds that frames may be later by in any case. ``Frame.latency`` is estimated from above, by what the server took
to start or by as much as this: it is another for each connection, and the same until the next."""
SETTLED = 180.0
"""Seconds that a third must cover to tell of drift: in the first minutes memory grows, as everything is used first."""
COUNTS = ("fds", "threads", "trio_tasks", "asyncio_tasks")
TIMES = ("latency", "latency_p95", "age", "fresh", "on_demand", "connect")


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen in one moment, and of the frames since the one before."""

    at: float
    """Seconds since the beginning."""
    calm: bool
    """Whether no fault was at work: else there may be less than at other times."""
    resident: float
    """MiB."""
    objects: int
    fds: int
    threads: int
    trio_tasks: int
    asyncio_tasks: int
    server_resident: float | None
    """MiB; ``None`` for a server that was named, or is away."""
    frames: int
    latency: float | None
    latency_p95: float | None
    age: float | None
    fresh: float | None
    on_demand: float | None
    connect: float | None
    """Medians in seconds, but for the percentile; ``None`` when there was none."""
    epochs: dict[str, int]
    outages: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: round(value, 5) if isinstance(value, float) else value for name, value in values.items()}


def thirds(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample], Sequence[Sample]]:
    """Three parts, of which the first has what does not divide."""
    size = len(samples) // 3
    return samples[: len(samples) - 2 * size], samples[-2 * size : len(samples) - size], samples[len(samples) - size :]


def median(values: Sequence[float | None]) -> float | None:
    """Of those that there are."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def least(samples: Sequence[Sample], name: str) -> int | None:
    """In the quietest of the calm moments; ``None`` when there was no calm one. Short sessions come and go."""
    return min((getattr(sample, name) for sample in samples if sample.calm), default=None)


def drift(samples: Sequence[Sample]) -> list[str]:
    """What has grown from the second third to the last."""
    _, before, last = thirds(samples)
    if not before or last[0].at - before[0].at < SETTLED:
        return []
    found = []
    was, now = (statistics.median(sample.resident for sample in part) for part in (before, last))
    if now > was * MEMORY_LIMIT:
        found.append(f"memory: {was:.1f} → {now:.1f} MiB, {100 * (now / was - 1):+.2f} %")
    for name in COUNTS:
        least_was, least_now = (least(part, name) for part in (before, last))
        if least_was is not None and least_now is not None and least_now > least_was:
            found.append(f"{name}: at least {least_was} → {least_now}")
    for name, noise in NOISE.items():
        late_was, late_now = (median([getattr(sample, name) for sample in part]) for part in (before, last))
        if late_was is None or late_now is None:
            found.append(f"{name}: no frames came in a third of the time")
        elif late_now > max(late_was * LATENCY_LIMIT, late_was + noise):
            found.append(f"{name}: {1000 * late_was:.1f} → {1000 * late_now:.1f} ms")
    return found


def figures(samples: Sequence[Sample], struck: Sequence[Fault]) -> dict[str, Any]:
    """What came of it, in short; each list is of the three thirds."""
    parts = thirds(samples)

    def medians(of: Callable[[Sample], float | None], scale: float = 1) -> list[float | None]:
        found = [median([of(sample) for sample in part]) for part in parts]
        return [None if value is None else round(scale * value, 2) for value in found]

    _, was, now = memory = medians(lambda sample: sample.resident)
    return {
        "memory_mib": memory,
        "memory_drift_percent": round(100 * (now / was - 1), 2) if was and now else None,
        **{f"{name}_ms": medians(lambda sample, name=name: getattr(sample, name), 1000) for name in TIMES},  # type: ignore[misc]
        **{name: [least(part, name) for part in parts] for name in COUNTS},
        "objects": medians(lambda sample: sample.objects),
        "server_mib": medians(lambda sample: sample.server_resident),
        "faults": {kind: found for kind in KINDS if (found := recoveries(kind, struck))},
        "epochs": samples[-1].epochs if samples else {},
        "outages": samples[-1].outages if samples else {},
    }


def recoveries(kind: str, struck: Sequence[Fault]) -> dict[str, Any]:
    """How often it struck, and how soon each session was well again; empty when it never did."""
    of_kind = [fault for fault in struck if fault.kind == kind]
    names = sorted({name for fault in of_kind for name in fault.recoveries})
    by_name = {name: [fault.recoveries[name] for fault in of_kind if name in fault.recoveries] for name in names}
    if not by_name:
        return {}
    everyone = [seconds for found in by_name.values() for seconds in found]
    return {
        "count": len(of_kind),
        "recovery_ms": rounded(everyone, 0, scale=1000),
        "by_session_ms": {name: rounded(found, 0, scale=1000) for name, found in by_name.items()},
    }


def chart(samples: Sequence[Sample], struck: Sequence[Fault], start: float, names: Sequence[str]) -> Chart:
    """All of it over time; ``start`` is the moment that the samples count from, ``names`` are the sessions'."""

    def line(field: str, scale: float = 1.0, name: str | None = None, *, dots: bool = False) -> Line:
        points = [(sample.at / 60, getattr(sample, field)) for sample in samples]
        shown = name or field.replace("_", " ")
        return Line(shown, [(x, None if y is None else y * scale) for x, y in points], dots)

    ended = [fault for fault in struck if fault.ended is not None]
    times = [((fault.ended or start) - start) / 60 for fault in ended]
    wells = [
        Line(name, [(at, fault.recoveries.get(name)) for at, fault in zip(times, ended, strict=True)], dots=True)
        for name in names
    ]
    first, middle, _ = thirds(samples)
    pictures = [line(name, 1000, dots=True) for name in ("fresh", "on_demand", "connect", "age")]  # some are rare
    return Chart(
        f"soak: {samples[-1].at / 60 if samples else 0:.0f} minutes, {len(struck)} faults",
        [
            Panel("resident set, MiB", [line("resident", name="client")], from_zero=False),
            Panel("latency of frames, ms", [line("latency", 1000, "median"), line("latency_p95", 1000, "p95")]),
            Panel("a picture, ms", pictures),
            Panel("recovery after the end of a fault, s", wells),
            Panel("held", [line(name) for name in COUNTS]),
        ],
        [Band(fault.kind, (fault.began - start) / 60, at) for at, fault in zip(times, ended, strict=True)],
        marks=[part[-1].at / 60 for part in (first, middle) if part],
    )


def table(result: dict[str, Any]) -> str:
    """The figures, and what was counted beside them, as text."""
    lines = [f"{'':<20}{'first third':>14}{'second':>14}{'last':>14}"]
    for name in ("memory_mib", *(f"{name}_ms" for name in TIMES), *COUNTS, "objects", "server_mib"):
        values = ("-" if value is None else value for value in result[name])
        lines.append(f"{name:<20}" + "".join(f"{value:>14}" for value in values))
    lines.append(f"memory of the last third over the one before: {result['memory_drift_percent']} %")
    for kind, row in result["faults"].items():
        times = row["recovery_ms"]
        shown = f"recovery {times['median']:7.0f} ms, p95 {times['p95']:7.0f}, max {times['max']:7.0f}"
        lines.append(f"{kind:<12}{row['count']:5} times  {shown}")
    lines.append(f"outages {result['outages']}, epochs {result['epochs']}")
    lines += [
        f"{what}: " + ", ".join(f"{name} {count}" for name, count in sorted(result[what].items()))
        for what in ("done", "cancelled", "errors")
    ]
    return "\n".join([*lines, *result["grown"]])
