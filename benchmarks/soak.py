"""Does anything drift when sessions live long and faults strike at random?

    python benchmarks/soak.py --minutes 30 --json soak.json --plot soak.png      # a simulator of its own
    python benchmarks/soak.py http://desk:8080 --password neko --minutes 600     # faults of the network only

One process holds three sessions with `reconnect=Reconnect(limit=300)`: one reads its live video, one takes a picture on
demand now and then, one has no video. They take control in turns, type, click, use the clipboard, chat and call REST;
some of the calls are cancelled. Short sessions come and go beside them. One fault after the other strikes, at random by
--seed, on the average --fault-every seconds behind the end of the one before:

    cut         the TCP connections are reset            blackhole   the media's datagrams are lost for 1 to 8 s
    loss        5 to 10 % of them are, for 5 to 15 s     stop        the server is stopped (SIGSTOP) for 1 to 8 s
    kill        it is killed, and is back 0 to 3 s later, started anew: it knows nobody
    shutdown    the same, with its goodbye

The gate that cuts and the server are processes of their own: memory and descriptors are the client's alone. What drops
datagrams is `neko_trio.testing.LossyNetwork`, which is in the client's.

Exit code 1: a session was lost, or its connection without a fault; an error that no fault explains (tells its traceback
and ends the run, unless --keep-going); sessions that were not well within --goal seconds of the end of a fault;
something left at the end. Or drift, the last third of the samples against the one before, in runs of nine minutes and
more: memory (the median of the resident set) more than 2 % above it; frames more than 1.5 times as late, on their way
or at the reader; more descriptors, threads or tasks, counted in the quietest of the moments without a fault.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import trio
from cycles import AtServer, Server, what_grew
from figures import add_json_option, environment, percentile, report
from left_behind import held, left, resident_of, workers_ended
from logs import add_log_option, log_as_wanted
from mortal_server import open_mortal
from plot import draw
from servers import add_server_options
from soak_faults import KINDS, NEEDS_OWN_SERVER, Faults, Ground, open_ground
from soak_figures import Sample, chart, drift, figures, median, table
from soak_work import Judge, Member, Passers, Tally

from neko_trio import NekoError
from neko_trio.media.bridge import open_loops
from neko_trio.testing._leaks import _tasks_of


class Recent(logging.Handler):
    """The newest lines of the package's log: what a failure is told with."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(relativeCreated)8.0f %(name)s: %(message)s"))
        self.lines: deque[str] = deque(maxlen=12)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class Soak:
    """One run."""

    def __init__(self, arguments: argparse.Namespace, server: Server, ground: Ground, recent: Recent) -> None:
        self._recent = recent
        self._arguments, self._server, self._ground = arguments, server, ground
        self.failures: list[str] = []
        self.samples: list[Sample] = []
        self.tally = Tally()
        self.grown: list[str] = []
        self.start = perf_counter()
        self._scope = trio.CancelScope()
        self._judge = Judge(self.tally, self._fail)
        kinds = [kind for kind in arguments.faults if ground.server is not None or kind not in NEEDS_OWN_SERVER]
        moments = random.Random(f"{arguments.seed} faults")
        self.faults = self._judge.faults = Faults(ground, moments, arguments.fault_every, kinds, self._fail)
        self.members = [
            Member(video, self._login(video), self.tally, self._judge, random.Random(f"{arguments.seed} {video}"))
            for video in ("live", "on_demand", "off")
        ]

        self.passers = [
            Passers(
                self._login(f"short-{number}"), self.tally, self._judge, random.Random(f"{arguments.seed} {number}")
            )
            for number in range(arguments.short)
        ]

    def _login(self, what: str) -> dict[str, Any]:
        return {
            "url": self._ground.url,
            "username": f"{self._server.name}-{what}",
            "password": self._server.password,
            "media": self._ground.network,
        }

    def _fail(self, what: str) -> None:
        self.failures.append(what)
        before = "\n".join(f"    {line}" for line in self._recent.lines)
        print(f"failed: {what}\n{before}", file=sys.stderr, flush=True)
        if not self._arguments.keep_going:
            self._scope.cancel()

    async def run(self) -> None:
        """All of it."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                for member in self.members:
                    nursery.start_soon(member.live)
                for member in self.members:
                    await member.up.wait()
                self.start = perf_counter()
                for passer in self.passers:
                    nursery.start_soon(passer.pass_for_ever)
                nursery.start_soon(self.faults.strike_for_ever, self.members)
                await self._watch(self._arguments.minutes * 60)
                nursery.cancel_scope.cancel()

    async def _watch(self, seconds: float) -> None:
        traced: tracemalloc.Snapshot | None = None
        began = trio.current_time()
        for number in range(1, int(seconds / self._arguments.sample_every) + 1):
            await trio.sleep_until(began + number * self._arguments.sample_every)
            self.samples.append(self._sample())
            self._tell(self.samples[-1])
            if self._arguments.tracemalloc and traced is None and number * self._arguments.sample_every >= seconds / 3:
                tracemalloc.start(12)
                traced = tracemalloc.take_snapshot()
            server = self._ground.server
            if server is not None and server.died:
                self._fail("the simulator has ended by itself")
        self.grown = what_grew(traced)

    def _sample(self) -> Sample:
        now, taken = held(), self.tally.take()
        tasks = [_tasks_of(loop) for loop in open_loops().values()]
        server = self._ground.server
        return Sample(
            at=perf_counter() - self.start,
            calm=self.faults.touch(perf_counter()) is None,
            resident=now.resident,
            objects=now.objects,
            fds=sum(now.fds.values()),
            threads=sum(now.threads.values()),
            trio_tasks=now.trio_tasks,
            asyncio_tasks=sum(len(found) for found in tasks if found is not None),
            server_resident=resident_of(str(server.pid)) if server is not None and server.runs else None,
            frames=len(taken["latencies"]),
            latency=median(taken["latencies"]),
            latency_p95=percentile(taken["latencies"], 0.95) if taken["latencies"] else None,
            age=median(taken["ages"]),
            fresh=median(taken["fresh"]),
            on_demand=median(taken["on_demand"]),
            connect=median(taken["connects"]),
            epochs={member.name: member.session.epoch for member in self.members},
            outages={member.name: member.session.statistics().outages for member in self.members},
        )

    def _tell(self, sample: Sample) -> None:
        shown = "unknown" if sample.latency is None else f"{1000 * sample.latency:.1f} ms"
        print(
            f"{sample.at / 60:6.1f} min {sample.resident:7.1f} MiB {sample.objects:7} objects {sample.fds:3} fds"
            f" {sample.threads:2} threads {sample.trio_tasks:3}+{sample.asyncio_tasks:3} tasks"
            f" {sample.frames:4} frames, latency {shown}; {len(self.failures)} failures;"
            f" {len(self.faults.struck)} faults, {sum(sample.outages.values())} outages",
            file=sys.stderr,
            flush=True,
        )

    def late(self) -> list[str]:
        """Recoveries beyond the goal."""
        goal = self._arguments.goal
        return [
            f"{name} was well {seconds:.2f} s after {fault.kind} at {(fault.began - self.start) / 60:.1f} minutes"
            for fault in self.faults.struck
            for name, seconds in fault.recoveries.items()
            if seconds > goal
        ]


def unexplained(left_there: Sequence[str], passers: Sequence[Passers]) -> list[str]:
    """What the server still lists of sessions whose goodbye no fault was in the way of. Ids begin with the name."""
    disturbed = {name for passer in passers for name in passer.disturbed}
    return [line for line in left_there if not any(f"session {name}-" in line for name in disturbed)]


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    name, recent, log = f"soak-{os.getpid()}", Recent(), logging.getLogger("neko_trio")
    log.addHandler(recent)
    log.setLevel(logging.INFO)
    warm_up = argparse.Namespace(**{**vars(arguments), "minutes": 0.0})
    async with open_server(arguments, name) as (server, ground):
        await Soak(warm_up, server, ground, recent).run()  # loads what it needs
        await workers_ended()
        before = held()
        soak = Soak(arguments, server, ground, recent)
        await soak.run()
        if not soak.failures or arguments.keep_going:
            try:
                soak.failures += unexplained(await AtServer(server).look(), soak.passers)
            except NekoError as error:  # the figures of a day are told all the same
                soak.failures.append(f"the server could not be asked at the end: {type(error).__name__}: {error}")
        await workers_ended()
        after = held()
    failures = [*soak.failures, *soak.late(), *drift(soak.samples)]
    failures += [f"at the end: {line}" for line in left(before, after)]
    if arguments.plot:
        names = [member.name for member in soak.members]
        draw(chart(soak.samples, soak.faults.struck, soak.start, names), arguments.plot)
    return {
        "server": "named" if arguments.url else "simulator",
        "seed": arguments.seed,
        "minutes": arguments.minutes,
        **figures(soak.samples, soak.faults.struck),
        "done": dict(soak.tally.done),
        "cancelled": dict(soak.tally.cancelled),
        "errors": dict(soak.tally.errors),
        "grown": soak.grown,
        "before": before.as_json(),
        "after": after.as_json(),
        "failures": failures,
        "samples": [sample.as_json() for sample in soak.samples],
        "struck": [fault.as_json(soak.start) for fault in soak.faults.struck],
        **environment(),
    }


@asynccontextmanager
async def open_server(arguments: argparse.Namespace, name: str) -> AsyncIterator[tuple[Server, Ground]]:
    """The server named, or a simulator; and the ground before it."""
    if arguments.url is not None:
        async with open_ground(arguments.url, None, arguments.seed) as ground:
            yield Server(arguments.url, arguments.password, arguments.admin_password, {}, None, name), ground
        return
    opened = open_mortal(arguments.port, arguments.password, arguments.admin_password)
    async with opened as mortal, open_ground(mortal.url, mortal, arguments.seed) as ground:
        yield Server(mortal.url, arguments.password, arguments.admin_password, {}, None, name), ground


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--fault-every", type=float, default=20.0, metavar="SECONDS", help="on the average")
    parser.add_argument("--faults", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=" ".join(KINDS))
    parser.add_argument("--seed", type=int, default=1, help="of the faults, the work and the lost datagrams")
    parser.add_argument("--short", type=int, default=1, help="short sessions at once")
    parser.add_argument("--sample-every", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--goal", type=float, default=1.5, metavar="SECONDS", help="from a fault's end to the recovery")
    parser.add_argument("--keep-going", action="store_true", help="after an error that no fault explains")
    parser.add_argument("--tracemalloc", action="store_true", help="say what has grown (slow, and grows by itself)")
    parser.add_argument("--plot", metavar="FILE", help="a PNG of memory and latency over time")
    parser.add_argument("--port", type=int, default=0, help="of the simulator; 0: any")
    add_log_option(parser)
    add_server_options(parser, admin=True)
    add_json_option(parser)
    arguments = parser.parse_args()
    log_as_wanted(arguments)
    result = trio.run(measure, arguments)
    return report(result, arguments.json, table=table(result), failures=result["failures"])


if __name__ == "__main__":
    sys.exit(main())
