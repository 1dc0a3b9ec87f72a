"""What benchmarks/soak.py must object to, what it puts down to its faults, and what it shows."""

from __future__ import annotations

import importlib
import os
import random
import signal
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio
from PIL import Image

from neko_trio import open_session
from neko_trio.errors import InputInDoubt, ServerUnreachable
from neko_trio.testing import LossyNetwork
from tests.benchmarks.scripts import script


def sample(benchmark: ModuleType, at: float, **values: Any) -> Any:
    counts = {"objects": 90_000, "fds": 35, "threads": 8, "trio_tasks": 60, "asyncio_tasks": 22, "frames": 250}
    times = {"latency": 0.1, "latency_p95": 0.11, "age": 0.001, "fresh": 0.1, "on_demand": None, "connect": 0.05}
    rest: dict[str, Any] = {"calm": True, "resident": 130.0, "server_resident": None, "epochs": {}, "outages": {}}
    return benchmark.Sample(at=at, **{**counts, **times, **rest, **values})


def half_hour(benchmark: ModuleType, **last: Any) -> list[Any]:
    """As it should be, but for ``last`` in the last ten minutes, and fewer of everything in an outage there."""
    samples = [sample(benchmark, 10.0 * number) for number in range(120)]
    samples += [sample(benchmark, 10.0 * number, **last) for number in range(120, 180)]
    away = {"calm": False, "fds": 20, "threads": 2, "trio_tasks": 30, "asyncio_tasks": 3}
    samples[130] = sample(benchmark, 1300.0, **{**last, **away})
    return samples


@script("soak_figures")
@pytest.mark.parametrize(
    ("last", "told"),
    [
        ({}, None),
        ({"resident": 132.5}, None),
        ({"resident": 132.7}, r"memory: 130\.0 → 132\.7 MiB, \+2\.08 %"),
        ({"fds": 36}, "fds: at least 35 → 36"),
        ({"threads": 9}, "threads"),
        ({"trio_tasks": 61}, "trio_tasks"),
        ({"asyncio_tasks": 23}, "asyncio_tasks"),
        ({"latency": 0.19}, None),
        ({"latency": 0.21}, "latency: 100.0 → 210.0 ms"),
        ({"age": 0.0029}, None),
        ({"age": 0.004}, "age: 1.0 → 4.0 ms"),
        ({"age": None}, "age: no frames came"),
    ],
)
def test_what_has_drifted(benchmark: ModuleType, last: dict[str, Any], told: str | None) -> None:
    found = benchmark.drift(half_hour(benchmark, **last))
    if told is None:
        assert found == []
    else:
        with pytest.raises(AssertionError, match=told):
            raise AssertionError(*found)


@script("soak_figures")
def test_the_first_minutes_tell_nothing_of_drift(benchmark: ModuleType) -> None:
    samples = [sample(benchmark, 10.0 * number, resident=100.0 + number) for number in range(51)]
    assert benchmark.drift(samples) == []
    assert benchmark.drift([]) == []


@script("soak_figures")
def test_the_figures_the_table_and_the_chart(benchmark: ModuleType, tmp_path: Path) -> None:
    samples = half_hour(benchmark, resident=131.3)
    faults = [
        benchmark.Fault("cut", 1000.0 + number, 1000.5 + number, 1001.0 + number, {"live": 0.1 * number, "off": 0.01})
        for number in range(1, 6)
    ]
    faults.append(benchmark.Fault("kill", 1100.0))  # the run has ended meanwhile
    found = benchmark.figures(samples, faults)
    assert (found["memory_mib"], found["memory_drift_percent"]) == ([130.0, 130.0, 131.3], 1.0)
    assert found["fds"] == [35, 35, 35]
    assert set(found["faults"]) == {"cut"}
    assert found["faults"]["cut"]["count"] == 5
    assert found["faults"]["cut"]["by_session_ms"]["live"] == {"median": 300, "p95": 500, "p99": 500, "max": 500}
    counted = {"done": {"live chat": 3}, "cancelled": {}, "errors": {}, "grown": []}
    assert "cut             5 times  recovery" in benchmark.table({**found, **counted})

    plot = importlib.import_module("plot")
    chart = benchmark.chart(samples, faults, 990.0, ["live", "off"])
    assert [len(panel.lines) for panel in chart.panels] == [1, 2, 4, 2, 4]
    plot.draw(chart, tmp_path / "soak.png")
    with Image.open(tmp_path / "soak.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or ()}
    assert (0x1F, 0x5F, 0xBF) in colours  # the first line
    assert (0xF6, 0xD5, 0xD5) in colours  # the band of a fault
    plot.draw(benchmark.chart([], [], 0.0, ["live"]), tmp_path / "empty.png")


@script("plot")
@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (118.8, 143.9, [120, 130, 140]), (0, 0.04, [0, 0.01, 0.02, 0.03, 0.04])],
)
def test_ticks_are_round(benchmark: ModuleType, low: float, high: float, shown: list[float]) -> None:
    assert benchmark.ticks(low, high) == pytest.approx(shown)
    assert benchmark.ticks(low, low) == [low]


