"""How long the way to the server and back is: a ping on the data channel now and then.

The server answers a ping for everyone, after the input that went before it on the channel, and it changes nothing there
(server/internal/webrtc/handler.go). Our barriers are pings, too; numbers tell them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from neko_trio._ports.channels import next_number, ping
from neko_trio.errors import NekoError
from neko_trio.protocol import data_channel

if TYPE_CHECKING:
    from neko_trio.media.peer_api import Peer

PING_INTERVAL = 5.0
"""Seconds between two pings: the rate at which ICE checks consent, so that it adds nothing to speak of."""


class RoundTrip:
    """Measures the round trip of each peer in turn. One per session; trio thread."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        """The newest round trip, ``None`` before the first."""
        self.pings_sent = 0
        self.pongs_received = 0
        self._asked: tuple[int, float] | None = None

    async def measure(self, peer: Peer) -> None:
        """Ping ``peer`` every :data:`PING_INTERVAL` seconds as long as its data channel is open. A task of the peer's.

        A ping that is not answered before the next one counts as lost.
        """
        try:
            await peer.wait_data_channel()
            while True:
                number = next_number()
                self._asked = number, trio.current_time()
                await ping(peer, number)
                self.pings_sent += 1
                await trio.sleep(PING_INTERVAL)
        except NekoError:
            return  # the channel, or the peer, has ended: whoever watches the peer says so

    def on_pong(self, pong: data_channel.Pong) -> None:
        """A pong came that no barrier waits for."""
        if self._asked is not None and pong.timestamp == self._asked[0]:
            self.seconds = trio.current_time() - self._asked[1]
            self.pongs_received += 1
            self._asked = None
