"""The end of aiortc's peer connection, also where its own ``close`` does not come to it.

That stops one part after the other, and may be cut off: by a loop that is overloaded, or because it closes by itself
when the server says goodbye and is cancelled half-way, after which a second ``close`` would wait for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

from aiortc import RTCPeerConnection

logger = logging.getLogger(__name__)

CLOSE_LIMIT = 0.8
"""Seconds for aiortc's ``close``, which takes 3 ms."""
REST_LIMIT = 0.2
"""Seconds for what it did not come to, all of it side by side: what a part has to do, it does in its first step."""


async def close_connection(connection: RTCPeerConnection) -> None:
    """Close it in at most ``CLOSE_LIMIT`` and ``REST_LIMIT`` seconds. Raises nothing. Call it where nothing cancels."""
    try:
        async with asyncio.timeout(CLOSE_LIMIT):
            await connection.close()
        return
    except TimeoutError:
        logger.warning("aiortc did not close its peer connection within %g s: stopping its parts", CLOSE_LIMIT)
    except (AttributeError, KeyError) as error:  # of an offer that it took half of
        logger.warning("aiortc did not close its peer connection: %r", error)
    tasks = [asyncio.create_task(_stop(stop)) for stop in _parts(connection)]
    if tasks:
        _done, hanging = await asyncio.wait(tasks, timeout=REST_LIMIT)
        for task in hanging:
            task.cancel()


def _parts(connection: RTCPeerConnection) -> Iterator[Callable[[], Awaitable[None]]]:
    """How each part is stopped; twice is harmless. Receivers and senders first: a transport that ends is their end."""
    transceivers = connection.getTransceivers()
    for transceiver in transceivers:
        yield transceiver.receiver.stop
        yield transceiver.sender.stop
    if connection.sctp is not None:
        yield connection.sctp.stop
    transports = {transceiver.receiver.transport for transceiver in transceivers}
    if connection.sctp is not None:
        transports.add(connection.sctp.transport)
    for transport in transports:
        yield transport.stop


async def _stop(stop: Callable[[], Awaitable[None]]) -> None:
    try:
        await stop()
    except (AttributeError, KeyError, ConnectionError) as error:  # never begun, or gone already
        logger.debug("a part of a peer connection could not be stopped: %r", error)
