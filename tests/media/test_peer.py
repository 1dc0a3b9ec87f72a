"""The peer connection against an aiortc peer that offers as the server does, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)

from neko_trio._ports.frames import FrameSlot
from neko_trio._timeline import Timeline
from neko_trio.errors import (
    IceFailed,
    InputInDoubt,
    MediaThreadLost,
    ProtocolViolation,
    SessionClosed,
    SessionLost,
    UnsupportedCodec,
)
from neko_trio.media import ice, receiving_peer
from neko_trio.media import peer as peer_module
from neko_trio.media.aiortc_private import IceAgentBase, StunProtocol, install_ice
from neko_trio.media.bridge import Lease, open_lease
from neko_trio.media.frames import FrameContext
from neko_trio.media.ice_gathering import bind_socket
from neko_trio.media.peer import open_peer_connection
from neko_trio.media.peer_api import IceOptions, Peer, PeerSetup
from neko_trio.media.portal import background_failures_total
from neko_trio.protocol import Malformed
from neko_trio.testing._leaks import leak_check

pytestmark = pytest.mark.real_time


class LoopbackAgent(IceAgentBase):
    """The server's ICE agent: aioice's, on loopback."""

    user: asyncio.Task[object] | None = None

    async def gather_candidates(self) -> None:
        if self.begin_gathering():
            protocol = await bind_socket("127.0.0.1", lambda: StunProtocol(self))
            self.sockets.append(protocol)
            self.own_candidates.append(protocol.local_candidate)
            self.end_gathering()

    async def connect(self) -> None:
        self.user = asyncio.current_task()
        await super().connect()
        if self.closing:  # aioice has started its consent checks in spite of that
            await self.close()


class Offerer:
    """The server's side; lives on the asyncio thread, its methods are for the trio thread."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.received: list[bytes] = []
        self.sdp = ""
        self.candidates: list[str] = []

    async def offer(self, *, video: bool = True, data: bool = True) -> None:
        await self._lease.run(self._offer, video, data)

    async def _offer(self, video: bool, data: bool) -> None:
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        transport = self._pc.addTransceiver("audio", direction="sendonly").sender.transport
        if video:
            self._pc.addTransceiver("video", direction="sendonly")
        self.agent = LoopbackAgent(ice_controlling=True)
        install_ice(transport.transport, self.agent)
        if data:
            self._channel: RTCDataChannel = self._pc.createDataChannel("data")
            self._channel.on("message", self.received.append)
        await self._pc.setLocalDescription(await self._pc.createOffer())
        lines = self._pc.localDescription.sdp.splitlines(keepends=True)
        self.candidates = sorted({line[2:].strip() for line in lines if line.startswith("a=candidate:")})
        self.sdp = "".join(line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates")))

    async def take(self, answer: str) -> None:
        await self._lease.run(self._pc.setRemoteDescription, RTCSessionDescription(sdp=answer, type="answer"))

    async def wait_connected(self) -> None:
        """Wait until aiortc's connecting task is through."""

        async def wait() -> None:
            assert self.agent.user is not None
            await asyncio.wait({self.agent.user})

        await self._lease.run(wait)

    async def wait_closed(self) -> None:
        """Wait until the client has hung up."""

        async def wait() -> None:
            closed = asyncio.Event()
            self._pc.on("connectionstatechange", closed.set)
            while self._pc.connectionState != "closed":
                closed.clear()
                await closed.wait()

        await self._lease.run(wait)

    async def offer_again(self) -> str:
        async def again() -> str:
            self._pc.addTransceiver("video", direction="sendonly")
            await self._pc.setLocalDescription(await self._pc.createOffer())
            sdp: str = self._pc.localDescription.sdp
            return sdp

        return await self._lease.run(again)

    async def send(self, message: bytes) -> None:
        await self._lease.run(self._channel.send, message)

    async def wait_received(self, count: int) -> None:
        async def wait() -> None:
            more = asyncio.Event()
            self._channel.on("message", lambda _: more.set())
            while len(self.received) < count:
                more.clear()
                await more.wait()

        with trio.fail_after(5):
            await self._lease.run(wait)

    async def close(self) -> None:
        await self._lease.run(self._close)

    async def _close(self) -> None:
        await self._pc.close()
        if self.agent.user is not None:
            await asyncio.gather(self.agent.user, return_exceptions=True)


@dataclass
class Told:
    """What the peer tells the session."""

    candidates: list[str] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    arrived: trio.Event = field(default_factory=trio.Event)

    def on_data(self, message: bytes) -> None:
        self.data.append(message)
        self.arrived.set()


def make_setup(lease: Lease, sdp: str, told: Told, *, options: IceOptions | None = None) -> PeerSetup:
    return PeerSetup(
        lease=lease,
        offer_sdp=sdp,
        ice_servers=(),
        ice=options or IceOptions(),
        server_address="127.0.0.1",
        timeline=Timeline(),
        slot=FrameSlot(),
        new_number=itertools.count(1).__next__,
        frame_context=lambda: FrameContext(None, 1, (1280, 720), None),
        on_candidate=told.candidates.append,
        on_data=told.on_data,
        on_keyframe_needed=lambda: None,
    )


@asynccontextmanager
async def offered(*, video: bool = True, data: bool = True) -> AsyncIterator[tuple[Lease, Offerer, Told]]:
    """A lease and an offer; nothing may be left when both ends have closed."""
    async with open_lease("media") as lease:
        with leak_check():
            server = Offerer(lease)
            await server.offer(video=video, data=data)
            try:
                yield lease, server, Told()
            finally:
                with trio.CancelScope(shield=True):
                    await server.close()


async def connect(peer: Peer, server: Offerer, *, data: bool = True) -> None:
    for candidate in server.candidates:
        await peer.add_candidate(candidate, "0", 0)
    await peer.set_remote_description()
    await server.take(await peer.set_local_description())
    peer.start_checks()
    with trio.fail_after(5):
        await peer.wait_connected()
        if data:
            await peer.wait_data_channel()


async def test_a_whole_handshake_and_both_ways_of_the_data_channel() -> None:
    async with offered() as (lease, server, told):
        setup = make_setup(lease, server.sdp, told)
        async with open_peer_connection(setup) as peer:
            assert not peer.data_channel_open
            await connect(peer, server)
            assert peer.data_channel_open
            await peer.send_data([b"one", b"two", b"three"])
            await server.wait_received(3)
            assert server.received == [b"one", b"two", b"three"]
            await server.send(b"back")
            with trio.fail_after(5):
                await told.arrived.wait()
            assert told.data == [b"back"]
            statistics = peer.statistics()
        assert [name for name, _ in setup.timeline.marks] == [
            "start",
            "peer_created",
            "remote_description_set",
            "local_description_set",
            "answer_sent",
            "ice_connected",
            "connected",
            "data_channel_open",
        ]
    assert statistics.codec == "VP8"
    assert (statistics.role == "controlled") == statistics.role_given_back, "whoever nominates first controls"
    assert statistics.candidate_pair is not None
    assert statistics.candidate_pair.protocol == "udp"
    assert statistics.candidate_pair.local.rpartition(":")[2].isdecimal()
    assert statistics.candidate_pair.remote_type == "host"
    assert (statistics.data_messages_sent, statistics.data_messages_received) == (3, 1)
    assert statistics.packets_received > 0
    assert statistics.bytes_sent > 0
    assert peer.statistics().candidate_pair == statistics.candidate_pair, "statistics outlive the connection"


async def test_what_trio_is_too_busy_for_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "DATA_LIMIT", 4)
    monkeypatch.setattr(peer_module, "NEWS_LIMIT", 4)
    async with offered() as (lease, server, told):
        async with open_peer_connection(make_setup(lease, server.sdp, told)) as peer:
            for number in range(7):
                peer._data.put(b"%d" % number)
                peer._news.put(lambda: None)
            statistics = peer.statistics()
            await trio.testing.wait_all_tasks_blocked()
            assert told.data == [b"0", b"1", b"2", b"3"]
        assert (statistics.data_messages_dropped, statistics.events_dropped) == (3, 3)
        assert peer.statistics().data_messages_dropped == 3


