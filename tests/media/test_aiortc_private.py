"""What each private name of aiortc and aioice does, so that an upgrade that changes one fails here and says which.

The simulator's names have their tests with the simulator (``tests/simulator/test_offering_peer.py``).
"""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import cast

import aioice
import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSctpTransport
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceGatherer, RTCIceTransport
from aiortc.rtcsctptransport import AbortChunk
from aiortc.rtp import (
    AnyRtcpPacket,
    RtcpByePacket,
    RtcpPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtpPacket,
)

import neko_trio
from neko_trio.media import aiortc_private as private
from neko_trio.media.aiortc_private import IceAgentBase, PairState, StunMessage, StunProtocol
from neko_trio.media.ice_gathering import bind_socket
from tests.loops import on_asyncio
from tests.media.agents import introduce


def test_a_missing_name_is_an_import_error_that_names_the_versions() -> None:
    with pytest.raises(ImportError, match=r"aiortc 1\.16.*aioice 0\.13.*Connection lacks _no_such"):
        private.require(aioice.Connection, "close", "_no_such")


def _private_names() -> set[str]:
    tree = ast.parse(Path(private.__file__).read_text())
    return {
        argument.value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "require"
        for argument in call.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value.startswith("_")
    }


def test_no_other_module_writes_a_private_name() -> None:
    names = _private_names()
    assert len(names) > 30
    package = Path(neko_trio.__file__).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text()
        if path == Path(private.__file__) or not ("aiortc" in text or "aioice" in text):
            continue
        tree = ast.parse(text)
        agent = "IceAgentBase)" in text or "CandidateAgent)" in text  # there, self is aioice's
        own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_set_on_self(node)}
        own |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        found += [
            f"{path.relative_to(package)}:{node.lineno} {node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and node.attr in names
            and not (node.attr in own and _is_self(node) and not agent)
        ]
    assert found == []


def _is_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def _is_set_on_self(node: ast.Attribute) -> bool:
    return _is_self(node) and isinstance(node.ctx, ast.Store)


# -- the agent


async def _bound(agent: IceAgentBase) -> StunProtocol:
    """Give the agent one socket on loopback."""
    assert agent.begin_gathering()
    assert not agent.begin_gathering()
    protocol = await bind_socket("127.0.0.1", lambda: StunProtocol(agent))
    agent.sockets.append(protocol)
    agent.own_candidates.append(protocol.local_candidate)
    agent.end_gathering()
    return protocol


async def _pair() -> tuple[IceAgentBase, IceAgentBase]:
    one, other = IceAgentBase(ice_controlling=True), IceAgentBase(ice_controlling=False)
    await _bound(one)
    await _bound(other)
    introduce(one, other)
    one.add_remote(other.local_candidates[0])
    other.add_remote(one.local_candidates[0])
    return one, other


@on_asyncio
async def test_the_agents_lists_are_the_ones_that_aioice_uses() -> None:
    one, other = await _pair()
    assert one.local_candidates == one.own_candidates
    assert one.remote_candidates == one.known_remotes
    assert [pair.protocol for pair in one.check_list] == one.sockets
    assert one.check_list[0].state is PairState.FROZEN
    assert [one.checking, one.check_list_done, one.closing] == [False, False, False]
    assert one.nominated_pair is None
    await asyncio.gather(one.connect(), other.connect())
    assert one.checking
    assert one.check_list_done
    assert one.nominated_pair is one.check_list[0]
    assert one.check_list[0].state is PairState.SUCCEEDED
    one.data_received(b"\x80data", 1)
    assert one.unread == 1
    assert await one.recv() == b"\x80data"
    assert one.unread == 0
    one.begin_closing()
    assert one.closing
    await one.close()
    await other.close()
    assert one.nominated_pair is None


@on_asyncio
async def test_connect_can_be_put_together_from_its_parts() -> None:
    one, other = await _pair()
    checked = asyncio.Event()
    respond = other.request_received

    def request_received(message: StunMessage, addr: tuple[str, int], protocol: StunProtocol) -> None:
        respond(message, addr, protocol)
        checked.set()

    other.request_received = request_received  # type: ignore[method-assign]  # one instance
    serving = asyncio.create_task(one.connect())
    await checked.wait()
    assert other.check_list[0].task is None, "early: connect() has not begun"
    other.begin_checking()
    assert other.check_list[0].task is not None, "an early check is answered by one of ours"
    assert await other.wait_checks() is True
    other.start_consent()
    await serving
    await one.close()
    await other.close()


@on_asyncio
async def test_checks_fail_when_told_and_when_all_have_failed_and_may() -> None:
    class Patient(IceAgentBase):
        allowed = False

        def may_fail(self) -> bool:
            return self.allowed

    agent = Patient(ice_controlling=True)
    agent.fail_if_exhausted()
    assert not agent.check_list_done
    agent.allowed = True
    agent.fail_if_exhausted()
    assert not agent.check_list_done, "candidates may still come"
    agent.end_remotes()
    agent.allowed = False
    agent.fail_if_exhausted()
    assert not agent.check_list_done
    agent.allowed = True
    agent.fail_if_exhausted()
    assert agent.check_list_done
    assert await agent.wait_checks() is False
    await agent.close()
    other = IceAgentBase(ice_controlling=True)
    other.fail_checks()
    other.fail_checks()
    assert await other.wait_checks() is False
    await other.close()


