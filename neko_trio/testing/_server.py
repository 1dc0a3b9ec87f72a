"""The server behind the ``neko_simulator`` fixture: the embedded one, or a real one named on the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from neko_trio.simulator import Simulator


@dataclass(frozen=True, slots=True)
class TestServer:
    """Where to connect, and as whom. ``simulator`` is ``None`` when the server is not ours."""

    __test__ = False  # the name is for people; pytest must not collect it

    url: str
    username: str
    password: str = field(repr=False)
    admin_password: str = field(repr=False)
    simulator: Simulator | None = None


def external_server(url: str, username: str, password: str, admin_password: str) -> TestServer:
    """A server that somebody else runs."""
    return TestServer(url, username, password, admin_password)


def named_server(config: pytest.Config) -> TestServer | None:
    """The server that ``--neko-url`` and its companions name, if they do."""
    option = config.getoption
    url = option("--neko-url")
    if url is None:
        return None
    return external_server(url, option("--neko-username"), option("--neko-password"), option("--neko-admin-password"))


@asynccontextmanager
async def open_test_server(**options: Any) -> AsyncIterator[TestServer]:
    """An embedded server on a free loopback port; ``options`` are those of ``open_simulator``."""
    from neko_trio.simulator import open_simulator

    async with open_simulator(**options) as simulator:
        yield TestServer(
            simulator.url, simulator.username, simulator.password, simulator.admin_password, simulator=simulator
        )
