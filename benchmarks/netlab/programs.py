"""Programs of the laboratory: started in sessions of their own, heard, and ended on every way out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import trio

GRACE = 2.0
"""Seconds that a process may take to end when it is told to."""
KEPT_LINES = 200
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class LabError(Exception):
    """The laboratory cannot be had, or a program in it did not come up."""


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions in a group of groups."""
    found = [leaves(one) if isinstance(one, BaseExceptionGroup) else [one] for one in group.exceptions]
    return [error for errors in found for error in errors]


async def run(*command: str, text: str | None = None) -> str:
    """Run a command of the system's; its standard output. Raises :class:`LabError`."""
    done = await trio.run_process(
        command,
        stdin=b"" if text is None else text.encode(),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()[-400:]}")
    return done.stdout.decode()


@dataclass(slots=True)
class Program:
    """A program that runs in the laboratory, and its newest lines."""

    name: str
    process: trio.Process
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))

    def complaints(self) -> list[str]:
        """The newest lines that tell of trouble."""
        words = (" ERR ", " FTL ", " PNC ", "panic:", "fatal error")
        return [line[:300] for line in self.lines if any(word in line for word in words)][-5:]


@asynccontextmanager
async def running(
    name: str, command: Sequence[str], *, ready: str, limit: float = 20.0, env: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """A program, from its line that ``ready`` (a regular expression) is found in until the end of the block.

    Raises :class:`LabError` with its last words when it ends before, or is not ready within ``limit`` seconds. It is in
    a session of its own: Ctrl-C is for us, who end it.
    """
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, **(env or {})},
    )
    program = Program(name, process)
    is_ready, ended = trio.Event(), trio.Event()

    async def listen() -> None:
        assert process.stdout is not None
        rest = b""
        async for part in process.stdout:
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                program.lines.append(_COLOURS.sub("", line.decode(errors="replace")))
                if re.search(ready, program.lines[-1]):
                    is_ready.set()
            rest = rest[-4096:]
        ended.set()
        is_ready.set()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            with trio.move_on_after(limit):
                await is_ready.wait()
            if ended.is_set() or not is_ready.is_set():
                said = " / ".join(list(program.lines)[-3:])
                raise LabError(f"{name} {'ended' if ended.is_set() else 'was not ready in time'}: {said[-600:]}")
            try:
                yield program
            finally:
                nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):  # bounded: what does not end is killed
            await end(process)


async def end(process: trio.Process) -> None:
    """End a process, and with it what it started in its session."""
    if process.poll() is None:
        process.terminate()
        with trio.move_on_after(GRACE):
            await process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    if process.stdout is not None:
        await process.stdout.aclose()
