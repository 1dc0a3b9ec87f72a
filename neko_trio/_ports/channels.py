"""The two ways of input, each with its barrier: proof that the server has handled all that went before.

The server reads the two independently, so order holds within one only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Protocol

import trio

from neko_trio._ports.held import Release
from neko_trio.protocol import data_channel, requests
from neko_trio.protocol.data_channel import (
    ButtonDown,
    ButtonUp,
    ClientMessage,
    KeyDown,
    KeyUp,
    Move,
    Ping,
    Scroll,
    TouchBegin,
    TouchEnd,
    TouchUpdate,
)

BARRIER_SUBJECT = "neko-trio/barrier"
"""Subject of the unicast to oneself. It says nothing: what tells ours apart is the sender and the number in it."""

_TOUCHES = (TouchBegin, TouchUpdate, TouchEnd)
WAKE = Scroll(0, 0)
"""Does nothing but wait for an answer from X, which makes it look (the server's ``pkg/xorg/xorg.c``)."""

_numbers = count(1)  # of the whole process: an answer from another link can never be taken for one of this


def next_number() -> int:
    """A number for a ping or a barrier that no other has."""
    return next(_numbers)


class DataWire(Protocol):
    """The data channel of a peer: ``media.peer_api.Peer`` is one."""

    @property
    def data_channel_open(self) -> bool:
        """Whether it can be used now."""
        ...

    async def send_data(self, messages: Sequence[bytes]) -> None:
        """Send all of them in order, or, when cancelled, none. Raises a ``NekoError`` when it cannot."""
        ...


async def ping(wire: DataWire, number: int) -> None:
    """Ask over the data channel: the server answers with the same number, whoever asks (internal/webrtc/handler.go).

    Cancelled, it is sent or not. Raises a ``NekoError`` when the channel is not open.
    """
    await wire.send_data([data_channel.encode(Ping(number))])


class SocketWire(Protocol):
    """The WebSocket of a link."""

    async def send_texts(self, texts: list[str]) -> None:
        """Send all of them in order, or, when cancelled, none. Raises a ``NekoError`` when it cannot."""
        ...


class _Barrier:
    __slots__ = ("done", "lost", "settles")

    def __init__(self, settles: int) -> None:
        self.settles = settles  # messages up to this one are handled when the answer comes
        self.done = trio.Event()
        self.lost = False


class ChannelLost(Exception):
    """The channel went away while a barrier was waited for. Never leaves the port."""


class Channel(ABC):
    """Plans sent one after the other, and barriers, which may overlap them."""

    def __init__(self) -> None:
        self._begun = 0  # messages whose sending has begun, has ended, has been confirmed
        self._ended = 0
        self._confirmed = 0
        self._releases: deque[tuple[int, Release]] = deque()  # not confirmed, each with the number of its message
        self._barriers: dict[int, _Barrier] = {}
        self._lost = False
        self.touched = False
        """Whether there were touches among the input since this was last set to ``False``."""

    @property
    def outstanding(self) -> int:
        """Messages that may have been sent and that no barrier has confirmed."""
        return self._begun - self._confirmed

    @property
    def releases(self) -> list[Release]:
        """Those of these messages that let go of something: what they let go of may be down still."""
        return [release for _, release in self._releases]

    @property
    def lost(self) -> bool:
        """Whether it is gone."""
        return self._lost

    @property
    @abstractmethod
    def usable(self) -> bool:
        """Whether it can carry anything now."""

    async def send(self, plan: Sequence[ClientMessage]) -> None:
        """Send a plan, all or nothing. One at a time.

        Keys, buttons and moves are X's own requests, answered before the next message is read. Touches come to X by a
        driver in a thread of its own that does not wake it: in a desktop that nobody films they waited for seconds
        (seen). So something behind them wakes it, and because that may be faster than the driver's thread, a flush
        does it again.
        """
        if any(isinstance(message, _TOUCHES) for message in plan):
            plan, self.touched = [*plan, WAKE], True
        for number, message in enumerate(plan, self._begun + 1):
            if isinstance(message, Release):
                self._releases.append((number, message))
        self._begun += len(plan)
        try:
            await self._send(plan)
        finally:
            self._ended = self._begun

    async def barrier(self, before: Sequence[requests.ClientRequest] = ()) -> None:
        """Return when the server has handled every plan that had ended before, and the requests ``before``.

        Raises :class:`ChannelLost` when the channel ends first. Cancelling is safe.
        """
        if self._lost:
            raise ChannelLost
        number = next_number()
        barrier = self._barriers[number] = _Barrier(self._ended)
        try:
            await self._send_barrier(number, before)
            await barrier.done.wait()
        finally:
            del self._barriers[number]
        if barrier.lost:
            raise ChannelLost

    def answered(self, number: int) -> bool:
        """The server answered barrier ``number``. ``False`` when nobody waits for it."""
        barrier = self._barriers.get(number)
        if barrier is None:
            return False
        self._confirmed = max(self._confirmed, barrier.settles)
        while self._releases and self._releases[0][0] <= self._confirmed:
            self._releases.popleft()
        barrier.done.set()
        return True

    def lose(self) -> bool:
        """The channel is gone. ``True`` when that leaves input in doubt, once: it is told once."""
        again, self._lost = self._lost, True
        for barrier in self._barriers.values():
            if not barrier.done.is_set():
                barrier.lost = True
                barrier.done.set()
        return self.outstanding > 0 and not again

    @abstractmethod
    async def _send(self, plan: Sequence[ClientMessage]) -> None: ...

    @abstractmethod
    async def _send_barrier(self, number: int, before: Sequence[requests.ClientRequest]) -> None: ...


class DataInput(Channel):
    """Input over the data channel; the barrier is its ping, answered in order after the input before it (seen).

    The channel is ordered and reliable: a lost datagram is sent again, and no key comes twice. But a press and its
    release are two datagrams, and where the second is lost the key is down until SCTP's timer has run (1 s, RFC 4960
    §15; sooner only if more follows): longer than the 0.66 s after which an X server repeats a key that is down.
    """

    def __init__(self, wire: DataWire) -> None:
        super().__init__()
        self.wire = wire

    @property
    def usable(self) -> bool:
        return not self._lost and self.wire.data_channel_open

    async def _send(self, plan: Sequence[ClientMessage]) -> None:
        await self.wire.send_data([data_channel.encode(message) for message in plan])

    async def _send_barrier(self, number: int, before: Sequence[requests.ClientRequest]) -> None:
        assert not before, "requests go over the WebSocket"
        await ping(self.wire, number)


class SocketInput(Channel):
    """Input over the WebSocket; the barrier is a unicast to oneself, which comes back in order (seen)."""

    def __init__(self, wire: SocketWire, session_id: str) -> None:
        super().__init__()
        self.wire = wire
        self._session_id = session_id

    @property
    def usable(self) -> bool:
        return not self._lost

    async def _send(self, plan: Sequence[ClientMessage]) -> None:
        await self.wire.send_texts([requests.encode(as_request(message)) for message in plan])

    async def _send_barrier(self, number: int, before: Sequence[requests.ClientRequest]) -> None:
        unicast = requests.SendUnicast(receiver=self._session_id, subject=BARRIER_SUBJECT, body=number)
        await self.wire.send_texts([requests.encode(request) for request in (*before, unicast)])


def as_request(message: ClientMessage) -> requests.ClientRequest:
    """The WebSocket's spelling of a data-channel message. Never a press, which lets go of every other key (seen)."""
    match message:
        case Move():
            return requests.ControlMove(x=message.x, y=message.y)
        case Scroll():
            return requests.ControlScroll(
                delta_x=message.delta_x, delta_y=message.delta_y, control_key=message.control_key
            )
        case KeyDown():
            return requests.ControlKeyDown(keysym=message.keysym)
        case KeyUp():
            return requests.ControlKeyUp(keysym=message.keysym)
        case ButtonDown():
            return requests.ControlButtonDown(code=message.code)
        case ButtonUp():
            return requests.ControlButtonUp(code=message.code)
        case TouchBegin():
            return requests.ControlTouchBegin(
                touch_id=message.touch_id, x=message.x, y=message.y, pressure=message.pressure
            )
        case TouchUpdate():
            return requests.ControlTouchUpdate(
                touch_id=message.touch_id, x=message.x, y=message.y, pressure=message.pressure
            )
        case TouchEnd():
            return requests.ControlTouchEnd(
                touch_id=message.touch_id, x=message.x, y=message.y, pressure=message.pressure
            )
        case Ping():
            raise TypeError("a ping is a barrier, not input")
