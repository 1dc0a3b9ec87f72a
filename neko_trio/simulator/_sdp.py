"""The simulator's session descriptions: offers word by word like the real server's, answers read as it reads them.

The wording is that of the recorded offers (pion 4.2, neko-protocol.md §3.4): audio, one video codec without RTX, the
data channel, all bundled; credentials and fingerprint of one transport.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aiortc.sdp

__all__ = ["PAYLOAD_TYPES", "Description", "RemoteDescription", "RemoteMedia", "read_description"]

PAYLOAD_TYPES = {"vp8": 96, "vp9": 98, "h264": 102, "av1": 96}
AUDIO_PAYLOAD_TYPE = 111

_VIDEO = {
    "vp8": ("VP8/90000", None),
    "vp9": ("VP9/90000", "profile-id=0"),
    "av1": ("AV1/90000", None),
    "h264": ("H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
}
_OPTIONAL = ("a=fmtp:", "a=rtcp-fb:", "a=extmap")
"""What only both sides together have."""
_EXTENSIONS = (
    "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid",
    "a=extmap:2 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
)
_CONGESTION = "a=extmap:4 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"


@dataclass(frozen=True, slots=True)
class Description:
    """What our side says of itself."""

    session: int
    """The SDP session id: the same for all descriptions of a peer connection."""
    version: int
    """Grows with each."""
    codec: str
    """"vp8", "vp9", "h264" or "av1"."""
    audio_ssrc: int
    video_ssrc: int
    fingerprint: str
    """SHA-256 of the DTLS certificate, upper case with colons."""
    ufrag: str
    password: str
    lite: bool = False
    """ICE lite."""

    def offer(self, *, after: str | None = None, candidates: Sequence[str] = ()) -> str:
        """The first offer, or one ``after`` the client's answer (its SDP): then only what that has taken is offered
        again. ``candidates`` (without prefix) are written into the first media line, as pion does when it has them."""
        written = [f"a=candidate:{candidate}" for candidate in candidates]
        head, audio, video, data = self._head(("0", "1", "2")), self._audio(), self._video(), self._data()
        lines = [*head, *audio, *written, *video, *data]
        return _text(lines if after is None else _in_common(lines, after))

    def answer(self, offer: RemoteDescription, offered: str, *, candidates: Sequence[str] = ()) -> str:
        """The answer to a client's own offer, whose SDP is ``offered``: its lines in its order, what it sends
        received. ``candidates`` (without prefix) are all there are. Always ``passive``, whoever began the DTLS session
        that there is (server/internal/webrtc/manager.go, SetAnsweringDTLSRole)."""
        setup = "passive"
        lines = self._head(tuple(media.mid for media in offer.media))
        written = [*(f"a=candidate:{candidate}" for candidate in candidates), "a=end-of-candidates"]
        for media in offer.media:
            if media.kind == "application":
                lines += self._data(media.mid, setup)
            elif media.mid == "1" and media.kind == "video":
                lines += self._video(setup, media.answered)
            elif media.mid == "0" and media.kind == "audio":
                lines += self._audio(setup, media.answered)
            else:
                lines += self._received(media, setup)
            lines += written
            written = []
        return _text(_in_common(lines, offered))

    def _head(self, mids: Sequence[str]) -> list[str]:
        return [
            "v=0",
            f"o=- {self.session} {self.version} IN IP4 0.0.0.0",
            "s=-",
            "t=0 0",
            "a=msid-semantic:WMS *",
            f"a=fingerprint:sha-256 {self.fingerprint}",
            *(["a=ice-lite"] if self.lite else []),
            "a=extmap-allow-mixed",
            f"a=group:BUNDLE {' '.join(mids)}",
        ]

    def _ice(self) -> list[str]:
        return [f"a=ice-ufrag:{self.ufrag}", f"a=ice-pwd:{self.password}"]

    def _transport(self, mid: str, setup: str) -> list[str]:
        return [
            "c=IN IP4 0.0.0.0",
            f"a=setup:{setup}",
            f"a=mid:{mid}",
            *self._ice(),
            "a=rtcp-mux",
            "a=rtcp-rsize",
        ]

    def _track(self, ssrc: int, kind: str, direction: str) -> list[str]:
        return [
            f"a=ssrc:{ssrc} cname:stream",
            f"a=ssrc:{ssrc} msid:stream {kind}",
            f"a=ssrc:{ssrc} mslabel:stream",
            f"a=ssrc:{ssrc} label:{kind}",
            f"a=msid:stream {kind}",
            f"a={direction}",
        ]

    def _audio(self, setup: str = "actpass", direction: str = "sendrecv") -> list[str]:
        return [
            f"m=audio 9 UDP/TLS/RTP/SAVPF {AUDIO_PAYLOAD_TYPE}",
            *self._transport("0", setup),
            f"a=rtpmap:{AUDIO_PAYLOAD_TYPE} opus/48000/2",
            f"a=fmtp:{AUDIO_PAYLOAD_TYPE} useinbandfec=1;stereo=1",
            f"a=rtcp-fb:{AUDIO_PAYLOAD_TYPE} transport-cc",
            _CONGESTION,
            *self._track(self.audio_ssrc, "audio", direction),
        ]

    def _video(self, setup: str = "actpass", direction: str = "sendrecv") -> list[str]:
        number = PAYLOAD_TYPES[self.codec]
        name, parameters = _VIDEO[self.codec]
        return [
            f"m=video 9 UDP/TLS/RTP/SAVPF {number}",
            *self._transport("1", setup),
            f"a=rtpmap:{number} {name}",
            *([f"a=fmtp:{number} {parameters}"] if parameters else []),
            *(f"a=rtcp-fb:{number} {kind}" for kind in ("transport-cc", "goog-remb", "ccm fir", "nack pli", "nack")),
            *_EXTENSIONS,
            _CONGESTION,
            *self._track(self.video_ssrc, "video", direction),
        ]

    def _data(self, mid: str = "2", setup: str = "actpass") -> list[str]:
        return [
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            "c=IN IP4 0.0.0.0",
            f"a=setup:{setup}",
            f"a=mid:{mid}",
            "a=sendrecv",
            "a=sctp-port:5000",
            "a=max-message-size:1073741823",
            *self._ice(),
        ]

    def _received(self, media: RemoteMedia, setup: str) -> list[str]:
        return [
            f"m={media.kind} 9 UDP/TLS/RTP/SAVPF {media.payload_type}",
            *self._transport(media.mid, setup),
            f"a=rtpmap:{media.payload_type} {media.encoding}",
            "a=recvonly",
        ]


@dataclass(frozen=True, slots=True)
class RemoteMedia:
    """One media line of the client's."""

    kind: str
    mid: str
    takes: bool
    """Whether it wants what we send."""
    sends: bool
    """Whether it will send something itself."""
    ssrcs: tuple[int, ...]
    """Of what it sends."""
    payload_type: int
    encoding: str
    """Of the first format, as ``a=rtpmap`` spells it; "" for the data channel."""

    @property
    def answered(self) -> str:
        """The direction that answers it, of a line that we send on, too (RFC 3264 §6.1)."""
        if self.sends:
            return "sendrecv" if self.takes else "recvonly"
        return "sendonly" if self.takes else "inactive"


