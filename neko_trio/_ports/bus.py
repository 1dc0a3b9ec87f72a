"""The event bus: everybody but an event's owner observes through a bounded buffer that drops and counts."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Generic, Protocol, TypeVar

import trio

from neko_trio._ports.expectation import Expectation
from neko_trio.errors import InvalidInput, NekoError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dropped:
    """Stands in the stream where ``count`` events were dropped because the reader was slower than its buffer."""

    count: int


class Subscription(Generic[T]):
    """An async iterator of events and :class:`Dropped` markers. The oldest events are dropped, never the newest."""

    def __init__(self, pattern: str, buffer: int, wanted: Callable[[T], bool] | None = None) -> None:
        self.pattern = pattern
        self._wanted = wanted
        self._items: deque[T] = deque()
        self._limit = buffer
        self._dropped = 0
        self.dropped_total = 0
        """Events dropped so far."""
        self._ready = trio.Event()
        self._failure: Callable[[], NekoError] | None = None

    def _offer(self, item: T) -> None:
        if self._wanted is not None and not self._wanted(item):
            return
        if len(self._items) >= self._limit:
            self._items.popleft()
            self._dropped += 1
            self.dropped_total += 1
        self._items.append(item)
        self._wake()

    def _fail(self, failure: Callable[[], NekoError]) -> None:
        if self._failure is None:
            self._failure = failure
        self._wake()

    def _wake(self) -> None:
        """Wake every task that iterates, be it one or several."""
        self._ready.set()
        self._ready = trio.Event()

    def __aiter__(self) -> AsyncIterator[T | Dropped]:
        return self

    async def __anext__(self) -> T | Dropped:
        """The next event, or a marker for those dropped before it. A checkpoint; cancelling loses nothing.

        What was buffered is delivered first; then the end of the session is raised.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if self._dropped:
                marker, self._dropped = Dropped(self._dropped), 0
                return marker
            if self._items:
                return self._items.popleft()
            if self._failure is not None:
                raise self._failure()
            await self._ready.wait()


class _Observer(Protocol):
    """What the bus hands events to. Neither method blocks or raises."""

    pattern: str

    def _offer(self, item: Any) -> None: ...

    def _fail(self, failure: Callable[[], NekoError]) -> None: ...


class EventBus(Generic[T]):
    """Hands each published event to the subscriptions whose pattern matches its name. Never blocks, never raises."""

    def __init__(self) -> None:
        self._subscriptions: list[_Observer] = []
        self._failure: Callable[[], NekoError] | None = None

    def publish(self, name: str, event: T) -> None:
        """Offer ``event`` to every subscription for ``name`` (an event name such as ``control/host``)."""
        for subscription in self._subscriptions:
            if fnmatchcase(name, subscription.pattern):
                subscription._offer(event)

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every iteration, now and later, with a fresh ``failure()`` behind what is still buffered."""
        if self._failure is None:
            self._failure = failure
            for subscription in self._subscriptions:
                subscription._fail(failure)

    @contextmanager
    def subscribe(
        self, pattern: str, buffer: int, wanted: Callable[[T], bool] | None = None
    ) -> Iterator[Subscription[T]]:
        """Observe the events whose name matches the shell-style ``pattern``; ``buffer`` is a count of events.

        ``wanted`` is asked in the reader, before an event takes a place in the buffer: ours, so it must not raise.
        Raises :class:`~neko_trio.errors.InvalidInput` for what is no pattern, and for a buffer below 1.
        """
        if isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 1:
            raise InvalidInput(f"buffer={buffer!r} must be at least 1 event.")
        subscription: Subscription[T] = Subscription(pattern, buffer, wanted)
        with self._added(subscription):
            yield subscription

    @contextmanager
    def expect(self, pattern: str, where: Callable[[Any], bool] | None = None) -> Iterator[Expectation[Any]]:
        """Keep the first event from now on whose name matches ``pattern`` and for which ``where`` holds.

        Raises :class:`~neko_trio.errors.InvalidInput` for what is no pattern.
        """
        expectation: Expectation[Any] = Expectation(pattern, where)
        with self._added(expectation):
            yield expectation

    @contextmanager
    def _added(self, observer: _Observer) -> Iterator[None]:
        if not isinstance(observer.pattern, str):  # found out by the reader, it would end the session
            raise InvalidInput(f"A pattern of events is a text such as 'control/*', not {observer.pattern!r}.")
        if self._failure is not None:
            observer._fail(self._failure)
        self._subscriptions.append(observer)
        try:
            yield
        finally:
            self._subscriptions.remove(observer)
