"""ICE servers before they are asked: their names become addresses here, on the trio side."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import trio

from neko_trio.media.ice_gathering import IceServerAddress, NamedTls, is_address
from neko_trio.media.resolve import resolve
from neko_trio.protocol import Malformed
from neko_trio.protocol.ice_servers import IceServer, IceUrl, parse_ice_url

URL_LIMIT = 16
"""URLs of ICE servers that are asked; more cost sockets and time, and no network needs them."""


class IceServerUrl:
    """One URL of an ICE server with its credential, before its name is resolved."""

    def __init__(self, url: IceUrl, server: IceServer) -> None:
        self.url, self._server = url, server

    @property
    def address(self) -> IceServerAddress | None:
        """Where it is, if the URL says so and no file has to be read for it."""
        if self.url.scheme == "turns" or not is_address(self.url.host):
            return None
        return self._at(self.url.host, None)

    async def resolve(self) -> IceServerAddress:
        """Where it is. Raises :class:`~neko_trio.errors.ServerUnreachable`. Cancelling abandons the look-up."""
        address = await resolve_host(self.url.host)
        if self.url.scheme != "turns":
            return self._at(address, None)
        tls = await trio.to_thread.run_sync(NamedTls.open, self.url.host, abandon_on_cancel=True)
        return self._at(address, tls)

    def _at(self, address: str, tls: NamedTls | None) -> IceServerAddress:
        return IceServerAddress(self.url, address, self._server.username, self._server.credential, tls)

    def __repr__(self) -> str:
        return f"IceServerUrl({self.url})"


def server_urls(servers: Iterable[IceServer]) -> list[IceServerUrl]:
    """Every usable URL of the servers, in their order, the first :data:`URL_LIMIT`. A malformed one is left out."""
    found = []
    for server in servers:
        for text in server.urls:
            with suppress(Malformed):  # must not cost the connection; the protocol layer has counted it
                found.append(IceServerUrl(parse_ice_url(text), server))
    return found[:URL_LIMIT]


async def resolve_host(host: str) -> str:
    """One address of a name, IPv4 if it has one: STUN and TURN servers of the field rarely answer on IPv6.

    Raises :class:`~neko_trio.errors.ServerUnreachable`. A checkpoint.
    """
    addresses = await resolve(host)
    return next((address for address in addresses if ":" not in address), addresses[0])