class Struck:
    """Faults of which one has been at work."""

    def __init__(self, kind: str | None) -> None:
        self._kind = kind

    def touch(self, _since: float) -> str | None:
        return self._kind


@script("soak_work")
def test_an_error_is_a_faults_or_a_failure(benchmark: ModuleType) -> None:
    failures: list[str] = []
    tally = benchmark.Tally()
    judge = benchmark.Judge(tally, failures.append)
    judge.faults = Struck("cut")
    judge.accept("live rest", ServerUnreachable("away"), 0.0, benchmark.DISTURBED)
    assert (failures, dict(tally.errors)) == ([], {"live rest: ServerUnreachable (cut)": 1})
    judge.accept("live rest", benchmark.IceFailed("never of a call"), 0.0, benchmark.DISTURBED)
    assert "live rest, fault: cut: IceFailed: never of a call" in failures.pop()
    judge.faults = Struck(None)
    judge.accept("live turn", InputInDoubt("told late"), 0.0, benchmark.DISTURBED, told=True)
    assert failures == []
    judge.accept("live turn", InputInDoubt("of what?"), 0.0, benchmark.DISTURBED)
    assert "InputInDoubt: of what?" in failures.pop()


class Recovers:
    """A session that is well at once."""

    name = "live"

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    def mark(self) -> str:
        return "before"

    async def well(self, mark: str, ended: float, *, renewed: bool) -> None:
        self.seen.append((mark, renewed))


@script("soak_faults")
async def test_a_fault_is_at_work_until_all_are_well(benchmark: ModuleType, autojump_clock: trio.abc.Clock) -> None:
    network, patient = LossyNetwork(), Recovers()
    ground = benchmark.Ground("http://127.0.0.1:9", 9, network, None)
    faults = benchmark.Faults(ground, random.Random(1), 20.0, ["loss", "blackhole"], pytest.fail)
    assert faults.touch(0.0) is None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(faults.strike, "blackhole", [patient])
        await trio.sleep(0.5)
        assert network.conditions.loss == 1.0
        assert faults.touch(1e12) == "blackhole"
    (fault,) = faults.struck
    assert network.conditions.loss == 0.0
    assert patient.seen == [("before", False)]
    assert faults.touch(fault.over) == "blackhole"
    assert faults.touch(fault.over + 2 * benchmark.GRACE) is None
    with trio.move_on_after(120):
        await faults.strike_for_ever([patient])
    assert {fault.kind for fault in faults.struck} == {"loss", "blackhole"}
    assert network.conditions.loss == 0.0


class Away:
    """A server whose process is ended and started."""

    def __init__(self) -> None:
        self.runs = True

    async def end(self, _how: signal.Signals) -> None:
        self.runs = False

    async def start(self) -> None:
        await trio.sleep(1)
        self.runs = True


@script("soak_faults")
async def test_what_is_broken_at_the_end_is_mended(benchmark: ModuleType, autojump_clock: trio.abc.Clock) -> None:
    network, server = LossyNetwork(), Away()
    ground = benchmark.Ground("http://127.0.0.1:9", 9, network, server)
    for moment in range(50):
        faults = benchmark.Faults(ground, random.Random(moment), 1.0, ["kill", "shutdown", "loss"], pytest.fail)
        with trio.move_on_after(0.5 * moment):
            await faults.strike_for_ever([])
        assert server.runs
        assert network.conditions.loss == 0.0


@script("soak_faults")
async def test_the_gate_lets_through_until_it_cuts(benchmark: ModuleType) -> None:
    async def greet(client: trio.SocketStream) -> None:
        async with client:
            await client.send_all(b"hello")
            await trio.sleep_forever()

    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        listeners = await nursery.start(partial(trio.serve_tcp, greet, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        ground = await stack.enter_async_context(benchmark.open_ground(url, None, 1))
        assert ground.server is None
        for _ in range(2):
            stream = await trio.open_tcp_stream("127.0.0.1", int(ground.url.rpartition(":")[2]))
            async with stream:
                assert await stream.receive_some() == b"hello"
                await ground.cut()
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()
        nursery.cancel_scope.cancel()


@script("mortal_server")
async def test_the_simulator_is_there_again_after_it_was_killed(benchmark: ModuleType) -> None:
    async with benchmark.open_mortal(0, "secret", "other") as server:
        url, pid = server.url, server.pid
        opened = partial(open_session, url, username="a", password="secret", video="off")
        async with opened(reconnect=True) as session:
            await server.end(signal.SIGKILL)
            assert not server.runs
            await server.start()
            assert server.url == url
            assert server.pid != pid
            with trio.fail_after(30):
                await session._parts.up.wait(lambda up: up and session.statistics().outages == 1)
        os.kill(server.pid, signal.SIGKILL)
        with trio.fail_after(10):
            await server._process.wait()
        assert server.died
