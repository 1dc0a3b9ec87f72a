"""ICE candidates as text (RFC 8839 §5.1, RFC 6544 §4.5 for TCP)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Literal, cast

from neko_trio.protocol.malformed import Malformed

__all__ = ["Candidate", "CandidateType", "TcpType", "Transport", "parse_candidate"]

Transport = Literal["udp", "tcp"]
CandidateType = Literal["host", "srflx", "prflx", "relay"]
TcpType = Literal["active", "passive", "so"]

_FOUNDATION = re.compile(r"[A-Za-z0-9+/]{1,64}", re.ASCII)  # RFC: 32; some agents write a longer hash
_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?", re.ASCII
)
_ZONE = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate. ``host`` is an IPv4 or IPv6 address without brackets, or a name (mDNS: ``….local``).

    ``ufrag`` is the ICE user name fragment that pion writes behind a candidate: it says which offer the candidate
    belongs to. Other extension attributes are not kept.
    """

    foundation: str
    component: int
    transport: Transport
    priority: int
    host: str
    port: int
    type: CandidateType
    related_address: str | None = None
    related_port: int | None = None
    tcptype: TcpType | None = None
    ufrag: str | None = None

    def to_text(self) -> str:
        """The candidate as ``signal/candidate`` carries it, with the ``candidate:`` prefix."""
        parts = [
            f"candidate:{self.foundation} {self.component} {self.transport} {self.priority}",
            f"{self.host} {self.port} typ {self.type}",
        ]
        if self.related_address is not None:
            parts.append(f"raddr {self.related_address}")
        if self.related_port is not None:
            parts.append(f"rport {self.related_port}")
        if self.tcptype is not None:
            parts.append(f"tcptype {self.tcptype}")
        if self.ufrag is not None:
            parts.append(f"ufrag {self.ufrag}")
        return " ".join(parts)


def parse_candidate(text: str) -> Candidate:
    """Parse a candidate, bare, with ``candidate:`` or with ``a=candidate:`` in front.

    Extension attributes (RFC 8839: pairs of name and value) are skipped. Raises :class:`Malformed` for everything
    else, also for the empty text that stands for the end of candidates, and for transports other than UDP and TCP.
    """
    if len(text) > _LONGEST:
        raise Malformed("candidate: too long")
    words = text.strip(" \t\r\n").removeprefix("a=").removeprefix("candidate:").split(" ")
    if len(words) < 8 or words[6] != "typ":
        raise Malformed("candidate: needs foundation, component, transport, priority, address, port, typ and a type")
    if not _FOUNDATION.fullmatch(words[0]):
        raise Malformed("candidate: bad foundation")
    transport = words[2].lower()
    if transport not in ("udp", "tcp"):
        raise Malformed("candidate: neither udp nor tcp")
    if words[7] not in ("host", "srflx", "prflx", "relay"):
        raise Malformed("candidate: unknown type")
    extensions = _pairs(words[8:])
    tcptype = extensions.get("tcptype")
    if tcptype not in (None, "active", "passive", "so"):
        raise Malformed("candidate: unknown tcptype")
    related_address = extensions.get("raddr")
    related_port = extensions.get("rport")
    return Candidate(
        foundation=words[0],
        component=_number(words[1], 1, 256, "component"),
        transport=cast(Transport, transport),
        priority=_number(words[3], 0, 2**32 - 1, "priority"),
        host=_host(words[4]),
        port=_number(words[5], 0, 65535, "port"),
        type=cast(CandidateType, words[7]),
        related_address=None if related_address is None else _host(related_address),
        related_port=None if related_port is None else _number(related_port, 0, 65535, "related port"),
        tcptype=cast("TcpType | None", tcptype),
        ufrag=extensions.get("ufrag") or None,
    )


def _pairs(words: list[str]) -> dict[str, str]:
    if len(words) % 2:
        raise Malformed("candidate: an extension attribute has no value")
    return dict(zip(words[::2], words[1::2], strict=True))


def _number(word: str, low: int, high: int, what: str) -> int:
    if not _NUMBER.fullmatch(word) or not low <= int(word) <= high:
        raise Malformed(f"candidate: bad {what}")
    return int(word)


def _host(word: str) -> str:
    """An address in its usual spelling, with its zone if it has one, or a name in lower case."""
    address, percent, zone = word.partition("%")
    try:
        if ":" in word:
            if percent and not _ZONE.fullmatch(zone):
                raise Malformed("candidate: bad zone of an address")
            return str(IPv6Address(address)) + percent + zone
        if word.replace(".", "").isdecimal():
            return str(IPv4Address(word))
    except AddressValueError:
        raise Malformed("candidate: bad address") from None
    if not _NAME.fullmatch(word):
        raise Malformed("candidate: bad address")
    return word.lower()
