"""Sound into RTP: taken from the queue every 20 ms, encoded, sent; nothing while there is none.

On the loop's own thread, as the decoder: 20 ms of stereo take libopus 0.15 ms at the complexity chosen here.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler

from neko_trio._ports.microphone import PACKETS_PER_SECOND, Nothing, SoundQueue
from neko_trio.errors import NekoError

if TYPE_CHECKING:
    from neko_trio._ports.microphone import Samples

RATE = 48_000
"""Of Opus's RTP clock (RFC 7587 §4.1), and of what is encoded."""
PACKET = RATE // PACKETS_PER_SECOND
INTERVAL = 1 / PACKETS_PER_SECOND
"""Seconds between two packets: the timer that RTP has, running while there is sound."""
BEHIND_LIMIT = 0.1
"""Seconds that a loop which was held up makes up for by sending faster; a longer time it leaves out."""
COMPLEXITY = 5
"""libopus's, of 10."""
_HEADER = struct.Struct("!BBHII")


class SoundEncoder:
    """Samples of any rate to Opus packets of 20 ms. One thread at a time."""

    def __init__(self, *, rate: int, bitrate: int) -> None:
        """``rate`` in Hz, ``bitrate`` in bits per second."""
        context = av.CodecContext.create("libopus", "w")
        assert isinstance(context, AudioCodecContext)
        context.sample_rate, context.layout, context.format = RATE, "stereo", av.AudioFormat("s16")
        context.bit_rate = bitrate
        context.options = {"frame_duration": "20", "compression_level": str(COMPLEXITY)}
        context.open()
        self._context = context
        self._rate = rate
        self._resampler = (
            AudioResampler(format="s16", layout="stereo", rate=RATE, frame_size=PACKET) if rate != RATE else None
        )
        self._position = self._encoded = 0

    def encode(self, samples: Samples) -> list[bytes]:
        """The packets that are complete with these samples, shape (n, 2): one as a rule, none at the first."""
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = self._rate, self._position
        self._position += len(samples)
        frames = [frame] if self._resampler is None else self._resampler.resample(frame)
        packets = []
        for whole in frames:
            whole.pts = self._encoded  # by our own count: the resampler's may jump with its rounding
            self._encoded += whole.samples
            packets += [bytes(packet) for packet in self._context.encode(whole)]
        return packets


class SoundSender:
    """Sends one track. Everything on the asyncio thread."""

    def __init__(
        self,
        queue: SoundQueue,
        send: Callable[[bytes], Awaitable[None]],
        *,
        ssrc: int,
        payload_type: int,
        bitrate: int,
    ) -> None:
        """``send`` encrypts and sends one RTP packet; ``ConnectionError`` when that is impossible."""
        self._queue, self._send = queue, send
        self._ssrc, self._payload_type = ssrc, payload_type
        self._encoder = SoundEncoder(rate=queue.rate, bitrate=bitrate)
        # libsrtp wants the first sequence number in the lower half (RFC 3711 §3.3.1: the rollover counter is guessed)
        self._first = self._sequence = random.randrange(1, 0x8000)
        self._timestamp = random.getrandbits(32)
        self._sound = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="neko-trio-microphone")  # aclose()
        self._task.add_done_callback(self._on_done)
        self.packets = 0
        """Packets sent."""

    def wake(self) -> None:
        """There is sound in the queue."""
        self._sound.set()

    def note_report(self, highest_sequence: int) -> None:
        """The server's report on this track (RFC 3550 §6.4.1): the highest number that came, cycles above."""
        received = highest_sequence - self._first + 1  # before the first packet it says 0
        self._queue.note_received(received if 0 < received <= self.packets else 0)

    async def aclose(self) -> None:
        """Send nothing any more. Idempotent."""
        self._task.cancel()
        await asyncio.wait([self._task])

    def _on_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._queue.fail(lambda: NekoError(f"The microphone's sound cannot be encoded: {error!r}."))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        spoken = loop.time()
        while True:
            await self._sound.wait()
            self._sound.clear()
            # The clock has gone on in the pause (RFC 7587 §4.2), by whole packets.
            self._timestamp += max(0, int((loop.time() - spoken) * PACKETS_PER_SECOND)) * PACKET
            await self._speak(loop)
            spoken = loop.time()

    async def _speak(self, loop: asyncio.AbstractEventLoop) -> None:
        """From the first sound to the last; the marker is on the first packet (RFC 3551 §4.1)."""
        marker, due = 0x80, loop.time()
        while (samples := self._queue.take()) is not Nothing.ANY_MORE:
            if samples is not Nothing.YET:
                for payload in self._encoder.encode(samples):
                    await self._send_one(payload, marker)
                    marker = 0
            due = max(due, loop.time() - BEHIND_LIMIT) + INTERVAL
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _send_one(self, payload: bytes, marker: int) -> None:
        head = _HEADER.pack(
            0x80,
            self._payload_type | marker,
            self._sequence & 0xFFFF,
            self._timestamp & 0xFFFFFFFF,
            self._ssrc,
        )
        self._sequence += 1
        self._timestamp += PACKET
        try:
            await self._send(head + payload)
        except ConnectionError:
            return  # the connection is going down, and says so itself
        self.packets += 1
        self._queue.note_sent()
