"""The state cell: one frozen snapshot, and waiting for what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from neko_trio.errors import NekoError

T = TypeVar("T")


class StateCell(Generic[T]):
    """A value that one owner sets and anybody waits on. Waits end by the value or by the cell's failure."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._changed = trio.Event()
        self._failure: Callable[[], NekoError] | None = None

    @property
    def value(self) -> T:
        """The newest snapshot."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the snapshot and wake the waiters. Owner only; never blocks."""
        self._value = value
        self._changed.set()
        self._changed = trio.Event()

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait, now and later, with a fresh ``failure()``. The first failure stays."""
        if self._failure is None:
            self._failure = failure
            self._changed.set()

    async def wait(self, predicate: Callable[[T], bool]) -> T:
        """Return the first snapshot for which ``predicate`` holds, the present one included. A checkpoint.

        A state that was replaced before this task ran again may be missed: what is waited for is a fact, not an
        event. Cancelling is safe. Raises the cell's failure when the session ends first.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if self._failure is not None:
                raise self._failure()
            value = self._value
            if predicate(value):
                return value
            await self._changed.wait()
