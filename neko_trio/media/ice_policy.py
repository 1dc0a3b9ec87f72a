"""Which addresses a server may send this client's packets to. Values only; looked at after names have been resolved.

A Neko names ICE servers and candidates, and a client sends to each of them: a hostile one could have it knock on doors
of the network that it stands in. Each name is looked up once, here, and what is dialled is the address that has been
looked at, so a name that means something else a moment later (DNS rebinding) changes nothing.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

__all__ = ["AddressPolicy", "AddressRefused", "is_public"]

_GLOBAL_UNICAST = ip_network("2000::/3")  # RFC 4291 §2.4, as IANA has allocated it
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052 §2.1
_COMPATIBLE = ip_network("::/96")  # RFC 4291 §2.5.5.1
REFUSED = "refused: it is not in the public internet (IceOptions.allow_private)"


class AddressRefused(Exception):
    """A name has none but addresses that are not allowed."""


def is_public(address: str) -> bool:
    """Whether this IP address, and the IPv4 address that one of IPv6 may carry, is one of the public internet.

    Private (RFC 1918, RFC 4193), shared (RFC 6598), loopback, link-local, multicast, unspecified, documentation and
    reserved ones are not (IANA's special-purpose registries, as :mod:`ipaddress` has them).
    """
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv4Address):
        return _is_public4(found)
    carried = _carried(found)
    return all(map(_is_public4, carried)) and (bool(carried) or (found in _GLOBAL_UNICAST and found.is_global))


def _is_public4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast


def _carried(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that packets to this one may end at: mapped, translated (NAT64), tunnelled (6to4, Teredo)."""
    carried = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or address in _COMPATIBLE:
        carried.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in carried if each is not None]


class AddressPolicy:
    """What one peer connection's agent may send to. Any thread."""

    def __init__(self, *, allow_private: bool = True, server_address: str | None = None) -> None:
        """``server_address``: the WebSocket's, which the caller chose and which stays allowed in any case."""
        self._allow_private = allow_private
        self._server = None if server_address is None else _bare(server_address)

    def allows(self, address: str) -> bool:
        """Whether packets may go to this IP address."""
        return self._allow_private or _bare(address) == self._server or is_public(address)


def _bare(address: str) -> str:
    """Without a zone; of an IPv4 address that IPv6 carries, the IPv4 address."""
    plain = ip_address(address.partition("%")[0])
    return str(getattr(plain, "ipv4_mapped", None) or plain)
