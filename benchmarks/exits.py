"""Is the process gone within a second, whenever and however it ends?

    python benchmarks/exits.py                                  # a simulator, 25 processes of each case
    python benchmarks/exits.py http://127.0.0.1:8080 --password neko --admin-password admin --stop PID

Each process connects, works and closes, again and again, and is ended at a random moment, from its start on, imports
included:

    sigint, sigterm    by Ctrl-C; by SIGTERM that the program has made a KeyboardInterrupt of
    worker             by Ctrl-C while a worker thread of the program's encodes pictures
    blocked            by Ctrl-C while the trio thread is in C code that sees no signal for half a second
    error, exit        by an exception of its own in the block; by sys.exit(3) there
    stopped            by Ctrl-C with the host role while the server is stopped (SIGSTOP): no goodbye is answered

    bare               by Ctrl-C without a session, the media libraries loaded: what Python itself takes on this machine

Times are from the signal, or the raise, to the end of the process; the limit is a second, or half a second more than
the slowest bare one took, if that is more. One process in two runs in Python's development mode, which tells of sockets
left open and is slower: its time is not judged. Standard error must hold the one traceback that is
due, or nothing, and no word of a thread, a task or a socket that was left; the exit code must be that of the way. The
server must have nothing left of them all. Exit code 1 when one of these does not hold.

`--stop` is the process id of the server named, if the case `stopped` may stop it; the simulator's is known.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import trio
from cycles import AtServer, Server, open_server, work
from figures import add_json_option, environment, report, rounded
from servers import add_server_options

import neko_trio
from neko_trio._wiring import AiortcMedia

LIMIT, ABOVE_BARE = 1.0, 0.5
"""Seconds."""
BLOCKED = 0.5
"""Seconds that the trio thread is blocked."""
SPREAD = 1.5
"""Seconds from the start over which the moments are spread."""
PATIENCE = 30.0
NOISE = (
    *("Exception ignored", "Exception in thread", "Fatal Python error", "ExceptionGroup", "ResourceWarning"),
    *("never awaited", "never retrieved", "was destroyed", "unclosed", "Event loop is closed"),
)
IMPORTED = "imported\n"
"""What a process says once Python's own start and the program's imports are over: what an interrupt of an import says
is Python's."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way to end."""

    code: int
    """The exit code that it must have; negative: the signal that ended it."""
    last: str
    """The last line of standard error, ``""``: nothing is written there."""
    send: signal.Signals | None = signal.SIGINT
    limit: float = LIMIT


CASES = {
    "bare": Case(-signal.SIGINT, "KeyboardInterrupt", limit=PATIENCE),
    "sigint": Case(-signal.SIGINT, "KeyboardInterrupt"),
    "sigterm": Case(-signal.SIGINT, "KeyboardInterrupt", signal.SIGTERM),
    "worker": Case(-signal.SIGINT, "KeyboardInterrupt"),
    "blocked": Case(-signal.SIGINT, "KeyboardInterrupt", limit=LIMIT + BLOCKED),
    "error": Case(1, "ValueError: mine", None),
    "exit": Case(3, "", None),
    "stopped": Case(-signal.SIGINT, "KeyboardInterrupt"),
}


# -- the process that ends


