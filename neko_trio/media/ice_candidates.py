"""The half of the ICE agent that has candidates: gathers local ones, takes remote ones.

``gather_candidates`` returns with the host candidates; STUN and TURN servers are asked side by side, meanwhile, and
what they give is told later. On the asyncio thread; counters may be read by any thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address

import aioice

from neko_trio.media import ice_gathering as gathering
from neko_trio.media.aiortc_private import IceAgentBase, StunProtocol, network_host
from neko_trio.media.ice_gathering import IceServerAddress
from neko_trio.media.ice_policy import REFUSED, AddressPolicy
from neko_trio.media.ice_relay import close_relay, relay
from neko_trio.media.ice_tasks import AgentTasks
from neko_trio.media.stun_protocol import AgentSocket

FIRST_CANDIDATE_LIMIT = 6.0
"""Seconds that an answer without any candidate waits for one, names of servers being looked up included."""
REMOTE_LIMIT = 100
"""Remote candidates kept, signalled and learned (RFC 8445 §19.5.1 bounds the checks by the same number)."""
ERROR_LIMIT = 16
"""Gathering errors kept."""
GUESS_LIMIT = 8
"""Ports that are tried at the WebSocket's address."""
GUESS = "websocket"
"""Foundation of a remote candidate that nobody signalled: a signalled port at the WebSocket's address."""


