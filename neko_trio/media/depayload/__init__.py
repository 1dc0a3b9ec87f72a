"""RTP payloads to encoded pictures, values only: one :class:`VideoFormat` per codec that can be decoded.

A codec is added by a module with its depayloader (and, where pieces are not simply concatenated, its ``join``) and a
line in ``FORMATS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neko_trio.errors import UnsupportedCodec
from neko_trio.media.depayload.av1 import depayload_av1, join_av1
from neko_trio.media.depayload.h264 import depayload_h264
from neko_trio.media.depayload.payload import BadPayload, Payload
from neko_trio.media.depayload.vp8 import depayload_vp8
from neko_trio.media.depayload.vp9 import depayload_vp9, join_vp9

__all__ = [
    "FORMATS",
    "BadPayload",
    "Payload",
    "VideoFormat",
    "depayload_av1",
    "depayload_h264",
    "depayload_vp8",
    "depayload_vp9",
    "unsupported",
    "video_format",
]


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """How one codec travels in RTP and which of FFmpeg's decoders reads it."""

    name: str
    """The codec's name in SDP, upper case."""
    decoder: str
    """FFmpeg's name of the decoder."""
    depayload: Callable[[bytes], Payload]
    """One RTP payload, not empty, to its content. Raises :class:`BadPayload`, and nothing else, for garbage."""
    join: Callable[[Sequence[bytes]], bytes] = b"".join
    """All pieces of one picture, in order, to what the decoder takes, never empty. Raises :class:`BadPayload`, and
    nothing else, for pieces that are no picture: it is lost then."""
    threads: int = 1
    """Threads of the decoder; slices, never frames, which would delay each picture."""


def video_format(codec: str) -> VideoFormat:
    """The format for an SDP codec name, in any case. Raises :class:`~neko_trio.errors.UnsupportedCodec`."""
    try:
        return FORMATS[codec.upper()]
    except KeyError:
        raise unsupported((codec,)) from None


def unsupported(offered: Sequence[str], *, step: str | None = None) -> UnsupportedCodec:
    """The error for a server that offers none but these codecs."""
    return UnsupportedCodec(
        f"The server offers {_listed(offered, 'and')} video; this client decodes {_listed(tuple(FORMATS), 'and')}.",
        offered=tuple(offered),
        hint=f"Set the server's capture.video.codec, and its pipeline, to {_listed(tuple(FORMATS), 'or')}.",
        step=step,
    )


def _listed(names: Sequence[str], last: str) -> str:
    *others, end = names
    return f"{', '.join(others)} {last} {end}" if others else end


FORMATS = {
    "VP8": VideoFormat("VP8", "vp8", depayload_vp8),
    "VP9": VideoFormat("VP9", "vp9", depayload_vp9, join_vp9),
    "H264": VideoFormat("H264", "h264", depayload_h264),
    "AV1": VideoFormat("AV1", "libdav1d", depayload_av1, join_av1),
}
"""By SDP name: every codec that can be decoded."""
