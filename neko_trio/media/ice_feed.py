"""What the trio side hands to the ICE agent: ICE servers and remote candidates, once their names are addresses.

Names are looked up here, side by side, bounded in number and time; the asyncio thread only sees addresses.
"""

from __future__ import annotations

import trio
from aioice import Candidate as IceCandidate

from neko_trio.errors import ServerUnreachable
from neko_trio.media.bridge import Lease
from neko_trio.media.ice import IceAgent
from neko_trio.media.ice_gathering import is_address
from neko_trio.media.ice_policy import REFUSED, AddressRefused
from neko_trio.media.ice_servers import IceServerUrl, resolve_host, server_urls
from neko_trio.media.peer_api import PeerSetup
from neko_trio.protocol.candidates import Candidate

NAME_LIMIT = 16
"""Candidates with a name instead of an address that are looked up."""
NAME_WAIT = 5.0
"""Seconds that looking up one name may take."""


class IceFeed:
    """Of one peer. Its look-ups end with the nursery they run in."""

    def __init__(self, setup: PeerSetup, lease: Lease, agent: IceAgent, nursery: trio.Nursery) -> None:
        self._setup, self._lease, self._agent, self._nursery = setup, lease, agent, nursery
        self._names = 0
        self._policy = agent.policy
        # The caller's own servers are the caller's own affair.
        self._allows_server = self._policy.allows if setup.ice.servers is None else (lambda _address: True)

    # -- ICE servers

    def start(self) -> None:
        """Hand over the servers that need no look-up, and look up the others."""
        ice = self._setup.ice
        if self._setup.ice_servers_malformed and ice.servers is None:
            self._note(f"{self._setup.ice_servers_malformed} ICE servers or URLs of the offer are malformed")
        servers = self._setup.ice_servers if ice.servers is None else ice.servers
        named = []
        for url in server_urls(servers, ice.ssl_context, self._note):
            if url.address is None:
                named.append(url)
            elif self._allows_server(url.address.address):
                self._lease.post(self._agent.add_server, url.address)
            else:
                self._note(f"{url.url}: {REFUSED}")
        if named:
            self._nursery.start_soon(self._resolve_servers, named)
        else:
            self._lease.post(self._agent.servers_complete)

    async def _resolve_servers(self, named: list[IceServerUrl]) -> None:
        async with trio.open_nursery() as nursery:
            for url in named:
                nursery.start_soon(self._resolve_server, url)
        self._lease.post(self._agent.servers_complete)

    async def _resolve_server(self, url: IceServerUrl) -> None:
        try:
            with trio.fail_after(NAME_WAIT):
                address = await url.resolve(self._allows_server)
        except (ServerUnreachable, trio.TooSlowError):
            self._note(f"{url.url}: the name has no address")
        except AddressRefused as error:
            self._note(f"{url.url}: {error}")
        except OSError as error:  # the system's certificates cannot be read
            self._note(f"{url.url}: {error}")
        else:
            self._lease.post(self._agent.add_server, address)

    def _note(self, error: str) -> None:
        self._lease.post(self._agent.note, error)

    # -- remote candidates

    def accept(self, candidate: Candidate, ufrag: str | None) -> None:
        """Hand over a candidate for the offer of this ``ufrag``; count one that is of no use."""
        if candidate.ufrag not in (None, ufrag):
            self._lease.post(self._agent.ignore_remote)  # of another peer connection's offer
        elif is_address(candidate.host):
            self._lease.post(self._agent.accept_remote, _to_aioice(candidate, candidate.host))
        elif self._names < NAME_LIMIT:
            self._names += 1
            self._nursery.start_soon(self._resolve_candidate, candidate)
        else:
            self._lease.post(self._agent.ignore_remote)

    async def _resolve_candidate(self, candidate: Candidate) -> None:
        try:
            with trio.fail_after(NAME_WAIT):
                address = await resolve_host(candidate.host, self._policy.allows)
        except (ServerUnreachable, trio.TooSlowError):
            self._lease.post(self._agent.ignore_remote)
        except AddressRefused:
            self._lease.post(self._agent.refuse_remote, candidate.host)
        else:
            self._lease.post(self._agent.accept_remote, _to_aioice(candidate, address))


def _to_aioice(candidate: Candidate, address: str) -> IceCandidate:
    return IceCandidate(
        foundation=candidate.foundation,
        component=candidate.component,
        transport=candidate.transport,
        priority=candidate.priority,
        host=address,
        port=candidate.port,
        type=candidate.type,
        related_address=candidate.related_address,
        related_port=candidate.related_port,
        tcptype=candidate.tcptype,
    )
