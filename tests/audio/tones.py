"""Tones: made, encoded as Neko encodes them, and found again in what was heard."""

from __future__ import annotations

from functools import cache

import av
import numpy as np
from numpy.typing import NDArray

RATE = 48_000
FRAME = 960
LEFT, RIGHT = 440, 1000
"""Hertz of the two channels."""
LEVEL = 12_000
"""Amplitude of the left one; the right one has half of it."""


def tones(start: int, count: int) -> NDArray[np.int16]:
    """``count`` samples from ``start`` on: 440 Hz on the left, 1000 Hz with half the level on the right."""
    at = (start + np.arange(count)) * (2 * np.pi / RATE)
    return np.stack([LEVEL * np.sin(LEFT * at), LEVEL / 2 * np.sin(RIGHT * at)], axis=1).astype(np.int16)


def encode(samples: NDArray[np.int16], *, codec: str = "libopus", rate: int = RATE, frame: int = FRAME) -> list[bytes]:
    """The packets of an encoder, one for each ``frame`` samples."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.AudioCodecContext)
    layout = "stereo" if samples.shape[1] == 2 else "mono"
    context.sample_rate, context.layout, context.format = rate, layout, av.AudioFormat("s16")
    if codec == "libopus":
        context.bit_rate = 128_000
        context.options = {"frame_duration": f"{frame * 1000 / rate:g}"}
    packets = []
    for at in range(0, len(samples), frame):
        piece = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[at : at + frame]).reshape(1, -1), format="s16", layout=layout
        )
        piece.sample_rate, piece.pts = rate, at
        packets += [bytes(packet) for packet in context.encode(piece)]
    return packets


@cache
def opus_tones(packets: int = 100) -> tuple[bytes, ...]:
    """So many Opus packets of 20 ms of :func:`tones`."""
    return tuple(encode(tones(0, packets * FRAME)))


def frequency(samples: NDArray[np.int16], rate: int = RATE) -> float:
    """Hertz of the strongest frequency of one channel, to about ``rate / len(samples)``."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * rate / len(samples))


def level(samples: NDArray[np.int16]) -> float:
    """Amplitude of the sine that has the same power."""
    return float(np.sqrt(2 * np.mean(np.square(samples.astype(np.float64)))))
