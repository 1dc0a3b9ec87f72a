"""Packets of sound to samples, through PyAV.

On the loop's own thread, by measurement: 20 ms of stereo Opus take libopus 63 µs in a tight loop, and 0.2 ms one packet
at a time, with cold caches: a hundredth of the loop's time for a session that is listened to. Handing each packet to a
thread took more CPU (0.35 instead of 0.32 ms a packet, waiting included) and made the slowest five times as late.

libopus and not FFmpeg's own ``opus``, which is quicker (41 µs) but silent where a packet is lost: libopus conceals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, cast

import av
import numpy as np
from numpy.typing import NDArray

from neko_trio.media.audio.opus import BadSound, frame_length, lost_frame, packet_length

Samples: TypeAlias = NDArray[np.int16]

CONCEAL_LIMIT = 0.4
"""Seconds of a gap that are filled; 400 ms is also as long as an Opus sender may be silent in a pause (DTX)."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """What Neko's servers can offer (server/pkg/types/codec/codecs.go)."""

    name: str
    """The SDP name in upper case."""
    decoder: str
    """FFmpeg's name."""
    clock_rate: int
    """Ticks of the RTP clock per second."""
    rate: int
    """Samples per second. G722 has two for each tick of its clock (RFC 3551 §4.5.2)."""
    channels: int
    interleaved: bool = False
    """Whether the server sends two channels, sample by sample, where the offer says one: GStreamer's G.711 encoders
    take what they get, and Neko's pipelines give them two (seen; capture/manager.go)."""


AUDIO_FORMATS = {
    each.name: each
    for each in (
        AudioFormat("OPUS", "libopus", clock_rate=48_000, rate=48_000, channels=2),
        AudioFormat("G722", "g722", clock_rate=8_000, rate=16_000, channels=1),
        AudioFormat("PCMU", "pcm_mulaw", clock_rate=8_000, rate=8_000, channels=1, interleaved=True),
        AudioFormat("PCMA", "pcm_alaw", clock_rate=8_000, rate=8_000, channels=1, interleaved=True),
    )
}


class AudioDecoder:
    """Decodes one stream's packets in order. One thread at a time."""

    def __init__(self, sound: AudioFormat) -> None:
        self.format = sound
        context = av.CodecContext.create(sound.decoder, "r")
        assert isinstance(context, av.AudioCodecContext)
        context.sample_rate = sound.rate
        context.layout = "stereo" if sound.channels == 2 else "mono"
        context.format = av.AudioFormat("s16")
        context.open()
        self._context = context
        self._last: bytes | None = None

    def duration(self, payload: bytes) -> int:
        """Ticks of the RTP clock that a packet lasts. Raises :class:`BadSound`."""
        if self.format.name == "OPUS":
            return packet_length(payload)
        if not payload:
            raise BadSound("an empty packet")
        return len(payload) // self.format.channels  # one byte each tick, with G722 too

    def decode(self, payload: bytes) -> Samples:
        """The samples of a packet: shape (samples, channels), int16. Raises :class:`BadSound`."""
        samples = self._decode(payload)
        self._last = payload
        return samples

    def conceal(self, ticks: int) -> Samples:
        """Samples to put where ``ticks`` of sound are missing: at most that many, and at most 0.4 s.

        Opus extrapolates what went before and fades it out, in whole frames of the length of the last ones (so the
        result may be a little shorter, and is empty before the first packet); the others are silent.
        """
        ticks = min(ticks, int(CONCEAL_LIMIT * self.format.clock_rate))
        if self.format.name != "OPUS":
            return self._silence(ticks * self.format.rate // self.format.clock_rate)
        if self._last is None:
            return self._silence(0)
        empty = lost_frame(self._last)
        pieces = [self._decode(empty) for _ in range(ticks // frame_length(empty))]
        return np.concatenate(pieces) if pieces else self._silence(0)

    def reset(self) -> None:
        """Forget what went before: what comes next does not join on to it."""
        self._context.flush_buffers()
        self._last = None

    def _decode(self, payload: bytes) -> Samples:
        if not payload:
            raise BadSound("an empty packet")  # which FFmpeg takes for the end of the stream
        try:
            frames = self._context.decode(av.Packet(payload))
        except av.FFmpegError as error:
            raise BadSound(f"{type(error).__name__}: {error}") from error
        if not frames:
            raise BadSound("a packet without sound")
        # packed: shape (1, samples * channels); a copy of FFmpeg's memory
        pieces = [cast(Samples, frame.to_ndarray()).reshape(-1, self.format.channels) for frame in frames]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _silence(self, length: int) -> Samples:
        return np.zeros((length, self.format.channels), np.int16)