class CandidateAgent(IceAgentBase):
    """The candidates of one agent; :class:`~neko_trio.media.ice.IceAgent` checks their pairs."""

    def __init__(
        self,
        *,
        on_candidate: Callable[[aioice.Candidate], None],
        server_address: str | None = None,
        relay_only: bool = False,
        allow_private: bool = True,
    ) -> None:
        """``on_candidate`` gets the candidates that are not in the SDP, once ``tell_candidates()`` has been called."""
        policy = aioice.TransportPolicy.RELAY if relay_only else aioice.TransportPolicy.ALL
        super().__init__(ice_controlling=False, transport_policy=policy)
        self._on_candidate = on_candidate
        self.server_address = None if server_address is None else _plain(server_address)
        """IP address of the WebSocket."""
        self.policy = AddressPolicy(allow_private=allow_private, server_address=server_address)
        """What this agent may send to."""
        self.relay_only = relay_only
        self._servers: list[IceServerAddress] = []
        self._servers_complete = False
        self._bound: set[str] = set()
        self._gathered = False
        self._something = asyncio.Event()
        self._telling = self._guessing = False
        self._untold: list[aioice.Candidate] = []
        self.tasks = AgentTasks(self._progress)
        self.gathering_errors: list[str] = []
        """Why ICE servers or addresses gave no candidate; no credential in them."""
        self.remotes_ignored = 0
        """Signalled candidates that were of no use."""
        self.remotes_refused = 0
        """Those among them that the policy does not allow."""
        self.packets_unsent = 0
        """Packets dropped because a TCP connection, to the server or a relay, did not take them."""

    # -- gathering

    def add_server(self, server: IceServerAddress) -> None:
        """Ask this ICE server too, now or when gathering begins."""
        self._servers.append(server)
        if self._gathered and not self.closing:
            self._ask(server)

    def servers_complete(self) -> None:
        """No more servers will be added."""
        self._servers_complete = True
        self._progress()

    async def gather_candidates(self) -> None:
        """Bind the first addresses and return; wait for a server only if there is no other candidate to offer."""
        if not self.begin_gathering():
            return
        if not self.relay_only:
            for address in gathering.first_addresses(self._targets()):
                await self._bind(address)
        self._gathered = True
        for server in self._servers:
            self._ask(server)
        self._progress()
        try:
            async with asyncio.timeout(FIRST_CANDIDATE_LIMIT):
                await self._something.wait()
        except TimeoutError:
            self.note("no ICE server gave a candidate in time")
        self.end_gathering()

    def _targets(self) -> list[str]:
        known = [network_host(remote) for remote in self.known_remotes]
        return known if self.server_address is None else [self.server_address, *known]

    async def _bind(self, address: str) -> None:
        self._bound.add(address)
        try:
            protocol = await gathering.bind_socket(address, lambda: AgentSocket(self))
        except OSError as error:
            self.note(f"{address}: {error.strerror or error}")
            return
        if self.closing:
            await protocol.close()
            return
        self._add_local(protocol.local_candidate, protocol)
        for server in self._servers if self._gathered else ():
            self._ask_from(protocol, server)

    def _bind_later(self, address: str | None) -> None:
        if address is not None and address not in self._bound and not self.relay_only:
            self._bound.add(address)
            self.tasks.start(lambda: self._bind(address), lambda failure: self.note(f"{address}: {failure}"))

    def _ask(self, server: IceServerAddress) -> None:
        if server.url.scheme == "stun":
            for protocol in list(self.sockets):
                self._ask_from(protocol, server)
            return
        work = self._relayed if server.url.scheme in ("turn", "turns") else self._reflexive_host
        self.tasks.start(lambda: work(server), lambda failure: self.note(f"{server.url}: {failure}"))

    def _ask_from(self, protocol: StunProtocol, server: IceServerAddress) -> None:
        candidate = protocol.local_candidate
        if server.url.scheme == "stun" and candidate.type == "host" and gathering.can_ask(candidate, server):
            self.tasks.start(
                lambda: self._reflexive(protocol, server), lambda failure: self.note(f"{server.url}: {failure}")
            )

    async def _reflexive(self, protocol: StunProtocol, server: IceServerAddress) -> None:
        self._add_local(await gathering.reflexive_candidate(protocol, server))

    async def _reflexive_host(self, server: IceServerAddress) -> None:
        host = await gathering.reflexive_host(server)
        for base in [socket.local_candidate for socket in self.sockets]:
            if base.type == "host" and gathering.can_ask(base, server) and (":" in base.host) == (":" in host):
                self._add_local(gathering.with_port_kept(base, host))

    async def _relayed(self, server: IceServerAddress) -> None:
        candidate, protocol = await relay(server, AgentSocket(self), hide_related_address=self.relay_only)
        self._add_local(candidate, protocol)  # never late: close() has cancelled and awaited this task before

    def _add_local(self, candidate: aioice.Candidate, protocol: StunProtocol | None = None) -> None:
        if any((known.host, known.port) == (candidate.host, candidate.port) for known in self.own_candidates):
            return  # not behind NAT: the server sees the socket as it is
        self.own_candidates.append(candidate)
        if protocol is not None:
            self.sockets.append(protocol)
            if self.checking:
                for remote in self.known_remotes:
                    self.pair_remote(remote)
                self.sort_check_list()
        if self._something.is_set():
            if self._telling:
                self._on_candidate(candidate)
            else:
                self._untold.append(candidate)

    def tell_candidates(self) -> None:
        """The answer is on its way: candidates found since, and later, go to ``on_candidate``."""
        self._telling = True
        for candidate in self._untold:
            self._on_candidate(candidate)
        self._untold.clear()

    def offer_others(self) -> None:
        """Bind and tell the addresses that are not routed to the server, too."""
        for address in gathering.other_addresses(self._bound):
            self._bind_later(address)
        self._progress()

    def _progress(self) -> None:
        if self.own_candidates or (self._gathered and self._servers_complete and not self.tasks):
            self._something.set()
        if self.checking:
            self.fail_if_exhausted()

    def note(self, error: str) -> None:
        """Keep why a server or an address gave no candidate."""
        if len(self.gathering_errors) < ERROR_LIMIT:
            self.gathering_errors.append(error)

    # -- remote candidates

    def accept_remote(self, candidate: aioice.Candidate) -> None:
        """Take a signalled candidate whose host is an IP address; one that is of no use is counted."""
        if not self.policy.allows(network_host(candidate)):
            self.refuse_remote(network_host(candidate))
            return
        before = len(self.known_remotes)
        usable = candidate.component == 1 and before < REMOTE_LIMIT and self._can_reach(candidate)
        if self.closing or not usable:
            self.remotes_ignored += 1
            return
        self.add_remote(candidate)
        if self._gathered and not self.check_list_done and len(self.known_remotes) > before:
            self._bind_later(gathering.routed_address(network_host(candidate)))
            if self._guessing:
                self._guess(candidate)

    def _can_reach(self, candidate: aioice.Candidate) -> bool:
        if candidate.transport.lower() == "udp":
            return True
        return candidate.tcptype == "passive" and not self.relay_only  # relays of ours carry UDP only (RFC 8656)

    def refuse_remote(self, host: str) -> None:
        """Count a signalled candidate that the policy does not allow, and tell it."""
        self.remotes_ignored += 1
        self.remotes_refused += 1
        self.note(f"candidate {host}: {REFUSED}")

    def ignore_remote(self) -> None:
        """Count a signalled candidate that cannot be used."""
        self.remotes_ignored += 1

    def accept_end(self) -> None:
        """No more remote candidates will be signalled."""
        self.end_remotes()
        self._progress()

    def guess_remotes(self) -> None:
        """Try the WebSocket's address as well, with the ports of the server's candidates, those that come later too.

        The addresses that a server announces (``webrtc.nat1to1``; by default what a service on the internet sees) are
        often such as cannot be reached from here. Where the WebSocket goes, the server is, or what forwards to it.
        """
        self._guessing = True
        for remote in list(self.known_remotes):
            self._guess(remote)
        self._progress()

    def _guess(self, remote: aioice.Candidate) -> None:
        address, ports = self.server_address, {guess.port for guess in self.guesses}
        if address is None or remote.type == "prflx" or not self._can_reach(remote):
            return
        known = any(
            (each.host, each.port, each.transport) == (address, remote.port, remote.transport)
            for each in self.known_remotes
        )
        if known or len(ports) >= GUESS_LIMIT or len(self.known_remotes) >= REMOTE_LIMIT:
            return
        guess = aioice.Candidate(
            foundation=GUESS,
            component=1,
            transport=remote.transport,
            priority=remote.priority,
            host=address,
            port=remote.port,
            type="prflx",  # as one learned otherwise than by signalling; it becomes what it is once it is signalled
            tcptype=remote.tcptype,
        )
        self.known_remotes.append(guess)
        self._bind_later(gathering.routed_address(address))
        self.pair_remote(guess)
        self.sort_check_list()

    @property
    def guesses(self) -> list[aioice.Candidate]:
        """The remote candidates that nobody has signalled."""
        return [remote for remote in self.known_remotes if remote.foundation == GUESS]

    # -- the end

    async def close(self) -> None:
        """Close all sockets and end all tasks, in bounded time. Not to be cancelled; again is a no-op."""
        self.begin_closing()
        self._something.set()
        await self.tasks.close()
        relays = [socket for socket in self.sockets if socket.local_candidate.type == "relay"]
        await asyncio.gather(*map(close_relay, relays))
        await super().close()


def _plain(address: str) -> str:
    """An IP address without a zone; of an IPv4 address that IPv6 carries, the IPv4 address."""
    plain = ip_address(address.partition("%")[0])
    return str(getattr(plain, "ipv4_mapped", None) or plain)
