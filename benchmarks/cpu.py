"""What does a session cost the client in CPU, on top of decoding the very same frames with PyAV alone?

    python benchmarks/cpu.py                                  # a simulator of its own, 720p25 and 1080p30
    python benchmarks/cpu.py http://desk:8080 --password …    # a real server, whatever it sends
    python benchmarks/cpu.py --rival --profile

One row for each way of looking: ``live`` (every new frame is taken), ``every`` (a buffer of every frame),
``live 1 fps`` (``max_rate=1``), ``demand 1 fps`` (``video="on_demand"``, a frame a second), ``nobody`` (live, nobody
looks), and unmodified aiortc. ``core`` is CPU seconds of this process per second; the server has its own. ``decode`` is
what PyAV alone takes for the frames that were decoded meanwhile, one by one at the pace at which they came, in the same
process right after, and ``on top`` the difference. ``tight`` is the same in a tight loop: at a frame's pace the
processor's caches are cold each time, which no client can help. ``--profile`` runs the asyncio thread under cProfile,
which makes it slower: read the shares only.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch

import av
import trio
from figures import add_json_option, environment, report
from plain_aiortc import connect_once as connect_plainly
from servers import add_server_options, add_shape_options, named_or_simulated, shapes

import neko_trio
from neko_trio import Session
from neko_trio.media.decoder import Decoder, open_decoder
from neko_trio.media.depayload import video_format
from neko_trio.media.picture_group import NumberedFrame

GOALS = {"live": 0.02, "demand 1 fps": 0.02}
"""Cores at 720p: ``live`` on top of decoding, ``demand`` in all."""
WARM_UP = 2.0
"""Seconds before the measuring begins."""
PACED_SECONDS = 8.0
"""Seconds' worth of frames that are decoded one by one, besides the tight loop over all."""


@contextmanager
def kept_frames() -> Iterator[list[NumberedFrame]]:
    """The encoded frames that are decoded inside the block, in order."""
    kept: list[NumberedFrame] = []
    take = Decoder._take

    def keep(decoder: Decoder) -> NumberedFrame | None:
        frame = take(decoder)
        if frame is not None:
            kept.append(frame)
        return frame

    with patch.object(Decoder, "_take", keep):
        yield kept


def decode_alone(codec: str, frames: list[NumberedFrame], pause: float = 0.0) -> float:
    """CPU seconds a frame of decoding them one after the other, from the first keyframe on."""
    first = next((at for at, frame in enumerate(frames) if frame.encoded.key), len(frames))
    packets = [frame.encoded.data for frame in frames[first:]]
    context = open_decoder(video_format(codec))
    started, decoded = time.thread_time(), 0
    for data in packets:
        decoded += len(context.decode(av.Packet(data)))
        time.sleep(pause)
    return (time.thread_time() - started) / decoded if decoded else 0.0


def thread_seconds() -> dict[str, float]:
    """CPU seconds by kind of thread."""
    seconds: dict[str, float] = {}
    for thread in threading.enumerate():
        if thread.ident is None:
            continue
        kind = "trio" if thread is threading.main_thread() else thread.name.rstrip("-0123456789")
        spent = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        seconds[kind] = seconds.get(kind, 0.0) + spent
    return seconds


# -- ways of looking: each looks until it is cancelled


async def take_newest(session: Session) -> None:
    async with session.screen.frames() as frames:
        async for _frame in frames:
            pass


async def take_every(session: Session) -> None:
    async with session.screen.frames(buffer=32) as frames:
        async for _frame in frames:
            pass


async def take_slowly(session: Session) -> None:
    async with session.screen.frames(max_rate=1) as frames:
        async for _frame in frames:
            pass


async def take_one_a_second(session: Session) -> None:
    while True:
        await session.screen.frame()
        await trio.sleep(1)


async def take_none(session: Session) -> None:
    await session.screen.frame()
    await trio.sleep_forever()


WAYS: dict[str, tuple[str, Callable[[Session], Any]]] = {
    "live": ("live", take_newest),
    "every": ("live", take_every),
    "live 1 fps": ("live", take_slowly),
    "demand 1 fps": ("on_demand", take_one_a_second),
    "nobody": ("live", take_none),
}


