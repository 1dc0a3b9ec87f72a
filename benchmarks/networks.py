"""How long does a connect take on every network that a user has, against a real server, and beside plain aiortc?

    sudo python benchmarks/networks.py --neko ~/neko                      # every row, 50 connects each
    sudo python benchmarks/networks.py --neko ~/neko --rows default,nat,tcpmux-only -n 300 --rival-n 20
    python benchmarks/networks.py --list

Each row is a server's configuration, a network and what the client is asked. The script makes that network out of
network namespaces, starts the server (the binary given by ``--neko``), an X server and a TURN server (coturn) in it,
connects from the client's namespace, and removes all of it again. It looks at what the network counted and at the path
used, so that a row is what it says. Times are milliseconds from the WebSocket's dial, the login not counted; the first
connect of each row warms up and is left out. A table goes to standard error, the figures as JSON to standard output.

Exit code 1: a row missed its goal, failed, hung, or was not what it says. A row whose program is missing is skipped
and says so. The server is built from its source, https://github.com/m1k1o/neko: ``cd server && go build ./cmd/neko``.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import trio
from figures import add_json_option, environment, report
from netlab.lab import missing_programs, remove_leftovers
from netlab.measure import measure
from netlab.programs import LabError, leaves
from netlab.row import Row
from netlab.rows import ROWS
from netlab.shop import open_workshop, why_not


async def all_rows(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every row asked for, in order. A signal ends it early, and all of it."""
    results: dict[str, Any] = {}
    complete = False
    async with trio.open_nursery() as nursery:
        await nursery.start(end_by_signal, nursery.cancel_scope)
        await remove_leftovers()
        async with open_workshop(arguments) as shop:
            say(HEADER)
            for row in arguments.rows:
                reason = why_not(row, shop)
                result: dict[str, Any] = {"what": row.what, "skipped": reason}
                results[row.name] = result
                if reason is None:
                    try:
                        result |= await measure(row, shop)
                    except* LabError as group:
                        result["problems"] = [f"the laboratory: {error}" for error in leaves(group)]
                    compare(result, results.get("default"))
                say(table_line(row, result))
            complete = True
        nursery.cancel_scope.cancel()
    return {
        "rows": results,
        "ended_early": not complete,
        "take_control": not arguments.no_control,
        "freeze": arguments.freeze,
        **environment(),
        "finished": time.strftime("%Y-%m-%d %H:%M:%S%z"),
    }


def compare(result: dict[str, Any], default: dict[str, Any] | None) -> None:
    """The ratio to the default row of this run, where the two were not measured alternately."""
    if result.get("ratio") is None and default and "connected" in default and "connected" in result:
        result["ratio"] = round(result["connected"]["median"] / default["connected"]["median"], 3)


async def end_by_signal(
    scope: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        task_status.started()
        async for _number in signals:
            scope.cancel()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


HEADER = f"{'row':<22}{'connected':>10}{'p99':>8}{'frame':>9}{'p99':>8}{'ratio':>7}{'n':>5}  {'aiortc':<24}goal"


def table_line(row: Row, result: dict[str, Any]) -> str:
    """The row in the table: figures, the rival's, and whether the goal was met."""
    if result.get("skipped"):
        return f"{row.name:<22}skipped: {result['skipped']}"
    line = f"{row.name:<22}"
    for mark, width in (("connected", 10), ("first_frame", 9)):
        for key, wide in (("median", width), ("p99", 8)):
            line += f"{result[mark][key]:{wide}.1f}" if mark in result else f"{'-':>{wide}}"
    line += f"{result['ratio']:7.2f}" if result.get("ratio") else " " * 7
    line += f"{result.get('connects', 0):5}  {rival_cell(result.get('rival_aiortc')):<24}"
    line += "missed: " + "; ".join(result["problems"]) if result["problems"] else f"ok: {row.goal}"
    if row.goal.kind == "fails" and not result["problems"]:
        line += f" ({result['failed_after_ms'] / 1000:.1f} s)"
    if "round_trips" in result:
        line += " ({connected} and {first_frame} round trips)".format(**result["round_trips"])
    return line


def rival_cell(rival: dict[str, Any] | None) -> str:
    if rival is None:
        return ""
    if not rival["connects"]:
        why = next(iter(rival["failures"]), "nothing").split(":")[0]
        return "hangs" if rival["hung"] or why == "TimeoutError" else why[:22]
    failed = sum(rival["failures"].values())
    return f"{rival['connected']['median']:.0f} / {rival['first_frame']['median']:.0f}" + (
        f", {failed} failed" if failed else ""
    )


def rows_named(text: str) -> list[Row]:
    by_name = {row.name: row for row in ROWS}
    unknown = [name for name in text.split(",") if name not in by_name]
    if unknown:
        raise argparse.ArgumentTypeError(f"no such row: {', '.join(unknown)} (see --list)")
    return [by_name[name] for name in text.split(",")]


def neko_binary(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not os.access(path, os.X_OK) or path.is_dir():
        hint = "build one from https://github.com/m1k1o/neko with: cd server && go build -o neko ./cmd/neko"
        raise argparse.ArgumentTypeError(f"{text} is no program; {hint}")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--neko", type=neko_binary, metavar="PATH", help="a built server (see the end of this script's docstring)"
    )
    parser.add_argument("--rows", type=rows_named, default=list(ROWS), metavar="A,B", help="only these rows")
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    parser.add_argument("-n", "--count", type=int, default=50, help="connects a row, besides the one that warms up")
    parser.add_argument("--rival-n", dest="rival_count", type=int, default=5, help="of plain aiortc; 0 leaves it out")
    parser.add_argument("--rival-patience", type=float, default=12.0, metavar="S", help="seconds until it hangs")
    parser.add_argument("--no-control", action="store_true", help="with IceOptions(take_control=False)")
    parser.add_argument("--freeze", action="store_true", help="clients call gc.freeze() after the warm-up")
    add_json_option(parser, default="-")
    arguments = parser.parse_args()
    if arguments.list:
        for row in ROWS:
            print(f"{row.name:<22}{row.what} [{row.goal}]")
        return 0
    if arguments.neko is None:
        parser.error("--neko PATH is needed: " + " ".join((__doc__ or "").split("\n\n")[-1].split()))
    problem = missing_programs()
    if problem:
        parser.error(problem)
    result = trio.run(all_rows, arguments)
    failures = [f"{name}: {problem}" for name, row in result["rows"].items() for problem in row.get("problems", ())]
    if result["ended_early"]:
        failures.append("ended early: everything that was started is ended and removed")
    return report(result, arguments.json, failures=failures)


if __name__ == "__main__":
    sys.exit(main())
