"""Sound out: the encoder, the track in the description, and what is sent when. On asyncio, without a connection."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import aiortc.sdp
import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from neko_trio._ports.microphone import SoundQueue
from neko_trio.errors import FeatureOff
from neko_trio.media.audio import sender as sending
from neko_trio.media.audio.decoder import AUDIO_FORMATS, AudioDecoder
from neko_trio.media.audio.description import SoundPlace, find_opus, make_offer, takes_sound, with_microphone
from neko_trio.media.audio.microphone import MicrophoneTrack
from neko_trio.media.audio.sender import SoundEncoder, SoundSender
from neko_trio.media.bridge import open_lease
from neko_trio.testing import leak_check
from tests.audio.tones import LEFT, LEVEL, RIGHT, frequency, level

RECORDINGS = Path(__file__).parent.parent / "recordings"
EXCHANGES: list[dict[str, Any]] = json.loads((RECORDINGS / "microphone.json").read_text())
PLACE = SoundPlace("0", 111)


def recorded_answer(name: str) -> str:
    lines = [json.loads(line) for line in (RECORDINGS / f"{name}.jsonl").read_text().splitlines()]
    return str(next(line["payload"]["sdp"] for line in lines if line.get("event") == "signal/answer"))


ANSWER = recorded_answer("handshake-vp8-user")


# -- the encoder


def tones_at(rate: int, seconds: float) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    at = np.arange(round(rate * seconds)) * (2 * np.pi / rate)
    return np.stack([LEVEL * np.sin(LEFT * at), LEVEL / 2 * np.sin(RIGHT * at)], axis=1).astype(np.int16)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_tones_of_any_rate_are_the_same_tones(rate: int) -> None:
    encoder, decoder = SoundEncoder(rate=rate, bitrate=96_000), AudioDecoder(AUDIO_FORMATS["OPUS"])
    sound, packet = tones_at(rate, 1), rate // 50
    packets = [each for at in range(0, len(sound), packet) for each in encoder.encode(sound[at : at + packet])]
    assert 49 <= len(packets) <= 50  # the resampler keeps some milliseconds back
    heard = np.concatenate([decoder.decode(each) for each in packets])
    assert len(heard) == len(packets) * 960
    middle = heard[12_000:36_000]
    for channel, hertz, height in ((0, LEFT, LEVEL), (1, RIGHT, LEVEL / 2)):
        assert frequency(middle[:, channel]) == pytest.approx(hertz, abs=3)
        assert level(middle[:, channel]) == pytest.approx(height, rel=0.15)


def test_the_bitrate_is_the_callers() -> None:
    noise = np.random.default_rng(1).integers(-9000, 9000, (48_000, 2)).astype(np.int16)

    def size(bitrate: int) -> int:
        encoder = SoundEncoder(rate=48_000, bitrate=bitrate)
        return sum(len(each) for at in range(0, 48_000, 960) for each in encoder.encode(noise[at : at + 960]))

    assert size(24_000) * 8 == pytest.approx(24_000, rel=0.25)
    assert size(128_000) * 8 == pytest.approx(128_000, rel=0.25)
    for bitrate in (6_000, 510_000):  # as far as a session takes them
        assert SoundEncoder(rate=48_000, bitrate=bitrate).encode(noise[:960])


# -- the description


@pytest.mark.parametrize("name", ["handshake-vp8-user", "handshake-vp8-admin", "handshake-h264", "handshake-av1"])
def test_an_offer_is_our_answer_with_a_track(name: str) -> None:
    answer = recorded_answer(name)
    place = find_opus(answer)
    assert place == PLACE
    before, after = (
        aiortc.sdp.SessionDescription.parse(each) for each in (answer, make_offer(answer, place, 77, version=3))
    )
    assert after.group == before.group
    for ours, theirs in zip(after.media, before.media, strict=True):
        assert (ours.kind, ours.rtp.muxId, ours.rtp.codecs) == (theirs.kind, theirs.rtp.muxId, theirs.rtp.codecs)
        assert ours.ice == theirs.ice
        assert ours.dtls is not None
        assert theirs.dtls is not None
        assert ours.dtls.fingerprints == theirs.dtls.fingerprints
        assert ours.dtls.role == "auto"  # actpass
        assert ours.ice_candidates == []
    audio, video = after.media[:2]
    assert audio.direction == "sendrecv"
    assert [each.ssrc for each in audio.ssrc] == [77]  # one and no other: pion takes two for the semantics of old
    assert video.direction == before.media[1].direction
    assert int(str(after.origin).split(" ")[2]) == int(str(before.origin).split(" ")[2]) + 3


def test_an_offer_without_the_track_wants_what_the_server_sends_all_the_same() -> None:
    sections = [each for each in make_offer(ANSWER, PLACE, None, version=1).split("m=") if each.startswith("audio")]
    assert "a=recvonly" in sections[0].splitlines()  # inactive would end the section for good at the server
    assert "a=ssrc" not in sections[0]


def test_an_answer_of_ours_keeps_the_track() -> None:
    kept = aiortc.sdp.SessionDescription.parse(with_microphone(ANSWER, PLACE, 77))
    assert [each.ssrc for each in kept.media[0].ssrc] == [77]
    assert kept.media[0].direction == "sendrecv"
    assert kept.media[0].dtls is not None
    assert kept.media[0].dtls.role == aiortc.sdp.SessionDescription.parse(ANSWER).media[0].dtls.role  # type: ignore[union-attr]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda each: f"audio={each['audio']}, on={each['on']}")
def test_the_real_servers_answers_are_read(exchange: dict[str, Any]) -> None:
    assert takes_sound(exchange["answer"], PLACE) is exchange["on"]


@pytest.mark.parametrize("damage", [("m=audio 9", "m=audio 0"), ("a=mid:0", "a=mid:9"), ("a=sendrecv", "a=inactive")])
def test_an_answer_that_does_not_take_the_track_is_known(damage: tuple[str, str]) -> None:
    assert not takes_sound(EXCHANGES[0]["answer"].replace(*damage, 1), PLACE)


@pytest.mark.parametrize(
    "sdp",
    [
        "",
        "v=0\r\n",
        ANSWER.replace("opus/48000/2", "PCMU/8000"),
        ANSWER.replace("m=audio", "m=video"),
        ANSWER.replace("a=mid:0", "a=middle:0"),
    ],
)
def test_without_opus_there_is_no_place(sdp: str) -> None:
    assert find_opus(sdp) is None
    track = MicrophoneTrack()
    assert track.answered(sdp) == sdp
    with pytest.raises(FeatureOff, match="Opus"):
        track.offer(on=True)


@given(st.text())
@settings(max_examples=200)
def test_any_text_is_read_as_an_answer(text: str) -> None:
    assert takes_sound(text, PLACE) in (False, True)
    find_opus(text)


def test_each_opening_has_an_ssrc_of_its_own_and_answers_keep_it() -> None:
    track = MicrophoneTrack()
    assert track.answered(ANSWER) == ANSWER

    def ssrcs(sdp: str) -> list[int]:
        return [each.ssrc for each in aiortc.sdp.SessionDescription.parse(sdp).media[0].ssrc]

    first, gone, second = ssrcs(track.offer(on=True)), ssrcs(track.offer(on=False)), ssrcs(track.offer(on=True))
    assert (len(first), gone, len(second)) == (1, [], 1)
    assert first != second
    assert ssrcs(track.answered(ANSWER)) == second  # the server has offered something in between


# -- what is sent when


class Wire:
    """Takes packets, and notes when they came."""

    def __init__(self) -> None:
        self.packets: list[tuple[float, int, int, int, bool]] = []
        """Seconds, sequence number, timestamp, payload type, marker."""
        self.broken = False

    async def send(self, packet: bytes) -> None:
        if self.broken:
            raise ConnectionError("gone")
        first, second, sequence, timestamp, ssrc = struct.unpack("!BBHII", packet[:12])
        assert (first, ssrc) == (0x80, 77)
        at = asyncio.get_running_loop().time()
        self.packets.append((at, sequence, timestamp, second & 0x7F, bool(second & 0x80)))


async def run(scenario: Callable[[SoundQueue, SoundSender, Wire, Callable[..., Any]], Awaitable[None]]) -> None:
    """``scenario(queue, sender, wire, run)`` on trio, ``run`` being the lease's."""
    async with open_lease("media") as lease:
        with leak_check():
            wire = Wire()
            queue = SoundQueue(rate=48_000, limit=9600)
            sender = await lease.run(lambda: SoundSender(queue, wire.send, ssrc=77, payload_type=111, bitrate=64_000))
            queue.wake = lambda: lease.post(sender.wake)
            try:
                with trio.fail_after(10):
                    await scenario(queue, sender, wire, lease.run)
            finally:
                with trio.CancelScope(shield=True):
                    await lease.run(sender.aclose)
                    await lease.run(sender.aclose)


