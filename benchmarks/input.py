"""How fast is typing, and how soon after a click is it to be seen?

    python benchmarks/input.py                                   # a simulator of its own
    python benchmarks/input.py http://desk:8080 --display :80    # a real server, with colour_window.py on its X display

Typing is characters per second, from the call to the confirmation that the server has handled all of them: over the
data channel, over the WebSocket (a session without video), and pasted.

A click is timed from the call on, in milliseconds: to the *confirmed* input (``flush()``), to the *shown* picture, the
first in which its place looks different (``wait_change``, with the input confirmed), and to a *fresh* one
(``frame(fresh=True)``), which was captured after the click had arrived, whatever a program makes of it. With the round
trip of ``--round-trip`` on media and data channel, and without. ``decode`` is the time in FFmpeg per frame.

Goal, in the median and at the 95th percentile: shown within the round trip, one frame interval, the decoding and 20 ms.
A real server's intervals are not even (``gap``). Each click is held to its own: from the arrival, on the wire, of the
picture before the one that shows it. What is left of its time then is ``beyond``.

Exit code 1: the goal was missed, or a click was not seen.
"""

from __future__ import annotations

import argparse
import random
import statistics
import string
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from itertools import pairwise
from time import perf_counter
from typing import Any

import trio
from colour_window import BOX
from figures import add_json_option, environment, report, rounded
from fresh import colour_window
from servers import add_server_options, named_or_simulated

import neko_trio
from neko_trio import Session
from neko_trio.testing import LossyNetwork

REACTION = 0.02
"""Seconds that the server's desktop, its encoder and we may take together, beside what cannot be helped."""
PATIENCE = 5.0
"""Seconds in which a click must be seen."""
BUTTON = (32, 628, 368, 672)
"""A button of the simulator's desktop, which counts clicks: left, top, right, bottom."""
LETTERS = string.ascii_letters + string.digits + " "
GAPS = 200
"""Gaps between two frames, from which the frame interval is taken."""
TIMES = ("confirmed", "shown", "beyond", "ours", "fresh")
PAUSE = 0.6
"""Seconds between two clicks: with less they would wait for each other, not to be taken for a double click."""


