"""Does a fresh frame show what was pressed before it, every time? And how old are the frames that come after a pong?

    python benchmarks/fresh.py http://desk:8080 --display :80 -n 1000            # prove it, live and on demand
    python benchmarks/fresh.py http://desk:8080 --display :80 -n 200 --survey    # measure the margin

Starts ``colour_window.py`` on the X display of the server, presses a key, and takes ``frame(fresh=True)``: the window
must be seen in its new colour. ``--survey`` reads every frame instead, and says how long after the pong the last one
with the old colour arrived, in all, and less its estimated latency. Times are milliseconds; those of the proof include
the barrier.

A frame with an old colour counts as *wrong* when the window had been painted before the flush returned, and makes the
exit code 1; as *early* when the program, on a machine that is busy, had not got to it yet: that it has is not promised.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import trio
from colour_window import BOX, PALETTE
from figures import add_json_option, report, summary

import neko_trio
from neko_trio import Frame, Session
from neko_trio._video_switch import SLOW

PATIENCE = 10.0
"""Seconds in which a picture must come."""
SURVEY = 3.0
"""Seconds after a pong in which the new colour must come."""


@contextmanager
def colour_window(display: str) -> Iterator[list[float]]:
    """The X client, as long as the block lasts. What it yields fills with the times at which it painted."""
    painted: list[float] = []
    script = Path(__file__).with_name("colour_window.py")
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "DISPLAY": display},
    ) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise SystemExit("colour_window.py did not come up")
        lines = process.stdout
        reader = threading.Thread(target=lambda: painted.extend(map(float, lines)))
        reader.start()
        try:
            yield painted
        finally:
            process.terminate()
            reader.join()


def colour_of(frame: Frame) -> int | None:
    """Which colour of the palette the window has in the frame; ``None`` for none of them, as in a torn picture."""
    left, top, width, height = (
        round(edge * scale)
        for edge, scale in zip(
            BOX, (frame.size[0] / frame.screen_size[0], frame.size[1] / frame.screen_size[1]) * 2, strict=True
        )
    )
    part = frame.crop((left + 8, top + 8, left + width - 8, top + height - 8)).to_ndarray()
    means = part.reshape(-1, 3).mean(axis=0)
    distances = [sum(abs(float(a) - b) for a, b in zip(means, colour, strict=True)) for colour in PALETTE]
    nearest = distances.index(min(distances))
    return nearest if distances[nearest] < 90 else None


async def settled_colour(session: Session) -> int:
    """The colour now, when none of the presses before is on its way any more."""
    await session.flush()
    await trio.sleep(0.5)
    colour = colour_of(await session.screen.frame(fresh=True))
    if colour is None:
        raise SystemExit("the window is not to be seen: is --display the server's?")
    return colour


async def prove(session: Session, count: int, pause: float, painted: list[float]) -> dict[str, Any]:
    """``count`` times: press, fresh frame, the new colour."""
    colour, times, wrong, early = await settled_colour(session), [], Counter[str](), 0
    for number in range(count):
        before = len(painted)
        await session.keyboard.press("a")
        started = perf_counter()
        await session.flush()
        pong = perf_counter()
        with trio.fail_after(PATIENCE):
            frame = await session.screen.frame(fresh=True)
        times.append((perf_counter() - started) * 1000)
        colour = (colour + 1) % len(PALETTE)
        seen = colour_of(frame)
        if seen != colour:
            colour = await settled_colour(session)
            after = (painted[before] - pong) * 1000
            early += after > 0
            if after <= 0:
                wrong["no colour" if seen is None else "old colour"] += 1
            print(f"press {number}: painted {after:.1f} ms after the pong, not seen", file=sys.stderr)
        if pause:
            await trio.sleep(pause)
    return {"count": count, "wrong": dict(wrong), "early": early, "ms": summary(times)}


async def survey(session: Session, count: int) -> dict[str, Any]:
    """How long after the pong the old colour still arrives, and how much of that is latency (see ``Frame.latency``)."""
    colour, pongs, never = await settled_colour(session), [], 0
    last_old: dict[str, list[float]] = {"all": [], "all, less their latency": [], "where none was slow": []}
    async with session.screen.frames(buffer=200) as frames:
        for number in range(count):
            until = trio.current_time() + 0.1 + 0.04 * (number * 0.618 % 1)  # anywhere between two frames
            with trio.move_on_at(until):
                while True:
                    await anext(frames)
            sent = perf_counter()
            await session.keyboard.press("a")
            await session.flush()
            pong = perf_counter()
            pongs.append((pong - sent) * 1000)
            colour = (colour + 1) % len(PALETTE)
            last = corrected = slowest = 0.0
            while True:
                with trio.fail_after(PATIENCE):
                    frame = await anext(frames)
                since, latency = (frame.arrived - pong) * 1000, frame.latency * 1000
                slowest = max(latency, slowest)
                if colour_of(frame) == colour:
                    break
                last, corrected = max(since, last), max(since - latency, corrected)
                if since > SURVEY * 1000:
                    never += 1
                    colour = await settled_colour(session)
                    break
            last_old["all"].append(last)
            last_old["all, less their latency"].append(corrected)
            if slowest <= SLOW * 1000:
                last_old["where none was slow"].append(last)
    return {
        "count": count,
        "never": never,
        "start": session.timeline.between("video_enabled", "first_packet") * 1000,
        "press to pong": summary(pongs),
        "last old after pong": {
            name: {"count": len(values), **summary(values)} for name, values in last_old.items() if values
        },
    }


async def measure(arguments: argparse.Namespace, painted: list[float]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for video in ("live",) if arguments.survey else arguments.video:
        async with neko_trio.open_session(
            arguments.url,
            username="fresh",
            password=arguments.password,
            video=video,
            stream=arguments.stream,
        ) as session:
            async with session.control(steal=arguments.steal):
                if arguments.survey:
                    results[video] = await survey(session, arguments.count)
                else:
                    results[video] = await prove(session, arguments.count, arguments.pause / 1000, painted)
            results[video]["statistics"] = {
                name: getattr(session.statistics(), name)
                for name in ("pictures_on_demand", "video_toggles", "video_seconds_on")
            }
            results[video]["size"] = (await session.screen.frame()).size
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="base URL of the server")
    parser.add_argument("--password", default="neko")
    parser.add_argument("--display", required=True, help="the server's X display, such as :80")
    parser.add_argument("--stream", default=None)
    parser.add_argument("--video", nargs="+", default=["live", "on_demand"], choices=["live", "on_demand"])
    parser.add_argument("-n", "--count", type=int, default=1000)
    parser.add_argument("--pause", type=float, default=0.0, metavar="MS", help="between two presses")
    parser.add_argument("--survey", action="store_true", help="look at every frame after the pong, live")
    parser.add_argument("--steal", action="store_true", help="take the host role from whoever has it (admins)")
    add_json_option(parser, default="-")
    arguments = parser.parse_args()
    with colour_window(arguments.display) as painted:
        results = trio.run(measure, arguments, painted)
    failures = [
        f"{video}: {name} {result[name]}"
        for video, result in results.items()
        for name in ("wrong", "never")
        if result.get(name)
    ]
    return report(results, arguments.json, failures=failures)


if __name__ == "__main__":
    sys.exit(main())