@on_asyncio
async def test_new_remote_candidates_go_through_the_hook() -> None:
    class Counting(IceAgentBase):
        seen = 0

        def pair_remote(self, candidate: aioice.Candidate) -> None:
            self.seen += 1
            super().pair_remote(candidate)

    agent = Counting(ice_controlling=True)
    await _bound(agent)
    for host in ("127.0.0.1", "127.0.0.1", "not an address"):
        agent.add_remote(aioice.Candidate("1", 1, "udp", 1, host, 9, "host"))
    assert agent.seen == 1, "known and malformed ones are ignored"
    assert len(agent.check_list) == 1
    await agent.close()


@on_asyncio
async def test_the_larger_tie_breaker_keeps_the_role() -> None:
    one, other = await _pair()
    other.ice_controlling = True
    one.tie_breaker, other.tie_breaker = 1, 2
    assert (one.tie_breaker, other.tie_breaker) == (1, 2)
    await asyncio.gather(one.connect(), other.connect())
    assert (one.ice_controlling, other.ice_controlling) == (False, True)
    await one.close()
    await other.close()


def test_addresses() -> None:
    assert private.network_host(aioice.Candidate("1", 1, "udp", 1, "192.0.2.1", 9, "host")) == "192.0.2.1"
    assert not {"127.0.0.1", "::1"} & set(private.host_addresses())


# -- transports


@on_asyncio
async def test_an_installed_agent_carries_the_connection() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    dtls = pc.addTransceiver("audio", direction="sendonly").sender.transport
    agent = IceAgentBase(ice_controlling=True)
    private.install_ice(dtls.transport, agent)
    assert not agent.ice_controlling, "the transport's role"
    assert dtls.transport.iceGatherer.getLocalParameters().usernameFragment == agent.local_username
    await _bound(agent)
    private.be_dtls_server(dtls)
    await pc.setLocalDescription(await pc.createOffer())
    assert agent.ice_controlling
    assert f"a=ice-ufrag:{agent.local_username}" in pc.localDescription.sdp
    assert str(agent.local_candidates[0].port) in pc.localDescription.sdp
    await pc.close()
    assert agent.closing


# -- the receiver


class _Transport:
    """As much of a DTLS transport as a receiver asks for."""

    state = "new"

    def __init__(self) -> None:
        self.sent: list[AnyRtcpPacket] = []

    async def _send_rtp(self, data: bytes) -> None:
        self.sent += RtcpPacket.parse(data)


@on_asyncio
async def test_the_receivers_packets_and_feedback() -> None:
    transport = _Transport()
    receiver = RTCRtpReceiver("video", cast(RTCDtlsTransport, transport))
    assert private.rtcp_ssrc(receiver) is None
    receiver._set_rtcp_ssrc(1234)
    assert private.rtcp_ssrc(receiver) == 1234

    taken: list[RtpPacket] = []
    heard: list[AnyRtcpPacket] = []
    assert receiver._RTCRtpReceiver__remote_bitrate_estimator is not None  # type: ignore[attr-defined]  # mangled
    private.take_packets(receiver, taken.append)
    assert receiver._RTCRtpReceiver__remote_bitrate_estimator is None  # type: ignore[attr-defined]  # mangled
    private.observe_rtcp(receiver, heard.append)
    packet, bye = RtpPacket(payload_type=96, payload=b"x"), RtcpByePacket(sources=[5])
    await receiver._handle_rtp_packet(packet, arrival_time_ms=17)  # as RTCDtlsTransport calls it
    await receiver._handle_rtcp_packet(bye)
    assert taken == [packet]
    assert heard == [bye]

    await private.send_nack(receiver, 99, (3, 5))
    await private.send_rtcp(receiver, RtcpRrPacket(ssrc=1234))
    nack, report = transport.sent
    assert isinstance(nack, RtcpRtpfbPacket)
    assert (nack.ssrc, nack.media_ssrc, nack.lost) == (1234, 99, [3, 5])
    assert isinstance(report, RtcpRrPacket)
    assert report.ssrc == 1234


@on_asyncio
async def test_reports_about_what_we_send_come_until_they_are_not_wanted() -> None:
    ice = RTCIceTransport(RTCIceGatherer(iceServers=[]))
    transport = RTCDtlsTransport(ice, [RTCCertificate.generateCertificate()])
    heard: list[AnyRtcpPacket] = []
    unobserve = private.observe_reports(transport, 77, heard.append)
    block = RtcpReceiverInfo(ssrc=77, fraction_lost=0, packets_lost=0, highest_sequence=9, jitter=0, lsr=0, dlsr=0)
    other = RtcpReceiverInfo(ssrc=78, fraction_lost=0, packets_lost=0, highest_sequence=9, jitter=0, lsr=0, dlsr=0)
    private.route_rtcp(transport, bytes(RtcpRrPacket(ssrc=5, reports=[block])))
    private.route_rtcp(transport, bytes(RtcpRrPacket(ssrc=5, reports=[other])))
    assert heard == [RtcpRrPacket(ssrc=5, reports=[block])]
    unobserve()
    unobserve()
    private.route_rtcp(transport, bytes(RtcpRrPacket(ssrc=5, reports=[block])))
    assert len(heard) == 1


# -- SCTP


@on_asyncio
async def test_a_chunk_that_cannot_be_sent_is_lost_without_a_word() -> None:
    ice = RTCIceTransport(RTCIceGatherer(iceServers=[]))
    sctp = RTCSctpTransport(RTCDtlsTransport(ice, [RTCCertificate.generateCertificate()]))
    sctp._remote_port = 5000  # as start() does
    with pytest.raises(ConnectionError):
        await sctp._send_chunk(AbortChunk())
    private.quieten_sctp(sctp)
    await sctp._send_chunk(AbortChunk())
