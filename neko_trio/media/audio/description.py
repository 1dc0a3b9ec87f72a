"""Session descriptions of our own with a microphone in them: our last answer, said again as an offer (RFC 8829 §5.2.2).

aiortc has answered the server's offer and knows of no track; what it would have to be told for an offer of its own is
more than what there is to say: one direction and one SSRC. The server's rules (pion): a track needs its SSRC written,
and two in one section are refused for good; a section once said to be inactive never comes back, so one without a
track is ``recvonly``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SoundPlace", "find_opus", "make_offer", "takes_sound", "with_microphone"]

_DIRECTIONS = frozenset({"a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"})
_OURS = ("a=ssrc", "a=msid:")
_LEFT_OUT = ("a=candidate:", "a=end-of-candidates")


@dataclass(frozen=True, slots=True)
class SoundPlace:
    """Where a microphone's track goes."""

    mid: str
    """Of the audio section."""
    payload_type: int
    """Of Opus there."""


def find_opus(answer: str) -> SoundPlace | None:
    """The first audio section of an answer of ours with Opus in it, ``None`` without."""
    for section in _sections(answer)[1:]:
        if not section[0].startswith("m=audio "):
            continue
        mid = next((line.removeprefix("a=mid:") for line in section if line.startswith("a=mid:")), None)
        for line in section:
            number, _, encoding = line.removeprefix("a=rtpmap:").partition(" ")
            if line.startswith("a=rtpmap:") and encoding.lower() == "opus/48000/2" and mid and number.isdigit():
                return SoundPlace(mid, int(number))
    return None


def with_microphone(answer: str, place: SoundPlace, ssrc: int) -> str:
    """An answer of ours, to an offer of the server's, that keeps the track there."""
    return _text([_with_track(each, ssrc) if _is(each, place) else each for each in _sections(answer)])


def make_offer(answer: str, place: SoundPlace, ssrc: int | None, *, version: int) -> str:
    """Our last answer as an offer, with a track or, ``ssrc=None``, without. ``version`` grows with each."""
    sections = []
    for section in _sections(answer):
        if _is(section, place):
            section = _with_track(section, ssrc)
        sections.append([_offered(line, version) for line in section if not line.startswith(_LEFT_OUT)])
    return _text(sections)


def takes_sound(answer: str, place: SoundPlace) -> bool:
    """Whether the server's answer takes the track."""
    for section in _sections(answer):
        if _is(section, place):
            port = section[0].split(" ")[1]
            return port != "0" and not {"a=sendonly", "a=inactive"} & set(section)
    return False


def _with_track(section: list[str], ssrc: int | None) -> list[str]:
    if ssrc is None:
        track = ["a=recvonly"]
    else:
        track = ["a=sendrecv", "a=msid:neko-trio microphone", f"a=ssrc:{ssrc} cname:neko-trio"]
    kept = [line for line in section if line not in _DIRECTIONS and not line.startswith(_OURS)]
    at = next(index for index, line in enumerate(kept) if line.startswith("a=mid:"))
    return [*kept[:at], *track, *kept[at:]]


def _offered(line: str, version: int) -> str:
    if line.startswith("a=setup:"):
        return "a=setup:actpass"  # RFC 8842 §5.5; the session that there is goes on
    if line.startswith("o="):
        words = line.split(" ")
        return " ".join((*words[:2], str(int(words[2]) + version), *words[3:]))
    return line


def _is(section: list[str], place: SoundPlace) -> bool:
    return bool(section) and section[0].startswith("m=audio ") and f"a=mid:{place.mid}" in section


def _sections(sdp: str) -> list[list[str]]:
    """The lines before the first media line, then those of each medium."""
    sections: list[list[str]] = [[]]
    for line in sdp.splitlines():
        if line.startswith("m="):
            sections.append([])
        if line:
            sections[-1].append(line)
    return sections


def _text(sections: list[list[str]]) -> str:
    return "".join(f"{line}\r\n" for section in sections for line in section)
