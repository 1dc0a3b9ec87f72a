"""The neko-trio command in a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import trio

NEKO_VARIABLES = ("NEKO_URL", "NEKO_USERNAME", "NEKO_PASSWORD", "NEKO_TOKEN")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def object(self) -> dict[str, Any]:
        """The one JSON object that is all of its standard output."""
        assert self.out.count("\n") == 1, self.out
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Run = Callable[..., Awaitable[Ended]]


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without its own NEKO_ variables; warnings are errors in it."""
    kept = {name: value for name, value in os.environ.items() if name not in NEKO_VARIABLES}
    return {**kept, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8", **extra}


@pytest.fixture
def command() -> Run:
    """Run ``neko-trio ARGUMENTS`` to its end; keyword arguments are environment variables."""

    async def run(*arguments: str, **variables: str) -> Ended:
        with trio.fail_after(60):
            done = await trio.run_process(
                [sys.executable, "-m", "neko_trio", *arguments],
                stdin=subprocess.DEVNULL,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=environment(**variables),
            )
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
