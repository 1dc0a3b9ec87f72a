"""What the server sends as bytes: packets of pictures and sound, reports about them, messages of the data channel."""

from __future__ import annotations

import asyncio
import random
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import av
from aiortc import RTCRtpReceiver
from aiortc.rtcdtlstransport import RTCDtlsTransport, RtpRouter
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtcpReceiverInfo, RtcpRrPacket, RtcpRtpfbPacket, RtpPacket

from fuzzing import recordings
from fuzzing.mutation import Mutator
from fuzzing.target import Check, Make, Target, pack, unpack
from neko_trio.desktop.cursor import CursorPort, decode
from neko_trio.errors import ProtocolViolation
from neko_trio.media.aiortc_private import observe_rtcp, take_packets
from neko_trio.media.audio.decoder import AUDIO_FORMATS, CONCEAL_LIMIT, AudioDecoder
from neko_trio.media.audio.opus import BadSound
from neko_trio.media.audio.receiver import Heard, gap_between
from neko_trio.media.audio.reorder import LIMIT, Reorder
from neko_trio.media.decoder import MOST_PIXELS, Decoder
from neko_trio.media.depayload import FORMATS, BadPayload
from neko_trio.media.frames import FrameContext
from neko_trio.media.ice_relay import TurnDeframer
from neko_trio.media.jitter_buffer import EncodedFrame, JitterBuffer
from neko_trio.media.media_path import MediaPath
from neko_trio.media.picture_group import NumberedFrame, PictureGroup
from neko_trio.media.receiver import nack_batches
from neko_trio.media.receiver_reports import ReceiverReports
from neko_trio.protocol import Malformed, data_channel
from neko_trio.protocol.stream_framing import LONGEST_PACKET, Deframer
from neko_trio.protocol.values import ScreenSize

CODECS = ("VP8", "VP9", "H264", "AV1")
ALL = [packet for codec in CODECS for packet in recordings.packets(codec)]

# -- RTP and RTCP, decrypted: through the path that they take from the socket


class _Clear:
    """In the place of an SRTP session: what it protects is clear."""

    def unprotect(self, data: bytes) -> bytes:
        return data

    unprotect_rtcp = unprotect


