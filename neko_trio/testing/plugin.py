"""The pytest plugin: a Neko server and a session with it as fixtures. Found by pytest through its entry point.

pytest loads this in every project of its environment, so it imports nothing but pytest until a fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from neko_trio import Session
    from neko_trio.testing._server import TestServer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--neko-url`` and its companions."""
    group = parser.getgroup("neko-trio")
    group.addoption(
        "--neko-url",
        metavar="URL",
        default=None,
        help="run against this Neko v3 server instead of the embedded one (the neko_simulator fixture)",
    )
    group.addoption(
        "--neko-own-room",
        action="store_true",
        help="the server at --neko-url is this run's own: a test may lock its controls and change its settings",
    )
    group.addoption(
        "--neko-display",
        metavar="DISPLAY",
        default=None,
        help="the X display of the server at --neko-url, for tests that look at what X has (:420)",
    )
    group.addoption(
        "--neko-username", metavar="NAME", default="neko-trio", help="user name there (default: %(default)s)"
    )
    group.addoption(
        "--neko-password", metavar="PASSWORD", default="neko", help="a user's password (default: %(default)s)"
    )
    group.addoption(
        "--neko-admin-password", metavar="PASSWORD", default="admin", help="an admin's password (default: %(default)s)"
    )


@pytest.fixture
async def neko_simulator(request: pytest.FixtureRequest) -> AsyncIterator[TestServer]:
    """A Neko server: embedded, fresh for each test; or, with ``--neko-url``, the one named there.

    Has ``url``, ``username``, ``password``, ``admin_password``, and ``simulator``: the embedded
    :class:`~neko_trio.simulator.Simulator`, or ``None`` with ``--neko-url``.
    """
    from neko_trio.testing._server import named_server, open_test_server

    named = named_server(request.config)
    if named is not None:
        yield named
        return
    async with open_test_server() as server:
        yield server


@pytest.fixture
async def neko_session(neko_simulator: TestServer) -> AsyncIterator[Session]:
    """A session with ``neko_simulator``, connected, as an ordinary user; closed after the test."""
    import neko_trio

    async with neko_trio.open_session(
        neko_simulator.url, username=neko_simulator.username, password=neko_simulator.password
    ) as session:
        yield session
