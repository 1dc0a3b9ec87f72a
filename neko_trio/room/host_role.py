"""Who controls the desktop, decided for others: give, take, reset. For oneself there is ``session.control()``."""

from __future__ import annotations

from functools import partial

from neko_trio.errors import NotAllowed
from neko_trio.protocol.events import ControlHost
from neko_trio.room.ports import STEP, RoomCalls, invalid, path_part


class HostRole(RoomCalls):
    """The host role as an admin, or the host, hands it out."""

    async def give_control(self, session_id: str) -> None:
        """Make somebody host: ``POST /api/room/control/give/{id}``. For the host and for admins.

        The host lets go of held keys and buttons first, and all its input before has been handled.
        Works while controls are locked, and for a session without a WebSocket. Inside of this session's own
        ``control()`` block the role is lost by it: :class:`ControlLost` ends that block. Returns when ``state.host``
        has shown it. Raises :class:`NotAllowed` when this or that member may not host, and :class:`InvalidInput` when
        there is no such session. Cancelled, the role may have been given.
        """
        path = f"/api/room/control/give/{path_part(session_id, 'session')}"
        state = self._ports.state.value
        if not state.is_host and not state.profile.is_admin:
            raise NotAllowed("Only the host or an admin may give the host role to somebody.", step=STEP)
        self._need_hosting()
        given = state.sessions.get(session_id)
        if given is not None and not given.profile.can_host:
            raise _may_not_host("")
        refusals = {404: invalid(f"There is no session {session_id!r}."), 400: _may_not_host}
        if state.is_host:  # the server lets go of nothing when the role is given away
            await self._ports.inputs.release_held()
            await self._ports.inputs.flush()
        await self._ports.confirmed(
            ControlHost,
            lambda event: event.id == state.session_id and event.host_id == session_id,
            partial(self._ports.rest.call, "POST", path, step=STEP, refusals=refusals),
        )

    async def take_control(self) -> None:
        """Become host, whoever is: ``POST /api/room/control/take``, for admins.

        The role stays until it is lost, reset or given away, or the session ends; ``control(steal=True)`` gives it back
        by itself. Raises :class:`NotAllowed` at once. Cancelled, the role may have been taken.
        """
        self._ports.need_admin("take the host role")
        self._need_hosting()
        me = self._ports.state.value.session_id
        await self._ports.confirmed(
            ControlHost,
            lambda event: event.id == event.host_id == me,
            partial(self._ports.rest.call, "POST", "/api/room/control/take", step=STEP),
        )

    async def reset_control(self) -> None:
        """Make nobody host, and let go of every key and button: ``POST /api/room/control/reset``, for admins."""
        self._ports.need_admin("reset the host role")
        self._need_hosting()
        await self._ports.rest.call("POST", "/api/room/control/reset", step=STEP)
        await self._ports.settle()

    def _need_hosting(self) -> None:
        """Every one of these calls wants it of the caller, too (server ``pkg/auth/auth.go``, ``CanHostOnly``)."""
        state = self._ports.state.value
        if not state.profile.can_host:
            raise NotAllowed("This member may not control the desktop.", hint="It needs can_host.", step=STEP)
        if state.settings.private_mode and not state.profile.is_admin:
            raise NotAllowed("The room is in private mode.", hint="An admin can end it.", step=STEP)


def _may_not_host(_message: str) -> NotAllowed:
    return NotAllowed("That member may not control the desktop.", hint="Grant it can_host first.", step=STEP)