class _Receiver(RTCRtpReceiver):
    """aiortc's, of no peer connection."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind, cast(RTCDtlsTransport, SimpleNamespace(state="new")))


class MediaSink:
    """A media path with receivers of ours behind it, as the handshake makes them, without a loop and a socket."""

    def __init__(self) -> None:
        self.router = RtpRouter()
        extensions = HeaderExtensionsMap()
        uris = ("urn:ietf:params:rtp-hdrext:sdes:mid", "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time")
        extensions.configure(
            RTCRtpParameters(
                headerExtensions=[RTCRtpHeaderExtensionParameters(id=id_, uri=uri) for id_, uri in enumerate(uris, 1)]
            )
        )
        self.transport = SimpleNamespace(_rtp_header_extensions_map=extensions, _rtp_router=self.router)
        self.path = MediaPath(cast(RTCDtlsTransport, self.transport))
        cast(Any, self.path)._session = _Clear()
        self.reports = ReceiverReports(90_000)
        self.buffers = {number: JitterBuffer(FORMATS[codec]) for number, codec in ((96, "VP8"), (102, "H264"))}
        self.now = 0.0
        for number in (96, 98, 102, 111):
            receiver = _Receiver("video" if number < 111 else "audio")
            take_packets(receiver, self._take)
            observe_rtcp(receiver, self.reports.hear)
            self.router.register_receiver(receiver, ssrcs=[], payload_types=[number])

    def _take(self, packet: RtpPacket) -> None:
        self.now += 0.002
        self.reports.begin(packet.ssrc)
        self.reports.reception.add(packet.sequence_number, packet.timestamp, self.now)
        buffer = self.buffers.get(packet.payload_type)
        if buffer is None or not packet.payload:
            return
        try:
            payload = FORMATS["VP8" if packet.payload_type == 96 else "H264"].depayload(packet.payload)
        except BadPayload:
            return
        drive(buffer, packet, payload, self.now)


def drive(buffer: JitterBuffer, packet: RtpPacket, payload: Any, now: float) -> list[EncodedFrame]:
    """One packet as the receiver gives it to its buffer, and all that the receiver then does."""
    frames = buffer.receive(packet.sequence_number, packet.timestamp, bool(packet.marker), payload, now)
    if (due := buffer.get_timer()) is not None and due <= now:
        frames += buffer.handle_timer(now)
    buffer.keyframes.take(now)
    for lost in nack_batches(buffer.take_nacks()):
        assert len(bytes(RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=2, lost=lost))) < 1200
    assert len(buffer._packets) <= 4096
    assert len(buffer._missing) <= 4096
    return frames


def make_rtp(rng: random.Random) -> Make:
    """Runs of recorded packets, some changed, with other sequence numbers, lost, twice, in another order."""
    by_byte = Mutator(rng, ALL)

    def make() -> bytes:
        at = rng.randrange(len(ALL))
        run = ALL[at : at + 1 + rng.randrange(6)]
        return pack(
            [_renumbered(rng, by_byte.make() if rng.random() < 0.5 else packet) for packet in _shuffled(rng, run)]
        )

    return make


def _shuffled(rng: random.Random, packets: list[bytes]) -> list[bytes]:
    if rng.random() < 0.2:
        packets = [*packets, *packets[:2]]
    if rng.random() < 0.2:
        packets = packets[:]
        rng.shuffle(packets)
    return packets


def _renumbered(rng: random.Random, packet: bytes) -> bytes:
    """Rarely another sequence number, timestamp or source; extensions that the answer has taken."""
    data = bytearray(packet)
    if rng.random() < 0.15:
        struct.pack_into(">H", data, 2, rng.choice((0, 65535, rng.randrange(65536)))) if len(data) > 4 else None
    if rng.random() < 0.05 and len(data) > 8:
        struct.pack_into(">I", data, 4, rng.choice((0, 2**32 - 1, rng.randrange(2**32))))
    if rng.random() < 0.2 and len(data) > 12:
        struct.pack_into(">I", data, 8, rng.randrange(2**32))
    if rng.random() < 0.15 and len(data) > 12:
        value = rng.choice(
            (b"\x10\xff\x00\x00", b"\x20\x01\x00\x00", b"\x22\x01\x02\x03", b"\x1f" + b"\xe9" * 16 + b"\0" * 3)
        )
        data[0] |= 0x10
        data[12:12] = struct.pack(">HH", rng.choice((0xBEDE, 0x1000)), len(value) // 4) + value
    return bytes(data)


def make_rtcp(rng: random.Random) -> Make:
    """Reports of all kinds, changed, several in one datagram."""
    block = RtcpReceiverInfo(1, 2, -3, 4, 5, 6, 7)
    corpus = [
        bytes(RtcpRrPacket(ssrc=1, reports=[block, block])),
        struct.pack(">BBHIQIII", 0x80, 200, 6, 5, 2**63, 1, 2, 3),  # SR
        struct.pack(">BBHI", 0x81, 203, 1, 5),  # BYE
        struct.pack(">BBHIBB6s", 0x81, 202, 3, 5, 1, 4, b"name\0\0"),  # SDES
        bytes(RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=2, lost=[1, 2, 65535])),
        struct.pack(">BBHII4sBBH", 0x8F, 206, 4, 1, 0, b"REMB", 255, 0xFF, 0xFFFF),
        struct.pack(">BBHII4sBBHI", 0x8F, 206, 5, 1, 0, b"REMB", 1, 3, 9, 5),
        struct.pack(">BBHII", 0x81, 206, 2, 1, 2),  # PLI
        struct.pack(">BBHIIHHI", 0x8F, 205, 4, 1, 2, 3, 4, 5),  # transport-cc
    ]
    by_byte = Mutator(rng, corpus, corpus)
    return lambda: pack(
        [b"".join(by_byte.make() for _ in range(1 + rng.randrange(3))) for _ in range(1 + rng.randrange(2))]
    )


def check_media_path() -> Check:
    """From the socket's callback on: nothing leaves it, and what is remembered of strange sources is bounded."""
    sinks: list[MediaSink] = []
    used = [10**9]

    def check(data: bytes) -> None:
        if used[0] >= 500:
            sinks[:] = [MediaSink()]
            used[0] = 0
        used[0] += 1
        sink = sinks[0]
        for packet in unpack(data):
            assert sink.path.take(packet)
        assert len(sink.router.ssrc_table) <= 256, "sources are remembered without a bound"
        report = sink.reports.reception.report()
        if report is not None:
            bytes(
                RtcpRrPacket(
                    ssrc=1,
                    reports=[
                        RtcpReceiverInfo(
                            2, report.fraction_lost, report.packets_lost, report.highest_sequence, report.jitter, 0, 0
                        )
                    ],
                )
            )

    return check


