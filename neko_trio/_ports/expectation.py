"""One event that is waited for: it is kept when it comes, whatever else comes, so that it can be caused after that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from neko_trio.errors import InvalidInput, NekoError

T = TypeVar("T")


class Expectation(Generic[T]):
    """The first event that matches. A buffer of one which nothing pushes out."""

    def __init__(self, pattern: str, where: Callable[[T], bool] | None = None) -> None:
        self.pattern = pattern
        """The event's name, shell style."""
        self._where = where
        self._found: list[T] = []
        self._error: Exception | None = None
        self._failure: Callable[[], NekoError] | None = None
        self._settled = trio.Event()

    @property
    def arrived(self) -> bool:
        """Whether it has come."""
        return bool(self._found)

    @property
    def value(self) -> T:
        """The event. Raises :class:`InvalidInput` as long as it has not come."""
        if not self._found:
            raise InvalidInput(f"No {self.pattern!r} has come yet.", hint="Read the value after the block has ended.")
        return self._found[0]

    async def wait(self) -> T:
        """The event, once it has come. A checkpoint; cancelling is safe.

        Raises what ``where`` raised, and ``SessionLost`` or ``SessionClosed`` when the session ends before it comes.
        """
        await trio.lowlevel.checkpoint()
        await self._settled.wait()
        if self._error is not None:
            raise self._error
        if not self._found and self._failure is not None:
            raise self._failure()
        return self.value

    def _offer(self, item: T) -> None:
        """Look at an event, in the reader. What ``where`` raises is kept for whoever waits: the reader goes on."""
        if self._found or self._error is not None:
            return
        try:
            if self._where is not None and not self._where(item):
                return
            self._found.append(item)
        except Exception as error:  # noqa: BLE001 - the caller's own mistake, and theirs to see
            self._error = error
        self._settled.set()

    def _fail(self, failure: Callable[[], NekoError]) -> None:
        if self._failure is None:
            self._failure = failure
        self._settled.set()

    def __repr__(self) -> str:
        return f"<Expectation of {self.pattern!r}: {'come' if self.arrived else 'not yet'}>"
