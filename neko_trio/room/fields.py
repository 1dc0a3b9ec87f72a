"""Changes to a profile or to the settings: only what is named is sent, and only what the server would take."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypedDict, get_type_hints

import msgspec

from neko_trio.errors import InvalidInput
from neko_trio.room.ports import STEP, checked_json


class ProfileFields(TypedDict, total=False):
    """The fields of a member's profile; see :class:`neko_trio.events.Profile`."""

    name: str
    is_admin: bool
    can_login: bool
    can_connect: bool
    can_watch: bool
    can_host: bool
    can_share_media: bool
    can_access_clipboard: bool
    sends_inactive_cursor: bool
    can_see_inactive_cursors: bool
    plugins: dict[str, object] | None


class SettingsFields(TypedDict, total=False):
    """The fields of the room's settings; see :class:`neko_trio.events.Settings`."""

    private_mode: bool
    locked_logins: bool
    locked_controls: bool
    control_protection: bool
    implicit_hosting: bool
    inactive_cursors: bool
    merciful_reconnect: bool
    heartbeat_interval: int
    plugins: dict[str, object] | None


_SHOWN = {bool: "True or False", int: "a whole number, 0 or more", str: "a text"}


def checked_fields(given: Mapping[str, Any], allowed: type, *, what: str) -> dict[str, Any]:
    """``given``, if ``allowed`` (one of the two above) has such fields; else :class:`InvalidInput` that says which."""
    hints = _hints(allowed)
    unknown = sorted(set(given) - set(hints))
    if unknown or not given:
        wrong = f"no such field: {', '.join(map(repr, unknown))}" if unknown else "nothing to change"
        raise InvalidInput(f"{what}: {wrong}.", hint=f"There are {', '.join(hints)}.", step=STEP)
    for name, value in given.items():
        try:
            msgspec.convert(value, hints[name], strict=True)
            checked_json(value, name)
        except (msgspec.ValidationError, InvalidInput):
            raise _wrong(what, name, hints[name]) from None
        if hints[name] is int and value < 0:
            raise _wrong(what, name, hints[name])
    return dict(given)


def checked_text(value: object, what: str) -> None:
    """Raise :class:`InvalidInput` unless ``value`` is a Unicode text that is not empty. It is not quoted."""
    try:
        if isinstance(value, str) and value:
            value.encode()
            return
    except UnicodeEncodeError:
        pass
    raise InvalidInput(f"{what} must be a Unicode text that is not empty.", step=STEP)


def shows(value: msgspec.Struct, changes: Mapping[str, Any]) -> bool:
    """Whether ``value`` has the fields so. Of plugins, whose numbers Go may write otherwise, the names have to do."""
    plugins = set(getattr(value, "plugins", None) or ())
    return all(
        plugins.issuperset(wanted or ()) if name == "plugins" else getattr(value, name) == wanted
        for name, wanted in changes.items()
    )


@cache
def _hints(fields: type) -> dict[str, Any]:
    return get_type_hints(fields)


def _wrong(what: str, name: str, hint: Any) -> InvalidInput:
    due = _SHOWN.get(hint, "None or a mapping by text of what JSON can hold")
    return InvalidInput(f"{what}: {name} must be {due}.", step=STEP)
