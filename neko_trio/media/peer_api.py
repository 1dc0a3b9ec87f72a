"""The seam between the handshake and a peer connection: what ``open_peer`` asks for and what it gets.

Nothing here knows asyncio or aiortc. Two implementations stand behind :class:`Peer`: the real one
(``media.peer``) and ``testing.FakePeer``, which is trio alone.

The order of the calls is the order of the handshake::

    peer created → set_remote_description() → set_local_description() → (answer on the socket) → start_checks()
                 → wait_connected() → … → wait_ended() → aclose()

``add_candidate`` may be called at any time after creation: candidates that come early are kept in order.
All methods are for the trio thread; all callbacks of :class:`PeerSetup` run on the trio thread too, except
``new_number`` and ``frame_context``.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from neko_trio._ports.audio import AudioPort
    from neko_trio._ports.frames import FrameSlot
    from neko_trio._ports.microphone import MicrophoneOptions, SoundQueue
    from neko_trio._timeline import Timeline
    from neko_trio.errors import IceFailed
    from neko_trio.media.audio.statistics import AudioStatistics
    from neko_trio.media.bridge import Lease
    from neko_trio.media.frames import FrameContext
    from neko_trio.media.receiver import VideoStatistics
    from neko_trio.protocol.ice_servers import IceServer


@dataclass(frozen=True, slots=True)
class IceOptions:
    """How the client's ICE agent behaves."""

    relay_only: bool = False
    """Use no path but relays (TURN): the server never learns an address of this machine."""
    take_control: bool = True
    """Nominate ourselves instead of waiting for the server's timers (0.2 s direct, 1 s behind NAT, 2 s over a relay).
    A server that does not resolve the role conflict (RFC 8445 §7.3.1.1) gets its role back, after 0.8 s at most."""
    servers: tuple[IceServer, ...] | None = None
    """ICE servers to use instead of the offer's. For tests: a session uses the offer's and no others."""
    allow_private: bool = True
    """Whether the ICE servers and candidates that the server names may be outside of the public internet: in private,
    loopback or link-local networks. Names are looked at once they are addresses. ``True``, because most Nekos are in
    such a network themselves. With ``False`` a server that is not trusted cannot have this machine send packets into
    the network that it stands in: what is refused is counted in ``candidates_ignored`` and told in
    ``gathering_errors``, and checks from there are not answered. The address that the WebSocket goes to stays allowed,
    and so do ``servers``."""
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    """What verifies the certificates of ``turns:`` and ``stuns:`` servers, for the name in their URL; ``None``: the
    session's ``ssl_context``, else the system's authorities."""


@dataclass(slots=True)
class PeerSetup:
    """All that one peer connection needs from the session and the link it lives on."""

    lease: Lease
    offer_sdp: str = field(repr=False)
    ice_servers: tuple[IceServer, ...]
    """The ICE servers of the offer (``signal/provide``)."""
    ice: IceOptions
    server_address: str | None
    """Peer IP address of the WebSocket; the local address routed to it is offered first. ``None`` when unknown."""
    timeline: Timeline
    slot: FrameSlot
    new_number: Callable[[], int]
    """Next frame number; called on the asyncio thread."""
    frame_context: Callable[[], FrameContext]
    """What is known about the picture that has come; called on the asyncio thread."""
    on_candidate: Callable[[str], None]
    """A local candidate, ``"candidate:…"``, to send as ``signal/candidate``. Only after ``start_checks()``."""
    on_data: Callable[[bytes], None]
    """A message of the data channel, in order."""
    on_keyframe_needed: Callable[[], None]
    """The receiver lost what it cannot repair: toggle the video."""
    audio: AudioPort | None = None
    """Where the sound goes; ``None``: none is received."""
    ice_servers_malformed: int = 0
    """How many servers and URLs of the offer's list were left out because they are malformed."""


