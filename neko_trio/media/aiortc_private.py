"""Every private name of aiortc and aioice that this package touches, once each, under a name of our own.

aiortc 1.16 and aioice 0.13 are pinned to their minor versions because of this module. Importing it checks that the
names exist and raises :class:`ImportError` naming the versions found when one does not; ``tests/media`` holds one
contract test for each that checks what it *does*. No other module may write them.

Grouped by the object they belong to; each group is independent of the others.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any, Generic, TypeVar, cast

import aioice
from aioice import ice as _ice
from aioice import stun as _stun
from aioice import turn as _turn
from aiortc import RTCRtpReceiver, RTCSctpTransport
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceGatherer, RTCIceTransport
from aiortc.rtp import AnyRtcpPacket, RtcpPacket, RtpPacket
from OpenSSL import SSL
from pylibsrtp import Policy, Session

__all__ = [
    "CandidatePair",
    "DtlsCarrier",
    "IceAgentBase",
    "PairState",
    "RelayOverTcp",
    "RelayOverUdp",
    "SctpInbound",
    "StunMessage",
    "StunProtocol",
    "TransactionBase",
    "abandon_relay",
    "allocate_relay",
    "authenticate_request",
    "be_dtls_client",
    "be_dtls_server",
    "hear_rtcp",
    "hear_rtp",
    "host_addresses",
    "install_ice",
    "network_host",
    "observe_reports",
    "observe_rtcp",
    "open_srtp",
    "quieten_sctp",
    "require",
    "route_rtcp",
    "route_rtp",
    "rtcp_ssrc",
    "send_nack",
    "send_rtcp",
    "send_srtp",
    "stop_dtls",
    "take_packets",
    "take_sctp",
]


logger = logging.getLogger(__name__)


def require(owner: object, *names: str) -> None:
    """Raise :class:`ImportError` unless ``owner`` has all ``names``: what each group below begins with."""
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        what = owner.__name__ if isinstance(owner, type) else type(owner).__name__
        raise ImportError(
            f"neko-trio needs aiortc 1.16 and aioice 0.13; here are aiortc {version('aiortc')} and aioice "
            f"{version('aioice')}, whose {what} lacks {', '.join(missing)}."
        )


# -- aioice: the agent --------------------------------------------------------------------------------------------

CandidatePair = _ice.CandidatePair
PairState = _ice.CandidatePair.State
StunProtocol = _ice.StunProtocol
StunMessage = _stun.Message
TransactionBase = _stun.Transaction

require(_ice, "get_host_addresses", "ICE_COMPLETED", "ICE_FAILED")
require(CandidatePair, "State", "local_candidate", "remote_addr")
require(StunProtocol, "request", "send_stun", "datagram_received", "connection_made", "close")
require(TransactionBase, "response_received", "run")
require(
    aioice.Connection,
    "_add_remote_candidate",
    "_check_list_maybe_fail",
    "_find_pair",
    "_pair_remote_candidate",
    "check_incoming",
    "check_start_task",
    "data_received",
    "query_consent",
    "request_received",
    "respond_error",
    "sort_check_list",
    "switch_role",
)
require(
    aioice.Connection(ice_controlling=False),
    "_check_list",
    "_check_list_done",
    "_check_list_state",
    "_closing",
    "_early_checks",
    "_early_checks_done",
    "_local_candidates",
    "_local_candidates_end",
    "_local_candidates_start",
    "_nominated",
    "_protocols",
    "_query_consent_task",
    "_queue",
    "_remote_candidates",
    "_remote_candidates_end",
    "_tie_breaker",
)


class IceAgentBase(aioice.Connection):
    """aioice's ICE agent for one component, with its private parts under public names.

    A subclass overrides the hooks ``pair_remote`` and ``may_fail``, and aioice's public methods.
    """

    # what it holds

    @property
    def check_list(self) -> list[CandidatePair]:
        """The candidate pairs, best first; the list itself."""
        return self._check_list

    @property
    def check_list_done(self) -> bool:
        """Whether the checks have ended, one way or the other."""
        return self._check_list_done

    @property
    def closing(self) -> bool:
        """Whether ``close()`` has been called, by us or by the loss of consent."""
        return self._closing

    @property
    def checking(self) -> bool:
        """Whether remote credentials are known and checks may be sent."""
        return self._early_checks_done

    @property
    def nominated_pair(self) -> CandidatePair | None:
        """The pair that carries data now."""
        return self._nominated.get(1)

    @property
    def own_candidates(self) -> list[aioice.Candidate]:
        """The local candidates; the list itself."""
        return self._local_candidates

    @property
    def known_remotes(self) -> list[aioice.Candidate]:
        """The remote candidates, learned ones included; the list itself."""
        return self._remote_candidates

    @property
    def sockets(self) -> list[StunProtocol]:
        """What local candidates send and receive through; the list itself."""
        return self._protocols

    @property
    def tie_breaker(self) -> int:
        """Who wins a role conflict: the larger (RFC 8445 §7.3.1.1)."""
        return self._tie_breaker

    @tie_breaker.setter
    def tie_breaker(self, value: int) -> None:
        self._tie_breaker = value

    @property
    def unread(self) -> int:
        """Datagrams received and not yet taken by ``recv()``."""
        return self._queue.qsize()

    # what it is told

    def begin_closing(self) -> None:
        """Take no checks and no candidates any more; ``close()`` must follow."""
        self._closing = True

    def begin_gathering(self) -> bool:
        """Whether this is the first call."""
        first, self._local_candidates_start = not self._local_candidates_start, True
        return first

    def end_gathering(self) -> None:
        """``connect()`` may be called: the candidates that go into the SDP are there."""
        self._local_candidates_end = True

    def add_remote(self, candidate: aioice.Candidate) -> None:
        """Add a remote candidate whose host is an IP address, at once. Ignored when it is known or of no use."""
        self._add_remote_candidate(candidate, candidate.host)

    def end_remotes(self) -> None:
        """No more remote candidates will come: the checks may fail."""
        self._remote_candidates_end = True

    def begin_checking(self) -> None:
        """Handle the checks that came before the remote credentials were known, and all later ones at once."""
        for early in self._early_checks:
            self.check_incoming(*early)
        self._early_checks.clear()
        self._early_checks_done = True

    def fail_checks(self) -> None:
        """End the checks as failed, unless they have ended."""
        if not self._check_list_done:
            self._check_list_state.put_nowait(_ice.ICE_FAILED)
            self._check_list_done = True

    async def wait_checks(self) -> bool:
        """Wait until the checks have ended; whether a pair was nominated."""
        return await self._check_list_state.get() == _ice.ICE_COMPLETED

    def start_consent(self) -> None:
        """Begin the consent checks (RFC 7675); ``close()`` ends them."""
        self._query_consent_task = asyncio.create_task(self.query_consent())  # aioice's close() ends it

    def fail_if_exhausted(self) -> None:
        """End the checks as failed when no pair can succeed any more and ``may_fail()`` agrees."""
        self._check_list_maybe_fail()

    # hooks

    def may_fail(self) -> bool:
        """Whether failing is allowed now: nothing is on its way that could still form a pair."""
        return True

    def pair_remote(self, candidate: aioice.Candidate) -> None:
        """Pair a remote candidate with every local one it fits."""
        super()._pair_remote_candidate(candidate)

    def _pair_remote_candidate(self, remote_candidate: aioice.Candidate) -> None:
        self.pair_remote(remote_candidate)

    def _check_list_maybe_fail(self) -> None:
        if self.may_fail():
            super()._check_list_maybe_fail()


def host_addresses() -> list[str]:
    """The addresses of this machine's interfaces, IPv4 and IPv6, without loopback and link-local ones."""
    return _ice.get_host_addresses(use_ipv4=True, use_ipv6=True)