def nothing() -> None:
    """A turn of the loop: what it was at is done."""


def sound(seconds: float) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.full((round(seconds * 48_000), 2), 1000, np.int16)


@pytest.mark.real_time
async def test_packets_leave_every_20_ms_and_the_clock_goes_on_in_a_pause() -> None:
    async def scenario(queue: SoundQueue, sender: SoundSender, wire: Wire, run: Callable[..., Any]) -> None:
        await queue.write(sound(0.2))
        await queue.wait_silent()
        await trio.sleep(0.5)
        first = list(wire.packets)
        assert len(first) == 11  # and one of silence
        assert first[10][0] - first[0][0] == pytest.approx(0.2, abs=0.02)
        await queue.write(sound(0.1))
        await queue.wait_silent()
        await run(nothing)
        second = wire.packets[11:]
        assert len(second) == 6
        assert [each[4] for each in wire.packets] == [True, *[False] * 10, True, *[False] * 5]
        assert {each[3] for each in wire.packets} == {111}
        for spell in (first, second):
            assert {(b[2] - a[2]) & 0xFFFFFFFF for a, b in pairwise(spell)} == {960}
        steps = {(b[1] - a[1]) & 0xFFFF for a, b in pairwise(wire.packets)}
        assert steps == {1}
        assert first[0][1] < 0x8000
        paused = ((second[0][2] - first[10][2]) & 0xFFFFFFFF) / 48_000
        assert paused == pytest.approx(second[0][0] - first[10][0], abs=0.041)
        assert paused > 0.45

    await run(scenario)


