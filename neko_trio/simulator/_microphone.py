"""The desktop's microphone: what clients speak into it, decoded and kept for tests to listen to.

As the real server's (server/internal/webrtc/manager.go, OnTrack; capture/streamsrc.go): there is one for all clients;
whoever's track begins takes it, and the one before is given up without a word. Nothing starts while it is switched
off, and then that track is given up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import av
import numpy as np
import trio
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

__all__ = ["Microphone"]

RATE = 48_000
"""Samples per second."""
KEPT = 30
"""Seconds of sound that are kept."""


class Microphone:
    """``simulator.microphone``. Trio thread, unless a method says otherwise."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        """Whether tracks are taken (the server's ``capture.microphone.enabled``)."""
        self.speaker: str | None = None
        """Session id of the client whose track is taken now. Any thread reads it."""
        self.starts = 0
        """How often a track has been taken."""
        self.heard = 0
        """Samples per channel heard so far."""
        self._kept: NDArray[np.int16] = np.zeros((KEPT * RATE, 2), np.int16)
        self._lock = threading.Lock()
        self._token = trio.lowlevel.current_trio_token()
        self._changed = trio.Event()
        self._give_up: Callable[[], object] = _nothing
        self._decoder: AudioCodecContext | None = None

    @property
    def rate(self) -> int:
        """Samples per second: 48,000."""
        return RATE

    def samples(self) -> NDArray[np.int16]:
        """What was heard, the last 30 s of it at most: a copy, shape (samples, 2), int16. Any thread.

        What lies between two words does not count: sound that is not sent is not there.
        """
        with self._lock:
            count = min(self.heard, len(self._kept))
            return self._kept[np.arange(self.heard - count, self.heard) % len(self._kept)]

    async def wait_for(self, predicate: Callable[[Microphone], bool]) -> None:
        """Wait until ``predicate`` of this holds. A checkpoint; cancelling is safe."""
        await trio.lowlevel.checkpoint()
        while not predicate(self):
            await self._changed.wait()

    # -- what tracks do; the simulator's asyncio thread

    def begin(self, speaker: str, give_up: Callable[[], object]) -> bool:
        """A track has begun: it takes the microphone, whose track before is told to give up. ``False``: it is off."""
        if self.speaker is not None:
            self._give_up()
        if not self.enabled:
            return False
        decoder = av.CodecContext.create("libopus", "r")
        assert isinstance(decoder, AudioCodecContext)
        decoder.sample_rate, decoder.layout, decoder.format = RATE, "stereo", av.AudioFormat("s16")
        self._decoder, self._give_up = decoder, give_up
        self.speaker = speaker
        self.starts += 1
        self._tell()
        return True

    def hear(self, payload: bytes) -> None:
        """A packet of the track that has the microphone. One that is no Opus is lost, as it is in GStreamer."""
        if self._decoder is None or not payload:
            return
        try:
            frames = self._decoder.decode(av.Packet(payload))
        except av.FFmpegError:
            return
        for frame in frames:
            sound = cast(NDArray[np.int16], frame.to_ndarray()).reshape(-1, 2)
            with self._lock:
                self._kept[np.arange(self.heard, self.heard + len(sound)) % len(self._kept)] = sound
                self.heard += len(sound)
        self._tell()

    def end(self) -> None:
        """The track that has the microphone has ended."""
        self.speaker, self._decoder, self._give_up = None, None, _nothing
        self._tell()

    def _tell(self) -> None:
        try:
            self._token.run_sync_soon(self._wake, idempotent=True)
        except trio.RunFinishedError:
            return  # nobody is left who waits

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _nothing() -> None:
    """There is no track."""
