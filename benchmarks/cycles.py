"""Is anything left after connecting and closing, a thousand times?

    python benchmarks/cycles.py                                    # every way in turn, to a simulator
    python benchmarks/cycles.py --ways live                        # a thousand plain ones
    python benchmarks/cycles.py http://desk:8080 --password neko --admin-password admin -n 300

One cycle is one `open_session` block. The ways:

    live off on_demand audio token    a picture or a sound, if there is one, and out
    busy                              control, typing, a click, the frames, a REST call
    raising                           busy, and the block raises
    in-connect in-block in-close      cancelled there, at a random moment
    password refused unlogged mute    turned away: at the login, at the dial, reset, silence
    reset stall                       the WebSocket's connection is reset, or falls silent, at a random byte or moment
    blackhole                         the media's UDP goes nowhere

After each cycle, or each batch of --at-once cycles side by side: threads of ours, file descriptors, trio tasks, asyncio
tasks, and errors that nobody awaited, as `neko_trio.testing` checks them. After each round of --round: sessions of ours
that the server still lists, whether one is host, and, where the server says so, how many watch. At the end all of it
once more, trio's idle worker threads included, and the same for the simulator's own process.

Memory is looked at once a round, behind a garbage collection. A third of the rounds is warm-up. Through the others goes
a straight line; what it rises by for certain (its slope less three standard errors) must stay below 1 KiB and 0.1
objects a cycle. A leak of one session's frame slot, of one task or one list entry a cycle is above both.

Exit code 1: something was left, or a cycle did not end as its way must, or took longer than its limits allow.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import trio
from figures import add_json_option, environment, percentile, report
from left_behind import Held, Trend, held, held_by, left, trend, workers_ended
from servers import add_server_options, started

import neko_trio
from neko_trio import NekoError, Session
from neko_trio.errors import ConnectTimeout, IceFailed, LoginRefused, ServerUnreachable, SessionLost
from neko_trio.signaling import rest
from neko_trio.signaling.url import ServerUrl, parse_server_url
from neko_trio.simulator import open_simulator_process
from neko_trio.testing import LossyNetwork, leak_check

NAME = "cycles"
"""What the user names of all its sessions begin with."""
SEEN_WITHIN = 8.0
"""Seconds in which the server must have noticed that a client is gone: it gives an abnormal loss 5 s of grace."""
DROPPED_WITHIN = 15.0
"""Seconds in which it must have dropped each peer: 10 for one that was answered and never connected."""
METRICS = {"listeners": "neko_capture_streamsink_listeners", "goroutines": "go_goroutines"}
SPARE = {"listeners": 0, "goroutines": 10}
"""What may come and go there by itself: the HTTP connections of the moment. A peer is 21."""
BYTES_LIMIT, OBJECTS_LIMIT = 1024.0, 0.1
"""Growth per cycle that is a leak."""
OVERTIME = 1.5
"""Seconds by which a cycle may exceed its limits on a busy machine."""
PATIENCE = 30.0
"""Seconds after which a cycle counts as stuck: so does a server, whose pipeline may come to a standstill (seen)."""
SHORT = 0.4
"""Seconds to connect to a server that says nothing."""
CLOSE_TIMEOUT = 2.0
"""Seconds that the goodbyes of a session may take, and before them those of a block of control(): the default."""
OPEN = 0.3
"""Seconds that a block stays open at most where the server may fall silent."""


class Raised(Exception):
    """What a block raises."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the cycles go."""

    url: str
    password: str = field(repr=False)
    admin_password: str = field(repr=False)
    ports: dict[str, int]
    """Of the ways to it that go wrong."""
    pid: int | None
    """Of the simulator."""
    name: str

    @property
    def target(self) -> ServerUrl:
        return parse_server_url(self.url)

    def by(self, fault: str) -> str:
        return f"http://127.0.0.1:{self.ports[fault]}{self.target.prefix}"


@dataclass
class Seen:
    """Seconds that the parts of a cycle took when they were seen last: where random moments are put."""

    connect: float = 0.1
    busy: float = 0.1
    close: float = 0.02


