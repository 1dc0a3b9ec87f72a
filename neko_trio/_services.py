"""A body with service tasks: the body ends first, the services after, and no exception group comes out.

And what its end is made of: steps of a goodbye side by side, all of them under one budget.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import outcome
import trio

from neko_trio.errors import NekoError

logger = logging.getLogger("neko_trio.services")


class Services:
    """Child tasks of one ``async with open_services()`` block.

    They are out of reach of the caller's cancellation until the body has ended, so that a goodbye still finds them
    alive. The first one that fails cancels the body, and its exception leaves the block in the body's place.
    """

    def __init__(self, nursery: trio.Nursery, on_failure: Callable[[], None]) -> None:
        self._nursery, self._on_failure = nursery, on_failure
        self._scopes: set[trio.CancelScope] = set()
        self._ending = False
        self._settled = False
        self._body_scope = trio.CancelScope()
        self.failure: Exception | KeyboardInterrupt | None = None
        """The first exception that a service ended with; an interrupt goes before any other."""

    @trio.lowlevel.enable_ki_protection  # struck in here, trio would leave a coroutine that nobody awaits (seen)
    def start_soon(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run ``fn(*args)`` as a service. That it returns is no failure."""
        self._nursery.start_soon(self._run, fn, args, name=fn)

    @trio.lowlevel.enable_ki_protection  # Ctrl-C belongs to the caller's task, not to one it has never heard of
    async def _run(self, fn: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        with trio.CancelScope(shield=True) as scope:
            self._scopes.add(scope)
            if self._ending:
                scope.cancel()
            try:
                await fn(*args)
            except Exception as error:  # noqa: BLE001 - kept, and raised in the body's place
                self.fail(error)
            except (KeyboardInterrupt, BaseExceptionGroup) as error:
                # Ctrl-C in a task of a library's own nursery, which nobody could protect.
                interrupt = interrupt_in(error)
                if interrupt is None:
                    raise
                self.interrupt(interrupt)
                cancelled = error.subgroup(trio.Cancelled) if isinstance(error, BaseExceptionGroup) else None
                if cancelled is not None:
                    raise cancelled from None
            finally:
                self._scopes.discard(scope)

    def fail(self, error: Exception) -> None:
        """End the body with ``error``, unless a service failed before or the body is saying goodbye."""
        if self._settled:
            logger.debug("a service task ended while its block was closing: %r", error)
        elif self.failure is None:
            self.failure = error
            # Before anybody is told: what the body waits for must not end it with an error of its own.
            self._body_scope.cancel(reason="a service task ended")
            self._on_failure()

    def interrupt(self, error: KeyboardInterrupt) -> None:
        """End the body with Ctrl-C, whatever it is at and whatever else has failed."""
        self.failure = error
        self._body_scope.cancel(reason="a service task was interrupted")

    def settle(self) -> None:
        """The body has ended and its goodbye begins: what a service fails with from here on changes nothing."""
        self._settled = True

    def cancel(self) -> None:
        """Cancel every service, those still to start included."""
        self._ending = True
        for scope in self._scopes:
            scope.cancel(reason="the block has ended")


@asynccontextmanager
@trio.lowlevel.enable_ki_protection  # struck before the services are cancelled, it would wait for them for ever
async def open_services(*, on_failure: Callable[[], None] = lambda: None) -> AsyncIterator[Services]:
    """Open a body with services around it.

    ``on_failure`` is called once, when one of them fails and before the body can have seen anything of it. Must not
    raise.

    What the body raises leaves bare, with a note when a service failed too; else the first failure of a service
    leaves bare. ``KeyboardInterrupt`` and ``Cancelled`` are the body's own and pass unchanged; a Ctrl-C that struck a
    service leaves bare, too, before all else. Services must end when cancelled: the block waits for them.
    """
    body: outcome.Outcome[None] = outcome.Value(None)
    interrupt: KeyboardInterrupt | None = None
    try:
        async with trio.open_nursery() as nursery:
            services = Services(nursery, on_failure)
            try:
                with services._body_scope:
                    yield services
            except BaseException as error:  # noqa: BLE001, ASYNC103 - raised again below, outside the nursery
                body = outcome.Error(error)
            finally:
                # From here on the wait for the services is bounded by their own time limits. A cancellation from
                # outside must not turn it into an exception of the nursery's that replaces the body's.
                nursery.cancel_scope.shield = True
                services.cancel()
    except BaseExceptionGroup as group:  # the services raise nothing but a Ctrl-C that struck this task at their end
        interrupt = interrupt_in(group)
        if interrupt is None:
            raise
    failure = interrupt or services.failure
    if isinstance(body, outcome.Error) and not isinstance(failure, KeyboardInterrupt):
        if failure is not None and body.error is not failure:
            body.error.add_note(f"neko_trio: a service task failed as well: {failure!r}")
        body.unwrap()
    if failure is not None:
        # Its own cause only: its context would be the cancellation, with groups, that brought its body down.
        raise failure from failure.__cause__


def interrupt_in(error: BaseException) -> KeyboardInterrupt | None:
    """The KeyboardInterrupt in a group of groups."""
    if isinstance(error, KeyboardInterrupt):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(interrupt_in, error.exceptions)), None)
    return None


async def together(*steps: Callable[[], Awaitable[object]]) -> None:
    """Run the steps of a goodbye side by side, each to its end, whatever becomes of the others.

    An error of ours is logged: the goodbye has nobody to raise it to, and the next step is due.
    """
    ended = [trio.Event() for _ in steps]

    async def run(fn: Callable[[], Awaitable[object]], end: trio.Event) -> None:
        try:
            await fn()
        except NekoError as error:
            logger.info("a step of the close failed: %s", error)
        finally:
            end.set()

    async with open_services() as services:
        for fn, end in zip(steps, ended, strict=True):
            services.start_soon(run, fn, end)
        for end in ended:
            await end.wait()