async def measure(way: str, server: dict[str, Any], seconds: float, profile: bool) -> dict[str, Any]:
    """One row."""
    video, look = WAYS[way]
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(neko_trio.open_session(**server, video=video))
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(look, session)
        await trio.sleep(WARM_UP)
        with kept_frames() as frames:
            await session.screen.frame()
            before, before_threads, began = session.statistics(), thread_seconds(), time.perf_counter()
            cpu = time.process_time()
            if profile:
                await stack.enter_async_context(profiled(session))
            await trio.sleep(seconds)
            cpu, took = time.process_time() - cpu, time.perf_counter() - began
            after, after_threads = session.statistics(), thread_seconds()
        nursery.cancel_scope.cancel()
    assert before.peer is not None
    assert after.peer is not None
    earlier, later = before.peer.video, after.peer.video
    assert earlier is not None
    assert later is not None
    decoded = later.frames_decoded - earlier.frames_decoded
    tight = decode_alone(later.codec, frames) * decoded
    some = frames[: int(PACED_SECONDS * decoded / took)]
    decode = decode_alone(later.codec, some, took / max(decoded, 1)) * decoded if len(some) > 1 else 0.0
    return {
        "way": way,
        "codec": later.codec,
        "frames_per_second": round((later.frames_received - earlier.frames_received) / took, 2),
        "decoded_per_second": round(decoded / took, 2),
        "packets_per_second": round((later.packets_received - earlier.packets_received) / took, 1),
        "megabits_per_second": round((later.bytes_received - earlier.bytes_received) * 8e-6 / took, 3),
        "core": round(cpu / took, 4),
        "decode_core": round(decode / took, 4),
        "tight_core": round(tight / took, 4),
        "on_top_core": round((cpu - decode) / took, 4),
        "threads": {
            kind: round((spent - before_threads.get(kind, 0.0)) / took, 4)
            for kind, spent in after_threads.items()
            if spent - before_threads.get(kind, 0.0) > 0.0005 * took
        },
    }


@asynccontextmanager
async def profiled(session: Session) -> AsyncIterator[None]:
    """Profile the asyncio thread for the block, and print where its time went."""
    profiler = cProfile.Profile()
    lease = session._parts.lease
    assert lease is not None

    async def switch(on: bool) -> None:
        (profiler.enable if on else profiler.disable)()

    await lease.run(switch, True)
    try:
        yield
    finally:
        with trio.CancelScope(shield=True):
            await lease.run(switch, False)
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(28)


async def measure_rival(server: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Unmodified aiortc: every frame is decoded and taken."""
    figures: dict[str, float] = {}

    async def watch(track: Any) -> None:
        async def take() -> int:
            frames = 0
            while True:
                await track.recv()
                frames += 1
                if asyncio.get_running_loop().time() >= ends:
                    return frames

        ends = asyncio.get_running_loop().time() + WARM_UP
        await take()
        ends, cpu = asyncio.get_running_loop().time() + seconds, time.process_time()
        figures["frames"] = await take()
        figures["cpu"] = time.process_time() - cpu

    def run() -> None:
        asyncio.run(connect_plainly(**server, patience=seconds + 30, watch=watch))

    await trio.to_thread.run_sync(run)
    return {
        "way": "plain aiortc",
        "frames_per_second": round(figures["frames"] / seconds, 2),
        "core": round(figures["cpu"] / seconds, 4),
    }


async def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for shape, options in shapes(arguments).items():
        rows: list[dict[str, Any]] = []
        async with named_or_simulated(arguments, **options) as server:
            for way in arguments.ways:
                rows.append(await measure(way, server, arguments.seconds, arguments.profile))
                print(line(shape, rows[-1]), file=sys.stderr)
            if arguments.rival:
                rows.append(await measure_rival(server, arguments.seconds))
                print(line(shape, rows[-1]), file=sys.stderr)
        results[shape] = rows
    return {
        "url": arguments.url,
        "seconds": arguments.seconds,
        "rows": results,
        "missed": missed(results),
        **environment(),
    }


def missed(results: dict[str, Any]) -> list[str]:
    """Goals of 720p25 that were not reached, in words."""
    found = []
    for row in results.get("720p25", ()):
        figure = row.get("on_top_core" if row["way"] == "live" else "core", 0.0)
        if row["way"] in GOALS and figure > GOALS[row["way"]]:
            found.append(f"{row['way']}: {figure} core, the goal is {GOALS[row['way']]}")
    return found


def line(shape: str, row: dict[str, Any]) -> str:
    figures = " ".join(f"{key} {value}" for key, value in row.items() if key not in ("way", "codec", "threads"))
    return f"{shape:<8} {row['way']:<13} {figures} {row.get('threads', '')}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_server_options(parser, instead="a simulator is started for each shape")
    parser.add_argument("--seconds", type=float, default=20, help="measured for each row")
    add_shape_options(parser)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rival", action="store_true", help="unmodified aiortc as well")
    parser.add_argument("--profile", action="store_true", help="profile the asyncio thread; figures are too high then")
    add_json_option(parser)
    arguments = parser.parse_args()
    result = trio.run(measure_all, arguments)
    return report(result, arguments.json, failures=() if arguments.profile else result["missed"])


if __name__ == "__main__":
    sys.exit(main())
