"""Who may log in: the *multiuser* provider (any name, the password decides the role) and the *object* provider (fixed
members, the name is the session id).  Facts: `server/internal/member/manager.go`, `multiuser/provider.go`,
`object/provider.go`."""

import hmac
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from neko_trio.simulator._http import HttpError
from neko_trio.simulator._room import Room
from neko_trio.simulator._session import Session
from neko_trio.simulator._values import Member, Profile, admin_profile, new_uid

__all__ = ["Members"]


class Members:
    """The member provider; `login` makes sessions."""

    def __init__(self, password: str, admin_password: str, members: Mapping[str, Member] | None) -> None:
        self._password = password
        self._admin_password = admin_password
        self.fixed: dict[str, Member] | None = None if members is None else dict(members)

    def __repr__(self) -> str:
        return f"<Members {'multiuser' if self.fixed is None else sorted(self.fixed)}>"

    def login(self, room: Room, username: str, password: str) -> Session:
        """Raises `HttpError` 401, 403 (logins locked) or 422 (a fixed member is connected already)."""
        session_id, profile = self._authenticate(username, password)
        if not profile.is_admin and room.settings.locked_logins:
            raise HttpError(HTTPStatus.FORBIDDEN, "logins are locked")
        existing = room.sessions.get(session_id)
        if existing is not None:
            if existing.is_connected:
                raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "session already connected")
            room.delete(session_id)
        return room.create(session_id, profile)

    def profiles(self) -> dict[str, Profile]:
        return {} if self.fixed is None else {name: member.profile for name, member in self.fixed.items()}

    def _authenticate(self, username: str, password: str) -> tuple[str, Profile]:
        if self.fixed is not None:
            member = self.fixed.get(username)
            if member is None or not _same(member.password, password):
                raise HttpError(HTTPStatus.UNAUTHORIZED)
            return username, member.profile
        if _same(self._admin_password, password):
            profile = admin_profile()
        elif _same(self._password, password):
            profile = Profile()
        else:
            raise HttpError(HTTPStatus.UNAUTHORIZED)
        return f"{username}-{new_uid(5)}", msgspec.structs.replace(profile, name=profile.name or username)


def _same(secret: str, given: str) -> bool:
    return hmac.compare_digest(secret.encode("utf-8", "surrogateescape"), given.encode("utf-8", "surrogateescape"))
