"""The real server's RTP through the jitter buffer, without I/O and clock, and through FFmpeg."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable
from functools import cache

import av
import pytest
from aiortc.rtp import RtpPacket
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from neko_trio.media.depayload import FORMATS
from neko_trio.media.jitter_buffer import EncodedFrame, JitterBuffer

Recorded = Callable[[str], list[tuple[float, RtpPacket]]]
Truth = Callable[[str], dict[int, str]]
CODECS = pytest.mark.parametrize("codec", ["VP8", "VP9", "H264", "AV1"])
# A case takes 0.1 s, and a seed has nothing to shrink to.
SLOW = settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])


def receive(codec: str, packets: Iterable[tuple[float, RtpPacket]], renumber: int = 0) -> list[EncodedFrame]:
    buffer, frames = JitterBuffer(FORMATS[codec]), list[EncodedFrame]()
    for now, packet in packets:
        while (due := buffer.get_timer()) is not None and due <= now:
            frames += buffer.handle_timer(due)
        number = (packet.sequence_number + renumber) & 0xFFFF
        payload = FORMATS[codec].depayload(packet.payload)
        frames += buffer.receive(number, packet.timestamp, bool(packet.marker), payload, now)
    return frames


def pictures(codec: str, frames: Iterable[EncodedFrame]) -> dict[int, str]:
    """RTP timestamp to a digest of the decoded picture."""
    decoder = av.CodecContext.create(FORMATS[codec].decoder, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    digests = {}
    for frame in frames:
        (picture,) = decoder.decode(av.Packet(frame.data))
        assert (picture.width, picture.height) == (1280, 720)
        digests[frame.timestamp] = hashlib.blake2b(b"".join(bytes(plane) for plane in picture.planes)).hexdigest()
    return digests


@pytest.fixture(scope="session")
def truth(recorded: Recorded) -> Truth:
    """The pictures of each recording as they are when nothing goes wrong."""
    return cache(lambda codec: pictures(codec, receive(codec, recorded(codec))))


@CODECS
def test_every_frame_decodes(codec: str, recorded: Recorded, truth: Truth) -> None:
    frames = receive(codec, recorded(codec))
    assert len(frames) == len(truth(codec)) == 80
    assert [index for index, frame in enumerate(frames) if frame.key] == [0, 25, 50, 75]
    markers = [now for now, packet in recorded(codec) if packet.marker]
    assert [frame.arrived for frame in frames] == markers


@CODECS
@SLOW
@given(seed=st.integers(0, 2**32), renumber=st.integers(0, 0xFFFF))
def test_shuffled_and_duplicated_every_frame_is_the_same(
    codec: str, recorded: Recorded, seed: int, renumber: int
) -> None:
    rng = random.Random(seed)
    late = [(now + rng.random() * 0.02, packet) for now, packet in recorded(codec)]
    packets = sorted(late, key=lambda entry: entry[0])
    packets = [entry for entry in packets for _ in range(rng.choice([1, 1, 1, 2]))]
    straight = [frame.data for frame in receive(codec, recorded(codec))]
    assert [frame.data for frame in receive(codec, packets, renumber)] == straight


@CODECS
@SLOW
@given(seed=st.integers(0, 2**32), loss=st.floats(0.001, 0.05))
def test_with_losses_never_answered_no_picture_is_wrong(
    codec: str, recorded: Recorded, truth: Truth, seed: int, loss: float
) -> None:
    rng = random.Random(seed)
    kept = [entry for entry in recorded(codec) if rng.random() >= loss]
    shown = pictures(codec, receive(codec, kept))
    assert shown.items() <= truth(codec).items()


@CODECS
def test_one_loss_never_answered_costs_no_more_than_the_group(codec: str, recorded: Recorded, truth: Truth) -> None:
    stamps = list(truth(codec))
    victim = next(at for at, (_, packet) in enumerate(recorded(codec)) if packet.timestamp == stamps[30])
    shown = pictures(codec, receive(codec, recorded(codec)[:victim] + recorded(codec)[victim + 1 :]))
    assert list(shown) == stamps[:30] + stamps[50:]
    assert shown.items() <= truth(codec).items()