async def test_the_answer() -> None:
    async with (
        offered() as (lease, server, told),
        open_peer_connection(make_setup(lease, server.sdp, told)) as peer,
    ):
        await peer.set_remote_description()
        answer = await peer.set_local_description()
        audio, video, data = ("m=" + part for part in answer.split("m=")[1:])
        assert audio.startswith("m=audio")
        assert "a=inactive" in audio
        assert video.startswith("m=video")
        assert "a=recvonly" in video
        assert data.startswith("m=application")
        assert answer.count("a=setup:passive") == 3, "the server begins DTLS: one round trip less"
        assert " 127.0.0.1 " in answer
        assert "typ host" in answer
        assert "end-of-candidates" not in answer, "more may be trickled"
        assert told.candidates == []


async def test_candidates_written_into_the_offer_are_used() -> None:
    async with offered() as (lease, server, told):
        first, rest = server.sdp.split("m=video", 1)
        sdp = f"{first}a={server.candidates[0]}\r\na=candidate:nonsense\r\na=end-of-candidates\r\nm=video{rest}"
        server.candidates = []
        async with open_peer_connection(make_setup(lease, sdp, told)) as peer:
            await connect(peer, server)


async def test_a_candidate_with_a_name_is_looked_up() -> None:
    async with offered() as (lease, server, told):
        server.candidates = [server.candidates[0].replace("127.0.0.1", "localhost")]
        async with open_peer_connection(make_setup(lease, server.sdp, told)) as peer:
            await connect(peer, server)


