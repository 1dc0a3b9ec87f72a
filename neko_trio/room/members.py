"""Who may log in: the server's list of members, where its member provider keeps one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, Unpack
from urllib.parse import urlencode

from neko_trio.errors import FeatureOff, InvalidInput, NekoError
from neko_trio.protocol.events import Profile
from neko_trio.room.fields import ProfileFields, checked_fields, checked_text
from neko_trio.room.ports import STEP, RoomCalls, invalid, path_part, read
from neko_trio.room.values import Member

PATH = "/api/members"
BULK = "/api/members_bulk"
Refusal: TypeAlias = Callable[[str], NekoError]


class Members(RoomCalls):
    """The calls about members, for admins, but for the list: :class:`NotAllowed` at once for users.

    Which of them work depends on the server's member provider (server ``internal/member``). *object* and *file* keep
    members, whose id is the user name and also the id of their session. *multiuser*, the default, and *noauth* keep
    none: there the calls raise :class:`FeatureOff`, except that :meth:`get` and :meth:`update` know the sessions there
    are, and change their rights until they end. A server says "internal error" to all of that, so ``FeatureOff`` may
    also mean that it could not write its file.

    Passwords are in no ``repr``, log or error. Cancelled in any call, what the server did is not known.
    """

    async def list(self, *, limit: int | None = None, offset: int = 0) -> tuple[Member, ...]:
        """The members: ``GET /api/members``; everybody may ask. Empty where the provider keeps none.

        The server picks them in a new, random order at each call: pages overlap and leave out, so ``limit`` and
        ``offset`` are of use for a sample only. Raises :class:`InvalidInput` for a limit below 1, or an offset below 0.
        """
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InvalidInput(f"limit={limit!r} must be a whole number, 1 or more; None is all.", step=STEP)
        if type(offset) is not int or offset < 0:
            raise InvalidInput(f"offset={offset!r} must be a whole number, 0 or more.", step=STEP)
        query = urlencode({"limit": limit or 0, "offset": offset})
        answer = await self._ports.rest.call("GET", f"{PATH}?{query}", step=STEP)
        members: tuple[Member, ...] = read(answer, tuple[Member, ...], "list of members")
        return members

    async def get(self, member_id: str) -> Profile:
        """A member's profile; of one who is logged in, the session's: ``GET /api/members/{id}``.

        Raises :class:`InvalidInput` when there is no such member.
        """
        path = _path(member_id)
        self._ports.need_admin("ask for a member")
        answer = await self._ports.rest.call("GET", path, step=STEP, refusals=_refusals(member_id))
        profile: Profile = read(answer, Profile, "profile")
        return profile

    async def create(self, username: str, password: str, **fields: Unpack[ProfileFields]) -> Member:
        """Make a member who logs in with these: ``POST /api/members``.

        ``fields`` of the profile that are not given: may do everything but be an admin, and has no name. Raises
        :class:`InvalidInput` for an empty name or password, and when there is such a member already.
        """
        checked_text(username, "username")
        checked_text(password, "password")
        profile = checked_fields(fields, ProfileFields, what="profile") if fields else {}
        self._ports.need_admin("create a member")
        refusals: dict[int, Refusal] = {422: invalid(f"There is a member {username!r} already."), 500: _no_members}
        body = {"username": username, "password": password, "profile": profile}
        answer = await self._ports.rest.call("POST", PATH, json=body, step=STEP, refusals=refusals)
        member: Member = read(answer, Member, "member")
        return member

    async def update(self, member_id: str, **fields: Unpack[ProfileFields]) -> None:
        """Change these fields of a member's profile, and of their session: ``POST /api/members/{id}``.

        Returns when ``state.sessions`` shows it. What the new profile forbids ends at once: the host role, the peer a
        second later, and without ``can_login`` or ``can_connect`` the connection. ``plugins`` adds to what there is.
        Raises :class:`InvalidInput` when there is no such member, for a field that there is not, or of a wrong type.
        """
        path = _path(member_id)
        changes = checked_fields(fields, ProfileFields, what="profile")
        self._ports.need_admin("change a member")
        await self._ports.rest.call("POST", path, json=changes, step=STEP, refusals=_refusals(member_id))
        await self._ports.settle()

    async def set_password(self, member_id: str, password: str) -> None:
        """Give a member another password: ``POST /api/members/{id}/password``. Their session goes on.

        Raises :class:`InvalidInput` when there is no such member, and for an empty password.
        """
        path = _path(member_id)
        checked_text(password, "password")
        self._ports.need_admin("set a member's password")
        body = {"password": password}
        await self._ports.rest.call("POST", f"{path}/password", json=body, step=STEP, refusals=_refusals(member_id))

    async def delete(self, member_id: str) -> None:
        """Delete a member, and end their session: ``DELETE /api/members/{id}``.

        Returns when it is gone from ``state.sessions``. Raises :class:`InvalidInput` when there is no such member, or
        it is oneself. Where the provider keeps no members the session has ended nevertheless.
        """
        path = _path(member_id)
        self._ports.need_admin("delete a member")
        self._refuse_own([member_id])
        await self._ports.rest.call("DELETE", path, step=STEP, refusals=_refusals(member_id))
        await self._ports.settle()

    async def update_many(self, member_ids: Iterable[str], **fields: Unpack[ProfileFields]) -> None:
        """:meth:`update` for several: ``POST /api/members_bulk/update``.

        They are changed one after the other. At the first that cannot be, :class:`FeatureOff` names it: those before
        it in ``member_ids`` have been changed, it and those behind it have not.
        """
        ids = _ids(member_ids)
        changes = checked_fields(fields, ProfileFields, what="profile")
        self._ports.need_admin("change members")
        await self._bulk("update", {"ids": ids, "profile": changes})

    async def delete_many(self, member_ids: Iterable[str]) -> None:
        """:meth:`delete` for several: ``POST /api/members_bulk/delete``. Fails as :meth:`update_many` does."""
        ids = _ids(member_ids)
        self._ports.need_admin("delete members")
        self._refuse_own(ids)
        await self._bulk("delete", {"ids": ids})

    async def _bulk(self, verb: str, body: Mapping[str, Any]) -> None:
        failure: FeatureOff | None = None
        try:
            await self._ports.rest.call("POST", f"{BULK}/{verb}", json=body, step=STEP, refusals={500: _stopped})
        except FeatureOff as error:
            failure = error
        await self._ports.settle()  # those before it have been changed
        if failure is not None:
            raise failure

    def _refuse_own(self, ids: Iterable[str]) -> None:
        if self._ports.state.value.session_id in ids:
            raise InvalidInput("That is the member of this session.", hint="Another admin can delete it.", step=STEP)


def _path(member_id: str) -> str:
    return f"{PATH}/{path_part(member_id, 'member')}"


def _ids(member_ids: Iterable[str]) -> Sequence[str]:
    if isinstance(member_ids, str):
        raise InvalidInput("members: several ids are due, not one text.", step=STEP)
    ids = (*member_ids,)
    for member_id in ids:
        checked_text(member_id, "member")
    return ids


def _refusals(member_id: str) -> dict[int, Refusal]:
    return {404: invalid(f"There is no member {member_id!r}."), 500: _no_members}


def _no_members(_message: str) -> NekoError:
    return FeatureOff(
        "The server could not do that with its members.",
        hint="Its member provider must keep members: --member.provider object or file.",
        step=STEP,
    )


def _stopped(message: str) -> NekoError:
    return FeatureOff(
        f"The server stopped at one of them: {message!r}. Those before it are done.",
        hint="It has no such member, or its member provider keeps none.",
        step=STEP,
    )
