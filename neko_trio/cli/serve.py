"""``neko-trio serve``: the embedded server, until interrupted."""

from __future__ import annotations

import contextlib
import json as json_module
import os
import signal
import threading
import time
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

from neko_trio.cli.app import conclude
from neko_trio.cli.options import Json

GRACE = 5.0
"""Seconds to end in when standard input has ended."""


def serve(
    *,
    port: Annotated[
        int, Parameter(validator=validators.Number(gte=0, lte=65535), help="TCP port; 0 takes a free one.")
    ] = 0,
    host: Annotated[str, Parameter(help="Address to listen at. Anything but loopback lets others in.")] = "127.0.0.1",
    width: Annotated[int, Parameter(help="Width of the desktop in pixels, a multiple of 8.")] = 1280,
    height: Annotated[int, Parameter(help="Height of the desktop in pixels.")] = 720,
    rate: Annotated[int, Parameter(validator=validators.Number(gte=1, lte=120), help="Frames per second.")] = 25,
    codec: Literal["vp8", "vp9", "h264", "av1"] = "vp8",
    pre_encoded: Annotated[
        bool, Parameter(negative="", help="Play every watcher the same two seconds, encoded beforehand.")
    ] = False,
    until_eof: Annotated[
        bool,
        Parameter(negative="", help="End with standard input: when the program that holds its other end does."),
    ] = False,
    json: Json = False,
) -> int:
    """Run the embedded Neko v3 server. Its passwords are random, and printed once it is ready.

    SIGINT and SIGTERM end it, with exit code 0.
    """

    if until_eof:
        threading.Thread(target=_end_with_input, name="neko-trio-input", daemon=True).start()

    async def work() -> dict[str, Any]:
        import trio

        from neko_trio.simulator import open_simulator

        opened = open_simulator(
            port=port, host=host, size=(width, height), rate=rate, codec=codec, pre_encoded=pre_encoded
        )
        async with AsyncExitStack() as stack:
            try:
                simulator = await stack.enter_async_context(opened)
            except OSError as error:
                raise OSError(error.errno, error.strerror, f"{host} port {port}") from error
            ready = {
                "url": simulator.url,
                "username": simulator.username,
                "password": simulator.password,
                "admin_password": simulator.admin_password,
            }
            if json:
                print(json_module.dumps(ready), flush=True)
            else:
                for name, value in ready.items():
                    print(f"{name.replace('_', ' '):<15} {value}", flush=True)
            await trio.sleep_forever()
        raise AssertionError("sleep_forever returned")

    return conclude(work, as_json=json, show=lambda _result: None, until_signal=True)


def _end_with_input() -> None:
    """Read standard input to its end, then end the process as SIGTERM does; by force where that takes too long.

    A thread that asks nobody: it works while the event loop is busy, and whatever else hangs.
    """
    with contextlib.suppress(OSError):  # no input at all is an end, too
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)
