"""Who came and went: the totals of `GET /api/stats` (`server/internal/session/manager.go`, `session.go`).

The totals count a replaced connection again and do not come back down, as at the server.
"""

from collections import Counter
from typing import Any

from neko_trio.simulator._values import now_text

__all__ = ["Attendance"]


class Attendance:
    """Counts by role."""

    def __init__(self) -> None:
        self._started = now_text()
        self._totals: Counter[bool] = Counter()
        self._last_left: dict[bool, str | None] = {}

    def came(self, *, admin: bool) -> None:
        self._totals[admin] += 1
        self._last_left[admin] = None

    def left(self, *, admin: bool) -> None:
        self._totals[admin] -= 1
        if self._totals[admin] == 0:
            self._last_left[admin] = now_text()

    def shown(self, host_id: str | None) -> dict[str, Any]:
        """The answer to `GET /api/stats`."""
        shown: dict[str, Any] = {"has_host": host_id is not None}
        if host_id is not None:
            shown["host_id"] = host_id
        shown["server_started_at"] = self._started
        for name, admin in (("user", False), ("admin", True)):
            shown[f"total_{name}s"] = self._totals[admin]
            left = self._last_left.get(admin)
            if left is not None:
                shown[f"last_{name}_left_at"] = left
        return shown
