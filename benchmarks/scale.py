"""How many sessions does one process carry, and what does each cost?

    python benchmarks/scale.py                                      # 1, 10, 50, 100 sessions, on demand and live
    python benchmarks/scale.py --ways demand --counts 1 100 --seconds 60
    python benchmarks/scale.py --ways live --counts 20 --threads 1 2 4 --processes 1 2

*demand*: each session (``video="on_demand"``) takes a picture every ``--every`` seconds; the latency is that of
``screen.frame()``. *live*: each session receives its video and nobody looks; with ``--look`` one reader each shows
every picture. ``--threads`` spreads the sessions over asyncio threads in the process, ``--processes`` over processes.

The sessions are in processes of their own, the servers are simulators in another, ``--rooms`` of them, because every
member of a room hears of every switch of every other's video. Their stream, a page of text that scrolls in a window
(720p: 2 Mbit/s, 250 packets per second, keyframes of 110 kB; with ``--light`` a desktop at rest), was encoded
beforehand. The CPU is that of the client, in cores; *loop* and *trio* are the threads' share of it; *lag* is how late a
timer of the asyncio loop fires, p99. The servers' own CPU is shown because they need the same machine.

Exit code 1: a session failed, or 100 sessions on demand needed a core or more, or their p95 was three times that of
one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import trio
from figures import add_json_option, environment, percentile, report, rounded
from moving_server import add_picture_options, size_of
from servers import run_server, say_and_serve, started

import neko_trio
from neko_trio._wiring import AiortcMedia
from neko_trio.media import bridge
from neko_trio.simulator import open_simulator
from neko_trio.testing import MovingDesktop

CONNECTING = 8
"""Sessions that connect at the same time."""
PROBE = 0.02
"""Seconds between two looks at how late the loop is."""
PATIENCE = 20.0
"""Seconds that a picture may take before it counts as failed."""


class Threads(AiortcMedia):
    """aiortc in several asyncio threads: each session takes the next of them."""

    def __init__(self, number: int) -> None:
        self._number, self._next = number, count()

    def open_lease(self) -> AbstractAsyncContextManager[bridge.Lease]:
        return bridge.open_lease(f"media-{next(self._next) % self._number}")


# -- the process with the sessions


async def run_worker(task: dict[str, Any]) -> dict[str, Any]:
    """Open the sessions, say so, wait for the word, measure."""
    media = Threads(task["threads"])
    latencies: list[float] = []
    failures: list[str] = []
    pictures = 0
    sessions: list[neko_trio.Session] = []
    connecting = trio.CapacityLimiter(CONNECTING)
    go, over = trio.Event(), trio.Event()
    ready, opened = trio.Event(), 0

    async def session(number: int, url: str) -> None:
        nonlocal opened, pictures
        options: dict[str, Any] = {"username": f"scale-{os.getpid()}-{number}", "password": task["password"][url]}
        options |= {"media": media, "video": "on_demand" if task["way"] == "demand" else "live"}
        try:
            async with AsyncExitStack() as stack:
                async with connecting:
                    opening = neko_trio.open_session(url, connect_timeout=60, **options)
                    live = await stack.enter_async_context(opening)
                    await live.screen.frame()
                sessions.append(live)
                opened += 1
                if opened == task["sessions"]:
                    ready.set()
                await go.wait()
                if task["way"] == "demand":
                    await demand(live, number)
                elif task["look"]:
                    async with live.screen.frames() as frames:
                        while not over.is_set():
                            await anext(frames)
                            pictures += 1
                await over.wait()
        except (neko_trio.NekoError, trio.TooSlowError) as error:
            failures.append(f"{type(error).__name__}: {error}"[:60])
            opened += 1
            if opened == task["sessions"]:
                ready.set()

    async def demand(live: neko_trio.Session, number: int) -> None:
        due = trio.current_time() + task["every"] * (number + 1) / task["sessions"]
        while not over.is_set():
            await trio.sleep_until(due)
            began = time.perf_counter()
            with trio.fail_after(PATIENCE):
                await live.screen.frame()
            latencies.append(time.perf_counter() - began)
            due = max(due + task["every"], trio.current_time())

    async with trio.open_nursery() as nursery:
        for number in range(task["sessions"]):
            nursery.start_soon(session, number, task["urls"][number % len(task["urls"])])
        await ready.wait()
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        go.set()
        await trio.sleep(task["warm_up"])
        latencies.clear()
        pictures = 0
        before = packets_received(sessions)
        figures = await measure_threads(task["seconds"])
        figures["packets_per_second"] = round((packets_received(sessions) - before) / task["seconds"])
        figures["pictures"] = len(latencies) + pictures
        over.set()
    figures["latencies"] = latencies
    figures["failures"] = failures
    figures["rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return figures


def packets_received(sessions: list[neko_trio.Session]) -> int:
    """Video packets, all sessions together."""
    peers = [session.statistics().peer for session in sessions]
    return sum(peer.video.packets_received for peer in peers if peer and peer.video)


async def measure_threads(seconds: float) -> dict[str, Any]:
    """The process's CPU and that of its loops and of trio, and how late the loops are."""
    loops = bridge.open_loops()
    named = {thread.name: thread for thread in threading.enumerate()}
    threads = {name: named[f"neko-trio-{name}"] for name in loops}
    late: list[float] = []
    probes = [await trio.to_thread.run_sync(_probe, loop, late) for loop in loops.values()]
    before = {name: _thread_cpu(thread) for name, thread in threads.items()}
    trio_before, cpu, began = time.thread_time(), time.process_time(), time.perf_counter()
    await trio.sleep(seconds)
    took = time.perf_counter() - began
    core = (time.process_time() - cpu) / took
    figures = {
        "core": round(core, 3),
        "loop_core": round(sum(_thread_cpu(thread) - before[name] for name, thread in threads.items()) / took, 3),
        "trio_core": round((time.thread_time() - trio_before) / took, 3),
    }
    for probe in probes:
        probe.set()
    figures["lag_ms"] = round(1000 * percentile(late, 0.99), 2)
    return figures


