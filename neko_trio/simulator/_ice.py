"""The server's ICE agent: aioice's sockets and messages with pion's habits.

What pion/ice 4 does and the client has to live with: it ignores checks that overtake the answer;
it pings every pair as soon as it exists and again every 200 ms; it nominates a pair only when a request arrives on one
whose own ping has succeeded and which is the best that could still work, or at the next 200 ms tick; it waits before
it nominates anything but host candidates (srflx 0.5 s, prflx 1 s, relay 2 s); the request that makes it give up the
controlling role is dropped. It never gives up by itself: whoever uses it sets the limit.
"""

from __future__ import annotations

import asyncio
import random
import socket
import string
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aioice
from aioice import stun

from neko_trio.media.aiortc_private import (
    CandidatePair,
    IceAgentBase,
    PairState,
    StunMessage,
    StunProtocol,
)

if TYPE_CHECKING:
    from neko_trio.simulator._faults_media import PacketFault

__all__ = ["LOOPBACK", "Network", "ServerAgent", "ServerSocket"]

LOOPBACK = ("127.0.0.1",)
CHECK_INTERVAL = 0.2
"""Seconds between pion's ticks (``checkInterval``)."""
MAX_PINGS = 8
"""Pings of one pair before it counts as failed (``maxBindingRequests`` 7, and one)."""
ACCEPTANCE_WAIT = {"host": 0.0, "srflx": 0.5, "prflx": 1.0, "relay": 2.0}
"""Seconds from the start of the checks before a candidate of this type may be nominated."""
RECEIVE_BUFFER = 1 << 20
MAX_LATE = 4096
"""Datagrams of one peer that faults keep back; more are lost."""
_ALPHABET = string.ascii_letters


def _random(length: int) -> str:
    return "".join(random.SystemRandom().choices(_ALPHABET, k=length))


@dataclass(frozen=True, slots=True)
class Network:
    """Where the server's media are reached, and how."""

    addresses: tuple[str, ...] = LOOPBACK
    """IP addresses that sockets are bound to."""
    transports: tuple[str, ...] = ("udp",)
    """``udp``, and ``tcp`` as ``webrtc.tcpmux`` has it."""
    nat1to1: str | None = None
    """IP address that candidates name instead of the one they are bound to (``webrtc.nat1to1``)."""
    lite: bool = False
    """Answers checks and sends none (``webrtc.icelite``)."""

    def announced(self, address: str) -> str:
        """What a candidate at this address names: a given one replaces those of its family, as pion does."""
        given = self.nat1to1
        return given if given is not None and (":" in given) == (":" in address) else address


