"""The simulated server's way to one client: an ICE agent, which an ICE restart exchanges under DTLS.

In the simulator's asyncio thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import aioice

from neko_trio.media.aiortc_private import DtlsCarrier
from neko_trio.simulator._faults_media import PacketFault
from neko_trio.simulator._ice import Network, ServerAgent
from neko_trio.simulator._ice_tcp import TcpMux

__all__ = ["IcePath", "candidate_texts"]


class IcePath(DtlsCarrier):
    """Datagrams to and from the client. Ended by `aclose`."""

    def __init__(
        self, network: Network, mux: TcpMux | None, *, keep_alive: float, on_candidate: Callable[[str], object]
    ) -> None:
        """``keep_alive``: seconds between two checks of the path. ``on_candidate``: told each candidate of the first
        agent when there is one."""
        self._network, self._mux, self._keep_alive, self._on_candidate = network, mux, keep_alive, on_candidate
        self._faults: tuple[PacketFault, ...] = ()
        self.agent = self._new_agent()
        """The one that is used."""
        self.restarted: ServerAgent | None = None
        """The one that will be, once the client has answered to an ICE restart."""
        self.told: list[aioice.Candidate] = []
        """The candidates of the first agent."""

    # what DTLS uses

    @property
    def role(self) -> str:
        return "controlling" if self.agent.ice_controlling else "controlled"

    async def receive(self) -> bytes:
        while True:
            agent = self.agent
            try:
                return await agent.recv()
            except ConnectionError:
                if agent is self.agent:
                    raise

    async def send(self, datagram: bytes) -> None:
        await self.agent.send(datagram)

    # its agents

    @property
    def newest(self) -> ServerAgent:
        """The one whose description the client has, or gets next."""
        return self.restarted or self.agent

    async def open(self) -> None:
        """Gather, and tell the first candidates. ``OSError`` when no address can be bound."""
        await self._open_agent(self.agent, self._tell)

    async def open_reflexive(self) -> None:
        """Gather what is seen from elsewhere, and tell it."""
        await self.agent.open_reflexive(self._tell)

    async def restart(self) -> tuple[ServerAgent, Sequence[aioice.Candidate]]:
        """A new agent, which waits for the client's answer, and its candidates, which nobody is told."""
        if self.restarted is not None:
            await self._close_agent(self.restarted)
        agent = self.restarted = self._new_agent()
        found: list[aioice.Candidate] = []
        await self._open_agent(agent, found.append)
        return agent, found

    async def exchange(self, agent: ServerAgent) -> None:
        """Go on with an agent of `restart`, and close the one before."""
        self.restarted = None
        old, self.agent = self.agent, agent
        await self._close_agent(old)

    async def aclose(self) -> None:
        """Close every agent."""
        if self.restarted is not None:
            await self._close_agent(self.restarted)
        await self._close_agent(self.agent)

    def add_remote(self, text: str) -> None:
        """A candidate of the client's. ``ValueError`` for what is none."""
        candidate = aioice.Candidate.from_sdp(text)
        if candidate.transport.lower() == "udp" and candidate.component == 1:
            self.newest.add_remote(candidate)

    # faults

    def set_silent(self, silent: bool) -> None:
        """Cut off from the network, or joined to it again."""
        self.agent.silent = silent

    def set_faults(self, faults: tuple[PacketFault, ...]) -> None:
        """What becomes of datagrams."""
        self._faults = self.agent.faults = faults

    # inside

    def _new_agent(self) -> ServerAgent:
        agent = ServerAgent(keep_alive=self._keep_alive, network=self._network)
        agent.faults = self._faults
        return agent

    async def _open_agent(self, agent: ServerAgent, on_candidate: Callable[[aioice.Candidate], None]) -> None:
        await agent.open_sockets(on_candidate)
        if self._mux is not None:
            self._mux.expect(agent)
            for address, port in self._mux.endpoints:
                on_candidate(agent.tcp_candidate(address, port))

    async def _close_agent(self, agent: ServerAgent) -> None:
        if self._mux is not None:
            self._mux.forget(agent)
        await agent.close()

    def _tell(self, candidate: aioice.Candidate) -> None:
        self.told.append(candidate)
        self._on_candidate(f"candidate:{_text(candidate, self.agent)}")


def candidate_texts(candidates: Iterable[aioice.Candidate], agent: ServerAgent) -> list[str]:
    """As they stand in a description: each for both components."""
    return [_text(each, agent, component) for each in candidates for component in (1, 2)]


def _text(candidate: aioice.Candidate, agent: ServerAgent, component: int = 1) -> str:
    """As pion spells it: the component asked for, and the user name fragment behind."""
    words = candidate.to_sdp().split(" ")
    words[1] = str(component)
    return f"{' '.join(words)} ufrag {agent.local_username}"
