"""The room's settings: locks, private mode, hosting, cursors."""

from __future__ import annotations

from functools import partial
from typing import Unpack

from neko_trio.protocol.events import Settings, SystemSettings
from neko_trio.room.fields import SettingsFields, checked_fields, shows
from neko_trio.room.ports import STEP, RoomCalls, read

PATH = "/api/room/settings"


class RoomSettings(RoomCalls):
    """Reading and changing what holds for everybody."""

    async def settings(self) -> Settings:
        """The room's settings: ``GET /api/room/settings``, for admins. Everybody has them in ``state.settings``."""
        self._ports.need_admin("ask for the room's settings; they are in session.state.settings, too")
        settings: Settings = read(await self._ports.rest.call("GET", PATH, step=STEP), Settings, "settings")
        return settings

    async def change_settings(self, **fields: Unpack[SettingsFields]) -> Settings:
        """Change these settings and no other: ``POST /api/room/settings``, for admins. Returns all as they are then.

        Locks and private mode are such: ``locked_controls=True`` takes the host role from a user, ``locked_logins``
        lets admins in alone, ``private_mode`` hides the desktop from users. ``plugins`` adds to what plugins have, by
        names such as ``"chat.can_send"``; ``None`` empties it. Returns when ``state.settings`` shows it.

        Raises :class:`InvalidInput` for a setting that there is not, or of a wrong type: nothing is changed then.
        Cancelled, what the server did is not known; it changes all of them or none.
        """
        changes = checked_fields(fields, SettingsFields, what="settings")
        self._ports.need_admin("change the room's settings")
        me = self._ports.state.value.session_id
        seen = await self._ports.confirmed(
            SystemSettings,
            lambda event: event.id == me and shows(event.settings, changes),
            partial(self._ports.rest.call, "POST", PATH, json=changes, step=STEP),
        )
        return seen.settings
