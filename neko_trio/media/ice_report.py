"""What an ICE agent saw, in words: the candidates, what became of each pair, and what to change at the server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from neko_trio.errors import IceFailed
from neko_trio.media.aiortc_private import CandidatePair, PairState
from neko_trio.media.ice_candidates import GUESS
from neko_trio.media.stun_protocol import AgentSocket

if TYPE_CHECKING:
    import aioice

    from neko_trio.media.ice import IceAgent

LINES = 12
"""Lines of each kind in an error's text; its attributes have all."""

_PRIVATE = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1"))
)


@dataclass(frozen=True, slots=True)
class Remote:
    """A candidate of the server."""

    transport: str
    host: str
    port: int
    type: str
    guessed: bool
    """Nobody has signalled it: a signalled port at the WebSocket's address."""

    def __str__(self) -> str:
        kind = "not announced: the WebSocket's address" if self.guessed else self.type
        return f"{self.transport} {endpoint(self.host, self.port)} {kind}"


@dataclass(frozen=True, slots=True)
class IceReport:
    """A snapshot of one agent."""

    local: tuple[str, ...]
    remotes: tuple[Remote, ...]
    pairs: tuple[str, ...]
    """Each pair, and each TCP connection that came to none, with what became of it."""
    errors: tuple[str, ...]
    server_address: str | None
    relay_only: bool
    ignored: int
    """Candidates of the server that were of no use."""
    refused: int = 0
    """Those among them that ``IceOptions.allow_private`` does not allow."""

    def error(self, reason: str, *, step: str) -> IceFailed:
        """The error of a connection that did not come up."""
        text = f"No network path to the server's media was found: {reason}."
        for title, lines in (("Pairs tried", self.pairs), ("Gathering", self.errors)):
            if lines:
                more = [f"and {len(lines) - LINES} more"] if len(lines) > LINES else []
                text += f" {title}: {'; '.join([*lines[:LINES], *more])}."
        remote = tuple(map(str, self.remotes))
        return IceFailed(text, local=self.local, remote=remote, pairs=self.pairs, hint=self.hint(), step=step)

    def hint(self) -> str:
        """What to change, by what was seen."""
        announced = [remote for remote in self.remotes if not remote.guessed and remote.type != "prflx"]
        if self.relay_only and not self.local:
            return (
                "Only relays are allowed, and no TURN server gave one: check webrtc.iceservers.frontend, its user name "
                "and credential, and that this machine may reach it."
            )
        if not announced and self.refused:
            return (
                f"{self.refused} of the server's candidates are not in the public internet, and "
                "IceOptions(allow_private=False) refuses those: leave it out for a server in a private network."
            )
        if not announced:
            unusable = f" ({self.ignored} of its candidates were of no use)" if self.ignored else ""
            return (
                f"The server offered no address that can be used{unusable}: give it webrtc.epr or webrtc.udpmux (UDP), "
                "or webrtc.tcpmux (TCP), and webrtc.nat1to1."
            )
        if self.relay_only:
            return (
                f"The TURN server could not reach {_endpoints(announced)}: check that it may send there, and that "
                "webrtc.nat1to1 is an address it can reach."
            )
        return " ".join([*self._about_address(announced), *_about_ports(announced)])

    def _about_address(self, announced: Iterable[Remote]) -> Iterable[str]:
        hosts = list(dict.fromkeys(remote.host for remote in announced))
        here = self.server_address
        if here is None or here in hosts:
            return
        named = ", ".join(hosts)
        if all(any(ip_address(host) in network for network in _PRIVATE) for host in hosts):
            yield f"The server announces private addresses only ({named})"
        else:
            yield f"The server announces {named}"
        yield f"and the WebSocket goes to {here}: set webrtc.nat1to1 to an address that reaches it from here."


def _about_ports(announced: Iterable[Remote]) -> Iterable[str]:
    udp = sorted({remote.port for remote in announced if remote.transport == "udp"})
    tcp = sorted({remote.port for remote in announced if remote.transport == "tcp"})
    if udp:
        yield f"Publish the server's UDP ports unchanged ({_list(udp)}; webrtc.epr or webrtc.udpmux)."
    if tcp:
        yield f"Publish its TCP port unchanged ({_list(tcp)}; webrtc.tcpmux)."
    if not tcp:
        yield "Where UDP is blocked, set webrtc.tcpmux, or give a TURN server over TCP in webrtc.iceservers.frontend."


def _list(ports: list[int]) -> str:
    return ", ".join(map(str, ports[:6])) + (", …" if len(ports) > 6 else "")


def _endpoints(remotes: list[Remote]) -> str:
    found = dict.fromkeys(endpoint(remote.host, remote.port) for remote in remotes)
    return ", ".join(list(found)[:6])


def endpoint(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_report(agent: IceAgent) -> IceReport:
    """As of now; any thread. After the agent's close its candidates are gone."""
    tcp = [socket.local_candidate for socket in list(agent.sockets) if socket.local_candidate.transport == "tcp"]
    return IceReport(
        local=tuple(map(_candidate, [*agent.own_candidates, *tcp])),
        remotes=tuple(map(_remote, list(agent.known_remotes))),
        pairs=(*(_pair(agent, pair) for pair in list(agent.check_list)), *_dials(agent)),
        errors=tuple(agent.gathering_errors),
        server_address=agent.server_address,
        relay_only=agent.relay_only,
        ignored=agent.remotes_ignored,
        refused=agent.remotes_refused,
    )


def _candidate(candidate: aioice.Candidate) -> str:
    return f"{candidate.transport.lower()} {endpoint(candidate.host, candidate.port)} {candidate.type}"


def _remote(candidate: aioice.Candidate) -> Remote:
    return Remote(
        candidate.transport.lower(), candidate.host, candidate.port, candidate.type, candidate.foundation == GUESS
    )


def _pair(agent: IceAgent, pair: CandidatePair) -> str:
    local, remote = pair.local_candidate, pair.remote_candidate
    kind = "relay" if local.type == "relay" else local.transport.lower()
    ends = f"{endpoint(local.host, local.port)} → {endpoint(remote.host, remote.port)}"
    return f"{kind} {ends}: {_fate(agent, pair)}"


def _fate(agent: IceAgent, pair: CandidatePair) -> str:
    if pair is agent.nominated_pair:
        return "nominated"
    if pair.state is PairState.SUCCEEDED:
        return "answered, but not nominated by the server"
    if pair.state in (PairState.WAITING, PairState.FROZEN):
        return "not tried"
    refusal = agent.refusals.get(pair.remote_addr)
    unsent = pair.protocol.failure if isinstance(pair.protocol, AgentSocket) else None
    if refusal is not None or unsent is not None:
        return refusal or f"not sent: {unsent}"
    if pair.remote_addr in agent.heard:
        return "no answer, though the server's own checks came"
    return "no answer"


def _dials(agent: IceAgent) -> Iterable[str]:
    for (host, port), outcome in list(agent.dials.outcomes.items()):
        if outcome != "connected":
            yield f"tcp → {endpoint(host, port)}: {outcome}"
