"""The handshake: two straight functions on one page. Each step has its moment on the timeline; the peer marks its own.

``open_link``: dial → WebSocket open → ``system/init``.
``open_peer``: ``signal/request`` at once → wait for *the* offer, once → peer connection made **from** the offer, with
**only** the offer's ICE servers → remote description → answer → local description → send it → connected → video on.

Nothing here polls, sleeps in hope or tries again; one deadline, the session's, stands over all of it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from neko_trio._link import Link, Socket
from neko_trio._peer_audio import PeerAudio
from neko_trio._peer_tasks import PeerTasks
from neko_trio._peer_video import PeerVideo
from neko_trio._ports.budget import Budget
from neko_trio._round_trip import RoundTrip
from neko_trio._services import open_services, together
from neko_trio._signals import PeerSignals
from neko_trio._timeline import Timeline
from neko_trio._watch import Watch
from neko_trio.errors import IceFailed, NekoError, ProtocolViolation
from neko_trio.protocol import Malformed, events, requests, sdp

if TYPE_CHECKING:
    from neko_trio._ports.audio import AudioPort
    from neko_trio._ports.frames import FrameSlot
    from neko_trio._video_switch import VideoSwitch
    from neko_trio.media.bridge import Lease
    from neko_trio.media.frames import FrameContext
    from neko_trio.media.peer_api import IceOptions, Peer, PeerSetup

logger = logging.getLogger("neko_trio.handshake")

Dial = Callable[[], AbstractAsyncContextManager[Socket]]
LATE_OFFER = 1.5
"""Seconds from the request for which the offer of a connect that was given up is waited for, to answer it."""
OFFER_SHARE = 0.75
"""Of what is left of the budget: unanswered, the offer would stay at the server."""

OpenPeerConnection = Callable[["PeerSetup"], AbstractAsyncContextManager["Peer"]]


@dataclass(slots=True)
class Attempt:
    """Where a connection attempt stands: its errors say so."""

    timeline: Timeline
    budget: Budget
    step: str = "login"
    closing: bool = False
    """The session ends, and the link with its peer."""
    ice_failed: Callable[[str], IceFailed] | None = None
    """The peer's own account of why it did not connect, once there is a peer."""

    def renew(self) -> None:
        """Another one begins in its place. Not while the session closes: its goodbye has one budget."""
        self.timeline, self.step, self.ice_failed = Timeline(), "login", None
        self.budget.renew()


@dataclass(frozen=True, slots=True)
class MediaPorts:
    """What the session lends to each peer."""

    lease: Lease
    slot: FrameSlot
    video: VideoSwitch
    new_number: Callable[[], int]
    frame_context: Callable[[], FrameContext]
    on_data: Callable[[bytes], None]
    round_trip: RoundTrip
    watch: Watch
    audio: AudioPort | None = None
    """``None``: no sound is wanted."""
    on_lost: Callable[[], None] = lambda: None
    """Called when the peer is lost, before its goodbye."""


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """What the caller asked of the peer."""

    ice: IceOptions
    silence_limit: float = math.inf
    """Seconds from the answer on in which something of the server's media must have come."""


@asynccontextmanager
async def open_link(
    dial: Dial,
    attempt: Attempt,
    observe: Callable[[events.ServerEvent], None],
    on_lost: Callable[[], None] = lambda: None,
) -> AsyncIterator[tuple[Link, events.SystemInit]]:
    """Connect the WebSocket, start its reader, and wait for ``system/init``.

    ``on_lost`` is called when the link is lost, before the body can have seen anything of it.
    """
    attempt.step = "dial"
    attempt.timeline.mark("dial")
    async with dial() as socket:
        attempt.timeline.mark("websocket_open")
        attempt.step = "init"
        opening = attempt.timeline.between("dial", "websocket_open")
        link = Link(socket, observe, opening_seconds=opening)
        async with open_services(on_failure=on_lost) as services:
            services.start_soon(link.read)
            try:
                init = await link.wait_init()
                attempt.timeline.mark("init_received")
                if init.settings.heartbeat_interval > 0:
                    services.start_soon(link.beat, init.settings.heartbeat_interval)
                yield link, init
            finally:
                services.settle()
                with attempt.budget.shield():
                    await link.aclose()


