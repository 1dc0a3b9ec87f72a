"""Names become addresses on the trio side, so that no resolver ever stands in the asyncio thread's way."""

from __future__ import annotations

import socket

import trio

from neko_trio.errors import ServerUnreachable


async def resolve(host: str) -> list[str]:
    """The addresses of ``host`` (a name or a literal, IPv6 without brackets), in the resolver's order, each once.

    A literal needs no thread. A name is looked up by ``getaddrinfo`` in a worker thread; cancelling abandons it: the
    thread ends by itself when the resolver gives up. A checkpoint.

    Raises :class:`~neko_trio.errors.ServerUnreachable` when there is no such name, or ``host`` cannot be one.
    """
    try:
        # SOCK_DGRAM: one entry per address instead of one per socket type
        found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except (OSError, ValueError) as error:  # ValueError: an embedded NUL, or what IDNA cannot encode
        raise ServerUnreachable(f"The name {host!r} has no address.", hint="Check the spelling and the DNS.") from error
    return list(dict.fromkeys(str(address[0]) for _family, _type, _proto, _name, address in found))