class Cycle:
    """One cycle; each way is a method, whose errors :data:`ALLOWED` says."""

    def __init__(self, way: str, server: Server, moments: random.Random, seen: Seen) -> None:
        self._server, self._moments, self._seen = server, moments, seen
        self._name = f"{server.name}-{way}"

    def _open(self, url: str | None = None, **options: Any) -> Any:
        server = self._server
        options = {"username": self._name, "password": server.password, **options}
        return neko_trio.open_session(url or server.url, **options)

    async def live(self) -> None:
        began = perf_counter()
        async with self._open() as session:
            self._seen.connect = perf_counter() - began
            await session.screen.frame()
            began = perf_counter()
        self._seen.close = perf_counter() - began

    async def off(self) -> None:
        async with self._open(video="off") as session:
            await session.room.stats()

    async def on_demand(self) -> None:
        async with self._open(video="on_demand") as session:
            await session.screen.frame()

    async def audio(self) -> None:
        async with self._open(audio=True) as session, session.audio.blocks() as blocks:
            with trio.move_on_after(OPEN):  # a server without a sound device sends nothing
                await anext(blocks)

    async def token(self) -> None:
        server = self._server
        login = await rest.login(server.target, self._name, server.password)
        ((_name, value),) = login.credential.headers()
        token = value.removeprefix("Bearer ").rpartition("=")[2]
        try:
            with trio.move_on_after(self._moments.uniform(0, 3 * self._seen.connect)):
                async with neko_trio.open_session(server.url, token=token) as session:
                    await session.screen.frame()
        finally:
            with trio.move_on_after(SEEN_WITHIN, shield=True):
                await rest.logout(server.target, login.credential)

    async def busy(self) -> None:
        async with self._open() as session:
            await work(session)

    async def raising(self) -> None:
        async with self._open() as session:
            await work(session)
            raise Raised

    async def in_connect(self) -> None:
        with trio.move_on_after(self._moments.uniform(0, 1.2 * self._seen.connect)):
            async with self._open() as session:
                await session.screen.frame()

    async def in_block(self) -> None:
        async with self._open() as session:
            began = perf_counter()
            with trio.move_on_after(self._moments.uniform(0, 1.2 * self._seen.busy)) as scope:
                await work(session)
            if not scope.cancelled_caught:
                self._seen.busy = perf_counter() - began

    async def in_close(self) -> None:
        with trio.CancelScope() as scope:
            async with self._open() as session:
                with trio.move_on_after(self._moments.uniform(0, self._seen.busy)):
                    await work(session)
                scope.deadline = trio.current_time() + self._moments.uniform(0, 1.2 * self._seen.close)

    async def password(self) -> None:
        async with self._open(password="wrong"):
            raise AssertionError("let in with a wrong password")

    async def refused(self) -> None:
        await self._to_nobody("refused")

    async def unlogged(self) -> None:
        await self._to_nobody("unlogged")

    async def mute(self) -> None:
        await self._to_nobody("mute")

    async def reset(self) -> None:
        await self._cut("reset")

    async def stall(self) -> None:
        await self._cut("stall")

    async def blackhole(self) -> None:
        async with self._open(media=LossyNetwork(loss=1.0), connect_timeout=SHORT):
            raise AssertionError("connected without a network")

    async def _to_nobody(self, fault: str) -> None:
        async with self._open(self._server.by(fault), connect_timeout=SHORT):
            raise AssertionError("connected to nobody")

    async def _cut(self, fault: str) -> None:
        async with self._open(self._server.by(fault), connect_timeout=SHORT) as session:
            with trio.move_on_after(OPEN):
                await work(session)
                await trio.sleep_forever()


async def work(session: Session) -> None:
    """What a script does."""
    async with session.screen.frames() as frames, session.control(wait=True):
        await session.mouse.click(30, 30, keys="shift")
        await session.keyboard.type("Hello, World!")
        async with session.keyboard.hold("ctrl"):
            await session.flush()
        await session.room.stats()
        await anext(frames)


