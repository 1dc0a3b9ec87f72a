"""Who may log in: the *multiuser* provider (any name, the password decides the role) and the *object* provider (fixed
members, the name is the session id).  Facts: `server/internal/member/manager.go`, `multiuser/provider.go`,
`object/provider.go`."""

import hmac
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from neko_trio.simulator._http import HttpError
from neko_trio.simulator._room import Room, RoomError
from neko_trio.simulator._session import Session
from neko_trio.simulator._values import Member, Profile, admin_profile, new_uid

__all__ = ["MemberError", "MemberExists", "MemberMissing", "Members"]


class MemberError(Exception):
    """What a provider refuses."""


class MemberMissing(MemberError):
    """It has no such member."""


class MemberExists(MemberError):
    """It has such a member already."""


class Members:
    """The member provider; `login` makes sessions."""

    def __init__(self, password: str, admin_password: str, members: Mapping[str, Member] | None) -> None:
        self._password = password
        self._admin_password = admin_password
        self.fixed: dict[str, Member] | None = None if members is None else dict(members)
        self._listed = 0

    def __repr__(self) -> str:
        return f"<Members {'multiuser' if self.fixed is None else sorted(self.fixed)}>"

    def login(self, room: Room, username: str, password: str) -> Session:
        """Raises `HttpError` 401, 403 (logins locked) or 422 (a fixed member is connected already)."""
        session_id, profile = self._authenticate(username, password)
        if not profile.is_admin and (room.settings.locked_logins or room.faults.strike("lock_logins")):
            raise HttpError(HTTPStatus.FORBIDDEN, "logins are locked")
        existing = room.sessions.get(session_id)
        if existing is not None:
            if existing.is_connected:
                raise HttpError(HTTPStatus.UNPROCESSABLE_ENTITY, "session already connected")
            room.delete(session_id)
        try:
            return room.create(session_id, profile)
        except RoomError as refusal:
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, str(refusal)) from refusal

    # What admins may do, in the words of `server/internal/member/manager.go`: a session there is goes before the list.

    def profiles(self) -> list[tuple[str, Profile]]:
        """In another order at each call: the server keeps them in a map of Go's."""
        listed = [(name, member.profile) for name, member in (self.fixed or {}).items()]
        start = self._listed % max(len(listed), 1)
        self._listed += 1
        return [*listed[start:], *listed[:start]]

    def insert(self, username: str, password: str, profile: Profile) -> None:
        """Raises `MemberError`."""
        if username in self._kept():
            raise MemberExists(username)
        self._kept()[username] = Member(password, profile)

    def select(self, room: Room, member_id: str) -> Profile:
        """Raises `MemberError`."""
        session = room.sessions.get(member_id)
        return self._one(member_id).profile if session is None else session.profile

    def update(self, room: Room, member_id: str, profile: Profile) -> None:
        """Raises `MemberError`, though not where no members are kept: the session has it then."""
        if member_id in room.sessions:
            room.update_profile(member_id, profile)
        if self.fixed is not None:
            self.fixed[member_id] = Member(self._one(member_id).password, profile)

    def set_password(self, member_id: str, password: str) -> None:
        """Raises `MemberError`."""
        self._kept()[member_id] = Member(password, self._one(member_id).profile)

    def delete(self, room: Room, member_id: str) -> None:
        """Raises `MemberError`; the session has ended all the same."""
        if member_id in room.sessions:
            room.delete(member_id)
        self._one(member_id)
        del self._kept()[member_id]

    def _kept(self) -> dict[str, Member]:
        if self.fixed is None:
            raise MemberError("multiuser keeps no members")
        return self.fixed

    def _one(self, member_id: str) -> Member:
        member = self._kept().get(member_id)
        if member is None:
            raise MemberMissing(member_id)
        return member

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
