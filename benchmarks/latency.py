"""How long from the last packet of a frame to the frame in the consumer's hands, live?

    python benchmarks/latency.py --rival                      # a simulator of its own, 720p25 and 1080p30
    python benchmarks/latency.py http://desk:8080 --rival     # a real server, whatever it sends

The clock starts when the datagram that ends the frame (RTP marker) leaves the socket, before it is decrypted, and stops
when ``async for frame in frames`` gives the frame. ``decode`` is the time in FFmpeg, measured for the same frame;
``overhead`` is the rest: decryption, jitter buffer, three threads. Goal: 3 ms at the 95th percentile. Unmodified aiortc
(``--rival``) is measured between the same two points, decoding included; it lets a frame go with the next one's first
packet. Milliseconds. Only frames that were decoded alone count, as a reader that keeps up gets them.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any
from unittest.mock import patch

import aioice
import trio
from figures import add_json_option, environment, report, rounded
from plain_aiortc import connect_once as connect_plainly
from servers import add_server_options, add_shape_options, named_or_simulated, shapes

import neko_trio
from neko_trio import Session
from neko_trio.media.media_path import MediaPath
from neko_trio.media.video_statistics import VideoStatistics

GOAL = 3.0
"""Milliseconds of overhead at the 95th percentile."""
WARM_UP = 25
"""Frames that are not counted."""


class Arrivals:
    """When the last datagram of each frame left the socket."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.by_timestamp: dict[int, float] = {}
        self.first_timestamp: int | None = None

    def note(self, datagram: bytes) -> None:
        if len(datagram) >= 12 and datagram[0] >> 6 == 2 and datagram[1] >= 128 and not 192 <= datagram[1] <= 208:
            now = perf_counter()
            timestamp = int.from_bytes(datagram[4:8], "big")
            if self.first_timestamp is None:
                self.first_timestamp = timestamp
            self.times.append(now)
            self.by_timestamp[timestamp] = now

    def before(self, moment: float) -> float | None:
        """The newest at ``moment``."""
        at = bisect_right(self.times, moment)
        return self.times[at - 1] if at else None


@contextmanager
def our_arrivals() -> Iterator[Arrivals]:
    arrivals, take = Arrivals(), MediaPath.take

    def noted(path: MediaPath, datagram: bytes) -> bool:
        arrivals.note(datagram)
        return take(path, datagram)

    with patch.object(MediaPath, "take", noted):
        yield arrivals


@contextmanager
def plain_arrivals() -> Iterator[Arrivals]:
    arrivals, receive = Arrivals(), aioice.Connection.data_received

    def noted(connection: aioice.Connection, data: bytes, component: int) -> None:
        arrivals.note(data)
        receive(connection, data, component)

    with patch.object(aioice.Connection, "data_received", noted):
        yield arrivals


def video_of(session: Session) -> VideoStatistics:
    peer = session.statistics().peer
    assert peer is not None
    assert peer.video is not None
    return peer.video


async def measure(server: dict[str, Any], count: int) -> dict[str, Any]:
    """One session of ours."""
    totals: list[float] = []
    decodes: list[float] = []
    arrived: list[float] = []
    with our_arrivals() as arrivals:
        async with (
            neko_trio.open_session(**server) as session,
            session.screen.frames() as frames,
        ):
            decoded, seconds = 0, 0.0
            async for frame in frames:
                now = perf_counter()
                video = video_of(session)
                alone = video.frames_decoded - decoded == 1
                decode = video.decode_seconds - seconds
                decoded, seconds = video.frames_decoded, video.decode_seconds
                last = arrivals.before(frame.arrived)
                arrived.append(frame.arrived)
                if last is not None and alone and len(arrived) > WARM_UP:
                    totals.append((now - last) * 1000)
                    decodes.append(decode * 1000)
                if len(totals) == count:
                    break
            size, codec = frame.size, video.codec
    return {
        "codec": codec,
        "size": size,
        "frames": len(totals),
        "interval": round((arrived[-1] - arrived[0]) / (len(arrived) - 1) * 1000, 2),
        "total": rounded(totals, 3),
        "decode": rounded(decodes, 3),
        "overhead": rounded([total - decode for total, decode in zip(totals, decodes, strict=True)], 3),
    }


async def measure_rival(server: dict[str, Any], count: int) -> dict[str, Any]:
    """One connection of unmodified aiortc."""
    totals: list[float] = []

    async def watch(track: Any) -> None:
        for number in range(WARM_UP + count):
            frame = await track.recv()
            now = perf_counter()
            assert arrivals.first_timestamp is not None
            last = arrivals.by_timestamp.get((arrivals.first_timestamp + frame.pts) & 0xFFFFFFFF)  # pts begins at 0
            if last is not None and number >= WARM_UP:
                totals.append((now - last) * 1000)

    def run() -> None:
        asyncio.run(connect_plainly(**server, patience=30 + count, watch=watch))

    with plain_arrivals() as arrivals:
        await trio.to_thread.run_sync(run)
    return {"frames": len(totals), "total": rounded(totals, 3)}


async def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for shape, options in shapes(arguments).items():
        async with named_or_simulated(arguments, **options) as server:
            rows[shape] = {"ours": await measure(server, arguments.count)}
            if arguments.rival:
                rows[shape]["plain_aiortc"] = await measure_rival(server, arguments.count)
    return {
        "url": arguments.url,
        "rows": rows,
        "missed": [
            f"{shape}: overhead {row['ours']['overhead']['p95']} ms at p95, the goal is {GOAL}"
            for shape, row in rows.items()
            if row["ours"]["overhead"]["p95"] > GOAL
        ],
        **environment(),
    }


def table(result: dict[str, Any]) -> str:
    lines = [f"{'ms from the last packet':<34}{'median':>9}{'p95':>9}{'p99':>9}{'max':>9}"]
    for shape, row in result["rows"].items():
        ours = row["ours"]
        lines += [
            f"{shape + ' ' + name:<34}" + "".join(f"{value:9.2f}" for value in ours[name].values())
            for name in ("total", "decode", "overhead")
        ]
        if "plain_aiortc" in row:
            figures = row["plain_aiortc"]["total"].values()
            lines.append(f"{shape + ' plain aiortc total':<34}" + "".join(f"{value:9.2f}" for value in figures))
        width, height = ours["size"]
        lines.append(f"  {ours['frames']} frames {width}x{height} {ours['codec']}, one every {ours['interval']} ms")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_server_options(parser, instead="a simulator is started for each shape")
    parser.add_argument("-n", "--count", type=int, default=500, help="frames, besides those that warm up")
    add_shape_options(parser)
    parser.add_argument("--rival", action="store_true", help="unmodified aiortc as well")
    add_json_option(parser)
    arguments = parser.parse_args()
    result = trio.run(measure_all, arguments)
    return report(result, arguments.json, table=table(result), failures=result["missed"])


if __name__ == "__main__":
    sys.exit(main())