Way = Callable[[Cycle], Awaitable[None]]
WAYS: dict[str, Way] = {
    name.replace("_", "-"): getattr(Cycle, name)
    for name in (
        *("live", "off", "on_demand", "audio", "token", "busy", "raising", "in_connect", "in_block", "in_close"),
        *("password", "refused", "unlogged", "mute", "reset", "stall", "blackhole"),
    )
}
CUT = (SessionLost, NekoError)
"""A cut connection is whatever its step makes of it; the fault matrix says which, not this script."""
ALLOWED: dict[str, tuple[type[BaseException], ...]] = {
    "raising": (Raised,),
    "password": (LoginRefused,),
    "refused": (ServerUnreachable,),
    "unlogged": (ServerUnreachable,),
    "mute": (ConnectTimeout,),
    "blackhole": (IceFailed,),
    "reset": CUT,
    "stall": CUT,
}
MUST_FAIL = frozenset(ALLOWED) - {"reset", "stall"}
UNANSWERED = frozenset({"reset", "stall"})
"""Ways in which an offer may never reach the client. The server keeps its peer for ever, logout or not (its
internal/session/manager.go, Delete, and the simulator likewise): that is no leak of ours."""
LIMITED = frozenset({"mute", "stall", "blackhole", "reset"})
"""Ways whose time is that of their limits."""


@dataclass
class Row:
    """What came of one way."""

    way: str
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "way": self.way,
            "cycles": len(self.seconds),
            "outcomes": dict(self.outcomes),
            "milliseconds": {
                "median": round(1000 * percentile(self.seconds, 0.5), 1),
                "max": round(1000 * max(self.seconds), 1),
            }
            if self.seconds
            else {},
        }


async def run(cycle: Cycle, row: Row, failures: list[str]) -> None:
    """One cycle; what it ends with is looked at."""
    began = perf_counter()
    error: BaseException | None = None
    try:
        with trio.fail_after(PATIENCE):
            await WAYS[row.way](cycle)
    except Exception as caught:  # noqa: BLE001 - judged below
        error = caught
    took = perf_counter() - began
    row.seconds.append(took)
    row.outcomes["done" if error is None else type(error).__name__] += 1
    allowed = ALLOWED.get(row.way, ())
    if error is not None and not isinstance(error, allowed):
        failures.append(f"{row.way}: ended with {type(error).__name__}: {error}"[:400])
    elif error is None and row.way in MUST_FAIL:
        failures.append(f"{row.way}: nothing was raised")
    if row.way in LIMITED and took > SHORT + OPEN + 2 * CLOSE_TIMEOUT + OVERTIME:
        failures.append(f"{row.way}: took {took:.2f} s")


