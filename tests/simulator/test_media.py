"""The simulator's media against the real client: its own peer connection over real ICE, DTLS and SRTP on loopback."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import trio

from neko_trio._ports.frames import FrameSlot
from neko_trio._timeline import Timeline
from neko_trio.media.bridge import Lease, open_lease
from neko_trio.media.frames import Frame, FrameContext
from neko_trio.media.peer import PeerConnection, open_peer_connection
from neko_trio.media.peer_api import IceOptions, PeerSetup
from neko_trio.simulator._frame_code import FrameCode, read_frame_code
from neko_trio.simulator._input_events import InputEvent
from neko_trio.simulator._media import DesktopFailed, PeerLimits, SimulatorMedia, open_media
from neko_trio.simulator._media_api import LocalCandidate, PeerCallbacks
from neko_trio.simulator._media_peer import SimulatorPeer
from neko_trio.simulator._picture import Bytes2D
from neko_trio.simulator._small_desktop import SmallDesktop

pytestmark = pytest.mark.real_time

SIZE = (640, 360)


@dataclass
class Told:
    """What the server's side of one peer tells."""

    news: list[str] = field(default_factory=list)
    offer: str = ""
    candidates: list[LocalCandidate] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    reason: str = ""
    _changed: trio.Event = field(default_factory=trio.Event)

    def _tell(self, what: str) -> None:
        self.news.append(what)
        self._changed.set()
        self._changed = trio.Event()

    async def wait_more(self) -> None:
        await self._changed.wait()

    async def wait(self, what: str) -> None:
        while what not in self.news:
            await self._changed.wait()

    def callbacks(self) -> PeerCallbacks:
        def on_offer(sdp: str) -> None:
            self.offer = sdp
            self._tell("offer")

        def on_candidate(candidate: LocalCandidate) -> None:
            self.candidates.append(candidate)
            self._tell("candidate")

        def on_data(message: bytes) -> None:
            self.data.append(message)
            self._tell("data")

        def on_closed(reason: str) -> None:
            self.reason = reason
            self._tell("closed")

        return PeerCallbacks(
            on_offer=on_offer,
            on_candidate=on_candidate,
            on_connected=lambda: self._tell("connected"),
            on_closed=on_closed,
            on_data=on_data,
            on_data_channel_open=lambda: self._tell("channel"),
        )


@dataclass
class Pair:
    """The two ends of one connection."""

    server: SimulatorPeer
    client: PeerConnection
    told: Told
    slot: FrameSlot
    received: list[bytes]
    heard: trio.Event
    """Set with the first message received."""

    async def until(self, true: Callable[[], bool]) -> None:
        """Look at each new picture's arrival, while the picture moves."""
        number = 0
        while not true():
            number = (await self.slot.wait(number)).number

    async def code(self, newer_than: int = 0) -> tuple[Frame, FrameCode]:
        frame = await self.slot.wait(newer_than)
        code = read_frame_code(frame.to_ndarray())
        assert code is not None
        return frame, code


@asynccontextmanager
async def media_of(
    desktop: SmallDesktop | None = None,
    *,
    codec: str = "vp8",
    streams: tuple[str, ...] = ("main",),
    limits: PeerLimits | None = None,
) -> AsyncIterator[SimulatorMedia]:
    async with (
        open_lease("simulator") as lease,
        open_media(lease, desktop or SmallDesktop(SIZE), SIZE, 25, codec, streams=streams, limits=limits) as media,
    ):
        yield media
        assert lease.background_failures.total == 0


@asynccontextmanager
async def offered(
    media: SimulatorMedia, *, video_disabled: bool = False, stream: str = "main"
) -> AsyncIterator[tuple[SimulatorPeer, Told]]:
    told = Told()
    peer = await media.new_peer(told.callbacks(), video_disabled=video_disabled, stream=stream, audio_disabled=True)
    try:
        await told.wait("offer")
        yield peer, told
    finally:
        with trio.CancelScope(shield=True):
            await peer.aclose()


