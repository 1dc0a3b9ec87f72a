"""For all tests: side by side where they may be, virtual time by a mark, hypothesis' ways, each its own log lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, settings
from trio.testing import MockClock

from neko_trio._log_rate import bound_logs

# How long an example takes is the machine's affair, which may be busy: pytest's own limit is the one that counts. The
# rest is as it would be, which in continuous integration means the same examples each time.
settings.register_profile(
    "any machine",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, *settings().suppress_health_check],
)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def whole_burst() -> None:
    """What is logged is bounded in rate, for the whole process."""
    bound_logs()


MOST_WORKERS = 8
"""Each takes half a gigabyte."""
MADE_ONCE = {"apart", "observed"}
"""Fixtures of a module that cost too much to be made in each process: their tests stay together."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run whole directories side by side, where pytest-xdist is at hand and was told nothing.

    One after the other run: files and tests that are named, whatever is to be seen or debugged while it runs, and what
    runs on a server of ``--neko-url``, whose one room the tests change.
    """
    option = config.option
    if not hasattr(option, "numprocesses") or hasattr(config, "workerinput"):
        return
    if option.neko_url is not None:
        if option.numprocesses or option.tx:
            raise pytest.UsageError("with --neko-url the tests share one room: run them one after the other (-n 0)")
        return
    told = option.numprocesses is not None or option.tx or option.dist != "no"
    watched = option.usepdb or option.trace or option.capture == "no"
    if not told and not watched and all(Path(argument).is_dir() for argument in config.args):
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        option.numprocesses = min(2 * cores, MOST_WORKERS)  # half of the time they wait
        option.dist = "loadgroup"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give ``usefixtures("autojump_clock")`` its meaning, and keep together what shares something that is made once.

    pytest-trio looks for a clock among a test's arguments only: without this, such a test runs in real time.
    """
    side_by_side = config.pluginmanager.has_plugin("xdist")
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if "autojump_clock" in item.fixturenames and iscoroutinefunction(item.obj):
            item.add_marker(pytest.mark.trio(run=_run_in_virtual_time))
        if side_by_side and not MADE_ONCE.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def _run_in_virtual_time(
    main: Callable[[], Awaitable[object]], *, clock: trio.abc.Clock | None = None, **options: Any
) -> object:
    return trio.run(main, clock=clock or MockClock(autojump_threshold=0), **options)
