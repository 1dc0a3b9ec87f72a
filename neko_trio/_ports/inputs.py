"""The input port: whole plans, one at a time, each over one channel, confirmed by a barrier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from neko_trio._ports.channels import (
    BARRIER_SUBJECT,
    Channel,
    ChannelLost,
    DataInput,
    DataWire,
    SocketInput,
    SocketWire,
)
from neko_trio._ports.held import Held, Release
from neko_trio.errors import CallerError, InputInDoubt, NekoError, SessionLost
from neko_trio.protocol.data_channel import ClientMessage, Pong
from neko_trio.protocol.events import SendUnicast
from neko_trio.protocol.requests import ClientRequest

WINDOW = 128
"""Messages that may be on their way unconfirmed before the next plan waits for a barrier.

It keeps a flush, and the release after a cancellation, short; and each message is a datagram of its own: bursts of 128
took 25 ms to the real server's pong, some of 256 lost a datagram and took the 1 s of SCTP's retransmission timer.
"""


class InputPort:
    """Where mouse and keyboard hand over their plans. Trio thread only.

    A *plan* is a sequence of data-channel messages that belong together, such as those of a click. It goes out whole,
    after the plans before it, over the data channel while that is open and else over the WebSocket; before the channel
    changes, the barrier of the one left is waited for. ``admit`` is called right before each plan leaves and raises
    the typed error of a session that may not control the desktop now.
    """

    def __init__(self, *, admit: Callable[[], None]) -> None:
        self._admit = admit
        self._turn = trio.Lock()
        self._data: DataInput | None = None
        self._socket: SocketInput | None = None
        self._session_id = ""
        self._last: Channel | None = None
        self._held = Held()
        self._forgotten = 0
        self._doubt = False
        self._failure: Callable[[], NekoError] | None = None
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
            self._doubt = True
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

    async def submit(self, plan: Sequence[ClientMessage]) -> None:
        """Hand over a plan; return when it is in a bounded buffer on its way. A checkpoint.

        Cancelled, the plan is sent whole or not at all. Raises what ``admit`` raises; ``InvalidInput`` for a second
        press of a held key; ``InputInDoubt`` when input sent *before* may have been lost with its connection, told
        once, in which case nothing of this plan is sent; ``SessionLost`` or ``SessionClosed`` without a connection.
        """
        async with self._turn:
            if self._failure is not None:
                raise self._failure()  # the end of the session says more than what it left of our rights
            self._admit()
            channel = await self._enter()
            self._admit()  # waiting for a barrier may have cost us the host role
            messages, after = self._held.after(plan)
            if messages:
                await self._send(channel, messages, after)
            else:
                self._held = after  # all of it is held already

    async def release(self, releases: Sequence[Release]) -> None:
        """Let go of these, if they are still held. A checkpoint. Cancelled, they stay in ``held`` or have been let go.

        Without the host role, or without a connection, the server has let go of them: they are forgotten.
        """
        async with self._turn:
            messages, after = self._held.without(releases)
            if not messages:
                self._held = after
                return
            try:
                self._admit()
                try:
                    channel = await self._enter()
                except InputInDoubt:
                    self._doubt = True  # for the next plan or flush to tell; letting go does not wait for that
                    channel = self._choose()
                self._admit()
                await self._send(channel, messages, after)
            except (CallerError, SessionLost):
                self._held = Held()

    async def release_held(self) -> None:
        """Let go of everything this session holds. See :meth:`release`."""
        while self._held:
            await self.release(self._held.releases)
        await trio.lowlevel.checkpoint()

    def forget_held(self) -> None:
        """The host role is gone, and with it, at the server, every held key and button."""
        self._held = Held()
        self._forgotten += 1

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
            await self._barrier(self._last)

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
        self._last, forgotten = channel, self._forgotten
        try:
            await channel.send(messages)
        except NekoError:
            self._lose(channel)
            self._doubt = False  # this error tells it
            raise
        if forgotten == self._forgotten:
            self._held = after
        self.plans_total += 1
        self.messages_total += len(messages)

    async def _barrier(self, channel: Channel) -> None:
        try:
            await channel.barrier()
        except ChannelLost:
            self._doubt = False
            cause = self._failure() if self._failure is not None else None
            raise _doubtful() from cause

    def _raise_end(self) -> None:
        if self._failure is not None:
            raise self._failure()
        if self._doubt:
            self._doubt = False
            raise _doubtful()


def _unplugged() -> NekoError:
    return SessionLost("There is no connection to the server now, nothing was sent.", step="input")


def _doubtful() -> NekoError:
    return InputInDoubt(
        "The connection that carried the input before this went away without confirming it.",
        hint="Look at the screen before acting again: the input may or may not have arrived.",
        step="input",
    )
