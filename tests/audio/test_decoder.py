"""Samples out of packets, and what stands in for those that were lost."""

from __future__ import annotations

import numpy as np
import pytest

from neko_trio.media.audio.decoder import AUDIO_FORMATS, CONCEAL_LIMIT, AudioDecoder
from neko_trio.media.audio.opus import BadSound
from tests.audio.tones import FRAME, LEFT, LEVEL, RATE, RIGHT, encode, frequency, level, opus_tones, tones


def test_opus_keeps_pitch_level_and_channels() -> None:
    decoder = AudioDecoder(AUDIO_FORMATS["OPUS"])
    heard = np.concatenate([decoder.decode(packet) for packet in opus_tones()])[RATE // 2 :]
    assert heard.dtype == np.int16
    assert frequency(heard[:, 0]) == pytest.approx(LEFT, abs=2)
    assert frequency(heard[:, 1]) == pytest.approx(RIGHT, abs=2)
    assert level(heard[:, 0]) == pytest.approx(LEVEL, rel=0.02)
    assert level(heard[:, 1]) == pytest.approx(LEVEL / 2, rel=0.02)


@pytest.mark.parametrize(("name", "codec"), [("PCMU", "pcm_mulaw"), ("PCMA", "pcm_alaw"), ("G722", "g722")])
def test_the_telephone_s_codecs(name: str, codec: str) -> None:
    sound = AUDIO_FORMATS[name]
    at = np.arange(sound.rate) * (2 * np.pi * LEFT / sound.rate)
    samples = (LEVEL * np.sin(at)).astype(np.int16)[:, None]
    packets = encode(samples, codec=codec, rate=sound.rate, frame=sound.rate // 50)
    decoder = AudioDecoder(sound)
    assert {decoder.duration(packet) for packet in packets} == {sound.clock_rate // 50}
    heard = np.concatenate([decoder.decode(packet) for packet in packets])
    assert heard.shape == (sound.rate, 1)
    assert frequency(heard[:, 0], sound.rate) == pytest.approx(LEFT, abs=2)
    assert level(heard[:, 0]) == pytest.approx(LEVEL, rel=0.05)
    assert decoder.conceal(160).shape == (160 * sound.rate // sound.clock_rate, 1)
    assert not decoder.conceal(160).any()
    with pytest.raises(BadSound):
        decoder.duration(b"")


def test_a_lost_packet_is_bridged_by_what_went_before() -> None:
    decoder, packets = AudioDecoder(AUDIO_FORMATS["OPUS"]), opus_tones()
    for packet in packets[:50]:
        decoder.decode(packet)
    bridge = decoder.conceal(FRAME)
    assert bridge.shape == (FRAME, 2)
    assert level(bridge[:, 0]) > LEVEL / 2
    assert frequency(np.concatenate([bridge, decoder.decode(packets[51])])[:, 0]) == pytest.approx(LEFT, abs=30)


def test_a_long_gap_fades_out_and_is_filled_for_a_moment_only() -> None:
    decoder = AudioDecoder(AUDIO_FORMATS["OPUS"])
    for packet in opus_tones()[:50]:
        decoder.decode(packet)
    bridge = decoder.conceal(10 * RATE)
    assert len(bridge) == int(CONCEAL_LIMIT * RATE)
    assert level(bridge[-FRAME:, 0]) < LEVEL / 5


def test_only_whole_frames_are_concealed() -> None:
    decoder = AudioDecoder(AUDIO_FORMATS["OPUS"])
    decoder.decode(opus_tones()[0])
    assert [len(decoder.conceal(ticks)) for ticks in (0, 959, 960, 1500, 1920)] == [0, 0, 960, 960, 1920]


def test_before_the_first_packet_there_is_nothing_to_go_on() -> None:
    decoder = AudioDecoder(AUDIO_FORMATS["OPUS"])
    assert decoder.conceal(FRAME).shape == (0, 2)
    decoder.decode(opus_tones()[0])
    decoder.reset()
    assert decoder.conceal(FRAME).shape == (0, 2)


def test_garbage_is_refused_and_leaves_the_decoder_usable() -> None:
    decoder, packets = AudioDecoder(AUDIO_FORMATS["OPUS"]), opus_tones()
    for packet in packets[:20]:
        decoder.decode(packet)
    for garbage in (b"", b"\xff\x3f", b"\xff"):
        with pytest.raises(BadSound):
            decoder.duration(garbage)
        with pytest.raises(BadSound):
            decoder.decode(garbage)
    heard = np.concatenate([decoder.decode(packet) for packet in packets[21:71]])
    assert frequency(heard[FRAME:, 0]) == pytest.approx(LEFT, abs=2)


def test_the_samples_are_a_copy_of_their_own() -> None:
    decoder, packets = AudioDecoder(AUDIO_FORMATS["OPUS"]), opus_tones()
    first = decoder.decode(packets[30])
    before = first.copy()
    decoder.decode(packets[31])
    assert np.array_equal(first, before)


def test_the_tones_are_what_they_say() -> None:
    assert frequency(tones(123, RATE)[:, 0]) == LEFT
    assert level(tones(123, RATE)[:, 1]) == pytest.approx(LEVEL / 2, rel=0.01)
