"""The client's ICE agent: an ``aioice.Connection`` that answers early, checks at once and nominates itself.

What it does otherwise than aioice, each in one method:

``gather_candidates``  returns with the host candidates; STUN and TURN servers are asked side by side, meanwhile.
``connect``            waits for ``start_checks()``, then for events; ends with a report instead of never.
``check_incoming``     answers a check with a check even when one is in flight: pion nominates on such a request,
                       otherwise only at its next 200 ms tick (pion/ice selection.go).
``respond_error``      notes role conflicts: a server that does not resolve them gets its role back.

All on the asyncio thread, except ``statistics`` counters, which any thread may read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import aioice
from aioice import stun

from neko_trio.media import ice_gathering as gathering
from neko_trio.media.aiortc_private import (
    CandidatePair,
    IceAgentBase,
    PairState,
    StunMessage,
    StunProtocol,
    abandon_relay,
    network_host,
)
from neko_trio.media.ice_gathering import IceServerAddress
from neko_trio.media.stun_protocol import AgentSocket

ICE_LIMIT = 8.0
"""Seconds from ``start_checks()`` until the checks have failed: below the session's 9 and the server's 10."""
GATHER_LIMIT = 5.0
"""Seconds that one ICE server may take, and that an answer without any candidate waits for the first."""
CONFLICT_LIMIT = 0.3
"""Seconds that a server may go on claiming the controlling role; pion resolves the conflict in one round trip."""
HEAD_START = 0.1
"""Seconds that direct pairs are checked before relayed ones, because the first success is nominated."""
SHORT_HEAD_START = 0.025
"""The same while there is no direct pair yet: one may come."""
OTHER_ADDRESSES_AFTER = 0.15
"""Seconds after which addresses not routed to the server are offered as well."""
RELAY_FAREWELL = 0.5
"""Seconds that a TURN server has to confirm the end of an allocation."""
REMOTE_LIMIT = 100
"""Remote candidates kept, signalled and learned (RFC 8445 §19.5.1 bounds the checks by the same number)."""
UNREAD_LIMIT = 8192
"""Datagrams received and not yet read, beyond which they are dropped as a socket's buffer would."""
ERROR_LIMIT = 16
"""Gathering errors kept."""

_UNTRIED = (PairState.WAITING, PairState.FROZEN)


