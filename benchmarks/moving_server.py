"""A simulator whose every picture is known beforehand, in a process of its own; for the benchmarks that look at them.

python benchmarks/moving_server.py --width 1280 --height 720   # prints where it is, as JSON, and serves
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from neko_trio.simulator import open_simulator
from neko_trio.testing import MovingDesktop


@dataclass(frozen=True)
class MovingServer:
    """Where it is and who may in."""

    url: str
    username: str
    password: str
    pid: int
    desktop: MovingDesktop
    """A twin of what it shows."""


@asynccontextmanager
async def open_moving_server(
    size: tuple[int, int], *, rate: int, codec: str, pre_encoded: bool = False
) -> AsyncIterator[MovingServer]:
    """Start it, and end it with the block."""
    command = [sys.executable, __file__, "--width", str(size[0]), "--height", str(size[1])]
    command += ["--rate", str(rate), "--codec", codec, *(["--pre-encoded"] if pre_encoded else [])]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(lambda task_status: _run(command, task_status))
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            part = await process.stdout.receive_some()
            if not part:
                raise RuntimeError("the server ended before it was ready")
            line += part
        try:
            yield MovingServer(**json.loads(line), pid=process.pid, desktop=MovingDesktop(size))
        finally:
            nursery.cancel_scope.cancel()


async def _run(command: list[str], task_status: trio.TaskStatus[trio.Process]) -> None:
    await trio.run_process(command, stdin=b"", stdout=subprocess.PIPE, check=False, task_status=task_status)


async def serve(arguments: argparse.Namespace) -> None:
    size = arguments.width, arguments.height
    opened = open_simulator(
        size=size,
        rate=arguments.rate,
        codec=arguments.codec,
        desktop=MovingDesktop(size),
        pre_encoded=arguments.pre_encoded,
    )
    async with opened as simulator:
        print(json.dumps({key: getattr(simulator, key) for key in ("url", "username", "password")}), flush=True)
        await trio.sleep_forever()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--codec", default="vp8")
    parser.add_argument("--pre-encoded", action="store_true", help="play every watcher the same two seconds")
    try:
        trio.run(serve, parser.parse_args())
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