class AtServer:
    """What the server still has of us, as an admin in the room sees it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._told: set[str] = set()
        self._before: dict[str, int] | None = None

    async def look(self) -> list[str]:
        """Wait until it has nothing left; what it has after ``SEEN_WITHIN`` seconds, each once, else."""
        server = self._server
        async with neko_trio.open_session(
            server.url, username=f"admin-of-{server.name}", password=server.admin_password, video="off"
        ) as session:
            with trio.move_on_after(SEEN_WITHIN):
                await session.wait_state(lambda state: not self._ours(state))
            found = self._ours(session.state)
            self._told |= {info.id for info in session.state.sessions.values()}
        found += [f"{more} {what} more than before" for what, more in (await self._grown(("listeners",))).items()]
        return [f"at the server: {line}" for line in found]

    async def look_inside(self) -> list[str]:
        """Wait until it has as many goroutines as before, if it tells of them: 21 for each peer. It drops one that was
        answered and never connected 10 s later. Its descriptors say nothing: each start of its pipeline costs it two
        that it never gives back (seen)."""
        grown = await self._grown(("listeners", "goroutines"), within=DROPPED_WITHIN)
        return [f"at the server: {more} {what} more than before" for what, more in grown.items()]

    def _ours(self, state: neko_trio.State) -> list[str]:
        name = f"{self._server.name}-"
        ours = [
            info.id
            for info in state.sessions.values()
            if info.profile.name.startswith(name) and info.id not in self._told
        ]
        return [f"session {id_}{', host' if id_ == state.host else ''}" for id_ in ours]

    async def _grown(self, names: tuple[str, ...], *, within: float = SEEN_WITHIN) -> dict[str, int]:
        """Which of these figures are above those of the first look, and by how much, after so many seconds at most."""
        deadline = trio.current_time() + within
        while True:
            now = await self._metrics()
            if self._before is None:
                self._before = now
            before = self._before
            grown = {
                name: now[name] - before[name] for name in names if now.get(name, 0) > before.get(name, 0) + SPARE[name]
            }
            if not grown or trio.current_time() > deadline:
                return grown
            await trio.sleep(0.2)  # metrics tell nobody when they change

    async def _metrics(self) -> dict[str, int]:
        """Listeners to its pipelines and open descriptors, by its metrics; nothing for a server that has none."""
        async with rest.open_rest(self._server.target, None) as server:
            answer = await server.request("GET", "/metrics", step="metrics")
        if answer.status != 200:
            return {}
        text = answer.body.decode(errors="replace")
        return {
            name: sum(int(float(value)) for value in re.findall(rf"^{metric}(?:\{{.*\}})? (\S+)", text, re.MULTILINE))
            for name, metric in METRICS.items()
        }


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    moments = random.Random(arguments.seed)
    failures: list[str] = []
    async with open_server(arguments) as server:
        at_server, seen = AtServer(server), Seen()
        rows = {way: Row(way) for way in arguments.ways}
        for way in arguments.ways:  # each once, to load what it needs
            await run(Cycle(way, server, moments, seen), Row(way), failures)
        failures += await at_server.look()
        await workers_ended()
        before, server_before = held(), held_by(server.pid) if server.pid else None
        counts: list[int] = []
        samples: list[Held] = []
        plan = [arguments.ways[number % len(arguments.ways)] for number in range(arguments.count)]
        moments.shuffle(plan)
        done, traced = 0, None
        while plan:
            for _ in range(max(1, arguments.round // arguments.at_once)):
                batch = [plan.pop() for _ in range(min(arguments.at_once, len(plan)))]
                with LeakCheck(failures, batch):
                    async with trio.open_nursery() as nursery:
                        for way in batch:
                            nursery.start_soon(run, Cycle(way, server, moments, seen), rows[way], failures)
                done += len(batch)
            failures += await at_server.look()
            counts.append(done)
            samples.append(held())
            if arguments.tracemalloc and traced is None and len(samples) * arguments.round * 3 >= arguments.count:
                tracemalloc.start(12)
                traced = tracemalloc.take_snapshot()
            tell(done, samples[-1], failures)
        inside = await at_server.look_inside()
        grown = what_grew(traced)
        await workers_ended()
        after, server_after = held(), held_by(server.pid) if server.pid else None
    failures += [f"at the end: {line}" for line in left(before, after)]
    if server_before and server_after:
        inside += [f"in the simulator: {line}" for line in left(server_before, server_after)]
    if UNANSWERED.isdisjoint(arguments.ways):
        failures += inside
    memory = trend(counts, [sample.resident * 2**20 for sample in samples])
    objects = trend(counts, [float(sample.objects) for sample in samples])
    for what, found, limit in (("bytes", memory, BYTES_LIMIT), ("objects", objects, OBJECTS_LIMIT)):
        if found is not None and found.surely > limit:
            failures.append(f"memory: {found.slope:.2f} ± {found.error:.2f} {what} more a cycle")
    return {
        "server": "named" if arguments.url else "simulator",
        "seed": arguments.seed,
        "cycles": done,
        "rows": [row.as_json() for row in rows.values()],
        "before": before.as_json(),
        "after": after.as_json(),
        "server_before": server_before and server_before.as_json(),
        "server_after": server_after and server_after.as_json(),
        "left_inside_the_server": inside,
        "bytes_a_cycle": shown(memory),
        "objects_a_cycle": shown(objects),
        "resident_mib": [round(sample.resident, 2) for sample in samples],
        "objects": [sample.objects for sample in samples],
        "grown": grown,
        "failures": failures,
        **environment(),
    }


class LeakCheck:
    """`leak_check()` over a batch, whose complaint is a failure among others."""

    def __init__(self, failures: list[str], batch: list[str]) -> None:
        self._failures, self._batch = failures, batch
        self._check = leak_check()

    def __enter__(self) -> None:
        self._check.__enter__()

    def __exit__(self, *exc: Any) -> None:
        try:
            self._check.__exit__(*exc)
        except AssertionError as error:
            self._failures.append(f"{', '.join(self._batch)}: {error}")


def what_grew(before: tracemalloc.Snapshot | None) -> list[str]:
    if before is None:
        return []
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    ignored = [tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__)]
    found = after.filter_traces(ignored).compare_to(before.filter_traces(ignored), "lineno")
    return [str(entry) for entry in found[:15] if entry.size_diff > 0]


def shown(found: Trend | None) -> dict[str, float] | None:
    return None if found is None else {"slope": round(found.slope, 3), "error": round(found.error, 3)}


def tell(done: int, sample: Held, failures: list[str]) -> None:
    print(
        f"{done:6} cycles  {sample.resident:7.1f} MiB  {sample.objects:7} objects"
        f"  {sum(sample.fds.values()):3} fds  {sum(sample.threads.values()):2} threads  {len(failures)} failures",
        file=sys.stderr,
        flush=True,
    )


def table(result: dict[str, Any]) -> str:
    lines = [f"{'way':<12}{'cycles':>7}{'median ms':>11}{'max ms':>9}  outcomes"]
    for row in result["rows"]:
        times = row["milliseconds"]
        outcomes = ", ".join(f"{name} {count}" for name, count in sorted(row["outcomes"].items()))
        lines.append(
            f"{row['way']:<12}{row['cycles']:7}{times.get('median', 0.0):11.1f}{times.get('max', 0.0):9.1f}  {outcomes}"
        )
    for whose in ("", "server_"):
        before, after = result[f"{whose}before"], result[f"{whose}after"]
        if before:
            lines.append(f"{'in the simulator' if whose else 'in this process'}:")
            lines += [f"  {what:<15}{before[what]!s:<60} → {after[what]}" for what in before if before[what]]
    for what in ("bytes_a_cycle", "objects_a_cycle"):
        found = result[what]
        lines.append(f"{what}: " + ("too few rounds" if found is None else f"{found['slope']} ± {found['error']}"))
    return "\n".join([*lines, *result["grown"]])


@asynccontextmanager
async def open_server(arguments: argparse.Namespace) -> AsyncIterator[Server]:
    """The server named, or a simulator; and the ways to it that go wrong."""
    name = f"{NAME}-{os.getpid()}"
    async with trio.open_nursery() as nursery:
        if arguments.url is None:
            opened = open_simulator_process(size=(640, 360), pre_encoded=True)
            async with opened as simulator, ways_to(simulator.url, arguments) as ports:
                yield Server(simulator.url, simulator.password, simulator.admin_password, ports, simulator.pid, name)
        else:
            async with ways_to(arguments.url, arguments) as ports:
                yield Server(arguments.url, arguments.password, arguments.admin_password, ports, None, name)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def ways_to(url: str, arguments: argparse.Namespace) -> AsyncIterator[dict[str, int]]:
    target = parse_server_url(url)
    script = str(Path(__file__).with_name("cut_relay.py"))
    async with started(script, target.host, str(target.port), "--seed", str(arguments.seed)) as relay:
        yield relay.said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-n", "--count", type=int, default=1000, help="cycles, besides one of each way that warms up")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=" ".join(WAYS))
    parser.add_argument("--at-once", type=int, default=1, help="cycles side by side")
    parser.add_argument("--round", type=int, default=50, help="cycles between two looks at memory and the server")
    parser.add_argument("--seed", type=int, default=1, help="of the order and of all random moments")
    parser.add_argument("--tracemalloc", action="store_true", help="say what has grown (slow, and grows by itself)")
    add_server_options(parser, admin=True)
    add_json_option(parser)
    arguments = parser.parse_args()
    result = trio.run(measure, arguments)
    return report(result, arguments.json, table=table(result), failures=result["failures"])


if __name__ == "__main__":
    sys.exit(main())
