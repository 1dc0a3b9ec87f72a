"""The peer connection as the handshake sees it: :class:`~neko_trio.media.peer_api.Peer` over the wall to asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from time import perf_counter

import outcome
import trio
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError

from neko_trio._ports.microphone import MicrophoneOptions, SoundQueue
from neko_trio._services import open_services
from neko_trio.errors import (
    IceFailed,
    MediaThreadLost,
    NekoError,
    ProtocolViolation,
    SessionClosed,
    SessionLost,
)
from neko_trio.media.depayload import FORMATS, require_codec
from neko_trio.media.ice_feed import IceFeed
from neko_trio.media.mailbox import Mailbox
from neko_trio.media.offer_check import check_offer
from neko_trio.media.peer_api import PeerSetup, PeerStatistics
from neko_trio.media.receiving_peer import News, ReceivingPeer
from neko_trio.protocol import Malformed
from neko_trio.protocol.candidates import Candidate, parse_candidate
from neko_trio.protocol.sdp import Offer, read_offer

__all__ = ["PeerConnection", "open_peer_connection"]

CLOSE_LIMIT = 2.0
"""Seconds that leaving waits for the close; it takes milliseconds."""
NEWS_LIMIT = 1024
"""Events that may wait for trio: some dozens in a peer's life."""
DATA_LIMIT = 4096
"""Data-channel messages that may wait for trio, beyond which the newest are dropped."""
_AIORTC_ERRORS = (InternalError, InvalidAccessError, InvalidStateError, OperationError)
# what aiortc's parser raises for text that passed ours; RuntimeError: a StopIteration inside a coroutine
_BAD_SDP = (*_AIORTC_ERRORS, ValueError, LookupError, AttributeError, AssertionError, TypeError, RuntimeError)


@asynccontextmanager
async def open_peer_connection(setup: PeerSetup) -> AsyncIterator[PeerConnection]:
    """Make a peer connection for ``setup``'s offer, and close it at the end. Marks ``peer_created``.

    Raises :class:`~neko_trio.errors.ProtocolViolation` for an offer that is none. What the body raises comes out as it
    is. Leaving closes the connection in any case, and waits for it, shielded, at most 2 s.
    """
    try:
        offer = read_offer(setup.offer_sdp)
    except Malformed as error:
        raise ProtocolViolation(f"The server's offer is malformed: {error}.", step="peer") from error
    peer = PeerConnection(setup, offer)
    body: outcome.Outcome[None] = outcome.Value(None)
    try:
        await peer._open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer._watch_thread)
            peer._begin(nursery)
            try:
                yield peer
            except BaseException as error:  # noqa: BLE001, ASYNC103  # raised again below, by body.unwrap()
                body = outcome.Error(error)  # carried around the nursery, which would put it into a group
            finally:
                # Shielded: a cancellation from outside must not become the nursery's exception, in the body's place.
                nursery.cancel_scope.shield = True
                nursery.cancel_scope.cancel()
        body.unwrap()
    finally:
        with trio.move_on_after(CLOSE_LIMIT, shield=True):
            await peer.aclose()


