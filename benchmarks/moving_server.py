"""A simulator whose every picture is known beforehand, in a process of its own; for the benchmarks that look at them.

python benchmarks/moving_server.py --width 1280 --height 720   # prints where it is, as JSON, and serves
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from servers import login_at, run_server, say_and_serve, started

from neko_trio.simulator import open_simulator
from neko_trio.testing import MovingDesktop


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """What it shows: :func:`size_of`, rate and codec."""
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--rate", type=int, default=25)
    parser.add_argument("--codec", default="vp8")


def size_of(arguments: argparse.Namespace) -> tuple[int, int]:
    return arguments.width, arguments.height


@asynccontextmanager
async def named_or_moving(
    arguments: argparse.Namespace, *, pre_encoded: bool = False
) -> AsyncIterator[tuple[dict[str, Any], MovingDesktop | None]]:
    """The arguments of ``open_session``, and a twin of what is shown there; of a server named nobody knows that."""
    if arguments.url is not None:
        yield login_at(arguments), None
        return
    width, height = size_of(arguments)
    options = ["--width", str(width), "--height", str(height), "--rate", str(arguments.rate)]
    options += ["--codec", arguments.codec, *(["--pre-encoded"] if pre_encoded else [])]
    async with started(__file__, *options) as server:
        yield server.said, MovingDesktop((width, height))


async def serve(arguments: argparse.Namespace) -> None:
    size = size_of(arguments)
    opened = open_simulator(
        size=size,
        rate=arguments.rate,
        codec=arguments.codec,
        desktop=MovingDesktop(size),
        pre_encoded=arguments.pre_encoded,
    )
    async with opened as simulator:
        await say_and_serve(login_at(simulator))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_picture_options(parser)
    parser.add_argument("--pre-encoded", action="store_true", help="play every watcher the same two seconds")
    return run_server(serve, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
