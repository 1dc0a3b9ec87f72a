"""Who may control the desktop, read from the room's state: what the server would drop silently is an error here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neko_trio.errors import CallerError, ControlLocked, HostTaken, NotAllowed

if TYPE_CHECKING:
    from neko_trio._state import State


def why_not_host(state: State) -> CallerError | None:
    """The error of a session that cannot become host now, whoever else is; ``None`` when it can.

    The order is the server's (``internal/websocket/handler/control.go``): the member's right, private mode, the lock.
    """
    if not state.profile.can_host:
        return NotAllowed("This member may not control the desktop.", hint="An admin can grant it: can_host.")
    if state.profile.is_admin:
        return None
    if state.settings.private_mode:
        return NotAllowed("The room is in private mode: only admins control it.", hint="An admin can end it.")
    if state.settings.locked_controls:
        return ControlLocked("The room's controls are locked for users.", hint="An admin can unlock them.")
    return None


def check_host(state: State) -> None:
    """Raise the typed error of a session whose input the server would not take now.

    :class:`HostTaken` when another session is host, :class:`NotAllowed` when nobody is or the member may not be,
    :class:`ControlLocked` when the controls are locked.
    """
    refused = why_not_host(state)
    if refused is not None:
        raise refused
    if state.is_host:
        return
    if state.host is not None:
        raise host_taken(state)
    raise NotAllowed("This session is not host.", hint="Wrap the input in `async with session.control():`.")


def check_may_act(state: State) -> None:
    """Raise the typed error of a session for which the server would not act on the desktop by REST.

    Host, or, with implicit hosting, everybody who may be (``uploadMiddleware`` of ``internal/api/room/handler.go``).
    """
    if state.is_host or (state.profile.can_host and state.settings.implicit_hosting):
        return
    if not state.profile.can_host:
        raise NotAllowed("This member may not control the desktop.", hint="An admin can grant it: can_host.")
    if state.host is not None:
        raise host_taken(state)
    raise NotAllowed("This session is not host.", hint="Wrap the call in `async with session.control():`.")


def host_taken(state: State) -> HostTaken:
    """The error for ``state.host`` being somebody else."""
    return HostTaken(
        f"{host_name(state)} controls the desktop.",
        holder=state.host,
        hint="Use control(wait=True) to ask and wait, or control(steal=True) as an admin.",
    )


def host_name(state: State) -> str:
    """Who is host, in words."""
    if state.host is None:
        return "Nobody"
    info = state.sessions.get(state.host)
    return f"{info.profile.name!r} (session {state.host})" if info is not None else f"Session {state.host}"
