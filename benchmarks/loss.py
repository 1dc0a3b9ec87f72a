"""What does a viewer see of lost packets, beside plain aiortc?

    python benchmarks/loss.py                                 # none, 2 % and 10 % at 20 ms round trip, 60 s each
    python benchmarks/loss.py --loss 2 --seconds 300 --no-rival
    python benchmarks/loss.py --url http://desk:8080 --password neko    # gaps only: nobody knows what it shows

Datagrams are dropped at random, in both directions, below SRTP; each takes half of the round trip. The server draws
pictures that are known beforehand (``neko_trio.testing.MovingDesktop``), so every picture shown is compared with its
original: it is wrong when its code cannot be read, the whole has less than 30 dB, or its worst 64 x 64 pixels have less
than 24 dB. A *freeze* is a gap of more than 150 ms between two pictures shown. *Server gaps* are as long, but between
two pictures drawn one after the other: a busy machine makes them, and no client can do anything about them. The row
without loss is the floor: freezes there are the machine's, too.

Exit code 1: at up to 2 % a freeze that is no server gap; at any loss a wrong picture, or a session that ended.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise, zip_longest
from time import perf_counter
from typing import Any

import numpy as np
import trio
from figures import add_json_option, environment, report, rounded
from moving_server import add_picture_options, named_or_moving
from plain_aiortc import Detour
from plain_aiortc import connect_once as connect_plainly
from servers import add_server_options

import neko_trio
from neko_trio.media.bridge import open_lease
from neko_trio.testing import LossyNetwork, MovingDesktop
from neko_trio.testing._lossy import Way

FREEZE = 0.15
"""Seconds."""
WHOLE, PART = 30.0, 24.0
"""Decibels."""
WARM_UP = 1.0
"""Seconds after the first picture that are not counted: they are the connect's."""
UNCHECKED = 256
"""Pictures that may wait to be compared."""


@dataclass
class Seen:
    """What was shown."""

    times: list[float] = field(default_factory=list)
    checked: list[tuple[int, float] | None] = field(default_factory=list)
    """Number and time of drawing of each picture, ``None`` for an unreadable code."""
    whole: list[float] = field(default_factory=list)
    part: list[float] = field(default_factory=list)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    ended: str | None = None

    def check(self, desktop: MovingDesktop, pixels: Callable[[], Any]) -> None:
        """Compare a picture with its original. In a worker thread."""
        likeness = desktop.likeness(pixels())
        if likeness is None:
            self.checked.append(None)
            self.wrong.append({"at": len(self.checked), "code": None})
            return
        code, whole, part = likeness
        self.checked.append((code.number, code.seconds))
        self.whole.append(whole)
        self.part.append(part)
        if whole < WHOLE or part < PART:
            self.wrong.append({"at": len(self.checked), "code": code.number, "dB": round(whole, 1), "part": part})

    def figures(self, seconds: float) -> dict[str, Any]:
        """What it amounts to."""
        start = (self.times[0] + WARM_UP) if self.times else 0.0
        shown = [(at, what) for at, what in zip_longest(self.times, self.checked) if at is not None and at >= start]
        freezes: list[int] = []
        server_gaps: list[int] = []
        for (earlier, before), (later, after) in pairwise(shown):
            gap = later - earlier
            if gap <= FREEZE:
                continue
            drawn = after[1] - before[1] if before and after and after[0] == before[0] + 1 else 0.0
            (server_gaps if drawn > FREEZE else freezes).append(round(gap * 1000))
        gaps = [later - earlier for (earlier, _), (later, _) in pairwise(shown)]
        return {
            "pictures_per_second": round(len(shown) / (seconds - WARM_UP), 2),
            "freezes": len(freezes),
            "freeze_ms": sorted(freezes, reverse=True)[:20],
            "server_gaps_ms": sorted(server_gaps, reverse=True)[:20],
            "gap_ms": rounded(gaps, 1, scale=1000) if gaps else None,
            "wrong_pictures": len(self.wrong),
            "first_wrong": self.wrong[:5],
            "least_dB": round(min(self.whole), 1) if self.whole else None,
            "least_dB_of_a_part": round(min(self.part), 1) if self.part else None,
            "ended": self.ended,
        }


async def watch_ours(server: dict[str, Any], desktop: MovingDesktop | None, loss: float, arguments: Any) -> Any:
    """A live session with one reader that shows every picture at once, and a checker behind it."""
    network = LossyNetwork(loss=loss, round_trip=arguments.round_trip / 1000, seed=arguments.seed)
    seen = Seen()
    to_check, unchecked = trio.open_memory_channel[neko_trio.Frame](UNCHECKED)

    async def check() -> None:
        async for frame in unchecked:
            if desktop is not None:
                await trio.to_thread.run_sync(seen.check, desktop, frame.to_ndarray)

    statistics: dict[str, Any] = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(check)
        try:
            async with (
                neko_trio.open_session(**server, media=network, connect_timeout=30) as session,
                session.screen.frames() as frames,
                to_check,
            ):
                await session.screen.frame()
                before = session.statistics()
                with trio.move_on_after(arguments.seconds):
                    async for frame in frames:
                        seen.times.append(perf_counter())
                        await to_check.send(frame)
                between = session.statistics() - before
                statistics = {"video": asdict(between.peer.video) if between.peer and between.peer.video else None}
                statistics["toggles"] = between.video_toggles
        except neko_trio.NekoError as error:
            seen.ended = f"{type(error).__name__}: {error}"
    return {**seen.figures(arguments.seconds), **statistics, "network": asdict(network.counts.to_client)}


