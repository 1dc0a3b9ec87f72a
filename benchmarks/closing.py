"""How long does a close take, and does it hold up anybody?

    python benchmarks/closing.py                                       # to a simulator in a process of its own
    python benchmarks/closing.py --url http://desk:8080 --password neko -n 100

Opens a session, has it watch for a moment, and leaves its block, again and again:

    flowing   a reader shows every picture
    nobody    live, and nobody looks
    behind    the decoder is far behind: each picture takes it 60 ms more than it does, as on a machine too slow
    demand    on demand, with the video off
    lossy     a reader, and one packet in ten lost at 20 ms round trip

*close* is the time from leaving the block to behind it, goodbyes to the server and the logout included; *peer* is that
of the peer connection alone. *loop* and *trio* are how late a timer of the asyncio and of the trio thread fired at most
meanwhile: how long something blocked them. *floor* is the same over as long a time with the session open: what the
machine itself takes.

Exit code 1: in the median a close took 100 ms or more (lossy: plus two round trips), or blocked a loop for 10 ms more
than the floor; or one failed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import Any

import trio
from figures import add_json_option, environment, report, rounded
from moving_server import add_picture_options, named_or_moving
from servers import add_server_options

import neko_trio
from neko_trio._wiring import AiortcMedia
from neko_trio.media import bridge
from neko_trio.media.frames import Frame
from neko_trio.media.peer_api import Peer, PeerSetup
from neko_trio.testing import LossyNetwork

CASES = ("flowing", "nobody", "behind", "demand", "lossy")
CLOSE_LIMIT, BLOCK_LIMIT = 100.0, 10.0
"""Milliseconds."""
PROBE = 0.002
"""Seconds between two looks at how late a loop is."""
SLOWNESS = 0.06
"""Seconds that a picture takes the decoder of ``behind`` beside decoding it."""


class Timed(AiortcMedia):
    """The real media; notes how long the close of its last peer took."""

    seconds = 0.0

    @asynccontextmanager
    async def _timed(self, setup: PeerSetup) -> AsyncIterator[Peer]:
        async with super().open_peer_connection(setup) as peer:
            aclose = peer.aclose

            async def timed() -> None:
                began = perf_counter()
                try:
                    await aclose()
                finally:
                    self.seconds = self.seconds or perf_counter() - began

            peer.aclose = timed  # type: ignore[method-assign]  # one instance, one benchmark
            yield peer

    def open_peer_connection(self, setup: PeerSetup) -> Any:
        return self._timed(setup)


class Lateness:
    """How late the timers of the asyncio loop and of trio fire at most."""

    def __init__(self) -> None:
        self.loop = self.trio = 0.0

    def take(self) -> tuple[float, float]:
        """The two in milliseconds since the last time."""
        late, self.loop, self.trio = (self.loop * 1000, self.trio * 1000), 0.0, 0.0
        return late

    async def probe_trio(self) -> None:
        while True:
            due = trio.current_time() + PROBE
            await trio.sleep_until(due)
            self.trio = max(self.trio, trio.current_time() - due)

    async def probe_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PROBE
            await asyncio.sleep(PROBE)
            self.loop = max(self.loop, loop.time() - due)


async def close_once(
    case: str, server: dict[str, Any], watch: float, late: Lateness, round_trip: float
) -> dict[str, float]:
    """One session; milliseconds."""
    timed = Timed()
    media = LossyNetwork(loss=0.1, round_trip=round_trip, seed=3, media=timed) if case == "lossy" else timed
    async with AsyncExitStack() as stack:
        opening = neko_trio.open_session(
            **server, media=media, video="on_demand" if case == "demand" else "live", connect_timeout=30
        )
        session = await stack.enter_async_context(opening)
        await session.screen.frame()
        if case == "behind":
            put = session._parts.slot.put

            def slow(frame: Frame) -> None:
                time.sleep(SLOWNESS)  # the decoder's thread
                put(frame)

            session._parts.slot.put = slow  # type: ignore[method-assign]  # one instance, one benchmark
        if case in ("nobody", "demand"):
            await trio.sleep(watch)
        else:
            frames = await stack.enter_async_context(session.screen.frames(buffer=4))
            with trio.move_on_after(watch):
                while True:
                    await anext(frames)
        if case == "behind":
            peer = session.statistics().peer
            assert peer is not None
            assert peer.video is not None
            behind = peer.video.frames_received - peer.video.frames_decoded
            assert behind >= 4, f"the decoder kept up: {behind} frames behind"
        late.take()
        await trio.sleep(0.1)
        floor_loop, floor_trio = late.take()
        began = perf_counter()
    took = perf_counter() - began
    loop, trio_ = late.take()
    return {
        "close": took * 1000,
        "peer": timed.seconds * 1000,
        "loop": loop,
        "trio": trio_,
        "floor_loop": floor_loop,
        "floor_trio": floor_trio,
    }


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        server, _desktop = await stack.enter_async_context(named_or_moving(arguments, pre_encoded=True))
        lease = await stack.enter_async_context(bridge.open_lease())  # the loop outlives the sessions
        late = Lateness()
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(late.probe_trio)
        nursery.start_soon(lease.run, late.probe_loop)
        for case in arguments.cases:
            runs: list[dict[str, float]] = []
            failures: list[str] = []
            for number in range(arguments.count + 1):
                try:
                    run = await close_once(case, server, arguments.watch, late, arguments.round_trip / 1000)
                except (neko_trio.NekoError, trio.TooSlowError) as error:
                    failures.append(f"{type(error).__name__}: {error}"[:200])
                    continue
                runs.extend([run] if number else [])
            row = {
                "case": case,
                "closes": len(runs),
                "failures": failures,
                "milliseconds": {key: rounded([run[key] for run in runs]) for key in (runs[0] if runs else ())},
            }
            rows.append(row)
            print(line(row), file=sys.stderr, flush=True)
        nursery.cancel_scope.cancel()
    return {"rows": rows, "failures": judge(rows, arguments), **environment()}


def judge(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> list[str]:
    failures = [f"{row['case']}: {failure}" for row in rows for failure in row["failures"]]
    for row in rows:
        figures = {key: values["median"] for key, values in row["milliseconds"].items()}
        if not figures:
            failures.append(f"{row['case']}: no close at all")
            continue
        limit = CLOSE_LIMIT + (2 * arguments.round_trip if row["case"] == "lossy" else 0)
        if figures["close"] >= limit:
            failures.append(f"{row['case']}: the close took {figures['close']} ms")
        failures += [
            f"{row['case']}: the {thread} thread was blocked for {figures[thread]} ms"
            for thread in ("loop", "trio")
            if figures[thread] - figures[f"floor_{thread}"] >= BLOCK_LIMIT
        ]
    return failures


def line(row: dict[str, Any]) -> str:
    shown = "".join(
        f"  {key} {values['median']:.1f}/{values['p95']:.1f}" for key, values in row["milliseconds"].items()
    )
    return f"{row['case']:<9}{row['closes']} closes, ms (median/p95):{shown}{'  FAILED' if row['failures'] else ''}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-n", "--count", type=int, default=30, help="closes of each case, besides one that warms up")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--watch", type=float, default=1.0, help="seconds before each close")
    parser.add_argument("--round-trip", type=float, default=20.0, metavar="MS", help="of the case lossy")
    add_picture_options(parser)
    add_server_options(parser, "--url")
    add_json_option(parser)
    arguments = parser.parse_args()
    result = trio.run(measure, arguments)
    return report(result, arguments.json, failures=result["failures"])


if __name__ == "__main__":
    sys.exit(main())
