"""For all tests: side by side where they may be, virtual time by a mark, hypothesis' ways, each its own log lines."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, settings
from trio.testing import MockClock

from neko_trio._log_rate import bound_logs
from tests.side_by_side import keep_together, pytest_cmdline_main, pytest_xdist_make_scheduler

__all__ = ["pytest_cmdline_main", "pytest_xdist_make_scheduler"]  # hooks

# How long an example takes is the machine's affair, which may be busy: pytest's own limit is the one that counts. The
# rest is as it would be, which in continuous integration means the same examples each time.
settings.register_profile(
    "any machine",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, *settings().suppress_health_check],
)
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs this in the background has it ignored, and the tests of Ctrl-C would wait for it for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def whole_burst() -> None:
    """What is logged is bounded in rate, for the whole process."""
    bound_logs()


@pytest.fixture(autouse=True)
def no_thread_in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where time is virtual, what a thread would do is done in place.

    The clock jumps when all tasks wait and sees no thread at work: hours of heartbeats passed while a file was written,
    and on a busy machine days.
    """
    in_thread = trio.to_thread.run_sync

    async def run_sync(call: Callable[..., object], *arguments: object, **options: Any) -> object:
        if not isinstance(trio.lowlevel.current_clock(), MockClock):
            return await in_thread(call, *arguments, **options)
        await trio.lowlevel.checkpoint_if_cancelled()
        result = call(*arguments)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return result

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give ``usefixtures("autojump_clock")`` its meaning.

    pytest-trio looks for a clock among a test's arguments only: without this, such a test runs in real time.
    """
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and "autojump_clock" in item.fixturenames
            and iscoroutinefunction(item.obj)
        ):
            item.add_marker(pytest.mark.trio(run=_run_in_virtual_time))
    keep_together(config, items)


def _run_in_virtual_time(
    main: Callable[[], Awaitable[object]], *, clock: trio.abc.Clock | None = None, **options: Any
) -> object:
    return trio.run(main, clock=clock or MockClock(autojump_threshold=0), **options)
