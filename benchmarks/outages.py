"""How soon after an outage do pictures flow again, without the caller doing anything?

    python benchmarks/outages.py http://desk:8080 --break "kill -STOP 1234" --mend "kill -CONT 1234" --seconds 8 -n 5

A session with ``reconnect=True`` reads its frames. Each round runs the command that breaks something, waits, and runs
the command that mends it; from that one's end on the time is measured, in milliseconds: to the first frame that arrived
after it (*frame*), to a new picture on which the caller's own click is seen to be confirmed (*input*), which shows that
the host role is back, too. ``noticed`` is how long after the break the loss was known; a round without it did not need
a new connection.

Exit code 1: a round took longer than ``--goal`` milliseconds, or the session was lost.
"""

from __future__ import annotations

import argparse
import sys
from time import perf_counter
from typing import Any

import trio
from figures import add_json_option, environment, report, rounded
from logs import add_log_option, log_as_wanted
from servers import add_server_options, named_or_simulated

import neko_trio
from neko_trio import InputInDoubt, NekoError, Reconnect, Session

PATIENCE = 30.0
"""Seconds after the mending in which the pictures must be back."""
STEADY = 5.5
"""Seconds of undisturbed pictures before each round: with less it would belong to the outage before."""


async def run(command: str) -> None:
    """A command of the caller's; raises ``CalledProcessError`` when it fails."""
    await trio.run_process(["/bin/sh", "-c", command])


async def outage(session: Session, arguments: argparse.Namespace) -> dict[str, float | None]:
    """One round: seconds by name, ``None`` for what did not happen."""
    noticed: float | None = None
    epoch = session.epoch
    began = perf_counter()

    async def notice() -> None:
        nonlocal noticed
        await session._parts.up.wait(lambda up: not up)
        noticed = perf_counter() - began

    async with trio.open_nursery() as nursery:
        nursery.start_soon(notice)
        try:
            await run(arguments.broken)
            await trio.sleep(arguments.seconds)
        finally:
            with trio.move_on_after(PATIENCE, shield=True):
                await run(arguments.mend)
        mended = perf_counter()
        with trio.fail_after(PATIENCE):
            async with session.screen.frames() as frames:
                async for frame in frames:
                    if frame.arrived > mended:
                        break
            shown = perf_counter() - mended
            await acted(session)
        confirmed = perf_counter() - mended
        nursery.cancel_scope.cancel()
    return {"noticed": noticed, "frame": shown, "input": confirmed, "peers": session.epoch - epoch}


async def acted(session: Session) -> None:
    """The caller's next input, confirmed; what was in doubt before is told first, once."""
    while True:
        try:
            await session.mouse.move(11, 11)
            await session.flush()
        except InputInDoubt:
            continue
        return


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    rounds: list[dict[str, float | None]] = []
    lost: str | None = None
    async with named_or_simulated(arguments) as server:
        try:
            policy = Reconnect(limit=arguments.seconds + PATIENCE)
            async with neko_trio.open_session(**server, reconnect=policy) as session, session.control():
                for number in range(arguments.count):
                    await session.screen.frame(fresh=True)
                    await trio.sleep(STEADY + 0.1 * number)
                    rounds.append(await outage(session, arguments))
        except (NekoError, trio.TooSlowError) as error:
            lost = f"{type(error).__name__}: {error}"
    shown = {
        name: rounded(values, scale=1000)
        for name in ("noticed", "frame", "input")
        if (values := [value for each in rounds if (value := each[name]) is not None])
    }
    peers = [each["peers"] for each in rounds]
    return {"url": server["url"], "rounds": len(rounds), **shown, "new_peers": peers, "lost": lost, **environment()}


def table(result: dict[str, Any]) -> str:
    lines = [f"{result['rounds']} outages, new peers in each: {result['new_peers']}"]
    lines += [
        f"  {name:<8}{result[name]['median']:9.0f} ms, max {result[name]['max']:9.0f}"
        for name in ("noticed", "frame", "input")
        if name in result
    ]
    return "\n".join(lines)


def failures(result: dict[str, Any], goal: float) -> list[str]:
    """What was missed."""
    found = [f"the session was lost: {result['lost']}"] if result["lost"] else []
    if "frame" in result and result["frame"]["max"] > goal:
        found.append(f"pictures came after {result['frame']['max']:.0f} ms, the goal is {goal:.0f}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_server_options(parser)
    parser.add_argument("--break", dest="broken", required=True, metavar="COMMAND", help="what breaks it, a command")
    parser.add_argument("--mend", required=True, metavar="COMMAND", help="what mends it, done when pictures can flow")
    parser.add_argument("--seconds", type=float, default=8.0, help="between the two")
    parser.add_argument("-n", "--count", type=int, default=5, help="rounds")
    add_log_option(parser)
    parser.add_argument("--goal", type=float, default=1500.0, metavar="MS")
    add_json_option(parser)
    arguments = parser.parse_args()
    log_as_wanted(arguments)
    result = trio.run(measure, arguments)
    return report(result, arguments.json, table=table(result), failures=failures(result, arguments.goal))


if __name__ == "__main__":
    sys.exit(main())