# -- aioice: candidates -------------------------------------------------------------------------------------------

require(aioice.Candidate("0", 1, "udp", 1, "192.0.2.1", 9, "host"), "_network_host")


def network_host(candidate: aioice.Candidate) -> str:
    """The canonical address packets to this candidate go to."""
    return candidate._network_host


# -- aioice: relays -----------------------------------------------------------------------------------------------

require(_turn.TurnTransport, "close", "_close", "_connect")
require(
    _turn.TurnTransport(cast(Any, None)),  # its constructor only keeps what it is given
    "_TurnTransport__close_task",
    "_TurnTransport__send_tasks",
)
require(_turn.TurnClientUdpProtocol, "_send", "_TurnClientMixin__add_authentication")
require(_turn.TurnClientTcpProtocol, "_send", "_padded", "_TurnClientMixin__add_authentication")


RelayOverUdp = _turn.TurnClientUdpProtocol


class RelayOverTcp(_turn.TurnClientTcpProtocol):
    """aioice's TURN client over TCP or TLS, which may be told how to write."""

    def write(self, data: bytes) -> None:
        """Send a message that is padded as the stream needs it."""
        self.transport.write(data)

    def _send(self, data: bytes) -> None:
        self.write(self._padded(data))


def authenticate_request(client: RelayOverUdp | RelayOverTcp, request: StunMessage) -> None:
    """Sign a request with the long-term credential, once the server has said what for."""
    if client.integrity_key is not None:
        client._TurnClientMixin__add_authentication(request)  # type: ignore[union-attr]  # its mangled name


