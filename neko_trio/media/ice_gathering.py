"""Where local candidates come from: addresses of this machine and STUN servers (:mod:`ice_relay` has TURN's).

Plain functions for the ICE agent, on the asyncio thread. None resolves a name: only addresses get here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from socket import AF_INET, AF_INET6, SO_RCVBUF, SOCK_DGRAM, SOL_SOCKET, socket

from aioice import Candidate, stun
from aioice.candidate import candidate_foundation, candidate_priority

from neko_trio.media.aiortc_private import StunMessage, StunProtocol, host_addresses
from neko_trio.media.datagrams import open_datagrams
from neko_trio.protocol.ice_servers import IceUrl

RECEIVE_BUFFER = 4 << 20
"""Bytes, of which Linux gives as many as ``net.core.rmem_max`` allows, and counts a packet of 1.2 kB as 2.3. A keyframe
of a 1080p page of text is a burst of 404 packets; aioice's 256 KiB loses most of it. This holds one as large as the
jitter buffer does."""
TLS_GOODBYE = 0.2
"""Seconds that a TLS server has to answer our goodbye."""


@dataclass(frozen=True, slots=True)
class IceServerAddress:
    """One URL of an ICE server whose name has been resolved."""

    url: IceUrl
    address: str
    """IP address of ``url.host``."""
    username: str | None = field(default=None, repr=False)
    credential: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """What ``turns:`` and ``stuns:`` verify certificates with; always for the name in the URL."""


def is_address(host: str) -> bool:
    """Whether a host is an IP address, not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Whether packets to this IP address stay on this machine."""
    return ip_address(address.partition("%")[0]).is_loopback


def routed_address(target: str) -> str | None:
    """The local address that the operating system would send from to the IP address ``target``; ``None`` without route.

    Sends nothing: connecting a UDP socket only looks up the route.
    """
    with suppress(OSError, ValueError), socket(AF_INET6 if ":" in target else AF_INET, SOCK_DGRAM) as probe:
        probe.connect((target, 9))
        return str(probe.getsockname()[0]).partition("%")[0]
    return None


def first_addresses(targets: Iterable[str]) -> list[str]:
    """The local addresses to offer first: those routed to ``targets`` (IP addresses), without repetition.

    Every additional address costs time when the server nominates: it waits for the best pair, which is often one that
    cannot work. Without a route to any target: all addresses of the interfaces; without any: ``127.0.0.1``.
    """
    routed = dict.fromkeys(filter(None, map(routed_address, targets)))
    return list(routed) or host_addresses() or ["127.0.0.1"]


def other_addresses(bound: Iterable[str]) -> list[str]:
    """The addresses of this machine's interfaces that are not in ``bound``."""
    known = set(bound)
    return [address for address in host_addresses() if address not in known]


async def bind_socket(address: str, factory: Callable[[], StunProtocol]) -> StunProtocol:
    """Bind a UDP socket at a local address and give it its host candidate. Raises :class:`OSError`."""
    sock = socket(AF_INET6 if ":" in address else AF_INET, SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((address, 0))
        protocol = await open_datagrams(sock, factory)
    except BaseException:  # cancelled, too: nothing stays open
        sock.close()
        raise
    host, port = sock.getsockname()[:2]
    protocol.local_candidate = udp_candidate("host", host, port, base=host)
    return protocol


def udp_candidate(
    kind: str, host: str, port: int, *, base: str, related: tuple[str | None, int | None] = (None, None)
) -> Candidate:
    """A local candidate of this type, with aioice's priority for it.

    ``base``: the address that packets leave from; with the type it makes the foundation (RFC 8445 §5.1.1.3).
    ``related``: address and port that the candidate says it came from.
    """
    return Candidate(
        foundation=candidate_foundation(kind, "udp", base),
        component=1,
        transport="udp",
        priority=candidate_priority(1, kind),
        host=host,
        port=port,
        type=kind,
        related_address=related[0],
        related_port=related[1],
    )


def can_ask(candidate: Candidate, server: IceServerAddress) -> bool:
    """Whether a STUN server can be asked from this host candidate: the same family, and both on loopback or neither."""
    if (":" in candidate.host) != (":" in server.address):
        return False
    return is_loopback(server.address) or not is_loopback(candidate.host)


async def reflexive_candidate(protocol: StunProtocol, server: IceServerAddress) -> Candidate:
    """Ask a STUN server how it sees this socket. Raises aioice's ``TransactionError`` or :class:`ValueError`."""
    response, _ = await protocol.request(_binding_request(), (server.address, server.url.port))
    return _reflexive(protocol.local_candidate, *_mapped(response))


async def reflexive_host(server: IceServerAddress) -> str:
    """Ask a STUN server, over TLS, which address it sees this machine at (RFC 7064, RFC 8489 §6.2.3).

    The port it sees is the TLS connection's: it says nothing of a UDP socket's. Raises :class:`OSError` (a certificate
    that is not trusted, too) or :class:`ValueError`. Cancelled, nothing stays open.
    """
    reader, writer = await asyncio.open_connection(
        server.address,
        server.url.port,
        ssl=server.tls or True,
        server_hostname=server.url.host,
        ssl_shutdown_timeout=TLS_GOODBYE,
    )
    try:
        writer.write(bytes(_binding_request()))
        head = await reader.readexactly(20)
        answer = head + await reader.readexactly(int.from_bytes(head[2:4], "big"))
        return _mapped(stun.parse_message(answer))[0]
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the STUN server closed the connection") from error
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def with_port_kept(base: Candidate, host: str) -> Candidate:
    """How a server sees a socket behind a NAT that keeps ports (RFC 4787 §4.2.1), as most do while they can."""
    return _reflexive(base, host, base.port)


def _binding_request() -> StunMessage:
    return StunMessage(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)


def _mapped(response: StunMessage) -> tuple[str, int]:
    if "XOR-MAPPED-ADDRESS" not in response.attributes:
        raise ValueError("the STUN server's answer holds no address")
    host, port = response.attributes["XOR-MAPPED-ADDRESS"]
    return host, port


def _reflexive(base: Candidate, host: str, port: int) -> Candidate:
    return udp_candidate("srflx", host, port, base=base.host, related=(base.host, base.port))
