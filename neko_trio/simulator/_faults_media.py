"""Faults of peer connections: datagrams that do not arrive, offers that come and go, peers that die.

Datagrams are lost below ICE, DTLS and SRTP, as a network loses them. `session`: only those of that session's peers.
For `after` and `times` see `_faults_sockets`.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from neko_trio.errors import InvalidInput
from neko_trio.simulator._fault_book import Fault, LivePeer, LiveSocket, MessageFault, Outgoing
from neko_trio.simulator._faults_sockets import GateFault, SocketFaults, seconds_of
from neko_trio.simulator._weather import NetworkConditions, Weather

__all__ = ["MediaFaults", "PacketFault"]

_DIRECTIONS = ("both", "to_client", "to_server")


@dataclass(slots=True, eq=False)
class PacketFault(Fault):
    """What becomes of datagrams; decided on the asyncio thread, counted on trio's."""

    conditions: NetworkConditions = field(default_factory=NetworkConditions)
    direction: str = "both"
    udp_only: bool = False
    until: float = math.inf
    """By `time.monotonic`."""
    weather: dict[bool, Weather] = field(default_factory=dict)
    """By whether it is for the client."""
    _token: trio.lowlevel.TrioToken = field(default_factory=trio.lowlevel.current_trio_token)

    def arrivals(self, datagram: bytes, *, to_client: bool, transport: str) -> list[tuple[float, bytes]]:
        """Pairs of a delay in seconds and bytes. Asyncio thread."""
        here = "to_client" if to_client else "to_server"
        apart = self.direction not in ("both", here) or (self.udp_only and transport != "udp")
        if apart or self.ended.is_set() or time.monotonic() >= self.until:
            return [(0.0, datagram)]
        arriving = self.weather[to_client].fate(datagram, self.conditions)
        if arriving != [(0.0, datagram)]:
            try:
                self._token.run_sync_soon(self._count, idempotent=True)
            except trio.RunFinishedError:
                return []  # nobody is left to look
        return arriving

    def _count(self) -> None:
        """Hits are the datagrams that did not just arrive."""
        counts = [each.counts for each in self.weather.values()]
        struck = sum(each.lost + each.reordered + each.corrupted + each.duplicated for each in counts)
        while self.hits < struck:
            self.hit()