async def allocate_relay(client: RelayOverUdp | RelayOverTcp, protocol: StunProtocol) -> None:
    """Allocate a relay over a connected client and make ``protocol`` use it.

    Raises ``OSError`` or ``aioice.stun.TransactionError``; the connection is the caller's to close then.
    """
    await _turn.TurnTransport(client)._connect(protocol)


def abandon_relay(protocol: StunProtocol) -> None:
    """End the farewell of a closing relay: a TURN server that no longer answers holds it up for half a minute."""
    relay = protocol.transport
    closing: asyncio.Task[None] | None = relay._TurnTransport__close_task  # type: ignore[attr-defined]  # mangled
    sends: set[asyncio.Task[None]] = relay._TurnTransport__send_tasks  # type: ignore[attr-defined]  # mangled
    for task in (closing, *sends):
        if task is not None:
            task.cancel()


# -- aiortc: transports -------------------------------------------------------------------------------------------

_gatherer = RTCIceGatherer(iceServers=[])
require(_gatherer, "_connection")
require(RTCIceTransport(_gatherer), "_connection", "_recv", "_send", "_role_set")
require(RTCDtlsTransport, "_set_role")


def install_ice(transport: RTCIceTransport, agent: aioice.Connection) -> None:
    """Make a transport that has not started use ``agent`` instead of the one it created.

    After ``setRemoteDescription``, whose role it takes over, and before ``createAnswer``, which writes its credentials.
    """
    agent.ice_controlling = transport._connection.ice_controlling
    transport.iceGatherer._connection = transport._connection = agent
    transport._recv, transport._send = agent.recv, agent.send


def be_dtls_server(transport: RTCDtlsTransport) -> None:
    """Let the other side begin the DTLS handshake: saves a round trip. Before ``createAnswer``."""
    transport._set_role("server")


require(RTCSctpTransport, "_send_chunk")


def quieten_sctp(transport: RTCSctpTransport) -> None:
    """Have chunks that cannot be sent any more be lost without a word. Once, before the transport starts.

    aiortc sends from tasks and timers of its own that nobody awaits. When the connection goes away under a message that
    waits to be sent, again or for the first time, they fail; but that the connection has gone is told elsewhere.
    """
    send_chunk = transport._send_chunk

    async def quiet(chunk: Any) -> None:
        try:
            await send_chunk(chunk)
        except (ConnectionError, SSL.Error) as error:
            logger.debug("a chunk of the data channel was lost with its connection: %r", error)

    transport._send_chunk = quiet  # type: ignore[method-assign]  # aiortc has no hook for it


require(RTCSctpTransport, "_handle_data")


class SctpInbound:
    """What an SCTP transport keeps of what came, and how it is given more."""

    def __init__(self, transport: RTCSctpTransport) -> None:
        require(transport, "_advertised_rwnd", "_inbound_streams", "_sack_misordered")
        self._transport = transport
        self.handle: Callable[[bytes], Coroutine[Any, Any, None]] = transport._handle_data

    @property
    def streams(self) -> dict[int, Any]:
        """The streams there are, by number."""
        return self._transport._inbound_streams

    @property
    def room(self) -> int:
        """Bytes of the window that was granted and is not used; below 0 for a sender that does not care."""
        return self._transport._advertised_rwnd

    @property
    def chunks(self) -> int:
        """Pieces that are kept until what is missing before them, or of their message, comes."""
        held = sum(len(stream.reassembly) for stream in self.streams.values())
        return max(held, len(self._transport._sack_misordered))


def take_sctp(transport: RTCSctpTransport, handle: Callable[[bytes], Coroutine[Any, Any, None]]) -> SctpInbound:
    """Hand the transport's packets to ``handle``, which may pass them on. Once, before the transport starts."""
    inbound = SctpInbound(transport)
    transport._handle_data = handle  # type: ignore[method-assign,assignment]  # aiortc has no hook for it
    return inbound


# -- aiortc: the receiver -----------------------------------------------------------------------------------------

require(RTCRtpReceiver, "_handle_rtp_packet", "_send_rtcp", "_send_rtcp_nack")


_Packet = TypeVar("_Packet")


class _Taker(Generic[_Packet]):
    """In the place of a receiver's coroutine method; media that did not come by aiortc's DTLS task calls ``handle``."""

    def __init__(self, handle: Callable[[_Packet], None]) -> None:
        self.handle = handle

    async def __call__(self, packet: _Packet, arrival_time_ms: int = 0) -> None:
        self.handle(packet)


