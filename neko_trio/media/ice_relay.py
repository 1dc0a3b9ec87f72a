"""Relayed candidates: allocations at TURN servers (RFC 8656), over UDP, TCP or TLS.

aioice's client with shorter retransmissions, a bound on what is unsent, and the certificate checked for the name in
the URL although an address is dialled. On the asyncio thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from socket import SO_RCVBUF, SOL_SOCKET

from aioice import Candidate

from neko_trio.media.aiortc_private import (
    RelayOverTcp,
    RelayOverUdp,
    StunMessage,
    StunProtocol,
    abandon_relay,
    allocate_relay,
    authenticate_request,
)
from neko_trio.media.ice_gathering import RECEIVE_BUFFER, TLS_GOODBYE, IceServerAddress, udp_candidate
from neko_trio.media.ice_tasks import TASK_LIMIT
from neko_trio.media.stun_protocol import MALFORMED, AgentSocket, Transaction

LIFETIME = 600
"""Seconds that an allocation lasts unless it is refreshed, which aioice does (RFC 8656 §3.9: the default)."""
CHANNEL_REFRESH = 500
"""Seconds after which a channel is bound again; it lasts 600 (RFC 8656 §12)."""
RETRANSMISSIONS = (0.1, 0.2, 0.4, 0.8, 1.6, 1.6, 1.6, 1.6)
"""Seconds after each transmission over UDP. The default is 500 ms for the first (RFC 8489 §6.2.1); a lost packet would
cost a connect that. A server that answers later than after 100 ms gets the same request again, which it knows."""
UNSENT_LIMIT = 1 << 20
"""Bytes not yet taken by the system beyond which media packets are dropped, as a socket's buffer would."""
FAREWELL = 0.5
"""Seconds that a TURN server has to confirm the end of an allocation."""
_CHANNEL_DATA, _STUN = 1, 0  # the first two bits of a message (RFC 8656 §3.6)


class TurnDeframer:
    """Takes a stream of STUN messages and channel data apart (RFC 8656 §12.5). Holds one unfinished one at most."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes, in order. Raises :class:`ValueError` for what cannot be either."""
        held = self._held
        held += data
        messages, start = [], 0
        while len(held) - start >= 4:
            kind = held[start] >> 6
            if kind not in (_CHANNEL_DATA, _STUN):
                raise ValueError("neither STUN nor channel data")
            length = int.from_bytes(held[start + 2 : start + 4], "big")
            end = start + (4 if kind == _CHANNEL_DATA else 20) + length + -length % 4
            if end > len(held):
                break
            messages.append(bytes(held[start:end]))
            start = end
        del held[:start]
        return messages


class _OverUdp(RelayOverUdp):
    async def request(self, request: StunMessage) -> tuple[StunMessage, tuple[str, int]]:
        return await _ask(self, request, RETRANSMISSIONS)

    def error_received(self, exc: Exception) -> None:
        _fail(self, exc)  # an ICMP message: nobody is there

    def datagram_received(self, data: bytes | str, addr: tuple[str, int]) -> None:
        with suppress(MALFORMED):
            super().datagram_received(data, addr)


class _OverTcp(RelayOverTcp):
    """``on_drop`` counts what is not sent."""

    on_drop: Callable[[], None]
    _deframer: TurnDeframer

    async def request(self, request: StunMessage) -> tuple[StunMessage, tuple[str, int]]:
        return await _ask(self, request, (sum(RETRANSMISSIONS),))  # the stream repeats by itself (RFC 8489 §6.2.2)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._deframer = TurnDeframer()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        _fail(self, exc or ConnectionError("the TURN server closed the connection"))
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._deframer.feed(data)
        except ValueError:
            self.transport.abort()  # nothing that comes after it can be read
            return
        for message in messages:
            with suppress(MALFORMED):
                self.datagram_received(message, self.server)

    def write(self, data: bytes) -> None:
        if data[0] >> 6 == _CHANNEL_DATA and self.transport.get_write_buffer_size() > UNSENT_LIMIT:
            self.on_drop()
        else:
            super().write(data)


async def _ask(
    client: _OverUdp | _OverTcp, request: StunMessage, delays: Sequence[float]
) -> tuple[StunMessage, tuple[str, int]]:
    authenticate_request(client, request)
    transaction = Transaction(request, client.server, client, client.integrity_key, delays, long_term=True)
    client.transactions[request.transaction_id] = transaction
    try:
        return await transaction.run()
    finally:
        client.transactions.pop(request.transaction_id, None)


def _fail(client: _OverUdp | _OverTcp, error: Exception) -> None:
    for transaction in client.transactions.values():
        if isinstance(transaction, Transaction):
            transaction.fail(error)


async def relay(
    server: IceServerAddress, socket: AgentSocket, *, hide_related_address: bool
) -> tuple[Candidate, StunProtocol]:
    """Allocate a relay at a TURN server, and make ``socket`` send and receive through it.

    Raises ``OSError`` (a certificate that is not trusted, too), aioice's ``TransactionError`` or ``ValueError``.
    Cancelled, nothing stays open.
    """
    client = await _connect(server, socket)
    try:
        await allocate_relay(client, socket)
    except BaseException:  # cancelled, too: nothing stays open
        client.transport.close()
        raise
    host, port = socket.transport.get_extra_info("sockname")
    related = socket.transport.get_extra_info("related_address")
    if hide_related_address:  # it would tell an address of ours (RFC 9429 §3.5.3)
        related = ("::" if ":" in host else "0.0.0.0", 9)
    socket.local_candidate = udp_candidate("relay", host, port, base=host, related=related)
    return socket.local_candidate, socket


async def _connect(server: IceServerAddress, socket: AgentSocket) -> _OverUdp | _OverTcp:
    loop, target = asyncio.get_running_loop(), (server.address, server.url.port)
    if server.url.transport == "udp":
        if server.url.scheme == "turns":
            raise ValueError("TURN over DTLS is not supported, only over TLS (transport=tcp)")
        transport, over_udp = await loop.create_datagram_endpoint(
            lambda: _OverUdp(target, server.username, server.credential, LIFETIME, CHANNEL_REFRESH),
            remote_addr=target,
        )
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER)
        return over_udp

    def count() -> None:
        socket.receiver.packets_unsent += 1

    def make() -> _OverTcp:
        client = _OverTcp(target, server.username, server.credential, LIFETIME, CHANNEL_REFRESH)
        client.on_drop = count
        return client

    if server.url.scheme != "turns":
        return (await loop.create_connection(make, *target))[1]
    _, client = await loop.create_connection(
        make,
        *target,
        ssl=server.tls or True,
        server_hostname=server.url.host,
        ssl_handshake_timeout=TASK_LIMIT,
        ssl_shutdown_timeout=TLS_GOODBYE,
    )
    return client


async def close_relay(socket: StunProtocol) -> None:
    """Give the allocation back and close, within FAREWELL and a little."""
    closing = asyncio.ensure_future(socket.close())  # a task, to go on after FAREWELL; awaited below
    done, _ = await asyncio.wait({closing}, timeout=FAREWELL)
    if not done:
        abandon_relay(socket)
    await closing
