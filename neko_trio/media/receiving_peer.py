"""The peer connection on asyncio's side of the wall: aiortc answering one offer, with our ICE agent and receiver.

Everything here runs on the asyncio thread, except what says "any thread". :mod:`neko_trio.media.peer` is its trio side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aioice
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.rtcdtlstransport import RTCDtlsTransport

from neko_trio._ports.microphone import SoundQueue
from neko_trio.errors import InputInDoubt
from neko_trio.media.aiortc_private import be_dtls_server, install_ice, quieten_sctp
from neko_trio.media.audio.decoder import AUDIO_FORMATS
from neko_trio.media.audio.microphone import MicrophoneTrack
from neko_trio.media.audio.receiver import AudioReceiver
from neko_trio.media.audio.sender import SoundSender
from neko_trio.media.closing import close_connection
from neko_trio.media.codec_alias import AliasedOffer, alias_codec
from neko_trio.media.ice import IceAgent
from neko_trio.media.ice_report import IceReport, endpoint, read_report
from neko_trio.media.media_path import MediaPath
from neko_trio.media.peer_api import CandidatePair, PeerSetup, PeerStatistics
from neko_trio.media.receiver import VideoReceiver
from neko_trio.media.sctp_guard import SctpGuard
from neko_trio.protocol.sdp import read_offer, without_candidates

SEND_LIMIT = 64 * 1024
"""Bytes that may lie unsent in the data channel before a sender waits."""
STRAGGLER_LIMIT = 1.0
"""Seconds that aiortc's connecting task has to end after the close."""
HANDSHAKE_LIMIT = 0.5
"""Seconds that a close waits for a DTLS handshake that is under way; it takes two round trips."""


@dataclass(frozen=True, slots=True)
class News:
    """What the peer tells; called on the asyncio thread, none may block. What they return is not used."""

    ice_connected: Callable[[], object]
    connected: Callable[[], object]
    ended: Callable[[str], object]
    """Died by itself; the reason, in words. At most once."""
    candidate: Callable[[str], object]
    data_channel_open: Callable[[], object]
    data: Callable[[bytes], object]
    keyframe_needed: Callable[[], object]


