"""The embedded server in a process of its own, where its encoder takes no time from the client's."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import IO

import trio

from neko_trio.errors import ServerUnreachable

__all__ = ["SimulatorProcess", "open_simulator_process"]

GRACE = 2.0
"""Seconds that the process may take to end after it was interrupted."""

LINE_LIMIT = 64 * 1024
"""Bytes of the line that tells where the server is."""


@dataclass(frozen=True, slots=True)
class SimulatorProcess:
    """A server in another process: where it is and who may in."""

    url: str
    username: str
    password: str = field(repr=False)
    admin_password: str = field(repr=False)
    pid: int
    """Its process id: what it costs can be read by that."""


@asynccontextmanager
async def open_simulator_process(
    *, size: tuple[int, int] = (1280, 720), rate: int = 25, codec: str = "vp8", pre_encoded: bool = False
) -> AsyncIterator[SimulatorProcess]:
    """Start ``neko-trio serve`` on a free loopback port; yield once it is ready; end it with the block.

    The parameters are those of :func:`open_simulator`. Raises :class:`ServerUnreachable`, with what the process wrote
    to its standard error, when it ends before it is ready. Cancelling ends the process too; it gets 2 s to leave.
    """
    command = [
        *(sys.executable, "-m", "neko_trio", "serve", "--json", "--until-eof", "--codec", codec, "--rate", str(rate)),
        *("--width", str(size[0]), "--height", str(size[1])),
        *(("--pre-encoded",) if pre_encoded else ()),
    ]
    with tempfile.TemporaryFile() as said:  # a file, not a pipe: nobody reads it while the process runs
        # Its input ends when we do, however we end: then it does, too.
        # A session of its own: Ctrl-C in a terminal is for the client, which still has to say goodbye to this server.
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, start_new_session=True
        )
        try:
            ready = await _first_line(process, said)
            yield SimulatorProcess(**json.loads(ready), pid=process.pid)
        finally:
            with trio.CancelScope(shield=True):  # bounded: it is killed when its grace is over
                await _end(process)


async def _first_line(process: trio.Process, said: IO[bytes]) -> bytes:
    assert process.stdout is not None
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < LINE_LIMIT:
        part = await process.stdout.receive_some(LINE_LIMIT)
        if not part:
            await process.wait()
            said.seek(0)
            text = said.read(LINE_LIMIT).decode(errors="replace").strip().splitlines()
            raise ServerUnreachable(
                f"The simulator's process ended before it was ready: {text[-1] if text else 'it said nothing'}"
            )
        line += part
    return bytes(line)


async def _end(process: trio.Process) -> None:
    if process.poll() is None:
        process.terminate()
        with trio.move_on_after(GRACE) as scope:
            await process.wait()
        if scope.cancelled_caught:
            process.kill()
            await process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            await stream.aclose()
