"""Opaque messages between clients: to one session, or to all others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from neko_trio._ports.bus import Subscription
from neko_trio._ports.channels import BARRIER_SUBJECT
from neko_trio.errors import InvalidInput
from neko_trio.protocol import requests
from neko_trio.protocol.events import SendBroadcast, SendUnicast, ServerEvent
from neko_trio.room.ports import STEP, RoomCalls, checked, checked_json


class Messages(RoomCalls):
    """``send/unicast`` and ``send/broadcast``. The server hands them on, whoever sends them, and keeps nothing."""

    async def send(self, receiver: str, subject: str, body: Any = None) -> None:
        """Send ``body``, anything JSON can hold, to the session ``receiver``; itself included.

        Returns when the server has handed it to that session's WebSocket; that it was read is not known. Raises
        :class:`InvalidInput` when there is no such session, when it is not connected (the server would drop the
        message), for the subject that this library keeps for itself, and for what JSON cannot hold. Cancelled, it was
        sent or not, never in part.

        A server that has been restarted gives out new ids: what was for this session itself, and waited for the new
        connection, goes to its new one; for any other session :class:`InvalidInput` says that there is none.
        """
        checked_json(body, "body")
        request = requests.SendUnicast(receiver=receiver, subject=_free(subject), body=body)
        checked(request)
        to_itself = receiver == self._ports.state.value.session_id
        while True:
            try:
                await self._need_connected(request.receiver)
                await self._ports.inputs.ask(request, admit=partial(self._need, request.receiver))
            except InvalidInput:
                me = self._ports.state.value.session_id
                if not to_itself or me == request.receiver:
                    raise
                request = msgspec.structs.replace(request, receiver=me)
            else:
                return

    async def send_all(self, subject: str, body: Any = None) -> None:
        """Send ``body``, anything JSON can hold, to every other session that is connected. See :meth:`send`."""
        checked_json(body, "body")
        await self._ports.inputs.ask(checked(requests.SendBroadcast(subject=_free(subject), body=body)))

    @asynccontextmanager
    async def messages(self, *, buffer: int = 256) -> AsyncIterator[Subscription[ServerEvent]]:
        """What others send: iterate over typed :class:`SendUnicast` and :class:`SendBroadcast`, and ``Dropped`` markers
        where more than ``buffer`` waited.

        Messages from before the block are not delivered. Raises :class:`InvalidInput` for a buffer below 1; the
        iteration ends with ``SessionLost`` or ``SessionClosed``.
        """
        if buffer < 1:
            raise InvalidInput(f"buffer={buffer!r} must be at least 1 message.", step=STEP)
        with self._ports.bus.subscribe("send/*", buffer, self._is_message) as subscription:
            yield subscription

    def _is_message(self, event: ServerEvent) -> bool:
        if isinstance(event, SendUnicast):
            barrier = event.subject == BARRIER_SUBJECT and event.sender == self._ports.state.value.session_id
            return not barrier
        return isinstance(event, SendBroadcast)

    async def _need_connected(self, receiver: str) -> None:
        """The state may lag behind the server: before a receiver is said to be missing, all events are seen."""
        if not self._is_connected(receiver):
            await self._ports.settle()
        self._need(receiver)
        if receiver in self._ports.state.value.sessions and not self._is_connected(receiver):
            raise InvalidInput(f"Session {receiver!r} is not connected: it would not get the message.", step=STEP)

    def _need(self, receiver: str) -> None:
        state = self._ports.state.value
        if receiver not in state.sessions and not state.sessions_left_out:  # else it may be one of those
            raise InvalidInput(f"There is no session {receiver!r}.", hint="session.state.sessions has them.", step=STEP)

    def _is_connected(self, receiver: str) -> bool:
        info = self._ports.state.value.sessions.get(receiver)
        return info is not None and info.state.is_connected


def _free(subject: str) -> str:
    if subject == BARRIER_SUBJECT:
        raise InvalidInput(f"The subject {BARRIER_SUBJECT!r} is kept for the session's own use.", step=STEP)
    return subject
