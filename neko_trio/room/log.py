"""Lines for the server's log."""

from __future__ import annotations

from typing import Any

from neko_trio.errors import InvalidInput
from neko_trio.protocol import requests
from neko_trio.room.ports import STEP, RoomCalls, checked, checked_json

LEVELS = ("debug", "info", "warn", "error")
"""Of zerolog; a line of any other level has none in the server's log (``internal/websocket/handler/system.go``)."""
TAKEN = frozenset({"level", "time", "message", "module", "session_id"})
"""Names that the server writes itself into the same line."""


class Log(RoomCalls):
    """``system/logs``."""

    async def log(self, level: str, message: str, /, **fields: Any) -> None:
        """Write a line into the server's log, with this session's id. Returns when the server has handled it.

        Its log shows ``debug`` only when it is set up so. Raises :class:`InvalidInput` for another level than
        ``debug``, ``info``, ``warn``, ``error``, for a field that the server writes itself, and for what JSON cannot
        hold.
        """
        if level not in LEVELS:
            raise InvalidInput(f"level={level!r} is none of {', '.join(LEVELS)}.", step=STEP)
        taken = sorted(TAKEN & set(fields))
        if taken:
            raise InvalidInput(f"The server writes {', '.join(taken)} itself: name the fields otherwise.", step=STEP)
        if not isinstance(message, str):
            raise InvalidInput("The message must be a text.", step=STEP)
        checked_json(fields, "fields")
        entry = requests.LogEntry(level=level, message=message, fields=fields or None)
        await self._ports.inputs.ask(checked(requests.SystemLogs(entries=(entry,))))
