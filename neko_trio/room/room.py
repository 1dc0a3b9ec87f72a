"""The room: everything about the others who share the desktop, in one object."""

from __future__ import annotations

from collections.abc import Mapping

from neko_trio.errors import NotAllowed
from neko_trio.protocol.events import Cursor
from neko_trio.room.batch import Batch
from neko_trio.room.broadcast import Broadcast
from neko_trio.room.host_role import HostRole
from neko_trio.room.log import Log
from neko_trio.room.members import Members
from neko_trio.room.messages import Messages
from neko_trio.room.ports import STEP, RoomPorts
from neko_trio.room.sessions import Sessions
from neko_trio.room.settings import RoomSettings


class Room(Sessions, RoomSettings, HostRole, Messages, Batch, Log):
    """Sessions, settings, the host role, messages, the log; members and the broadcast have objects of their own.

    Every call returns when the server has done it and this session's state shows it. Who may not is told at once, by
    :class:`NotAllowed`, before anything is sent; what is no input likewise, by :class:`InvalidInput`. All raise
    ``SessionLost`` or ``SessionClosed`` when the session ends first.
    """

    members: Members
    """Who may log in."""
    broadcast: Broadcast
    """Picture and sound, sent to a streaming server."""

    def __init__(self, ports: RoomPorts) -> None:
        super().__init__(ports)
        self.members = Members(ports)
        self.broadcast = Broadcast(ports)

    @property
    def cursors(self) -> Mapping[str, tuple[Cursor, ...]]:
        """``state.cursors``: where those who are not host have moved their pointers, by session id.

        Empty also while the room's setting ``inactive_cursors`` is off. Raises :class:`NotAllowed` for a member who is
        not told, which needs can_see_inactive_cursors.
        """
        state = self._ports.state.value
        if not state.profile.can_see_inactive_cursors:
            raise NotAllowed("This member is not shown others' cursors.", hint="An admin can grant it.", step=STEP)
        return state.cursors
