"""One peer connection of the simulator, as the real server's (pion): it offers, trickles, sends, ends by itself.

Built from aiortc's DTLS and SCTP over an ICE agent of our own (`_ice`), with session descriptions of our own (`_sdp`):
the real server's offer cannot be had from ``RTCPeerConnection``, which codes, decodes and chooses by itself.
Everything here runs in the simulator's asyncio thread.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpCapabilities, RTCSctpTransport
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters

from neko_trio.media.aiortc_private import be_dtls_client, be_dtls_server, stop_dtls
from neko_trio.simulator._faults_media import PacketFault
from neko_trio.simulator._ice import Network, ServerAgent
from neko_trio.simulator._ice_path import IcePath, candidate_texts
from neko_trio.simulator._ice_tcp import TcpMux
from neko_trio.simulator._media_listener import MediaListener
from neko_trio.simulator._media_sender import MediaSender
from neko_trio.simulator._microphone import Microphone
from neko_trio.simulator._sdp import Description, RemoteDescription, read_description

__all__ = ["OfferingPeer", "PeerEvents", "PeerLimits"]

logger = logging.getLogger("neko_trio.simulator")


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """How long the server is patient, in seconds (neko-protocol.md §3.7)."""

    connect: float = 10.0
    """From the answer, or from an offer with ICE restart, to the connection."""
    silence: float = 5.0
    """Without a packet from the client."""


class PeerEvents(Protocol):
    """What a peer tells, in the asyncio thread; see `_media_api.PeerCallbacks`."""

    def offer(self, sdp: str) -> None: ...
    def candidate(self, text: str) -> None: ...
    def connected(self) -> None: ...
    def data_channel_open(self) -> None: ...
    def data(self, message: bytes) -> None: ...
    def closed(self, reason: str) -> None: ...
    def may_speak(self) -> str | None: ...


class OfferingPeer:
    """Made by `open`; ended by `aclose`, by the client or by the limits."""

    def __init__(
        self,
        *,
        codec: str,
        network: Network,
        mux: TcpMux | None,
        microphone: Microphone,
        limits: PeerLimits,
        events: PeerEvents,
        forget: Callable[[OfferingPeer], object],
    ) -> None:
        self._codec, self._lite, self._limits, self._events = codec, network.lite, limits, events
        self._forget = forget
        keep_alive = min(2.0, limits.silence / 2.5)
        self._path = IcePath(network, mux, keep_alive=keep_alive, on_candidate=events.candidate)
        self._dtls = self._path.dtls()
        self.sender = MediaSender(self._dtls, codec)
        """What it sends, and how much."""
        self._listener = MediaListener(self._dtls, microphone, events.may_speak)
        self._stuck = False
        self._sctp = RTCSctpTransport(self._dtls)
        self._channel: RTCDataChannel | None = None
        self._session = secrets.randbits(62)
        self._version = int(time.time())
        self._remote: RemoteDescription | None = None
        self._remote_sdp = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting: asyncio.TimerHandle | None = None
        self._listening: asyncio.TimerHandle | None = None
        self._ended = False
        self._closing: asyncio.Task[None] | None = None

    # descriptions

    async def open(self) -> None:
        """Gather, and tell the first candidates, the offer, and one candidate more. ``OSError`` when no address
        can be bound."""
        await self._path.open()
        self._events.offer(self._description(self._path.agent).offer())
        await self._path.open_reflexive()

    def _description(self, agent: ServerAgent) -> Description:
        fingerprints = self._dtls.getLocalParameters().fingerprints
        return Description(
            session=self._session,
            version=self._version,
            codec=self._codec,
            audio_ssrc=self.sender.audio.ssrc,
            video_ssrc=self.sender.video.ssrc,
            fingerprint=next(each.value for each in fingerprints if each.algorithm == "sha-256"),
            ufrag=agent.local_username,
            password=agent.local_password,
            lite=self._lite,
        )

    async def create_offer(self, ice_restart: bool) -> str:
        """An offer more; with ``ice_restart`` media stop and a new agent waits for the answer, not for ever."""
        self._version += 1
        agent, texts = self._path.agent, list[str]()
        if ice_restart:
            agent, candidates = await self._path.restart()
            texts = candidate_texts(candidates, agent)
            self.sender.halt()
            self._limit_connecting()
        offer = self._description(agent)
        return offer.offer(after=self._remote_sdp if self._remote else None, candidates=texts)

    async def answer(self, sdp: str) -> None:
        """The client's answer. ``ValueError`` for what is none."""
        remote = read_description(sdp)
        remote.check_video(self._codec)
        first = self._remote is None
        self._remote, self._remote_sdp = remote, sdp
        self.sender.video_taken, self.sender.audio_taken = remote.takes("video"), remote.takes("audio")
        agent, restarted = self._path.newest, self._path.restarted
        if first or restarted is not None:
            agent.remote_username, agent.remote_password = remote.ufrag, remote.password
        for candidate in remote.candidates:
            self._path.add_remote(candidate)
        if first:
            self._limit_connecting()
            self._start(self._connect(remote))
        elif restarted is not None:
            self._start(self._reconnect(restarted))

    async def client_offer(self, sdp: str) -> str:
        """The client's own offer; returns our answer. ``ValueError`` for what is none; after one whose tracks cannot
        be told apart no other is taken, because pion is half-way through that one for good (seen)."""
        remote = read_description(sdp)
        if self._stuck:
            raise ValueError("invalid proposed signaling state transition")
        self._stuck = True
        remote.check_tracks()
        self._stuck = False
        self._version += 1
        speaks = remote.microphone
        self._listener.expect(speaks.ssrcs[0] if speaks else None, speaks.payload_type if speaks else 0)
        agent = self._path.agent
        candidates = candidate_texts(self._path.told, agent)
        return self._description(agent).answer(remote, sdp, candidates=candidates)

    async def add_candidate(self, candidate: str) -> None:
        """One candidate of the client. ``ValueError`` for what is none; "" is the end of candidates."""
        text = candidate.strip().removeprefix("a=").removeprefix("candidate:")
        if text:
            self._path.add_remote(text)

    def _acts_as_server(self) -> bool:
        return self._remote is None or self._remote.setup != "passive"

    # the connection

    async def _connect(self, remote: RemoteDescription) -> None:
        try:
            await self._path.agent.connect()
        except ConnectionError:
            return  # closed meanwhile
        (be_dtls_server if self._acts_as_server() else be_dtls_client)(self._dtls)
        self._dtls.on("statechange", self._dtls_changed)
        fingerprints = [RTCDtlsFingerprint(algorithm, value) for algorithm, value in remote.fingerprints]
        await self._dtls.start(RTCDtlsParameters(fingerprints=fingerprints))
        if self._dtls.state != "connected":
            return  # said by _dtls_changed
        self._cancel_limit()
        self._listen()
        self.sender.begin()
        self._events.connected()
        self._start(self.sender.send_video())
        self._start(self.sender.send_reports())
        self._start(self.sender.send_audio())
        self._start(self._listener.report())
        if remote.sctp_port is not None:
            self._open_channel()
            await self._sctp.start(RTCSctpCapabilities(maxMessageSize=remote.max_message_size), remote.sctp_port)

    async def _reconnect(self, agent: ServerAgent) -> None:
        try:
            await agent.connect()
        except ConnectionError:
            return  # closed meanwhile
        await self._path.exchange(agent)
        self._cancel_limit()
        self.sender.go_on()

    def _dtls_changed(self) -> None:
        if self._dtls.state == "failed":
            self.end("DTLS failed")
        elif self._dtls.state == "closed":
            self.end("closed by the client")

    def _limit_connecting(self) -> None:
        self._cancel_limit()
        loop = asyncio.get_running_loop()
        self._connecting = loop.call_later(self._limits.connect, self.end, "not connected in time")

    def _cancel_limit(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None

    def _listen(self) -> None:
        """Look again when silence would have lasted too long, as far as is known now."""
        loop = asyncio.get_running_loop()
        if (due := self._path.agent.last_heard + self._limits.silence) <= loop.time():
            self.end("nothing heard of the client")
        else:
            self._listening = loop.call_at(due, self._listen)

    # data

    def _open_channel(self) -> None:
        channel = self._channel = RTCDataChannel(self._sctp, RTCDataChannelParameters(label="data"))
        channel.on("open", self._events.data_channel_open)
        channel.on("message", self._on_message)

    def _on_message(self, message: bytes | str) -> None:
        if isinstance(message, bytes):  # text is ignored, as the real server does
            self._events.data(message)

    def send_data(self, message: bytes) -> None:
        """On the data channel; dropped when that is not open."""
        if self._channel is not None and self._channel.readyState == "open":
            self._channel.send(message)

    def set_silent(self, silent: bool) -> None:
        """Cut off from the network, or joined to it again."""
        self._path.set_silent(silent)

    def set_path(self, faults: tuple[PacketFault, ...]) -> None:
        """What becomes of datagrams."""
        self._path.set_faults(faults)

    # the end

    def end(self, reason: str) -> None:
        """The peer ends by itself; tells why, once."""
        if not self._ended:
            self._ended = True
            self.sender.end()
            self._listener.stop()
            self._events.closed(reason)
            self._close_soon()

    async def aclose(self) -> None:
        """Close the connection; the client gets a DTLS close. Cancelling only ends the wait."""
        self._ended = True
        self.sender.end()
        self._listener.stop()
        await asyncio.shield(self._close_soon())

    def _close_soon(self) -> asyncio.Task[None]:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return self._closing

    async def _close(self) -> None:
        self._cancel_limit()
        if self._listening is not None:
            self._listening.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._dtls.remove_all_listeners()
        await self._sctp.stop()
        await stop_dtls(self._dtls)
        await self._path.aclose()
        self._forget(self)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a peer of the simulator failed", exc_info=error)
            self.end(f"failed: {type(error).__name__}")
