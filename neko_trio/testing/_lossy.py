"""A network that loses, delays, reorders, repeats and damages what a session's media send, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import trio

from neko_trio._wiring import AiortcMedia, Media
from neko_trio.protocol import Malformed
from neko_trio.protocol.candidates import Candidate, parse_candidate
from neko_trio.simulator._weather import DirectionCounts, NetworkConditions, Weather
from neko_trio.testing._lossy_router import Address, Router

if TYPE_CHECKING:
    from neko_trio.media.bridge import Lease
    from neko_trio.media.peer_api import Peer, PeerSetup

__all__ = ["LossyNetwork", "NetworkCounts", "Way"]

_CANDIDATE = "a=candidate:"


@dataclass(frozen=True, slots=True)
class NetworkCounts:
    """What a :class:`LossyNetwork` has done so far, all its peers together."""

    to_client: DirectionCounts
    to_server: DirectionCounts


class LossyNetwork:
    """A bad network between the session and any server: give it as ``media=``.

    ::

        network = LossyNetwork(loss=0.02, round_trip=0.02, seed=1)
        async with neko_trio.open_session(url, password=…, media=network) as session:
            ...
            network.change(loss=1.0)  # from now on it is cut

    It stands between the two as UDP sockets of this machine, so that what it drops is dropped below DTLS and SRTP, as a
    network does it: a retransmission is no replay. It is the only way: STUN and TURN servers and TCP candidates are
    kept from the peer. The WebSocket is left alone. Its parameters are those of :class:`NetworkConditions`; the fate of
    the n-th datagram of a direction depends on ``seed`` alone, while *which* datagram that is depends on time.

    ``media`` is what it stands before, by default aiortc. One may serve several sessions.
    """

    def __init__(
        self,
        *,
        loss: float = 0.0,
        round_trip: float = 0.0,
        reorder: float = 0.0,
        reorder_by: float = 0.01,
        duplicate: float = 0.0,
        corrupt: float = 0.0,
        seed: int = 0,
        media: Media | None = None,
    ) -> None:
        self._conditions = NetworkConditions(
            loss=loss,
            round_trip=round_trip,
            reorder=reorder,
            reorder_by=reorder_by,
            duplicate=duplicate,
            corrupt=corrupt,
        )
        self._media = media or AiortcMedia()
        self._to_server, self._to_client = Weather(f"{seed} to the server"), Weather(f"{seed} to the client")
        self._routers: set[Router] = set()

    @property
    def conditions(self) -> NetworkConditions:
        """How datagrams are treated now."""
        return self._conditions

    def change(self, **conditions: float) -> None:
        """Treat datagrams otherwise from now on: any fields of :class:`NetworkConditions`; the others stay.

        Raises :class:`~neko_trio.errors.InvalidInput` for a value out of range and ``TypeError`` for no such field.
        """
        self._conditions = replace(self._conditions, **conditions)
        for router in self._routers:
            router.conditions = self._conditions

    @property
    def counts(self) -> NetworkCounts:
        """What it has done so far."""
        return NetworkCounts(to_client=self._to_client.counts, to_server=self._to_server.counts)

    # -- what a session asks of its media

    async def prepare(self) -> None:
        """As the media behind it."""
        await self._media.prepare()

    def open_lease(self) -> AbstractAsyncContextManager[Lease]:
        """As the media behind it."""
        return self._media.open_lease()

    @asynccontextmanager
    async def open_peer_connection(self, setup: PeerSetup) -> AsyncIterator[Peer]:
        """A peer connection behind a network of its own, which ends after it."""
        from neko_trio.media.bridge import open_lease

        async with open_lease("network") as lease:
            router = await lease.run(self.open_router)
            try:
                way = Way(router)
                behind = replace(
                    setup,
                    offer_sdp=way.rewritten(setup.offer_sdp, way.to_server),
                    ice_servers=(),
                    ice=replace(setup.ice, servers=None),
                    on_candidate=_if_any(way.to_client, setup.on_candidate),
                )
                async with self._media.open_peer_connection(behind) as peer:
                    yield cast("Peer", _PeerBehind(peer, way))
            finally:
                self._routers.discard(router)
                with trio.CancelScope(shield=True):  # bounded: by the longest that a datagram is under way
                    await lease.run(router.drain)
                lease.post(router.close)

    def open_router(self) -> Router:
        """The sockets in between, for one connection. In the asyncio thread that will close it."""
        router = Router(self._conditions, to_server=self._to_server, to_client=self._to_client)
        self._routers.add(router)
        return router


class Way:
    """Candidates as the other side shall see them."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def to_server(self, text: str) -> str | None:
        """A candidate of the server's for the client, ``None`` for one that would lead around the network."""
        return _translated(text, self._router.instead_of_server)

    def to_client(self, text: str) -> str | None:
        """A candidate of the client's for the server."""
        return _translated(text, self._router.instead_of_client)

    @staticmethod
    def rewritten(sdp: str, translate: Callable[[str], str | None]) -> str:
        """A description with its candidates translated."""
        lines = []
        for line in sdp.splitlines(keepends=True):
            if line.startswith(_CANDIDATE):
                text = translate(line.strip())
                if text is not None:
                    lines.append(f"a={text}\r\n")
            else:
                lines.append(line)
        return "".join(lines)


def _translated(text: str, instead_of: Callable[[Address], Address]) -> str | None:
    try:
        candidate: Candidate = parse_candidate(text)
        if candidate.transport != "udp" or candidate.type == "relay":
            return None
        host, port = instead_of((candidate.host, candidate.port))
    except (Malformed, OSError):  # OSError: a name instead of an address, or one that leads nowhere from here
        return None
    return replace(candidate, host=host, port=port).to_text()


def _if_any(translate: Callable[[str], str | None], tell: Callable[[str], None]) -> Callable[[str], None]:
    def translated(text: str) -> None:
        seen = translate(text)
        if seen is not None:
            tell(seen)

    return translated


class _PeerBehind:
    """A :class:`~neko_trio.media.peer_api.Peer` whose candidates lead through the network; all else is the peer's."""

    def __init__(self, peer: Peer, way: Way) -> None:
        self._peer, self._way = peer, way

    def __getattr__(self, name: str) -> Any:
        return getattr(self._peer, name)

    async def set_local_description(self) -> str:
        return self._way.rewritten(await self._peer.set_local_description(), self._way.to_client)

    async def renegotiate(self, sdp: str) -> str:
        answer = await self._peer.renegotiate(self._way.rewritten(sdp, self._way.to_server))
        return self._way.rewritten(answer, self._way.to_client)

    async def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline_index: int | None) -> None:
        seen = self._way.to_server(candidate) if candidate else ""
        if seen is not None:
            await self._peer.add_candidate(seen, sdp_mid, sdp_mline_index)
