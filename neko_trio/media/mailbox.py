"""From asyncio (or any thread) to trio: in order, bounded, with one coalesced wake-up."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

import trio

T = TypeVar("T")

logger = logging.getLogger("neko_trio.media")


class Mailbox(Generic[T]):
    """Hands every item that any thread puts to ``deliver`` on the trio thread, in the order of the puts.

    Made on the trio thread. At most ``limit`` items wait; what comes above is dropped (the newest, so that what was
    promised stays in order) and counted. However many items come while trio is busy, trio is woken once. A ``deliver``
    that raises loses its own item only: the error is logged and counted, because raising it would end the trio run.
    """

    def __init__(self, deliver: Callable[[T], None], limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        self._deliver = deliver
        self._limit = limit
        self._token = trio.lowlevel.current_trio_token()
        self._lock = Lock()
        self._items: deque[T] = deque()
        self._closed = False
        self.dropped_total = 0
        """Items dropped because the mailbox was full."""
        self.failed_total = 0
        """Items whose delivery raised."""

    def put(self, item: T) -> bool:
        """Leave ``item``; ``False`` when it was dropped: full, closed, or the trio run is over. Never blocks."""
        with self._lock:
            if self._closed:
                return False
            if len(self._items) >= self._limit:
                self.dropped_total += 1
                return False
            self._items.append(item)
        try:
            self._token.run_sync_soon(self._drain, idempotent=True)
        except trio.RunFinishedError:
            self.close()  # nobody will ever empty it
            return False
        return True

    def close(self) -> None:
        """Deliver nothing any more: what waits is discarded, what comes is refused. Idempotent; any thread.

        Called on the trio thread, it guarantees that ``deliver`` is not called again.
        """
        with self._lock:
            self._closed = True
            self._items.clear()

    def _drain(self) -> None:
        with self._lock:
            count = len(self._items)  # what comes meanwhile has asked for a wake-up of its own
        for _ in range(count):
            with self._lock:
                if not self._items:
                    return  # closed by a delivery
                item = self._items.popleft()
            try:
                self._deliver(item)
            except Exception:  # out of here it would be a TrioInternalError: the end of the whole run
                self.failed_total += 1
                logger.exception("delivering to trio failed")
