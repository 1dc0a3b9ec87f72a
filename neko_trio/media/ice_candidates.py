"""The half of the ICE agent that has candidates: gathers local ones, takes remote ones, owns its tasks and timers.

``gather_candidates`` returns with the host candidates; STUN and TURN servers are asked side by side, meanwhile, and
what they give is told later. On the asyncio thread; counters may be read by any thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import aioice
from aioice import stun

from neko_trio.media import ice_gathering as gathering
from neko_trio.media.aiortc_private import IceAgentBase, StunProtocol, abandon_relay, network_host
from neko_trio.media.ice_gathering import IceServerAddress
from neko_trio.media.stun_protocol import AgentSocket

GATHER_LIMIT = 5.0
"""Seconds that one ICE server may take."""
FIRST_CANDIDATE_LIMIT = 6.0
"""Seconds that an answer without any candidate waits for one, names of servers being looked up included."""
RELAY_FAREWELL = 0.5
"""Seconds that a TURN server has to confirm the end of an allocation."""
REMOTE_LIMIT = 100
"""Remote candidates kept, signalled and learned (RFC 8445 §19.5.1 bounds the checks by the same number)."""
ERROR_LIMIT = 16
"""Gathering errors kept."""


class CandidateAgent(IceAgentBase):
    """Candidates, tasks and timers of one agent; :class:`~neko_trio.media.ice.IceAgent` checks their pairs."""

    def __init__(
        self,
        *,
        on_candidate: Callable[[aioice.Candidate], None],
        server_address: str | None = None,
        relay_only: bool = False,
    ) -> None:
        """``on_candidate`` gets the candidates that are not in the SDP, once ``tell_candidates()`` has been called."""
        policy = aioice.TransportPolicy.RELAY if relay_only else aioice.TransportPolicy.ALL
        super().__init__(ice_controlling=False, transport_policy=policy)
        self._on_candidate = on_candidate
        self._server_address = server_address
        self._relay_only = relay_only
        self._servers: list[IceServerAddress] = []
        self._servers_complete = False
        self._bound: set[str] = set()
        self._gathered = False
        self._something = asyncio.Event()
        self._telling = False
        self._untold: list[aioice.Candidate] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.gathering_errors: list[str] = []
        """Why ICE servers or addresses gave no candidate; no credential in them."""
        self.remotes_ignored = 0
        """Signalled candidates that were of no use."""

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
        if not self._relay_only:
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
        return known if self._server_address is None else [self._server_address, *known]

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
        if address is not None and address not in self._bound and not self._relay_only:
            self._bound.add(address)
            self._spawn(lambda: self._bind(address), address)

    def _ask(self, server: IceServerAddress) -> None:
        if server.url.scheme in ("turn", "turns"):
            self._spawn(lambda: self._relayed(server), str(server.url))
        elif server.url.scheme == "stun":
            for protocol in self.sockets:
                self._ask_from(protocol, server)
        else:
            self.note(f"{server.url}: STUN over TLS is not supported")

    def _ask_from(self, protocol: StunProtocol, server: IceServerAddress) -> None:
        candidate = protocol.local_candidate
        if server.url.scheme == "stun" and candidate.type == "host" and gathering.can_ask(candidate, server):
            self._spawn(lambda: self._reflexive(protocol, server), str(server.url))

    async def _reflexive(self, protocol: StunProtocol, server: IceServerAddress) -> None:
        self._add_local(await gathering.reflexive_candidate(protocol, server))

    async def _relayed(self, server: IceServerAddress) -> None:
        candidate, protocol = await gathering.relay(
            server, lambda: AgentSocket(self), hide_related_address=self._relay_only
        )
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
        if self.own_candidates or (self._gathered and self._servers_complete and not self._tasks):
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
        before = len(self.known_remotes)
        usable = candidate.transport.lower() == "udp" and candidate.component == 1 and before < REMOTE_LIMIT
        if self.closing or not usable:
            self.remotes_ignored += 1
            return
        self.add_remote(candidate)
        if self._gathered and not self.check_list_done and len(self.known_remotes) > before:
            self._bind_later(gathering.routed_address(network_host(candidate)))

    def ignore_remote(self) -> None:
        """Count a signalled candidate that cannot be used."""
        self.remotes_ignored += 1

    def accept_end(self) -> None:
        """No more remote candidates will be signalled."""
        self.end_remotes()
        self._progress()

    # -- the end

    async def close(self) -> None:
        """Close all sockets and end all tasks, in bounded time. Not to be cancelled; again is a no-op."""
        self.begin_closing()
        self._drop_timers()
        self._something.set()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        relays = [socket for socket in self.sockets if socket.local_candidate.type == "relay"]
        await asyncio.gather(*map(_close_relay, relays))
        await super().close()

    # -- tasks and timers, all of which end with close()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]], what: str) -> None:
        async def run() -> None:
            try:
                async with asyncio.timeout(GATHER_LIMIT):
                    await work()
            except TimeoutError:
                self.note(f"{what}: no answer within {GATHER_LIMIT:g} s")
            except (OSError, ValueError, stun.TransactionError) as error:
                self.note(f"{what}: {error}")

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not self.closing:
                self._progress()

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(done)

    def _later(self, name: str, delay: float, action: Callable[[], None]) -> None:
        """Call ``action`` in ``delay`` seconds; a timer of that name that runs already stays."""

        def due() -> None:
            del self._timers[name]
            action()

        if name not in self._timers:
            self._timers[name] = asyncio.get_running_loop().call_later(delay, due)

    def _drop_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


async def _close_relay(socket: StunProtocol) -> None:
    closing = asyncio.ensure_future(socket.close())
    done, _ = await asyncio.wait({closing}, timeout=RELAY_FAREWELL)
    if not done:
        abandon_relay(socket)
    await closing
