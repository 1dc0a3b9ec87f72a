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
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio
from figures import add_json_option, environment, report, rounded
from servers import add_server_options, named_or_simulated

import neko_trio
from neko_trio._timeline import MARKS
from neko_trio._wiring import AiortcMedia
from neko_trio.media.peer_api import Peer, PeerSetup

FRAME_PATIENCE = 10.0
"""Seconds to wait for the first frame before the connect counts as failed."""


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


async def connect_once(options: dict[str, Any]) -> dict[str, float]:
    """One connect; milliseconds from the dial by mark."""
    async with neko_trio.open_session(**options) as session:
        with trio.fail_after(FRAME_PATIENCE):
            await session.screen.frame()
        timeline = session.timeline
        return {name: timeline.between("dial", name) * 1000 for name, _at in timeline.marks}


def run_rival(server: dict[str, Any]) -> dict[str, float]:
    """One connect of plain aiortc, in an asyncio loop of its own."""
    import asyncio

    from plain_aiortc import connect_once as plain

    return asyncio.run(plain(**server))


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    runs: list[dict[str, float]] = []
    rivals: list[dict[str, float]] = []
    failures: Counter[str] = Counter()
    rival_failures: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(named_or_simulated(arguments, codec=arguments.codec))
        options = dict(server)
        if arguments.before_answer:
            options["media"] = SlowAnswer(arguments.before_answer / 1000)
        if arguments.relay:
            options["ice"] = neko_trio.IceOptions(relay_only=True)
        for number in range(arguments.count + 1):
            try:
                run = await connect_once(options)
            except (neko_trio.NekoError, trio.TooSlowError) as error:
                failures[f"{type(error).__name__}: {error}"[:200]] += 1
                continue
            if number:
                runs.append(run)
            await trio.sleep(arguments.pause / 1000)
            if arguments.rival:
                try:
                    rival = await trio.to_thread.run_sync(run_rival, server)
                except OSError as error:
                    rival_failures[f"{type(error).__name__}: {error}"[:200]] += 1
                else:
                    rivals.extend([rival] if number else [])
                await trio.sleep(arguments.pause / 1000)
    marks = [mark for mark in MARKS if any(mark in run for run in runs)]
    return {
        "url": server["url"],
        "connects": len(runs),
        "failures": dict(failures),
        "before_answer_ms": arguments.before_answer,
        "milliseconds_from_dial": {
            mark: rounded([run[mark] for run in runs if mark in run])
            for mark in marks
            if MARKS.index(mark) >= MARKS.index("dial")
        },
        "rival_aiortc": {
            "connects": len(rivals),
            "failures": dict(rival_failures),
            **{mark: rounded([run[mark] for run in rivals]) for mark in ("connected", "first_frame") if rivals},
        }
        if arguments.rival
        else None,
        **environment(),
        "bytecode_written": not sys.dont_write_bytecode,
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
    lines.append(", ".join(f"{name} {number}" for name, number in result["versions"].items()))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_server_options(parser)
    parser.add_argument("-n", "--count", type=int, default=50, help="connects, besides the one that warms up")
    parser.add_argument("--codec", choices=("vp8", "h264"), default="vp8", help="of the simulator")
    parser.add_argument("--before-answer", type=float, default=0, metavar="MS", help="pause before each answer")
    parser.add_argument("--relay", action="store_true", help="use TURN relays only")
    parser.add_argument("--pause", type=float, default=50, metavar="MS", help="between two connects")
    parser.add_argument("--rival", action="store_true", help="a connect of plain aiortc after each of ours")
    add_json_option(parser)
    arguments = parser.parse_args()
    result = trio.run(measure, arguments)
    failures = [f"{count} x {what}" for what, count in result["failures"].items()]
    if not result["connects"]:
        failures.append("not one connect")
    return report(result, arguments.json, table=table(result), failures=failures)


if __name__ == "__main__":
    sys.exit(main())
