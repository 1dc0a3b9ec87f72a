"""The link: one WebSocket, and its one reader."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import trio

from neko_trio._signals import PeerSignals
from neko_trio.errors import NekoError, ProtocolViolation, ServerUnreachable, SessionLost
from neko_trio.protocol import Malformed, events, requests
from neko_trio.signaling.refusals import refusal
from neko_trio.signaling.web_socket import SocketEnded

logger = logging.getLogger("neko_trio.link")


class Socket(Protocol):
    """What a link needs of a WebSocket."""

    @property
    def remote_address(self) -> tuple[str, int] | None: ...
    async def receive(self) -> str | bytes: ...
    async def send(self, *texts: str) -> None: ...
    async def aclose(self, code: int = 1000) -> None: ...


@dataclass(slots=True)
class LinkCounts:
    """Totals of one link."""

    messages_received: int = 0
    messages_sent: int = 0
    malformed: int = 0
    """Messages skipped because they are no JSON or not of their event's shape."""
    unrequested_offers: int = 0
    """Offers that nobody had asked for."""
    offers_dropped: int = 0
    """Renegotiating offers beyond what may wait."""
    stray_candidates: int = 0
    """Candidates that came while no peer was asked for."""


def _lost() -> NekoError:
    return ServerUnreachable("The connection to the server is lost.", step="link")


def _ended_by_server(how: str) -> NekoError:
    return ServerUnreachable(
        f"The server ended the connection ({how}).",
        hint="Look at the server's log, and at proxies in between that cut idle or upgraded connections.",
    )


def _closed() -> NekoError:
    return SessionLost("The connection to the server is closed.", step="link")


