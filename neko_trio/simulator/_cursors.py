"""Where those who are not host move their pointers (`server/internal/websocket/manager.go`, `startInactiveCursors`)."""

from collections.abc import Callable
from typing import Any

import trio

__all__ = ["Cursors"]


class Cursors:
    """Collects positions, and hands them to `send` a period at a time."""

    def __init__(self, send: Callable[[list[dict[str, Any]]], None]) -> None:
        self._send = send
        self._moved: dict[str, list[dict[str, int]]] = {}

    def add(self, session_id: str, x: int, y: int) -> None:
        self._moved.setdefault(session_id, []).append({"x": x, "y": y})

    def clear(self) -> None:
        """The setting was switched off: an empty list is sent."""
        self._moved.clear()
        self._send([])

    async def run(self, period: float, *, wanted: Callable[[], bool]) -> None:
        """As long as `wanted`, until cancelled: what moved in each `period` of seconds, then one empty list."""
        last_empty = False
        while True:
            await trio.sleep(period)
            moved, self._moved = self._moved, {}
            if not wanted():
                last_empty = True
                continue
            if not moved and last_empty:
                continue
            last_empty = not moved
            self._send([{"id": who, "cursors": positions} for who, positions in moved.items()])
