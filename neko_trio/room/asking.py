"""Asking for the host role: on the WebSocket, or by an admin's REST call, and taking a request back."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from neko_trio._ports.inputs import InputPort
from neko_trio._ports.state import StateCell
from neko_trio.errors import InputInDoubt, NekoError, NotAllowed
from neko_trio.protocol.requests import ControlRelease, ControlRequest
from neko_trio.room.claim import Claim
from neko_trio.room.rights import host_name, host_taken, why_not_host

if TYPE_CHECKING:
    from neko_trio._state import State

logger = logging.getLogger("neko_trio.control")


class Asking:
    """One question at a time: the caller has the turn."""

    def __init__(
        self,
        state: StateCell[State],
        inputs: InputPort,
        claim: Claim,
        *,
        take: Callable[[], Awaitable[None]],
    ) -> None:
        """See :class:`~neko_trio.room.control.Control`."""
        self._state, self._inputs, self._claim = state, inputs, claim
        self._take_by_rest = take

    async def take_surely(self, *, wait: bool, steal: bool) -> bool | None:
        """:meth:`take`; ``None``, too, when the connection was lost meanwhile and is made anew: then ask again."""
        try:
            return await self.take(wait=wait, steal=steal)
        except InputInDoubt:
            await self._inputs.wait_back()
            return None

    async def take(self, *, wait: bool, steal: bool) -> bool | None:
        """Whether the role was taken here, not had before; ``None`` when the room is to be read again."""
        if self._inputs.away:
            return None  # lost while this waited for its turn: the room is as it was, not as it is
        before = self._state.value
        if before.is_host:
            return self._claim.given
        raise_if(why_not_host(before))
        implicit = before.settings.implicit_hosting
        if before.host is None or (steal and implicit):
            await self._request(lambda: self._inputs.ask(ControlRequest()))
        elif steal:
            if not before.profile.is_admin:
                raise NotAllowed(
                    f"{host_name(before)} controls the desktop, and only an admin can take that away.",
                    hint="Use control(wait=True) to ask for it.",
                )
            await self._request(self._ask_by_rest)
        elif not wait:
            raise host_taken(before)
        elif self._claim.unasked(before):
            self._claim.ask(before.host)
            await self._inputs.ask(ControlRequest())
        after = self._state.value
        if after.is_host:
            return True
        raise_if(why_not_host(after))
        if before.host is None and after is before:
            raise NotAllowed("The server did not make this session host, and gave no reason.", step="control")
        if before.host is None and after.host is not None:
            self._claim.ask(after.host)  # who was faster got the request
        if after.host is not None and not wait and not (steal and before.host is None):
            raise host_taken(after)
        return None

    async def _request(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Ask, and return when the answer, if there is one, has been seen."""
        try:
            await ask()
        except InputInDoubt:
            self._claim.owe()  # whoever still wants it asks again on the next connection
            raise
        except BaseException as error:  # cancelled, too: nobody wants it any more
            self._inputs.goodbyes.note(error)
            await self.take_back()  # noqa: ASYNC102 - shielded and bounded inside
            raise

    async def _ask_by_rest(self) -> None:
        await self._take_by_rest()
        await self._inputs.ask()  # control/host was sent before the answer: this makes it seen

    async def take_back(self, deadline: float = math.inf) -> None:
        """The request may be on its way, and nobody wants it any more. In order behind it; harmless without it."""
        with trio.move_on_at(min(deadline, self._inputs.goodbyes.until()), shield=True):
            try:
                await self._inputs.ask(ControlRelease())
            except NekoError as error:
                logger.debug("could not take a request for the host role back: %s", error)


def raise_if(error: NekoError | None) -> None:
    """Raise it, if it is one."""
    if error is not None:
        raise error
