"""One piece of work that trio has done in the asyncio thread.

The work is an asyncio task of its own. anyio cancels by level, again and again; asyncio code (aiortc's ``close()``
above all) is written for one cancellation, after which its cleanup may await. So what anyio cancels is only
:meth:`Call.carry`, which hands on one cancellation and waits under a shield.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import anyio
import outcome
import trio

T = TypeVar("T")


class Call(Generic[T]):
    """Made on the trio thread; ``carry``, ``cancel`` and ``task`` belong to the asyncio thread."""

    def __init__(self, fn: Callable[..., Awaitable[T] | T], args: tuple[Any, ...]) -> None:
        self._fn, self._args = fn, args
        self._token = trio.lowlevel.current_trio_token()
        self.name: str = getattr(fn, "__qualname__", type(fn).__name__)
        self.unless_lost = trio.CancelScope()
        """Cancelled when the thread ends: a call that a dying loop never started has no other end."""
        self.ended = trio.Event()
        """The work has really ended, or never will."""
        self.outcome: outcome.Outcome[T] | None = None
        """Set before ``ended``; ``None`` then means that the thread ended first."""
        self.task: asyncio.Task[None] | None = None
        self._cancelled = False

    @property
    def was_cancelled(self) -> bool:
        """Whether the work ended by cancellation, or with its thread."""
        if self.outcome is None:
            return True
        return isinstance(self.outcome, outcome.Error) and isinstance(self.outcome.error, asyncio.CancelledError)

    async def carry(self) -> None:
        """Start the work and wait for it; a cancellation is handed on once, then waited out."""
        if self._cancelled:
            self._settle(outcome.Error(asyncio.CancelledError()))
            return
        self.task = asyncio.get_running_loop().create_task(self._work(), name=f"neko-trio {self.name}")
        self.task.add_done_callback(self._on_done)
        try:
            await asyncio.wait([self.task])
        except asyncio.CancelledError:
            self.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([self.task])
            raise

    def cancel(self) -> None:
        """Cancel the work: once, however often this is called; before its start, it never starts."""
        if not self._cancelled:
            self._cancelled = True
            if self.task is not None:
                self.task.cancel()

    def lose(self) -> None:
        """The thread ends and will never settle this call. A call that has settled is not touched."""
        self._notify(self._on_lost)

    async def _work(self) -> None:
        self._settle(await outcome.acapture(self._await))

    async def _await(self) -> T:
        result = self._fn(*self._args)
        if inspect.isawaitable(result):
            awaited: T = await result
            return awaited
        return result

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step: the work never began
            self._settle(outcome.Error(asyncio.CancelledError()))

    def _settle(self, result: outcome.Outcome[T]) -> None:
        self.outcome = result
        self._notify(self.ended.set)

    def _on_lost(self) -> None:
        self.ended.set()
        self.unless_lost.cancel()

    def _notify(self, fn: Callable[[], object]) -> None:
        with suppress(trio.RunFinishedError):  # the run that waited is over: nobody is left to tell
            self._token.run_sync_soon(fn)