@asynccontextmanager
async def connected(
    media: SimulatorMedia, lease: Lease, *, video_disabled: bool = False, stream: str = "main", control: bool = True
) -> AsyncIterator[Pair]:
    slot, received, heard = FrameSlot(), list[bytes](), trio.Event()

    def on_data(message: bytes) -> None:
        received.append(message)
        heard.set()

    numbers = itertools.count(1)
    async with offered(media, video_disabled=video_disabled, stream=stream) as (server, told), trio.open_nursery() as n:
        session = object()
        setup = PeerSetup(
            lease=lease,
            offer_sdp=told.offer,
            ice_servers=(),
            ice=IceOptions(take_control=control),
            server_address="127.0.0.1",
            timeline=Timeline(),
            slot=slot,
            new_number=lambda: next(numbers),
            frame_context=lambda: FrameContext(session=session, epoch=1, screen_size=SIZE, stream=stream),
            on_candidate=lambda text: n.start_soon(server.add_candidate, text, "0", 0),
            on_data=on_data,
            on_keyframe_needed=lambda: None,
        )
        async with open_peer_connection(setup) as client:
            await client.set_remote_description()
            for candidate in told.candidates:
                await client.add_candidate(candidate.candidate, candidate.sdp_mid, candidate.sdp_mline_index)
            answer = await client.set_local_description()
            await server.answer(answer)
            client.start_checks()
            with trio.fail_after(10):
                await client.wait_connected()
                await told.wait("connected")
            yield Pair(server, client, told, slot, received, heard)
        n.cancel_scope.cancel()


@pytest.fixture
async def lease() -> AsyncIterator[Lease]:
    async with open_lease("media") as lease:
        yield lease


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_pictures_carry_true_numbers_and_times(lease: Lease, codec: str) -> None:
    async with media_of(codec=codec) as media, connected(media, lease) as pair:
        seen: list[tuple[int, float]] = []
        number = 0
        with trio.fail_after(10):
            while len(seen) < 12:
                frame, code = await pair.code(number)
                number = frame.number
                seen.append((code.number, code.seconds))
                assert frame.size == SIZE
        assert [each[0] for each in seen] == sorted({each[0] for each in seen})
        times = [each[1] for each in seen]
        assert times == sorted(set(times))
        # 40 ms for each, less what the first one here was late by: one that is late is followed by the next at once
        assert times[-1] - times[0] >= (seen[-1][0] - seen[0][0]) * 0.02


async def test_candidates_come_before_and_after_the_offer() -> None:
    async with media_of() as media, offered(media) as (_, told):
        with trio.fail_after(5):
            while told.news.count("candidate") < 2:
                await told.wait_more()
        assert told.news[0] == "candidate"
        assert told.news.index("offer") == 1
        for candidate in told.candidates:
            assert candidate.candidate.startswith("candidate:")
            assert " 127.0.0.1 " in candidate.candidate
            assert (candidate.sdp_mid, candidate.sdp_mline_index) == ("0", 0)
        assert "a=candidate" not in told.offer


@pytest.mark.parametrize("control", [True, False])
async def test_whoever_controls_they_connect_within_pions_tick(lease: Lease, control: bool) -> None:
    async with media_of() as media:
        with trio.fail_after(2):
            async with connected(media, lease, control=control) as pair:
                assert pair.client.statistics().role == ("controlling" if control else "controlled")


async def test_the_data_channel_carries_bytes_in_order_both_ways(lease: Lease) -> None:
    async with media_of() as media, connected(media, lease, video_disabled=True) as pair:
        with trio.fail_after(5):
            await pair.client.wait_data_channel()
            await pair.told.wait("channel")
            sent = [number.to_bytes(2, "big") for number in range(3000)]
            await pair.client.send_data(sent)
            pair.server.send_data(b"back")
            while len(pair.told.data) < len(sent):
                await pair.told.wait_more()
            await pair.heard.wait()
        assert pair.told.data == sent
        assert pair.received == [b"back"]


async def test_nothing_is_encoded_while_nobody_watches(lease: Lease) -> None:
    async with media_of() as media, connected(media, lease, video_disabled=True) as pair:
        await trio.sleep(0.2)
        assert media.frames_total == 0
        await pair.server.set_video(disabled=False)
        with trio.fail_after(2):
            frame, _ = await pair.code()
        await pair.server.set_video(disabled=True)
        assert media.watchers == 0
        await trio.sleep(0.1)  # what was being drawn comes to its end
        encoded = media.frames_total
        await trio.sleep(0.2)
        assert media.frames_total == encoded
        await pair.server.set_video(disabled=False)
        with trio.fail_after(2):
            await pair.code(frame.number)


