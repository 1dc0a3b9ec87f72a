"""A simulator that is there again under the same port and passwords after it was killed, in a process of its own.

python benchmarks/mortal_server.py --port 8080 --password secret --admin-password other   # JSON, and serves

It ends with its standard input, as well.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from servers import login_at, run_server, say_and_serve

from neko_trio.simulator import open_simulator

STARTS_WITHIN = 60.0
ENDS_WITHIN = 5.0
"""Seconds that its process may take, on a busy machine."""


class MortalServer:
    """The process, and the next one. Made by :func:`open_mortal`."""

    def __init__(self, port: int, password: str, admin_password: str) -> None:
        self._port, self._password, self._admin_password = port, password, admin_password
        self._process: trio.Process | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def died(self) -> bool:
        """Whether it has ended though nobody ended it."""
        return self._process is not None and self._process.poll() is not None

    async def start(self) -> None:
        """Return when it serves."""
        command = [sys.executable, __file__, "--port", str(self._port)]
        command += ["--password", self._password, "--admin-password", self._admin_password]
        # A process group of its own, for Ctrl-C is the client's; in our session, so that it goes on when we are gone
        # while it is stopped (setpgid(2): orphaned groups), and then sees the end of its input.
        self._process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
        )
        assert self._process.stdout is not None
        line = b""
        with trio.fail_after(STARTS_WITHIN):
            while not line.endswith(b"\n"):
                part = await self._process.stdout.receive_some()
                if not part:
                    raise RuntimeError("the simulator ended before it was ready")
                line += part
        self.url = json.loads(line)["url"]
        self._port = int(self.url.rpartition(":")[2])

    async def end(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it, with a goodbye (``SIGINT``) or without (``SIGKILL``); return when it is gone."""
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(how)
        with trio.CancelScope(shield=True):  # bounded: it is killed when its time is over
            with trio.move_on_after(ENDS_WITHIN):
                await process.wait()
            if process.poll() is None:
                process.kill()
                await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


@asynccontextmanager
async def open_mortal(port: int, password: str, admin_password: str) -> AsyncIterator[MortalServer]:
    """It serves; at the block's end it is ended, if there is one then."""
    server = MortalServer(port, password, admin_password)
    try:
        await server.start()
        yield server
    finally:
        if server.runs:
            server.go_on()
            await server.end()


async def serve(arguments: argparse.Namespace) -> None:
    opened = open_simulator(
        port=arguments.port, password=arguments.password, admin_password=arguments.admin_password, pre_encoded=True
    )
    async with opened as simulator, trio.open_nursery() as nursery:
        nursery.start_soon(end_with_input, nursery.cancel_scope)
        nursery.start_soon(end_with_signal, nursery.cancel_scope)
        said: dict[str, Any] = login_at(simulator)
        await say_and_serve(said)


async def end_with_input(scope: trio.CancelScope) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as given:
        while await given.receive_some():
            pass
    scope.cancel()


async def end_with_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async for _signal in signals:
            scope.cancel()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--password", required=True)
    parser.add_argument("--admin-password", required=True)
    return run_server(serve, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