class ReceivingPeer:
    """One answered offer. Methods in the order of the handshake."""

    def __init__(self, setup: PeerSetup, codec: str | None, news: News) -> None:
        self._setup, self._codec, self._news = setup, codec, news
        self.agent = IceAgent(
            on_candidate=self._on_candidate,
            server_address=setup.server_address,
            relay_only=setup.ice.relay_only,
            take_control=setup.ice.take_control,
            allow_private=setup.ice.allow_private,
        )
        self.agent.on_connect = self._watch
        self._connecting: asyncio.Task[object] | None = None
        configuration = RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        self._pc = RTCPeerConnection(configuration)
        self._pc.on("iceconnectionstatechange", self._on_ice_state)
        self._pc.on("connectionstatechange", self._on_state)
        self._pc.on("datachannel", self._on_data_channel)
        self._installed = self._quiet = False
        self._offer = AliasedOffer("", {})
        self._video: VideoReceiver | None = None
        self._audio: AudioReceiver | None = None
        self._audio_mid: str | None = None
        self._microphone = MicrophoneTrack()
        self._channel: RTCDataChannel | None = None
        self._room = asyncio.Event()
        self._connected = self._ended = False
        self._closing: asyncio.Task[None] | None = None
        self._haste = asyncio.Event()
        self._pair: CandidatePair | None = None
        self._report: IceReport | None = None
        self._data_received = self._data_sent = 0
        self._guards: list[MediaPath | SctpGuard] = []  # each drops and counts what makes no sense

    # -- the handshake

    async def set_remote_description(self, sdp: str) -> None:
        """Apply an offer. Its candidates are the caller's to add. Raises what aiortc raises for a bad one."""
        plain = without_candidates(sdp)
        self._offer = alias_codec(plain, self._codec)
        await self._pc.setRemoteDescription(RTCSessionDescription(sdp=self._offer.sdp, type="offer"))
        transceivers: list[RTCRtpTransceiver] = self._pc.getTransceivers()
        for transceiver in transceivers:
            if transceiver.kind == "audio":
                if not self._takes_audio(transceiver, plain):
                    transceiver.direction = "inactive"  # no decoder, no packets
            elif self._video is None and self._codec is not None:
                self._video = self._open_video(self._codec)
                self._video.attach(transceiver.receiver)
        if self._pc.sctp is not None and not self._quiet:
            self._quiet = True
            quieten_sctp(self._pc.sctp)
            self._guards.append(SctpGuard(self._pc.sctp))
        if not self._installed:
            self._installed = True
            transport: RTCDtlsTransport = (
                transceivers[0].receiver.transport if transceivers else self._sctp_transport()
            )  # MAX_BUNDLE: all share one
            self._microphone.transport = transport
            install_ice(transport.transport, self.agent)
            path = MediaPath(transport)
            self._guards.append(path)
            self.agent.on_media = path.take
            be_dtls_server(transport)

    def _sctp_transport(self) -> RTCDtlsTransport:
        if self._pc.sctp is None:
            raise ValueError("the offer has neither media nor a data channel")
        return self._pc.sctp.transport

    def _open_video(self, codec: str) -> VideoReceiver:
        setup = self._setup
        return VideoReceiver(
            codec,
            slot=setup.slot,
            timeline=setup.timeline,
            new_number=setup.new_number,
            frame_context=setup.frame_context,
            on_keyframe_needed=self._news.keyframe_needed,
        )

    def _takes_audio(self, transceiver: RTCRtpTransceiver, sdp: str) -> bool:
        """Whether this transceiver's sound is received: of the first that has a codec we decode, if any is wanted."""
        if self._setup.audio is None:
            return False
        if self._audio is None:
            sound = next((AUDIO_FORMATS[name] for name in read_offer(sdp).audio_codecs if name in AUDIO_FORMATS), None)
            if sound is None:
                return False
            self._audio = AudioReceiver(sound, self._setup.audio, epoch=self._setup.frame_context().epoch)
            self._audio.attach(transceiver.receiver)
            self._audio_mid = transceiver.mid
        return transceiver.mid == self._audio_mid

    async def set_local_description(self) -> str:
        """Create and apply the answer; return its SDP with the candidates there are."""
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        answer: str = self._pc.localDescription.sdp
        # aiortc ends the list of candidates; more may be on their way
        return self._microphone.answered(self._offer.unalias(answer.replace("a=end-of-candidates\r\n", "")))

    async def renegotiate(self, sdp: str) -> str:
        """Answer another offer on the same transports; return the answer's SDP."""
        await self.set_remote_description(sdp)
        return await self.set_local_description()

    # -- sound into the desktop

    def offer_microphone(self, on: bool) -> str:
        """See :meth:`Peer.offer_microphone`."""
        return self._microphone.offer(on=on)

    def start_microphone(self, answer: str, queue: SoundQueue, bitrate: int) -> SoundSender:
        """See :meth:`Peer.start_microphone`."""
        return self._microphone.start(answer, queue, bitrate)

    async def stop_microphone(self) -> None:
        """See :meth:`Peer.stop_microphone`."""
        await self._microphone.stop()

    # -- what aiortc and the agent tell

    def _on_candidate(self, candidate: aioice.Candidate) -> None:
        self._news.candidate(f"candidate:{candidate.to_sdp()}")

    def _on_ice_state(self) -> None:
        if self._pc.iceConnectionState == "completed":
            self._news.ice_connected()
        elif self._pc.iceConnectionState == "failed":
            lost = "the server has not answered ICE consent checks for 30 s"
            self._end(lost if self._connected else self.agent.failure or "ICE failed")

    def _on_state(self) -> None:
        state = self._pc.connectionState
        if state == "connected" and not self._connected:
            self._connected = True
            self._news.connected()
        elif state == "failed":
            self._end("the DTLS handshake failed")
        elif state == "closed":
            self._end(self.agent.failure or "the server closed the DTLS session")

    def _watch(self, task: asyncio.Task[object]) -> None:
        self._connecting = task
        task.add_done_callback(self._on_connecting_done)

    def _on_connecting_done(self, task: asyncio.Task[object]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:  # nobody else would hear of it; closing in the middle of it makes one, too
            self._end(f"connecting failed: {error!r}")

    def _end(self, reason: str) -> None:
        self._room.set()
        if not self._ended and self._closing is None:
            self._ended = True
            self._news.ended(reason)

    def _on_data_channel(self, channel: RTCDataChannel) -> None:
        if self._channel is not None:
            return  # Neko has one; a second would mix up the order of input
        self._channel = channel
        channel.bufferedAmountLowThreshold = SEND_LIMIT
        channel.on("message", self._on_message)
        channel.on("bufferedamountlow", self._room.set)
        channel.on("close", self._room.set)
        self._news.data_channel_open()  # aiortc announces a channel when it is open already

    def _on_message(self, message: bytes | str) -> None:
        self._data_received += 1
        self._news.data(message.encode() if isinstance(message, str) else message)

    # -- the data channel

    @property
    def data_channel_open(self) -> bool:
        """Any thread."""
        return self._channel is not None and self._channel.readyState == "open"

    async def send_data(self, messages: Sequence[bytes]) -> None:
        """Wait for room, then send all: cancelled before, none is sent. Raises :class:`InputInDoubt`: none was sent."""
        while True:
            if self._channel is None or self._channel.readyState != "open":
                raise InputInDoubt("The data channel is not open: nothing of this was sent.")
            if self._channel.bufferedAmount <= SEND_LIMIT:
                break
            self._room.clear()
            await self._room.wait()
        for message in messages:
            self._channel.send(message)
        self._data_sent += len(messages)

    @property
    def heard_at(self) -> float:
        """See :attr:`Peer.heard_at`. Any thread."""
        return self.agent.heard_at

    @property
    def video_packets(self) -> int:
        """Video packets received. Any thread."""
        return self._video.packets_received if self._video is not None else 0

    def hold_stream(self, stream: str) -> None:
        """See :meth:`Peer.hold_stream`."""
        if self._video is not None:
            self._video.hold_stream(stream)

    async def wait_packets(self, more_than: int) -> None:
        """Wait for more video packets than that, or until the end; at once without video. Cancelling is safe."""
        if self._video is not None:
            await self._video.wait_packets(more_than)

    def expect_start(self, earliest: float) -> None:
        """See :meth:`Peer.expect_start`."""
        if self._video is not None:
            self._video.expect_start(earliest)

    # -- the end

    def start_close(self) -> asyncio.Task[None]:
        """Close once, in a task that nothing cancels: aiortc's own ``close`` hangs when it was cancelled before."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return self._closing

    async def wait_close(self) -> None:
        """Close, and wait until that is done. Cancelling ends the wait, and what the close itself waits for."""
        try:
            await asyncio.shield(self.start_close())
        except asyncio.CancelledError:
            self._haste.set()
            raise

    def abandon(self) -> None:
        """The loop is gone, and nothing can be closed any more: tell the decoder's thread to end. Any thread."""
        if self._video is not None:
            self._video.stop()

    async def _close(self) -> None:
        self._room.set()
        self._pair, self._report = self._read_pair(), read_report(self.agent)  # the agent forgets its candidates
        if self._video is not None:
            await self._video.aclose()
        if self._audio is not None:
            await self._audio.aclose()
        await self._microphone.stop()
        if self._connecting is not None and self._in_dtls_handshake:
            # In the middle of it there is no goodbye; a server that gets none keeps the peer, watching, for 5 s.
            haste = asyncio.create_task(self._haste.wait())
            await asyncio.wait({self._connecting, haste}, timeout=HANDSHAKE_LIMIT, return_when=asyncio.FIRST_COMPLETED)
            haste.cancel()
        await close_connection(self._pc)
        await self.agent.close()  # when it was never installed, or aiortc did not come as far
        if self._connecting is not None:  # woken by the close, it has some steps left
            await asyncio.wait({self._connecting}, timeout=STRAGGLER_LIMIT)
            self._connecting.cancel()

    @property
    def _in_dtls_handshake(self) -> bool:
        return self._pc.iceConnectionState == "completed" and not self._connected and not self._ended

    # -- looking

    def statistics(self) -> PeerStatistics:
        """A snapshot; any thread."""
        agent = self.agent
        return PeerStatistics(
            codec=self._codec,
            candidate_pair=self._read_pair() or self._pair,
            role="controlling" if agent.ice_controlling else "controlled",
            role_given_back=agent.role_given_back,
            checks_received=agent.checks_received,
            packets_received=agent.packets_received,
            bytes_received=agent.bytes_received,
            packets_sent=agent.packets_sent,
            bytes_sent=agent.bytes_sent,
            data_messages_received=self._data_received,
            data_messages_sent=self._data_sent,
            packets_dropped=agent.packets_dropped,
            packets_unsent=agent.packets_unsent,
            packets_refused=sum(guard.packets_refused for guard in self._guards),
            candidates_ignored=agent.remotes_ignored,
            gathering_errors=tuple(agent.gathering_errors),
            video=None if self._video is None else self._video.statistics(),
            audio=None if self._audio is None else self._audio.statistics(),
        )

    def _read_pair(self) -> CandidatePair | None:
        pair = self.agent.nominated_pair
        if pair is None:
            return None
        local, remote = pair.local_candidate, pair.remote_candidate
        return CandidatePair(
            endpoint(local.host, local.port),
            endpoint(remote.host, remote.port),
            local.type,
            remote.type,
            protocol=local.transport.lower(),
        )

    def report(self) -> IceReport:
        """What ICE saw, also after the close. Any thread."""
        return self._report or read_report(self.agent)
