"""The commands, and how each of them ends: exit code, error text, JSON."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import cyclopts

from neko_trio.cli import COMMANDS
from neko_trio.errors import NekoError

app = cyclopts.App(name="neko-trio", help="Drive Neko v3 remote desktops.", help_format="plaintext", version_flags=[])
for _name, _help in COMMANDS.items():
    # By name: only the module of the command that runs is imported.
    app.command(f"neko_trio.cli.{_name}:{_name}", name=_name, help=_help)


def run(arguments: list[str]) -> int:
    """Run one command; return the exit code: 0 done, 1 failed, 2 wrong usage, 128 + the signal's number interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows only ASCII is no reason to fail
    try:
        result = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except cyclopts.CycloptsError:
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return result if isinstance(result, int) else 0


def conclude(
    work: Callable[[], Awaitable[dict[str, Any]]],
    *,
    as_json: bool,
    show: Callable[[dict[str, Any]], None],
    until_signal: bool = False,
) -> int:
    """Run ``work`` under trio; print its result with ``show`` or as JSON; return the exit code.

    An error of ours, or of the file system, is told in words (or as ``{"error": …}``), never as a traceback: it says
    what happened and what to change. Others are bugs and keep theirs. SIGINT and SIGTERM cancel ``work``, so that it
    closes what it has opened; with ``until_signal`` that is how it is meant to end.
    """
    import trio

    received: list[signal.Signals] = []
    try:
        result = trio.run(_until_signal, work, received)
    except NekoError as error:
        _tell(f"{type(error).__name__}: {error}", describe(error), as_json=as_json)
        if not as_json and error.timeline is not None and len(error.timeline.marks) > 1:
            from neko_trio.cli.waterfall import waterfall_text

            print(waterfall_text(error.timeline.to_dict(), sys.stderr), file=sys.stderr)
        return 1
    except OSError as error:
        _tell(str(error), {"type": type(error).__name__, "message": str(error)}, as_json=as_json)
        return 1
    if result is None:
        if until_signal:
            return 0
        message = f"Interrupted by {received[0].name}."
        _tell(message, {"type": "Interrupted", "message": message}, as_json=as_json)
        return 128 + received[0]
    if as_json:
        print(json.dumps(result))
    else:
        show(result)
    return 0


async def _until_signal(
    work: Callable[[], Awaitable[dict[str, Any]]], received: list[signal.Signals]
) -> dict[str, Any] | None:
    """The result of ``work``, or ``None`` when the first SIGINT or SIGTERM, now in ``received``, has cancelled it."""
    import trio

    from neko_trio._services import open_services

    async def watch() -> None:
        # Left at the first signal: the second one has its usual effect, should the close take too long.
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                received.append(signal.Signals(number))
                break
        scope.cancel(reason="KeyboardInterrupt: a signal")  # which puts the goodbyes in a hurry

    with trio.CancelScope() as scope:
        async with open_services() as services:
            services.start_soon(watch)
            return await work()
    return None


def _tell(text: str, as_object: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": as_object}))
    else:
        print(f"neko-trio: {text}", file=sys.stderr)


def describe(error: NekoError) -> dict[str, Any]:
    """The error as JSON."""
    return {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "step": error.step,
        "retryable": error.retryable,
        "timeline": error.timeline.to_dict() if error.timeline is not None else None,
    }
