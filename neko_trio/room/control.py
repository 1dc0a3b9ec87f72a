"""Becoming host, staying it, and giving it back."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from neko_trio._ports.inputs import InputPort
from neko_trio._ports.state import StateCell
from neko_trio.errors import ControlLocked, ControlLost, HostTaken, InputInDoubt, NekoError, NotAllowed
from neko_trio.protocol.requests import ControlRelease, ControlRequest
from neko_trio.room.rights import host_name, host_taken, why_not_host

if TYPE_CHECKING:
    from neko_trio._state import State

logger = logging.getLogger("neko_trio.control")


class _Lease:
    """The host role while somebody here uses it."""

    def __init__(self, taken: bool) -> None:
        self.taken = taken  # by us: so it is ours to give back
        self.users = 0
        self.scopes: set[trio.CancelScope] = set()
        self.lost: State | None = None  # the snapshot in which another, or nobody, was host

    def error(self) -> ControlLost:
        assert self.lost is not None
        reason = f"{host_name(self.lost)} has it now" if self.lost.host is not None else "it was taken away"
        return ControlLost(f"The host role was lost while it was in use: {reason}.", holder=self.lost.host)


class Control:
    """The host role of one session, shared by all of its tasks.

    The owner of the state calls :meth:`on_state` with every snapshot it sets, right after setting it: a loss is seen
    however short it was.
    """

    def __init__(
        self,
        state: StateCell[State],
        inputs: InputPort,
        *,
        take: Callable[[], Awaitable[None]],
        close_timeout: float = 2,
    ) -> None:
        """``take`` is the admin's ``POST /api/room/control/take``; ``close_timeout`` in seconds bounds giving back."""
        self._state = state
        self._inputs = inputs
        self._take_by_rest = take
        self._close_timeout = close_timeout
        self._turn = trio.Lock()
        self._joining = 0
        self._lease: _Lease | None = None

    @asynccontextmanager
    async def control(self, *, wait: bool = False, steal: bool = False) -> AsyncIterator[None]:
        """Be host inside the block; yields once the server has confirmed it.

        When another session is host: :class:`~neko_trio.errors.HostTaken` at once; with ``wait`` the host is asked
        once, and the call waits, as long as the caller's scope allows, until it is given or free; with ``steal`` it
        is taken, which needs an admin (or a room with implicit hosting). Raises
        :class:`~neko_trio.errors.NotAllowed` and :class:`~neko_trio.errors.ControlLocked` before anything is sent.

        Nested and concurrent blocks share the role. The last one to leave lets go of held keys and buttons, waits
        until the server has handled all input, and gives the role back if it was taken here; bounded by
        ``close_timeout``, and also when it is left by an exception or cancelled. When the server did not confirm
        the input within that bound, a block that ended well raises :class:`~neko_trio.errors.InputInDoubt`.

        Losing the role cancels the block and raises :class:`~neko_trio.errors.ControlLost`.
        """
        lease = await self._join(wait=wait, steal=steal)
        scope = trio.CancelScope()
        lease.scopes.add(scope)
        try:
            with scope:
                yield
        except BaseException as error:
            lease.scopes.discard(scope)
            try:
                await self._leave(lease)  # noqa: ASYNC102 - shielded and bounded inside
            except NekoError as failed:
                error.add_note(f"neko_trio: giving back the host role failed as well: {failed}")
            if lease.lost is not None and isinstance(error, HostTaken | NotAllowed | ControlLocked):
                raise lease.error() from error  # noqa: ASYNC104 - the block met the loss before the cancellation did
            raise
        lease.scopes.discard(scope)
        await self._leave(lease)
        if lease.lost is not None:
            raise lease.error()

    def on_state(self, state: State) -> None:
        """A new snapshot has been set. Never blocks."""
        if state.is_host:
            return
        self._inputs.forget_held()
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.lost = state
            for scope in lease.scopes:
                scope.cancel(reason="the host role was lost")

    async def give_back(self) -> None:
        """The session ends: let go, flush, and release the role if it is used and was taken here. Bounded, shielded.

        Errors are logged: the close goes on.
        """
        lease = self._lease
        if lease is None:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._give_back(lease, even_if_used=True)
        except NekoError as error:
            logger.info("giving back the host role failed: %s", error)

    # -- taking it

    async def _join(self, *, wait: bool, steal: bool) -> _Lease:
        asked = False
        self._joining += 1
        try:
            while True:
                async with self._turn:
                    lease = self._lease
                    if lease is None:
                        taken = await self._take(asked=asked, wait=wait, steal=steal)
                        asked = True
                        if taken is not None:
                            lease = self._lease = _Lease(taken)
                    if lease is not None:
                        lease.users += 1
                        return lease
                if wait:
                    await self._state.wait(lambda now: now.host is None or now.is_host or bool(why_not_host(now)))
        except BaseException:
            if asked and self._joining == 1 and self._lease is None and self._state.value.is_host:
                await self._take_back()  # noqa: ASYNC102 - shielded and bounded inside
            raise
        finally:
            self._joining -= 1

    async def _take(self, *, asked: bool, wait: bool, steal: bool) -> bool | None:
        """Whether the role was taken here, not had before; ``None`` when the room is to be read again."""
        before = self._state.value
        if before.is_host:
            return asked
        _raise_if(why_not_host(before))
        implicit = before.settings.implicit_hosting
        if before.host is None or (steal and implicit):
            await self._request()
        elif steal:
            if not before.profile.is_admin:
                raise NotAllowed(
                    f"{host_name(before)} controls the desktop, and only an admin can take that away.",
                    hint="Use control(wait=True) to ask for it.",
                )
            await self._request_by_rest()
        elif not wait:
            raise host_taken(before)
        elif not asked and not implicit:  # with implicit hosting to ask is to take
            await self._inputs.ask(ControlRequest())
        after = self._state.value
        if after.is_host:
            return True
        _raise_if(why_not_host(after))
        if before.host is None and after is before:
            raise NotAllowed("The server did not make this session host, and gave no reason.", step="control")
        if after.host is not None and not wait:
            raise host_taken(after)
        return None

    async def _request(self) -> None:
        """Ask on the WebSocket, and return when the answer, if there is one, has been seen."""
        try:
            await self._inputs.ask(ControlRequest())
        except BaseException:
            await self._take_back()  # noqa: ASYNC102 - shielded and bounded inside
            raise

    async def _request_by_rest(self) -> None:
        try:
            await self._take_by_rest()
            await self._inputs.ask()  # control/host was sent before the answer: this makes it seen
        except BaseException:
            await self._take_back()  # noqa: ASYNC102 - shielded and bounded inside
            raise

    async def _take_back(self) -> None:
        """The request may be on its way, and nobody wants it any more. In order behind it; harmless without it."""
        with trio.move_on_after(self._close_timeout, shield=True):
            try:
                await self._inputs.ask(ControlRelease())
            except NekoError as error:
                logger.debug("could not take a request for the host role back: %s", error)

    # -- giving it back

    async def _leave(self, lease: _Lease) -> None:
        lease.users -= 1
        if lease.users == 0 and lease is self._lease:
            await self._give_back(lease)

    async def _give_back(self, lease: _Lease, *, even_if_used: bool = False) -> None:
        failure: NekoError | None = None
        with trio.CancelScope(shield=True):  # bounded by the two scopes inside
            async with self._turn:
                if lease is not self._lease or (lease.users and not even_if_used):
                    return  # lost, given back or joined while waiting for the turn
                deadline = trio.current_time() + self._close_timeout
                with trio.move_on_at(deadline - self._close_timeout / 4) as flushing:
                    try:
                        await self._inputs.release_held()
                        await self._inputs.flush()
                    except NekoError as error:
                        failure = error
                if lease is not self._lease:
                    return  # lost while flushing
                self._lease = None  # what follows is our own doing, no loss
                if lease.taken:
                    with trio.move_on_at(deadline):
                        try:
                            await self._inputs.ask(ControlRelease())
                        except NekoError as error:
                            failure = failure or error
        _raise_if(failure)
        if flushing.cancelled_caught:
            raise InputInDoubt(
                f"The server did not confirm the input within {self._close_timeout * 3 / 4:g} s.", step="control"
            )


def _raise_if(error: NekoError | None) -> None:
    if error is not None:
        raise error
