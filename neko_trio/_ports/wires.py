"""The wires that input goes over: the two channels that there are now, and what is told when one goes away.

They come and go with links and peers. While a lost connection is being made anew (:meth:`Wires.go_away`) whoever wants
to send waits for it; without that, there being none is an error at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

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
from neko_trio._ports.held import Release
from neko_trio.errors import InputInDoubt, NekoError, SessionClosed, SessionLost
from neko_trio.protocol.data_channel import ClientMessage, Pong
from neko_trio.protocol.events import SendUnicast
from neko_trio.protocol.requests import ClientRequest

WINDOW = 128
"""Messages that may be on their way unconfirmed before the next plan waits for a barrier.

It keeps a flush, and the release after a cancellation, short; and each message is a datagram of its own: bursts of 128
took 25 ms to the real server's pong, some of 256 lost a datagram and took the 1 s of SCTP's retransmission timer.
"""


class Wires:
    """Which channel the next input takes, in order with what went before. Trio thread only."""

    def __init__(self, *, on_doubt: Callable[[Iterable[Release]], None]) -> None:
        """``on_doubt`` is told, when a channel has gone, which of its releases may not have arrived."""
        self._on_doubt = on_doubt
        self.data: DataInput | None = None
        self.socket: SocketInput | None = None
        self.last: Channel | None = None
        """The one that input was last sent over, while it is there."""
        self.returns = False
        """Whether a connection that is lost is made anew: then what it carried is in doubt, and no session is lost."""
        self.losses = 0
        """How often there was reason to say that a connection is lost that is made anew."""
        self._session_id = ""
        self._doubt: Callable[[], NekoError] | None = None
        self._failure: Callable[[], NekoError] | None = None
        self._back: trio.Event | None = None  # set when there is a connection again, or never will be

    # -- what the session plugs in

    def plug(self, data: DataWire | None, socket: SocketWire, *, session_id: str) -> None:
        """See :meth:`InputPort.plug`."""
        if self.data is not None and self.data.wire is not data:
            self.lose(self.data)
            self.data = None
        if data is not None and self.data is None:
            self.data = DataInput(data)
        if self.socket is not None and (self.socket.wire is not socket or self._session_id != session_id):
            self.lose(self.socket)
            self.socket = None
        if self.socket is None:
            self.socket, self._session_id = SocketInput(socket, session_id), session_id
        self._let_go_on()

    def unplug(self) -> None:
        """The link and its peer are gone: barriers that are waited for raise, as does the next plan."""
        for channel in (self.data, self.socket):
            if channel is not None:
                self.lose(channel)
        self.data = self.socket = None

    def go_away(self) -> None:
        """:meth:`unplug`, and the next plan waits: another link is being made."""
        self.losses += 1
        self.unplug()
        if self._back is None and self._failure is None:
            self._back = trio.Event()

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait, now and later, with a fresh ``failure()``. The first failure stays."""
        if self._failure is None:
            self._failure = failure
            self.unplug()
            self._let_go_on()

    def _let_go_on(self) -> None:
        back, self._back = self._back, None
        if back is not None:
            back.set()

    @property
    def away(self) -> bool:
        """Whether there is no connection, and one is being made."""
        return self._back is not None

    async def wait_back(self) -> None:
        """Wait until there is a connection, or none will come. Not a checkpoint when one is there."""
        while self._back is not None:
            await self._back.wait()

    def lose(self, channel: Channel) -> None:
        """The channel is gone."""
        if channel.lose():
            self.note_doubt(connection_gone)
            self._on_doubt(channel.releases)
        if self.last is channel:
            self.last = None

    # -- answers to barriers

    def on_pong(self, pong: Pong) -> bool:
        """See :meth:`InputPort.on_pong`."""
        return self.data is not None and self.data.answered(pong.timestamp)

    def on_unicast(self, event: SendUnicast) -> bool:
        """See :meth:`InputPort.on_unicast`."""
        if event.subject != BARRIER_SUBJECT or event.sender != self._session_id or self.socket is None:
            return False
        return isinstance(event.body, int) and self.socket.answered(event.body)

    # -- what went wrong, told once

    @property
    def failure(self) -> Callable[[], NekoError] | None:
        """What ended the session, if anything did."""
        return self._failure

    @property
    def outstanding(self) -> bool:
        """Whether there is input that no barrier has confirmed, and of which nothing has been told yet."""
        return any(channel.outstanding for channel in self._alive)

    @property
    def releases(self) -> list[Release]:
        """Those messages of it that let go of something."""
        return [release for channel in self._alive for release in channel.releases]

    @property
    def _alive(self) -> list[Channel]:
        return [channel for channel in (self.data, self.socket) if channel is not None and not channel.lost]

    def note_doubt(self, doubt: Callable[[], NekoError]) -> None:
        """For the next plan or flush to tell; of several the last."""
        self._doubt = doubt

    def take_doubt(self) -> NekoError | None:
        """What there is to be told, which is told with that."""
        doubt, self._doubt = self._doubt, None
        return doubt() if doubt is not None else None

    def raise_failure(self) -> None:
        """Raise what ended the session, if anything did."""
        if self._failure is not None:
            raise self._failure()

    def raise_end(self) -> None:
        """Raise what ended the session, or what there is to be told."""
        self.raise_failure()
        doubt = self.take_doubt()
        if doubt is not None:
            raise doubt

    # -- sending

    async def enter(self) -> Channel:
        """The channel for the next plan, once everything before it is in order."""
        self.raise_end()
        last = self.last
        if last is not None and last.outstanding >= WINDOW:
            await self.barrier(last)
        channel = self.choose()
        if last is not None and last is self.last and last is not channel and last.outstanding:
            if not last.usable:
                self.lose(last)
                self.raise_end()
            await self.barrier(last)
        return self.choose()

    async def enter_anyway(self) -> Channel:
        """:meth:`enter` for what must not wait, nor be told: doubts are left for the next plan or flush."""
        doubt = self._doubt
        try:
            return await self.enter()
        except InputInDoubt:
            self._doubt = doubt or connection_gone
            return self.choose()

    def choose(self) -> Channel:
        """The channel that can carry something now. Raises ``SessionLost``."""
        if self.data is not None and self.data.usable:
            return self.data
        if self.socket is None or not self.socket.usable:
            raise (self._failure or unplugged)()
        return self.socket

    async def send(self, channel: Channel, messages: Sequence[ClientMessage]) -> None:
        """Send them all; cancelled, all or none. Raises why it could not be done, or that it is in doubt."""
        self.last = channel
        try:
            await channel.send(messages)
        except NekoError as error:
            self.lose(channel)
            self._doubt = None  # this error tells it
            if (told := self._as_told(error)) is error:
                raise  # ``from None`` would take its cause from it
            raise told from None

    def _as_told(self, error: NekoError) -> NekoError:
        """The end of a link or a peer is not the session's where they are made anew."""
        ends = isinstance(error, SessionLost | SessionClosed) and self._failure is None
        if not ends or not self.returns:
            return error
        self.losses += 1
        return connection_gone()

    async def barrier(self, channel: Channel) -> None:
        """Its barrier. Raises ``InputInDoubt`` when it goes away first."""
        try:
            await channel.barrier()
        except ChannelLost:
            self._doubt = None
            cause = self._failure() if self._failure is not None else None
            raise connection_gone() from cause
        except NekoError as error:
            self.lose(channel)
            self._doubt = None  # this error tells it
            if (told := self._as_told(error)) is error:
                raise
            raise told from None

    async def confirm(self) -> None:
        """The barrier of what was last sent over, for whoever need not know what becomes of it."""
        last = self.last
        if last is not None and last.outstanding:
            try:
                await last.barrier()
            except (ChannelLost, NekoError):
                return  # lost, and then what is in doubt has been noted

    async def ask(self, *asked: ClientRequest, admit: Callable[[], None] = lambda: None) -> None:
        """See :meth:`InputPort.ask`."""
        await self.wait_back()
        self.raise_failure()
        admit()
        if self.socket is None:
            raise unplugged()
        try:
            await self.socket.barrier(asked)
        except ChannelLost:
            if not self.returns:
                # It will not come back: why, the session is about to say.
                await self.wait_back()  # noqa: ASYNC120 - cancelled, that leaves in its place
            ended = (self._failure or (connection_gone if self.returns else unplugged))()
            raise ended from ended.__cause__  # ``from None`` would take that from it
        except NekoError as error:
            if (told := self._as_told(error)) is error:
                raise
            raise told from None

    async def drain(self) -> bool:
        """See :meth:`InputPort.drain_media`."""
        if self.data is None or not self.data.usable:
            return False
        try:
            await self.data.barrier()
        except (ChannelLost, NekoError):
            return False  # of input it says nothing: whoever sent some is told by its own barrier
        return True


def unplugged() -> NekoError:
    """There is no connection, and none is being made."""
    return SessionLost("There is no connection to the server now, nothing was sent.", step="input")


def in_doubt(message: str) -> NekoError:
    """``InputInDoubt``, with what to do about it."""
    return InputInDoubt(
        message,
        hint="Look at the screen before acting again: the input may or may not have arrived.",
        step="input",
    )


def connection_gone() -> NekoError:
    """The usual doubt."""
    return in_doubt("The connection that carried the input before this went away without confirming it.")