# -- one codec's payloads


def payload_maker(codec: str) -> Callable[[random.Random], Make]:
    """Payloads of one codec, the beginning and the end of pictures most of all."""

    def make(rng: random.Random) -> Make:
        found = [RtpPacket.parse(packet).payload for packet in recordings.packets(codec)]
        by_byte = Mutator(rng, [payload[:120] for payload in found] + found[:50], [b"\x80\x80\xff\xff", b"\x90" * 8])
        return lambda: pack([by_byte.make() for _ in range(1 + rng.randrange(5))])

    return make


def payload_checker(codec: str) -> Callable[[], Check]:
    """The depayloader, what joins its pieces, and the jitter buffer between them."""
    form = FORMATS[codec]

    def prepare() -> Check:
        buffer, count = JitterBuffer(form), [0]

        def check(data: bytes) -> None:
            pieces, size = [], 0
            for number, payload in enumerate(packets := unpack(data)):
                if not payload:
                    continue
                size += len(payload)
                try:
                    found = form.depayload(payload)
                except BadPayload:
                    continue
                pieces.append(found.data)
                count[0] += 1
                packet = RtpPacket(96, number == len(packets) - 1, count[0] & 0xFFFF, len(data), 1)
                drive(buffer, packet, found, count[0] / 100)
            if pieces:
                with suppress(BadPayload):
                    assert len(form.join(pieces)) <= 3 * size + 64 * len(pieces), "what is joined outgrows its pieces"

        return check

    return prepare


def picture_maker(codec: str) -> Callable[[random.Random], Make]:
    """Runs of whole pictures from a keyframe on, one of them changed."""

    def make(rng: random.Random) -> Make:
        frames: list[tuple[bytes, bool]] = []
        buffer = JitterBuffer(FORMATS[codec])
        for number, raw in enumerate(recordings.packets(codec)):
            packet = RtpPacket.parse(raw)
            payload = FORMATS[codec].depayload(packet.payload)
            whole = buffer.receive(packet.sequence_number, packet.timestamp, bool(packet.marker), payload, number / 1e3)
            frames += [(frame.data, frame.key) for frame in whole]
        keys = [at for at, (_, key) in enumerate(frames) if key]
        small = [data for data, _ in frames if len(data) < 30_000]
        by_byte = Mutator(rng, small)

        def make_one() -> bytes:
            at = rng.choice(keys)
            run = [frames[at][0], *(by_byte.pick() for _ in range(rng.randrange(3)))]
            harmed = rng.randrange(len(run))
            data = bytearray(run[harmed])
            for _ in range(1 + rng.randrange(6)):
                data[rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(40, len(data)))] = (
                    rng.randrange(256)
                )
            run[harmed] = bytes(data[: rng.randrange(1, len(data) + 1)] if rng.random() < 0.2 else data)
            if rng.random() < 0.3:
                run.append(by_byte.make() or b"\0")
            return pack(run)

        return make_one

    return make


