"""One row, measured: its network, its programs, our connects, the rival's."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import AsyncExitStack
from tempfile import TemporaryFile
from typing import Any

import trio

from netlab.judge import Taken, judged
from netlab.lab import open_lab
from netlab.programs import LabError, end, running
from netlab.row import Row
from netlab.rows import ROWS
from netlab.shop import Workshop, ask, errand, open_relay, open_server

PORT = 18130
REFERENCE_PORT = 18131
KEYFRAME_INTERVAL = 2.4
"""Seconds from one to the next, at most, where nobody asks for any (60 frames of 25 Hz)."""
SILENCE = 30.0
"""Seconds without a line from a client, after which it hangs and is killed."""
FAILING_CONNECTS = 3
"""Connects of a row that cannot connect."""


async def measure(row: Row, shop: Workshop) -> dict[str, Any]:
    """One row, all of it."""
    reference = Row(name="plain", what="", simulator="plain") if row.simulator else ROWS[0]
    trust = {"SSL_CERT_FILE": str(shop.authority)}
    count = FAILING_CONNECTS if row.goal.kind == "fails" else shop.arguments.count
    if shop.screen.process.poll() is not None:
        raise LabError(f"Xvfb has ended: {' / '.join(list(shop.screen.lines)[-3:])}")
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(open_lab(row.network))
        if shop.turnserver and not row.simulator:
            await stack.enter_async_context(open_relay(lab, shop))
        server = await stack.enter_async_context(open_server(row, lab, shop, PORT, "the server"))
        where = lab.address("server")
        shown = f"[{where}]" if ":" in where else where
        targets = {"row": f"http://{shown}:{PORT}"}
        if row.paired:
            await stack.enter_async_context(open_server(reference, lab, shop, REFERENCE_PORT, "the reference"))
            targets["reference"] = f"http://{shown}:{REFERENCE_PORT}"
        trip = (await ask(errand(lab, "client", "round_trip", address=where, port=PORT)))["milliseconds"]
        what = {"targets": targets, "relay_only": row.relay_only, "take_control": not shop.arguments.no_control}
        if row.watched:
            watcher = errand(lab, "client", "watch", **what)
            await stack.enter_async_context(running("the other watcher", watcher, ready="watching"))
        spread = KEYFRAME_INTERVAL if row.watched else 0.0
        own = errand(lab, "client", "connect", count=count, freeze=shop.arguments.freeze, spread=spread, **what)
        taken = await listen(own, trust)
        counters = await lab.counters()
        rival = Taken()
        if shop.arguments.rival_count:
            wanted = min(shop.arguments.rival_count, count)
            patience = shop.arguments.rival_patience
            asked = errand(lab, "client", "rival", count=wanted, patience=patience, **what)
            rival = (await listen(asked, trust)).get("row", rival)
        complaints, ended = server.complaints(), server.process.poll() is not None
    result = judged(row, taken, counters, trip)
    if shop.arguments.rival_count:
        result["rival_aiortc"] = rival.figures() | {"patience_s": shop.arguments.rival_patience}
    if ended:
        result["problems"].append(f"the server ended: {' / '.join(list(server.lines)[-3:])[-400:]}")
    if result["problems"]:
        result["server_complaints"] = complaints
    return result


async def listen(command: list[str], environment: dict[str, str]) -> dict[str, Taken]:
    """All that a client says, by target. One that says nothing for SILENCE seconds hangs, and is killed."""
    taken: dict[str, Taken] = {}
    with TemporaryFile() as said:  # a file, not a pipe: nobody reads it while the client runs
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        try:
            await hear(process, taken)
            if process.poll():
                said.seek(0)
                words = " / ".join(said.read().decode(errors="replace").splitlines()[-3:])
                raise LabError(f"a client broke with exit code {process.returncode}: {words[-500:]}")
            return taken
        finally:
            with trio.CancelScope(shield=True):  # bounded: what does not end is killed
                await end(process)


async def hear(process: trio.Process, taken: dict[str, Taken]) -> None:
    """Take what it says, until it ends or hangs."""
    assert process.stdout is not None
    rest = b""
    while True:
        with trio.move_on_after(SILENCE) as patience:
            part = await process.stdout.receive_some(65536)
            if not part:
                await process.wait()
                return
        if patience.cancelled_caught:
            taken.setdefault("row", Taken()).hung = True
            return
        *lines, rest = (rest + part).split(b"\n")
        for line in map(json.loads, lines):
            target = taken.setdefault(line["target"], Taken())
            if "failure" in line:
                target.failures.append(line)
            elif line["number"]:
                target.runs.append(line)
