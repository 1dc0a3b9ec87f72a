"""Faults at random for `soak.py`: what strikes, how long, and how soon the sessions are well again."""

from __future__ import annotations

import logging
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import trio
from mortal_server import MortalServer
from servers import started

from neko_trio.signaling.url import parse_server_url
from neko_trio.testing import LossyNetwork

logger = logging.getLogger("neko_trio.soak")

GRACE = 1.0
"""Seconds behind a recovery in which an error is still the fault's."""
PATIENCE = 60.0
"""Seconds after which a session that is not well again counts as stuck."""


class Patient(Protocol):
    """A session that faults strike."""

    name: str

    def mark(self) -> Any:
        """What must have changed when a fault ends the connection."""

    async def well(self, mark: Any, ended: float, *, renewed: bool) -> None:
        """Return when its work goes on after ``ended``, and, when ``renewed``, over another connection than that of
        ``mark``."""


@dataclass
class Ground:
    """What the sessions stand on, as far as it can be shaken."""

    url: str
    """By way of the gate."""
    cut_port: int
    network: LossyNetwork
    server: MortalServer | None
    """``None`` for a server that was named: it is left alone."""

    async def cut(self) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", self.cut_port) as stream:
            while await stream.receive_some():
                pass


@asynccontextmanager
async def open_ground(url: str, server: MortalServer | None, seed: int) -> AsyncIterator[Ground]:
    """A gate before that server, and a network for the media."""
    target = parse_server_url(url)
    async with started(str(Path(__file__).with_name("gate.py")), target.host, str(target.port)) as gate:
        way = f"http://127.0.0.1:{gate.said['way']}{target.prefix}"
        yield Ground(way, gate.said["cut"], LossyNetwork(seed=seed), server)


@dataclass
class Fault:
    """One that struck; times are of ``perf_counter``."""

    kind: str
    began: float
    ended: float | None = None
    over: float | None = None
    """When all sessions were well again."""
    recoveries: dict[str, float] = field(default_factory=dict)
    """Seconds from its end, by session."""

    def as_json(self, start: float) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "at": round(self.began - start, 2),
            "seconds": None if self.ended is None else round(self.ended - self.began, 2),
            "recoveries_ms": {name: round(1000 * seconds, 1) for name, seconds in self.recoveries.items()},
        }


class Faults:
    """Strikes one after the other."""

    def __init__(
        self, ground: Ground, moments: random.Random, every: float, kinds: Sequence[str], fail: Callable[[str], None]
    ) -> None:
        """``every``: seconds from the end of one to the beginning of the next, on the average."""
        self._ground, self._moments, self._every, self._kinds, self._fail = ground, moments, every, kinds, fail
        self.struck: list[Fault] = []

    def touch(self, since: float) -> str | None:
        """The kind of the newest fault that has been at work since that moment; ``None``: there was none."""
        newest = self.struck[-1] if self.struck else None
        if newest is None or (newest.over is not None and newest.over + GRACE < since):
            return None
        return newest.kind

    async def strike_for_ever(self, patients: Sequence[Patient]) -> None:
        """Until cancelled; whatever is broken then is mended."""
        plan: list[str] = []
        while True:
            await trio.sleep(self._every * self._moments.uniform(0.25, 1.75))
            if not plan:  # each as often as any other
                plan = list(self._kinds)
                self._moments.shuffle(plan)
            await self.strike(plan.pop(), patients)

    async def strike(self, kind: str, patients: Sequence[Patient]) -> None:
        """One fault, from its beginning until all are well again."""
        marks = [patient.mark() for patient in patients]
        fault = Fault(kind, perf_counter())
        self.struck.append(fault)
        logger.info("%s strikes", kind)
        await KINDS[kind](self)
        fault.ended = perf_counter()
        logger.info("%s ends", kind)
        async with trio.open_nursery() as nursery:
            for patient, mark in zip(patients, marks, strict=True):
                nursery.start_soon(self._see, patient, mark, fault, fault.ended)
        fault.over = perf_counter()

    async def _see(self, patient: Patient, mark: Any, fault: Fault, ended: float) -> None:
        with trio.move_on_after(PATIENCE) as scope:
            await patient.well(mark, ended, renewed=fault.kind in RENEWING)
        fault.recoveries[patient.name] = perf_counter() - ended
        if scope.cancelled_caught:
            self._fail(f"{patient.name} was not well {PATIENCE:g} s after {fault.kind}")

    # -- the kinds

    async def _cut(self) -> None:
        await self._ground.cut()

    async def _blackhole(self) -> None:
        await self._weather(1.0, self._moments.uniform(1, 8))

    async def _loss(self) -> None:
        await self._weather(self._moments.uniform(0.05, 0.1), self._moments.uniform(5, 15))

    async def _weather(self, loss: float, seconds: float) -> None:
        self._ground.network.change(loss=loss)
        try:
            await trio.sleep(seconds)
        finally:
            self._ground.network.change(loss=0.0)

    async def _kill(self) -> None:
        await self._restart(signal.SIGKILL)

    async def _shutdown(self) -> None:
        await self._restart(signal.SIGINT)

    async def _restart(self, how: signal.Signals) -> None:
        server = self._server
        await server.end(how)
        try:
            await trio.sleep(self._moments.uniform(0, 3))
        finally:
            with trio.CancelScope(shield=True):  # bounded: a simulator that does not start in time is an error
                await server.start()

    async def _stop(self) -> None:
        server = self._server
        server.stop()
        try:
            await trio.sleep(self._moments.uniform(1, 8))
        finally:
            server.go_on()

    @property
    def _server(self) -> MortalServer:
        assert self._ground.server is not None
        return self._ground.server


KINDS: dict[str, Callable[[Faults], Awaitable[None]]] = {
    "cut": Faults._cut,
    "blackhole": Faults._blackhole,
    "loss": Faults._loss,
    "kill": Faults._kill,
    "shutdown": Faults._shutdown,
    "stop": Faults._stop,
}
NEEDS_OWN_SERVER = frozenset({"kill", "shutdown", "stop"})
RENEWING = frozenset({"cut", "kill", "shutdown"})
"""Those that end every connection at once."""