def _thread_cpu(thread: threading.Thread) -> float:
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def _probe(loop: asyncio.AbstractEventLoop, late: list[float]) -> threading.Event:
    """Note how late a timer of the loop fires, again and again, until the event is set."""
    end = threading.Event()

    def fire(due: float) -> None:
        late.append(loop.time() - due)
        if not end.is_set():
            loop.call_at(loop.time() + PROBE, fire, loop.time() + PROBE)

    loop.call_soon_threadsafe(lambda: fire(loop.time()))
    return end


# -- the process with the servers


@dataclass(frozen=True)
class Servers:
    """Simulators that are rooms of their own, in one process."""

    pid: int
    passwords: dict[str, str]
    """By URL."""


async def serve(task: dict[str, Any]) -> None:
    """Run the simulators and say where they are."""
    size = task["size"][0], task["size"][1]
    async with AsyncExitStack() as stack:
        passwords = {}
        for _ in range(task["rooms"]):
            desktop = None if task["light"] else MovingDesktop(size)
            opening = open_simulator(
                size=size, rate=task["rate"], codec=task["codec"], desktop=desktop, pre_encoded=True
            )
            simulator = await stack.enter_async_context(opening)
            passwords[simulator.url] = simulator.password
        await say_and_serve(passwords)


@asynccontextmanager
async def open_servers(arguments: argparse.Namespace) -> AsyncIterator[Servers]:
    task = {key: getattr(arguments, key) for key in ("rooms", "rate", "codec", "light")}
    task["size"] = size_of(arguments)
    async with started(__file__, "--serve", json.dumps(task)) as servers:
        yield Servers(servers.pid, servers.said)


# -- the measuring