def take_packets(receiver: RTCRtpReceiver, handle: Callable[[RtpPacket], None]) -> None:
    """Hand the receiver's RTP packets to ``handle`` instead of aiortc's decoder, packet by packet.

    After ``setRemoteDescription``, which makes the receiver. Its bitrate estimator, which only aiortc's own handler
    asks, is dropped: a thousand objects, half of what a session leaves to the garbage collector.
    """
    receiver._handle_rtp_packet = _Taker(handle)  # type: ignore[method-assign]  # aiortc has no hook for it
    receiver._RTCRtpReceiver__remote_bitrate_estimator = None  # type: ignore[attr-defined]  # its mangled name


async def send_nack(receiver: RTCRtpReceiver, ssrc: int, lost: Iterable[int]) -> None:
    """Ask for these sequence numbers again (RFC 4585 §6.2.1). Nothing happens when the connection is gone."""
    await receiver._send_rtcp_nack(ssrc, list(lost))


async def send_rtcp(receiver: RTCRtpReceiver, packet: AnyRtcpPacket) -> None:
    """Send an RTCP packet. Nothing happens when the connection is gone."""
    await receiver._send_rtcp(packet)


require(RTCRtpReceiver, "_handle_rtcp_packet")
require(
    RTCRtpReceiver("video", cast(RTCDtlsTransport, SimpleNamespace(state="new"))),
    "_RTCRtpReceiver__rtcp_ssrc",
    "_RTCRtpReceiver__remote_bitrate_estimator",
)


def rtcp_ssrc(receiver: RTCRtpReceiver) -> int | None:
    """The SSRC that this receiver's RTCP packets carry as their sender; ``None`` before the answer is applied."""
    ssrc: int | None = receiver._RTCRtpReceiver__rtcp_ssrc  # type: ignore[attr-defined]  # its mangled name
    return ssrc


def observe_rtcp(receiver: RTCRtpReceiver, observe: Callable[[AnyRtcpPacket], None]) -> None:
    """Show the sender's RTCP packets to ``observe`` instead of aiortc, which would answer a BYE by a blocking join."""
    receiver._handle_rtcp_packet = _Taker(observe)  # type: ignore[method-assign]  # aiortc has no hook for it


# -- aiortc: SRTP -------------------------------------------------------------------------------------------------

require(
    RTCDtlsTransport(RTCIceTransport(_gatherer), [RTCCertificate.generateCertificate()]),
    "_role",
    "_rtp_header_extensions_map",
    "_rtp_router",
    "_srtp_profiles",
    "_ssl",
)


def open_srtp(transport: RTCDtlsTransport, *, window: int) -> Session | None:
    """A session of our own for what this transport receives; ``None`` unless DTLS is up.

    ``window``: packets, from 64 to 32,767, that one may come behind the newest (RFC 3711 §3.3.2); aiortc's own has
    1,024. Each session keeps its own account of what has come: a packet is for one of them.
    """
    ssl = transport._ssl
    if transport.state != "connected" or ssl is None:
        return None
    selected = ssl.get_selected_srtp_profile()
    profile = next(profile for profile in transport._srtp_profiles if profile.openssl_profile == selected)
    keys = ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (profile.key_length + profile.salt_length))
    policy = Policy(  # the DTLS client's key comes first (RFC 5764 §4.2); we read with the other side's
        key=profile.get_key_and_salt(keys, 0 if transport._role == "server" else 1),
        ssrc_type=Policy.SSRC_ANY_INBOUND,
        srtp_profile=profile.libsrtp_profile,
    )
    policy.window_size = window
    return Session(policy)


SOURCES_LIMIT = 64
"""Sources (SSRC) that are known by number: Neko has two. aiortc would keep each number that any packet ever had."""


def route_rtp(transport: RTCDtlsTransport, data: bytes) -> None:
    """Give a decrypted RTP packet to whom ``take_packets`` named for it. Raises :class:`ValueError` for garbage."""
    try:
        packet = RtpPacket.parse(data, transport._rtp_header_extensions_map)
    except struct.error as error:  # an extension of another length than its kind has
        raise ValueError(f"RTP packet: {error}") from error
    known = transport._rtp_router.ssrc_table
    if packet.ssrc not in known and len(known) >= SOURCES_LIMIT:
        del known[next(iter(known))]  # the oldest; should it come again, its payload type says whose it is
    taker = getattr(transport._rtp_router.route_rtp(packet), "_handle_rtp_packet", None)
    if isinstance(taker, _Taker):
        taker.handle(packet)