def picture_checker(codec: str) -> Callable[[], Check]:
    """The decoder's own step on each, without its thread. FFmpeg sees what a hostile server would show it."""

    def prepare() -> Check:
        from neko_trio.media.decoder import open_decoder

        given: list[av.VideoFrame] = []
        decoder = Decoder(FORMATS[codec], lambda _frame, picture: given.append(picture))
        decoder._loop = cast(asyncio.AbstractEventLoop, SimpleNamespace(call_soon_threadsafe=lambda call: None))
        context = [open_decoder(FORMATS[codec])]
        frame_context = FrameContext(object(), 1, (1280, 720), None)
        number = [0]

        def check(data: bytes) -> None:
            group = PictureGroup()
            decoder._group = group
            for at, picture in enumerate(unpack(data)):
                number[0] += 1
                encoded = EncodedFrame(picture, number[0], at == 0, number[0] / 25)
                if group.add(frame := NumberedFrame(number[0], frame_context, encoded)):
                    group.take()
                    decoder._decode(context[0], frame)
            assert len(decoder._decoding) <= 64
            for shown in given:
                assert shown.width * shown.height <= MOST_PIXELS, f"a picture of {shown.width}x{shown.height}"
            given.clear()

        return check

    return prepare


# -- sound


def sound_maker(codec: str) -> Callable[[random.Random], Make]:
    """Packets of one codec: for Opus from a real encoder, for the others any bytes are sound."""

    def make(rng: random.Random) -> Make:
        corpus = (
            _opus_packets() if codec == "OPUS" else [bytes(rng.randbytes(size)) for size in (1, 2, 80, 160, 161, 320)]
        )
        by_byte = Mutator(rng, corpus, [b"\xff\x3f", b"\x03\x00", b"\x03\xff"])
        return lambda: pack([by_byte.make() for _ in range(1 + rng.randrange(4))])

    return make


def _opus_packets() -> list[bytes]:
    import numpy as np

    found: list[bytes] = []
    for rate, duration in ((64_000, "20"), (16_000, "60"), (128_000, "2.5")):
        encoder = av.CodecContext.create("libopus", "w")
        assert isinstance(encoder, av.AudioCodecContext)
        encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = 48_000, "stereo", "s16", rate
        encoder.options = {"frame_duration": duration}
        noise = np.random.default_rng(1).integers(-9000, 9000, (1, 2 * 48_00)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="stereo")
        frame.sample_rate = 48_000
        encoder.open()
        resampler = av.AudioResampler("s16", "stereo", 48_000, frame_size=encoder.frame_size)
        for piece in resampler.resample(frame):
            found += [bytes(packet) for packet in encoder.encode(piece)]
    return found


def sound_checker(codec: str) -> Callable[[], Check]:
    """Ordered, measured, decoded, concealed: as the audio receiver does it."""
    form = AUDIO_FORMATS[codec]
    longest = int(form.rate * CONCEAL_LIMIT)

    def prepare() -> Check:
        decoder, order = AudioDecoder(form), Reorder()
        state = [0]

        def check(data: bytes) -> None:
            last: Heard | None = None
            for payload in unpack(data):
                state[0] += 1 + payload[:1].count(b"\xff") * 7
                for packet in order.receive(state[0] & 0xFFFF, state[0] * 960, payload, state[0] / 50):
                    assert len(order._held) <= LIMIT + 1
                    try:
                        duration = decoder.duration(packet.payload)
                        if last is not None:
                            gap = gap_between(last, packet.sequence, packet.timestamp, form.clock_rate)
                            assert len(decoder.conceal(max(0, gap))) <= longest
                        samples = decoder.decode(packet.payload)
                    except BadSound:
                        continue
                    assert samples.shape[1] == form.channels
                    assert len(samples) <= max(form.rate, 2 * len(payload)), "more than a second out of one packet"
                    last = Heard(packet.sequence, (packet.timestamp + duration) & 0xFFFFFFFF, duration)

        return check

    return prepare


# -- the data channel, and streams of packets


