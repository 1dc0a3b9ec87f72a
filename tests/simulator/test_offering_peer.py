"""The offering peer's own parts: how its ICE agent nominates, and a restart that is answered.

The client here is the bare minimum (an ICE agent, DTLS), so that it can do what ours never does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import aioice
import pytest
from aioice import stun
from aiortc.rtcdtlstransport import RTCDtlsFingerprint, RTCDtlsParameters
from aiortc.rtp import RtcpPacket, RtcpRtpfbPacket, RtpPacket

from neko_trio.media import aiortc_private as private
from neko_trio.media.bridge import Lease, open_lease
from neko_trio.simulator._encoder import EncodedFrame
from neko_trio.simulator._ice import Network, ServerAgent
from neko_trio.simulator._microphone import Microphone
from neko_trio.simulator._offering_peer import OfferingPeer, PeerLimits
from neko_trio.simulator._rtp_sender import RtpSender
from neko_trio.simulator._sdp import Description, read_description
from tests.media.agents import introduce
from tests.media.pipes import Pipe

pytestmark = pytest.mark.real_time


@pytest.fixture
async def lease() -> AsyncIterator[Lease]:
    async with open_lease("simulator") as lease:
        yield lease
        assert lease.background_failures.total == 0


async def limited(work: Awaitable[None]) -> None:
    await asyncio.wait_for(work, 10)


class ClientAgent(private.IceAgentBase):
    """aioice's agent on loopback; unlike ours it controls only when told so."""

    def __init__(self, controlling: bool = False) -> None:
        super().__init__(ice_controlling=controlling)

    async def gather(self) -> str:
        """Bind; returns the candidate."""
        self.begin_gathering()
        candidates = await self.get_component_candidates(1, ["127.0.0.1"])
        self.own_candidates.extend(candidates)
        self.end_gathering()
        return candidates[0].to_sdp()


async def met(
    server: ServerAgent, client: ClientAgent, *, kind: str = "host", tell: bool = True
) -> tuple[float, list[aioice.Candidate]]:
    """Let the two connect; returns the seconds it took the server. The client is told as of type ``kind``."""
    told: list[aioice.Candidate] = []
    await server.open_sockets(told.append)
    own = aioice.Candidate.from_sdp(await client.gather())
    own.type = kind
    introduce(server, client)
    if tell:
        server.add_remote(own)
    loop = asyncio.get_running_loop()
    began = loop.time()
    client.add_remote(told[0])
    theirs = asyncio.create_task(client.connect())
    await server.connect()
    took = loop.time() - began
    await theirs
    return took, told


@pytest.mark.parametrize(("kind", "least", "most"), [("host", 0.0, 0.35), ("srflx", 0.5, 0.85), ("relay", 2.0, 2.35)])
async def test_nomination_waits_for_the_kind_of_candidate(lease: Lease, kind: str, least: float, most: float) -> None:
    async def scenario() -> None:
        server, client = ServerAgent(keep_alive=2.0, network=Network()), ClientAgent()
        try:
            took, _ = await met(server, client, kind=kind)
            assert least <= took < most
            assert server.ice_controlling
            await client.send(b"hello")
            assert await server.recv() == b"hello"
        finally:
            await server.close()
            await client.close()

    await lease.run(limited, scenario())


async def test_a_client_that_was_not_announced_waits_a_second(lease: Lease) -> None:
    async def scenario() -> None:
        server, client = ServerAgent(keep_alive=2.0, network=Network()), ClientAgent()
        try:
            took, _ = await met(server, client, tell=False)
            assert 1.0 <= took < 1.5
        finally:
            await server.close()
            await client.close()

    await lease.run(limited, scenario())


async def test_the_request_that_takes_the_role_gets_no_answer_and_the_next_one_does(lease: Lease) -> None:
    async def scenario() -> None:
        server, client = ServerAgent(keep_alive=2.0, network=Network()), ClientAgent(controlling=True)
        client.tie_breaker = 2**64 - 1
        answered: list[stun.Message] = []
        send = private.StunProtocol.send_stun

        def watched(self: private.StunProtocol, message: stun.Message, addr: tuple[str, int]) -> None:
            if self.receiver is server and message.message_class == stun.Class.RESPONSE:
                answered.append(message)
            send(self, message, addr)

        requests: list[bytes] = []
        receive = server.request_received

        def heard(message: stun.Message, addr: tuple[str, int], protocol: private.StunProtocol) -> None:
            requests.append(message.transaction_id)
            receive(message, addr, protocol)

        server.request_received = heard  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(private.StunProtocol, "send_stun", watched)
            try:
                await met(server, client)
                assert not server.ice_controlling
                # aioice repeats the request (same id), and that one is answered
                assert requests.count(requests[0]) == 2
                assert [message.transaction_id for message in answered].count(requests[0]) == 1
            finally:
                await server.close()
                await client.close()

    await lease.run(limited, scenario())


