"""One asyncio loop in a thread of its own: how it starts, runs calls for trio, dies and ends.

Internal to the bridge: everybody else takes a lease (:func:`neko_trio.media.bridge.open_lease`).

The thread runs :class:`anyio.from_thread.BlockingPortal`, whose ``call_async`` is the way in. The thread is ours and
not ``start_blocking_portal``'s, because that one waits without limit: for tasks that ignore their cancellation, for the
loop's default executor, for calls which a dying loop accepted and never started.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple, Unpack

import anyio
import trio
from anyio.from_thread import BlockingPortal

from neko_trio.errors import MediaThreadLost
from neko_trio.media.call import Call

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

logger = logging.getLogger("neko_trio.media")

THREAD_PREFIX = "neko-trio-"
"""What the name of every thread of ours begins with."""

START_LIMIT = 10.0
"""Seconds a new thread may take until its loop runs (the first one imports anyio's backend)."""

GRACE = 1.0
"""Seconds the tasks of an ending loop have, after their one cancellation, to clean up."""

END_LIMIT = 2.0
"""Seconds the last lease waits for the thread; above ``GRACE``, so that only a blocked loop outlives it."""


@dataclass(frozen=True, slots=True)
class BackgroundFailure:
    """Something failed in the asyncio thread and nobody awaited it: text only, so that no frame is kept alive."""

    message: str
    """The loop's own words, such as ``Task exception was never retrieved``."""
    error: str | None
    """``repr`` of the exception, or ``None`` when there was none."""


@dataclass(frozen=True, slots=True)
class BackgroundFailures:
    """A snapshot of what a loop's exception handler was told."""

    total: int
    """Failures since the loop started."""
    last: tuple[BackgroundFailure, ...]
    """The newest of them, oldest first, at most 16."""


class Portal:
    """A thread with an asyncio loop. Made, started and ended off the trio thread; used from any number of trio runs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.leases = 0
        """Open leases; guarded by the registry's lock."""
        # Held for a few instructions only, because the trio thread takes it too; reentrant, because the garbage
        # collector may run _on_failure in the middle of them.
        self._lock = threading.RLock()
        self._calls: set[Call[Any]] = set()
        self._ended = False
        self._ending = False
        self._cause: BaseException | None = None
        self._failures = 0
        self._last_failures: deque[BackgroundFailure] = deque(maxlen=16)
        self._ready = threading.Event()
        self._portal: BlockingPortal | None = None
        self.loop = asyncio.new_event_loop()
        """The loop; it belongs to the thread."""
        self.thread = threading.Thread(target=self._main, name=f"{THREAD_PREFIX}{name}", daemon=True)

    # -- off the trio thread ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread and wait until its loop takes calls. Raises :class:`MediaThreadLost`."""
        try:
            self.thread.start()
        except RuntimeError as error:  # the process may start no more threads
            self.loop.close()
            self._ended, self._cause = True, error
            raise self.lost() from error
        if not self._ready.wait(START_LIMIT) or self._ended:
            self.post(self.loop.stop)
            raise self.lost()

    def end(self) -> bool:
        """Stop the loop and wait for the thread, at most ``END_LIMIT`` seconds; whether it has ended."""
        self._ending = True
        self.post(self.loop.stop)
        self.thread.join(END_LIMIT)
        if self.thread.is_alive():
            logger.error("%s did not end within %s s: its loop is blocked", self.thread.name, END_LIMIT)
        return not self.thread.is_alive()

    # -- any thread ---------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the loop takes no calls any more."""
        return self._ended

    def lost(self) -> MediaThreadLost:
        """A fresh error that says why the thread is gone."""
        if self._cause is not None:
            reason = f"its loop died of {type(self._cause).__name__}"
        elif self._ending:
            reason = "its last lease was left"
        else:
            reason = "its loop was stopped"
        error = MediaThreadLost(f"The asyncio thread {self.thread.name!r} ended: {reason}.")
        error.__cause__ = self._cause
        return error

    @property
    def background_failures(self) -> BackgroundFailures:
        """What failed in this loop with nobody awaiting it."""
        with self._lock:
            return BackgroundFailures(self._failures, tuple(self._last_failures))

    def post(self, fn: Callable[[Unpack[Ts]], object], *args: *Ts) -> bool:
        """Have the loop call ``fn(*args)`` soon; ``False`` when the loop is closed. Never blocks."""
        try:
            self.loop.call_soon_threadsafe(fn, *args)
        except RuntimeError:  # "Event loop is closed", the only one this method raises
            return False
        return True

    # -- trio thread --------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection  # struck while it is handed over, a call would never end
    async def run(self, fn: Callable[[Unpack[Ts]], Awaitable[T] | T], *args: *Ts) -> T:
        """See :meth:`neko_trio.media.bridge.Lease.run`. Ctrl-C comes where it waits, in the main task."""
        await trio.lowlevel.checkpoint_if_cancelled()
        call: Call[T] = Call(fn, args)
        portal = self._enter(call)
        try:
            try:
                # An error of the portal itself says that the loop is ending: then the thread's end ends the call.
                with call.unless_lost, suppress(RuntimeError, anyio.RunFinishedError, FutureCancelledError):
                    await portal.call_async(call.carry, abandon_on_cancel=True)
            except BaseException as interruption:  # noqa: ASYNC103 - trio.Cancelled, KeyboardInterrupt: the work must end first
                self.post(call.cancel)
                await _ended(call)  # noqa: ASYNC102 - shielded inside, until the work has ended
                if call.was_cancelled or not isinstance(interruption, trio.Cancelled):
                    raise
            await _ended(call)
        finally:
            with self._lock:
                self._calls.discard(call)
        if call.outcome is None:
            raise self.lost()
        if call.was_cancelled:
            if self._ended or self._ending:
                raise self.lost()
            raise MediaThreadLost(f"{call.name} was cancelled inside the asyncio thread {self.thread.name!r}.")
        return call.outcome.unwrap()

    def _enter(self, call: Call[Any]) -> BlockingPortal:
        with self._lock:
            if self._ended or self._portal is None:
                raise self.lost()
            self._calls.add(call)
            return self._portal

    # -- the asyncio thread -------------------------------------------------------------------------------------------

    def _main(self) -> None:
        loop = self.loop
        loop.set_exception_handler(self._on_failure)
        workers = ThreadPoolExecutor(4, thread_name_prefix=f"{self.thread.name}-worker")
        loop.set_default_executor(workers)
        serving = loop.create_task(self._serve(), name="portal")
        serving.add_done_callback(lambda _: loop.stop())
        try:
            self._run_until_stopped()
            with self._lock:
                self._ended = True  # from here on no call enters, and a new lease gets a new thread
            self._finish()
        finally:
            workers.shutdown(wait=False, cancel_futures=True)  # a stuck resolver must not hold the thread
            loop.close()
            with self._lock:
                calls = list(self._calls)
            for call in calls:
                call.lose()
            self._ready.set()

    async def _serve(self) -> None:
        async with BlockingPortal() as portal:
            self._portal = portal
            self._ready.set()
            await portal.sleep_until_stopped()

    def _run_until_stopped(self) -> None:
        """Run the loop until ``loop.stop()``, ours or anybody's, or until a task raises SystemExit or the like."""
        try:
            self.loop.run_forever()
        except BaseException as error:  # noqa: ASYNC103 - the thread's last frame but one: kept as the cause of every MediaThreadLost
            self._cause = self._cause or error
            logger.exception("the loop of %s died", self.thread.name)

    def _finish(self) -> None:
        """Cancel every call and task once and run the loop until all have ended, at most ``GRACE`` seconds."""
        loop, deadline = self.loop, time.monotonic() + GRACE
        while any(map(_not_begun, asyncio.all_tasks(loop))) and time.monotonic() < deadline:
            loop.call_soon(loop.stop)  # one turn: a task cancelled before its first step would settle nothing
            self._run_until_stopped()
        with self._lock:
            calls = list(self._calls)
        for call in calls:
            call.cancel()
        for task in asyncio.all_tasks(loop) - {call.task for call in calls}:
            task.cancel()
        self._run_until_done(deadline)
        if not asyncio.all_tasks(loop):
            loop.create_task(loop.shutdown_asyncgens(), name="shutdown_asyncgens")
            self._run_until_done(deadline)
        for task in asyncio.all_tasks(loop):
            logger.error("%s ended over a task that ignored its cancellation: %r", self.thread.name, task)

    def _run_until_done(self, deadline: float) -> None:
        """Run the loop until no task is left, or until ``deadline``."""
        loop = self.loop
        while (left := asyncio.all_tasks(loop)) and (seconds := deadline - time.monotonic()) > 0:
            timer = loop.call_later(seconds, loop.stop)
            for task in left:
                task.add_done_callback(lambda _: loop.stop())
            self._run_until_stopped()
            timer.cancel()

    def _on_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's exception handler. Also called by the garbage collector, from any thread, after the loop's end."""
        error = context.get("exception")
        message, task = str(context.get("message")), context.get("task")
        if task is not None:
            message = f"{message} {task!r}"
        failure = BackgroundFailure(message, None if error is None else repr(error))
        with self._lock:
            self._failures += 1
            self._last_failures.append(failure)
        count_failure()
        logger.error("background failure in %s: %s", self.thread.name, failure.message, exc_info=error)


def _not_begun(task: asyncio.Task[Any]) -> bool:
    work = task.get_coro()
    return inspect.iscoroutine(work) and inspect.getcoroutinestate(work) == inspect.CORO_CREATED


async def _ended(call: Call[Any]) -> None:
    """Wait for the real end of the work, or of the thread, whichever cancellation is pending."""
    if not call.ended.is_set():
        with anyio.CancelScope(shield=True):
            await call.ended.wait()


_count_lock = threading.RLock()  # reentrant for the garbage collector
_count = 0


def count_failure() -> None:
    """Note one background failure of any loop."""
    global _count
    with _count_lock:
        _count += 1


def background_failures_total() -> int:
    """Background failures of all loops since the process began: what our tests compare."""
    return _count
