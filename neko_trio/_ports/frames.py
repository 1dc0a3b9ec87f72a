"""The frame slot: the newest picture, overwritten by the decoder's thread, awaited by trio."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

import trio

from neko_trio.errors import NekoError

if TYPE_CHECKING:
    from neko_trio.media.frames import Frame


class FrameSlot:
    """One frame, always the newest. It exists before any track does and keeps its picture when a peer dies.

    ``put`` overwrites; a reader that is slower than the stream skips and is never behind. However many frames come
    while trio is busy, trio is woken once, and not at all while nobody waits.
    """

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._lock = Lock()
        self._frame: Frame | None = None
        self._waiting = 0
        self._fresh = trio.Event()
        self._failure: Callable[[], NekoError] | None = None
        self.put_total = 0
        """Frames put so far."""
        self.unseen_total = 0
        """Frames overwritten before any reader took them."""
        self._seen = True

    @property
    def newest(self) -> Frame | None:
        """The newest frame, or ``None`` before the first. Any thread."""
        return self._frame

    def put(self, frame: Frame) -> None:
        """Overwrite the slot. Any thread; never blocks on trio."""
        with self._lock:
            self.put_total += 1
            if not self._seen:
                self.unseen_total += 1
            self._frame, self._seen = frame, False
            wake = self._waiting > 0
        if wake:
            try:
                self._token.run_sync_soon(self._wake, idempotent=True)
            except trio.RunFinishedError:
                return  # the run that waited is over: nobody is left to wake

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait, now and later, with a fresh ``failure()``. Trio thread. The first failure stays."""
        if self._failure is None:
            self._failure = failure
            self._wake()

    def _wake(self) -> None:
        self._fresh.set()
        self._fresh = trio.Event()

    async def wait(self, newer_than: int = 0) -> Frame:
        """Return the newest frame whose number is above ``newer_than``, waiting for one if need be. A checkpoint.

        Cancelling is safe. Raises the slot's failure when the session ends first.
        """
        await trio.lowlevel.checkpoint()
        while True:
            if self._failure is not None:
                raise self._failure()
            with self._lock:  # the check and the entry into the waiting count are one step for put()
                frame = self._frame
                if frame is not None and frame.number > newer_than:
                    self._seen = True
                    return frame
                self._waiting += 1
            try:
                await self._fresh.wait()
            finally:
                with self._lock:
                    self._waiting -= 1
