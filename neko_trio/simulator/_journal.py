"""The journal: what went over the wires of the simulator, as frozen entries that tests can wait for."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import outcome
import trio

__all__ = ["Journal", "JournalEntry"]

DEFAULT_LIMIT = 10_000
MAX_BYTES = 128 * 2**20
"""Of all messages; the newest is kept whatever its size."""
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One message, as the simulator saw it.  Passwords and tokens are never in it."""

    time: float
    """Seconds since the simulator started."""
    who: str
    """The session's id; "" for a connection that is nobody's (a login, a refused WebSocket)."""
    channel: str
    """ "http", "ws", "data", or "room" for what happened without a message (a peer connected, ended). """
    direction: str
    """ "received" from a client, "sent" to a client, or "" for the room. """
    event: str
    """The event's name on "ws"; "POST /api/login" or the status "200" on "http"; the message's class on "data"."""
    message: str | bytes = field(repr=False)
    """The text or bytes as they were on the wire."""

    def payload(self) -> Any:
        """A new object each time: the `payload` of a "ws" message (None without one), the JSON body on "http".

        Raises `ValueError` where the message is no JSON.
        """
        if not self.message:
            return None
        try:
            decoded = msgspec.json.decode(self.message)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as failure:
            raise ValueError("the message is no JSON") from failure
        if self.channel == "ws" and isinstance(decoded, dict):
            return decoded.get("payload")
        return decoded

    def __str__(self) -> str:
        message = self.message
        if isinstance(message, bytes):
            message = message.hex() if self.channel == "data" else message.decode(errors="replace")
        shown = message[:_SHOWN].rstrip()
        return f"{self.time:9.4f} {self.who or '-'} {self.channel} {self.direction} {self.event} {shown}".rstrip()


class Journal:
    """A bounded list of entries; the oldest are dropped and counted."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._entries: deque[JournalEntry] = deque()
        self._limit = limit
        self._bytes = 0
        self._started = time.perf_counter()
        self._waiting: dict[object, Callable[[JournalEntry], None]] = {}
        self._written = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[JournalEntry]:
        return iter(tuple(self._entries))

    @property
    def dropped(self) -> int:
        """How many entries were lost to the bound."""
        return self._written - len(self._entries)

    def add(self, who: str, channel: str, direction: str, event: str, message: str | bytes) -> None:
        entry = JournalEntry(time.perf_counter() - self._started, who, channel, direction, event, message)
        self._entries.append(entry)
        self._bytes += len(message)
        while len(self._entries) > 1 and (len(self._entries) > self._limit or self._bytes > MAX_BYTES):
            self._bytes -= len(self._entries.popleft().message)
        self._written += 1
        for notice in tuple(self._waiting.values()):
            notice(entry)

    def select(self, predicate: Callable[[JournalEntry], bool]) -> list[JournalEntry]:
        """The kept entries for which `predicate` holds, oldest first."""
        return [entry for entry in self._entries if predicate(entry)]

    async def wait_for(self, predicate: Callable[[JournalEntry], bool]) -> JournalEntry:
        """The first entry, kept or to come, for which `predicate` holds.  Safe to cancel, nothing is lost.

        An exception of `predicate` comes out here, never in the server.
        """
        for entry in self._entries:
            if predicate(entry):
                await trio.lowlevel.checkpoint()
                return entry
        found: list[tuple[JournalEntry, outcome.Outcome[bool]]] = []
        event = trio.Event()

        def look(entry: JournalEntry) -> None:
            if event.is_set():
                return
            wanted = outcome.capture(predicate, entry)
            if isinstance(wanted, outcome.Error) or wanted.value:
                found.append((entry, wanted))
                event.set()

        key = object()
        self._waiting[key] = look
        try:
            await event.wait()
        finally:
            del self._waiting[key]
        entry, wanted = found[0]
        wanted.unwrap()
        return entry
