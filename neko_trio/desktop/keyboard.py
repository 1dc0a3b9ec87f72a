"""Typing, pressing and holding keys."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from neko_trio._ports.inputs import InputPort
from neko_trio.desktop.keys import held_around, keys_of, spare_keys, text_keys, text_plans
from neko_trio.errors import InvalidInput, NekoError
from neko_trio.protocol.data_channel import KeyDown, KeyUp

logger = logging.getLogger("neko_trio.keyboard")

CHUNK = 16
"""Characters of a text that are handed over together."""

SPARE_KEYCODES = 19
"""Characters outside the layout that a server with the layout ``us`` can type before it loses them silently (seen)."""

AUTO_RELEASE = 10.0
"""Seconds after which the server lets go of what is held (its ``internal/desktop/manager.go``)."""

RELEASE_TIMEOUT = 2.0
"""Seconds that letting go may take when the block that held a key is cancelled."""


class Keyboard:
    """The keyboard of the desktop. Needs the host role: see ``session.control()``.

    Every call plans its messages first, and returns when they are in a bounded buffer on their way; ``flush()``
    confirms them. Calls raise :class:`~neko_trio.errors.InvalidInput` before anything is sent,
    :class:`~neko_trio.errors.NotAllowed`, :class:`~neko_trio.errors.HostTaken` or
    :class:`~neko_trio.errors.ControlLocked` without the host role, :class:`~neko_trio.errors.InputInDoubt` when input
    sent before may have been lost with its connection, and :class:`~neko_trio.errors.SessionLost` or
    :class:`~neko_trio.errors.SessionClosed` when the session is over.
    """

    def __init__(self, inputs: InputPort) -> None:
        self._inputs = inputs
        self._foreign: frozenset[str] = frozenset()
        self.spare_keycodes: int | None = SPARE_KEYCODES
        """How many different characters outside the US layout may be typed in this session, ``None`` for any number.

        The server puts each on a spare keycode, and when none is left it loses the key without a word: with the layout
        ``us`` there are 19, for all its sessions together. Set ``None`` when the server's layout has the characters.
        """

    async def type(self, text: str) -> None:
        """Type a text; a line break is Return, a tab is Tab.

        Characters are typed as a person types them, with Shift where it is needed; for those that a US keyboard does
        not have see :attr:`spare_keycodes`. Cancelled, it stops between two characters with no key down.
        """
        keys = text_keys(text)
        foreign = self._foreign | spare_keys(text)
        if self.spare_keycodes is not None and len(foreign) > self.spare_keycodes:
            raise InvalidInput(
                f"The text brings the characters outside the US layout to {len(foreign)} in this session; a server "
                f"with that layout can type {self.spare_keycodes} and loses the rest silently.",
                hint="Paste the text, or set keyboard.spare_keycodes to None if the server's layout has them.",
            )
        self._foreign = foreign
        for plan in text_plans(keys, CHUNK):
            await self._inputs.submit(plan)
        if not keys:
            await trio.lowlevel.checkpoint()

    async def press(self, combination: str) -> None:
        """Press keys together and let go of them: ``"ctrl+s"``, ``"Page_Up"``, ``"A"``.

        Names are X.Org's or common ones, in any case. Cancelled, all of it is sent or nothing.
        """
        await self._inputs.submit(held_around(keys_of(combination), ()))

    @asynccontextmanager
    async def hold(self, combination: str) -> AsyncIterator[None]:
        """Hold keys down inside the block; they are let go on every way out of it.

        Holds of the same modifier may overlap. The server lets go by itself of what is held for 10 s: a longer hold is
        logged as a warning.
        """
        keysyms = keys_of(combination)
        downs = [KeyDown(keysym) for keysym in keysyms]
        releases = [KeyUp(keysym) for keysym in reversed(keysyms)]
        # All of it or nothing has gone down when this is cancelled, and what may be down is let go with the host role.
        await self._inputs.submit(downs)
        began = trio.current_time()
        try:
            yield
        except BaseException as error:
            with trio.move_on_after(RELEASE_TIMEOUT, shield=True):
                try:
                    await self._inputs.release(releases)
                except NekoError as failed:
                    error.add_note(f"neko_trio: letting go of {combination!r} failed as well: {failed}")
            raise
        with trio.move_on_after(RELEASE_TIMEOUT, shield=True):
            await self._inputs.release(releases)
        if trio.current_time() - began > AUTO_RELEASE:
            logger.warning("%r was held for more than %g s: the server has let go of it", combination, AUTO_RELEASE)
