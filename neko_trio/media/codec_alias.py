"""An offer as aiortc can take it: of its video only the codec that we chose, under a name that aiortc knows.

aiortc 1.16 refuses whole offers whose video is VP9 or AV1, or H264 of a profile that it does not list, though all that
it would do with the packets is done by our own receiver. So it is told that they are VP8, and its answer is given the
real name and parameters back (RFC 8829 §5.3.1: those of the offer). Other formats of the offer, RTX and FEC among
them, are left out: nobody here would read their packets. Audio that aiortc does not know costs nobody the pictures in
the same way: it is told that it is Opus, and the answer then takes none of it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AliasedOffer", "alias_codec"]

ALIASES = {"video": "VP8/90000", "audio": "opus/48000/2"}
KNOWN_AUDIO = frozenset({"OPUS", "G722", "PCMU", "PCMA"})
"""What aiortc knows by itself."""


@dataclass(frozen=True, slots=True)
class AliasedOffer:
    """What aiortc is given, and the way back."""

    sdp: str
    real: dict[tuple[str, str], tuple[str, ...]]
    """By kind and payload type: the lines of the offer that say what it is."""

    def unalias(self, answer: str) -> str:
        """aiortc's answer with the real names; a payload type that the offer does not have stays as it is."""
        lines: list[str] = []
        media = ""
        for line in _lines(answer):
            if line.startswith("m="):
                media = _media(line)
            attribute, number = _format_of(line)
            real = self.real.get((media, number), ()) if attribute == "rtpmap" else ()
            lines += real or (line,)
        return _text(lines)


def alias_codec(sdp: str, codec: str | None) -> AliasedOffer:
    """``sdp`` for aiortc. ``codec`` is the video's SDP name in upper case; a section without it stays as it is."""
    real: dict[tuple[str, str], tuple[str, ...]] = {}
    sections: list[list[str]] = [[]]
    for line in _lines(sdp):
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    lines: list[str] = []
    for section in sections:
        media = _media(section[0]) if section else ""
        if media == "video" and codec is not None:
            section = _alias_section(section, codec, real)
        elif media == "audio" and (names := _names(section)) and KNOWN_AUDIO.isdisjoint(names):
            section = _alias_section(section, names[0], real)
        lines += section
    return AliasedOffer(_text(lines), real)


def _alias_section(section: list[str], codec: str, real: dict[tuple[str, str], tuple[str, ...]]) -> list[str]:
    media = _media(section[0])
    kept = {_format_of(line)[1] for line in _rtpmaps(section) if _name(line) == codec}
    words = section[0].split()
    chosen = [number for number in words[3:] if number in kept]
    if not chosen:
        return section
    lines = [" ".join((*words[:3], *chosen))]
    for line in section[1:]:
        kind, number = _format_of(line)
        if kind in ("rtpmap", "fmtp"):
            if number in chosen:
                real[media, number] = (*real.get((media, number), ()), line)
                if kind == "rtpmap":
                    lines.append(f"a=rtpmap:{number} {ALIASES[media]}")
        elif kind != "rtcp-fb" or number in ("*", *chosen):
            lines.append(line)
    return lines


def _lines(sdp: str) -> list[str]:
    return [line.rstrip("\r") for line in sdp.split("\n")]


def _text(lines: list[str]) -> str:
    return "\r\n".join(lines)


def _media(line: str) -> str:
    """The kind of a media line; "" for any other."""
    return line[2:].partition(" ")[0] if line.startswith("m=") else ""


def _names(section: list[str]) -> list[str]:
    """The codecs of a section, in upper case."""
    return [_name(line) for line in _rtpmaps(section)]


def _rtpmaps(section: list[str]) -> list[str]:
    return [line for line in section if _format_of(line)[0] == "rtpmap"]


def _format_of(line: str) -> tuple[str, str]:
    """The kind of an attribute that belongs to one payload type, and that; of other lines, what is of no use."""
    attribute, _, rest = line.partition(":")
    return attribute.removeprefix("a="), rest.partition(" ")[0].strip()


def _name(line: str) -> str:
    return line.partition(" ")[2].partition("/")[0].strip().upper()