def make_data(rng: random.Random) -> Make:
    """Recorded messages, and pictures of the pointer: valid checksums around what is harmed."""
    messages = recordings.data_messages()
    by_byte = Mutator(
        rng, messages, [b"\x89PNG\r\n\x1a\n", b"IDAT", b"PLTE", b"tRNS", b"zTXt", b"iCCP", b"acTL", b"fdAT"]
    )
    images = [
        found
        for message in messages
        if isinstance(found := data_channel.decode_server(message), data_channel.CursorImage)
    ]
    pngs = [image.image for image in images] + [
        _png(*each) for each in ((1, 1, 0), (16, 16, 3), (500, 500, 6), (4, 4, 2))
    ]
    harmed = Mutator(rng, pngs, [b"IDAT", b"PLTE", b"\0\0\0\0IEND\xaeB`\x82"])

    def make() -> bytes:
        if rng.random() < 0.4:
            return by_byte.make()
        png = _rechecked(harmed.make()) if rng.random() < 0.8 else harmed.make()
        width, height = struct.unpack(">II", png[16:24]) if len(png) >= 24 else (1, 1)
        if rng.random() < 0.1:
            width, height = rng.choice((0, 1, 513, 65535)), rng.choice((0, 1, 512, 65535))
        spot = [rng.choice((0, 1, width & 0xFFFF, 65535)) for _ in range(2)] if rng.random() < 0.2 else [0, 0]
        return struct.pack(">BHHHHH", 2, 0, width & 0xFFFF, height & 0xFFFF, *spot) + png

    return make


def _png(width: int, height: int, colour: int) -> bytes:
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    rows = b"".join(b"\0" + bytes(width * channels) for _ in range(height))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))]
    if colour == 3:
        chunks += [(b"PLTE", bytes(range(30))), (b"tRNS", bytes(10))]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _rechecked(png: bytes) -> bytes:
    """The same file with the checksums that its chunks should have: what looks into them is to be reached."""
    at, parts = 8, [png[:8]]
    while at + 12 <= len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        if size > len(png) - at - 12:
            break
        parts.append(_chunk(png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += 12 + size
    return b"".join((*parts, png[at:]))


def check_data() -> Check:
    """What the session does with a message, up to the pixels of the pointer."""
    port = CursorPort(lambda: ScreenSize(1280, 720, 30))

    def check(data: bytes) -> None:
        try:
            message = data_channel.decode_server(data)
            match message:
                case data_channel.CursorImage():
                    port.on_image(message)
                    pixels = decode(message)
                    assert pixels.shape == (message.height, message.width, 4)
                case data_channel.CursorPosition():
                    port.on_position(message)
                    assert port.position is not None
                case _:
                    pass
        except (Malformed, ProtocolViolation):
            return

    return check


def make_streams(rng: random.Random) -> Make:
    """A stream of framed packets, cut anywhere."""
    corpus = [
        b"\x00\x04abcd\x00\x00\x00\x01x",
        b"\x40\x00\x00\x05hello\0\0\0",
        b"\x00\x01\x00\x04" + bytes(20),
        b"\xff\xff" + bytes(40),
    ]
    by_byte = Mutator(rng, corpus, corpus)
    return lambda: pack([by_byte.make() for _ in range(1 + rng.randrange(4))])


def check_streams() -> Check:
    """Both deframers, in pieces and at once: the same packets, and never more than one unfinished one is held."""

    def check(data: bytes) -> None:
        pieces = unpack(data)
        for kind in (Deframer, TurnDeframer):
            deframer, whole = kind(), kind()
            try:
                found = [packet for piece in pieces for packet in deframer.feed(piece)]
                assert len(deframer._held) <= LONGEST_PACKET + 24
                assert whole.feed(b"".join(pieces)) == found
            except ValueError:
                assert kind is TurnDeframer

    return check


MEDIA_TARGETS = (
    Target("rtp", make_rtp, check_media_path, 2.0),
    Target("rtcp", make_rtcp, check_media_path, 3.0),
    *(Target(f"payloads-{codec.lower()}", payload_maker(codec), payload_checker(codec), 2.0) for codec in CODECS),
    *(
        Target(f"pictures-{codec.lower()}", picture_maker(codec), picture_checker(codec), 0.05, 5.0, 512 << 20)
        for codec in CODECS
    ),
    *(Target(f"sound-{codec.lower()}", sound_maker(codec), sound_checker(codec)) for codec in AUDIO_FORMATS),
    Target("data-channel", make_data, check_data),
    Target("streams", make_streams, check_streams, 2.0),
)
