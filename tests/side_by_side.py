"""How the tests are run side by side, in several processes of pytest-xdist: hooks for ``conftest.py``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import Scheduling  # type: ignore[import-untyped]

MOST_WORKERS = 8
"""Each takes up to a gigabyte."""
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


def keep_together(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the tests that share what is made once run in one process. Before pytest-xdist looks at its marks."""
    if config.pluginmanager.has_plugin("xdist"):
        for item in items:
            if not MADE_ONCE.isdisjoint(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling | None:
    """Outlive a worker's death, which is how a test ends that takes too long.

    pytest-xdist 3.8 would run that test again, and hand out what the worker had done already as work that never ends.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class Scheduler(LoadGroupScheduling):  # type: ignore[misc]
        def remove_node(self, node: Any) -> str | None:
            units = self.assigned_work[node]
            dead = next((test for unit in units.values() for test, done in unit.items() if not done), None)
            for scope, unit in list(units.items()):
                if dead in unit:
                    unit[dead] = True
                if all(unit.values()):
                    del units[scope]
            super().remove_node(node)
            return dead

        def schedule(self) -> None:
            begun = self.collection is not None
            super().schedule()
            if begun:  # a worker in place of another: two units, as it holds one back until it has the next
                super().schedule()

    return Scheduler(config, log)
