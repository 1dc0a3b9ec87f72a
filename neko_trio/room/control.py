"""Becoming host, staying it, getting it back, and giving it back."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from neko_trio._ports.inputs import InputPort
from neko_trio._ports.state import StateCell
from neko_trio.errors import CallerError, ControlLocked, HostTaken, InputInDoubt, InvalidInput, NekoError, NotAllowed
from neko_trio.protocol.requests import ControlRelease
from neko_trio.room.asking import Asking, raise_if
from neko_trio.room.claim import Claim
from neko_trio.room.lease import Lease, Use, lost
from neko_trio.room.rights import why_not_host

if TYPE_CHECKING:
    from neko_trio._state import State

logger = logging.getLogger("neko_trio.control")


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
    ) -> None:
        """``take`` is the admin's ``POST /api/room/control/take``. The input port's budget bounds giving back."""
        self._state = state
        self._inputs = inputs
        self._goodbyes = inputs.goodbyes
        self._turn = trio.Lock()
        self._lease: Lease | None = None
        self._claim = claim = Claim(hosting=state.value.is_host, away=lambda: inputs.away)
        self._asking = Asking(state, inputs, claim, take=take)

    @asynccontextmanager
    async def control(
        self, *, wait: bool = False, steal: bool = False, regain: bool | float = False
    ) -> AsyncIterator[None]:
        """Be host inside the block; yields once the server has confirmed it.

        When another session is host: :class:`~neko_trio.errors.HostTaken` at once; with ``wait`` the host is asked
        once, and the call waits, as long as the caller's scope allows, until it is given or free; with ``steal`` it
        is taken, which needs an admin (or a room with implicit hosting). Raises
        :class:`~neko_trio.errors.NotAllowed` and :class:`~neko_trio.errors.ControlLocked` before anything is sent.

        Nested and concurrent blocks share the role. The last one to leave lets go of held keys and buttons, waits
        until the server has handled all input, and gives the role back if it was taken here; bounded by
        ``close_timeout``, and also when it is left by an exception or cancelled. When the server did not confirm
        the input within that bound, a block that ended well raises :class:`~neko_trio.errors.InputInDoubt`.

        Losing the role cancels the block and raises :class:`~neko_trio.errors.ControlLost`. With ``regain`` it does
        not: nothing is sent while another is host, and the next input call of the session waits politely. It asks the
        host once, when it begins to wait, and goes on when the role is given or free. A number is the most seconds
        from when input first waits while another has the role until it is back; then the block is lost all the same.
        That is one deadline for each time that the role is taken: neither a connection that is made anew meanwhile nor
        a call that gives up and waits once more begins it again. Who sends nothing waits for nothing, and how long an
        outage alone may last is ``reconnect=``'s to say. Keys held meanwhile are pressed again. What cannot be mended
        raises :class:`~neko_trio.errors.InputInDoubt` from the next input call, once: input that was sent and not
        confirmed (by ``flush()``) when the role went, and a gesture with a button or a finger down. Locked controls,
        private mode and a right that is withdrawn end the block at once, as nobody could give the role back.

        A connection that is lost and made anew (``reconnect=``) does not end the block: the role is asked for again
        unless the server has kept it for us. When another has it by then, that is a loss as above.
        """
        patience = _patience(regain)
        use = await self._join(patience, wait=wait, steal=steal)
        try:
            with use.scope:
                yield
        except BaseException as error:  # whatever ends the block, the role is given back first
            self._goodbyes.note(error)
            try:
                await self._leave(use)  # noqa: ASYNC102 - shielded and bounded inside
            except NekoError as failed:
                error.add_note(f"neko_trio: giving back the host role failed as well: {failed}")
            if use.lost is not None and isinstance(error, HostTaken | NotAllowed | ControlLocked):
                raise use.lost from error  # noqa: ASYNC104 - the block met the loss before the cancellation did
            raise
        if use.scope.cancelled_caught and use.lost is None:
            use.lost = lost(self._state.value)  # its patience has ended
        await self._leave(use)
        if use.lost is not None:
            raise use.lost

    def on_state(self, state: State) -> None:
        """A new snapshot has been set. Never blocks."""
        lease, was_host = self._lease, self._claim.hosting
        self._claim.on_state(state)
        if state.is_host:
            if not was_host and lease is not None and lease.away:
                lease.come_back(self._claim.given)
                self._inputs.resume()
            return
        refused = why_not_host(state)
        if was_host:
            if lease is not None and refused is None and lease.patient:
                self._inputs.lose_role(self._regain)
                lease.go_away(state)
                return
            self._inputs.lose_role()
            if lease is not None:
                self._lease = None
                if state.host is not None or not lease.releasing:
                    lease.end(state, refused)
        elif lease is not None and lease.away and refused is not None:
            self._inputs.give_up()
            self._lease = None
            lease.end(state, refused)
        elif lease is not None and lease.interrupted and state.host is not None:  # who was faster
            if lease.patient:
                lease.go_away(state)
            else:
                self._inputs.give_up()
                self._lease = None
                lease.end(state, None)

    def on_link_lost(self) -> None:
        """The connection is gone, and is made anew. Never blocks. Before the input port is told."""
        lease = self._lease
        self._claim.on_link_lost(used=lease is not None)
        if lease is not None and not lease.away:
            lease.interrupt()
            self._inputs.lose_role(self._regain)

    async def run(self) -> None:
        """Until cancelled: give the role back when it is given, because it was asked for, to nobody any more; and ask
        for it again when it was lost with a connection that has been made anew."""
        try:
            while True:
                await self._state.wait(lambda now: self._claim.unsettled or self._unwanted or self._vacant(now))
                if self._claim.unsettled:
                    await self._inputs.wait_back()
                    self._claim.settle()
                elif self._unwanted:
                    await self._return_unwanted()
                else:
                    await self._take_up_again()
        except NekoError:
            return  # the session has ended, and says so elsewhere

    def _vacant(self, now: State) -> bool:
        return self._lease is not None and self._lease.interrupted and now.host is None

    async def _take_up_again(self) -> None:
        await self._inputs.wait_back()
        async with self._turn:
            lease = self._lease
            if lease is None or not lease.interrupted:
                return
            try:
                taken = await self._asking.take(wait=True, steal=False)
            except InputInDoubt:
                return  # the connection has gone again
            except CallerError as refused:
                if lease is self._lease and lease.away:
                    self._inputs.give_up()
                    self._lease = None
                    lease.end(self._state.value, refused)
                return
            if taken is not None:
                lease.taken |= taken
                if lease is not self._lease:
                    self._claim.given |= taken  # its last block has ended meanwhile

    async def give_back(self) -> None:
        """The session ends: let go, flush, and release the role if it is used and was taken here. Bounded, shielded.

        Errors are logged: the close goes on.
        """
        lease = self._lease
        if lease is None:
            await trio.lowlevel.checkpoint()
            await self._return_unwanted()
            return
        try:
            await self._give_back(lease)
        except NekoError as error:
            logger.info("giving back the host role failed: %s", error)

    # -- taking it

    async def _join(self, patience: float | None, *, wait: bool, steal: bool) -> Use:
        use = Use(patience)
        with self._claim.wanting():
            try:
                while True:
                    await self._inputs.wait_back()
                    async with self._turn:
                        taken: bool | None = False
                        if self._lease is None or self._lease.away:
                            taken = await self._asking.take_surely(wait=wait, steal=steal)
                        if taken is not None:
                            lease = self._lease = self._lease or Lease()
                            lease.taken |= taken
                            use.lease = lease
                            lease.uses.add(use)
                            self._inputs.certain = lease.patient
                            return use
                    if not steal:
                        await self._free()
            except BaseException:  # cancelled, too: it may be given to nobody any more
                if self._claim.waiting == 1:
                    await self._return_unwanted(waiting=1)  # noqa: ASYNC102 - shielded and bounded inside
                raise

    async def _regain(self) -> None:
        """Input waits until the role is back, or not wanted back any more; for a connection, too."""
        lease = self._lease
        if lease is None or not lease.away:
            await self._inputs.wait_back()
            await trio.lowlevel.checkpoint()
            return
        with self._claim.wanting(), lease.waiting():
            while True:
                await self._inputs.wait_back()
                async with self._turn:
                    if not lease.away:
                        return
                    taken = await self._asking.take_surely(wait=True, steal=False)
                    if taken is not None:
                        lease.taken |= taken
                        return
                if not self._inputs.away:
                    await self._free()

    async def _free(self) -> None:
        """Wait until the role can be had, or never; or until the host does not know that it is wanted: on a connection
        that has been made anew, where a request of before may belong to a session that is no more."""
        await self._state.wait(
            lambda now: now.host is None or now.is_host or why_not_host(now) is not None or self._claim.unasked(now)
        )

    @property
    def _unwanted(self) -> bool:
        return self._lease is None and self._claim.idle(waiting=0)

    async def _return_unwanted(self, waiting: int = 0) -> None:
        """Release a role that was given on request, when all but ``waiting`` who wanted it have gone.

        In its turn: who wants it now asks for it anew. Bounded, shielded.
        """
        deadline = self._goodbyes.until()
        with trio.move_on_at(deadline, shield=True):
            async with self._turn:
                if self._lease is None and self._claim.idle(waiting=waiting):
                    self._claim.given = False  # once
                    await self._let_go()  # of what an outage left down
                    await self._asking.take_back(deadline)

    async def _let_go(self) -> None:
        """Before the role goes: the server lets go of keys and buttons then by itself, and of no finger."""
        try:
            await self._inputs.release_held()
        except NekoError as error:
            logger.debug("could not let go of what was held: %s", error)

    # -- giving it back

    async def _leave(self, use: Use) -> None:
        lease, use.leaving = use.lease, True
        try:
            if lease is self._lease and lease.uses == {use}:
                await self._give_back(lease, use)
        finally:
            lease.uses.discard(use)
            self._inputs.certain = self._lease is not None and self._lease.patient

    async def _give_back(self, lease: Lease, use: Use | None = None) -> None:
        """Let go, flush and release: after the last ``use``, or, with ``None``, after the session."""
        deadline = self._goodbyes.until()
        patience = (deadline - trio.current_time()) * 3 / 4
        flushing = trio.CancelScope(deadline=trio.current_time() + patience)
        failure: NekoError | None = None

        def is_last() -> bool:
            return lease is self._lease and (use is None or lease.uses == {use})

        if not lease.away:  # else whoever regains it has the turn
            with trio.CancelScope(shield=True):  # bounded by the scopes inside
                with trio.move_on_at(deadline) as queueing:
                    await self._turn.acquire()
                if not queueing.cancelled_caught:
                    try:
                        if is_last() and not lease.away:
                            failure = await self._release(lease, flushing, deadline)
                    finally:
                        self._turn.release()
        if is_last():
            self._lease = None
            if lease.away:
                if lease.interrupted and lease.taken:
                    self._claim.owe()
                lease.stop_waits()
                failure = self._inputs.give_up() or failure
        in_time = trio.current_time() < deadline and not flushing.cancelled_caught
        self._goodbyes.answered(yes=in_time and failure is None)
        raise_if(failure)
        if flushing.cancelled_caught:
            raise InputInDoubt(f"The server did not confirm the input within {patience:.3g} s.", step="control")

    async def _release(self, lease: Lease, flushing: trio.CancelScope, deadline: float) -> NekoError | None:
        failure: NekoError | None = None
        with flushing:
            try:
                await self._inputs.release_held()
                await self._inputs.flush()
            except NekoError as error:
                failure = error
            if failure is not None and not lease.away:
                await self._let_go()  # of what the input that failed may have left down
        if lease.away:
            return failure  # wanted back, but the block has ended: it is told what it will not see repeated
        if lease is not self._lease:
            return None  # lost while flushing, and that says more
        lease.releasing = True  # that the role goes is our own doing from here on
        if lease.taken:
            with trio.move_on_at(deadline):
                try:
                    await self._inputs.ask(ControlRelease())
                except NekoError as error:
                    if self._inputs.returns:
                        self._claim.owe()
                    failure = failure or error
        return failure


def _patience(regain: bool | float) -> float | None:
    if isinstance(regain, bool):
        return math.inf if regain else None
    if not isinstance(regain, int | float) or not regain > 0:
        raise InvalidInput(f"regain={regain!r} is True, False or a number of seconds above 0.")
    return regain