def route_rtcp(transport: RTCDtlsTransport, data: bytes) -> None:
    """Give decrypted RTCP packets to whom ``observe_rtcp`` named for them. Raises :class:`ValueError` for garbage."""
    for packet in RtcpPacket.parse(data):
        try:
            recipients = transport._rtp_router.route_rtcp(packet)
        except struct.error as error:  # a REMB with fewer sources than it says
            raise ValueError(f"RTCP packet: {error}") from error
        for recipient in recipients:
            taker = recipient._handle_rtcp_packet
            if isinstance(taker, _Taker):
                taker.handle(packet)


class _ReportTaker:
    """In the place of an ``RTCRtpSender``, of which the router asks one method."""

    def __init__(self, observe: Callable[[AnyRtcpPacket], None]) -> None:
        self._handle_rtcp_packet = _Taker(observe)


def observe_reports(
    transport: RTCDtlsTransport, ssrc: int, observe: Callable[[AnyRtcpPacket], None]
) -> Callable[[], None]:
    """Show RTCP packets about a stream that we send by ``send_srtp`` to ``observe``, until the result is called."""
    router, taker = transport._rtp_router, _ReportTaker(observe)
    router.register_sender(cast(Any, taker), ssrc=ssrc)
    return lambda: router.unregister_sender(cast(Any, taker))


# -- aiortc: the sending side (the simulator, and a microphone) ---------------------------------------------------

require(RTCDtlsTransport, "_send_rtp", "_set_role")
require(RTCDtlsTransport(RTCIceTransport(_gatherer), [RTCCertificate.generateCertificate()]), "_rtp_router", "_task")


class DtlsCarrier(ABC):
    """What DTLS rides on in place of an ``RTCIceTransport``, so that the path below may be exchanged."""

    @property
    @abstractmethod
    def role(self) -> str:
        """The ICE role, "controlling" or "controlled"."""

    @abstractmethod
    async def receive(self) -> bytes:
        """The next datagram. ``ConnectionError`` when there will be none."""

    @abstractmethod
    async def send(self, datagram: bytes) -> None:
        """Send one. ``ConnectionError`` when that is impossible."""

    def dtls(self) -> RTCDtlsTransport:
        """A DTLS transport over this carrier, with a certificate of its own."""
        return RTCDtlsTransport(cast(RTCIceTransport, self), [RTCCertificate.generateCertificate()])

    async def _recv(self) -> bytes:
        return await self.receive()

    async def _send(self, datagram: bytes) -> None:
        await self.send(datagram)


class _RtcpListener:
    def __init__(self, ssrc: int, handle: Callable[[AnyRtcpPacket], Coroutine[Any, Any, None]]) -> None:
        self._ssrc = ssrc
        self._handle = handle

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        await self._handle(packet)


def hear_rtcp(
    transport: RTCDtlsTransport, ssrc: int, handle: Callable[[AnyRtcpPacket], Coroutine[Any, Any, None]]
) -> None:
    """Hand the RTCP packets about our stream ``ssrc`` to ``handle``, which is awaited packet by packet."""
    transport._rtp_router.register_sender(_RtcpListener(ssrc, handle), ssrc=ssrc)


class _RtpListener:
    def __init__(self, handle: Callable[[RtpPacket], None]) -> None:
        self._handle = handle

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        self._handle(packet)


def hear_rtp(
    transport: RTCDtlsTransport, ssrc: int, payload_type: int, handle: Callable[[RtpPacket], None]
) -> Callable[[], None]:
    """Hand the RTP packets of the other side's stream ``ssrc`` to ``handle``, until the result is called."""
    router, listener = transport._rtp_router, _RtpListener(handle)
    router.register_receiver(cast(Any, listener), ssrcs=[ssrc], payload_types=[payload_type])
    return lambda: router.unregister_receiver(cast(Any, listener))


async def send_srtp(transport: RTCDtlsTransport, packet: bytes) -> None:
    """Encrypt and send one RTP or RTCP packet. ``ConnectionError`` when DTLS is not up (any more)."""
    await transport._send_rtp(packet)


def be_dtls_client(transport: RTCDtlsTransport) -> None:
    """Begin the DTLS handshake from here. Before ``start``."""
    transport._set_role("client")


async def stop_dtls(transport: RTCDtlsTransport) -> None:
    """Say goodbye (close_notify) and wait for the end of the transport's task."""
    task = transport._task
    await transport.stop()
    if task is not None:
        await asyncio.wait([task])
