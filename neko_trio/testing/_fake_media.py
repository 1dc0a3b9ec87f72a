"""Where fake peer connections come from: media that take as long as told, and fail on request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from neko_trio._services import open_services
from neko_trio.protocol.data_channel import ClientMessage
from neko_trio.testing._fake_peer import FakePeer
from neko_trio.testing._fake_video import FakeVideo

if TYPE_CHECKING:
    from neko_trio.media.peer_api import PeerSetup

__all__ = ["FakeMedia"]


class FakeMedia:
    """Where :class:`FakePeer` comes from: pass it as ``media=``. For virtual time, and for failures on request.

    ``delays`` (seconds by step name) and ``failures`` (an exception by step name) apply to every peer; the step names
    are those of the methods of ``Peer``. ``peers`` lists all that were made, ``open_peers`` those not closed.

    With a ``rate`` (Hz) pictures come by themselves while the scripted server's video is on: the first one ``start``
    seconds after it was switched on, each captured ``pipeline_delay`` seconds before it comes (see
    ``FakePeer.captured``). Without, a test shows them, and packets of nothing come; ``silent``: not even those.
    """

    def __init__(
        self,
        *,
        delays: dict[str, float] | None = None,
        failures: dict[str, Exception] | None = None,
        data_channel: bool = True,
        silent: bool = False,
        codec: str = "VP8",
        rate: float | None = None,
        start: float = 0.02,
        pipeline_delay: float = 0.0,
    ) -> None:
        self.delays = delays or {}
        self.failures = failures or {}
        self.data_channel = data_channel
        self.silent = silent
        self.codec = codec
        self.rate, self.start, self.pipeline_delay = rate, start, pipeline_delay
        self.video = FakeVideo()
        """What the server sends; :class:`ScriptedServer` puts its own here."""
        self.on_input: Callable[[ClientMessage], None] = lambda _message: None
        """Called with each message of input when it comes."""
        self.peers: list[FakePeer] = []
        self.open_peers: set[FakePeer] = set()
        self.leases = 0
        """Leases open now."""
        self.lost = trio.Event()
        """Set it to let the media thread die."""

    async def prepare(self) -> None:
        """Nothing to import."""
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def open_lease(self) -> AsyncIterator[Any]:
        """A lease of nothing."""
        self.leases += 1
        try:
            await trio.lowlevel.checkpoint()
            yield SimpleNamespace(wait_lost=self._wait_lost, background_failures=SimpleNamespace(total=0))
        finally:
            self.leases -= 1

    async def _wait_lost(self) -> NoReturn:
        from neko_trio.errors import MediaThreadLost

        await self.lost.wait()
        raise MediaThreadLost("The fake media thread was lost.")

    @asynccontextmanager
    async def open_peer_connection(self, setup: PeerSetup) -> AsyncIterator[FakePeer]:
        """A new peer for one offer."""
        peer = FakePeer(self, setup)
        self.peers.append(peer)
        self.open_peers.add(peer)
        try:
            await peer._step("open_peer_connection")
            setup.timeline.mark("peer_created")
            async with open_services() as services:
                peer.services = services
                if self.rate is not None:
                    services.start_soon(peer.film, self.rate)
                try:
                    yield peer
                finally:
                    peer.services = None  # they take no new tasks from here on
        finally:
            with trio.CancelScope(shield=True):  # one checkpoint, no wait
                await peer.aclose()