async def typing(server: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Characters per second each way."""
    chance = random.Random(1)
    result: dict[str, Any] = {}
    for way, video, paste in (("data channel", "live", False), ("websocket", "off", False), ("pasted", "off", True)):
        speeds = []
        async with neko_trio.open_session(**server, video=video) as session, session.control():
            if video == "live":
                await session.screen.frame()
            for _ in range(arguments.texts):
                text = "".join(chance.choices(LETTERS, k=arguments.characters))
                began = trio.current_time()
                await session.keyboard.type(text, paste=paste)
                await session.flush()
                speeds.append(len(text) / (trio.current_time() - began))
        result[way] = rounded(speeds, 0)
    return result


async def clicks(
    server: dict[str, Any], region: tuple[int, int, int, int], round_trip: float, count: int
) -> dict[str, Any]:
    """Clicks into ``region``, with that round trip in seconds."""
    chance = random.Random(2)
    place = ((region[0] + region[2]) // 2, (region[1] + region[3]) // 2)
    times: dict[str, list[float]] = {name: [] for name in TIMES}
    unseen = 0
    media = LossyNetwork(round_trip=round_trip) if round_trip else None
    async with (
        neko_trio.open_session(**server, media=media) as session,
        session.control(),
        seen_arriving(session) as arrivals,
    ):
        await session.mouse.move(*place)
        for number in range(count + 1):
            await session.screen.wait_stable(region, for_=0.2)
            await trio.sleep(PAUSE + chance.uniform(0, 0.1))  # at any place between two frames
            before = await session.screen.frame()
            began = trio.current_time()
            await session.mouse.click(*place)
            await session.flush()
            confirmed = trio.current_time() - began
            try:
                with trio.fail_after(PATIENCE):
                    change = await session.screen.wait_change(region, since=before)
            except trio.TooSlowError:
                unseen += 1
                continue
            shown = trio.current_time() - began
            ours = perf_counter() - change.frame.arrived
            number_before = max(known for known in arrivals if known < change.frame.number)  # some are never decoded
            interval = (change.frame.arrived - arrivals[number_before]) / (change.frame.number - number_before)
            await trio.sleep(PAUSE)
            began = trio.current_time()
            await session.mouse.click(*place)
            await session.screen.frame(fresh=True)
            fresh = trio.current_time() - began
            if number:  # the first warms up
                for name, value in zip(TIMES, (confirmed, shown, shown - interval, ours, fresh), strict=True):
                    times[name].append(value)
        gaps, decode = await pace(session)
    interval = statistics.median(gaps)
    return {
        "round_trip_ms": round(round_trip * 1000, 1),
        "frame_interval_ms": round(interval * 1000, 1),
        "gap_ms": rounded(gaps, scale=1000),
        "decode_ms": round(decode * 1000, 2),
        "goal_ms": round((round_trip + interval + decode + REACTION) * 1000, 1),
        "beyond_goal_ms": round((round_trip + decode + REACTION) * 1000, 1),
        "clicks": len(times["shown"]),
        "unseen": unseen,
        **{name: rounded(values, scale=1000) for name, values in times.items() if values},
    }


@asynccontextmanager
async def seen_arriving(session: Session) -> AsyncIterator[dict[int, float]]:
    """When each of the newest frames arrived, by its number."""
    arrivals: dict[int, float] = {}

    async def look() -> None:
        async with session.screen.frames(buffer=GAPS) as frames:
            async for frame in frames:
                arrivals[frame.number] = frame.arrived
                arrivals.pop(frame.number - GAPS, None)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        yield arrivals
        nursery.cancel_scope.cancel()


async def pace(session: Session) -> tuple[list[float], float]:
    """Seconds between any two frames, and seconds of decoding for each."""
    arrivals: list[float] = []
    before = session.statistics()
    async with session.screen.frames(buffer=GAPS) as frames:
        while len(arrivals) <= GAPS:
            arrivals.append((await anext(frames)).arrived)
    during = session.statistics() - before
    assert during.peer is not None
    assert during.peer.video is not None
    video = during.peer.video
    return [after - one for one, after in pairwise(arrivals)], video.decode_seconds / max(video.frames_decoded, 1)


async def measure(arguments: argparse.Namespace, window: Callable[[], AbstractContextManager[Any]]) -> dict[str, Any]:
    async with named_or_simulated(arguments) as server:
        result: dict[str, Any] = {"url": server["url"], "typing": await typing(server, arguments), "clicks": []}
        left, top, width, height = BOX
        region = (left, top, left + width, top + height) if arguments.url is not None else BUTTON
        with window():
            for round_trip in sorted({0.0, arguments.round_trip / 1000}):
                result["clicks"].append(await clicks(server, region, round_trip, arguments.count))
    return {**result, **environment()}


def table(result: dict[str, Any]) -> str:
    lines = [
        f"typing, {way:<13} {speed['median']:>8.0f} characters per second" for way, speed in result["typing"].items()
    ]
    for row in result["clicks"]:
        lines.append(f"click, round trip {row['round_trip_ms']:g} ms, a frame every {row['frame_interval_ms']:g} ms:")
        lines += [
            f"  {name:<11}{row[name]['median']:8.1f} ms, p95 {row[name]['p95']:8.1f}" for name in TIMES if name in row
        ]
        lines.append(f"  gap        {row['gap_ms']['median']:8.1f} ms, p95 {row['gap_ms']['p95']:8.1f}")
        lines.append(f"  goal       {row['goal_ms']:8.1f} ms for shown, {row['beyond_goal_ms']:.1f} for beyond at p95")
    return "\n".join(lines)


def failures(result: dict[str, Any]) -> list[str]:
    """What was missed."""
    found = []
    for row in result["clicks"]:
        name = f"round trip {row['round_trip_ms']:g} ms"
        if row["unseen"]:
            found.append(f"{name}: {row['unseen']} clicks were not seen")
        if "shown" not in row:
            continue
        shown, beyond = row["shown"], row["beyond"]
        if shown["median"] > row["goal_ms"]:
            found.append(f"{name}: shown after {shown['median']} ms in the median, the goal is {row['goal_ms']}")
        if beyond["p95"] > row["beyond_goal_ms"]:
            found.append(
                f"{name}: shown {beyond['p95']} ms beyond its interval at p95, the goal is {row['beyond_goal_ms']}"
            )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_server_options(parser)
    parser.add_argument("--display", help="the X display of the server named, such as :80")
    parser.add_argument("-n", "--count", type=int, default=100, help="clicks for each round trip")
    parser.add_argument("--round-trip", type=float, default=20.0, metavar="MS")
    parser.add_argument("--texts", type=int, default=5)
    parser.add_argument("--characters", type=int, default=2000, help="of each text")
    add_json_option(parser)
    arguments = parser.parse_args()
    if (arguments.url is None) != (arguments.display is None):
        parser.error("a server and its --display belong together: what is clicked on must change its looks")
    window = (lambda: colour_window(arguments.display)) if arguments.display else nullcontext
    result = trio.run(measure, arguments, window)
    return report(result, arguments.json, table=table(result), failures=failures(result))


if __name__ == "__main__":
    sys.exit(main())
