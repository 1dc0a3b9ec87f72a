"""The ``signal/*`` requests: what a client asks of its peer connection, and its side of the negotiation."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from neko_trio.protocol import message
from neko_trio.protocol.client_request import ClientRequest, UInt16
from neko_trio.protocol.go_json import read_object

__all__ = [
    "AudioRequest",
    "SignalAnswer",
    "SignalAudio",
    "SignalCandidate",
    "SignalOffer",
    "SignalRequest",
    "SignalRestart",
    "SignalVideo",
    "StreamSelector",
    "VideoRequest",
]

SelectorType = Literal["exact", "nearest", "lower", "higher"]


class StreamSelector(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which video stream. ``type`` ``None`` means exact."""

    id: str
    type: SelectorType | None = None


class VideoRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The video wanted. ``None`` leaves the server's default or what is in effect."""

    disabled: bool | None = None
    selector: StreamSelector | None = None
    auto: bool | None = None


class AudioRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """The audio wanted. ``None`` leaves the server's default (on)."""

    disabled: bool | None = None


class SignalRequest(ClientRequest, frozen=True):
    """Ask for a peer connection: the server answers with ``signal/provide``, or not at all."""

    event = "signal/request"
    video: VideoRequest = VideoRequest()
    audio: AudioRequest = AudioRequest()

    @classmethod
    def from_json(cls, value: Any) -> SignalRequest:
        found = read_object(value, cls)
        if "video" in found:
            _normalise_selector(found["video"])
        read: SignalRequest = message.convert_json(found, cls)
        return read


class SignalAnswer(ClientRequest, frozen=True):
    """The answer to an offer."""

    event = "signal/answer"
    sdp: str


class SignalOffer(ClientRequest, frozen=True):
    """An offer of the client, to send media of its own."""

    event = "signal/offer"
    sdp: str


class SignalRestart(ClientRequest, frozen=True):
    """Ask for an ICE restart. Media stop at once."""

    event = "signal/restart"
    has_payload: ClassVar[bool] = False


class SignalCandidate(
    ClientRequest,
    frozen=True,
    omit_defaults=True,
    rename={"sdp_mid": "sdpMid", "sdp_mline_index": "sdpMLineIndex", "username_fragment": "usernameFragment"},
):
    """A candidate of the client, with or without ``candidate:`` in front. Before the answer the server rejects it."""

    event = "signal/candidate"
    candidate: str
    sdp_mid: str | None = None
    sdp_mline_index: UInt16 | None = None
    username_fragment: str | None = None


class SignalVideo(ClientRequest, frozen=True, omit_defaults=True):
    """Pause or resume the video, or switch its stream. No answer when nothing changes."""

    event = "signal/video"
    disabled: bool | None = None
    selector: StreamSelector | None = None
    auto: bool | None = None

    @classmethod
    def from_json(cls, value: Any) -> SignalVideo:
        found = read_object(value, cls)
        _normalise_selector(found)
        read: SignalVideo = message.convert_json(found, cls)
        return read


class SignalAudio(ClientRequest, frozen=True, omit_defaults=True):
    """Pause or resume the audio."""

    event = "signal/audio"
    disabled: bool | None = None


def _normalise_selector(video: dict[str, Any]) -> None:
    """The server reads the selector's type without regard to case, and an empty one as exact."""
    selector = video.get("selector")
    if selector and isinstance(selector.get("type"), str):
        selector["type"] = selector["type"].lower() or "exact"
