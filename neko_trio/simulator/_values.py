"""What the server keeps and shows about members, the room and time, in the server's own words.

The shapes are Go's (`server/pkg/types/member.go`, `session.go`, `desktop.go`), written down a second time and not taken
from the client's protocol package: the simulator is held to the recordings by itself, so that one mistake cannot stand
on both sides of the wire.
"""

import secrets
import string
import time
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

__all__ = [
    "Member",
    "Profile",
    "RoomSettings",
    "ScreenSize",
    "admin_profile",
    "api_profile",
    "from_json",
    "merged",
    "new_uid",
    "now_text",
]

_UID_ALPHABET = string.ascii_letters + string.digits + "_-"

S = TypeVar("S", bound=msgspec.Struct)


class Profile(msgspec.Struct, frozen=True):
    """What a member may do; the defaults are those of the server's multiuser provider for a user."""

    name: str = ""
    is_admin: bool = False
    can_login: bool = True
    can_connect: bool = True
    can_watch: bool = True
    can_host: bool = True
    can_share_media: bool = True
    can_access_clipboard: bool = True
    sends_inactive_cursor: bool = True
    can_see_inactive_cursors: bool = False
    plugins: dict[str, Any] | None = None


def admin_profile(name: str = "") -> Profile:
    """The multiuser provider's default for an admin."""
    return Profile(name=name, is_admin=True, can_see_inactive_cursors=True)


def api_profile() -> Profile:
    """Whoever calls with the API token (`server/internal/session/manager.go`)."""
    return Profile(
        name="API Session", is_admin=True, can_connect=False, can_share_media=False, sends_inactive_cursor=False
    )


class Member(msgspec.Struct, frozen=True):
    """A member of the *object* provider: the user name is also the session id, a second login replaces the first."""

    password: str
    profile: Profile = Profile()

    def __repr__(self) -> str:
        return f"Member(password=<secret>, profile={self.profile!r})"


class RoomSettings(msgspec.Struct, frozen=True):
    """`GET /api/room/settings`, with the server's defaults."""

    private_mode: bool = False
    locked_logins: bool = False
    locked_controls: bool = False
    control_protection: bool = False
    implicit_hosting: bool = False
    inactive_cursors: bool = False
    merciful_reconnect: bool = True
    heartbeat_interval: int = 10
    plugins: dict[str, Any] | None = None


class ScreenSize(msgspec.Struct, frozen=True):
    width: int = 0
    """Pixels."""
    height: int = 0
    rate: int = 0
    """Hz; an int16 at the server."""


def from_json(text: bytes | str, base: S) -> S:
    """Go's `json.Unmarshal` into an existing struct: fields that are missing or null stay, unknown ones are ignored,
    names match without regard to case, a wrong type fails.  Raises `ValueError`."""
    try:
        given = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as failure:
        raise ValueError("no JSON") from failure
    if given is None:
        return base
    if not isinstance(given, dict):
        raise ValueError("not a JSON object")
    return merged(given, base)


def merged(given: Mapping[str, Any], base: S) -> S:
    """`base` with the fields of `given`.  Raises `ValueError` for a wrong type."""
    fields = {name.lower(): value for name, value in given.items() if value is not None}
    values = {name: fields.get(name, getattr(base, name)) for name in base.__struct_fields__}
    if "plugins" in values:  # the one map: Go adds to what is there, and null empties it
        known, more = values["plugins"], base.plugins  # type: ignore[attr-defined]
        if any(name.lower() == "plugins" and value is None for name, value in given.items()):
            values["plugins"] = None
        elif isinstance(known, dict) and more is not None:
            values["plugins"] = {**more, **known}
    try:
        return msgspec.convert(values, type(base))
    except msgspec.ValidationError as failure:
        raise ValueError(str(failure)) from failure


def new_uid(length: int) -> str:
    """A random id as the server makes them (`server/pkg/utils/uid.go`): URL-safe characters."""
    return "".join(secrets.choice(_UID_ALPHABET) for _ in range(length))


def now_text() -> str:
    """The time as Go's RFC3339Nano in UTC: nanoseconds without trailing zeros."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"
