"""The audio receiver below aiortc: RTP packets in, blocks of samples into the session's sound port.

::

    DTLS loop ── RTP ──▶ reorder (60 ms at most) ── only while somebody listens ──▶ decode ── block ──▶ AudioPort

What nobody listens to is counted and thrown away: unlike a picture, sound needs nothing of what went before.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import perf_counter
from typing import NamedTuple

from aiortc import RTCRtpReceiver
from aiortc.rtp import RtpPacket

from neko_trio._ports.audio import AudioPort
from neko_trio.media import aiortc_private
from neko_trio.media.audio.decoder import AudioDecoder, AudioFormat, Samples
from neko_trio.media.audio.opus import BadSound
from neko_trio.media.audio.reorder import AudioPacket, Reorder
from neko_trio.media.audio.statistics import AudioStatistics
from neko_trio.media.receiver_reports import ReceiverReports

__all__ = ["AudioReceiver", "Heard", "gap_between"]

LONGEST_GAP = 60.0
"""Seconds that two packets' timestamps may be apart; beyond that they are of two clocks."""
MOST_PACKETS = 400
"""Packets per second, at most: Opus's shortest is 2.5 ms."""


class Heard(NamedTuple):
    """The last packet that became a block."""

    sequence: int
    end: int
    """RTP timestamp behind it."""
    duration: int
    """In ticks."""