async def measure(
    way: str, sessions: int, threads: int, processes: int, arguments: argparse.Namespace, servers: Servers
) -> dict[str, Any]:
    """One row: the same number of sessions in each process, started together."""
    parts = [sessions // processes + (index < sessions % processes) for index in range(processes)]
    task = {
        "way": way,
        "threads": threads,
        "seconds": arguments.seconds,
        "warm_up": arguments.every + 1 if way == "demand" else 2,
        "every": arguments.every,
        "look": arguments.look,
        "urls": list(servers.passwords),
        "password": servers.passwords,
    }
    results: list[dict[str, Any]] = []
    ready, all_ready = 0, trio.Event()

    async def work(part: int) -> None:
        nonlocal ready
        command = [sys.executable, __file__, "--worker", json.dumps({**task, "sessions": part})]
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        async with process.stdin, process.stdout:
            try:
                lines = _lines(process.stdout)
                if await anext(lines, "") != "ready":
                    raise RuntimeError(f"a process with {part} sessions ended before it was ready")
                ready += 1
                if ready == processes:
                    all_ready.set()
                await all_ready.wait()
                await process.stdin.send_all(b"go\n")
                results.append(json.loads(await anext(lines)))
            finally:
                if process.poll() is None:
                    process.terminate()
                with trio.CancelScope(shield=True):
                    await process.wait()

    server_cpu, began = _process_cpu(servers.pid), time.perf_counter()
    async with trio.open_nursery() as nursery:
        for part in parts:
            nursery.start_soon(work, part)
    latencies = [latency for result in results for latency in result.pop("latencies")]
    server_seconds = _process_cpu(servers.pid) - server_cpu
    return {
        "way": way,
        "sessions": sessions,
        "threads": threads,
        "processes": processes,
        **{key: round(sum(result[key] for result in results), 3) for key in ("core", "loop_core", "trio_core")},
        "packets_per_second": sum(result["packets_per_second"] for result in results),
        "pictures_per_second": round(sum(result["pictures"] for result in results) / arguments.seconds, 1),
        "lag_ms": max(result["lag_ms"] for result in results),
        "latency_ms": rounded(latencies, scale=1000) if latencies else None,
        "rss_mib": [result["rss_mib"] for result in results],
        "server_core_with_connecting": round(server_seconds / (time.perf_counter() - began), 3),
        "failures": [failure for result in results for failure in result["failures"]],
    }


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    rest = b""
    async for part in stream:
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line.decode()


def _process_cpu(pid: int) -> float:
    """Seconds of CPU that a process has used (proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(open_servers(arguments))
        for way in arguments.ways:
            for sessions in arguments.counts:
                for threads in arguments.threads:
                    for processes in arguments.processes:
                        if max(threads, processes) <= sessions:
                            row = await measure(way, sessions, threads, processes, arguments, servers)
                            rows.append(row)
                            print(line(row), file=sys.stderr, flush=True)
    return {
        "rows": rows,
        "failures": judge(rows),
        "size": size_of(arguments),
        "rate": arguments.rate,
        "codec": arguments.codec,
        "light": arguments.light,
        "rooms": arguments.rooms,
        "every": arguments.every,
        "seconds": arguments.seconds,
        **environment(),
    }


def judge(rows: list[dict[str, Any]]) -> list[str]:
    failures = [
        f"{row['way']} {row['sessions']}: {times} x {failure}"
        for row in rows
        for failure, times in Counter(row["failures"]).most_common(5)
    ]
    plain = [row for row in rows if row["way"] == "demand" and row["threads"] == row["processes"] == 1]
    alone = next((row for row in plain if row["sessions"] == 1 and row["latency_ms"]), None)
    for row in plain:
        if row["sessions"] == 100 and row["core"] >= 1:
            failures.append(f"100 sessions on demand: {row['core']} core")
        if alone and row["sessions"] == 100 and row["latency_ms"]["p95"] >= 3 * alone["latency_ms"]["p95"]:
            failures.append(
                f"100 sessions on demand: p95 {row['latency_ms']['p95']} ms, one has {alone['latency_ms']['p95']}"
            )
    return failures


def line(row: dict[str, Any]) -> str:
    latency = row["latency_ms"]
    failed = f"  FAILED {len(row['failures'])}" if row["failures"] else ""
    shown = f"  picture {latency['median']:6.1f} ms, p95 {latency['p95']:6.1f}" if latency else ""
    return (
        f"{row['way']:<7}{row['sessions']:4} sessions {row['threads']} threads {row['processes']} processes: "
        f"{row['core']:6.3f} core (loop {row['loop_core']:.3f}, trio {row['trio_core']:.3f}),"
        f" lag {row['lag_ms']:.0f} ms, {row['packets_per_second']} packets/s,"
        f" {row['pictures_per_second']:6.1f} pictures/s{shown}, {max(row['rss_mib'])} MiB,"
        f" server {row['server_core_with_connecting']:.2f}{failed}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ways", nargs="+", choices=("demand", "live"), default=["demand", "live"])
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 10, 50, 100])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--processes", nargs="+", type=int, default=[1])
    parser.add_argument("--rooms", type=int, default=10, help="simulators")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each row")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two pictures of a session, on demand")
    parser.add_argument("--light", action="store_true", help="a desktop at rest instead of the page of text")
    parser.add_argument("--look", action="store_true", help="live: a reader for each session")
    add_picture_options(parser)
    add_json_option(parser)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return run_server(serve, json.loads(arguments.serve))
    if arguments.worker:
        print(json.dumps(trio.run(run_worker, json.loads(arguments.worker))), flush=True)
        return 0
    result = trio.run(measure_all, arguments)
    return report(result, arguments.json, failures=result["failures"])


if __name__ == "__main__":
    sys.exit(main())
