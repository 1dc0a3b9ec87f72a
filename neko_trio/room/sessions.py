"""Who is there: oneself, and the sessions of the room, connected or not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Unpack

from neko_trio.errors import InvalidInput, NekoError
from neko_trio.protocol.events import Profile, SessionInfo, SessionProfile
from neko_trio.room.fields import ProfileFields, checked_fields, shows
from neko_trio.room.ports import STEP, RoomCalls, invalid, path_part, read
from neko_trio.room.values import Stats


class Sessions(RoomCalls):
    """The calls about sessions. Cancelled in any of them, what the server did is not known."""

    async def whoami(self) -> SessionInfo:
        """This session as the server has it: ``GET /api/whoami``."""
        info: SessionInfo = read(await self._ports.rest.call("GET", "/api/whoami", step=STEP), SessionInfo, "session")
        return info

    async def rename(self, name: str) -> None:
        """Be called ``name``, until the session ends; everybody is told. See :meth:`update_profile`."""
        await self.update_profile(name=name)

    async def update_profile(self, **fields: Unpack[ProfileFields]) -> Profile:
        """Change these fields of this session's profile: ``POST /api/profile``. Returns it as it is then.

        Users may change their name alone: :class:`NotAllowed` at once for anything else. The server's list of members
        stays as it is. Returns when ``state.profile`` shows it. Raises :class:`InvalidInput` for a field that there is
        not, or that is of a wrong type. An admin who takes ``can_login`` or ``can_connect`` from themselves ends this
        session.
        """
        changes = checked_fields(fields, ProfileFields, what="profile")
        if set(changes) != {"name"}:
            self._ports.need_admin("change more of their own profile than the name")
        me = self._ports.state.value.session_id
        seen = await self._ports.confirmed(
            SessionProfile,
            lambda event: event.id == me and shows(event.profile, changes),
            partial(self._ports.rest.call, "POST", "/api/profile", json=changes, step=STEP),
        )
        return seen.profile

    async def stats(self) -> Stats:
        """Since when the server runs, and how many have been there: ``GET /api/stats``."""
        stats: Stats = read(await self._ports.rest.call("GET", "/api/stats", step=STEP), Stats, "statistics")
        return stats

    async def sessions(self) -> tuple[SessionInfo, ...]:
        """Every session, connected or not, in no order: ``GET /api/sessions``. ``state.sessions`` has them as well."""
        answer = await self._ports.rest.call("GET", "/api/sessions", step=STEP)
        infos: tuple[SessionInfo, ...] = read(answer, tuple[SessionInfo, ...], "list of sessions")
        return infos

    async def session(self, session_id: str) -> SessionInfo:
        """One session: ``GET /api/sessions/{id}``, for admins. Raises :class:`InvalidInput` when there is none."""
        path = _path(session_id)
        self._ports.need_admin("ask for a session")
        answer = await self._ports.rest.call("GET", path, step=STEP, refusals={404: _unknown(session_id)})
        info: SessionInfo = read(answer, SessionInfo, "session")
        return info

    async def disconnect(self, session_id: str) -> None:
        """End somebody's WebSocket and peer; their token stays valid: ``POST /api/sessions/{id}/disconnect``.

        For admins. Returns when ``state.sessions`` shows it; a session that is not connected stays as it is. Raises
        :class:`InvalidInput` when there is no such session, or it is this one.
        """
        path = _path(session_id)
        self._ports.need_admin("disconnect a session")
        self._refuse_own(session_id)
        await self._ports.rest.call("POST", f"{path}/disconnect", step=STEP, refusals={400: _unknown(session_id)})
        await self._ports.settle()

    async def remove(self, session_id: str) -> None:
        """End somebody's session, and with it their token: ``DELETE /api/sessions/{id}``.

        For admins. Returns when it is gone from ``state.sessions``. Raises :class:`InvalidInput` when there is no such
        session, or it is this one.
        """
        path = _path(session_id)
        self._ports.need_admin("remove a session")
        self._refuse_own(session_id)
        await self._ports.rest.call("DELETE", path, step=STEP, refusals={400: _unknown(session_id)})
        await self._ports.settle()

    def _refuse_own(self, session_id: str) -> None:
        if session_id == self._ports.state.value.session_id:
            raise InvalidInput("That is this session.", hint="Leave its async with block instead.", step=STEP)


def _path(session_id: str) -> str:
    return f"/api/sessions/{path_part(session_id, 'session')}"


def _unknown(session_id: str) -> Callable[[str], NekoError]:
    return invalid(f"There is no session {session_id!r}.")
