"""Internal: RTP payloads to encoded pictures, values only. One :class:`VideoFormat` per codec that can be decoded.

A codec is added by a module with its depayloader (and, where pieces are not simply concatenated, its ``join``) and a
line in ``FORMATS``.

The decoders were chosen by measurement: 3 s of a desktop (a window that moves, text that scrolls) at 25 fps and 2
Mbit/s (1080p: 4), encoded by the real server. Milliseconds per frame, CPU | wall, median | wall, median of keyframes,
on two busy cores; 4:4:4 is what vp9enc and av1enc make of the desktop's RGB unless told otherwise:

================== ================== ================== ================== ==================
decoder, threads   720p               720p 4:4:4         1080p              1080p 4:4:4
================== ================== ================== ================== ==================
vp8, 1             1.0 | 1.0 | 1.5                       1.7 | 2.1 | 2.9
vp8, 2             1.1 | 1.1 | 1.5                       1.8 | 2.4 | 2.9
libvpx, 1          1.3 | 1.7 | 1.9                       2.2 | 2.7 | 2.7
h264, 1            1.2 | 1.4 | 2.2                       2.0 | 2.5 | 3.3
h264, 2            1.3 | 1.5 | 2.1                       2.0 | 2.5 | 3.3
libvpx-vp9, 1      1.4 | 1.6 | 2.5    2.0 | 2.1 | 4.8    2.5 | 3.5 | 4.0    3.8 | 4.2 | 7.2
libvpx-vp9, 2      1.6 | 1.9 | 3.1    2.3 | 2.4 | 7.1    2.9 | 3.5 | 4.5    4.0 | 5.1 | 7.6
vp9, 1             1.6 | 1.7 | 2.9    2.2 | 2.6 | 6.5    2.6 | 3.1 | 4.9    3.9 | 3.9 | 6.9
vp9, 2             1.6 | 1.9 | 3.3    2.3 | 2.5 | 4.6    2.9 | 3.4 | 4.5    4.1 | 5.3 | 8.2
libdav1d, 1        1.5 | 1.7 | 3.1    2.3 | 2.5 | 4.2    2.9 | 3.1 | 4.3    4.6 | 4.8 | 7.4
libdav1d, 2        2.0 | 2.0 | 2.6    2.8 | 2.9 | 4.1    3.3 | 3.5 | 4.1    5.0 | 5.3 | 8.1
================== ================== ================== ================== ==================

With the low-delay flag none holds a frame back. A second thread costs CPU and speeds up little but some keyframes.
FFmpeg's own ``av1`` decodes with hardware only. libvpx-vp9 and vp9 differ less than two runs do, and give the same
pixels; but libvpx-vp9 shows, of a picture of several layers, the highest alone, and after a frame cut short it refuses
all up to a keyframe, where vp9 shows pictures made of the broken one.
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
    "require_codec",
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
    """Threads of the decoder; for slices, never for frames, which would delay each picture."""


def video_format(codec: str) -> VideoFormat:
    """The format for an SDP codec name, in any case. Raises :class:`~neko_trio.errors.UnsupportedCodec`."""
    try:
        return FORMATS[codec.upper()]
    except KeyError:
        raise unsupported((codec,)) from None


def require_codec(offered: Sequence[str], *, step: str) -> None:
    """Raise :class:`~neko_trio.errors.UnsupportedCodec` if video is offered, but in no codec that can be decoded."""
    if offered and FORMATS.keys().isdisjoint(offered):
        raise unsupported(offered, step=step)


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
    "VP9": VideoFormat("VP9", "libvpx-vp9", depayload_vp9, join_vp9),
    "H264": VideoFormat("H264", "h264", depayload_h264),
    "AV1": VideoFormat("AV1", "libdav1d", depayload_av1, join_av1),
}
"""By SDP name: every codec that can be decoded."""