@asynccontextmanager
async def open_peer(
    link: Link, open_connection: OpenPeerConnection, attempt: Attempt, ports: MediaPorts, options: PeerOptions
) -> AsyncIterator[tuple[Peer, PeerTasks]]:
    """Ask for an offer, make the one peer connection it is for, and yield it connected, with the video switched on."""
    timeline = attempt.timeline
    with link.expect_peer() as signals:
        attempt.step = "request"
        # Disabled, because the keyframe that a watcher brings would be sent, and lost, before there is a transport.
        selector = requests.StreamSelector(id=ports.video.stream) if ports.video.stream else None
        request = requests.SignalRequest(
            video=requests.VideoRequest(disabled=True, selector=selector), audio=requests.AudioRequest(disabled=True)
        )
        provide: events.SignalProvide | None = None
        # Behind this it is sent: nothing is waited for that nobody was asked for.
        await trio.lowlevel.checkpoint_if_cancelled()
        answer_owed, asked_at = True, trio.current_time()
        try:
            await link.send(request)
            timeline.mark("request_sent")

            attempt.step = "offer"
            provide = await signals.take_offer()
            timeline.mark("offer_received")
            check_codecs(provide)

            attempt.step = "peer"
            tasks = PeerTasks(link, signals, timeline)
            signals.video.stream = provide.video.id
            video = PeerVideo(ports.video, link, signals.video, timeline, peer=lambda: tasks.peer)
            setup = _setup(provide, link, ports, options, timeline, tasks, video.keyframe_needed)
            async with open_connection(setup) as peer, open_services(on_failure=ports.on_lost) as services:
                tasks.peer = peer
                attempt.ice_failed = peer.ice_failed
                services.start_soon(tasks.watch_server)
                attempt.step = "remote_description"
                await peer.set_remote_description()
                services.start_soon(tasks.feed_candidates)

                attempt.step = "answer"
                answer = await peer.set_local_description()
                await link.send(requests.SignalAnswer(sdp=answer))
                answer_owed = False
                peer.start_checks()
                services.start_soon(tasks.send_local_candidates)
                services.start_soon(tasks.answer_renegotiations)

                attempt.step = "ice"
                if options.silence_limit < math.inf:
                    services.start_soon(ports.watch.watch_checks, peer, options.silence_limit)
                await peer.wait_connected()

                attempt.step = "video"
                sound = PeerAudio(ports.audio, link, signals.audio) if ports.audio is not None else None
                try:
                    await video.begin()
                    services.start_soon(tasks.watch_peer)
                    services.start_soon(video.run)
                    services.start_soon(ports.round_trip.measure, peer)
                    services.start_soon(ports.watch.watch_media, peer)
                    if sound is not None:
                        services.start_soon(sound.run)
                    attempt.step = "running"
                    yield peer, tasks
                finally:
                    services.settle()
                    with attempt.budget.shield():
                        ends = [video.end] if sound is None else [video.end, sound.end]
                        await together(*ends)  # noqa: ASYNC102 - the budget is a shield
                        # Side by side when the whole session goes; a peer may also go alone.
                        closes = [peer.aclose, link.aclose] if attempt.closing else [peer.aclose]
                        await together(*closes)  # noqa: ASYNC102 - the budget is a shield
        except BaseException:  # cancelled, too: the offer is owed an answer
            if answer_owed and link.alive:
                if provide is None:
                    provide = await _late_offer(signals, attempt.budget, asked_at + LATE_OFFER)  # noqa: ASYNC102 - shielded inside
                if provide is not None:
                    with attempt.budget.shield(ours=True):
                        await _answer_anyway(provide, link, signals, open_connection, ports, options)  # noqa: ASYNC102 - the budget is a shield
            raise


def check_codecs(provide: events.SignalProvide) -> None:
    """Refuse an offer without a video codec that can be decoded, before anything is made from it.

    Raises :class:`~neko_trio.errors.UnsupportedCodec`, or :class:`~neko_trio.errors.ProtocolViolation` for what is no
    SDP. What else aiortc could not take is refused by the peer (:mod:`neko_trio.media.offer_check`).
    """
    from neko_trio.media.depayload import require_codec

    try:
        offer = sdp.read_offer(provide.sdp)
    except Malformed as error:
        raise ProtocolViolation(f"The server's offer is no SDP that can be read: {error}.", step="offer") from error
    require_codec(offer.video_codecs, step="offer")


def _setup(
    provide: events.SignalProvide,
    link: Link,
    ports: MediaPorts,
    options: PeerOptions,
    timeline: Timeline,
    tasks: PeerTasks,
    on_keyframe_needed: Callable[[], None] = lambda: None,
) -> PeerSetup:
    from neko_trio.media.peer_api import PeerSetup

    address = link.remote_address
    return PeerSetup(
        lease=ports.lease,
        offer_sdp=provide.sdp,
        ice_servers=provide.ice_servers,
        ice=options.ice,
        server_address=address[0] if address else None,
        ice_servers_malformed=provide.skipped_ice_servers,
        timeline=timeline,
        slot=ports.slot,
        new_number=ports.new_number,
        frame_context=ports.frame_context,
        on_candidate=tasks.local_candidate,
        on_data=ports.on_data,
        on_keyframe_needed=on_keyframe_needed,
        audio=ports.audio,
    )


async def _late_offer(signals: PeerSignals, budget: Budget, deadline: float) -> events.SignalProvide | None:
    """The offer that was asked for, if it comes in time."""
    with budget.shield(OFFER_SHARE), trio.CancelScope() as scope:
        if not signals.offered:
            scope.deadline = deadline
        try:
            return await signals.take_offer()
        except NekoError as error:
            logger.info("no offer will come any more: %s", error)
    return None


async def _answer_anyway(
    provide: events.SignalProvide,
    link: Link,
    signals: PeerSignals,
    open_connection: OpenPeerConnection,
    ports: MediaPorts,
    options: PeerOptions,
) -> None:
    """Answer the offer that nobody wants any more: answered, the server drops it in 10 s; unanswered, never.

    Not by a logout either: that forgets a peer which is not watching (server internal/session/manager.go, Delete), and
    its sockets and goroutines with it (seen). What fails here fails quietly: a better error, or a cancellation, is on
    its way out.
    """
    timeline = Timeline()
    try:
        tasks = PeerTasks(link, signals, timeline)
        async with open_connection(_setup(provide, link, ports, options, timeline, tasks)) as peer:
            await peer.set_remote_description()
            await link.send(requests.SignalAnswer(sdp=await peer.set_local_description()))
    except NekoError as error:
        logger.info("an unanswered offer stays at the server: %s", error)
