"""The desktop's clipboard: text, HTML, images, and what happens to it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import trio

from neko_trio._ports.bus import EventBus, Subscription
from neko_trio._ports.finishing import finished
from neko_trio._ports.inputs import InputPort
from neko_trio._ports.rest import Refusals, RestPort
from neko_trio._ports.state import StateCell
from neko_trio.desktop.clipboard_values import STEP, Body, ClipboardUpdate, Content, checked, digest
from neko_trio.desktop.keys import held_around, keys_of
from neko_trio.errors import ClipboardEmpty, InvalidInput, NekoError, NotAllowed, ProtocolViolation
from neko_trio.protocol import requests
from neko_trio.protocol.client_request import ClientRequest
from neko_trio.protocol.events import ClipboardUpdated

if TYPE_CHECKING:
    from neko_trio._state import State

LIMIT = 16 * 2**20
"""Bytes of the server's answer that are read unless the caller says otherwise."""

PASTE_CHORD = "ctrl+v"

WRITE_TIME = 2.0
"""Seconds for which a write that was cancelled is waited for. It takes the server some 20 ms."""

_PATH = "/api/room/clipboard"
_PNG = b"\x89PNG\r\n\x1a\n"
_REMEMBERED = 64
"""Own writes whose ``clipboard/updated`` may still come."""


class _RoleGone:
    """This session was host, and is no more: it is told of nothing now."""


class ClipboardUpdates:
    """An async iterator of :class:`ClipboardUpdate`. Where a reader is slower than its buffer the oldest go."""

    def __init__(self, subscription: Subscription[ClipboardUpdate | _RoleGone]) -> None:
        self._subscription = subscription

    @property
    def dropped(self) -> int:
        """How many updates were dropped so far."""
        return self._subscription.dropped_total

    def __aiter__(self) -> ClipboardUpdates:
        return self

    async def __anext__(self) -> ClipboardUpdate:
        """The next update. A checkpoint; cancelling loses nothing."""
        while True:
            update = await self._subscription.__anext__()
            if isinstance(update, ClipboardUpdate):
                return update


