"""How long does a connect take, and where does the time go?

    python benchmarks/connect.py                                   # to a simulator in a process of its own
    python benchmarks/connect.py http://desk:8080 --password neko  # to a server
    python benchmarks/connect.py -n 300 --before-answer 100 --json results.json

Connects one after the other, a fresh session with a login each, and waits for the first decoded frame. Times are
milliseconds from the WebSocket's dial, the login not counted. A connect that fails is counted and named, and makes the
exit code 1. The first connect warms up (imports, the server's pipeline) and is left out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

import trio

import neko_trio
from neko_trio._timeline import MARKS
from neko_trio._wiring import AiortcMedia
from neko_trio.media.peer_api import Peer, PeerSetup
from neko_trio.simulator import open_simulator_process

FRAME_PATIENCE = 10.0
"""Seconds to wait for the first frame before the connect counts as failed."""


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary(values: list[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile, maximum."""
    return {
        "median": percentile(values, 0.5),
        "p95": percentile(values, 0.95),
        "p99": percentile(values, 0.99),
        "max": max(values),
    }


class SlowAnswer(AiortcMedia):
    """The real media with a pause before each answer, as a slow network would make it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @asynccontextmanager
    async def _slowed(self, setup: PeerSetup) -> AsyncIterator[Peer]:
        async with super().open_peer_connection(setup) as peer:
            set_local_description = peer.set_local_description

            async def later() -> str:
                answer = await set_local_description()
                await trio.sleep(self._seconds)
                return answer

            peer.set_local_description = later  # type: ignore[method-assign]  # one instance, one benchmark
            yield peer

    def open_peer_connection(self, setup: PeerSetup) -> Any:
        return self._slowed(setup)


async def connect_once(url: str, options: dict[str, Any]) -> dict[str, float]:
    """One connect; milliseconds from the dial by mark."""
    async with neko_trio.open_session(url, **options) as session:
        with trio.fail_after(FRAME_PATIENCE):
            await session.screen.frame()
        timeline = session.timeline
        return {name: timeline.between("dial", name) * 1000 for name, _at in timeline.marks}


def run_rival(url: str, username: str, password: str) -> dict[str, float]:
    """One connect of plain aiortc, in an asyncio loop of its own."""
    import asyncio

    from plain_aiortc import connect_once as plain

    return asyncio.run(plain(url, username, password))


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    runs: list[dict[str, float]] = []
    rivals: list[dict[str, float]] = []
    failures: Counter[str] = Counter()
    rival_failures: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        if arguments.url is None:
            server = await stack.enter_async_context(open_simulator_process(codec=arguments.codec))
            url, username, password = server.url, server.username, server.password
        else:
            url, username, password = arguments.url, arguments.username, arguments.password
        options: dict[str, Any] = {"username": username, "password": password}
        if arguments.before_answer:
            options["media"] = SlowAnswer(arguments.before_answer / 1000)
        if arguments.relay:
            options["ice"] = neko_trio.IceOptions(relay_only=True)
        for number in range(arguments.count + 1):
            try:
                run = await connect_once(url, options)
            except (neko_trio.NekoError, trio.TooSlowError) as error:
                failures[f"{type(error).__name__}: {error}"[:200]] += 1
                continue
            if number:
                runs.append(run)
            await trio.sleep(arguments.pause / 1000)
            if arguments.rival:
                try:
                    rival = await trio.to_thread.run_sync(run_rival, url, username, password)
                except OSError as error:
                    rival_failures[f"{type(error).__name__}: {error}"[:200]] += 1
                else:
                    rivals.extend([rival] if number else [])
                await trio.sleep(arguments.pause / 1000)
    marks = [mark for mark in MARKS if any(mark in run for run in runs)]
    return {
        "url": url,
        "connects": len(runs),
        "failures": dict(failures),
        "before_answer_ms": arguments.before_answer,
        "milliseconds_from_dial": {
            mark: {key: round(value, 2) for key, value in summary([run[mark] for run in runs if mark in run]).items()}
            for mark in marks
            if MARKS.index(mark) >= MARKS.index("dial")
        },
        "rival_aiortc": {
            "connects": len(rivals),
            "failures": dict(rival_failures),
            **{
                mark: {key: round(value, 2) for key, value in summary([run[mark] for run in rivals]).items()}
                for mark in ("connected", "first_frame")
                if rivals
            },
        }
        if arguments.rival
        else None,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("neko-trio", "trio", "aiortc", "aioice", "av", "anyio")},
        },
        "bytecode_written": not sys.dont_write_bytecode,
        "processors": os.cpu_count(),
    }


def table(result: dict[str, Any]) -> str:
    lines = [f"{'ms from dial':<26}{'median':>9}{'p95':>9}{'p99':>9}{'max':>9}"]
    for mark, row in result["milliseconds_from_dial"].items():
        lines.append(f"{mark:<26}" + "".join(f"{row[key]:9.1f}" for key in ("median", "p95", "p99", "max")))
    lines.append(f"{result['connects']} connects to {result['url']}, {sum(result['failures'].values())} failed")
    rival = result["rival_aiortc"]
    if rival and rival["connects"]:
        lines += [
            f"{'plain aiortc ' + mark:<26}" + "".join(f"{value:9.1f}" for value in rival[mark].values())
            for mark in ("connected", "first_frame")
        ]
    if rival and rival["failures"]:
        lines.append(f"plain aiortc failed: {rival['failures']}")
    lines += [f"  {count} x {what}" for what, count in result["failures"].items()]
    lines.append(", ".join(f"{name} {number}" for name, number in result["versions"].items()))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("url", nargs="?", help="a Neko v3 server; without it a simulator is started")
    parser.add_argument("-n", "--count", type=int, default=50, help="connects, besides the one that warms up")
    parser.add_argument("--username", default="benchmark")
    parser.add_argument("--password", default=os.environ.get("NEKO_PASSWORD", "neko"))
    parser.add_argument("--codec", choices=("vp8", "h264"), default="vp8", help="of the simulator")
    parser.add_argument("--before-answer", type=float, default=0, metavar="MS", help="pause before each answer")
    parser.add_argument("--relay", action="store_true", help="use TURN relays only")
    parser.add_argument("--pause", type=float, default=50, metavar="MS", help="between two connects")
    parser.add_argument("--rival", action="store_true", help="a connect of plain aiortc after each of ours")
    parser.add_argument("--json", metavar="FILE", help="write the figures there (- for standard output)")
    arguments = parser.parse_args()
    result = trio.run(measure, arguments)
    if arguments.json == "-":
        print(json.dumps(result, indent=2))
    else:
        print(table(result))
        if arguments.json:
            with open(arguments.json, "w", encoding="utf-8") as file:
                json.dump(result, file, indent=2)
    return 1 if result["failures"] or not result["connects"] else 0


if __name__ == "__main__":
    sys.exit(main())
