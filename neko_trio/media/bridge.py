"""The wall to asyncio: trio code takes a lease of an asyncio thread and runs coroutines in it.

:func:`open_lease` is the only way to a loop; every module that speaks aiortc goes through it. The threads are
process-wide, by name (``"media"`` for the client, ``"simulator"`` for the simulator), shared by all trio runs of the
process, and end with their last lease. Neither thread ever waits for the other: trio goes in by
``call_soon_threadsafe``, asyncio comes back by ``TrioToken.run_sync_soon`` (see :mod:`neko_trio.media.mailbox`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn, TypeVar, TypeVarTuple, Unpack, overload

import trio

from neko_trio.errors import MediaThreadLost
from neko_trio.media.portal import BackgroundFailure, BackgroundFailures, Portal

__all__ = ["BackgroundFailure", "BackgroundFailures", "Lease", "open_lease", "open_loops", "run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Lease:
    """A share in an asyncio thread. Trio thread, except where a method says "any thread"."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._left = False

    @property
    def name(self) -> str:
        """Which thread this is a lease of."""
        return self._portal.name

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The thread's loop, for code that runs in it."""
        return self._portal.loop

    @property
    def background_failures(self) -> BackgroundFailures:
        """What failed in the loop with nobody awaiting it: counted, the last few kept, all logged. Any thread."""
        return self._portal.background_failures

    @overload
    async def run(self, fn: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T: ...

    @overload
    async def run(self, fn: Callable[[Unpack[Ts]], T], *args: *Ts) -> T: ...

    async def run(self, fn: Callable[[Unpack[Ts]], Awaitable[T] | T], *args: *Ts) -> T:
        """Call ``fn(*args)`` in the asyncio thread, await what it returns if that is awaitable, return the value.

        A checkpoint. What ``fn`` raises is raised here. The work is an asyncio task of its own: cancelling cancels it
        once, then waits, shielded, for its real end. ``Cancelled`` comes out only if the work ended by cancellation; a
        value that comes late is returned, an error of its cleanup is raised. A caller that is cancelled already does
        not start it. A ``KeyboardInterrupt`` cancels likewise and always comes out.

        Raises :class:`~neko_trio.errors.MediaThreadLost` when the thread ends, has ended, or when the work was
        cancelled by somebody in the asyncio thread.
        """
        if self._left:
            raise MediaThreadLost(f"This lease of the asyncio thread {self.name!r} was left.")
        return await self._portal.run(fn, *args)

    def post(self, fn: Callable[[Unpack[Ts]], object], *args: *Ts) -> bool:
        """Have the loop call ``fn(*args)`` soon and forget it. Any thread; never blocks.

        ``False`` when the loop is gone; ``True`` says that it was handed over, in the order of the calls. What ``fn``
        raises counts as a background failure.
        """
        return self._portal.post(fn, *args)

    async def wait_lost(self) -> NoReturn:
        """Wait until the thread dies, then raise :class:`~neko_trio.errors.MediaThreadLost`. Cancelling is safe."""
        await self.run(_never)
        raise MediaThreadLost(f"The asyncio thread {self.name!r} ended its endless task.")

    def __repr__(self) -> str:
        return f"<Lease of {self._portal.thread.name!r}{' (left)' if self._left else ''}>"


@asynccontextmanager
async def open_lease(name: str = "media") -> AsyncIterator[Lease]:
    """Share the asyncio thread called ``name``: started by the first lease, ended with the last, replaced when dead.

    Raises :class:`~neko_trio.errors.MediaThreadLost` when the thread cannot be started. Entering and leaving wait in a
    worker thread, for milliseconds, and at most 10 s and 2 s; a cancellation is noticed afterwards, so no lease is
    ever lost. When the last lease is left, tasks that still run are cancelled once and have 1 s to end.
    """
    portal = await _off_thread(_acquire, name)
    lease = Lease(portal)
    try:
        await lease.run(_nothing)  # loads anyio's trio side now, not in the middle of a handshake
        yield lease
    finally:
        lease._left = True
        with trio.CancelScope(shield=True):  # bounded by the portal's END_LIMIT
            await _off_thread(_release, portal)


@overload
async def run(fn: Callable[[Unpack[Ts]], Awaitable[T]], *args: *Ts) -> T: ...


@overload
async def run(fn: Callable[[Unpack[Ts]], T], *args: *Ts) -> T: ...


async def run(fn: Callable[[Unpack[Ts]], Awaitable[T] | T], *args: *Ts) -> T:
    """:meth:`Lease.run` on the ``"media"`` thread, whoever holds the lease.

    Raises :class:`~neko_trio.errors.MediaThreadLost` when nobody does.
    """
    portal = _portals.get("media")  # atomic; the lock may be held for as long as a thread takes to start
    if portal is None:
        raise MediaThreadLost("The asyncio thread 'media' does not run: no lease of it is open.")
    return await portal.run(fn, *args)


def open_loops() -> dict[str, asyncio.AbstractEventLoop]:
    """The loops that are leased at this moment, by name. Any thread."""
    return {name: portal.loop for name, portal in list(_portals.items()) if not portal.ended}


_portals: dict[str, Portal] = {}
_registry = threading.Lock()  # taken in worker threads only


def _acquire(name: str) -> Portal:
    with _registry:
        portal = _portals.get(name)
        if portal is None or portal.ended:
            portal = Portal(name)
            portal.start()
            _portals[name] = portal
        portal.leases += 1
        return portal


def _release(portal: Portal) -> None:
    with _registry:
        portal.leases -= 1
        last = portal.leases == 0
        if last and _portals.get(portal.name) is portal:
            del _portals[portal.name]
    if last:
        portal.end()


async def _off_thread(fn: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
    """Run ``fn`` in a worker thread that does not compete with the caller's for the default limiter."""
    return await trio.to_thread.run_sync(fn, *args, limiter=trio.CapacityLimiter(1))


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


def _nothing() -> None:
    """Nothing: the way there and back is what is tried."""