@pytest.mark.parametrize(("codec", "keyframes"), [("vp8", 1), ("h264", 0)])
async def test_a_watcher_more_brings_a_keyframe_with_vp8_only(lease: Lease, codec: str, keyframes: int) -> None:
    async with media_of(codec=codec) as media, connected(media, lease) as pair:
        with trio.fail_after(5):
            await pair.code()
            before = pair.server.statistics()
            async with offered(media):
                await pair.until(lambda: pair.server.statistics().frames_sent >= before.frames_sent + 5)
        # the periodic one is 25 frames apart, and the first frame was at most a few ago
        assert pair.server.statistics().keyframes_sent - before.keyframes_sent == keyframes


async def test_a_keyframe_every_25_frames(lease: Lease) -> None:
    async with media_of() as media, connected(media, lease, video_disabled=True) as pair:
        await pair.server.set_video(disabled=False)
        with trio.fail_after(10):
            await pair.until(lambda: pair.server.statistics().frames_sent >= 52)
        assert pair.server.statistics().keyframes_sent == 3


async def test_a_pause_takes_the_watcher_away_and_its_end_brings_a_keyframe(lease: Lease) -> None:
    async with media_of() as media, connected(media, lease) as pair:
        with trio.fail_after(5):
            await pair.code()
            pair.server.set_paused(True)
            await pair.server.set_video()  # in order behind it
            assert media.watchers == 0
            before = pair.server.statistics()
            pair.server.set_paused(False)
            await pair.until(lambda: pair.server.statistics().frames_sent >= before.frames_sent + 3)
        assert pair.server.statistics().keyframes_sent == before.keyframes_sent + 1
        assert pair.client.statistics().video is not None


async def test_streams_are_switched_in_mid_stream(lease: Lease) -> None:
    async with media_of(streams=("hq", "lq")) as media, connected(media, lease, stream="hq") as pair:
        with trio.fail_after(5):
            frame, _ = await pair.code()
            assert frame.size == SIZE
            await pair.server.set_video(stream="lq")
            while frame.size != (320, 180):
                frame = await pair.slot.wait(frame.number)
        with pytest.raises(KeyError):
            await pair.server.set_video(stream="none", disabled=True)
        assert media.watchers == 1
        with pytest.raises(KeyError):
            await media.new_peer(Told().callbacks(), video_disabled=False, stream="none", audio_disabled=True)


async def test_a_new_size_goes_on_in_the_same_stream(lease: Lease) -> None:
    async with media_of() as media, connected(media, lease) as pair:
        with trio.fail_after(5):
            frame, _ = await pair.code()
            await media.resize((480, 320), 25)
            while frame.size != (480, 320):
                frame = await pair.slot.wait(frame.number)


async def test_the_client_closing_ends_the_peer_at_once(lease: Lease) -> None:
    async with media_of() as media, connected(media, lease) as pair:
        await pair.client.aclose()
        with trio.fail_after(1):
            await pair.told.wait("closed")
        assert pair.told.reason == "closed by the client"
        assert media.watchers == 0


async def test_silence_ends_the_peer(lease: Lease) -> None:
    async with media_of(limits=PeerLimits(silence=0.6)) as media, connected(media, lease) as pair:
        await trio.sleep(1.0)
        assert "closed" not in pair.told.news, "a client that answers is not silent"
        pair.server.set_silent(True)
        with trio.fail_after(2):
            await pair.told.wait("closed")
        assert pair.told.reason == "nothing heard of the client"


async def test_an_answer_that_leads_nowhere_ends_the_peer_and_no_answer_does_not(lease: Lease) -> None:
    async with media_of(limits=PeerLimits(connect=0.3)) as media:
        async with connected(media, lease) as pair:
            answer = await pair.client.renegotiate(await pair.server.create_offer())
        async with offered(media) as (server, told):
            await trio.sleep(0.5)
            assert "closed" not in told.news
            await server.answer(answer)  # of another connection: nobody is there
            with trio.fail_after(2):
                await told.wait("closed")
            assert told.reason == "not connected in time"


