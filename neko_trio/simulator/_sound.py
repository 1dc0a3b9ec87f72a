"""The desktop's sound: recorded and encoded once for everybody, in a thread of its own, while someone listens.

As the real server does it (GStreamer's opusenc, 20 ms packets at 128 kbit/s): the pipeline runs from its first listener
to its last, and a listener gets the very next packet. Packets of a desktop without a voice are encoded silence.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import trio
from av.audio.codeccontext import AudioCodecContext
from av.audio.format import AudioFormat
from av.audio.frame import AudioFrame
from av.codec import CodecContext

from neko_trio.media.bridge import Lease
from neko_trio.simulator._desktop import LockedDesktop, Samples
from neko_trio.simulator._offering_peer import OfferingPeer

__all__ = ["PACKET", "RATE", "Hearing", "SoundPipeline"]

RATE = 48_000
"""Samples per second."""
PACKET = 960
"""Samples in a packet, 20 ms."""
BIT_RATE = 128_000
SILENCE = b"\xf8\xff\xfe"
"""20 ms of it (RFC 6716, a CELT frame without content)."""
BEHIND_LIMIT = 0.5
"""Seconds that the thread makes up for when it was held up; a longer time it leaves out."""


class SoundPipeline:
    """The thread that makes the sound, and who listens. In the asyncio thread, unless a method says otherwise."""

    def __init__(self, lease: Lease, desktop: LockedDesktop, failed: Callable[[Exception], object]) -> None:
        """``failed(error)`` is called on the sound's thread when the desktop's ``sound`` raised: there is none then."""
        self._lease, self._desktop, self._failed = lease, desktop, failed
        self._peers: set[OfferingPeer] = set()
        self._state = threading.Condition()
        self._listeners = 0
        self._ending = False
        self._thread: threading.Thread | None = None
        self._position = 0
        self.packets_total = 0
        """Packets made so far."""

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return self._listeners

    def add(self, peer: OfferingPeer) -> None:
        """One more listens; the first one starts the pipeline."""
        self._peers.add(peer)
        self._count()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="neko-trio-simulator-sound", daemon=True)
            self._thread.start()

    def remove(self, peer: OfferingPeer) -> None:
        """It listens no more; the last one stops the pipeline."""
        self._peers.discard(peer)
        self._count()

    def _count(self) -> None:
        with self._state:
            self._listeners = len(self._peers)
            self._state.notify()

    def end(self) -> None:
        """Tell the thread to end. Any thread; idempotent."""
        with self._state:
            self._ending = True
            self._state.notify()

    async def join(self) -> None:
        """Wait for the thread's end, after `end`. Trio thread."""
        if self._thread is not None:
            await trio.to_thread.run_sync(self._thread.join, limiter=trio.CapacityLimiter(1))

    # -- the sound's thread

    def _run(self) -> None:
        try:
            while self._wait_for_listeners():
                self._stream()
        except Exception as error:  # noqa: BLE001 - a user's desktop sounds here; whatever it raises is handed over
            self._failed(error)

    def _wait_for_listeners(self) -> bool:
        with self._state:
            self._state.wait_for(lambda: self._listeners > 0 or self._ending)
            return not self._ending

    def _stream(self) -> None:
        """Run the pipeline from its first listener to the end of its last."""
        encoder = _open_encoder() if self._desktop.sounds else None
        due = time.monotonic()
        while True:
            with self._state:
                while not self._stops and (left := due - time.monotonic()) > 0:
                    self._state.wait(left)
                if self._stops:
                    return
            due = max(due, time.monotonic() - BEHIND_LIMIT) + PACKET / RATE
            if encoder is None:
                packets = [SILENCE]
            else:
                packets = _encode(encoder, self._desktop.sound(self._position, PACKET), self._position)
            self._position += PACKET
            for packet in packets:
                self.packets_total += 1
                self._lease.post(self._fan_out, packet)

    @property
    def _stops(self) -> bool:
        return self._ending or self._listeners == 0

    def _fan_out(self, packet: bytes) -> None:
        for peer in self._peers:
            peer.sender.offer_sound(packet)


class Hearing:
    """Whether a peer listens, out of what has been said about it. In the asyncio thread."""

    def __init__(self, peer: OfferingPeer, pipeline: SoundPipeline, *, disabled: bool) -> None:
        self._peer, self._pipeline = peer, pipeline
        self.disabled = disabled
        self.paused = self.ended = False
        self._listens = False

    def apply(self) -> None:
        """Listen if that is wanted now."""
        wanted = not (self.disabled or self.paused or self.ended)
        if wanted is not self._listens:
            self._listens = wanted
            (self._pipeline.add if wanted else self._pipeline.remove)(self._peer)


def _open_encoder() -> AudioCodecContext:
    context = CodecContext.create("libopus", "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout, context.format = RATE, "stereo", AudioFormat("s16")
    context.bit_rate = BIT_RATE
    context.options = {"frame_duration": "20", "fec": "1"}
    return context


def _encode(encoder: AudioCodecContext, samples: Samples, position: int) -> list[bytes]:
    """The packets of one call's samples; ``ValueError`` for what are none."""
    sound = np.asarray(samples)
    if sound.ndim == 1:
        sound = np.stack([sound, sound], axis=1)
    if sound.shape != (PACKET, 2):
        raise ValueError(f"sound: ({PACKET}, 2) or ({PACKET},) samples were asked for, not {np.shape(samples)}")
    if np.issubdtype(sound.dtype, np.floating):
        sound = np.clip(np.rint(sound * 32767), -32768, 32767)
    elif sound.dtype != np.int16:
        raise ValueError(f"sound: int16 or floats, not {sound.dtype}")
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(sound, np.int16).reshape(1, -1), format="s16", layout="stereo")
    frame.sample_rate, frame.pts = RATE, position
    return [bytes(packet) for packet in encoder.encode(frame)]
