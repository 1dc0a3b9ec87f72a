"""What DTLS can ride on in memory."""

from __future__ import annotations

import asyncio

from neko_trio.media.aiortc_private import DtlsCarrier


class Pipe(DtlsCarrier):
    """One of two ends: what is sent here comes out there. :meth:`join` it before use."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._other = self
        self.sent = 0
        """Datagrams sent."""

    def join(self, other: Pipe) -> None:
        """Make them each other's ends."""
        self._other, other._other = other, self

    @property
    def role(self) -> str:
        return "controlling"

    async def receive(self) -> bytes:
        return await self._queue.get()

    async def send(self, datagram: bytes) -> None:
        self.sent += 1
        self._other._queue.put_nowait(datagram)