@pytest.mark.parametrize("nonsense", ["", "v=0", "hello", "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", "\x00\xff"])
async def test_what_is_no_answer_is_refused_and_changes_nothing(lease: Lease, nonsense: str) -> None:
    async with media_of() as media, offered(media) as (server, told):
        with pytest.raises(ValueError):
            await server.answer(nonsense)
        with pytest.raises(ValueError):
            await server.add_candidate("candidate:nonsense", "0", 0)
        with pytest.raises(ValueError):
            await server.client_offer(nonsense)
        assert "closed" not in told.news


async def test_an_unanswered_restart_stops_the_picture_and_then_the_peer(lease: Lease) -> None:
    async with media_of(limits=PeerLimits(connect=0.5)) as media, connected(media, lease) as pair:
        with trio.fail_after(5):
            await pair.code()
            offer = await pair.server.create_offer(ice_restart=True)
            sent = pair.server.statistics().frames_sent
            await pair.told.wait("closed")
        assert pair.server.statistics().frames_sent <= sent + 1
        assert pair.told.reason == "not connected in time"
        old = next(line for line in pair.told.offer.splitlines() if line.startswith("a=ice-ufrag"))
        assert old not in offer
        assert "a=candidate:" in offer


async def test_the_client_may_offer_too(lease: Lease) -> None:
    async with media_of() as media, connected(media, lease) as pair:
        offer = await pair.server.create_offer()
        await pair.client.renegotiate(offer)
        answer = await pair.server.client_offer(offer)
        assert answer.count("m=") == 3
        setups = {line for line in answer.splitlines() if line.startswith("a=setup")}
        assert setups == {"a=setup:passive"}
        with trio.fail_after(5):  # and the media go on
            frame, _ = await pair.code()
            await pair.code(frame.number + 5)


async def test_a_peer_closed_by_the_server_tells_the_client_and_no_callback(lease: Lease) -> None:
    async with media_of() as media, connected(media, lease) as pair:
        await pair.server.aclose()
        await pair.server.aclose()
        with trio.fail_after(2):
            await pair.client.wait_ended()
        assert "closed" not in pair.told.news


class Broken(SmallDesktop):
    def render(self, now: float, /) -> Bytes2D:  # type: ignore[override]
        raise ZeroDivisionError("in my own program")


async def test_a_desktop_that_raises_ends_the_block_with_its_error() -> None:
    with pytest.raises(DesktopFailed) as caught:
        async with media_of(Broken(SIZE)) as media, offered(media):
            await trio.sleep(10)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


class Own:
    """A user's program: RGB of a size of its own."""

    def render(self, now: float, /) -> Bytes2D:
        return np.full((100, 100, 3), (200, 30, 40), np.uint8)

    def on_input(self, event: InputEvent, /) -> None:
        raise AssertionError("not asked to")


async def test_a_desktop_of_another_size_is_scaled_to_the_screen(lease: Lease) -> None:
    async with (
        open_lease("simulator") as own,
        open_media(own, Own(), SIZE) as media,
        connected(media, lease) as pair,
    ):
        with trio.fail_after(5):
            frame = await pair.slot.wait()
        assert frame.size == SIZE
        assert np.abs(frame.to_ndarray().mean(axis=(0, 1)) - (200, 30, 40)).max() < 8


async def test_lost_packets_come_again_when_they_are_asked_for(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    drop = itertools.cycle([False] * 9 + [True])
    async with media_of() as media, connected(media, lease) as pair:
        lose_received_rtp(lease, monkeypatch, lambda: next(drop))
        number = 0
        with trio.fail_after(10):
            while pair.server.statistics().packets_resent < 3:
                frame, _ = await pair.code(number)  # and every picture is whole
                number = frame.number
        assert pair.server.statistics().nacks_received >= 3


def lose_received_rtp(lease: Lease, monkeypatch: pytest.MonkeyPatch, lost: Callable[[], bool]) -> None:
    """Drop video packets that reach the client, before SRTP sees them (else their repeats are replays)."""
    from neko_trio.media.stun_protocol import AgentSocket

    receive = AgentSocket.datagram_received

    def lossy(self: AgentSocket, data: bytes | str, addr: tuple[object, ...]) -> None:
        rtp = isinstance(data, bytes) and len(data) > 12 and data[0] == 0x80 and data[1] & 0x7F == 96
        if not (rtp and lost()):
            receive(self, data, addr)

    monkeypatch.setattr(AgentSocket, "datagram_received", lossy)