@dataclass(frozen=True, slots=True)
class RemoteDescription:
    """What the client says of itself."""

    media: tuple[RemoteMedia, ...]
    ufrag: str
    password: str
    fingerprints: tuple[tuple[str, str], ...]
    """(algorithm, value)."""
    setup: str
    """"active", "passive" or "actpass"."""
    candidates: tuple[str, ...]
    """Without prefix."""
    sctp_port: int | None
    max_message_size: int

    def takes(self, kind: str) -> bool:
        """Whether the client takes the media of this kind ("audio", "video") that we offer."""
        return any(media.takes for media in self.media if media.kind == kind and media.mid in ("0", "1"))

    @property
    def microphone(self) -> RemoteMedia | None:
        """The line that the client speaks on, if it says that it does."""
        lines = (media for media in self.media if media.kind == "audio" and media.sends and media.ssrcs)
        return next(lines, None)

    def check_tracks(self) -> None:
        """``ValueError`` for two tracks in one line, which pion takes for the semantics of old (seen)."""
        if any(len(media.ssrcs) > 1 for media in self.media if media.sends):
            raise ValueError("remote SessionDescription semantics does not match configuration")

    def check_video(self, codec: str) -> None:
        """``ValueError`` when the client takes our video, but as another codec than what it is (seen; pion's words)."""
        for media in self.media:
            ours = media.kind == "video" and media.mid == "1" and media.takes
            if ours and media.encoding.lower() != _VIDEO[codec][0].lower():
                raise ValueError("unable to start track, codec is not supported by remote")


def read_description(sdp: str) -> RemoteDescription:
    """Read a client's offer or answer. ``ValueError`` when it is none, or has no ICE or DTLS in it."""
    try:
        parsed = aiortc.sdp.SessionDescription.parse(sdp)
        first = parsed.media[0]
        ice, dtls = first.ice, first.dtls
        if ice is None or not ice.usernameFragment or not ice.password or dtls is None or not dtls.fingerprints:
            raise ValueError("no ICE credentials or no fingerprint")
        data = next((media for media in parsed.media if media.kind == "application"), None)
        return RemoteDescription(
            media=tuple(_media(media) for media in parsed.media),
            ufrag=ice.usernameFragment,
            password=ice.password,
            fingerprints=tuple((each.algorithm, each.value) for each in dtls.fingerprints),
            setup={"client": "active", "server": "passive"}.get(dtls.role, "actpass"),
            candidates=_candidates(sdp),
            sctp_port=data.sctp_port if data else None,
            max_message_size=data.sctpCapabilities.maxMessageSize if data and data.sctpCapabilities else 65536,
        )
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"no session description: {type(error).__name__}") from error


def _media(media: aiortc.sdp.MediaDescription) -> RemoteMedia:
    codec = media.rtp.codecs[0] if media.rtp.codecs else None
    encoding = ""
    if codec is not None:
        channels = f"/{codec.channels}" if codec.channels and codec.channels > 1 else ""
        encoding = f"{codec.mimeType.partition('/')[2]}/{codec.clockRate}{channels}"
    return RemoteMedia(
        kind=media.kind,
        mid=media.rtp.muxId,
        takes=media.port != 0 and media.direction in ("recvonly", "sendrecv"),
        sends=media.port != 0 and media.direction in ("sendonly", "sendrecv"),
        ssrcs=tuple(dict.fromkeys(each.ssrc for each in media.ssrc)),
        payload_type=(codec.payloadType or 0) if codec else 0,
        encoding=encoding,
    )


def _candidates(sdp: str) -> tuple[str, ...]:
    prefix = "a=candidate:"
    found = (line.strip().removeprefix(prefix) for line in sdp.splitlines() if line.startswith(prefix))
    return tuple(dict.fromkeys(found))


def _in_common(lines: Sequence[str], other: str) -> list[str]:
    """The lines less those optional ones that the other side's description does not have."""
    theirs = set(other.splitlines())
    return [line for line in lines if not line.startswith(_OPTIONAL) or line in theirs]


def _text(lines: Sequence[str]) -> str:
    return "\r\n".join(lines) + "\r\n"
