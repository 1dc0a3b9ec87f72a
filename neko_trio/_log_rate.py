"""What a server causes to be logged is bounded in rate: it must not fill a disk with one line for each message."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from time import monotonic

__all__ = ["SERVER_DRIVEN", "LogRate", "bound_logs"]

SERVER_DRIVEN = (
    "neko_trio.link",
    "neko_trio.peer",
    "neko_trio.session",
    "neko_trio.video",
    "neko_trio.handshake",
    "neko_trio.reconnect",
    "neko_trio.supervisor",
    "neko_trio.watch",
    "neko_trio.microphone",
    "neko_trio.media",
    "neko_trio.media.decoder",
    "neko_trio.media.receiving_peer",
    "neko_trio.media.closing",
)
"""Loggers that write because of what a server sends."""
BURST = 10
"""Lines of one kind that are written at once."""
INTERVAL = 10.0
"""Seconds for each line of that kind from then on, until it has been quiet for a while."""


class _Kind:
    """The lines of one place in the code."""

    __slots__ = ("left", "since", "tokens")

    def __init__(self, now: float) -> None:
        self.tokens, self.since, self.left = float(BURST), now, 0


class LogRate(logging.Filter):
    """Of each kind of line, that is of each text before its values are filled in: BURST at once, one every INTERVAL.

    The next line that is written says how many were not. DEBUG is not bounded: who turns it on wants all of it. Any
    thread.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = Lock()
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def refill(self) -> None:
        """A burst of each kind may be written again."""
        with self._lock:
            for kind in self._kinds.values():
                kind.tokens = float(BURST)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        now = self._clock()
        with self._lock:
            # Texts of the code, not of the server: there are some dozens.
            kind = self._kinds.setdefault((record.name, str(record.msg)), _Kind(now))
            kind.tokens = min(BURST, kind.tokens + (now - kind.since) / INTERVAL)
            kind.since = now
            if kind.tokens < 1:
                kind.left += 1
                return False
            kind.tokens -= 1
            left, kind.left = kind.left, 0
        if left:
            record.msg, record.args = f"{record.getMessage()} ({left} more like it were not logged)", ()
        return True


_RATE = LogRate()


def bound_logs() -> None:
    """Bound the loggers of :data:`SERVER_DRIVEN`; called for each connection, which begins with a whole burst."""
    _RATE.refill()
    for name in SERVER_DRIVEN:
        logging.getLogger(name).addFilter(_RATE)
