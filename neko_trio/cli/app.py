"""The commands, and how each of them ends: exit code, error text, JSON."""

from __future__ import annotations

import json
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
    """Run one command; return the exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        result = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except cyclopts.CycloptsError:
        return 2
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) else 0


def conclude(
    work: Callable[[], Awaitable[dict[str, Any]]], *, as_json: bool, show: Callable[[dict[str, Any]], None]
) -> int:
    """Run ``work`` under trio; print its result with ``show`` or as JSON; return the exit code.

    An error of ours, or of the file system, is told in words (or as ``{"error": …}``), never as a traceback: it says
    what happened and what to change. Others are bugs and keep theirs.
    """
    import trio

    try:
        result = trio.run(work)
    except NekoError as error:
        if as_json:
            print(json.dumps({"error": describe(error)}))
        else:
            print(f"neko-trio: {type(error).__name__}: {error}", file=sys.stderr)
            if error.timeline is not None and len(error.timeline.marks) > 1:
                from neko_trio.cli.waterfall import waterfall_text

                print(waterfall_text(error.timeline.to_dict()), file=sys.stderr)
        return 1
    except OSError as error:
        if as_json:
            print(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}))
        else:
            print(f"neko-trio: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(result))
    else:
        show(result)
    return 0


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
