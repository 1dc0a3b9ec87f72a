"""Reads a payload into a struct the way Go's ``encoding/json`` does, for the simulator.

Facts of Go (package documentation of ``encoding/json``, ``Unmarshal``): keys match without regard to case; keys that
are not known are ignored; ``null`` and a missing key leave the zero value; a fraction or an exponent is no integer; a
number out of the field's range and a wrong type are errors, and the server then drops the event. Unlike Go, half a
surrogate pair written as an escape is refused here.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from neko_trio.protocol.malformed import Malformed
from neko_trio.protocol.message import convert_json

__all__ = ["read_object", "read_struct"]

S = TypeVar("S", bound=msgspec.Struct)


class _Field:
    """How one field of a struct is read."""

    def __init__(self, info: msgspec.structs.FieldInfo, hint: Any) -> None:
        self.name = info.encode_name
        self.required = info.required
        options = (hint, *get_args(hint))
        self.struct = next((o for o in options if isinstance(o, type) and issubclass(o, msgspec.Struct)), None)
        self.zero = next((o() for o in options if o in (int, str, bool)), None)


@cache
def _fields(type_: type[msgspec.Struct]) -> dict[str, _Field]:
    hints = get_type_hints(type_)
    return {info.encode_name.casefold(): _Field(info, hints[info.name]) for info in msgspec.structs.fields(type_)}


def read_object(value: Any, type_: type[msgspec.Struct]) -> dict[str, Any]:
    """``value`` with the keys that ``type_`` knows, spelled as it spells them. Raises :class:`Malformed`.

    Zero values are filled in for what is missing and has no default in Python; ``null`` is left out.
    """
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise Malformed("an object is due")
    fields = _fields(type_)
    found: dict[str, Any] = {}
    for key, item in value.items():
        field = fields.get(key.casefold())
        if field is not None and item is not None:
            found[field.name] = item if field.struct is None else read_object(item, field.struct)
    for field in fields.values():
        if field.required and field.name not in found:
            found[field.name] = field.zero if field.struct is None else read_object({}, field.struct)
    return found


def read_struct(value: Any, type_: type[S]) -> S:
    """Build ``type_`` from decoded JSON. Raises :class:`Malformed`, or what ``malformed_json`` maps."""
    read: S = convert_json(read_object(value, type_), type_)
    return read
