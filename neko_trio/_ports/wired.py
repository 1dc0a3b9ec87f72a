"""What the input port has of its wires: they are plugged in, hear their answers, and carry questions to the server."""

from __future__ import annotations

from collections.abc import Callable

import trio

from neko_trio._ports.budget import Budget
from neko_trio._ports.channels import DataWire, SocketWire
from neko_trio._ports.wires import Wires
from neko_trio.errors import NekoError
from neko_trio.protocol.data_channel import Pong
from neko_trio.protocol.events import SendUnicast
from neko_trio.protocol.requests import ClientRequest


class WiredPort:
    """What needs no host role and no turn. Trio thread only."""

    def __init__(self, wires: Wires, goodbyes: Budget) -> None:
        self._wires = wires
        self.goodbyes = goodbyes
        """How long the goodbyes of blocks that hold or lend something at the server may wait."""

    # -- what the session plugs in

    def plug(self, data: DataWire | None, socket: SocketWire, *, session_id: str) -> None:
        """Use these wires from now on. A wire that was plugged before stays as it is; another one replaces it.

        ``data`` may be plugged before its channel opens, and is ``None`` while there is no peer.
        """
        self._wires.plug(data, socket, session_id=session_id)

    def unplug(self) -> None:
        """The link and its peer are gone: barriers that are waited for raise, as does the next plan."""
        self._wires.unplug()

    @property
    def away(self) -> bool:
        """Whether there is no connection, and one is being made."""
        return self._wires.away

    @property
    def losses(self) -> int:
        """Differs from before when a connection has been lost since, which is made anew: something went by unseen."""
        return self._wires.losses

    async def wait_back(self) -> None:
        """Wait while a connection is being made anew. Not a checkpoint when one is there, or none will come."""
        await self._wires.wait_back()

    @property
    def returns(self) -> bool:
        """Whether a connection that is lost is made anew: then what it carried is in doubt, and no session is lost."""
        return self._wires.returns

    @returns.setter
    def returns(self, returns: bool) -> None:
        self._wires.returns = returns

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait, now and later, with a fresh ``failure()``. The first failure stays."""
        self._wires.fail(failure)

    # -- what the session's owners of events deliver

    def on_pong(self, pong: Pong) -> bool:
        """A pong of the data channel came. ``False`` when it belongs to somebody else."""
        return self._wires.on_pong(pong)

    def on_unicast(self, event: SendUnicast) -> bool:
        """A ``send/unicast`` came. ``False`` when it is no barrier of this session: others may send such events too."""
        return self._wires.on_unicast(event)

    # -- questions

    async def ask(self, *asked: ClientRequest, admit: Callable[[], None] = lambda: None) -> None:
        """Send requests over the WebSocket and return when the server has handled them, and all events that they
        caused have been seen. A checkpoint. ``admit`` is called right before they leave, and may raise.

        With no request it is the WebSocket's barrier alone. Does not need the host role. Waits while the connection is
        made anew. Cancelled, the requests are sent all or none. Raises ``SessionLost`` or ``SessionClosed``, and
        ``InputInDoubt`` when a connection that is made anew went away before the server had confirmed them.
        """
        await trio.lowlevel.checkpoint()
        await self._wires.ask(*asked, admit=admit)

    async def drain_media(self) -> bool:
        """A round trip on the data channel: what the server had sent over the media connection before has been read.

        ``False`` when that channel is not open, and this cannot be said. A checkpoint; cancelling is safe.
        """
        await trio.lowlevel.checkpoint()
        return await self._wires.drain()
