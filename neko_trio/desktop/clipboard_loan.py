"""The clipboard on loan: what was in it is kept, texts are pasted by it, and what was there is put back."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from neko_trio._ports.inputs import InputPort
from neko_trio.desktop.clipboard import Clipboard
from neko_trio.desktop.clipboard_values import Content, digest
from neko_trio.desktop.keys import held_around, keys_of
from neko_trio.errors import CallerError, InvalidInput, NekoError

logger = logging.getLogger("neko_trio.clipboard")

PASTE_TIME = 0.2
"""Seconds that a program has for asking for the clipboard after it has been told to paste.

Nothing that the server sends says when it has asked. X has the keys by then, and a program that waits for input asks at
once: XTerm within 5 ms (seen). One that is busy for longer pastes what is in the clipboard then.
"""

GOODBYE = 2.0
"""Seconds that putting back may take, also when the paste was cancelled, once the program's time has passed."""


class Loan:
    """The clipboard inside a :func:`borrowed` block."""

    def __init__(self, clipboard: Clipboard, inputs: InputPort, paste_time: float) -> None:
        self._clipboard, self._inputs, self._paste_time = clipboard, inputs, paste_time
        self._chord = keys_of(clipboard.paste_chord)
        self._read_at = 0.0
        self._foreign = -1  # how many changes of others' there had been when it was last looked at
        self._losses = inputs.losses  # of the connection, by then: the server tells of no change meanwhile
        self._pasted = b""
        self.before = Content()
        """What was there before something else was put there."""
        self.changed = False
        """Whether something was put there."""

    async def paste(self, text: str) -> None:
        """Put ``text`` there, press the keys, and return when the program has had the time to read it.

        Cancelled, the keys are pressed or not; either way the time passes before something else is put there.
        """
        if self._inputs.held:
            raise InvalidInput("Text cannot be pasted while keys or buttons are held.", hint="Let go of them first.")
        await self._inputs.flush()  # what was typed before comes before
        await self.keep()
        self.changed, self._pasted = True, digest(text)
        await self._clipboard.put(Content(text=text))
        try:
            await self._inputs.submit(held_around(self._chord, ()))
            await self._inputs.flush()
        finally:
            self._read_at = trio.current_time() + self._paste_time
        await self.read()

    async def keep(self) -> None:
        """Remember what is there, unless that is known: programs may copy something between two pastes."""
        while self._overtaken or self._losses != self._inputs.losses:
            foreign, losses = self._clipboard.foreign_total, self._inputs.losses
            content = await self._clipboard.content() or Content()
            if self._overtaken or not self._is_pasted(content):
                self.before = content
            self._foreign, self._losses = foreign, losses

    async def give_back(self) -> None:
        """Put back what was there before, unless something else has been put there since.

        Waits for a connection that is being made anew, and for the host role. Raises why it could not be done: it may
        have been.
        """
        await self._inputs.wait_role(tell=False)
        if self._losses != self._inputs.losses and not self._is_pasted(await self._clipboard._look() or Content()):
            return
        if not self._overtaken:
            await self._clipboard.put(Content(text=self.before.text) if self.before.text else self.before)

    def _is_pasted(self, content: Content) -> bool:
        return self.changed and digest(content.text) == self._pasted

    async def read(self) -> None:
        """Let the program's time for reading pass."""
        await trio.sleep(self.reading)

    @property
    def reading(self) -> float:
        """Seconds that are left of it."""
        return max(0.0, self._read_at - trio.current_time())

    @property
    def _overtaken(self) -> bool:
        """Whether something else has been put there since, by a program of the desktop."""
        return self._clipboard.foreign_total != self._foreign


@asynccontextmanager
async def borrowed(clipboard: Clipboard, inputs: InputPort, paste_time: float) -> AsyncIterator[Loan]:
    """Paste by the clipboard inside the block; what it held is put back at its end, also when that is cancelled.

    The server sets one form only: of a content with text and HTML it is the text. What has neither, a picture, cannot
    be put back: the clipboard is emptied then, so that what was pasted does not stay. What a program has put there in
    the meantime stays. When it cannot be put back, or not within :data:`GOODBYE` seconds, that is logged and noted.

    A connection that is made anew (``reconnect=``) is waited for, for as long as that takes, and what is there then is
    looked at: if it is not what was pasted, it stays. Cancelled, only :data:`GOODBYE` seconds are waited, and what was
    pasted may stay.
    """
    loan = Loan(clipboard, inputs, paste_time)
    await loan.keep()
    try:
        yield loan
    except BaseException as error:  # cancelled, too: what was pasted does not stay there
        inputs.goodbyes.note(error)
        patient = isinstance(error, NekoError)
        failed = await _put_back(loan, inputs, patient=patient)  # noqa: ASYNC102 - shielded, or not cancelled
        if failed is not None:
            error.add_note(f"neko_trio: {failed}")
        raise
    await _put_back(loan, inputs, patient=True)


async def _put_back(loan: Loan, inputs: InputPort, *, patient: bool) -> str | None:
    """What went wrong, in words, which is logged; ``patient``: after having waited for a connection as well."""
    if not loan.changed:
        return None
    failed = await _try(loan, inputs)
    try:
        while failed is not None and patient and inputs.away:
            await inputs.wait_back()
            failed = await _try(loan, inputs)
    finally:
        if failed is not None:
            logger.warning("%s", failed)
    return failed


async def _try(loan: Loan, inputs: InputPort) -> str | None:
    """Put it back, again when the connection is lost meanwhile, all of it within a goodbye, which is shielded."""
    limit = inputs.goodbyes.limit(GOODBYE)
    with trio.move_on_after(loan.reading + limit, shield=True):
        await loan.read()
        while True:
            losses = inputs.losses
            try:
                await loan.give_back()
                return None
            except NekoError as error:
                if not await _lost_since(losses, inputs, error):
                    return f"the clipboard was not put back: {error}"
    return f"the clipboard was not put back within {limit:.3g} s: it may still hold what was pasted"


async def _lost_since(losses: int, inputs: InputPort, error: NekoError) -> bool:
    """Whether the connection has gone, so that there is another to try it on."""
    if inputs.losses == losses and not isinstance(error, CallerError):
        with suppress(NekoError):  # which has been counted, if there is another to come
            await inputs.ask()  # a REST call fails sooner than the WebSocket beside it
    return inputs.losses != losses