@pytest.mark.real_time
async def test_a_loop_that_is_held_up_makes_up_for_a_tenth_of_a_second() -> None:
    async def hold(seconds: float) -> None:
        import time

        time.sleep(seconds)  # noqa: ASYNC251 - that the loop stands still is what is tried

    async def scenario(queue: SoundQueue, sender: SoundSender, wire: Wire, run: Callable[..., Any]) -> None:
        await queue.write(sound(0.2))
        await run(hold, 0.4)
        await queue.wait_silent()
        await run(nothing)
        times = [each[0] for each in wire.packets]
        gaps = [b - a for a, b in pairwise(times)]
        assert max(gaps) > 0.3
        behind = gaps[gaps.index(max(gaps)) + 1 :]  # a busy machine may hold it up at other times, too
        assert 3 <= len(list(takewhile(lambda gap: gap < 0.01, behind))) <= 6  # those due in the last tenth of a second

    await run(scenario)


@pytest.mark.real_time
async def test_reports_are_counted_from_the_first_packet_on() -> None:
    async def scenario(queue: SoundQueue, sender: SoundSender, wire: Wire, run: Callable[..., Any]) -> None:
        await run(sender.note_report, 0)  # before any packet, pion names none
        await queue.write(sound(0.1))
        await queue.wait_silent()
        await run(nothing)
        last = wire.packets[-1][1]
        with trio.move_on_after(0.05) as waiting:
            await queue.wait_received()
        assert waiting.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.wait_received)
            await trio.sleep(0.01)
            await run(sender.note_report, last)

    await run(scenario)


@pytest.mark.real_time
async def test_a_connection_that_goes_away_loses_packets_and_nothing_else() -> None:
    async def scenario(queue: SoundQueue, sender: SoundSender, wire: Wire, run: Callable[..., Any]) -> None:
        wire.broken = True
        await queue.write(sound(0.1))
        await queue.wait_silent()
        assert (sender.packets, wire.packets) == (0, [])

    await run(scenario)


@pytest.mark.real_time
async def test_an_encoder_that_fails_is_told_to_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: SoundEncoder, samples: object) -> list[bytes]:
        raise ZeroDivisionError("in libopus")

    monkeypatch.setattr(sending.SoundEncoder, "encode", fail)

    async def scenario(queue: SoundQueue, sender: SoundSender, wire: Wire, run: Callable[..., Any]) -> None:
        with pytest.raises(Exception, match="in libopus"):
            while True:
                await queue.write(sound(0.2))

    await run(scenario)
