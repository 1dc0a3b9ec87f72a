"""The length that an Opus packet says it has, against what libopus makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.media.audio.decoder import AUDIO_FORMATS, AudioDecoder
from neko_trio.media.audio.opus import LONGEST, BadSound, frame_length, lost_frame, packet_length
from tests.audio.tones import encode, opus_tones, tones


@pytest.mark.parametrize("milliseconds", [2.5, 5, 10, 20, 40, 60])
def test_the_length_is_the_encoder_s(milliseconds: float) -> None:
    frame = int(48 * milliseconds)
    for packet in encode(tones(0, frame * 5), frame=frame):
        assert packet_length(packet) == frame
        assert packet_length(packet) % frame_length(packet) == 0


@pytest.mark.parametrize("configuration", range(32))
def test_every_configuration_s_lost_frame_is_as_long_for_libopus(configuration: int) -> None:
    decoder = AudioDecoder(AUDIO_FORMATS["OPUS"])
    decoder.decode(opus_tones()[0])
    empty = lost_frame(bytes((configuration << 3 | 7, 1, 2, 3)))
    assert packet_length(empty) == frame_length(empty) == len(decoder.decode(empty))


@pytest.mark.parametrize("packet", [b"", b"\xff", b"\xff\x00", b"\xff\x07", b"\x1b\x03"])
def test_what_says_no_length_or_more_than_120_ms_is_refused(packet: bytes) -> None:
    with pytest.raises(BadSound):
        packet_length(packet)


def test_the_longest_packet_is_120_ms() -> None:
    assert packet_length(b"\xff\x06") == LONGEST
    assert packet_length(b"\x1b\x02") == LONGEST


@given(st.binary(max_size=40))
def test_any_bytes_have_a_length_or_none(packet: bytes) -> None:
    try:
        length = packet_length(packet)
    except BadSound:
        return
    assert 120 <= length <= LONGEST
    assert length % frame_length(packet) == 0


@given(st.binary(max_size=200))
def test_whatever_libopus_accepts_is_as_long_as_it_says(packet: bytes) -> None:
    decoder = AudioDecoder(AUDIO_FORMATS["OPUS"])
    try:
        length = packet_length(packet)
        samples = decoder.decode(packet)
    except BadSound:
        return
    assert samples.shape == (length, 2)