class AudioReceiver:
    """Receives and decodes one peer's sound. Everything on the asyncio thread, unless a method says otherwise."""

    def __init__(self, sound: AudioFormat, port: AudioPort, *, epoch: int) -> None:
        self._format, self._port, self._epoch = sound, port, epoch
        self._decoder: AudioDecoder | None = None  # made for the first listener
        self._first: AudioPacket | None = None  # waits for its successor, see _decodable
        self._order = Reorder()
        self._reports = ReceiverReports(sound.clock_rate)
        self._reporting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ssrc: int | None = None
        self._last: Heard | None = None
        self._missing = 0  # samples before the next block that will be in none
        self._spell = 0
        self._closed = False
        self._packets = self._bytes = self._malformed = self._unheard = self._late = 0
        self._decoded = self._blocks_concealed = self._concealed = self._lost = 0
        self._decode_seconds = 0.0

    def attach(self, rtp_receiver: RTCRtpReceiver) -> None:
        """Take the packets of ``rtp_receiver`` from now on. Once; after ``setRemoteDescription``, which makes it."""
        if self._reporting is not None:
            raise RuntimeError("an AudioReceiver is attached once")
        self._reporting = asyncio.get_running_loop().create_task(  # ended by aclose()
            self._reports.run(rtp_receiver), name="neko-trio-audio-reports"
        )
        aiortc_private.take_packets(rtp_receiver, self._on_packet)
        aiortc_private.observe_rtcp(rtp_receiver, self._reports.hear)

    def statistics(self) -> AudioStatistics:
        """A snapshot. Any thread, any time, also after ``aclose``."""
        reception = self._reports.reception
        return AudioStatistics(
            codec=self._format.name,
            packets_received=self._packets,
            bytes_received=self._bytes,
            packets_lost=reception.packets_lost,
            packets_late=self._late + self._order.packets_late,
            packets_malformed=self._malformed,
            packets_unheard=self._unheard,
            jitter=reception.jitter,
            reports_sent=self._reports.sent,
            blocks_decoded=self._decoded,
            blocks_concealed=self._blocks_concealed,
            samples_concealed=self._concealed,
            samples_lost=self._lost,
            decode_seconds=self._decode_seconds,
        )

    async def aclose(self) -> None:
        """Put nothing any more. Idempotent."""
        self._closed = True
        self._stop_timer()
        if self._reporting is not None:
            self._reporting.cancel()
            await asyncio.wait([self._reporting])

    # -- packets

    def _on_packet(self, packet: RtpPacket) -> None:
        if self._closed:
            return
        now = perf_counter()
        if packet.ssrc != self._ssrc:
            self._ssrc = packet.ssrc
            self._reports.begin(packet.ssrc)
            self._begin_anew()
        self._packets += 1
        self._port.note_packet()
        self._bytes += len(packet.payload)
        self._reports.reception.add(packet.sequence_number, packet.timestamp, now)
        if not self._port.wanted:
            self._unheard += 1
            return
        if self._port.spell != self._spell:
            self._spell = self._port.spell
            self._begin_anew()
        self._hear_all(self._order.receive(packet.sequence_number, packet.timestamp, packet.payload, now))
        self._set_timer(now)

    def _begin_anew(self) -> None:
        """What comes next does not join on to what was heard."""
        self._stop_timer()
        self._late += self._order.packets_late
        self._order = Reorder()

    def _set_timer(self, now: float) -> None:
        due = self._order.get_timer()
        if due is not None and self._timer is None:  # one that fires early, for a hole filled since, sets the next
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self._on_timer)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        if not self._port.wanted:
            return
        now = perf_counter()
        self._hear_all(self._order.handle_timer(now))
        self._set_timer(now)

    # -- sound

    def _hear_all(self, packets: list[AudioPacket]) -> None:
        for packet in packets:
            started = perf_counter()
            for decodable in self._decodable(packet):
                self._hear(self._decoder or self._open_decoder(1), decodable)
            self._decode_seconds += perf_counter() - started

    def _decodable(self, packet: AudioPacket) -> list[AudioPacket]:
        """What can be decoded now. How many channels G.711 has is told by the distance between its first packets."""
        if self._decoder is not None or not self._format.interleaved:
            return [packet]
        first, self._first = self._first, packet
        if first is None or packet.sequence != first.sequence + 1:
            return []
        step = (packet.timestamp - first.timestamp) & 0xFFFFFFFF
        self._open_decoder(2 if len(first.payload) == 2 * step else 1)
        return [first, packet]

    def _open_decoder(self, channels: int) -> AudioDecoder:
        sound = replace(self._format, channels=channels) if self._format.interleaved else self._format
        self._decoder = AudioDecoder(sound)
        return self._decoder

    def _hear(self, decoder: AudioDecoder, packet: AudioPacket) -> None:
        if packet.first:
            decoder.reset()
            self._last, self._missing = None, 0
        try:
            duration = decoder.duration(packet.payload)
            if self._last is not None:
                self._bridge(decoder, self._last, packet)
            samples = decoder.decode(packet.payload)
        except BadSound:
            self._malformed += 1  # and missing from now on: the next packet finds a hole here
            return
        self._last = Heard(packet.sequence, (packet.timestamp + duration) & 0xFFFFFFFF, duration)
        self._decoded += 1
        self._put(samples, packet.arrived, concealed=False)

    def _bridge(self, decoder: AudioDecoder, last: Heard, packet: AudioPacket) -> None:
        """Conceal what is missing before ``packet``, as far as that goes."""
        gap = gap_between(last, packet.sequence, packet.timestamp, self._format.clock_rate)
        if not gap:
            return
        made_up = decoder.conceal(gap)
        self._last = Heard(packet.sequence - 1, packet.timestamp, last.duration)  # also when ``packet`` is none
        if len(made_up):
            self._blocks_concealed += 1
            self._concealed += len(made_up)
            self._put(made_up, packet.arrived, concealed=True)
        missing = gap * self._format.rate // self._format.clock_rate - len(made_up)
        self._lost += missing
        self._missing += missing

    def _put(self, samples: Samples, arrived: float, *, concealed: bool) -> None:
        lost, self._missing = self._missing, 0
        self._port.put(
            samples, rate=self._format.rate, arrived=arrived, lost=lost, concealed=concealed, epoch=self._epoch
        )


def gap_between(last: Heard, sequence: int, timestamp: int, clock_rate: int) -> int:
    """Ticks of sound that are missing between the last packet heard and one with a later ``sequence`` (unwrapped).

    The clock says how much, where what it says can be true: Neko's goes on by the encoder's own durations, of which
    the first may be short. Without a packet missing, a jump of it by a packet or more is silence that the sender left
    out (DTX, RFC 7587 §3.1.3).
    """
    missing = sequence - last.sequence - 1
    by_clock = ((timestamp - last.end + 0x80000000) & 0xFFFFFFFF) - 0x80000000
    least = missing * clock_rate // MOST_PACKETS if missing else last.duration
    return by_clock if least <= by_clock <= LONGEST_GAP * clock_rate else missing * last.duration