class IceAgent(IceAgentBase):
    """One peer connection's ICE agent, made for a server that offers and is a full agent or ICE lite."""

    def __init__(
        self,
        *,
        on_candidate: Callable[[aioice.Candidate], None],
        server_address: str | None = None,
        relay_only: bool = False,
        take_control: bool = True,
    ) -> None:
        """``on_candidate`` gets the candidates that are not in the SDP, from ``start_checks()`` on."""
        policy = aioice.TransportPolicy.RELAY if relay_only else aioice.TransportPolicy.ALL
        super().__init__(ice_controlling=False, transport_policy=policy)
        self._on_candidate = on_candidate
        self._server_address = server_address
        self._relay_only = relay_only
        self._take_control = take_control
        if take_control:
            self.tie_breaker = 2**64 - 1
        self._servers: list[IceServerAddress] = []
        self._servers_complete = False
        self._bound: set[str] = set()
        self._gathered = False
        self._something = asyncio.Event()
        self._started = asyncio.Event()
        self._untold: list[aioice.Candidate] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._settled = False
        self._checks_since = 0.0
        self._conflict_since: float | None = None
        self._conflicts = 0
        self.failure: str | None = None
        """Why the checks failed, once they have."""
        self.role_given_back = False
        self.gathering_errors: list[str] = []
        self.checks_received = 0
        self.remotes_ignored = 0
        self.packets_received = self.bytes_received = self.packets_sent = self.bytes_sent = 0
        self.packets_dropped = 0

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
            async with asyncio.timeout(GATHER_LIMIT):
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

    def _bind_others(self) -> None:
        for address in gathering.other_addresses(self._bound):
            self._bind_later(address)

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
            if self._started.is_set():
                self._on_candidate(candidate)
            else:
                self._untold.append(candidate)

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

    def pair_remote(self, candidate: aioice.Candidate) -> None:
        """Pair a remote candidate with the local ones, and check what is new at once."""
        super().pair_remote(candidate)
        if self.checking:
            self._check_untried()

    # -- checks

    def start_checks(self) -> None:
        """The answer is on its way: check, and tell later candidates."""
        if self._started.is_set():
            return
        self._started.set()
        for candidate in self._untold:
            self._on_candidate(candidate)
        self._untold.clear()
        if not self.closing:
            self._later("limit", ICE_LIMIT, self._give_up)
            if not self._relay_only:
                self._later("others", OTHER_ADDRESSES_AFTER, self._bind_others)

    async def connect(self) -> None:
        """Check pairs until one is nominated. Raises :class:`ConnectionError`; ``failure`` says why."""
        await self._started.wait()
        if self.closing:
            raise ConnectionError("closed")
        if self._take_control and not self.remote_is_lite:
            self.ice_controlling = True
        self._checks_since = self._now()
        for remote in self.known_remotes:
            self.pair_remote(remote)
        self.sort_check_list()
        self.begin_checking()
        self._check_untried()
        self._progress()
        nominated = await self.wait_checks()
        self._drop_timers()
        for pair in self.check_list:
            if pair.task is not None:
                pair.task.cancel()
        if not nominated or self.closing:
            self.failure = self.failure or "every candidate pair failed"
            raise ConnectionError(self.failure)
        self.start_consent()

    def _check_untried(self) -> None:
        """Start every check that is due, direct paths first."""
        if self.check_list_done:
            return
        direct = any(not self._second_choice(pair) for pair in self.check_list)
        due = self._checks_since + (HEAD_START if direct else SHORT_HEAD_START)
        wait = due - self._now()
        for pair in list(self.check_list):
            if pair.state not in _UNTRIED or pair.task is not None:
                continue
            if wait > 0 and self._second_choice(pair):
                self._later("second", wait, self._check_untried)
            else:
                self.check_start_task(pair)

    def _second_choice(self, pair: CandidatePair) -> bool:
        return not self._relay_only and pair.local_candidate.type == "relay"

    def check_state(self, pair: CandidatePair, state: PairState) -> None:
        """Note a pair's new state."""
        super().check_state(pair, state)
        if state is PairState.SUCCEEDED:
            self._settled = True

    def check_incoming(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """Handle an authentic check of the server; answer it with one of ours (RFC 8445 §7.3.1.4)."""
        if len(self.known_remotes) >= REMOTE_LIMIT and not self._knows(addr):
            return
        before = {id(pair): pair.state for pair in self.check_list}
        super().check_incoming(message, addr, protocol)
        if self.nominated_pair is not None or "USE-CANDIDATE" in message.attributes:
            return
        for pair in self.check_list:
            if pair.protocol is protocol and pair.remote_addr == addr:
                state = before.get(id(pair))
                if state is PairState.IN_PROGRESS and isinstance(protocol, AgentSocket):
                    protocol.repeat_to(addr)  # perhaps ours was lost before the server's packet opened the way
                elif state is PairState.SUCCEEDED and not self.ice_controlling:
                    self._ping(pair)  # the server nominates on a request after its own check has succeeded

    def _knows(self, addr: tuple[str, int]) -> bool:
        return any((network_host(remote), remote.port) == addr for remote in self.known_remotes)

    def _ping(self, pair: CandidatePair) -> None:
        """Send a check whose answer nobody needs."""
        assert self.remote_password is not None  # checks are handled only after connect() has it
        request = self.build_request(pair, nominate=False)
        request.add_message_integrity(self.remote_password.encode())
        pair.protocol.send_stun(request, pair.remote_addr)

    def may_fail(self) -> bool:
        """Whether nothing more can come that would form a pair."""
        return self._servers_complete and not self._tasks and "others" not in self._timers

    def _give_up(self) -> None:
        if not self.check_list_done:
            self.failure = f"no pair was nominated within {ICE_LIMIT:g} s"
            self.fail_checks()

    # -- the role

    @property
    def role_unsettled(self) -> bool:
        """Whether we claim the controlling role and the server has not shown that it accepts that."""
        return self.ice_controlling and not self._settled and not self.remote_is_lite

    def request_received(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """Handle any binding request."""
        self.checks_received += 1
        super().request_received(message, addr, protocol)

    def respond_error(
        self, request: StunMessage, addr: tuple[str, int], protocol: StunProtocol, error_code: tuple[int, str]
    ) -> None:
        """Refuse a request; 487, which only authentic ones get, is a role conflict."""
        super().respond_error(request, addr, protocol, error_code)
        if error_code[0] == 487 and self.ice_controlling:
            self._conflicts += 1
            now = self._now()
            if self._conflict_since is None:
                self._conflict_since = now
                self._later("conflict", CONFLICT_LIMIT, self._conflict_due)
            elif now - self._conflict_since > CONFLICT_LIMIT:
                self._give_role_back()

    def _conflict_due(self) -> None:
        if self._conflicts > 1 and self.nominated_pair is None:
            self._give_role_back()

    def _give_role_back(self) -> None:
        """The server goes on claiming the controlling role: it does not resolve conflicts, and answers no check."""
        self.role_given_back = True
        self.tie_breaker = 0
        self.switch_role(ice_controlling=False)
        for pair in self.check_list:
            if pair.state is PairState.IN_PROGRESS and pair.task is not None:
                pair.task.cancel()
                pair.task = None
                self.check_start_task(pair)  # again, in the other role

    # -- data

    def data_received(self, data: bytes, component: int) -> None:
        """Queue a datagram that is no STUN for ``recv()``."""
        if self.unread >= UNREAD_LIMIT:
            self.packets_dropped += 1
            return
        self.packets_received += 1
        self.bytes_received += len(data)
        super().data_received(data, component)

    async def send(self, data: bytes) -> None:
        """Send a datagram on the nominated pair. Raises :class:`ConnectionError` when there is none."""
        await super().send(data)
        self.packets_sent += 1
        self.bytes_sent += len(data)

    # -- the end

    async def close(self) -> None:
        """Close all sockets and end all tasks, in bounded time. Not to be cancelled; again is a no-op."""
        self.begin_closing()
        self._drop_timers()
        self._started.set()
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