async def test_checks_before_the_answer_are_dropped(lease: Lease) -> None:
    async def scenario() -> None:
        server, client = ServerAgent(keep_alive=2.0, network=Network()), ClientAgent()
        told: list[aioice.Candidate] = []
        try:
            await server.open_sockets(told.append)
            await client.gather()
            client.remote_username, client.remote_password = server.local_username, server.local_password
            client.add_remote(told[0])
            request = client.build_request(private.CandidatePair(client.sockets[0], told[0]), nominate=False)
            with pytest.raises(stun.TransactionError):
                await client.sockets[0].request(
                    request,
                    (told[0].host, told[0].port),
                    integrity_key=server.local_password.encode(),
                    retransmissions=0,
                )
            assert server.known_remotes == []
        finally:
            await server.close()
            await client.close()

    await lease.run(limited, scenario())


async def test_closing_ends_the_checks(lease: Lease) -> None:
    async def scenario() -> None:
        server = ServerAgent(keep_alive=2.0, network=Network())
        await server.open_sockets(lambda candidate: None)
        server.remote_username, server.remote_password = "user", "p" * 22
        server.add_remote(aioice.Candidate("1", 1, "udp", 1, "127.0.0.1", 9, "host"))
        connecting = asyncio.create_task(server.connect())
        await asyncio.sleep(0.25)
        await server.close()
        with pytest.raises(ConnectionError):
            await connecting

    await lease.run(limited, scenario())


async def test_addresses_that_cannot_be_bound_are_an_error(lease: Lease) -> None:
    async def scenario() -> None:
        agent = ServerAgent(keep_alive=2.0, network=Network(("203.0.113.1",)))
        with pytest.raises(OSError):
            await agent.open_sockets(lambda candidate: None)
        await agent.close()

    await lease.run(limited, scenario())


class ClientPath(private.DtlsCarrier):
    def __init__(self, agent: ClientAgent) -> None:
        self.agent = agent
        self.media = 0
        """Packets of SRTP received (RFC 7983: the first byte is 128 to 191)."""

    @property
    def role(self) -> str:
        return "controlled"

    async def receive(self) -> bytes:
        while True:
            agent = self.agent
            try:
                datagram = await agent.recv()
            except ConnectionError:
                if agent is self.agent:
                    raise
            else:
                self.media += 127 < datagram[0] < 192
                return datagram

    async def send(self, datagram: bytes) -> None:
        await self.agent.send(datagram)


class Told:
    """What a peer told."""

    def __init__(self) -> None:
        self.offers: list[str] = []
        self.candidates: list[str] = []
        self.ends: list[str] = []

    def offer(self, sdp: str) -> None:
        self.offers.append(sdp)

    def candidate(self, text: str) -> None:
        self.candidates.append(text)

    def connected(self) -> None:
        return

    def data_channel_open(self) -> None:
        return

    def data(self, message: bytes) -> None:
        raise AssertionError("the client has no data channel")

    def closed(self, reason: str) -> None:
        self.ends.append(reason)

    def may_speak(self) -> str | None:
        raise AssertionError("the client has no microphone")


class Client:
    """Answers offers."""

    def __init__(self) -> None:
        self.agent = ClientAgent()
        self.path = ClientPath(self.agent)
        self.dtls = self.path.dtls()

    async def answer(self, offer: str, agent: ClientAgent) -> str:
        candidate = await agent.gather()
        server = read_description(offer)
        agent.remote_username, agent.remote_password = server.ufrag, server.password
        for text in server.candidates:
            remote = aioice.Candidate.from_sdp(text)
            if remote.component == 1:
                agent.add_remote(remote)
        print_of = self.dtls.getLocalParameters().fingerprints
        ours = Description(
            session=1,
            version=1,
            codec="vp8",
            audio_ssrc=1,
            video_ssrc=2,
            fingerprint=next(each.value for each in print_of if each.algorithm == "sha-256"),
            ufrag=agent.local_username,
            password=agent.local_password,
        )
        return ours.offer(candidates=[candidate]).replace("a=setup:actpass", "a=setup:active")