class Link:
    """One WebSocket to the server. Made by ``open_link``; ``observe`` sees each event, in order, in the reader."""

    def __init__(
        self, socket: Socket, observe: Callable[[events.ServerEvent], None], *, opening_seconds: float = 0.0
    ) -> None:
        self.opening_seconds = opening_seconds
        """How long dialling took, two round trips at least: TCP, and the upgrade."""
        self.heard_at = trio.current_time()
        """When the newest message came (trio's clock)."""
        self._socket = socket
        self._observe = observe
        self._init: events.SystemInit | None = None
        self._init_received = trio.Event()
        self._signals: PeerSignals | None = None
        self._ended: Callable[[], NekoError] | None = None
        self._closing = False
        self._read_to_end = trio.Event()
        self.counts = LinkCounts()

    @property
    def remote_address(self) -> tuple[str, int] | None:
        """Address and port at the other end of the socket, ``None`` when it is no network socket."""
        return self._socket.remote_address

    @property
    def alive(self) -> bool:
        """Whether messages can still be sent."""
        return self._ended is None

    async def wait_init(self) -> events.SystemInit:
        """Wait for ``system/init``, the first event of every connection."""
        await self._init_received.wait()
        assert self._init is not None
        return self._init

    # -- reading

    async def read(self) -> None:
        """Read until the socket ends, handing each event to its owner. Never waits for any of them.

        Raises what the server said last: a typed refusal after ``system/disconnect``, else the loss of the socket.
        A message that cannot be read is counted and skipped, unless it is the one that the handshake waits for.
        """
        try:
            await self._read()
        finally:
            self._read_to_end.set()

    async def _read(self) -> None:
        while True:
            try:
                message = await self._socket.receive()
            except SocketEnded as ended:
                if self._closing:
                    return
                self._ended = partial(_ended_by_server, str(ended))
                raise self._ended() from ended
            self.counts.messages_received += 1
            self.heard_at = trio.current_time()
            try:
                event = events.decode(message)
            except Malformed as error:
                self._refuse_if_awaited(error)
                self.counts.malformed += 1
                logger.warning("skipped a message of the server: %s", error)
                continue
            self._dispatch(event)

    def _refuse_if_awaited(self, error: Malformed) -> None:
        """Raise when this is the one message that the handshake waits for: there will be no other."""
        step = None
        if error.event == events.SystemInit.event and self._init is None:
            step = "init"
        elif error.event == events.SignalProvide.event and self._signals is not None and not self._signals.offered:
            step = "offer"
        if step is not None:
            raise ProtocolViolation(
                f"The server's {error.event} cannot be read: {error.reason}.",
                hint="Is it a Neko v3 server, of a version that this library knows?",
                step=step,
            ) from error

    def _dispatch(self, event: events.ServerEvent) -> None:
        match event:
            case events.SystemInit():
                if event.session_id not in event.sessions:
                    raise ProtocolViolation("The server's system/init does not list this session itself.")
                if self._init is not None and event.session_id != self._init.session_id:
                    raise ProtocolViolation("The server's second system/init names another session.")
                self._init = event
                self._observe(event)
                self._init_received.set()
                return
            case events.SystemDisconnect():
                reason = event.message
                self._ended = lambda: refusal(reason)
                self._observe(event)
                raise refusal(reason)
            case events.SignalVideo() if self._signals is not None:
                self._signals.video.put(event)
            case events.SignalAudio() if self._signals is not None:
                self._signals.audio.count()
            case events.SignalAnswer() if self._signals is not None:
                self._signals.answer = event
            case events.SignalProvide():
                self._deliver_offer(event)
            case events.SignalOffer():
                self._deliver_renegotiation(event)
            case events.SignalRestart():
                # Never asked for (law 1): ICE restart would stop the media for nothing that a new peer cannot do.
                self.counts.unrequested_offers += 1
                logger.warning("ignored a signal/restart that nobody asked for")
            case events.SignalCandidate():
                if self._signals is None:
                    self.counts.stray_candidates += 1
                else:
                    self._signals.put_candidate(event)
            case events.SignalClose() if self._signals is not None and self._signals.offered:
                self._signals.closed.set()
            case events.SignalClose():
                # Of the peer before, on a session that goes on by its token: its end may take the server 0.4 s, and
                # from the next offer on it says no more of it (internal/session/session.go, SetWebRTCConnected).
                logger.info("ignored a signal/close for a peer of before")
            case _:
                pass
        self._observe(event)

    def _deliver_offer(self, offer: events.SignalProvide) -> None:
        if self._signals is None or not self._signals.put_offer(offer):
            self.counts.unrequested_offers += 1
            logger.warning("ignored an offer that nobody asked for")

    def _deliver_renegotiation(self, offer: events.SignalOffer) -> None:
        if self._signals is None:
            self.counts.unrequested_offers += 1
            logger.warning("ignored a signal/offer without a peer")
        elif not self._signals.offered:
            # Before any provide it is the offer, from a server that names no ICE servers.
            self._deliver_offer(
                events.SignalProvide(
                    sdp=offer.sdp,
                    ice_servers=(),
                    video=events.VideoInfo(disabled=False, id="", video="", auto=False),
                    audio=events.AudioInfo(disabled=True),
                )
            )
        elif not self._signals.put_renegotiation(offer):
            self.counts.offers_dropped += 1

    @contextmanager
    def expect_peer(self) -> Iterator[PeerSignals]:
        """Collect what is signalled for one peer. Enter before the request is sent: nothing is missed."""
        signals = PeerSignals()
        self._signals = signals
        try:
            yield signals
        finally:
            if self._signals is signals:
                self._signals = None
            signals.close()

    # -- writing

    async def send(self, request: requests.ClientRequest) -> None:
        """Send one event; return when it is written to the socket. A checkpoint. Raises what ended the link."""
        await self._write([requests.encode(request)])

    async def send_texts(self, texts: list[str]) -> None:
        """Send encoded events in order; return when the last is written. A checkpoint.

        Cancelled, all of them are sent or none. Raises :class:`SessionLost` because of what ended the link: whether
        the session ends with it is not the link's to say.
        """
        try:
            await self._write(texts)
        except SessionLost:
            raise
        except NekoError as error:
            raise SessionLost(
                f"The connection to the server is lost: {error.message}", hint=error.hint, step="link"
            ) from error

    async def _write(self, texts: list[str]) -> None:
        if self._ended is not None:
            raise self._ended()
        try:
            await self._socket.send(*texts)
        except SocketEnded as ended:
            # The reader comes to the same end, behind what the server said last: that is the reason for both.
            await self._read_to_end.wait()  # noqa: ASYNC120 - cancelled, that leaves in its place
            raise (self._ended or _lost)() from ended
        self.counts.messages_sent += len(texts)

    def give_up(self) -> None:
        """It is dead, whatever the socket says: nothing is sent any more."""
        if self._ended is None:
            self._ended = _lost

    async def beat(self, seconds: float) -> None:
        """Send ``client/heartbeat`` every ``seconds``: the server ignores it, proxies that cut idle sockets do not."""
        while True:
            await trio.sleep(seconds)
            await self.send(requests.ClientHeartbeat())

    async def aclose(self) -> None:
        """Say goodbye (1000) and end the socket. Idempotent; bounded by the caller's scope."""
        self._closing = True
        if self._ended is None:
            self._ended = _closed
        await self._socket.aclose(1000)
