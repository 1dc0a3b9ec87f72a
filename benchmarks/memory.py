"""Does memory stay flat, however long a session runs?

    python benchmarks/memory.py                       # an hour of recorded VP8 for each way of looking
    python benchmarks/memory.py --minutes 5 --codecs VP8 H264 --tracemalloc

What a real server sent (``tests/recordings``) is replayed as fast as it can be taken, with its sequence numbers and
timestamps going on, through receiver, jitter buffer, decoder and frame slot: the whole way below a session. One packet
in a hundred is lost and comes again 20 packets later, but for one in ten thousand, which never does. Nobody looks
(frames stay encoded), one reader looks at the newest, or one takes every frame. Each row is a process of its own.

Memory is the resident set in MiB, at ten moments; the first, after a tenth of the packets, is the warm-up. Exit code 1:
it grew by more than 4 MiB from there to the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any, cast

import trio
from aiortc import RTCRtpReceiver
from aiortc.rtcdtlstransport import RTCDtlsTransport
from aiortc.rtp import RtpPacket
from figures import add_json_option, environment, report

from neko_trio._ports.frames import EveryFrame, FrameSlot
from neko_trio._timeline import Timeline
from neko_trio.media import bridge
from neko_trio.media.frames import Frame, FrameContext
from neko_trio.media.receiver import VideoReceiver

RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"
GROWTH_LIMIT = 4.0
"""MiB."""
RATE = 25
"""Frames per second of the recordings."""
BUFFER = 2
"""Frames that the reader of every one may be behind: 1.4 MB each."""
BACKLOG = 8
"""Frames that may wait for the decoder before the replay waits, too."""
LOOKS = ("nobody", "newest", "every")


def recording(codec: str) -> list[RtpPacket]:
    """The packets of a recording; the format stands in the README there."""
    data, at, packets = (RECORDINGS / f"rtp-{codec.lower()}-720p.bin").read_bytes(), 0, []
    while at < len(data):
        _, size = struct.unpack_from(">IH", data, at)
        packets.append(RtpPacket.parse(data[at + 6 : at + 6 + size]))
        at += 6 + size
    return packets


def endless(packets: list[RtpPacket]) -> Iterator[RtpPacket]:
    """The recording again and again, numbered on."""
    first, last = packets[0], packets[-1]
    span = (last.timestamp - first.timestamp + 90_000 // RATE) & 0xFFFFFFFF
    for turn in count():
        for packet in packets:
            yield RtpPacket(
                payload_type=packet.payload_type,
                marker=packet.marker,
                sequence_number=(packet.sequence_number + turn * len(packets)) & 0xFFFF,
                timestamp=(packet.timestamp + turn * span) & 0xFFFFFFFF,
                ssrc=packet.ssrc,
                payload=packet.payload,
            )


def lossy(packets: Iterator[RtpPacket], seed: int) -> Iterator[RtpPacket]:
    """One in a hundred is lost; all but one in a hundred of those come again, 20 packets later."""
    generator, again = random.Random(seed), list[tuple[int, RtpPacket]]()
    for number, packet in enumerate(packets):
        while again and again[0][0] <= number:
            yield again.pop(0)[1]
        if generator.random() >= 0.01:
            yield packet
        elif generator.random() < 0.99:
            again.append((number + 20, packet))


class Silence:
    """Below the receiver: what it sends goes nowhere."""

    state = "new"

    async def _send_rtp(self, data: bytes) -> None:
        """Nothing."""


class CountingSlot(FrameSlot):
    """Tells the loop of each frame."""

    loop: asyncio.AbstractEventLoop
    progress: asyncio.Event

    def put(self, frame: Frame) -> None:
        super().put(frame)
        self.loop.call_soon_threadsafe(self.progress.set)


class Replay:
    """The receiver of one row, on the asyncio thread."""

    def __init__(self, codec: str, slot: CountingSlot, looking: bool) -> None:
        slot.loop, slot.progress = asyncio.get_running_loop(), asyncio.Event()
        numbers, context = count(1), FrameContext(object(), 1, (1280, 720), "main")
        self._slot, self._looking = slot, looking
        self.receiver = VideoReceiver(
            codec,
            slot=slot,
            timeline=Timeline(),
            new_number=lambda: next(numbers),
            frame_context=lambda: context,
            on_keyframe_needed=lambda: None,
        )
        self._rtp = RTCRtpReceiver("video", cast(RTCDtlsTransport, Silence()))
        self.receiver.attach(self._rtp)
        self._packets = lossy(endless(recording(codec)), seed=1)

    async def feed(self, frames: int) -> None:
        """Feed until so many frames have passed."""
        while frames:
            packet = next(self._packets)
            await self._rtp._handle_rtp_packet(packet, 0)
            if packet.marker:
                frames -= 1
                await asyncio.sleep(0)  # timers and feedback have their turn
                while self._looking and self._behind() > BACKLOG:
                    self._slot.progress.clear()
                    if self._behind() > BACKLOG:
                        await asyncio.wait_for(self._slot.progress.wait(), 10)

    def _behind(self) -> int:
        now = self.receiver.statistics()
        done = now.frames_decoded + now.frames_dropped + now.frames_undecoded + now.decode_errors
        return now.frames_received - done

    async def aclose(self) -> None:
        await self.receiver.aclose()


async def run_row(codec: str, look: str, minutes: float, trace: bool) -> dict[str, Any]:
    """One row, in this process."""
    slot = CountingSlot()
    frames = round(minutes * 60 * RATE)
    resident: list[float] = []
    began = time.perf_counter()
    taken = 0

    async def take(buffer: EveryFrame) -> None:
        nonlocal taken
        while True:
            await buffer.take()
            taken += 1

    async with bridge.open_lease("memory") as lease, trio.open_nursery() as nursery:
        looking: AbstractContextManager[Any] = nullcontext()
        if look == "newest":
            looking = slot.looking()
        elif look == "every":
            looking = slot.subscribe(BUFFER)
        with looking as buffer:
            if isinstance(buffer, EveryFrame):
                nursery.start_soon(take, buffer)
            replay = await lease.run(Replay, codec, slot, look != "nobody")
            before = None
            for _ in range(10):
                await lease.run(replay.feed, frames // 10)
                resident.append(resident_mib())
                if trace and before is None:
                    tracemalloc.start(10)
                    before = tracemalloc.take_snapshot()
            grown = []
            if trace and before is not None:
                found = tracemalloc.take_snapshot().compare_to(before, "lineno")[:10]
                grown = [str(entry) for entry in found]
            statistics = replay.receiver.statistics()
            await lease.run(replay.aclose)
            nursery.cancel_scope.cancel()
    return {
        "codec": codec,
        "look": look,
        "minutes": minutes,
        "took_seconds": round(time.perf_counter() - began, 1),
        "frames_received": statistics.frames_received,
        "frames_decoded": statistics.frames_decoded,
        "frames_taken": taken,
        "packets_received": statistics.packets_received,
        "packets_repaired": statistics.packets_repaired,
        "holes_given_up": statistics.holes_given_up,
        "resident_mib": resident,
        "growth_mib": round(resident[-1] - resident[0], 2),
        "tracemalloc": grown,
    }


def resident_mib() -> float:
    """The resident set (proc(5): the second field of statm, in pages)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=60.0, help="of video, for each row")
    parser.add_argument("--codecs", nargs="+", default=["VP8"])
    parser.add_argument("--looks", nargs="+", choices=LOOKS, default=list(LOOKS))
    parser.add_argument("--tracemalloc", action="store_true", help="say what has grown (slow, and grows by itself)")
    add_json_option(parser)
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(
            json.dumps(trio.run(run_row, arguments.row[0], arguments.row[1], arguments.minutes, arguments.tracemalloc))
        )
        return 0
    rows = []
    for codec in arguments.codecs:
        for look in arguments.looks:
            command = [sys.executable, __file__, "--row", codec, look, "--minutes", str(arguments.minutes)]
            command += ["--tracemalloc"] if arguments.tracemalloc else []
            row = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            rows.append(row)
            print(
                f"{codec:<5} {look:<7} {row['frames_received']} frames, {row['frames_decoded']} decoded in"
                f" {row['took_seconds']} s: {row['resident_mib'][0]} → {row['resident_mib'][-1]} MiB"
                f" ({row['growth_mib']:+})",
                *row["tracemalloc"],
                sep="\n    ",
                file=sys.stderr,
            )
    failures = [
        f"{row['codec']} {row['look']}: {row['growth_mib']:+} MiB" for row in rows if row["growth_mib"] > GROWTH_LIMIT
    ]
    return report({"rows": rows, "failures": failures, **environment()}, arguments.json, failures=failures)


if __name__ == "__main__":
    sys.exit(main())