async def test_an_answered_restart_goes_on_over_the_new_path(lease: Lease) -> None:
    microphone = Microphone()

    async def scenario() -> None:
        told = Told()
        forgotten: list[OfferingPeer] = []
        peer = OfferingPeer(
            codec="vp8",
            network=Network(),
            mux=None,
            microphone=microphone,
            limits=PeerLimits(connect=5.0),
            events=told,
            forget=forgotten.append,
        )
        await peer.open()
        [sdp] = told.offers
        client = Client()
        answer = await client.answer(sdp, client.agent)
        for text in told.candidates:
            client.agent.add_remote(aioice.Candidate.from_sdp(text.removeprefix("candidate:")))
        await peer.answer(answer)
        await client.agent.connect()
        private.be_dtls_client(client.dtls)
        fingerprint = RTCDtlsFingerprint("sha-256", sdp.split("sha-256 ")[1].split("\r")[0])
        await client.dtls.start(RTCDtlsParameters([fingerprint]))
        assert client.dtls.state == "connected"

        async def more_arrives() -> None:
            before = client.path.media
            for _ in range(300):
                peer.sender.watch()
                peer.sender.offer_frame(EncodedFrame(b"frame", keyframe=True, duration=3600))
                await asyncio.sleep(0.01)
                if client.path.media > before + 3:
                    return
            raise AssertionError("nothing arrives")

        await more_arrives()
        old = client.agent
        restart = await peer.create_offer(ice_restart=True)
        client.agent = ClientAgent()
        await peer.answer(await client.answer(restart, client.agent))
        await client.agent.connect()
        client.path.agent = client.agent
        await old.close()
        await more_arrives()
        assert told.ends == []
        await peer.aclose()
        assert forgotten == [peer]
        await private.stop_dtls(client.dtls)
        await client.agent.close()

    await lease.run(limited, scenario())


async def test_private_names_rtcp_reaches_who_listens_and_srtp_the_other_side(lease: Lease) -> None:
    """The contract of `hear_rtcp`, `hear_rtp`, `send_srtp`, `DtlsCarrier` and `stop_dtls`."""

    async def scenario() -> None:
        here, there = Pipe(), Pipe()
        here.join(there)
        server, client = here.dtls(), there.dtls()
        private.be_dtls_server(server)
        private.be_dtls_client(client)
        await asyncio.gather(
            server.start(client.getLocalParameters()),
            client.start(server.getLocalParameters()),
        )
        assert (server.state, client.state) == ("connected", "connected")
        heard: asyncio.Queue[object] = asyncio.Queue()
        private.hear_rtcp(server, 77, heard.put)
        nack = RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=77, lost=[5, 6])
        await private.send_srtp(client, bytes(nack))
        packet = await heard.get()
        assert isinstance(packet, RtcpRtpfbPacket)
        assert packet.lost == [5, 6]
        assert bytes(packet) == bytes(RtcpPacket.parse(bytes(nack))[0])
        sender = RtpSender(111, ssrc=99)
        [sound] = sender.frame([b"payload"], 960)
        taken: asyncio.Queue[RtpPacket] = asyncio.Queue()
        unhear = private.hear_rtp(server, 99, 111, taken.put_nowait)
        await private.send_srtp(client, sound)
        spoken = await taken.get()
        assert (spoken.ssrc, spoken.payload) == (99, b"payload")
        unhear()
        unhear()
        [sound] = sender.frame([b"more"], 960)
        await private.send_srtp(client, sound)
        await private.send_srtp(client, bytes(nack))
        await heard.get()  # behind it
        assert taken.empty()
        [video] = RtpSender(96).frame([b"payload"], 1)
        sent = here.sent
        await private.send_srtp(server, video)
        await private.send_srtp(server, video)  # a repeat is not refused on the way out
        assert here.sent == sent + 2
        changed = asyncio.Event()
        server.on("statechange", changed.set)
        await private.stop_dtls(client)
        assert client.state == "closed"
        await changed.wait()
        assert server.state == "closed"
        with pytest.raises(ConnectionError):
            await private.send_srtp(server, video)

    await lease.run(limited, scenario())
