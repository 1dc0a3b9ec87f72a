"""Runs one target: gives it inputs, watches time and memory, makes what failed smaller."""

from __future__ import annotations

import mmap
import random
import resource
import signal
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

from fuzzing.target import Check, Target

KEPT = 1 << 20
"""Bytes of an input that the state file holds; longer ones are made anew from the seed."""
TRIES = 400
"""Inputs that shrinking may try."""
WARM = 200
"""Inputs after which the process's memory is what the growth is counted from."""


class TooSlow(BaseException):
    """An input took more CPU than it may. No ``Exception``, so that nothing that is tested takes it for its own."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one target."""

    target: str
    seed: int
    inputs: int
    seconds: float
    bytes: int
    slowest_ms: float
    growth: int
    """Bytes by which the process's memory grew, behind the first inputs."""
    failure: str | None = None
    traceback: str | None = None
    hex: str | None = None
    """The input that failed, as small as it could be made."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


@contextmanager
def limited(seconds: float) -> Iterator[Callable[[], None]]:
    """What is yielded starts the time anew; when it is up, :class:`TooSlow`. In the main thread: no other can be."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"more than {seconds:g} s of CPU")

    before = signal.signal(signal.SIGPROF, interrupt)
    try:
        yield lambda: _arm(seconds)
    finally:
        _arm(0)
        signal.signal(signal.SIGPROF, before)


def _arm(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds)


class Kept:
    """The input that is being worked on, in a file that outlives the process."""

    def __init__(self, path: Path | None) -> None:
        self._map: mmap.mmap | None = None
        if path is not None:
            with path.open("w+b") as file:
                file.truncate(KEPT + 4)
                self._map = mmap.mmap(file.fileno(), KEPT + 4)

    def keep(self, data: bytes) -> None:
        """This one is next."""
        if self._map is not None and len(data) <= KEPT:
            self._map[:4] = len(data).to_bytes(4, "big")
            self._map[4 : 4 + len(data)] = data


def read_kept(path: Path) -> bytes:
    """What a process that died was working on."""
    data = path.read_bytes()
    return data[4 : 4 + int.from_bytes(data[:4], "big")]


def seeded(target: Target, seed: int) -> random.Random:
    """A generator for this target and seed alone: what it makes does not depend on what runs besides."""
    return random.Random(zlib.crc32(target.name.encode()) << 32 | seed)


def run_target(target: Target, inputs: int, seed: int, state: Path | None = None) -> Outcome:
    """Give it so many inputs, or as many as it takes until one fails."""
    make = target.make(seeded(target, seed))
    check, kept = target.check(), Kept(state)
    started, slowest, size, warm, done = perf_counter(), 0.0, 0, 0, 0
    failure: BaseException | None = None
    data = b""
    with limited(target.limit) as start:
        for done in range(1, inputs + 1):
            data = make()
            kept.keep(data)
            size += len(data)
            begun = perf_counter()
            start()
            try:
                check(data)
            except (Exception, TooSlow) as error:  # noqa: BLE001 - which one it is decides what the outcome says
                failure = error
                break
            slowest = max(slowest, perf_counter() - begun)
            if done == WARM:
                warm = memory()
    growth = max(0, memory() - warm) if warm else 0
    close: Callable[[], None] = getattr(check, "close", _nothing)
    told: dict[str, Any] = {}
    if failure is not None:
        smaller = shrink(check, data, failure, target.limit)
        told = {
            "failure": f"{type(failure).__name__}: {failure}"[:300],
            "traceback": "".join(traceback.format_exception(failure))[-4000:],
            "hex": smaller.hex(),
        }
    elif growth > target.growth:
        told = {"failure": f"the process grew by {growth >> 20} MiB, of {target.growth >> 20} allowed"}
    close()
    return Outcome(
        target.name,
        seed,
        done,
        round(perf_counter() - started, 2),
        size,
        round(slowest * 1000, 1),
        growth,
        **told,
    )


def _nothing() -> None:
    """Most checks hold nothing open."""


def memory() -> int:
    """Bytes that the process holds now; where that is not told, the most it has held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def shrink(check: Check, data: bytes, failure: BaseException, limit: float) -> bytes:
    """``data`` with pieces left out, as long as it fails in the same way at the same place."""
    wanted, tries, size = where(failure), 0, len(data) // 2
    with limited(limit) as start:
        while size and tries < TRIES:
            at = 0
            while at < len(data) and tries < TRIES:
                tries += 1
                smaller = data[:at] + data[at + size :]
                start()
                try:
                    check(smaller)
                except (Exception, TooSlow) as error:  # noqa: BLE001 - compared with the one that is looked for
                    if where(error) == wanted:
                        data = smaller
                        continue
                at += size
            size //= 2
    return data


def where(error: BaseException) -> tuple[str, str, int]:
    """Type and place of an error. One of time has no place: it is where it was interrupted."""
    if isinstance(error, TooSlow):
        return "TooSlow", "", 0
    last = traceback.extract_tb(error.__traceback__)[-1]
    return type(error).__name__, last.filename, last.lineno or 0
