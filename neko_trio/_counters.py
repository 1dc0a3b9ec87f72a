"""Arithmetic of snapshots: frozen dataclasses whose numbers are totals, unless a field says that it is not.

A field is a *total* (``int`` or ``float``, the default), a *balance* (a total that may fall as well, such as packets
lost), or a *gauge* (the state at that moment: a number whose difference says nothing, or anything that is no number).
A field may also hold a snapshot of its own, or ``None`` where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

__all__ = ["Kind", "added", "balance", "difference", "gauge", "numbers"]

C = TypeVar("C")
Kind = Literal["total", "balance", "gauge"]

_KIND = "neko_trio.kind"


def gauge(default: Any) -> Any:
    """A dataclass field for a state: a sum or a difference has the later snapshot's."""
    return field(default=default, metadata={_KIND: "gauge"})


def balance(default: Any) -> Any:
    """A dataclass field for a total that may fall."""
    return field(default=default, metadata={_KIND: "balance"})


def added(earlier: C, later: C) -> C:
    """``later`` with the totals of ``earlier`` on top: what two peers counted one after the other."""
    return _combined(earlier, later, 1)


def difference(later: C, earlier: C) -> C:
    """``later`` with only what was counted since ``earlier``."""
    return _combined(earlier, later, -1)


def _combined(earlier: C, later: C, sign: int) -> C:
    assert is_dataclass(later)
    assert not isinstance(later, type)
    changes: dict[str, Any] = {}
    for each in fields(later):
        old, new = getattr(earlier, each.name), getattr(later, each.name)
        if _is_snapshot(new) and _is_snapshot(old):
            changes[each.name] = _combined(old, new, sign)
        elif _is_snapshot(old) and new is None and sign > 0:
            changes[each.name] = old  # the later peer has not begun to count that
        elif _kind(each, new) != "gauge":
            changes[each.name] = new + sign * old
    return replace(later, **changes)


def numbers(snapshot: object, prefix: str = "") -> Iterator[tuple[str, Kind, float]]:
    """Name, kind and value of every number in it; the names of a snapshot within are led by its field's name."""
    assert is_dataclass(snapshot)
    for each in fields(snapshot):
        value = getattr(snapshot, each.name)
        if _is_snapshot(value):
            yield from numbers(value, f"{prefix}{each.name}_")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{each.name}", _kind(each, value), value


def _is_snapshot(value: object) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def _kind(each: Field[Any], value: object) -> Kind:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "gauge"
    kind: Kind = each.metadata.get(_KIND, "total")
    return kind