class PeerConnection:
    """See :class:`~neko_trio.media.peer_api.Peer`; made by :func:`open_peer_connection`."""

    def __init__(self, setup: PeerSetup, offer: Offer) -> None:
        self._setup, self._offer = setup, offer
        self._lease, self._timeline = setup.lease, setup.timeline
        self._news: Mailbox[Callable[[], None]] = Mailbox(lambda call: call(), NEWS_LIMIT)
        self._data: Mailbox[bytes] = Mailbox(setup.on_data, DATA_LIMIT)
        self._remote: ReceivingPeer | None = None
        self._feed: IceFeed
        self._connected, self._data_open, self._ended = trio.Event(), trio.Event(), trio.Event()
        self._is_connected = self._is_data_open = self._closed = False
        self._end: str | None = None
        self._lost: MediaThreadLost | None = None

    # -- making

    async def _open(self) -> None:
        codec = next((name for name in self._offer.video_codecs if name in FORMATS), None)
        self._remote = await self._lease.run(ReceivingPeer, self._setup, codec, self._make_news())
        self._timeline.mark("peer_created")

    def _begin(self, nursery: trio.Nursery) -> None:
        """Hand over what the offer has for the ICE agent."""
        self._feed = IceFeed(self._setup, self._lease, self._peer.agent, nursery)
        self._feed.start()
        for candidate in self._offer.candidates:
            with suppress(Malformed):  # written into the offer by whatever stands between us and pion
                self._accept(parse_candidate(candidate))

    def _make_news(self) -> News:
        def timed(method: Callable[[float], None]) -> Callable[[], object]:
            return lambda: self._news.put(partial(method, perf_counter()))

        return News(
            ice_connected=timed(self._on_ice_connected),
            connected=timed(self._on_connected),
            ended=lambda reason: self._news.put(partial(self._on_ended, reason)),
            candidate=lambda text: self._news.put(partial(self._setup.on_candidate, text)),
            data_channel_open=timed(self._on_data_open),
            data=self._data.put,
            keyframe_needed=lambda: self._news.put(self._setup.on_keyframe_needed),
        )

    async def _watch_thread(self) -> None:
        try:
            await self._lease.wait_lost()
        except MediaThreadLost as error:
            self._lost = error
            self._on_ended(error.message)

    @property
    def _peer(self) -> ReceivingPeer:
        if self._closed:
            raise SessionClosed("The peer connection has been closed.")
        if self._lost is not None:
            raise MediaThreadLost(self._lost.message)
        assert self._remote is not None  # _open() comes first
        return self._remote

    # -- the handshake

    async def set_remote_description(self) -> None:
        """See :meth:`Peer.set_remote_description`."""
        require_codec(self._offer.video_codecs, step="remote_description")
        try:
            check_offer(self._setup.offer_sdp)
            await self._lease.run(self._peer.set_remote_description, self._setup.offer_sdp)
        except Malformed as error:
            raise ProtocolViolation(
                f"The server's offer cannot be used: {error.reason}.", step="remote_description"
            ) from error
        except _BAD_SDP as error:
            raise ProtocolViolation(
                f"The server's offer cannot be applied: {error!r}.", step="remote_description"
            ) from error
        self._timeline.mark("remote_description_set")

    async def set_local_description(self) -> str:
        """See :meth:`Peer.set_local_description`."""
        peer = self._peer
        try:
            answer = await self._lease.run(peer.set_local_description)
        except _BAD_SDP as error:
            raise ProtocolViolation(f"The server's offer cannot be answered: {error!r}.", step="answer") from error
        if not peer.agent.local_candidates:
            raise self.ice_failed("there is no local candidate to offer", step="answer")
        self._timeline.mark("local_description_set")
        return answer

    def start_checks(self) -> None:
        """See :meth:`Peer.start_checks`."""
        self._timeline.mark("answer_sent")
        self._lease.post(self._peer.agent.start_checks)

    async def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline_index: int | None) -> None:
        """See :meth:`Peer.add_candidate`. All media share one transport, so mid and index say nothing here."""
        if candidate == "":
            self._lease.post(self._peer.agent.accept_end)
        else:
            self._accept(parse_candidate(candidate))
        await trio.lowlevel.checkpoint()

    def _accept(self, candidate: Candidate) -> None:
        self._feed.accept(candidate, self._offer.ice_ufrag)

    async def renegotiate(self, sdp: str) -> str:
        """See :meth:`Peer.renegotiate`."""
        try:
            offer = read_offer(sdp)
            if offer.ice_ufrag != self._offer.ice_ufrag:
                raise ProtocolViolation("The server's new offer restarts ICE, which needs a new peer connection.")
            check_offer(sdp)
            answer = await self._lease.run(self._peer.renegotiate, sdp)
        except (Malformed, *_BAD_SDP) as error:
            raise ProtocolViolation(f"The server's new offer cannot be applied: {error!r}.") from error
        for candidate in offer.candidates:
            with suppress(Malformed):
                self._accept(parse_candidate(candidate))
        return answer

    # -- sound into the desktop

    async def offer_microphone(self, *, on: bool) -> str:
        """See :meth:`Peer.offer_microphone`."""
        return await self._lease.run(self._peer.offer_microphone, on)

    async def start_microphone(self, answer: str, queue: SoundQueue, options: MicrophoneOptions) -> None:
        """See :meth:`Peer.start_microphone`."""
        sender = await self._lease.run(self._peer.start_microphone, answer, queue, options.bitrate)
        queue.wake = lambda: self._lease.post(sender.wake)
        queue.wake()  # for what has been written before: in an outage, for the peer before this one

    async def stop_microphone(self) -> None:
        """See :meth:`Peer.stop_microphone`."""
        if not self._closed and self._remote is not None:
            await self._lease.run(self._remote.stop_microphone)

    # -- waiting

    def _on_ice_connected(self, at: float) -> None:
        self._timeline.mark("ice_connected", at)

    def _on_connected(self, at: float) -> None:
        self._timeline.mark("connected", at)
        self._is_connected = True
        self._connected.set()

    def _on_data_open(self, at: float) -> None:
        self._timeline.mark("data_channel_open", at)
        self._is_data_open = True
        self._data_open.set()

    def _on_ended(self, reason: str) -> None:
        if self._end is None:
            self._end = reason
        self._ended.set()
        self._connected.set()
        self._data_open.set()

    async def wait_connected(self) -> None:
        """See :meth:`Peer.wait_connected`."""
        await self._connected.wait()
        if not self._is_connected:
            raise self._why_ended("ice")

    async def wait_ended(self) -> str:
        """See :meth:`Peer.wait_ended`."""
        await self._ended.wait()
        return self._end or "it ended"

    async def wait_data_channel(self) -> None:
        """See :meth:`Peer.wait_data_channel`. Raises what ended the peer when it ended first."""
        await self._data_open.wait()
        if not self._is_data_open:
            raise self._why_ended("running")

    def expect_start(self, earliest: float) -> None:
        """See :meth:`Peer.expect_start`."""
        self._lease.post(self._peer.expect_start, earliest)

    @property
    def heard_at(self) -> float:
        """See :attr:`Peer.heard_at`."""
        assert self._remote is not None
        return self._remote.heard_at

    def ask(self) -> None:
        """See :meth:`Peer.ask`."""
        assert self._remote is not None
        self._lease.post(self._remote.agent.ask)

    @property
    def video_packets(self) -> int:
        """See :attr:`Peer.video_packets`."""
        assert self._remote is not None
        return self._remote.video_packets

    def hold_stream(self, stream: str) -> None:
        """See :meth:`Peer.hold_stream`."""
        self._lease.post(self._peer.hold_stream, stream)

    async def wait_packets(self, more_than: int) -> None:
        """See :meth:`Peer.wait_packets`."""
        async with open_services() as services:
            with trio.CancelScope() as scope:
                services.start_soon(self._cancel_at_end, scope)
                await self._lease.run(self._peer.wait_packets, more_than)

    async def _cancel_at_end(self, scope: trio.CancelScope) -> None:
        await self._ended.wait()
        scope.cancel(reason="the peer has ended")

    def _why_ended(self, step: str) -> NekoError:
        reason = self._end or "it ended"
        if self._closed:
            return SessionClosed("The peer connection has been closed.")
        if self._lost is not None:
            return MediaThreadLost(self._lost.message)
        if self._is_connected:
            return SessionLost(f"The peer connection ended: {reason}.", step=step)
        if "ice_connected" in self._timeline:
            return ProtocolViolation(f"The media connection failed: {reason}.", step=step)
        return self.ice_failed(reason, step=step)

    def ice_failed(self, reason: str, *, step: str = "ice") -> IceFailed:
        """See :meth:`Peer.ice_failed`."""
        assert self._remote is not None
        return self._remote.report().error(reason, step=step)

    # -- the data channel

    @property
    def data_channel_open(self) -> bool:
        """See :attr:`Peer.data_channel_open`."""
        return self._end is None and self._remote is not None and self._remote.data_channel_open

    async def send_data(self, messages: Sequence[bytes]) -> None:
        """See :meth:`Peer.send_data`."""
        await self._lease.run(self._peer.send_data, tuple(messages))

    # -- the end

    def statistics(self) -> PeerStatistics:
        """See :meth:`Peer.statistics`."""
        counted = PeerStatistics() if self._remote is None else self._remote.statistics()
        return replace(counted, data_messages_dropped=self._data.dropped_total, events_dropped=self._news.dropped_total)

    async def aclose(self) -> None:
        """See :meth:`Peer.aclose`."""
        if not self._closed:
            self._closed = True
            self._on_ended("the peer connection was closed")
        self._news.close()
        self._data.close()
        if self._remote is not None and self._lost is None:
            self._lease.post(self._remote.start_close)  # also when this call is cancelled already
            try:
                await self._lease.run(self._remote.wait_close)
            except MediaThreadLost as error:
                self._lost = error
        else:
            await trio.lowlevel.checkpoint()
        if self._remote is not None and self._lost is not None:
            self._remote.abandon()
