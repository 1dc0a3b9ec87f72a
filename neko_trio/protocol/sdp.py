"""The little that is read from an SDP offer before a peer connection exists (RFC 8866, RFC 8829, RFC 8839)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from neko_trio.protocol.malformed import Malformed

__all__ = ["Offer", "read_offer", "without_candidates"]

# Payload formats that repair or wrap another codec: they are no codec of their own.
_REPAIR = frozenset({"RTX", "RED", "ULPFEC", "FLEXFEC-03", "FLEXFEC"})
_CANDIDATE_LINE = re.compile(r"^a=(?:candidate:|end-of-candidates)[^\n]*(?:\n|\Z)", re.MULTILINE)
_KINDS = ("audio", "video", "application")


@dataclass(frozen=True, slots=True)
class Offer:
    """What an offer says.

    ``first_kind`` is the kind of its first media line (``audio``, ``video`` or ``application``), ``video_codecs`` the
    codecs of its video line in upper case and in order of preference (``VP8``, ``H264``), ``audio_codecs`` likewise
    (``OPUS``), ``ice_ufrag`` the ICE user name fragment of its first media line, ``candidates`` the candidates written
    in it, with ``candidate:`` in front and none twice.
    """

    first_kind: str
    video_codecs: tuple[str, ...]
    audio_codecs: tuple[str, ...]
    ice_lite: bool
    ice_ufrag: str | None
    candidates: tuple[str, ...]
    has_data_channel: bool


@dataclass(slots=True)
class _Media:
    kind: str
    formats: list[str]
    protocol: str
    lines: list[str]


def read_offer(sdp: str) -> Offer:
    """Read an offer. Raises :class:`Malformed` for text that is no SDP, or SDP without a media line."""
    session, media = _split(sdp)
    ufrags = [line.removeprefix("a=ice-ufrag:") for line in media[0].lines + session if line.startswith("a=ice-ufrag:")]
    codecs: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for section in media:
        codecs[section.kind] += _codecs(section)
    everywhere = session + [line for section in media for line in section.lines]
    candidates = (line.removeprefix("a=") for line in everywhere if line.startswith("a=candidate:"))
    return Offer(
        first_kind=media[0].kind,
        video_codecs=tuple(dict.fromkeys(codecs["video"])),
        audio_codecs=tuple(dict.fromkeys(codecs["audio"])),
        ice_lite="a=ice-lite" in session,
        ice_ufrag=ufrags[0] if ufrags else None,
        candidates=tuple(dict.fromkeys(candidates)),
        has_data_channel=any(
            section.kind == "application" and ("SCTP" in section.protocol or "webrtc-datachannel" in section.formats)
            for section in media
        ),
    )


def without_candidates(sdp: str) -> str:
    """``sdp`` without its ``a=candidate`` and ``a=end-of-candidates`` lines; nothing else changes.

    With one transport for all media lines aiortc keeps only the candidates of the last, and pion writes them into the
    first: they are taken out here and added one by one.
    """
    return _CANDIDATE_LINE.sub("", sdp)


def _split(sdp: str) -> tuple[list[str], list[_Media]]:
    lines = [line for line in (raw.rstrip("\r") for raw in sdp.split("\n")) if line]
    if not lines or lines[0] != "v=0":
        raise Malformed("SDP: does not begin with v=0")
    session: list[str] = []
    media: list[_Media] = []
    for line in lines:
        if len(line) < 2 or line[1] != "=":
            raise Malformed("SDP: a line is not of the form x=value")
        if line.startswith("m="):
            words = line[2:].split()
            if len(words) < 4 or words[0] not in _KINDS:
                raise Malformed("SDP: bad media line")
            media.append(_Media(kind=words[0], protocol=words[2], formats=words[3:], lines=[]))
        elif media:
            media[-1].lines.append(line)
        else:
            session.append(line)
    if not media:
        raise Malformed("SDP: no media line")
    return session, media


def _codecs(section: _Media) -> list[str]:
    names = {}
    for line in section.lines:
        if line.startswith("a=rtpmap:"):
            number, _, encoding = line.removeprefix("a=rtpmap:").partition(" ")
            names[number] = encoding.partition("/")[0].strip().upper()
    found = [names[number] for number in section.formats if number in names]
    return [name for name in found if name and name not in _REPAIR]