@dataclass(frozen=True, slots=True)
class CandidatePair:
    """The path that carries the media."""

    local: str
    """``address:port`` of this side, as seen by this machine (or by the relay)."""
    remote: str
    """``address:port`` of the server."""
    local_type: str
    """``host``, ``srflx``, ``prflx`` or ``relay``."""
    remote_type: str
    protocol: str
    """``udp`` or ``tcp``, between this side (or its relay) and the server."""

    def to_dict(self) -> dict[str, str]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PeerStatistics:
    """A snapshot of one peer connection; totals since it was opened."""

    codec: str | None = None
    """Name of the negotiated video codec, such as ``"VP8"``; ``None`` before the answer or without video."""
    candidate_pair: CandidatePair | None = None
    """The nominated pair, ``None`` before ICE has one."""
    role: str = "controlled"
    """Our ICE role now: ``"controlling"`` or ``"controlled"``."""
    role_given_back: bool = False
    """Whether the server would not give up the controlling role and got it back."""
    checks_received: int = 0
    """STUN binding requests received from the server."""
    packets_received: int = 0
    """Datagrams of DTLS, SRTP and SRTCP received."""
    bytes_received: int = 0
    packets_sent: int = 0
    bytes_sent: int = 0
    data_messages_received: int = 0
    data_messages_sent: int = 0
    data_messages_dropped: int = 0
    """Messages of the data channel received and dropped because trio was too busy to take them (beyond 4096)."""
    events_dropped: int = 0
    """The same for what else the peer tells (beyond 1024): local candidates, keyframes needed."""
    packets_dropped: int = 0
    """Datagrams received and dropped because those before them had not been read (beyond 8192)."""
    packets_unsent: int = 0
    """Datagrams dropped because the TCP connection to the server, or to a relay, did not take them (beyond 1 MiB)."""
    packets_refused: int = 0
    """Packets of SRTP, SRTCP and the data channel dropped as broken or hostile: not authentic, seen before, making no
    sense, or wanting more kept than there is room for."""
    candidates_ignored: int = 0
    """Remote candidates that could not be used: another transport, an unresolvable name, beyond the bound, or refused
    by ``IceOptions.allow_private``."""
    gathering_errors: tuple[str, ...] = ()
    """Why ICE servers or local addresses gave no candidate (at most 16, no credential in them)."""
    video: VideoStatistics | None = None
    """The video receiver's own counters; ``None`` while there is no video track."""
    audio: AudioStatistics | None = None
    """The audio receiver's own counters; ``None`` without ``audio=True``, or while there is no audio track."""


