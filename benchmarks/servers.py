"""Which server a benchmark measures: the one that its command line names, or one in a process of its own."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from neko_trio.simulator import open_simulator_process


def add_server_options(parser: argparse.ArgumentParser, *, instead: str = "a simulator is started") -> None:
    """The server's URL and who may in. ``instead``: what happens without a URL."""
    parser.add_argument("url", nargs="?", help=f"a Neko v3 server; without it {instead}")
    add_login_options(parser)


def add_login_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--username", default="benchmark")
    parser.add_argument("--password", default=os.environ.get("NEKO_PASSWORD", "neko"))


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
