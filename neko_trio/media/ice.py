"""The client's ICE agent: an ``aioice.Connection`` that answers early, checks at once and nominates itself.

What it does otherwise than aioice, each in one method:

``gather_candidates``  returns with the host candidates (:mod:`neko_trio.media.ice_candidates`).
``pair_remote``        dials TCP candidates (:mod:`neko_trio.media.ice_tcp`); each connection is one pair.
``connect``            waits for ``start_checks()``, then for events; ends with a report instead of never.
``check_incoming``     answers a check with a check even when one is in flight: pion nominates on such a request,
                       otherwise only at its next 200 ms tick (pion/ice selection.go).
``request_received``   takes a check of a server that controls, too, as if we did not: whoever nominates first wins.

All on the asyncio thread, except the counters, which any thread may read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import perf_counter

import aioice
from aioice import stun

from neko_trio.media.aiortc_private import CandidatePair, PairState, StunMessage, StunProtocol, network_host
from neko_trio.media.ice_candidates import REMOTE_LIMIT, CandidateAgent
from neko_trio.media.ice_tasks import in_words
from neko_trio.media.ice_tcp import Dials
from neko_trio.media.stun_protocol import AgentSocket

logger = logging.getLogger("neko_trio.ice")

ICE_LIMIT = 8.0
"""Seconds from ``start_checks()`` until the checks have failed: below the session's 9 and the server's 10."""
UNANSWERED_LIMIT = 0.8
"""Seconds without any answer to our checks after which the server gets its role back: it may be one that ignores a
check in its own role, and that cannot check us because we are behind NAT, or have come by TCP. Less would gain nothing,
as pion nominates a client that it has learned after 1 s, and would cost the role where a round trip takes long."""
NOMINATION_LIMIT = 1.0
"""Seconds from then on, with answers but without a nomination, after which the role is claimed once more: a check
of ours whose answer never came may have nominated already, and then the server waits for nothing."""
HEAD_START = 0.1
"""Seconds that direct UDP pairs are checked before relayed ones and TCP, because the first success is nominated."""
SHORT_HEAD_START = 0.01
"""The same while there is no direct UDP pair yet: one may come."""
GUESS_AFTER = 0.02
"""Seconds after which the WebSocket's address is tried with the ports of the server's candidates."""
OTHER_ADDRESSES_AFTER = 0.15
"""Seconds after which addresses not routed to the server are offered as well."""
UNREAD_LIMIT = 8192
"""Datagrams received and not yet read, beyond which they are dropped as a socket's buffer would."""

TAKES_CONTROL = 2**64 - 1
"""The tie-breaker that wins every role conflict (RFC 8445 §7.3.1.1)."""

_UNTRIED = (PairState.WAITING, PairState.FROZEN)


