"""ICE servers: the list in ``signal/provide``, in every spelling known, and their URLs (RFC 7064, RFC 7065)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Literal, NamedTuple

import msgspec

from neko_trio.protocol.malformed import Malformed

__all__ = ["IceServer", "IceServerList", "IceUrl", "parse_ice_servers", "parse_ice_url", "read_ice_servers"]

# Neko 3 says "iceservers"; other servers and forks spell it otherwise. In the order they are looked for.
_LIST_KEYS = ("iceservers", "iceServers", "ice_servers", "ice")
_URL_KEYS = ("urls", "url")
_CREDENTIAL_KEYS = ("credential", "password")

_URL = re.compile(
    r"(?P<scheme>stuns?|turns?):(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?:\?transport=(?P<transport>[A-Za-z]+))?",
    re.IGNORECASE | re.ASCII,
)


class IceServer(msgspec.Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """A STUN or TURN server. ``urls`` are URLs that :func:`parse_ice_url` accepts. The repr hides the credential."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None

    def __repr__(self) -> str:
        hidden = "" if self.credential is None else ", credential=…"
        name = "" if self.username is None else ", username=…"  # a TURN user name may be a token
        return f"IceServer(urls={self.urls!r}{name}{hidden})"


class IceServerList(NamedTuple):
    """What :func:`read_ice_servers` found."""

    servers: tuple[IceServer, ...]
    skipped: int
    """Entries and URLs left out because they are malformed."""


@dataclass(frozen=True, slots=True)
class IceUrl:
    """A parsed STUN or TURN URL. ``host`` is a name or an address, an IPv6 address without brackets."""

    scheme: Literal["stun", "stuns", "turn", "turns"]
    host: str
    port: int
    transport: Literal["udp", "tcp"]

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = f"?transport={self.transport}" if self.scheme.startswith("turn") else ""
        return f"{self.scheme}:{host}:{self.port}{query}"


def parse_ice_url(text: str) -> IceUrl:
    """Parse ``stun:``, ``stuns:``, ``turn:`` and ``turns:`` URLs.

    Default ports are 3478 and, over TLS, 5349 (RFC 7064 and 7065 §3.2); the default transport is UDP and, over TLS,
    TCP. Raises :class:`Malformed` for anything else, also for ``turn:user@host`` and for a query that is no transport.
    """
    match = _URL.fullmatch(text)
    if match is None:
        raise Malformed("not a STUN or TURN URL")
    scheme = match["scheme"].lower()
    secure = scheme.endswith("s")
    port = int(match["port"]) if match["port"] else (5349 if secure else 3478)
    if not 1 <= port <= 65535:
        raise Malformed("port of an ICE server out of range")
    host = match["host"]
    if match["six"]:
        try:
            host = str(IPv6Address(match["six"]))
        except AddressValueError as error:
            raise Malformed("not an IPv6 address in an ICE server's URL") from error
    transport = (match["transport"] or ("tcp" if secure else "udp")).lower()
    if match["transport"] and scheme.startswith("stun"):
        raise Malformed("a STUN URL takes no transport")
    if transport not in ("udp", "tcp"):
        raise Malformed("transport of an ICE server is neither udp nor tcp")
    return IceUrl(scheme=scheme, host=host, port=port, transport=transport)  # type: ignore[arg-type]  # both are checked


def parse_ice_servers(payload: Mapping[str, object]) -> tuple[IceServer, ...]:
    """The ICE servers of a ``signal/provide`` payload; malformed entries are left out."""
    return read_ice_servers(payload).servers


def read_ice_servers(payload: Mapping[str, object]) -> IceServerList:
    """The ICE servers of a ``signal/provide`` payload, and how many entries or URLs were malformed and left out.

    Spellings: the list under ``iceservers``, ``iceServers``, ``ice_servers`` or ``ice``; in an entry ``urls`` or
    ``url`` (a string or a list), ``credential`` or ``password``; an entry may be a URL alone. A missing list, or
    ``null`` (an empty list in Go), is no server. Never raises.
    """
    found = next((payload[key] for key in _LIST_KEYS if payload.get(key) is not None), None)
    if found is None:
        return IceServerList((), 0)
    if not isinstance(found, (list, tuple)):
        return IceServerList((), 1)
    servers = []
    skipped = 0
    for entry in found:
        server, bad = _read_entry(entry)
        skipped += bad
        if server is not None:
            servers.append(server)
    return IceServerList(tuple(servers), skipped)


def _read_entry(entry: object) -> tuple[IceServer | None, int]:
    if isinstance(entry, str):
        entry = {"urls": entry}
    if not isinstance(entry, Mapping):
        return None, 1
    urls = next((entry[key] for key in _URL_KEYS if entry.get(key) is not None), None)
    if isinstance(urls, str):
        urls = [urls]
    username = entry.get("username")
    credential = next((entry[key] for key in _CREDENTIAL_KEYS if entry.get(key) is not None), None)
    texts = all(value is None or isinstance(value, str) for value in (username, credential))
    if not isinstance(urls, (list, tuple)) or not texts:
        return None, 1
    good = tuple(url for url in urls if _is_url(url))
    bad = len(urls) - len(good)
    if not good:
        return None, max(bad, 1)
    return IceServer(urls=good, username=username or None, credential=credential or None), bad


def _is_url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parse_ice_url(value)
    except Malformed:
        return False
    return True
