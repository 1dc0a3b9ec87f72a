"""The input port: whole plans, one at a time, each over one channel, confirmed by a barrier."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import trio

from neko_trio._ports.channels import (
    BARRIER_SUBJECT,
    WAKE,
    Channel,
    ChannelLost,
    DataInput,
    DataWire,
    SocketInput,
    SocketWire,
)
from neko_trio._ports.held import Held, Release
from neko_trio.errors import CallerError, InputInDoubt, InvalidInput, NekoError, SessionLost
from neko_trio.protocol.data_channel import ClientMessage, KeyDown, KeyUp, Pong
from neko_trio.protocol.events import SendUnicast
from neko_trio.protocol.requests import ClientRequest

WINDOW = 128
"""Messages that may be on their way unconfirmed before the next plan waits for a barrier.

It keeps a flush, and the release after a cancellation, short; and each message is a datagram of its own: bursts of 128
took 25 ms to the real server's pong, some of 256 lost a datagram and took the 1 s of SCTP's retransmission timer.
"""

RELEASE_TIMEOUT = 2.0
"""Seconds that letting go may take where a gesture is cancelled."""


class InputPort:
    """Where mouse and keyboard hand over their plans. Trio thread only.

    A *plan* is a sequence of data-channel messages that belong together, such as those of a click. It goes out whole,
    after the plans before it, over the data channel while that is open and else over the WebSocket; before the channel
    changes, the barrier of the one left is waited for. ``admit`` is called right before each plan leaves and raises
    the typed error of a session that may not control the desktop now.
    """

    def __init__(
        self, *, admit: Callable[[], None], on_sent: Callable[[Sequence[ClientMessage]], None] = lambda _messages: None
    ) -> None:
        """``on_sent`` is told what has left, right after it has. Must not raise."""
        self._admit = admit
        self._on_sent = on_sent
        self._turn = trio.Lock()
        self._data: DataInput | None = None
        self._socket: SocketInput | None = None
        self._session_id = ""
        self._last: Channel | None = None
        self._held = Held()
        self._losses = 0  # of the host role
        self._leftover: dict[Release, None] = {}  # what a loss may have left pressed at the server
        self._press_again = False  # what is held, of keys, the server has let go of since
        self._pressed_at: dict[Release, float] = {}  # when each key and button last went down, trio's clock
        self._regain: Callable[[], Awaitable[None]] | None = None
        self._doubt: Callable[[], NekoError] | None = None
        self._failure: Callable[[], NekoError] | None = None
        self._making_certain = 0
        self.certain = False
        """Whether :meth:`flush` asks over the WebSocket, too: a loss of the host role in between is then known."""
        self.plans_total = 0
        """Plans handed over so far."""
        self.messages_total = 0
        """Messages in them."""

    # -- what the session plugs in

    def plug(self, data: DataWire | None, socket: SocketWire, *, session_id: str) -> None:
        """Use these wires from now on. A wire that was plugged before stays as it is; another one replaces it.

        ``data`` may be plugged before its channel opens, and is ``None`` while there is no peer.
        """
        if self._data is not None and self._data.wire is not data:
            self._lose(self._data)
            self._data = None
        if data is not None and self._data is None:
            self._data = DataInput(data)
        if self._socket is not None and (self._socket.wire is not socket or self._session_id != session_id):
            self._lose(self._socket)
            self._socket = None
        if self._socket is None:
            self._socket, self._session_id = SocketInput(socket, session_id), session_id

    def unplug(self) -> None:
        """The link and its peer are gone: barriers that are waited for raise, as does the next plan."""
        for channel in (self._data, self._socket):
            if channel is not None:
                self._lose(channel)
        self._data = self._socket = None

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait, now and later, with a fresh ``failure()``. The first failure stays."""
        if self._failure is None:
            self._failure = failure
            self.unplug()

    def _lose(self, channel: Channel) -> None:
        if channel.lose():
            self._doubt = _connection_gone
        if self._last is channel:
            self._last = None

    # -- what the session's owners of events deliver

    def on_pong(self, pong: Pong) -> bool:
        """A pong of the data channel came. ``False`` when it belongs to somebody else."""
        return self._data is not None and self._data.answered(pong.timestamp)

    def on_unicast(self, event: SendUnicast) -> bool:
        """A ``send/unicast`` came. ``False`` when it is no barrier of this session: others may send such events too."""
        if event.subject != BARRIER_SUBJECT or event.sender != self._session_id or self._socket is None:
            return False
        return isinstance(event.body, int) and self._socket.answered(event.body)

    # -- input

    def check(self) -> None:
        """Raise what :meth:`submit` would raise at once."""
        if self._failure is not None:
            raise self._failure()
        if self._regain is None:
            self._admit()

    async def submit(self, plan: Sequence[ClientMessage], *, on_sending: Callable[[], None] = lambda: None) -> None:
        """Hand over a plan; return when it is in a bounded buffer on its way. A checkpoint.

        While the host role is away and wanted back (:meth:`lose_role`) it waits for that first. Cancelled, the plan is
        sent whole or not at all. Raises what ``admit`` raises; ``InvalidInput`` for a second press of a held key;
        ``InputInDoubt`` when input sent *before* may have been lost with its connection, or with a role that was wanted
        back, told once, in which case nothing of this plan is sent; ``SessionLost`` or ``SessionClosed`` without a
        connection. ``on_sending`` is called right before the plan leaves: from then on it may have been sent.
        """
        while True:
            regain = self._regain
            if regain is not None:
                self._raise_end()
                await regain()
            async with self._turn:
                if self._failure is not None:
                    raise self._failure()  # the end of the session says more than what it left of our rights
                if self._regain is not None:
                    continue
                self._admit()
                channel = await self._enter()
                if self._regain is not None:
                    continue  # waiting for a barrier has cost us the host role
                self._admit()
                messages, after = self._held.after(plan)
                messages = [*self._first(self._held), *messages]
                on_sending()
                if messages:
                    await self._send(channel, messages, after)
                else:
                    self._held = after  # all of it is held already
                return

    @asynccontextmanager
    async def pressed(self, plan: Sequence[ClientMessage], releases: Sequence[Release]) -> AsyncIterator[None]:
        """:meth:`submit` a plan that presses, for a block that lets go by itself where it ends well.

        Where it does not, cancelled or by an error, what it still holds of ``releases`` is let go of here, bounded, and
        also when only the plan was cancelled after it may have left.
        """
        sending = False

        def note() -> None:
            nonlocal sending
            sending = True

        try:
            await self.submit(plan, on_sending=note)
            yield
        except BaseException as error:
            if sending:
                with trio.move_on_after(RELEASE_TIMEOUT, shield=True):
                    try:
                        await self.release(releases)
                    except NekoError as failed:
                        error.add_note(f"neko_trio: letting go failed as well: {failed}")
            raise

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """A block in which the server itself moves the mouse and types: all input before has been handled, none leaves.

        Raises ``InvalidInput`` while anything is held, which would spoil it, and what :meth:`flush` raises.
        """
        async with self._turn:
            if self._held:
                raise InvalidInput("Keys or buttons are held.", hint="Let go of them first.")
            await self.flush()
            yield

    async def release(self, releases: Sequence[Release]) -> None:
        """Let go of these, if they are still held. A checkpoint. Cancelled, they stay in ``held`` or have been let go.

        Without the host role, or without a connection, they are forgotten: nothing can be sent.
        """
        async with self._turn:
            messages, after = self._held.without(releases)
            if self._regain is not None:
                self._held = after  # when the role is back, what was left pressed is let go before all else
                return
            messages = [*self._first(after)] if self._press_again else [*self._leftover, *messages]
            if not messages:
                self._held = after
                return
            doubt = self._doubt
            try:
                self._admit()
                try:
                    channel = await self._enter()
                except InputInDoubt:
                    self._doubt = doubt or _connection_gone  # for the next plan or flush to tell: this does not wait
                    channel = self._choose()
                self._admit()
                await self._send(channel, messages, after)
            except (CallerError, SessionLost):
                self._held = Held()

    def pressed_at(self, releases: Sequence[Release]) -> float | None:
        """When the first of these went down that is still held, by trio's clock; ``None`` when none is."""
        held = self._held.releases
        return min((self._pressed_at[key] for key in releases if key in held and key in self._pressed_at), default=None)

    async def press_again(self, releases: Sequence[Release], *, before: float) -> None:
        """Let go of the keys among these that went down by ``before`` and are still held, and press them at once again.

        For the server this is a new press, of which it will let go by itself later. A checkpoint. Cancelled, all of it
        is sent or nothing. Without the host role, or without a connection, nothing is sent.
        """
        async with self._turn:
            if self._regain is not None or self._press_again:
                return  # the first plan with the role presses them
            held = self._held.releases
            due = [key for key in releases if key in held and self._pressed_at.get(key, before + 1) <= before]
            plan = [each for key in due if isinstance(key, KeyUp) for each in (key, KeyDown(key.keysym))]
            if not plan:
                return
            doubt = self._doubt
            try:
                self._admit()
                try:
                    channel = await self._enter()
                except InputInDoubt:
                    self._doubt = doubt or _connection_gone  # for the next plan or flush to tell
                    channel = self._choose()
                self._admit()
                await self._send(channel, plan, self._held)
            except NekoError as error:  # the next plan tells it
                if not isinstance(error, CallerError | SessionLost):
                    self._doubt = doubt or _connection_gone

    async def release_held(self) -> None:
        """Let go of everything this session holds. See :meth:`release`."""
        while self._held:
            await self.release(self._held.releases)
        if self._leftover:
            await self.release(())
        await trio.lowlevel.checkpoint()

    def lose_role(self, regain: Callable[[], Awaitable[None]] | None = None) -> None:
        """The host role is gone. With ``regain`` it is wanted back: plans wait in that call until :meth:`resume`.

        The server lets go of held keys and buttons when the role is released or reset, or its holder disconnected, but
        not when it is taken, given away or locked (``internal/websocket/handler``, ``internal/api/room/control.go``,
        ``internal/session/manager.go``): then they stay pressed for up to 10 s, and nothing can be sent. So the first
        plan with the role lets go of them.

        When it is wanted back, keys still held then are pressed again. A held button or finger is not, and input that
        no barrier has confirmed may have come too late: either is told once as ``InputInDoubt``.
        """
        self._leftover.update(dict.fromkeys(self._held.releases))
        self._losses += 1
        held, self._regain = self._held, regain
        self._held = held.keys if regain is not None else Held()
        self._press_again = bool(self._held)
        if regain is None:
            return
        if len(held.releases) > len(self._held.releases):
            self._doubt = _gesture_broken
        elif self._making_certain or any(channel and channel.outstanding for channel in (self._data, self._socket)):
            self._doubt = _role_gone

    def resume(self) -> None:
        """The host role is back: plans leave again."""
        self._regain = None

    def give_up(self) -> NekoError | None:
        """The host role is not wanted back any more: return what there was to be told, and forget what was held."""
        self._regain, self._held, self._press_again = None, Held(), False
        doubt, self._doubt = self._doubt, None
        return doubt() if doubt is not None else None

    @property
    def held(self) -> tuple[Release, ...]:
        """The messages that would let go of what may be held now, newest first."""
        return self._held.releases

    async def flush(self) -> None:
        """Return when the server has handled all input before this. A checkpoint; no round trip when there was none.

        Cancelling is safe. Raises ``InputInDoubt`` when a connection ended before it confirmed its input, and
        ``SessionLost`` or ``SessionClosed`` when the session is over.
        """
        await trio.lowlevel.checkpoint()
        self._raise_end()
        if self._last is not None and self._last.outstanding:
            if not self.certain:
                await self._barrier(self._last)
                await self._wake()
                return
            self._making_certain += 1
            try:
                await self._barrier(self._last)
                await self._wake()
                await self.ask()
            finally:
                self._making_certain -= 1
            self._raise_end()

    async def flush_media(self) -> bool:
        """:meth:`flush` and :meth:`drain_media`, in one round trip if the data channel carried the input."""
        data = self._data
        flushes = data is not None and data is self._last and data.outstanding > 0
        await self.flush()
        return flushes or await self.drain_media()

    async def drain_media(self) -> bool:
        """A round trip on the data channel: what the server had sent over the media connection before has been read.

        ``False`` when that channel is not open, and this cannot be said. A checkpoint; cancelling is safe.
        """
        await trio.lowlevel.checkpoint()
        if self._data is None or not self._data.usable:
            return False
        try:
            await self._data.barrier()
        except (ChannelLost, NekoError):
            return False  # of input it says nothing: whoever sent some is told by its own barrier
        return True

    async def ask(self, *asked: ClientRequest) -> None:
        """Send requests over the WebSocket and return when the server has handled them, and all events that they
        caused have been seen. A checkpoint.

        With no request it is the WebSocket's barrier alone. Does not need the host role. Cancelled, the requests are
        sent all or none. Raises ``SessionLost`` or ``SessionClosed``.
        """
        await trio.lowlevel.checkpoint()
        if self._failure is not None:
            raise self._failure()
        if self._socket is None:
            raise _unplugged()
        try:
            await self._socket.barrier(asked)
        except ChannelLost:
            raise (self._failure or _unplugged)() from None

    # -- inside

    async def _enter(self) -> Channel:
        """The channel for the next plan, once everything before it is in order."""
        self._raise_end()
        last = self._last
        if last is not None and last.outstanding >= WINDOW:
            await self._barrier(last)
        channel = self._choose()
        if last is not None and last is self._last and last is not channel and last.outstanding:
            if not last.usable:
                self._lose(last)
                self._raise_end()
            await self._barrier(last)
        return self._choose()

    def _choose(self) -> Channel:
        if self._data is not None and self._data.usable:
            return self._data
        if self._socket is None or not self._socket.usable:
            raise (self._failure or _unplugged)()
        return self._socket

    async def _send(self, channel: Channel, messages: Sequence[ClientMessage], after: Held) -> None:
        self._held = self._held.joined(after)  # until it is certain that it was sent, what may be held is held
        self._last, losses = channel, self._losses
        now = trio.current_time()
        for message in messages:
            if isinstance(message, KeyDown):
                self._pressed_at[KeyUp(message.keysym)] = now
            elif isinstance(message, KeyUp):
                self._pressed_at.pop(message, None)
        try:
            await channel.send(messages)
        except NekoError:
            self._lose(channel)
            self._doubt = None  # this error tells it
            raise
        if losses == self._losses:
            self._held, self._press_again = after, False
            self._leftover.clear()
        elif self._regain is not None:
            self._held = after.keys
        self.plans_total += 1
        self.messages_total += len(messages)
        self._on_sent(messages)

    async def _wake(self) -> None:
        """Touches that the server has handed on are X's once it looks: see :meth:`Channel.send`."""
        touched = self._last
        if touched is None or not touched.touched or self._regain is not None:
            return
        touched.touched = False
        try:
            await self.submit([WAKE])
        except CallerError:
            return  # the host role is gone, and whoever needs it is told
        if self._last is not None:
            await self._barrier(self._last)

    async def _barrier(self, channel: Channel) -> None:
        try:
            await channel.barrier()
        except ChannelLost:
            self._doubt = None
            cause = self._failure() if self._failure is not None else None
            raise _connection_gone() from cause

    def _first(self, held: Held) -> Iterable[ClientMessage]:
        """What goes before the next plan, so that the server's keys and buttons are those of ``held``."""
        return (*self._leftover, *(held.presses if self._press_again else ()))

    def _raise_end(self) -> None:
        if self._failure is not None:
            raise self._failure()
        if self._doubt is not None:
            doubt, self._doubt = self._doubt, None
            raise doubt()


def _unplugged() -> NekoError:
    return SessionLost("There is no connection to the server now, nothing was sent.", step="input")


def _doubtful(message: str) -> NekoError:
    return InputInDoubt(
        message,
        hint="Look at the screen before acting again: the input may or may not have arrived.",
        step="input",
    )


def _connection_gone() -> NekoError:
    return _doubtful("The connection that carried the input before this went away without confirming it.")


def _role_gone() -> NekoError:
    return _doubtful("The host role was taken away before the server had confirmed the input before this.")


def _gesture_broken() -> NekoError:
    return _doubtful("The host role was taken away while a mouse button or a finger was down: that gesture came apart.")