class MediaFaults(SocketFaults):
    """See the module."""

    @asynccontextmanager
    async def silent_media(self, *, session: str | None = None) -> AsyncGenerator[Fault, None]:
        """No packet of the peers of now leaves or is read, by whatever transport; they go on after the block."""
        silenced = self.peers(session)

        def speak() -> None:
            for peer in silenced:
                peer.set_silent(False)

        async with self.put(Fault("silent_media", None, session), speak) as fault:
            for peer in silenced:
                fault.hit(peer.session_id)
                peer.set_silent(True)
            yield fault

    @asynccontextmanager
    async def blackhole(self, *, direction: str = "both", session: str | None = None) -> AsyncGenerator[Fault, None]:
        """UDP datagrams of the peers of now and of the block vanish: "both", "to_client" or "to_server". ICE-TCP is let
        through, as by a firewall that blocks UDP."""
        async with self._packets("blackhole", NetworkConditions(loss=1.0), direction, session, udp_only=True) as fault:
            yield fault

    @asynccontextmanager
    async def packet_loss(
        self, share: float = 0.1, *, direction: str = "both", session: str | None = None, seed: int = 0
    ) -> AsyncGenerator[Fault, None]:
        """A share of the datagrams, 0 to 1, is lost."""
        async with self._packets("packet_loss", NetworkConditions(loss=share), direction, session, seed=seed) as fault:
            yield fault

    @asynccontextmanager
    async def packet_delay(
        self, seconds: float = 0.05, *, direction: str = "both", session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """Every datagram is `seconds` late, in each direction."""
        conditions = NetworkConditions(reorder=1.0, reorder_by=seconds)
        async with self._packets("packet_delay", conditions, direction, session) as fault:
            yield fault

    @asynccontextmanager
    async def packet_reorder(
        self,
        share: float = 0.1,
        *,
        seconds: float = 0.01,
        direction: str = "both",
        session: str | None = None,
        seed: int = 0,
    ) -> AsyncGenerator[Fault, None]:
        """A share of the datagrams is held back for `seconds`, and others overtake them."""
        conditions = NetworkConditions(reorder=share, reorder_by=seconds)
        async with self._packets("packet_reorder", conditions, direction, session, seed=seed) as fault:
            yield fault

    @asynccontextmanager
    async def packet_duplicate(
        self, share: float = 0.1, *, direction: str = "both", session: str | None = None, seed: int = 0
    ) -> AsyncGenerator[Fault, None]:
        """A share of the datagrams arrives twice."""
        conditions = NetworkConditions(duplicate=share)
        async with self._packets("packet_duplicate", conditions, direction, session, seed=seed) as fault:
            yield fault

    @asynccontextmanager
    async def packet_corrupt(
        self, share: float = 0.1, *, direction: str = "both", session: str | None = None, seed: int = 0
    ) -> AsyncGenerator[Fault, None]:
        """A share of the datagrams arrives with one bit turned over."""
        conditions = NetworkConditions(corrupt=share)
        async with self._packets("packet_corrupt", conditions, direction, session, seed=seed) as fault:
            yield fault

    @asynccontextmanager
    async def stall(
        self,
        *,
        seconds: float | None = None,
        after: str | None = None,
        times: int | None = 1,
        session: str | None = None,
        media: bool = True,
    ) -> AsyncGenerator[Fault, None]:
        """The server stops, as with SIGSTOP, for `seconds` or until the end of the block, then goes on: connections are
        accepted by the system and nothing is said on them; unless `media` is false, no packet leaves or is read.
        `session`: that one's WebSocket and peer alone."""
        gate = GateFault("stall", None, session, seconds=seconds_of(seconds))

        async with self._packets("stall media", NetworkConditions(loss=1.0), "both", session) as silence:
            silence.until = -math.inf

            def begin(socket: LiveSocket | None) -> None:
                if socket is None or session is None:
                    gate.everything_until = trio.current_time() + gate.seconds
                    gate.hit()
                else:
                    gate.hold(socket.connection)
                if media:
                    silence.until = time.monotonic() + gate.seconds

            async def deed(socket: LiveSocket) -> bool:
                begin(socket)
                return True

            async with self.put(gate):
                if after is None and session is None:
                    begin(None)
                    yield gate
                else:
                    async with self._befall("stall", deed, after, times, session, now=begin):
                        yield gate

    # Offers

    @asynccontextmanager
    async def second_offer(
        self,
        *,
        fresh: bool = False,
        after: str | None = "signal/provide",
        times: int | None = 1,
        session: str | None = None,
    ) -> AsyncGenerator[Fault, None]:
        """One more offer that nobody asked for: `signal/offer` of the same peer connection, or (`fresh`) a
        `signal/provide` of a new one that replaces it, as if the client had asked again."""

        async def deed(socket: LiveSocket) -> bool:
            if self.server is not None:
                await self.server.offer_again(socket.who, fresh=fresh)
            return True

        async with self._befall("second_offer", deed, after, times, session) as fault:
            yield fault

    @asynccontextmanager
    async def withdraw_offer(
        self, *, sent: bool = True, times: int | None = 1, session: str | None = None
    ) -> AsyncGenerator[Fault, None]:
        """The server closes the peer and says `signal/close` right behind the offer; `sent` false: in place of it."""

        def change(outgoing: Outgoing) -> None:
            if not sent:
                outgoing.texts.clear()

        async def deed(socket: LiveSocket) -> bool:
            for peer in self.peers(socket.who):
                peer.destroy()
            return True

        name, event = "withdraw_offer", "signal/provide"
        async with self.put(MessageFault(name, times, session, event=event, change=change, deed=deed)) as fault:
            yield fault

    # Peers

    @asynccontextmanager
    async def kill_peers(
        self,
        *,
        silently: bool = False,
        after: str | None = None,
        times: int | None = 1,
        session: str | None = None,
    ) -> AsyncGenerator[Fault, None]:
        """Peer connections end: with a DTLS close and `signal/close`; `silently`: their sockets are gone, and nobody
        says a word on any way. The client may ask for a new one."""

        async def deed(socket: LiveSocket) -> bool:
            for peer in self.peers(socket.who):
                peer.kill(silently=silently)
            return True

        async with self._befall("kill_peers", deed, after, times, session) as fault:
            if after is None:
                for peer in self.peers(session):
                    peer.kill(silently=silently)
            yield fault

    @asynccontextmanager
    async def stuck_video(self, *, session: str | None = None) -> AsyncGenerator[Fault, None]:
        """The pipeline gives the peers of now no frame; all else goes on, reports and the data channel too."""
        stuck = self.peers(session)

        def go_on() -> None:
            for peer in stuck:
                peer.set_stuck(False)

        async with self.put(Fault("stuck_video", None, session), go_on) as fault:
            for peer in stuck:
                fault.hit(peer.session_id)
                peer.set_stuck(True)
            yield fault

    # What the server asks

    def peer_made(self, peer: LivePeer) -> None:
        """A new peer connection: what is in force for the network is for it too."""
        faults = self._network_of(peer)
        if faults:
            peer.set_path(faults)

    def peers(self, session: str | None) -> list[LivePeer]:
        """Of one session or of all."""
        live = () if self.server is None else self.server.peers()
        return [peer for peer in live if session in (None, peer.session_id)]

    @asynccontextmanager
    async def _packets(
        self,
        name: str,
        conditions: NetworkConditions,
        direction: str,
        session: str | None,
        *,
        seed: int = 0,
        udp_only: bool = False,
    ) -> AsyncGenerator[PacketFault, None]:
        if direction not in _DIRECTIONS:
            raise InvalidInput(f"direction: one of {', '.join(_DIRECTIONS)}, not {direction!r}")
        weather = {True: Weather(f"{seed} to the client"), False: Weather(f"{seed} to the server")}
        fault = PacketFault(name, None, session, conditions=conditions, direction=direction, udp_only=udp_only)
        fault.weather = weather
        async with self.put(fault, self._spread):
            self._spread()
            yield fault

    def _spread(self) -> None:
        for peer in self.peers(None):
            peer.set_path(self._network_of(peer))

    def _network_of(self, peer: LivePeer) -> tuple[PacketFault, ...]:
        return tuple(each for each in self.in_force(PacketFault) if each.session in (None, peer.session_id))
