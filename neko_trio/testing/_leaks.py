"""What a block of code left behind: threads of ours, file descriptors, trio tasks, asyncio tasks, silent failures."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from neko_trio.media.bridge import open_loops
from neko_trio.media.portal import THREAD_PREFIX, background_failures_total

__all__ = ["leak_check"]

LOOP_LIMIT = 5.0
"""Seconds an asyncio loop may take to name its tasks before it is reported as blocked."""

CALL_TURNS = 4
"""Turns of its loop that a call of the bridge takes, at most, until its task has begun, or ended."""

_FDS = Path("/proc/self/fd")


@contextmanager
def leak_check(*, background_failures: int = 0) -> Iterator[None]:
    """Raise :class:`AssertionError` with a list when the block leaves something that was not there before it.

    Looked at: living threads whose name begins with ``neko-trio-`` (idle worker threads of trio's are not ours and
    live on for 10 s); open file descriptors, where ``/proc`` tells them; tasks of the current trio run, when there is
    one; tasks in the asyncio loops that are leased at that moment; and whether more or fewer errors in those loops were
    awaited by nobody than the ``background_failures`` that the block means to cause.
    For sync and async code alike. What the block has closed must be closed when it ends: nothing is waited for, except
    that each leased loop is asked once, for milliseconds, to name its tasks. An error of the block passes unchecked.
    """
    before = _Snapshot.take()
    yield
    left = _Snapshot.take().since(before, background_failures)
    if left:
        raise AssertionError("left behind:\n" + "\n".join(f"  {line}" for line in left))


@dataclass(frozen=True, slots=True)
class _Snapshot:
    threads: frozenset[threading.Thread]
    fds: dict[str, str]
    trio_tasks: frozenset[trio.lowlevel.Task]
    asyncio_tasks: frozenset[asyncio.Task[object]]
    blocked: tuple[str, ...]
    failures: int

    @classmethod
    def take(cls) -> _Snapshot:
        tasks: set[asyncio.Task[object]] = set()
        blocked: list[str] = []
        for name, loop in open_loops().items():
            found = _tasks_of(loop)
            if found is None:
                blocked.append(f"asyncio loop {name!r}: did not answer within {LOOP_LIMIT} s")
            else:
                tasks |= found
        return cls(
            threads=frozenset(thread for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)),
            fds=_open_fds(),
            trio_tasks=frozenset(_trio_tasks()),
            asyncio_tasks=frozenset(tasks),
            blocked=tuple(blocked),
            failures=background_failures_total(),
        )

    def since(self, before: _Snapshot, failures: int) -> list[str]:
        """One line for each thing that is in this snapshot and was not in ``before``."""
        lines = [f"thread {thread.name!r}" for thread in self.threads - before.threads]
        lines += [f"fd {fd}: {what}" for fd, what in self.fds.items() if before.fds.get(fd) != what]
        lines += [f"trio task {task.name}" for task in self.trio_tasks - before.trio_tasks]
        lines += [f"asyncio task {task!r}" for task in self.asyncio_tasks - before.asyncio_tasks]
        lines += self.blocked
        if (count := self.failures - before.failures) != failures:
            lines.append(f"{count} background failures in asyncio loops, {failures} expected: see log neko_trio.media")
        return lines


def _open_fds() -> dict[str, str]:
    fds: dict[str, str] = {}
    if _FDS.is_dir():
        for name in os.listdir(_FDS):
            try:
                fds[name] = os.readlink(_FDS / name)
            except FileNotFoundError:
                continue  # the descriptor that listed the directory
    return fds


def _trio_tasks() -> Iterator[trio.lowlevel.Task]:
    try:
        root = trio.lowlevel.current_root_task()
    except RuntimeError:  # outside of a trio run
        return
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        yield task
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)


def _tasks_of(loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[object]] | None:
    """The loop's unfinished tasks, told by itself once what it was asked before has begun; ``None``: no answer."""
    answer: set[asyncio.Task[object]] = set()
    asked = threading.Event()

    def ask(turns: int) -> None:
        if turns:
            loop.call_soon(ask, turns - 1)
            return
        answer.update(asyncio.all_tasks(loop))
        asked.set()

    try:
        loop.call_soon_threadsafe(ask, CALL_TURNS)
    except RuntimeError:  # the loop was closed between the look and the question: nothing is left in it
        return answer
    return answer if asked.wait(LOOP_LIMIT) else None
