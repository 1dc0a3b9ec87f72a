"""What does listening cost the client in CPU, and how late does it hear?

    python benchmarks/audio.py                                  # a simulator of its own, whose desktop sounds
    python benchmarks/audio.py http://desk:8080 --password …    # a real server; play something there

One row for each way: ``none`` (connected for sound, and nobody listens), ``sound`` (every block is taken, no video),
``live`` (every new picture, no sound), ``live, sound`` (both). ``core`` is CPU seconds of this process per second; the
server has a process of its own. The floor are the packets that were heard meanwhile, decoded with libopus through PyAV
in the same process right after: ``tight`` in one go, ``paced`` one every 20 ms as they come, which finds cold caches.
``late`` is from a packet's arrival to its block in the reader's hands, ``first block`` from the wish to listen, the
server's recorder included.

Goal: at most 0.05 core for the sound, on top of ``none`` and ``paced``: 50 packets a second, each of which wakes two
threads.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import trio
from figures import add_json_option, environment, report, summary
from numpy.typing import NDArray
from servers import add_server_options, login_at, run_server, say_and_serve, started

import neko_trio
from neko_trio.media.audio.decoder import AudioDecoder, AudioFormat, Samples
from neko_trio.simulator import InputEvent, open_simulator

GOAL = 0.05
"""Cores for the sound, on top of none and of decoding at that pace."""
WARM_UP = 2.0
"""Seconds before the measuring begins."""
PACED = 250
"""Packets that are decoded one by one for the floor."""
RATE = 48_000
WAYS = {"none": ("off", False), "sound": ("off", True), "live": ("live", False), "live, sound": ("live", True)}
"""The video, and whether somebody listens."""


class Chord:
    """A still screen that sounds: two tones on each channel."""

    def render(self, now: float, /) -> NDArray[np.uint8]:
        return np.full((720, 1280, 3), 96, np.uint8)

    def on_input(self, event: InputEvent, /) -> None:
        """Nothing reacts."""

    def sound(self, start: int, count: int, /) -> NDArray[np.float32]:
        at = (start + np.arange(count)) * (2 * math.pi / RATE)
        left, right = np.sin(440 * at) + np.sin(554.37 * at), np.sin(659.25 * at) + np.sin(880 * at)
        return (0.3 * np.stack([left, right], axis=1)).astype(np.float32)


@contextmanager
def kept_packets() -> Iterator[list[tuple[AudioFormat, bytes]]]:
    """The packets that are decoded inside the block, in order."""
    kept: list[tuple[AudioFormat, bytes]] = []
    decode = AudioDecoder.decode

    def keep(decoder: AudioDecoder, payload: bytes) -> Samples:
        kept.append((decoder.format, payload))
        return decode(decoder, payload)

    with patch.object(AudioDecoder, "decode", keep):
        yield kept


def decode_alone(packets: list[tuple[AudioFormat, bytes]], *, every: float = 0.0) -> float:
    """CPU seconds of decoding a packet, one ``every`` so many seconds, or all of them in a row."""
    if not packets:
        return math.nan
    decoder, spent, due = AudioDecoder(packets[0][0]), 0.0, time.perf_counter()
    for _, payload in packets:
        due += every
        if every:
            time.sleep(max(0.0, due - time.perf_counter()))
        started = time.thread_time()
        decoder.decode(payload)
        spent += time.thread_time() - started
    return spent / len(packets)


async def listen(session: neko_trio.Session, late: list[float], first: list[float]) -> None:
    """Until cancelled."""
    began = time.perf_counter()
    async with session.audio.blocks() as blocks:
        async for block in blocks:
            now = time.perf_counter()
            late.append(now - block.arrived)
            if not first:
                first.append(now - began)


async def watch(session: neko_trio.Session) -> None:
    """Until cancelled."""
    async with session.screen.frames() as frames:
        async for _frame in frames:
            pass


async def measure(way: str, server: dict[str, Any], seconds: float) -> dict[str, Any]:
    """One row."""
    video, listens = WAYS[way]
    late: list[float] = []
    first: list[float] = []
    async with (
        neko_trio.open_session(**server, video=video, audio=video == "off" or listens) as session,
        trio.open_nursery() as nursery,
    ):
        if video == "live":
            nursery.start_soon(watch, session)
        if listens:
            nursery.start_soon(listen, session, late, first)
        await trio.sleep(WARM_UP)
        late.clear()
        with kept_packets() as packets:
            before, cpu, began = session.statistics(), time.process_time(), time.perf_counter()
            await trio.sleep(seconds)
            used, lasted = time.process_time() - cpu, time.perf_counter() - began
            since = session.statistics() - before
        peer = session.statistics().peer
        nursery.cancel_scope.cancel()
    row: dict[str, Any] = {"way": way, "core": used / lasted, "seconds": lasted}
    if listens:
        heard = peer.audio if peer is not None else None
        rate = len(packets) / lasted
        row |= {
            "tight": decode_alone(packets) * rate,
            "paced": decode_alone(packets[:PACED], every=1 / rate if rate else 0.0) * rate,
            "blocks": since.audio_blocks,
            "blocks_dropped": since.audio_blocks_dropped,
            "first_block_ms": first[0] * 1000 if first else None,
            "late_ms": summary([each * 1000 for each in late]) if late else None,
            "codec": heard.codec if heard else None,
            "packets_lost": heard.packets_lost if heard else None,
        }
    return row


@asynccontextmanager
async def opened_server(arguments: argparse.Namespace) -> AsyncIterator[dict[str, Any]]:
    """Where to connect to: the server named, or a simulator that sounds."""
    if arguments.url is not None:
        yield login_at(arguments)
        return
    async with started(__file__, "--serve") as server:
        yield server.said


async def serve() -> None:
    async with open_simulator(desktop=Chord()) as simulator:
        await say_and_serve(login_at(simulator))


async def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    rows, failures = [], []
    async with opened_server(arguments) as server:
        for way in WAYS:
            try:
                rows.append(await measure(way, server, arguments.seconds))
            except neko_trio.NekoError as error:
                failures.append(f"{way}: {type(error).__name__}: {error}")
    by_way = {row["way"]: row for row in rows}
    if "none" in by_way and "sound" in by_way:
        sound = by_way["sound"]
        sound["on_top"] = sound["core"] - by_way["none"]["core"] - sound["paced"]
        if not sound["on_top"] <= GOAL:
            failures.append(f"sound: {sound['on_top']:.4f} core on top of none and decoding, more than {GOAL}")
    for row in rows:
        if WAYS[row["way"]][1]:
            expected = row["seconds"] * 50 * 0.9
            if row["blocks"] < expected or row["blocks_dropped"]:
                failures.append(f"{row['way']}: {row['blocks']} blocks, {row['blocks_dropped']} dropped")
    return {
        "url": server["url"],
        "rows": rows,
        "failures": failures,
        **environment(),
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{'':<14}{'core':>8}{'tight':>8}{'paced':>8}{'on top':>8}{'late p50':>10}{'p95':>7}{'p99':>8}{'first ms':>10}"
    ]
    for row in result["rows"]:
        text = f"{row['way']:<14}{row['core']:8.4f}"
        if "paced" in row:
            late = row["late_ms"] or {"median": math.nan, "p95": math.nan, "p99": math.nan}
            text += f"{row['tight']:8.4f}{row['paced']:8.4f}{row.get('on_top', math.nan):8.4f}"
            text += (
                f"{late['median']:10.2f}{late['p95']:7.2f}{late['p99']:8.2f}{row['first_block_ms'] or math.nan:10.1f}"
            )
        lines.append(text)
    lines.append(", ".join(f"{name} {number}" for name, number in result["versions"].items()))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_server_options(parser)
    parser.add_argument("--seconds", type=float, default=20, help="that each row is measured")
    add_json_option(parser)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return run_server(serve)
    result = trio.run(measure_all, arguments)
    return report(result, arguments.json, table=table(result), failures=result["failures"])


if __name__ == "__main__":
    sys.exit(main())