def run_child(case: str, url: str, name: str, after: float) -> None:
    """Connect, work and close until ended."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started this in the background
    # The default handler itself would strike trio's own code, which protects itself from SIGINT alone.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    password = sys.stdin.readline().strip()
    say(IMPORTED)
    trio.run(child, case, url, name, password, after)


async def child(case: str, url: str, name: str, password: str, after: float) -> None:
    if case == "bare":
        await AiortcMedia().prepare()
        say("running\n")
        await trio.sleep_forever()
    ends = trio.current_time() + after
    while True:
        async with neko_trio.open_session(url, username=name, password=password) as session:
            if case == "worker":
                frame = await session.screen.frame()
                await trio.to_thread.run_sync(crunch, frame)
            elif case == "blocked":
                await session.screen.frame()
                say("running\n")
                # One call into C, which sees no signal before its end.
                hashlib.pbkdf2_hmac("sha256", b"", b"", int(BLOCKED * rounds_a_second()))
            elif case in ("error", "exit"):
                await trio.sleep_until(ends)
                say(f"raised {time.time()}\n")
                if case == "error":
                    raise ValueError("mine")
                sys.exit(3)
            elif case == "stopped":
                async with session.control(wait=True):
                    say("running\n")
                    await trio.sleep_forever()
            else:
                await work(session)


def rounds_a_second() -> float:
    began = time.perf_counter()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000)
    return 20_000 / (time.perf_counter() - began)


def crunch(frame: neko_trio.Frame) -> None:
    for _ in range(10):
        frame.to_ndarray().mean()


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


# -- the process that looks


@dataclass
class Row:
    """What came of one case."""

    case: str
    seconds: list[float] = field(default_factory=list)
    """Of those whose time is judged."""
    processes: int = 0
    during_import: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "case": self.case,
            "processes": self.processes,
            "during_import": self.during_import,
            "milliseconds": rounded(self.seconds, 0, scale=1000) if self.seconds else {},
            "above_a_second": sum(seconds > LIMIT for seconds in self.seconds),
        }


async def end_one(
    server: Server, row: Row, moments: random.Random, failures: list[str], stop: int | None, bare: float
) -> None:
    """Start one, end it, and look at what it leaves. ``bare``: seconds that Python itself took at most."""
    case = CASES[row.case]
    after, timed = moments.uniform(0, SPREAD), row.processes % 2 == 0
    row.processes += 1
    from_start = moments.random() < 0.2
    command = [sys.executable, *(() if timed else ("-X", "dev")), __file__, "--child"]
    command += [row.case, server.url, f"{server.name}-{row.case}"]
    process = await trio.lowlevel.open_process(
        [*command, str(after)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    said, errors = bytearray(), bytearray()
    imports_done, heard = trio.Event(), trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, process.stdout, said, {IMPORTED.encode(): imports_done, b"running": heard})
            nursery.start_soon(keep, process.stderr, errors, {})
            with trio.fail_after(PATIENCE):
                await process.stdin.send_all(server.password.encode() + b"\n")
                if row.case in ("bare", "stopped", "blocked"):
                    await heard.wait()
                    await trio.sleep(after / SPREAD * 0.3)
                elif case.send is not None:
                    if not from_start:
                        await imports_done.wait()
                    await trio.sleep(after)
                if row.case == "stopped" and stop is not None:
                    os.kill(stop, signal.SIGSTOP)
                sent = time.time()
                if case.send is not None:
                    process.send_signal(case.send)
                await process.wait()
                ended = time.time()
    finally:
        if row.case == "stopped" and stop is not None:
            os.kill(stop, signal.SIGCONT)
        if process.poll() is None:
            process.kill()
            with trio.CancelScope(shield=True):  # killed: ends at once
                await process.wait()
    if case.send is None:
        sent = float(bytes(said).rpartition(b"raised ")[2] or ended)
    if timed:
        row.seconds.append(ended - sent)
    text = errors.decode(errors="replace")
    imported = IMPORTED.encode() in said
    row.during_import += not imported
    found = problems(case, process.returncode or 0, text, imported)
    limit = max(case.limit, bare + ABOVE_BARE + case.limit - LIMIT)
    if timed and ended - sent > limit:
        found.append(f"took {ended - sent:.2f} s, {limit:.2f} allowed")
    failures += [f"{row.case}, {after:.3f} s: {problem}" for problem in found]


def problems(case: Case, code: int, errors: str, imported: bool) -> list[str]:
    """What is wrong with how a process ended."""
    if not imported:
        return [] if code else ["exit code 0"]
    found = []
    if code != case.code:
        found.append(f"exit code {code}")
    last = errors.rstrip().rpartition("\n")[2]
    if last != case.last:
        found.append(f"ended with {errors[-600:]!r}")
    found += [f"said {word!r}: {errors[-1500:]!r}" for word in NOISE if word in errors]
    return found


async def keep(stream: trio.abc.ReceiveStream | None, kept: bytearray, words: dict[bytes, trio.Event]) -> None:
    """Keep what a process says; set the events of the words that it has said."""
    assert stream is not None
    async for part in stream:
        kept += part
        for word, heard in words.items():
            if word in kept:
                heard.set()


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    moments, failures = random.Random(arguments.seed), list[str]()
    async with open_server(arguments) as server:
        stop = server.pid if arguments.url is None else arguments.stop
        at_server = AtServer(server)
        failures += await at_server.look()
        rows, bare = [], 0.0
        for name in dict.fromkeys(["bare", *arguments.cases]):
            if name == "stopped" and stop is None:
                continue
            row = Row(name)
            rows.append(row)
            for _ in range(arguments.count):
                await end_one(server, row, moments, failures, stop, bare)
            if name == "bare":
                bare = max(row.seconds)
            if name != "stopped":  # to one that is stopped nobody can say goodbye
                failures += [f"{name}: {line}" for line in await at_server.look()]
            print(line(row), file=sys.stderr, flush=True)
    return {"seed": arguments.seed, "rows": [row.as_json() for row in rows], "failures": failures, **environment()}


def line(row: Row) -> str:
    shown = rounded(row.seconds, 0, scale=1000)
    return f"{row.case:<9}{row.processes:4} processes, {row.during_import:3} in their imports; ms: {shown}"


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        _script, _child, case, url, name, after = sys.argv
        run_child(case, url, name, float(after))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-n", "--count", type=int, default=25, help="processes of each case")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--stop", type=int, metavar="PID", help="of the server named, which may be stopped")
    parser.add_argument("--seed", type=int, default=1)
    add_server_options(parser, admin=True)
    add_json_option(parser)
    arguments = parser.parse_args()
    result = trio.run(measure, arguments)
    return report(result, arguments.json, failures=result["failures"])


if __name__ == "__main__":
    sys.exit(main())