async def test_candidates_that_cannot_be_used() -> None:
    async with (
        offered() as (lease, server, told),
        open_peer_connection(make_setup(lease, server.sdp, told)) as peer,
    ):
        for garbage in ("garbage", "candidate:1 1 udp 1 host 70000 typ host", "candidate:"):
            with pytest.raises(Malformed):
                await peer.add_candidate(garbage, None, None)
        await peer.add_candidate("candidate:1 1 udp 1 127.0.0.1 9 typ host ufrag another", "", 0)
        await peer.add_candidate("candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype active", None, None)
        await lease.run(int)  # behind what the calls before have handed over
        assert peer.statistics().candidates_ignored == 2
        await peer.add_candidate("candidate:1 1 udp 1 no-such-name.invalid 9 typ host", "0", 0)
        await connect(peer, server)


@pytest.mark.parametrize(
    ("sdp", "error"),
    [("", ProtocolViolation), ("v=0\r\n", ProtocolViolation), ("no sdp at all", ProtocolViolation)],
)
async def test_an_offer_that_is_none(sdp: str, error: type[Exception]) -> None:
    async with open_lease("media") as lease:
        with leak_check(), pytest.raises(error):
            async with open_peer_connection(make_setup(lease, sdp, Told())):
                raise AssertionError("opened")


@pytest.mark.parametrize("without", ["a=fingerprint", "a=ice-pwd", "a=ice-ufrag", "a=mid", "a=rtpmap"])
async def test_offers_that_cannot_be_applied(without: str) -> None:
    async with offered() as (lease, server, told):
        sdp = "".join(line for line in server.sdp.splitlines(keepends=True) if not line.startswith(without))
        async with open_peer_connection(make_setup(lease, sdp, told)) as peer:
            with pytest.raises(ProtocolViolation):
                await peer.set_remote_description()


async def test_an_unknown_codec_is_named() -> None:
    async with offered() as (lease, server, told):
        sdp = server.sdp.replace("VP8/90000", "H265/90000").replace("H264/90000", "VP7/90000")
        async with open_peer_connection(make_setup(lease, sdp, told)) as peer:
            with pytest.raises(UnsupportedCodec, match="H265 and VP7") as caught:
                await peer.set_remote_description()
            assert caught.value.offered == ("H265", "VP7")


async def test_a_server_that_hangs_up_ends_the_peer() -> None:
    async with offered() as (lease, server, told):
        async with open_peer_connection(make_setup(lease, server.sdp, told)) as peer:
            await connect(peer, server)
            await server.close()
            with trio.fail_after(5):
                assert "DTLS" in await peer.wait_ended()
            assert not peer.data_channel_open
            with pytest.raises(InputInDoubt):
                await peer.send_data([b"late"])
        with pytest.raises(SessionClosed):
            await peer.send_data([b"later"])


async def test_a_server_that_hangs_up_ends_the_wait_for_its_data_channel() -> None:
    async with (
        offered(data=False) as (lease, server, told),
        open_peer_connection(make_setup(lease, server.sdp, told)) as peer,
        trio.open_nursery() as nursery,
    ):
        await connect(peer, server, data=False)
        await server.wait_connected()
        nursery.start_soon(server.close)
        with trio.fail_after(5), pytest.raises(SessionLost):
            await peer.wait_data_channel()


