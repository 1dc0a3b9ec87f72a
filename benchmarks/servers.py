"""Which server a benchmark measures: the one that its command line names, or one in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from neko_trio.simulator import open_simulator_process

SHAPES = {"720p25": ((1280, 720), 25), "1080p30": ((1920, 1080), 30)}
"""Size and frames per second of the simulators that are measured one after the other."""


def add_server_options(
    parser: argparse.ArgumentParser, name: str = "url", *, instead: str = "a simulator is started", admin: bool = False
) -> None:
    """The server's URL, as an argument or an option of that name, and who may in. ``instead``: what is done without.

    ``admin``: an admin's password is wanted, too.
    """
    parser.add_argument(name, nargs="?", help=f"a Neko v3 server; without it {instead}")
    parser.add_argument("--username", default="benchmark")
    parser.add_argument("--password", default=os.environ.get("NEKO_PASSWORD", "neko"))
    if admin:
        admin_password = os.environ.get("NEKO_ADMIN_PASSWORD", "admin")
        parser.add_argument("--admin-password", default=admin_password, help="of the server named")


def add_shape_options(parser: argparse.ArgumentParser) -> None:
    """For :func:`shapes`."""
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), help="of the simulator")
    parser.add_argument("--codec", choices=("vp8", "h264"), default="vp8", help="of the simulator")


def shapes(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """What is measured, and the options with which :func:`named_or_simulated` gives it."""
    if arguments.url is not None:
        return {"server": {}}
    return {
        shape: {"size": SHAPES[shape][0], "rate": SHAPES[shape][1], "codec": arguments.codec, "pre_encoded": True}
        for shape in arguments.shapes
    }


def login_at(server: Any) -> dict[str, Any]:
    """Its URL, user name and password, as ``open_session`` takes them."""
    return {name: getattr(server, name) for name in ("url", "username", "password")}


@asynccontextmanager
async def named_or_simulated(arguments: argparse.Namespace, **options: Any) -> AsyncIterator[dict[str, Any]]:
    """The arguments of ``open_session`` for the server named, or for a simulator with these ``options``."""
    if arguments.url is not None:
        yield login_at(arguments)
        return
    async with open_simulator_process(**options) as simulator:
        yield login_at(simulator)


@dataclass(frozen=True, slots=True)
class Started:
    """A script that serves, in a process of its own."""

    pid: int
    said: Any
    """Its first line, which is JSON."""


@asynccontextmanager
async def started(script: str, *options: str) -> AsyncIterator[Started]:
    """A script that calls :func:`say_and_serve`; it is ended with the block."""
    async with trio.open_nursery() as nursery:
        command = [sys.executable, script, *options]
        process = await nursery.start(lambda task_status: _run(command, task_status))
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            part = await process.stdout.receive_some()
            if not part:
                raise RuntimeError("the server ended before it was ready")
            line += part
        try:
            yield Started(process.pid, json.loads(line))
        finally:
            nursery.cancel_scope.cancel()


async def _run(command: list[str], task_status: trio.TaskStatus[trio.Process]) -> None:
    await trio.run_process(command, stdin=b"", stdout=subprocess.PIPE, check=False, task_status=task_status)


async def say_and_serve(said: Any) -> None:
    """Say where the servers are, and leave them to their tasks until the process is ended."""
    print(json.dumps(said), flush=True)
    await trio.sleep_forever()


def run_server(serve: Callable[..., Awaitable[None]], *arguments: Any) -> int:
    """Run such a script; its exit code. Ctrl-C in a terminal reaches it as well as whoever started it."""
    try:
        trio.run(serve, *arguments)
    except KeyboardInterrupt:
        return 130
    return 0