@asynccontextmanager
async def open_way(network: LossyNetwork) -> AsyncIterator[Way]:
    """The same network for somebody who is no media of ours."""
    async with open_lease("network") as lease:
        router = await lease.run(network.open_router)
        try:
            yield Way(router)
        finally:
            lease.post(router.close)


async def watch_rival(server: dict[str, Any], desktop: MovingDesktop | None, loss: float, arguments: Any) -> Any:
    """Plain aiortc on the same network: its own receiver, its own jitter buffer."""
    network = LossyNetwork(loss=loss, round_trip=arguments.round_trip / 1000, seed=arguments.seed)
    seen = Seen()

    async def watch(track: Any) -> None:
        loop = asyncio.get_running_loop()
        unchecked: asyncio.Queue[Any] = asyncio.Queue(UNCHECKED)

        async def check() -> None:
            while True:
                picture = await unchecked.get()
                if desktop is not None:
                    await loop.run_in_executor(None, seen.check, desktop, partial(grey, picture))
                unchecked.task_done()

        checking = asyncio.create_task(check())  # cancelled below
        try:
            async with asyncio.timeout(arguments.seconds):
                while True:
                    picture = await track.recv()
                    seen.times.append(perf_counter())
                    await unchecked.put(picture)
        except TimeoutError:
            await unchecked.join()
        finally:
            checking.cancel()

    def run(way: Way) -> None:
        try:
            asyncio.run(
                connect_plainly(
                    **server,
                    patience=arguments.seconds + 60,
                    watch=watch,
                    detour=Detour(way.to_server, lambda sdp: way.rewritten(sdp, way.to_client)),
                )
            )
        except (OSError, TimeoutError) as error:
            seen.ended = f"{type(error).__name__}: {error}"

    async with open_way(network) as way:
        await trio.to_thread.run_sync(run, way)
    return {**seen.figures(arguments.seconds), "network": asdict(network.counts.to_client)}


def grey(picture: Any) -> Any:
    """The luma of a picture as grey, which is all that it shows; the colours' matrix plays no part."""
    luma = np.frombuffer(memoryview(picture.planes[0]), np.uint8).reshape(-1, picture.planes[0].line_size)
    limited = luma[: picture.height, : picture.width].astype(np.float32)
    return np.clip((limited - 16) * (255 / 219), 0, 255).astype(np.uint8)


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    ways: list[tuple[str, Callable[..., Any]]] = [("neko-trio", watch_ours)]
    if arguments.rival:
        ways.append(("plain aiortc", watch_rival))
    for loss in arguments.loss:
        for name, watch in ways:
            async with named_or_moving(arguments) as (server, desktop):
                figures = await watch(server, desktop, loss / 100, arguments)
            row = {"way": name, "loss_percent": loss, **figures}
            rows.append(row)
            print(line(row), file=sys.stderr, flush=True)
    failures = []
    for row in rows:
        if row["way"] != "neko-trio":
            continue
        if row["ended"] or row["wrong_pictures"] or not row["pictures_per_second"]:
            failures.append(f"{row['loss_percent']:g} %: {row['ended'] or 'wrong pictures, or none'}")
        if 0 < row["loss_percent"] <= 2 and row["freezes"]:
            failures.append(f"{row['loss_percent']:g} %: freezes of {row['freeze_ms']} ms")
    return {
        "round_trip_ms": arguments.round_trip,
        "seconds": arguments.seconds,
        "seed": arguments.seed,
        "codec": arguments.codec,
        "size": [arguments.width, arguments.height],
        "rows": rows,
        "failures": failures,
        **environment(),
    }


def line(row: dict[str, Any]) -> str:
    gap = row["gap_ms"] or {"p99": float("nan"), "max": float("nan")}
    return (
        f"{row['loss_percent']:4g} %  {row['way']:<13}{row['pictures_per_second']:6.1f}/s"
        f"  p99 gap {gap['p99']:6.0f} ms  longest {gap['max']:6.0f} ms  {row['freezes']:3} freezes"
        f"  {row['wrong_pictures']:4} wrong pictures  {row['ended'] or ''}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--loss", type=float, nargs="+", default=[0.0, 2.0, 10.0], metavar="PERCENT")
    parser.add_argument("--round-trip", type=float, default=20.0, metavar="MS")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each row")
    parser.add_argument("--seed", type=int, default=1, help="of the losses")
    add_picture_options(parser)
    add_server_options(parser, "--url")
    parser.add_argument("--no-rival", dest="rival", action="store_false", help="without plain aiortc")
    add_json_option(parser)
    arguments = parser.parse_args()
    result = trio.run(measure, arguments)
    return report(result, arguments.json, failures=result["failures"])


if __name__ == "__main__":
    sys.exit(main())