async def test_no_path_fails_with_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice, "ICE_LIMIT", 0.3)
    async with (
        offered() as (lease, server, told),
        open_peer_connection(make_setup(lease, server.sdp, told)) as peer,
    ):
        await peer.add_candidate("candidate:1 1 udp 2130706431 127.0.0.1 9 typ host", "0", 0)
        await peer.set_remote_description()
        await peer.set_local_description()
        peer.start_checks()
        with trio.fail_after(5), pytest.raises(IceFailed) as caught:
            await peer.wait_connected()
        error = caught.value
        assert error.remote == ("udp 127.0.0.1:9 host",)
        assert error.local[0].startswith("udp 127.0.0.1:")
        assert error.step == "ice"
        assert "→ 127.0.0.1:9" in str(error)
        assert error.pairs[0] == f"{error.local[0].removesuffix(' host')} → 127.0.0.1:9: no answer"
        assert "UDP ports unchanged (9;" in str(error.hint)
        with trio.fail_after(1):
            assert "0.3 s" in await peer.wait_ended()
    late = peer.ice_failed("told after the close")
    assert (late.local, late.remote, late.pairs) == (error.local, error.remote, error.pairs)


async def test_relays_only_and_no_relay() -> None:
    async with offered() as (lease, server, told):
        setup = make_setup(lease, server.sdp, told, options=IceOptions(relay_only=True))
        async with open_peer_connection(setup) as peer:
            await peer.set_remote_description()
            with trio.fail_after(2), pytest.raises(IceFailed, match="relays are allowed"):
                await peer.set_local_description()


async def test_sending_waits_for_room_and_is_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving_peer, "SEND_LIMIT", 1000)
    async with (
        offered() as (lease, server, told),
        open_peer_connection(make_setup(lease, server.sdp, told)) as peer,
    ):
        await connect(peer, server)
        flood = [bytes(60_000)] * 60
        await peer.send_data(flood)  # there was room before: it goes whole
        with trio.move_on_after(0) as scope:
            await peer.send_data([b"never", b"sent"])
        assert scope.cancelled_caught
        with trio.fail_after(20):
            await peer.send_data([b"after", b"all"])
        await server.wait_received(62)
        assert server.received[60:] == [b"after", b"all"]


async def test_a_closed_channel_ends_a_sender_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving_peer, "SEND_LIMIT", 1000)
    async with offered() as (lease, server, told):
        async with open_peer_connection(make_setup(lease, server.sdp, told)) as peer:
            await connect(peer, server)
            await peer.send_data([bytes(60_000)] * 200)
            with trio.fail_after(5):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(server.close)
                    with pytest.raises(InputInDoubt):
                        await peer.send_data([b"never"])
        assert b"never" not in server.received


async def test_another_offer_on_the_same_connection() -> None:
    async with (
        offered(video=False) as (lease, server, told),
        open_peer_connection(make_setup(lease, server.sdp, told)) as peer,
    ):
        await connect(peer, server)
        offer = await server.offer_again()
        answer = await peer.renegotiate(offer)
        assert "m=video" in answer
        await server.take(answer)
        await peer.send_data([b"still there"])
        await server.wait_received(1)
        with pytest.raises(ProtocolViolation, match="restarts ICE"):
            await peer.renegotiate(offer.replace("a=ice-ufrag:", "a=ice-ufrag:other"))
        with pytest.raises(ProtocolViolation):
            await peer.renegotiate("nonsense")


async def test_closing_wakes_every_wait_and_is_idempotent() -> None:
    async with offered() as (lease, server, told):
        async with open_peer_connection(make_setup(lease, server.sdp, told)) as peer, trio.open_nursery() as nursery:

            async def waits() -> None:
                with pytest.raises(SessionClosed):
                    await peer.wait_connected()
                with pytest.raises(SessionClosed):
                    await peer.wait_data_channel()
                assert "closed" in await peer.wait_ended()

            nursery.start_soon(waits)
            await trio.lowlevel.checkpoint()
            known = peer.heard_at, peer.video_packets
            await peer.aclose()
            await peer.aclose()
            assert (peer.heard_at, peer.video_packets) == known, "a watchdog may ask about it still"
        for call in (peer.set_remote_description, peer.set_local_description):
            with pytest.raises(SessionClosed):
                await call()


@pytest.mark.parametrize("after", [0, 0.0002, 0.0005, 0.001])
async def test_a_cancelled_close_goes_on(after: float) -> None:
    async with (
        offered() as (lease, server, told),
        open_peer_connection(make_setup(lease, server.sdp, told)) as peer,
    ):
        await connect(peer, server)
        with trio.move_on_after(after):
            await peer.aclose()
        with trio.fail_after(2):
            await server.wait_closed()
            await peer.aclose()