class ServerSocket(StunProtocol):
    """A socket that notes when something came, and can be cut off from the network."""

    def __init__(self, agent: ServerAgent) -> None:
        super().__init__(agent)
        self._agent = agent

    def datagram_received(self, data: bytes | str, addr: tuple[object, ...]) -> None:
        if not self._agent.silent:
            self._pass(bytes(data) if isinstance(data, bytes) else data.encode(), self._hear, addr, to_client=False)

    def _hear(self, data: bytes, addr: tuple[object, ...]) -> None:
        self._agent.last_heard = asyncio.get_running_loop().time()
        with suppress(struct.error):  # what aioice lets escape from a message that is none
            super().datagram_received(data, addr)

    async def send_data(self, data: bytes, addr: tuple[str, int]) -> None:
        self._send_on(data, addr)

    def send_stun(self, message: StunMessage, addr: tuple[str, int]) -> None:
        if self._agent.silent:
            return
        if self._agent.faults:
            self._send_on(bytes(message), addr)
        else:
            super().send_stun(message, addr)

    def _send_on(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._agent.silent:
            self._pass(data, self.transport.sendto, addr, to_client=True)

    def _pass(self, data: bytes, arrive: Callable[[bytes, Any], None], addr: Any, *, to_client: bool) -> None:
        """Through the faults in force, one behind the other."""
        agent = self._agent
        if not agent.faults:
            arrive(data, addr)
            return
        arriving = [(0.0, data)]
        for fault in agent.faults:
            transport = self.local_candidate.transport
            arriving = [
                (delay + more, changed)
                for delay, each in arriving
                for more, changed in fault.arrivals(each, to_client=to_client, transport=transport)
            ]
        for delay, each in arriving:
            if delay == 0:
                arrive(each, addr)
            elif agent.late < MAX_LATE:
                agent.late += 1
                asyncio.get_running_loop().call_later(delay, self._arrive_late, arrive, each, addr)

    def _arrive_late(self, arrive: Callable[[bytes, Any], None], data: bytes, addr: Any) -> None:
        self._agent.late -= 1
        if not self._agent.closing:
            arrive(data, addr)


class ServerAgent(IceAgentBase):
    """One component, host candidates (and one that looks server-reflexive) on the network's addresses, controlling."""

    def __init__(self, *, keep_alive: float, network: Network) -> None:
        super().__init__(ice_controlling=not network.lite, local_username=_random(16), local_password=_random(32))
        self._keep_alive = keep_alive
        self._network = network
        self.last_heard = asyncio.get_running_loop().time()
        """Loop time of the last packet from anybody."""
        self.silent = False
        """A fault: nothing leaves, nothing is read."""
        self.faults: tuple[PacketFault, ...] = ()
        """What becomes of datagrams."""
        self.late = 0
        """Datagrams that faults keep back."""
        self._pings: set[asyncio.Task[None]] = set()
        self._ping_counts: dict[int, int] = {}
        self._chosen: CandidatePair | None = None
        self._checks_began = 0.0

    async def open_sockets(self, on_candidate: Callable[[aioice.Candidate], None]) -> None:
        """Bind a UDP socket to each address and tell of its candidate. ``OSError`` when no address can be bound."""
        self.begin_gathering()
        failure: OSError | None = None
        for address in self._network.addresses if "udp" in self._network.transports else ():
            try:
                await self._open(address, "host", on_candidate)
            except OSError as error:
                failure = error
        if failure is not None and not self.sockets:
            raise failure
        self.end_gathering()

    async def open_reflexive(self, on_candidate: Callable[[aioice.Candidate], None]) -> None:
        """A socket more on the first address, whose candidate is told as server-reflexive: what a STUN server would
        have shown, as the recorded servers have it. Lite agents ask none, and TCP is not asked for."""
        if self._network.lite or not self.sockets:
            return
        await self._open(self._network.addresses[0], "srflx", on_candidate)
        for remote in self.known_remotes:
            self.pair_remote(remote)

    async def _open(self, address: str, kind: str, on_candidate: Callable[[aioice.Candidate], None]) -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(lambda: ServerSocket(self), local_addr=(address, 0))
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        port = transport.get_extra_info("sockname")[1]
        reflexive = kind == "srflx"
        candidate = aioice.Candidate(
            foundation=str(zlib.crc32(f"{kind}{address}udp".encode())),
            component=1,
            transport="udp",
            priority=1694498815 if reflexive else 2130706431,
            host=self._network.announced(address),
            port=port,
            type=kind,
            related_address="0.0.0.0" if reflexive else None,
            related_port=port if reflexive else None,
        )
        protocol.local_candidate = candidate
        self.own_candidates.append(candidate)
        self.sockets.append(protocol)
        on_candidate(candidate)

    def tcp_candidate(self, address: str, port: int) -> aioice.Candidate:
        """The passive candidate at an address and port that all peers share."""
        return aioice.Candidate(
            foundation=str(zlib.crc32(f"host{address}tcp".encode())),
            component=1,
            transport="tcp",
            priority=1671430143,
            host=self._network.announced(address),
            port=port,
            type="host",
            tcptype="passive",
        )

    async def connect(self) -> None:
        """Check pairs until one is nominated; the caller sets the limit. ``ConnectionError`` when closed before."""
        self._checks_began = asyncio.get_running_loop().time()
        for remote in self.known_remotes:
            self.pair_remote(remote)
        self.begin_checking()
        self._ping_all()
        ticking = asyncio.create_task(self._tick())  # ended below
        try:
            completed = await self.wait_checks()
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
            self._end_pings()
        if not completed:
            raise ConnectionError("closed while checking")
        self.start_consent()

    async def close(self) -> None:
        """Close the sockets; ends ``connect`` and ``recv``."""
        pings = list(self._pings)
        self._end_pings()
        if pings:
            await asyncio.wait(pings)
        await super().close()

    async def query_consent(self) -> None:
        """Keep the path alive as pion does: a request now and then, whose answer shows that the client lives. A lite
        agent leaves that to the client."""
        if self._network.lite:
            return
        key = (self.remote_password or "").encode()
        while (pair := self.nominated_pair) is not None:
            await asyncio.sleep(self._keep_alive)
            try:
                request = self.build_request(pair, nominate=False)
                await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
            except stun.TransactionError:
                continue  # how long silence may last is the peer's business

    # the checks

    def may_fail(self) -> bool:
        return False

    def pair_remote(self, candidate: aioice.Candidate) -> None:
        super().pair_remote(candidate)
        self.sort_check_list()
        if self.checking:
            self._ping_all()

    def check_start_task(self, pair: CandidatePair) -> None:
        """aioice's wish to check a pair: a ping."""
        self._ping(pair)

    def request_received(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        """As pion: nothing is answered before the client's credentials are known, and not the request that tells us
        that the client wants to control, and wins."""
        if self.remote_password is None:
            return
        theirs = message.attributes.get("ICE-CONTROLLING")
        authentic = "MESSAGE-INTEGRITY" in message.attributes and message.check_message_integrity(
            self.local_password.encode()
        )
        if self.ice_controlling and theirs is not None and authentic and self.tie_breaker < theirs:
            self.switch_role(ice_controlling=False)
            return
        super().request_received(message, addr, protocol)

    def check_incoming(self, message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        super().check_incoming(message, addr, protocol)
        pair = next(each for each in self.check_list if each.protocol is protocol and each.remote_addr == addr)
        if protocol.local_candidate.transport == "tcp":
            pair.remote_candidate.transport = "tcp"  # aioice takes every candidate that it learns for one of UDP
        if self._network.lite:
            if "USE-CANDIDATE" in message.attributes and not pair.nominated:
                self.check_state(pair, PairState.SUCCEEDED)
                pair.nominated = True
                self.check_complete(pair)
            return
        if not self.ice_controlling or self._chosen is not None or self.nominated_pair is not None:
            return
        best = next((pair for pair in self.check_list if pair.state != PairState.FAILED), None)
        here = best is not None and best.protocol is protocol and best.remote_addr == (addr[0], addr[1])
        if best is not None and here and best.state == PairState.SUCCEEDED and self._acceptable(best):
            self._nominate(best)

    def _acceptable(self, pair: CandidatePair) -> bool:
        waited = asyncio.get_running_loop().time() - self._checks_began
        types = (pair.local_candidate.type, pair.remote_candidate.type)
        return waited >= max(ACCEPTANCE_WAIT.get(each, 0.0) for each in types)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            if self.ice_controlling:
                if self._chosen is not None:
                    self._ping(self._chosen, nominate=True)
                    continue
                valid = (pair for pair in self.check_list if pair.state == PairState.SUCCEEDED)
                best = next(valid, None)
                if best is not None and self._acceptable(best):
                    self._nominate(best)
                    continue
            self._ping_all()

    def _nominate(self, pair: CandidatePair) -> None:
        self._chosen = pair
        self._ping(pair, nominate=True)

    def _ping_all(self) -> None:
        if self.check_list_done:
            return
        for pair in list(self.check_list):
            if pair.state in (PairState.FROZEN, PairState.WAITING, PairState.IN_PROGRESS):
                self._ping(pair)

    def _ping(self, pair: CandidatePair, *, nominate: bool = False) -> None:
        if self.closing or self.remote_password is None or self._network.lite:
            return
        if not nominate:
            count = self._ping_counts[id(pair)] = self._ping_counts.get(id(pair), 0) + 1
            if count > MAX_PINGS:
                self.check_state(pair, PairState.FAILED)
                return
            if pair.state != PairState.SUCCEEDED:
                self.check_state(pair, PairState.IN_PROGRESS)
        task = asyncio.create_task(self._ping_once(pair, nominate))  # ended by connect() or close()
        self._pings.add(task)
        task.add_done_callback(self._pings.discard)

    async def _ping_once(self, pair: CandidatePair, nominate: bool) -> None:
        request = self.build_request(pair, nominate=nominate)
        key = (self.remote_password or "").encode()
        try:
            _, address = await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=2)
        except stun.TransactionError as error:
            if error.response is not None and error.response.attributes.get("ERROR-CODE", (0, ""))[0] == 487:
                self.switch_role(ice_controlling="ICE-CONTROLLED" in request.attributes)
                self._ping(pair)
            return  # the next tick tries again, as often as it may
        if address != pair.remote_addr:
            return
        if pair.state != PairState.SUCCEEDED:
            self.check_state(pair, PairState.SUCCEEDED)
        if self.nominated_pair is None and (nominate or (pair.remote_nominated and not self.ice_controlling)):
            pair.nominated = True
            self.check_complete(pair)

    def _end_pings(self) -> None:
        for task in self._pings:
            task.cancel()
