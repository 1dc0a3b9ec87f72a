"""What an ICE agent has running besides its checks: tasks with a limit each, and named timers. All end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from aioice import stun

TASK_LIMIT = 5.0
"""Seconds that one task may take: an ICE server's answer, or a connection's making."""

REFUSALS = (OSError, ValueError, stun.TransactionError)
"""What an ICE server or the network may raise."""


class AgentTasks:
    """On the asyncio thread."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        """``on_end`` is called after each task's end, until ``close()``."""
        self._on_end = on_end
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False

    def __bool__(self) -> bool:
        """Whether anything is under way that may yet bring something."""
        return bool(self._tasks)

    @property
    def running(self) -> set[asyncio.Task[None]]:
        """The tasks that have not ended; a copy."""
        return set(self._tasks)

    def is_due(self, *names: str) -> bool:
        """Whether a timer of one of these names is still to come."""
        return not self._timers.keys().isdisjoint(names)

    def start(
        self, work: Callable[[], Coroutine[Any, Any, None]], on_failure: Callable[[str], None]
    ) -> asyncio.Task[None]:
        """Do the work, in a task that may be cancelled; ``on_failure`` is told, in words, how it was refused."""

        async def run() -> None:
            try:
                async with asyncio.timeout(TASK_LIMIT):
                    await work()
            except TimeoutError:
                on_failure(f"no answer within {TASK_LIMIT:g} s")
            except REFUSALS as error:
                on_failure(in_words(error))

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not self._closed:
                self._on_end()

        task = asyncio.create_task(run())  # ended by close()
        self._tasks.add(task)
        task.add_done_callback(done)
        return task

    def later(self, name: str, delay: float, action: Callable[[], None]) -> None:
        """Call ``action`` in ``delay`` seconds; a timer of that name that runs already stays."""

        def due() -> None:
            del self._timers[name]
            action()

        if name not in self._timers and not self._closed:
            self._timers[name] = asyncio.get_running_loop().call_later(delay, due)

    def drop_timers(self) -> None:
        """None of them will come."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def close(self) -> None:
        """End all. Not to be cancelled."""
        self._closed = True
        self.drop_timers()
        tasks = self.running
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def in_words(error: BaseException) -> str:
    """What went wrong, without the numbers of the operating system."""
    if isinstance(error, stun.TransactionFailed):
        code, phrase = error.response.attributes.get("ERROR-CODE", (0, "refused"))
        return f"{code} {''.join(filter(str.isprintable, phrase))[:80]}".strip()  # the server's own words
    if isinstance(error, stun.TransactionTimeout):
        return "no answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