class Peer(Protocol):
    """One offer's peer connection.

    Waits may be cancelled without harm and may be waited on again; a wait on a peer that has been closed raises
    :class:`~neko_trio.errors.SessionClosed`. When the asyncio thread is gone every method but ``statistics`` raises
    :class:`~neko_trio.errors.MediaThreadLost`.
    """

    async def set_remote_description(self) -> None:
        """Apply the offer. Marks ``remote_description_set``.

        Raises :class:`~neko_trio.errors.UnsupportedCodec` for a video codec that cannot be decoded and
        :class:`~neko_trio.errors.ProtocolViolation` for an offer that is none. Cancelled, the peer is only good for
        ``aclose``.
        """
        ...

    async def set_local_description(self) -> str:
        """Create and apply the answer; return its SDP, with the candidates known at once. Marks
        ``local_description_set``.

        Waits for no ICE server, unless there is no other candidate to offer (relay only). Raises
        :class:`~neko_trio.errors.IceFailed` when no candidate at all can be had. Cancelled, the peer is only good for
        ``aclose``.
        """
        ...

    def start_checks(self) -> None:
        """The answer is on the socket: ICE checks begin, and later local candidates go to ``on_candidate``.

        A check that overtakes the answer is lost or makes the server wait a second, hence the extra step. Marks
        ``answer_sent``. Never blocks; again is a no-op.
        """
        ...

    async def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline_index: int | None) -> None:
        """Hand over a remote candidate; ``""`` ends them. Kept until it can be used; unusable ones are counted.

        Raises :class:`~neko_trio.protocol.Malformed` for text that is no candidate.
        """
        ...

    async def wait_connected(self) -> None:
        """Wait until DTLS is up. Marks ``ice_connected`` and ``connected``, as of when it was so.

        Raises :class:`~neko_trio.errors.IceFailed`, which lists the candidates and pairs, when no pair works, and
        :class:`~neko_trio.errors.ProtocolViolation` when DTLS fails.
        """
        ...

    async def wait_ended(self) -> str:
        """Wait until the peer has died by itself or was closed; return why, in words fit for an error's text."""
        ...

    def expect_start(self, earliest: float) -> None:
        """The server is about to send its video anew, from a keyframe on. Never blocks.

        ``earliest``: what it sends can be here at this ``perf_counter`` second at the earliest; what it takes longer
        bounds the latency of its first frame (``Frame.latency``). ``-inf`` where that says nothing, because the
        pipeline runs for others already.
        """
        ...

    @property
    def heard_at(self) -> float:
        """When the server was last heard of over the media connection, in seconds of ``perf_counter``: any datagram
        but the answers of STUN and TURN servers. Cheap, and after the end the last one: whoever asks need not know that
        the peer has gone."""
        ...

    def ask(self) -> None:
        """Ask the server, once, for a sign of life over the media connection: :attr:`heard_at` is then when it came.
        Never blocks; nothing while there is no connection, or after its end."""
        ...

    @property
    def video_packets(self) -> int:
        """``statistics().video.packets_received``, without the rest; 0 without a video track. Any time."""
        ...

    def hold_stream(self, stream: str) -> None:
        """Frames are of this stream until the first one of the next start (:meth:`expect_start`), whatever
        ``frame_context`` says: those that are on their way. Never blocks."""
        ...

    async def wait_packets(self, more_than: int) -> None:
        """Wait until :attr:`video_packets` are more than so many, or until the peer has ended. Returns at once when
        there is no video track."""
        ...

    async def wait_data_channel(self) -> None:
        """Wait until the server's data channel is open. Marks ``data_channel_open``, as of when it was so."""
        ...

    @property
    def data_channel_open(self) -> bool:
        """Whether ``send_data`` may be used now."""
        ...

    async def send_data(self, messages: Sequence[bytes]) -> None:
        """Send the messages on the data channel, in order, in one step. A checkpoint.

        Waits while more than 64 KiB lie unsent, then hands over all of them or, cancelled, none. Raises
        :class:`~neko_trio.errors.InputInDoubt` when the channel is not open or closes while waiting: none was sent.
        """
        ...

    async def renegotiate(self, sdp: str) -> str:
        """Answer a ``signal/offer`` on this peer connection; return the answer's SDP.

        Raises :class:`~neko_trio.errors.ProtocolViolation` when the offer cannot be applied.
        """
        ...

    async def offer_microphone(self, *, on: bool) -> str:
        """An offer of ours on this peer connection, with a track for sound into the desktop, or without it any more.

        Raises :class:`~neko_trio.errors.FeatureOff` when the server's description has no Opus to send.
        """
        ...

    async def start_microphone(self, answer: str, queue: SoundQueue, options: MicrophoneOptions) -> None:
        """The server's answer to an offer with the track has come: send what is in the queue, and comes into it.

        Raises :class:`~neko_trio.errors.FeatureOff` when the answer does not take the track.
        """
        ...

    async def stop_microphone(self) -> None:
        """Send no sound any more. Idempotent. Cancelled, it has stopped all the same."""
        ...

    def statistics(self) -> PeerStatistics:
        """A snapshot. Any time, also after ``aclose``."""
        ...

    def ice_failed(self, reason: str, *, step: str = "ice") -> IceFailed:
        """The error of a connection that did not come up because of ``reason``: with the candidates of both sides, the
        pairs tried, and what to change. Any time, also after ``aclose``."""
        ...

    async def aclose(self) -> None:
        """Close the peer connection and free all it holds: sockets, tasks, the decoder's thread. Idempotent.

        Closing goes on to its end even when this call is cancelled.
        """
        ...
