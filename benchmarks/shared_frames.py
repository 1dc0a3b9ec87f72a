"""Do frames survive being shared? Several readers at once, and four threads that convert the same frames all the time.

    python benchmarks/shared_frames.py --seconds 600
    python benchmarks/shared_frames.py http://desk:8080 --seconds 600 --json -

The work is done in a process of its own, so that a crash in native code is seen as one. Every conversion is compared:
what a thread gets of a frame is what any other gets of it. Exit code 1: a crash, a wrong pixel, or a reader that got
nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import zlib
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import trio
from figures import add_json_option, report
from servers import add_server_options, login_at

import neko_trio
from neko_trio import Frame, Session
from neko_trio.desktop.frame_readers import Frames
from neko_trio.simulator import open_simulator

THREADS = 4
GRACE = 60.0
"""Seconds that the process may take besides the work."""
READERS: dict[str, dict[str, Any]] = {
    "watcher": {},
    "agent": {"max_rate": 1},
    "recorder": {"buffer": 64},
    "sampler": {"buffer": 8, "max_rate": 5},
}
"""Options of ``screen.frames``."""


class Studio:
    """The frame that all threads work on, and what came of it."""

    def __init__(self) -> None:
        self.frame: Frame | None = None
        self.over = threading.Event()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._checksums: dict[tuple[int, str], int] = {}
        self._lock = threading.Lock()

    def work(self, seed: int) -> None:
        """One thread's: convert whatever frame is there, in any way, until it is over."""
        chance = random.Random(seed)
        try:
            while not self.over.is_set():
                frame = self.frame
                if frame is None:
                    self.over.wait(0.01)
                    continue
                self.convert(frame, chance.choice(("whole", "part", "small", "small part")))
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            self.fail(f"{type(error).__name__}: {error}")

    def convert(self, frame: Frame, way: str) -> None:
        """Get pixels of the frame; they must be those that others got."""
        width, height = frame.size
        box = (width // 4, height // 4, width // 2, height // 2)
        if way == "part":
            pixels = frame.crop(box).to_ndarray()
            if not np.array_equal(pixels, frame.to_ndarray()[box[1] : box[3], box[0] : box[2]]):
                self.fail(f"frame {frame.number}: a part is not that part of the whole")
        elif way == "small":
            pixels = frame.scaled(max_edge=200).to_ndarray()
        elif way == "small part":
            pixels = frame.crop(box).scaled(max_edge=90).to_ndarray()
        else:
            pixels = frame.to_ndarray()
        checksum = zlib.crc32(np.ascontiguousarray(pixels).data)
        with self._lock:
            self.counts[way] += 1
            if self._checksums.setdefault((frame.number, way), checksum) != checksum:
                self.fail(f"frame {frame.number}: two threads got different pixels ({way})")
            while len(self._checksums) > 1000:
                del self._checksums[next(iter(self._checksums))]

    def fail(self, words: str) -> None:
        self.wrong.append(words)
        self.over.set()


async def read(name: str, session: Session, studio: Studio, options: dict[str, Any]) -> None:
    """One reader: each frame it gets is the one that the threads work on."""
    frames: Frames
    async with session.screen.frames(**options) as frames:
        last = 0
        async for frame in frames:
            if frame.number <= last:
                studio.fail(f"{name}: frame {frame.number} came after {last}")
            last = frame.number
            studio.frame = frame
            studio.counts[name] += 1
            if name == "sampler":
                await frame.jpeg()


async def soak(arguments: argparse.Namespace) -> dict[str, Any]:
    studio = Studio()
    threads = [threading.Thread(target=studio.work, args=(seed,)) for seed in range(THREADS)]
    async with AsyncExitStack() as stack:
        server: Any = arguments
        if arguments.url is None:
            server = await stack.enter_async_context(open_simulator(size=(640, 360)))
        session = await stack.enter_async_context(neko_trio.open_session(**login_at(server)))
        for thread in threads:
            thread.start()
        try:
            with trio.move_on_after(arguments.seconds):
                async with trio.open_nursery() as nursery:
                    for name, options in READERS.items():
                        nursery.start_soon(read, name, session, studio, options)
                    await trio.to_thread.run_sync(studio.over.wait, abandon_on_cancel=True)
                    nursery.cancel_scope.cancel()
        finally:
            studio.over.set()
            for thread in threads:
                thread.join()
        peer = session.statistics().peer
        assert peer is not None
        assert peer.video is not None
        video = peer.video
    missing = [name for name in READERS if not studio.counts[name]]
    return {
        "seconds": arguments.seconds,
        "counts": dict(studio.counts),
        "frames_received": video.frames_received,
        "frames_decoded": video.frames_decoded,
        "wrong": [*studio.wrong, *(f"{name} got no frame" for name in missing)],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_server_options(parser, instead="a simulator in the process is")
    parser.add_argument("--seconds", type=float, default=20)
    add_json_option(parser, default="-")
    parser.add_argument("--here", action="store_true", help="do the work in this process")
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(trio.run(soak, arguments)))
        return 0
    command = [sys.executable, "-X", "faulthandler", __file__, "--here", "--seconds", str(arguments.seconds)]
    if arguments.url:
        command += [arguments.url, "--username", arguments.username]
    environment = {**os.environ, "NEKO_PASSWORD": arguments.password}
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, env=environment, timeout=arguments.seconds + GRACE, check=False
        )
    except subprocess.TimeoutExpired:
        result: dict[str, Any] = {"seconds": arguments.seconds, "wrong": ["the process did not end"]}
    else:
        result = json.loads(done.stdout) if done.returncode == 0 else {"wrong": [f"exit code {done.returncode}"]}
    return report(result, arguments.json, failures=result["wrong"])


if __name__ == "__main__":
    sys.exit(main())
