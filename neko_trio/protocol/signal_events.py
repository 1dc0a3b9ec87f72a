"""The ``signal/*`` events of the server: what sets up and steers a peer connection."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from neko_trio.protocol import message
from neko_trio.protocol.ice_servers import IceServer, read_ice_servers
from neko_trio.protocol.message import ServerEvent
from neko_trio.protocol.values import AudioInfo, VideoInfo

__all__ = [
    "SignalAnswer",
    "SignalAudio",
    "SignalCandidate",
    "SignalClose",
    "SignalOffer",
    "SignalProvide",
    "SignalRestart",
    "SignalVideo",
]


class _Provide(msgspec.Struct, frozen=True):
    sdp: str
    video: VideoInfo = VideoInfo()
    audio: AudioInfo = AudioInfo()


class SignalProvide(ServerEvent, frozen=True):
    """The offer of a new peer connection, with the only ICE servers to use for it."""

    event = "signal/provide"
    sdp: str
    ice_servers: tuple[IceServer, ...] = ()
    video: VideoInfo = VideoInfo()
    audio: AudioInfo = AudioInfo()
    skipped_ice_servers: int = 0
    """Entries and URLs of the server's list left out because they are malformed; not on the wire."""

    @classmethod
    def from_payload(cls, payload: msgspec.Raw) -> SignalProvide:
        raw: dict[str, Any] = message.decode_json(dict[str, Any], payload)
        servers, skipped = read_ice_servers(raw)
        known: _Provide = message.convert_json(raw, _Provide)
        return cls(known.sdp, servers, known.video, known.audio, skipped)

    def to_payload(self) -> object:
        return {"sdp": self.sdp, "iceservers": self.ice_servers, "video": self.video, "audio": self.audio}


class SignalOffer(ServerEvent, frozen=True):
    """Renegotiation on the same peer connection."""

    event = "signal/offer"
    sdp: str


class SignalAnswer(ServerEvent, frozen=True):
    """The answer to a client's ``signal/offer``."""

    event = "signal/answer"
    sdp: str


class SignalRestart(ServerEvent, frozen=True):
    """An offer with an ICE restart, the answer to a client's ``signal/restart``."""

    event = "signal/restart"
    sdp: str


class SignalCandidate(
    ServerEvent,
    frozen=True,
    rename={"sdp_mid": "sdpMid", "sdp_mline_index": "sdpMLineIndex", "username_fragment": "usernameFragment"},
):
    """A candidate of the server, as W3C ``RTCIceCandidate.toJSON()`` has it; may precede the offer. Empty: no more."""

    event = "signal/candidate"
    candidate: str
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None
    username_fragment: str | None = None


class SignalVideo(ServerEvent, frozen=True):
    """The effective video after a change, as of when this was sent."""

    event = "signal/video"
    disabled: bool = False
    id: str = ""
    video: str = ""
    auto: bool = False


class SignalAudio(ServerEvent, frozen=True):
    """The effective audio after a change."""

    event = "signal/audio"
    disabled: bool = False


class SignalClose(ServerEvent, frozen=True):
    """The peer connection is gone. Not sent for a peer that a new ``signal/request`` replaced."""

    event = "signal/close"
    has_payload: ClassVar[bool] = False

    def to_payload(self) -> object:
        return None  # the server sends null here
