"""How long does a picture on demand take, and what does it cost?

    python benchmarks/on_demand.py                                   # of a simulator in a process of its own
    python benchmarks/on_demand.py http://desk:8080 --password neko  # of a server
    python benchmarks/on_demand.py http://desk:8080 -n 300 --cpu 60 --json results.json

*picture*: ``frame()`` on demand, the video being off at the server, until the frame is in hand; *live*: the next frame
of a session whose video is always on, the floor (``frame(newer_than=…)``, on average half a frame interval). Times are
milliseconds. *cpu*: cores that this process used for one picture a second over ``--cpu`` seconds (0: not measured),
beside a live session that is not read, and one of which every frame is.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from functools import partial
from typing import Any

import trio
from figures import add_json_option, environment, report, summary
from servers import add_server_options, named_or_simulated

import neko_trio
from neko_trio import Session

PATIENCE = 10.0
"""Seconds in which a picture must come."""


async def pictures(session: Session, count: int, pause: float) -> list[float]:
    """Milliseconds of each picture, the video being off before it."""
    times = []
    for number in range(count + 1):
        started = time.perf_counter()
        with trio.fail_after(PATIENCE):
            frame = await session.screen.frame()
        if frame.arrived < started:
            raise SystemExit("the video was still on: the pause is too short")
        if number:  # the first warms up
            times.append((time.perf_counter() - started) * 1000)
        await trio.sleep(pause)
    return times


async def newest(session: Session, count: int) -> list[float]:
    """Milliseconds until the next frame of a running video, asked for at any moment."""
    times = []
    for number in range(count):
        frame = await session.screen.frame()
        await trio.sleep(0.02 + 0.04 * (number * 0.618 % 1))
        started = time.perf_counter()
        frame = await session.screen.frame(newer_than=await session.screen.frame())
        times.append((time.perf_counter() - started) * 1000)
        assert frame.arrived > started
    return times


async def cores(session: Session, seconds: float, work: str) -> float:
    """CPU of this process, in cores, while one does that."""
    await session.screen.frame()
    begun, cpu = time.perf_counter(), time.process_time()
    if work == "on demand":
        for _ in range(round(seconds)):
            due = trio.current_time() + 1
            await session.screen.frame()
            await trio.sleep_until(due)
    elif work == "every":
        with trio.move_on_after(seconds):
            async with session.screen.frames() as frames:
                async for _frame in frames:
                    pass
    else:
        await trio.sleep(seconds)
    return (time.process_time() - cpu) / (time.perf_counter() - begun)


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    async with named_or_simulated(arguments, codec=arguments.codec) as server:
        connect = partial(neko_trio.open_session, **server)
        machine = f"{platform.machine()}, {os.cpu_count()} CPUs"
        result: dict[str, Any] = {"url": server["url"], "machine": machine, **environment()}
        async with connect(video="on_demand", linger=arguments.linger / 1000) as session:
            result["picture ms"] = summary(await pictures(session, arguments.count, arguments.pause / 1000))
            result["count"] = arguments.count
            if arguments.cpu:
                result["cpu"] = {"on demand, 1/s": await cores(session, arguments.cpu, "on demand")}
            statistics = session.statistics()
            peer = statistics.peer
            result["statistics"] = {
                "pictures_on_demand": statistics.pictures_on_demand,
                "video_seconds_on": statistics.video_seconds_on,
                "seconds": statistics.seconds,
                "codec": peer.codec if peer else None,
            }
        async with connect() as session:
            result["live ms"] = summary(await newest(session, arguments.count))
            result["size"] = (await session.screen.frame()).size
            if arguments.cpu:
                result["cpu"]["live, not read"] = await cores(session, arguments.cpu, "nothing")
                result["cpu"]["live, every frame"] = await cores(session, arguments.cpu, "every")
        return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_server_options(parser)
    parser.add_argument("--codec", default="vp8", help="of the simulator")
    parser.add_argument("-n", "--count", type=int, default=100)
    parser.add_argument("--linger", type=float, default=50, metavar="MS")
    parser.add_argument("--pause", type=float, default=300, metavar="MS", help="between two pictures")
    parser.add_argument("--cpu", type=float, default=0, metavar="SECONDS", help="measure the CPU for that long")
    add_json_option(parser, default="-")
    arguments = parser.parse_args()
    return report(trio.run(measure, arguments), arguments.json)


if __name__ == "__main__":
    sys.exit(main())
