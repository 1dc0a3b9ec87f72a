"""The seam between the simulator's front door (trio: REST, WebSocket, the room) and its media.

The front knows only what stands here.  Every method is called on the trio thread and every callback is called there,
in the order in which its causes happened; a callback never blocks and never raises.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from neko_trio.simulator._faults_media import PacketFault

__all__ = ["LocalCandidate", "MediaPeer", "MediaServer", "PeerCallbacks", "ServerPeerStatistics"]


@dataclass(frozen=True, slots=True)
class LocalCandidate:
    """One ICE candidate of the server's side, as `RTCIceCandidate.toJSON()` spells it (W3C WebRTC §4.8.1.3)."""

    candidate: str
    """The text with its `candidate:` prefix; "" is the end of candidates."""
    sdp_mid: str | None
    sdp_mline_index: int | None
    username_fragment: str | None = None


def _ignore() -> None:
    return None


@dataclass(frozen=True, slots=True)
class PeerCallbacks:
    """What a peer tells the front, always on the trio thread; none is called after `on_closed`."""

    on_offer: Callable[[str], None]
    """The SDP offer of a new peer.  Once; candidates may come before it, as they do from the real server."""
    on_candidate: Callable[[LocalCandidate], None]
    on_connected: Callable[[], None]
    """DTLS is up (pion's `PeerConnectionStateConnected`)."""
    on_closed: Callable[[str], None]
    """The peer ended by itself, with the reason: the client closed it, its packets stopped, it never connected.
    Exactly once, and not for `aclose()`."""
    on_data: Callable[[bytes], None]
    """One binary data-channel message of the client."""
    on_data_channel_open: Callable[[], None] = _ignore
    may_speak: Callable[[], str | None] = _ignore
    """The session's id if its member may share media now, else `None`.  Asked in any thread, when a track begins."""


@dataclass(frozen=True, slots=True)
class ServerPeerStatistics:
    """What the sender has done so far for one peer."""

    packets_sent: int = 0
    frames_sent: int = 0
    keyframes_sent: int = 0
    nacks_received: int = 0
    packets_resent: int = 0


class MediaPeer(Protocol):
    """One offering peer connection.  It outlives the WebSocket that asked for it."""

    async def answer(self, sdp: str) -> None:
        """The client's answer to our offer.  Raises `ValueError` for what is no answer; the peer stays as it was."""

    async def create_offer(self, *, ice_restart: bool = False) -> str:
        """A new offer on this peer connection: renegotiation, or (`ice_restart`) the answer to `signal/restart`:
        new ICE credentials; media stop at once and, if nobody answers, the peer closes after the connect limit."""

    async def client_offer(self, sdp: str) -> str:
        """The client's own offer on this peer connection; returns our answer's SDP.  Raises `ValueError`."""

    async def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline_index: int | None) -> None:
        """One candidate of the client, prefix optional.  Raises `ValueError` for what is none."""

    async def set_video(self, *, disabled: bool | None = None, stream: str | None = None) -> None:
        """Remove or add this peer as a watcher, switch its stream; `None` leaves as it is.
        Returns when it has taken effect (the real server's answer and its stop are immediate)."""

    async def set_audio(self, *, disabled: bool) -> None: ...

    def set_paused(self, paused: bool) -> None:
        """Private mode: the streams stop, the watcher stays (server: `WebRTCPeer.SetPaused`)."""

    def set_silent(self, silent: bool) -> None:
        """A fault: from now on not one UDP packet leaves and those that come are not read."""

    def set_path(self, faults: tuple["PacketFault", ...]) -> None:
        """Faults: what becomes of datagrams from now on, in this order on their way out."""

    def send_data(self, message: bytes) -> None:
        """On the data channel; dropped when that is not open."""

    def statistics(self) -> ServerPeerStatistics: ...

    async def aclose(self) -> None:
        """Closes the peer connection (DTLS close reaches the client).  Idempotent; safe to cancel: it goes on."""


class MediaServer(Protocol):
    """One per simulator."""

    @property
    def streams(self) -> Sequence[str]:
        """The ids of the video pipelines, best first (`system/init` `webrtc.videos`)."""

    async def new_peer(
        self, callbacks: PeerCallbacks, *, video_disabled: bool, stream: str, audio_disabled: bool
    ) -> MediaPeer:
        """A new peer connection that gathers at once; `stream` is one of `streams`.  A watcher is added here unless
        `video_disabled`: the pipeline starts now, before DTLS is up."""

    async def resize(self, size: tuple[int, int], rate: int) -> None:
        """The screen has a new size (pixels) and rate (Hz); running streams continue with a keyframe of that size."""