STEPS = ("created", "candidate", "remote", "local", "checks", "connected", "data")


@pytest.mark.parametrize("last", STEPS)
@pytest.mark.parametrize("how", ["error", "cancel", "cancel soon"])
async def test_leaving_after_any_step_leaves_nothing(last: str, how: str) -> None:
    class Stop(Exception):
        pass

    async with offered() as (lease, server, told):

        def reached(step: str) -> None:
            if step != last:
                return
            if how == "error":
                raise Stop
            if how == "cancel":
                scope.cancel()
            else:
                scope.deadline = trio.current_time() + 0.0005

        caught = False
        with trio.CancelScope() as scope:
            try:
                async with open_peer_connection(make_setup(lease, server.sdp, told)) as peer:
                    reached("created")
                    await peer.add_candidate(server.candidates[0], "0", 0)
                    reached("candidate")
                    await peer.set_remote_description()
                    reached("remote")
                    answer = await peer.set_local_description()
                    reached("local")
                    await server.take(answer)
                    peer.start_checks()
                    reached("checks")
                    await peer.wait_connected()
                    reached("connected")
                    await peer.wait_data_channel()
                    reached("data")
                    await trio.sleep_forever()
            except Stop:
                caught = True
        assert caught == (how == "error"), "the body's error comes out bare"
        assert scope.cancelled_caught == (how != "error")


async def test_a_message_that_is_lost_with_its_connection_is_no_background_failure() -> None:
    before = background_failures_total()
    async with offered() as (lease, server, told):
        async with open_peer_connection(make_setup(lease, server.sdp, told)) as peer:
            await connect(peer, server)
            assert peer._remote is not None
            channel, sctp = peer._remote._channel, peer._remote._pc.sctp
            assert channel is not None
            assert sctp is not None
            tried = []

            async def gone(data: bytes) -> None:
                tried.append(data)
                raise ConnectionError("Cannot send data, not connected")

            def send() -> None:  # in one turn of the loop: nothing else is sent in between
                sctp.transport._send_data = gone  # type: ignore[method-assign]  # one instance
                channel.send(b"lost")

            await lease.run(send)
            await lease.run(asyncio.sleep, 0)  # turns for aiortc's task
            await lease.run(asyncio.sleep, 0)
            assert b"lost" in tried[0]
        gc.collect()
    assert background_failures_total() == before


async def test_packets_that_are_refused_are_counted() -> None:
    """Those that came over the media connection, and those of the data channel within DTLS."""
    async with offered() as (lease, server, told), open_peer_connection(make_setup(lease, server.sdp, told)) as peer:
        await connect(peer, server)
        assert peer._remote is not None
        remote, sctp = peer._remote, peer._remote._pc.sctp
        assert sctp is not None
        before = peer.statistics().packets_refused
        forged = bytes.fromhex("8060000100000000deadbeef") + bytes(40)  # RTP in the clear, from anybody
        taken = []

        def come() -> None:
            assert remote.agent.on_media is not None
            taken.append(remote.agent.on_media(forged))

        await lease.run(come)
        assert taken == [True]
        assert peer.statistics().packets_refused == before + 1
        await lease.run(sctp._handle_data, b"\x13\x88\x13\x88 no packet of SCTP")
        assert peer.statistics().packets_refused == before + 2


async def test_the_end_of_the_asyncio_thread_ends_every_wait() -> None:
    before = background_failures_total()
    await _outlive_the_thread()
    gc.collect()
    assert background_failures_total() == before, "a task was still pending when its loop was gone"
    for thread in threading.enumerate():
        if thread.name.startswith("neko-trio-decode-"):
            thread.join(2)  # told to end, it may be at its last line
            assert not thread.is_alive(), thread.name


async def _outlive_the_thread() -> None:
    async with open_lease("media") as lease:
        server = Offerer(lease)
        await server.offer()
        async with open_peer_connection(make_setup(lease, server.sdp, Told())) as peer:
            await connect(peer, server)
            lease.loop.call_soon_threadsafe(lease.loop.stop)
            with trio.fail_after(5):
                await peer.wait_ended()
                with pytest.raises(MediaThreadLost):
                    await peer.send_data([b"x"])
                assert peer.heard_at > 0
                assert peer.video_packets == 0
