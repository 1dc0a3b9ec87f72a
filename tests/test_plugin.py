"""The pytest plugin in a stranger's project: found by itself, cheap until used, pointed elsewhere by options."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import trio

# pytester puts sys.modules back to what it was before each of its tests. Compiled libraries that are first imported
# in between would be imported a second time later, and cryptography then no longer knows its own classes.
import neko_trio.media.peer
import neko_trio.simulator._media  # noqa: F401

if TYPE_CHECKING:
    from neko_trio.testing import TestServer

pytest_plugins = ["pytester"]

WATCH = """
    import pytest

    {mark}
    async def test_session(neko_session, neko_simulator):
        frame = await neko_session.screen.frame()
        assert frame.size == frame.screen_size == (1280, 720)
        async with neko_session.control():
            await neko_session.keyboard.type("typed by a stranger")
            await neko_session.flush()
        assert neko_simulator.simulator.desktop.text == "typed by a stranger"
        assert len(neko_simulator.simulator.sessions) == 1

    {mark}
    async def test_each_test_has_a_fresh_server(neko_simulator):
        assert neko_simulator.simulator.desktop.text == ""
        assert neko_simulator.simulator.sessions == {{}}
        assert neko_simulator.password not in repr(neko_simulator)
"""


@pytest.fixture
def stranger(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project of its own, with warnings as errors."""
    pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers -p no:cacheprovider")
    return pytester


async def run(stranger: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """pytest in a process of its own, with the plugin found by its entry point."""
    command = (sys.executable, "-m", "pytest", *arguments)
    return await trio.to_thread.run_sync(lambda: stranger.run(*command, timeout=60))


@pytest.mark.real_time
async def test_fixtures_with_marked_tests(stranger: pytest.Pytester) -> None:
    stranger.makepyfile(WATCH.format(mark="@pytest.mark.trio"))
    (await run(stranger)).assert_outcomes(passed=2)


@pytest.mark.real_time
async def test_fixtures_in_trio_mode(stranger: pytest.Pytester) -> None:
    stranger.makeini("[pytest]\nfilterwarnings = error\ntrio_mode = true")
    stranger.makepyfile(WATCH.format(mark=""))
    (await run(stranger)).assert_outcomes(passed=2)


@pytest.mark.real_time
async def test_a_failing_test_still_closes_its_session(stranger: pytest.Pytester) -> None:
    stranger.makepyfile("""
        import threading
        import pytest

        @pytest.mark.trio
        async def test_fails(neko_session):
            assert neko_session.state.is_host, "this is the test's own failure"

        def test_nothing_is_left():
            assert [t.name for t in threading.enumerate() if t.name.startswith("neko-trio-")] == []
    """)
    result = await run(stranger)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*this is the test's own failure*"])


@pytest.mark.real_time
async def test_neko_url_points_the_fixtures_at_another_server(
    stranger: pytest.Pytester, neko_simulator: TestServer
) -> None:
    stranger.makepyfile("""
        import pytest

        @pytest.mark.trio
        async def test_it(neko_session, neko_simulator, pytestconfig):
            assert neko_simulator.simulator is None
            assert neko_simulator.url == pytestconfig.getoption("--neko-url")
            assert neko_session.state.profile.name.startswith(neko_simulator.username)
            assert (await neko_session.screen.frame()).size[0] > 0
    """)
    options = ["--neko-url", neko_simulator.url, "--neko-username", "stranger"]
    # With "=", because a password may begin with a dash.
    secrets = [f"--neko-password={neko_simulator.password}", f"--neko-admin-password={neko_simulator.admin_password}"]
    (await run(stranger, *options, *secrets)).assert_outcomes(passed=1)
    wrong = await run(stranger, *options, "--neko-password", "not-it")
    wrong.assert_outcomes(failed=1)  # pytest-trio sets fixtures up inside the test
    wrong.stdout.fnmatch_lines(["*LoginRefused*"])
    if neko_simulator.simulator is not None:
        journal = neko_simulator.simulator.journal
        assert len(journal.select(lambda entry: entry.event == "POST /api/login")) == 2
        assert neko_simulator.simulator.sessions == {}


async def test_options_and_fixtures_explain_themselves(stranger: pytest.Pytester) -> None:
    shown = await run(stranger, "--help")
    shown.stdout.fnmatch_lines(["*--neko-url*", "*--neko-username*", "*--neko-password*", "*--neko-admin-password*"])
    fixtures = await run(stranger, "--fixtures")
    fixtures.stdout.fnmatch_lines(["neko_simulator*", "*A Neko server*", "neko_session*", "*A session with*"])


async def test_a_project_that_uses_no_fixture_pays_nothing(stranger: pytest.Pytester) -> None:
    stranger.makepyfile("""
        import sys

        def test_it(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("neko_trio")
            ours = {name for name in sys.modules if name.startswith("neko_trio")}
            assert ours == {"neko_trio", "neko_trio.errors", "neko_trio.testing", "neko_trio.testing.plugin"}
            assert "av" not in sys.modules
            assert "aiortc" not in sys.modules
    """)
    (await run(stranger)).assert_outcomes(passed=1)