class Clipboard:
    """The clipboard of the desktop (X11's CLIPBOARD, not PRIMARY). Needs the host role: see ``session.control()``.

    Reading and writing, and to be told of updates, need the right ``can_access_clipboard``, too. Every call comes after
    all input before it, and returns when the server has done it. Calls raise :class:`~neko_trio.errors.NotAllowed`,
    :class:`~neko_trio.errors.HostTaken` or :class:`~neko_trio.errors.ControlLocked` before anything is sent, and
    what ``session.flush()`` raises. Cancelled, a call has been done or not, never in part. No text of a clipboard
    stands in an error or a log.

    The server holds one form at a time: what :meth:`write` wrote has no HTML of its own, and a program that asks for
    text after :meth:`write_html` gets the HTML's source (``internal/desktop/clipboard.go``). Pictures can be read, not
    written: the server has no call for it.
    """

    def __init__(
        self, inputs: InputPort, rest: RestPort, state: StateCell[State], *, admit: Callable[[], None]
    ) -> None:
        """``admit`` raises the typed error of a session that is not host."""
        self._inputs, self._rest, self._state, self._admit = inputs, rest, state, admit
        self._written: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._news: EventBus[ClipboardUpdate | _RoleGone] = EventBus()
        self._writing = trio.Lock()
        self._hosting = False
        self.foreign_total = 0
        """Updates so far that were not this session's."""
        self.paste_chord = PASTE_CHORD
        """The keys that make a program paste: ``"ctrl+shift+v"`` in most terminals. XTerm's ``"shift+Insert"`` pastes
        another selection (PRIMARY), unless it runs with its resource ``selectToClipboard: true``."""

    # -- reading and writing

    async def write(self, text: str) -> None:
        """Put a text into the clipboard: any Unicode, at most 4 MiB of UTF-8."""
        await self._write(Content(text=checked(text)))

    async def write_html(self, html: str) -> None:
        """Put HTML into the clipboard: see the class for what a program gets that wants text."""
        if not html:
            raise InvalidInput("There is no empty HTML in a clipboard.", hint='write("") empties it.', step=STEP)
        await self._write(Content(html=checked(html)))

    async def read(self, *, limit: int = LIMIT) -> str:
        """The clipboard's text; ``""`` when there is none, be it that nothing owns the clipboard.

        What is copied with another form alone may come as text, see :class:`ClipboardUpdate`. Raises
        :class:`~neko_trio.errors.InvalidInput` for an answer of more than ``limit`` bytes.
        """
        content = await self.content(limit=limit)
        return content.text if content is not None else ""

    async def read_html(self, *, limit: int = LIMIT) -> str:
        """The clipboard's HTML, ``""`` when there is none. A program that was asked for HTML may answer with text."""
        content = await self.content(limit=limit)
        return content.html if content is not None else ""

    async def read_image(self, *, limit: int = LIMIT) -> bytes:
        """The clipboard's picture, a PNG.

        Raises :class:`~neko_trio.errors.ClipboardEmpty` when there is none: the server also sends a text under that
        name (its ``internal/api/room/clipboard.go`` does not look), so it is checked here. ``limit`` as in
        :meth:`read`.
        """
        await self._settled()
        try:
            image = await self._get(f"{_PATH}/image.png", limit)
        except _Nothing:
            image = b""
        if not image.startswith(_PNG):
            raise ClipboardEmpty("There is no picture in the clipboard.", step=STEP)
        return image

    async def content(self, *, limit: int = LIMIT) -> Content | None:
        """Text and HTML in one call, ``None`` when nothing in the clipboard has a text."""
        await self._settled()
        return await self._look(limit=limit)

    async def _look(self, *, limit: int = LIMIT) -> Content | None:
        """:meth:`content` without waiting for the input before."""
        try:
            body = await self._get(_PATH, limit)
        except _Nothing:
            return None
        try:
            return msgspec.json.decode(body, type=Content)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise ProtocolViolation("The server's answer is no clipboard.", step=STEP) from None

    # -- what a person does

    async def copy(self) -> None:
        """Have the program in front copy (Ctrl+C); return when it has been told so.

        Whether it copies anything, and when, is its own affair: to have the text, use :meth:`copied`. Raises
        :class:`~neko_trio.errors.InvalidInput` while this session holds a key: the server lets go of all of them.
        """
        await self._command(requests.ControlCopy())

    async def cut(self) -> None:
        """Have the program in front cut (Ctrl+X). As :meth:`copy`."""
        await self._command(requests.ControlCut())

    async def select_all(self) -> None:
        """Have the program in front select everything (Ctrl+A). As :meth:`copy`."""
        await self._command(requests.ControlSelectAll())

    async def copied(self, *, cut: bool = False) -> str:
        """:meth:`copy` (or :meth:`cut`), and wait for what the program puts into the clipboard; return it.

        A program with nothing selected puts nothing there, and says nothing: give the wait a limit of yours
        (``with trio.fail_after(2): …``). Raises :class:`~neko_trio.errors.HostTaken` or
        :class:`~neko_trio.errors.NotAllowed` when the host role goes meanwhile, as the host alone is told.
        """
        await self._ready()
        await self._inputs.ask()  # so that what had been written before has been told
        with self._news.subscribe("*", _REMEMBERED) as news:
            await self._command(requests.ControlCut() if cut else requests.ControlCopy())
            async for item in news:
                if isinstance(item, ClipboardUpdate) and not item.own:
                    return item.text
                self._admit()
        raise AssertionError("the news end with an error")

    async def paste(self, text: str | None = None) -> None:
        """Have a program paste, by the keys of :attr:`paste_chord`; before, ``text`` is put into the clipboard.

        It stays there: ``keyboard.type(text, paste=True)`` puts back what was there before. Whether and when the
        program pastes is its own affair; it asks for the clipboard when it has read the keys, mostly within some
        milliseconds. Raises :class:`~neko_trio.errors.InvalidInput` while this session holds a key.
        """
        if text is not None and not checked(text):
            raise InvalidInput("There is nothing to paste in an empty text.", step=STEP)
        chord = keys_of(self.paste_chord)
        if chord == keys_of(PASTE_CHORD):
            await self._command(requests.ControlPaste(text=text), text)
            return
        if self._inputs.held:
            raise InvalidInput("Keys or buttons are held.", hint="Let go of them first.", step=STEP)
        if text is not None:
            await self.write(text)
        await self._inputs.submit(held_around(chord, ()))
        await self._inputs.flush()

    # -- updates

    @asynccontextmanager
    async def updates(self, *, buffer: int = 16) -> AsyncIterator[ClipboardUpdates]:
        """Observe what happens to the clipboard while this session is host.

        Iterate over the result. At most ``buffer`` updates wait for a slow reader; then the oldest go, counted in
        ``dropped``. Ends with ``SessionLost`` or ``SessionClosed``. Raises
        :class:`~neko_trio.errors.NotAllowed` without the right, :class:`~neko_trio.errors.InvalidInput` for a buffer
        below 1. The server tells the host alone: nothing comes in between.
        """
        if isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 1:
            raise InvalidInput(f"buffer is a positive number of updates, not {buffer!r}.", step=STEP)
        self._check_access()
        with self._news.subscribe("update", buffer) as subscription:
            yield ClipboardUpdates(subscription)

    def on_update(self, event: ClipboardUpdated) -> None:
        """The server says that the clipboard has changed. In the reader; never waits."""
        written = digest(event.text)
        own = written in self._written
        if own:
            while self._written.popleft() != written:
                pass  # those before it have been overwritten before the server looked
        else:
            self.foreign_total += 1
        self._news.publish("update", ClipboardUpdate(event.text, own))

    def on_state(self, state: State) -> None:
        """A new snapshot has been set. Never blocks."""
        if self._hosting and not state.is_host:
            self._written.clear()  # what it has not been told of by now it never will be
            self._news.publish("role", _RoleGone())
        self._hosting = state.is_host

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait, now and later, with a fresh ``failure()``. The first failure stays."""
        self._news.fail(failure)

    # -- inside

    def check(self) -> None:
        """Raise why the clipboard could not be read and written now."""
        self._check(access=True)

    async def _ready(self) -> None:
        """Wait as input does for a host role that is away; raise why the clipboard could not be read and written."""
        self._check_access()
        await self._inputs.wait_role()
        self._admit()

    async def _settled(self) -> None:
        await self._ready()
        await self._inputs.flush()

    def _check(self, *, access: bool) -> None:
        if access:
            self._check_access()
        self._admit()

    def _check_access(self) -> None:
        if not self._state.value.profile.can_access_clipboard:
            raise NotAllowed(
                "This member may not access the clipboard.",
                hint="An admin can grant it: can_access_clipboard.",
                step=STEP,
            )

    async def put(self, content: Content) -> None:
        """Write a form without waiting for the input before.

        Two writes at once are more than the server takes: the second meets an xclip that has not started, which is a
        panic, or kills the one that is being written to, which then waits for X for ever, and with it every later write
        (``internal/desktop/clipboard.go``, seen). So there is one at a time, and a cancelled one is waited for.
        """
        self._check(access=True)
        async with self._writing:
            await self._inputs.ask()  # a paste that was cancelled may be at it still
            self._check(access=True)
            await finished(lambda: self._put(content), within=self._patience)

    def _patience(self, interruption: BaseException) -> float:
        """Seconds for a write that is cut off. With the process, less: there is no other write to come."""
        self._inputs.goodbyes.note(interruption)
        return self._inputs.goodbyes.limit(WRITE_TIME)

    async def _put(self, content: Content) -> None:
        shown = content.html or content.text  # the server's order; and xclip answers every form with it
        form = {"html": content.html} if content.html else {"text": content.text}
        written = digest(shown)
        self._written.append(written)
        try:
            await self._rest.call("POST", _PATH, json=form, step=STEP, refusals=_REFUSALS)
        except NekoError:
            if written in self._written:
                self._written.remove(written)
            raise

    async def _write(self, content: Content) -> None:
        await self._settled()
        await self.put(content)

    async def _get(self, path: str, limit: int) -> bytes:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InvalidInput(f"limit is a positive number of bytes, not {limit!r}.", step=STEP)
        self._check(access=True)
        body = Body(limit)
        await self._rest.download(path, body, limit=None, step=STEP, refusals={**_REFUSALS, 500: _Nothing})
        return bytes(body.content)

    async def _command(self, request: ClientRequest, text: str | None = None) -> None:
        async with self._writing, self._inputs.quiet():

            def admit() -> None:
                self._check(access=text is not None)
                if text is not None:
                    self._written.append(digest(text))

            await self._inputs.ask(request, admit=admit)


class _Nothing(NekoError):
    """The clipboard has no such form: the server's xclip failed. Never leaves this module."""


_REFUSALS: Refusals = {
    403: lambda message: NotAllowed(f"The server refuses the clipboard: {message!r}.", step=STEP),
    500: lambda _message: ProtocolViolation(
        "The server could not set its clipboard: it has no xclip, or somebody else was setting it at the same moment.",
        hint="Its log tells which.",
        step=STEP,
    ),
}
