"""ICE servers before they are asked: their names become addresses here, on the trio side."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable

import trio

from neko_trio.media.ice_gathering import IceServerAddress, is_address, routed_address
from neko_trio.media.ice_policy import REFUSED, AddressRefused
from neko_trio.media.resolve import resolve
from neko_trio.protocol import Malformed
from neko_trio.protocol.ice_servers import IceServer, IceUrl, parse_ice_url

URL_LIMIT = 16
"""URLs of ICE servers that are asked; more cost sockets and time, and no network needs them."""


def _anywhere(_address: str) -> bool:
    return True


class IceServerUrl:
    """One URL of an ICE server with its credential, before its name is resolved."""

    def __init__(self, url: IceUrl, server: IceServer, tls: ssl.SSLContext | None) -> None:
        self.url, self._server, self._tls = url, server, tls

    @property
    def address(self) -> IceServerAddress | None:
        """Where it is, if the URL says so and no file has to be read for it."""
        if not is_address(self.url.host) or (self._secure and self._tls is None):
            return None
        return self._at(self.url.host, self._tls)

    async def resolve(self, allows: Callable[[str], bool] = _anywhere) -> IceServerAddress:
        """Where it is, at an address that is allowed.

        Raises :class:`~neko_trio.errors.ServerUnreachable`, :class:`AddressRefused`, or :class:`OSError` when the
        system's certificates cannot be read. Cancelling abandons the look-up."""
        address = await resolve_host(self.url.host, allows)
        if not self._secure or self._tls is not None:
            return self._at(address, self._tls)
        return self._at(address, await trio.to_thread.run_sync(ssl.create_default_context, abandon_on_cancel=True))

    @property
    def _secure(self) -> bool:
        return self.url.scheme in ("stuns", "turns")

    def _at(self, address: str, tls: ssl.SSLContext | None) -> IceServerAddress:
        return IceServerAddress(self.url, address, self._server.username, self._server.credential, tls)

    def __repr__(self) -> str:
        return f"IceServerUrl({self.url})"


def server_urls(
    servers: Iterable[IceServer], tls: ssl.SSLContext | None = None, note: Callable[[str], object] = lambda _: None
) -> list[IceServerUrl]:
    """Every usable URL of the servers, in their order, the first :data:`URL_LIMIT`.

    ``tls``: what certificates are verified with; ``None`` stands for the system's authorities. ``note`` is told of
    those left out; a malformed URL is not shown there, as it may hold a credential.
    """
    found = []
    for server in servers:
        for text in server.urls:
            try:
                found.append(IceServerUrl(parse_ice_url(text), server, tls))
            except Malformed:  # must not cost the connection
                note("an ICE server's URL is malformed")
    for left in found[URL_LIMIT:]:
        note(f"{left.url}: not asked, {URL_LIMIT} are enough")
    return found[:URL_LIMIT]


async def resolve_host(host: str, allows: Callable[[str], bool] = _anywhere) -> str:
    """One address of a name: one that this machine has a route to, IPv4 first: STUN and TURN servers of the field
    rarely answer on IPv6. ``allows`` says which may be taken.

    Raises :class:`~neko_trio.errors.ServerUnreachable`, and :class:`AddressRefused` when none of them is allowed. A
    checkpoint.
    """
    addresses = sorted(filter(allows, await resolve(host)), key=lambda address: ":" in address)
    if not addresses:
        raise AddressRefused(REFUSED)
    return next((address for address in addresses if routed_address(address) is not None), addresses[0])
