"""The chat plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import trio

from neko_trio._ports.bus import Subscription
from neko_trio.errors import CallerError, FeatureOff, InvalidInput, NotAllowed, ProtocolViolation
from neko_trio.protocol import requests
from neko_trio.protocol.events import ChatMessage, ServerEvent
from neko_trio.room.ports import STEP, RoomCalls, RoomPorts, checked


class Chat(RoomCalls):
    """What the people of the room say to each other. The server keeps nothing: there is no history."""

    def __init__(self, ports: RoomPorts) -> None:
        super().__init__(ports)
        self._turn = trio.Lock()  # one after the other: which echo is whose could not be told otherwise

    async def say(self, text: str) -> ChatMessage | None:
        """Say something to everybody; return it as everybody gets it, oneself too.

        ``None`` when this member may not receive what is said: then it has been handled, and that is all that can be
        known. Raises :class:`FeatureOff` when the plugin is off, :class:`NotAllowed` when the room's settings or the
        profile forbid it (``plugins``: ``"chat.can_send"``), and :class:`InvalidInput` for what is no Unicode text,
        before anything is sent. Cancelled, it was said or not, never in part.
        """
        request = checked(requests.ChatMessage(text=text))
        async with self._turn:
            await self._need("can_send")

            def is_ours(event: ChatMessage) -> bool:  # where there is a new login meanwhile, by its name
                return event.id == self._ports.state.value.session_id and event.text == text

            with self._ports.bus.expect(ChatMessage.event, is_ours) as echo:
                await self._ports.inputs.ask(request)
            if echo.arrived:
                said: ChatMessage = echo.value
                return said
            if self._may("can_receive"):
                await self._need("can_send")  # it may have been forbidden meanwhile
                raise ProtocolViolation("The server handled what was said, and did not say it.", step=STEP)
            return None

    @asynccontextmanager
    async def messages(self, *, buffer: int = 256) -> AsyncIterator[Subscription[ServerEvent]]:
        """What everybody says, oneself too: iterate over typed :class:`ChatMessage`, and ``Dropped`` markers where more
        than ``buffer`` waited.

        Nothing from before the block is delivered. Raises :class:`FeatureOff` when the plugin is off,
        :class:`NotAllowed` when this member may not receive it, :class:`InvalidInput` for a buffer below 1. The
        iteration ends with ``SessionLost`` or ``SessionClosed``.
        """
        if buffer < 1:
            raise InvalidInput(f"buffer={buffer!r} must be at least 1 message.", step=STEP)
        with self._ports.bus.subscribe(ChatMessage.event, buffer) as subscription:
            await self._need("can_receive")
            yield subscription

    async def _need(self, right: str) -> None:
        """Raise why it would be dropped silently. ``chat/init`` comes before the first barrier, or never."""
        if self._ports.state.value.chat_enabled is None:
            await self._ports.settle()
        else:
            await trio.lowlevel.checkpoint()
        if not self._ports.state.value.chat_enabled:
            raise FeatureOff("The chat plugin is off.", hint="The server's setting chat.enabled has it.", step=STEP)
        if not self._may(right):
            raise _forbidden(right)

    def _may(self, right: str) -> bool:
        """As the server decides (``internal/plugins/chat/manager.go``): the settings bind users, the profile everybody.
        What is no boolean there forbids it."""
        state = self._ports.state.value
        room, member = _allowed(state.settings.plugins, right), _allowed(state.profile.plugins, right)
        if room is None or member is None:
            return False
        return (room or state.profile.is_admin) and member


def _allowed(plugins: Mapping[str, object] | None, right: str) -> bool | None:
    """What a plugin's settings say, which is yes where they are silent; ``None`` for what the server cannot read."""
    value = (plugins or {}).get(f"chat.{right}", True)
    return value if isinstance(value, bool) else None


def _forbidden(right: str) -> CallerError:
    what = "say anything" if right == "can_send" else "hear what is said"
    return NotAllowed(
        f"This member may not {what} in the chat.",
        hint=f"An admin can allow it: plugins, 'chat.{right}', in the settings or in the profile.",
        step=STEP,
    )