class IceAgent(CandidateAgent):
    """One peer connection's ICE agent, made for a server that offers and is a full agent or ICE lite."""

    def __init__(
        self,
        *,
        on_candidate: Callable[[aioice.Candidate], None],
        server_address: str | None = None,
        relay_only: bool = False,
        take_control: bool = True,
        allow_private: bool = True,
    ) -> None:
        """``on_candidate`` gets the candidates that are not in the SDP, from ``start_checks()`` on."""
        super().__init__(
            on_candidate=on_candidate,
            server_address=server_address,
            relay_only=relay_only,
            allow_private=allow_private,
        )
        self._take_control = take_control
        if take_control:
            self.tie_breaker = TAKES_CONTROL
        self._started = asyncio.Event()
        self._claiming = False
        self._checks_since = 0.0
        self.dials = Dials(self.tasks, lambda: AgentSocket(self), self._dialled)
        self.on_media: Callable[[bytes], bool] | None = None
        """Takes the datagrams of SRTP and SRTCP; those that it refuses are queued like the others."""
        self.on_connect: Callable[[asyncio.Task[object]], None] | None = None
        """Told which task calls ``connect()``: aiortc's, which goes on to DTLS and of which it keeps no reference."""
        self.failure: str | None = None
        """Why the checks failed, once they have, or why what was nominated carries no more."""
        self.role_given_back = False
        """Whether the server would not give up the controlling role."""
        self.refusals: dict[tuple[str, int], str] = {}
        """The error with which a remote address last answered one of our checks."""
        self.heard: set[tuple[str, int]] = set()
        """Remote addresses that checks came from."""
        self.checks_received = 0
        self.packets_received = self.bytes_received = self.packets_sent = self.bytes_sent = 0
        self.packets_dropped = 0
        """Datagrams beyond UNREAD_LIMIT."""
        self.heard_at = perf_counter()
        """When the server was last heard of, in seconds of ``perf_counter``: a check of its, the answer to :meth:`ask`,
        or any datagram that is no STUN."""

    # -- checks

    def start_checks(self) -> None:
        """The answer is on its way: check, and tell later candidates."""
        if self._started.is_set():
            return
        self._started.set()
        self.tell_candidates()
        if not self.closing:
            self.tasks.later("limit", ICE_LIMIT, self._give_up)
            self.tasks.later("guess", GUESS_AFTER, self.guess_remotes)
            if not self.relay_only:
                self.tasks.later("others", OTHER_ADDRESSES_AFTER, self.offer_others)

    def pair_remote(self, candidate: aioice.Candidate) -> None:
        """Pair a remote candidate with the local ones, and check what is new at once."""
        if candidate.transport.lower() == "tcp":
            self.dials.add(candidate)
        else:
            super().pair_remote(candidate)
        if self.checking:
            self._check_untried()

    async def connect(self) -> None:
        """Check pairs until one is nominated. Raises :class:`ConnectionError`; ``failure`` says why."""
        task = asyncio.current_task()
        if self.on_connect is not None and task is not None:
            self.on_connect(task)
        await self._started.wait()
        if self.closing:
            raise ConnectionError("closed")
        if self._take_control and not self.remote_is_lite:
            self.ice_controlling = self._claiming = True
        self._checks_since = self._now()
        for remote in self.known_remotes:
            self.pair_remote(remote)
        self.sort_check_list()
        self.begin_checking()
        self._check_untried()
        if self._claiming:
            self.tasks.later("unanswered", UNANSWERED_LIMIT, self._give_role_back)
        self._progress()
        nominated = await self.wait_checks()
        self.tasks.drop_timers()
        self.dials.stop()
        for pair in self.check_list:
            if pair.task is not None:
                pair.task.cancel()
        if not nominated or self.closing:
            self.failure = self.failure or "every candidate pair failed"
            raise ConnectionError(self.failure)
        self.start_consent()

    def _check_untried(self) -> None:
        """Start every check that is due, direct UDP first; TCP is dialled when that has had its time."""
        if self.check_list_done:
            return
        direct = any(not self._second_choice(pair) for pair in self.check_list)
        wait = self._checks_since + (HEAD_START if direct else SHORT_HEAD_START) - self._now()
        for pair in list(self.check_list):
            if pair.state not in _UNTRIED or pair.task is not None:
                continue
            if wait > 0 and self._second_choice(pair):
                self.tasks.later("second", wait, self._check_untried)
            else:
                self.check_start_task(pair)
        if self.dials.waiting and wait > 0 and direct:
            self.tasks.later("second", wait, self._check_untried)
        else:
            self.dials.start()

    def _second_choice(self, pair: CandidatePair) -> bool:
        local = pair.local_candidate
        return not self.relay_only and (local.type == "relay" or local.transport == "tcp")

    def _dialled(self, socket: AgentSocket, remote: aioice.Candidate) -> None:
        self.sockets.append(socket)
        pair = CandidatePair(socket, remote)
        self.check_list.append(pair)
        self.sort_check_list()
        self._check_untried()

    def check_state(self, pair: CandidatePair, state: PairState) -> None:
        """Note a pair's new state."""
        super().check_state(pair, state)
        if state is PairState.SUCCEEDED:
            self._claiming = False  # granted
        elif state is PairState.IN_PROGRESS and self._claiming and pair.remote_addr in self.heard:
            asyncio.get_running_loop().call_soon(self._ping_contested, pair)  # behind the check that begins now

    def check_incoming(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """Handle an authentic check of the server; answer it with one of ours (RFC 8445 §7.3.1.4)."""
        if not self._knows(addr) and (len(self.known_remotes) >= REMOTE_LIMIT or "PRIORITY" not in message.attributes):
            return  # no room for what would be learned, or nothing that says what it is worth (RFC 8445 §7.1.1)
        self.heard.add(addr)
        before = {id(pair): pair.state for pair in self.check_list}
        if protocol.local_candidate.transport == "tcp":
            self._check_over_tcp(message, protocol)
        else:
            super().check_incoming(message, addr, protocol)
        contested = self._claiming and "ICE-CONTROLLING" in message.attributes
        if self.nominated_pair is not None or "USE-CANDIDATE" in message.attributes:
            if contested:
                self._give_role_back()
            return
        for pair in self.check_list:
            if pair.protocol is protocol and pair.remote_addr == addr:
                state = before.get(id(pair))
                if state is PairState.IN_PROGRESS and isinstance(protocol, AgentSocket):
                    protocol.repeat_to(addr)  # perhaps ours was lost before the server's packet opened the way
                    self._ping_contested(pair)
                elif state is PairState.SUCCEEDED and not self.ice_controlling:
                    self._ping(pair)  # the server nominates on a request after its own check has succeeded

    def _check_over_tcp(self, message: StunMessage, protocol: StunProtocol) -> None:
        """As aioice does over UDP, but a connection is one pair, whatever else has the same address and port."""
        for pair in self.check_list:
            if pair.protocol is not protocol:
                continue
            if pair.state in (PairState.FROZEN, PairState.FAILED, PairState.WAITING):
                self.check_state(pair, PairState.WAITING)
                self.check_start_task(pair)
            if "USE-CANDIDATE" in message.attributes and not self.ice_controlling:
                pair.remote_nominated = True
                if pair.state is PairState.SUCCEEDED:
                    pair.nominated = True
                    self.check_complete(pair)
            return

    def _knows(self, addr: tuple[str, int]) -> bool:
        return any((network_host(remote), remote.port) == addr for remote in self.known_remotes)

    def _ping(self, pair: CandidatePair) -> None:
        """Send a check in the controlled role whose answer nobody needs."""
        assert self.remote_password is not None  # checks are handled only after connect() has it
        role, self.ice_controlling = self.ice_controlling, False
        request = self.build_request(pair, nominate=False)
        self.ice_controlling = role
        request.add_message_integrity(self.remote_password.encode())
        pair.protocol.send_stun(request, pair.remote_addr)

    def _ping_contested(self, pair: CandidatePair) -> None:
        """Let a server that keeps the role nominate; always behind a check that takes the role of one that yields."""
        if self._claiming and not self.closing:
            self._ping(pair)

    def note_refusal(self, addr: tuple[str, int], error: stun.TransactionFailed) -> None:
        """Keep how an address refused a request of ours; a role conflict is none."""
        if error.response.error_code != 487 and self._knows(addr):
            self.refusals[addr] = in_words(error)

    def protocol_lost(self, protocol: StunProtocol) -> None:
        """A connection, or a relay's, has gone: what it carried fails at once."""
        super().protocol_lost(protocol)
        if self.closing:
            return
        carrying = self.nominated_pair
        if carrying is not None and carrying.protocol is protocol:
            self.failure = f"the {'relay' if carrying.local_candidate.type == 'relay' else 'TCP'} connection was lost"
            return
        for pair in list(self.check_list):
            if pair.protocol is protocol and pair.state is not PairState.FAILED:
                if pair.task is not None:
                    pair.task.cancel()
                self.refusals[pair.remote_addr] = "the connection was closed"
                self.check_state(pair, PairState.FAILED)
                self.check_complete(pair)

    def may_fail(self) -> bool:
        """Whether nothing more can come that would form a pair."""
        due = self.tasks.is_due("others", "guess", "second")
        return self._servers_complete and not self.tasks and not due

    def _give_up(self) -> None:
        if not self.check_list_done:
            self.failure = f"no pair was nominated within {ICE_LIMIT:g} s"
            self.fail_checks()

    # -- the role

    @property
    def role_unsettled(self) -> bool:
        """Whether we claim the controlling role and the server has not shown that it accepts that."""
        return self._claiming

    def request_received(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """Handle any binding request.

        While both sides claim the controlling role, RFC 8445 §7.3.1.1 has the one with the larger tie-breaker refuse
        the other's check. pion/ice before 2.3.38 and 4.0.11 (Neko before 3.0.7) ignores the refusal, and ours: it would
        check again 200 ms later. So its check is answered, and it may nominate; one that resolves the conflict has
        given its role up by then.
        """
        if not self.policy.allows(addr[0]):
            return  # an answer, and a check of ours, would go there
        self.checks_received += 1
        self.heard_at = perf_counter()
        contested = self._claiming and self.ice_controlling and "ICE-CONTROLLING" in message.attributes
        if contested:
            self.ice_controlling = False
        tie_breaker = self.tie_breaker
        yielded = self.role_given_back and "ICE-CONTROLLED" in message.attributes
        if yielded:
            self.tie_breaker = TAKES_CONTROL
        try:
            super().request_received(message, addr, protocol)
        finally:
            if contested and self._claiming:
                self.ice_controlling = True
            if yielded and self.ice_controlling:
                self._take_role_again()
            elif yielded:  # not authentic
                self.tie_breaker = tie_breaker

    def _take_role_again(self) -> None:
        """The server has yielded to a check of ours from before it got its role back: else nobody would nominate."""
        self.role_given_back = False
        if self.nominated_pair is None:
            self._check_again(PairState.IN_PROGRESS, PairState.SUCCEEDED)

    def _check_again(self, *states: PairState) -> None:
        """Check the pairs in these states once more, in the role that is ours now."""
        for pair in list(self.check_list):
            if pair.state in states:
                if pair.task is not None:
                    pair.task.cancel()
                    pair.task = None
                self.check_start_task(pair)

    def _give_role_back(self) -> None:
        """The server does not give its role up, or answers nobody who claims it."""
        if not self._claiming:
            return
        self._claiming = False
        self.role_given_back = True
        self.tie_breaker = 0
        self.switch_role(ice_controlling=False)
        self._check_again(PairState.IN_PROGRESS)
        self.tasks.later("nomination", NOMINATION_LIMIT, self._claim_again)

    def _claim_again(self) -> None:
        """The server has the role, and has nominated nothing."""
        if not self.role_given_back or self.check_list_done:
            return
        if all(pair.state is not PairState.SUCCEEDED for pair in self.check_list):
            self.tasks.later("nomination", NOMINATION_LIMIT, self._claim_again)  # it could not
            return
        self.role_given_back, self._claiming = False, True
        self.tie_breaker = TAKES_CONTROL
        self.switch_role(ice_controlling=True)
        self._check_again(PairState.IN_PROGRESS, PairState.SUCCEEDED)
        self.tasks.later("unanswered", UNANSWERED_LIMIT, self._give_role_back)

    # -- signs of life

    def ask(self) -> None:
        """Send a check on the nominated pair, as for consent (RFC 7675 §5.1): its answer is a sign of life."""
        pair = self.nominated_pair
        if pair is not None and not self.closing:
            self.tasks.start(partial(self._check_on, pair), lambda why: logger.debug("the server was asked: %s", why))

    async def _check_on(self, pair: CandidatePair) -> None:
        assert self.remote_password is not None  # else nothing is nominated
        request, key = self.build_request(pair, nominate=False), self.remote_password.encode()
        with suppress(stun.TransactionFailed):  # who refuses is there
            await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
        self.heard_at = perf_counter()

    # -- data

    def data_received(self, data: bytes, component: int) -> None:
        """Take a datagram that is no STUN, and not empty: media at once, the rest is queued for ``recv()``."""
        self.heard_at = perf_counter()
        if self.unread >= UNREAD_LIMIT:
            self.packets_dropped += 1
            return
        self.packets_received += 1
        self.bytes_received += len(data)
        if 127 < data[0] < 192 and self.on_media is not None and self.on_media(data):  # RFC 7983 §7
            return
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
        self._started.set()
        await super().close()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
