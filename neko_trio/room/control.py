"""Becoming host, staying it, getting it back, and giving it back."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import trio

from neko_trio._ports.inputs import InputPort
from neko_trio._ports.state import StateCell
from neko_trio.errors import CallerError, ControlLocked, HostTaken, InputInDoubt, InvalidInput, NekoError, NotAllowed
from neko_trio.protocol.requests import ControlRelease, ControlRequest
from neko_trio.room.lease import Lease, Use, lost
from neko_trio.room.rights import host_name, host_taken, why_not_host

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
        close_timeout: float = 2,
    ) -> None:
        """``take`` is the admin's ``POST /api/room/control/take``; ``close_timeout`` in seconds bounds giving back."""
        self._state = state
        self._inputs = inputs
        self._take_by_rest = take
        self._close_timeout = close_timeout
        self._turn = trio.Lock()
        self._lease: Lease | None = None
        self._hosting = state.value.is_host
        self._waiting = 0  # who would have the role from its host, of blocks to enter and of input
        self._asked = False  # since they began to wait
        self._asked_of: str | None = None  # the host who may still give it because of that
        self._given = False  # it was given, because of that
        self._owed = False  # a connection was lost before we could give back what may be ours on the next one

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
        host once, when it begins to wait, and goes on when the role is given or free; a number is the longest such
        wait, in seconds, after which the block is lost all the same. Keys held meanwhile are pressed again. What cannot
        be mended raises :class:`~neko_trio.errors.InputInDoubt` from the next input call, once: input that was sent and
        not confirmed (by ``flush()``) when the role went, and a gesture with a button or a finger down. Locked
        controls, private mode and a right that is withdrawn end the block at once, as nobody could give the role back.

        A connection that is lost and made anew (``reconnect=``) does not end the block: the role is asked for again
        unless the server has kept it for us. When another has it by then, that is a loss as above.
        """
        patience = _patience(regain)
        use = await self._join(patience, wait=wait, steal=steal)
        try:
            with use.scope:
                yield
        except BaseException as error:  # whatever ends the block, the role is given back first
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
        lease, was_host, self._hosting = self._lease, self._hosting, state.is_host
        if state.is_host:
            if not was_host:
                self._given, self._asked, self._asked_of = self._owed or self._asked_of is not None, False, None
                self._owed = False
                if lease is not None and lease.away:
                    lease.come_back(self._given)
                    self._inputs.resume()
            return
        if state.host != self._asked_of:
            self._asked_of = None
        refused = why_not_host(state)
        if was_host:
            self._given = False
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
        self._owed |= self._hosting and self._given and lease is None
        self._hosting = self._given = self._asked = False  # who was asked may still give it: ``_asked_of`` stays
        if lease is not None and not lease.away:
            lease.interrupt()
            self._inputs.lose_role(self._regain)

    async def run(self) -> None:
        """Until cancelled: give the role back when it is given, because it was asked for, to nobody any more; and ask
        for it again when it was lost with a connection that has been made anew."""
        try:
            while True:
                await self._state.wait(lambda now: self._unwanted or self._vacant(now))
                if self._unwanted:
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
                taken = await self._take(wait=True, steal=False)
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
        with self._wanting():
            try:
                while True:
                    await self._inputs.wait_back()
                    async with self._turn:
                        taken: bool | None = False
                        if self._lease is None or self._lease.away:
                            taken = await self._take_surely(wait=wait, steal=steal)
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
                if self._waiting == 1:
                    await self._return_unwanted(waiting=1)  # noqa: ASYNC102 - shielded and bounded inside
                raise

    async def _regain(self) -> None:
        """Input waits until the role is back, or not wanted back any more."""
        lease = self._lease
        if lease is None or not lease.away:
            await trio.lowlevel.checkpoint()
            return
        with self._wanting(), lease.waiting():
            while True:
                async with self._turn:
                    if not lease.away or self._inputs.away:
                        return
                    taken = await self._take_surely(wait=True, steal=False)
                    if taken is not None:
                        lease.taken |= taken
                        return
                await self._free()

    async def _free(self) -> None:
        """Wait until the role can be had, or never; or until the host does not know that it is wanted: on a connection
        that has been made anew, where a request of before may belong to a session that is no more."""
        await self._state.wait(
            lambda now: now.host is None or now.is_host or why_not_host(now) is not None or self._unasked(now)
        )

    def _unasked(self, now: State) -> bool:
        return not self._asked and not now.settings.implicit_hosting  # then to ask is to take

    @contextmanager
    def _wanting(self) -> Iterator[None]:
        """Whoever waits in here wants the role: the host is asked once for all of them."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self._asked = False

    async def _take_surely(self, *, wait: bool, steal: bool) -> bool | None:
        """:meth:`_take`; ``None``, too, when the connection was lost meanwhile and is made anew: then ask again."""
        try:
            return await self._take(wait=wait, steal=steal)
        except InputInDoubt:
            await self._inputs.wait_back()
            return None

    async def _take(self, *, wait: bool, steal: bool) -> bool | None:
        """Whether the role was taken here, not had before; ``None`` when the room is to be read again."""
        if self._inputs.away:
            return None  # lost while this waited for its turn: the room is as it was, not as it is
        before = self._state.value
        if before.is_host:
            return self._given
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
        elif self._unasked(before):
            self._asked, self._asked_of = True, before.host
            await self._inputs.ask(ControlRequest())
        after = self._state.value
        if after.is_host:
            return True
        _raise_if(why_not_host(after))
        if before.host is None and after is before:
            raise NotAllowed("The server did not make this session host, and gave no reason.", step="control")
        if before.host is None and after.host is not None:
            self._asked, self._asked_of = True, after.host  # who was faster got the request
        if after.host is not None and not wait and not (steal and before.host is None):
            raise host_taken(after)
        return None

    async def _request(self) -> None:
        """Ask on the WebSocket, and return when the answer, if there is one, has been seen."""
        try:
            await self._inputs.ask(ControlRequest())
        except InputInDoubt:
            self._owed = True  # whoever still wants it asks again on the next connection
            raise
        except BaseException:  # cancelled, too: nobody wants it any more
            await self._take_back()  # noqa: ASYNC102 - shielded and bounded inside
            raise

    async def _request_by_rest(self) -> None:
        try:
            await self._take_by_rest()
            await self._inputs.ask()  # control/host was sent before the answer: this makes it seen
        except InputInDoubt:
            self._owed = True
            raise
        except BaseException:  # cancelled, too: nobody wants it any more
            await self._take_back()  # noqa: ASYNC102 - shielded and bounded inside
            raise

    async def _take_back(self, deadline: float = math.inf) -> None:
        """The request may be on its way, and nobody wants it any more. In order behind it; harmless without it."""
        with trio.move_on_at(min(deadline, trio.current_time() + self._close_timeout), shield=True):
            try:
                await self._inputs.ask(ControlRelease())
            except NekoError as error:
                logger.debug("could not take a request for the host role back: %s", error)

    @property
    def _unwanted(self) -> bool:
        return self._hosting and self._given and self._lease is None and self._waiting == 0

    async def _return_unwanted(self, waiting: int = 0) -> None:
        """Release a role that was given on request, when all but ``waiting`` who wanted it have gone.

        In its turn: who wants it now asks for it anew. Bounded, shielded.
        """
        deadline = trio.current_time() + self._close_timeout
        with trio.move_on_at(deadline, shield=True):
            async with self._turn:
                if self._hosting and self._given and self._lease is None and self._waiting == waiting:
                    self._given = False  # once
                    await self._let_go()  # of what an outage left down
                    await self._take_back(deadline)

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
        deadline = trio.current_time() + self._close_timeout
        flushing = trio.CancelScope(deadline=deadline - self._close_timeout / 4)
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
                self._owed |= lease.interrupted and lease.taken
                lease.stop_waits()
                failure = self._inputs.give_up() or failure
        _raise_if(failure)
        if flushing.cancelled_caught:
            raise InputInDoubt(
                f"The server did not confirm the input within {self._close_timeout * 3 / 4:g} s.", step="control"
            )

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
                    self._owed = self._inputs.returns
                    failure = failure or error
        return failure


def _patience(regain: bool | float) -> float | None:
    if isinstance(regain, bool):
        return math.inf if regain else None
    if not isinstance(regain, int | float) or not regain > 0:
        raise InvalidInput(f"regain={regain!r} is True, False or a number of seconds above 0.")
    return regain


def _raise_if(error: NekoError | None) -> None:
    if error is not None:
        raise error
