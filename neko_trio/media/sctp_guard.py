"""What stands between the data channel's packets and aiortc, which believes what it reads and keeps what it gets.

A packet that cannot be read in bounded time, or would have more kept than a data channel needs, is dropped and counted;
so is one that aiortc trips over: without that, its exception would end the whole connection in a task of its own.
"""

from __future__ import annotations

import logging
import struct

from aiortc import InvalidStateError, RTCSctpTransport

from neko_trio.media.aiortc_private import SctpInbound, take_sctp
from neko_trio.protocol import Malformed
from neko_trio.protocol.sctp import check_packet

__all__ = ["SctpGuard"]

logger = logging.getLogger(__name__)

STREAMS_LIMIT = 16
"""Streams that are kept account of: Neko has one data channel."""
CHUNKS_LIMIT = 4096
"""Pieces of unfinished messages that are kept: a cursor's picture of 1 MiB has 900."""
_TRIPS = (ValueError, AssertionError, LookupError, TypeError, AttributeError, OverflowError, struct.error)


class SctpGuard:
    """Of one transport. On the asyncio thread; the counter may be read by any."""

    def __init__(self, transport: RTCSctpTransport) -> None:
        """Before the transport starts."""
        self.packets_refused = 0
        """Packets that make no sense, or would have more kept than there is room for."""
        self._inbound: SctpInbound = take_sctp(transport, self._handle)

    async def _handle(self, packet: bytes) -> None:
        try:
            if self._has_room(check_packet(packet)):
                await self._inbound.handle(packet)
                return
            logger.debug("a packet of the data channel found no room")
        except Malformed as error:
            logger.debug("a packet of the data channel was refused: %s", error)
        except (*_TRIPS, InvalidStateError) as error:
            logger.debug("a packet of the data channel makes no sense: %r", error)
        self.packets_refused += 1

    def _has_room(self, streams: tuple[int, ...]) -> bool:
        """Whether what such a packet brings may be kept. What is not acknowledged comes again."""
        known = self._inbound.streams
        if len(set(streams) - known.keys()) + len(known) > STREAMS_LIMIT and not known.keys() >= set(streams):
            return False
        # The window that was granted is used up, or there are more pieces than that many bytes should have.
        return not streams or (self._inbound.room > 0 and self._inbound.chunks < CHUNKS_LIMIT)
