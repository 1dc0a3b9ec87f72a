"""A server's microphone in trio's time: it takes a packet's sound every 20 ms, and reports on it at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from neko_trio._ports.microphone import Nothing, SoundQueue
from neko_trio._services import Services

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FakeMicrophone:
    """One peer's."""

    def __init__(self) -> None:
        self.offers: list[bool] = []
        """Whether each offer of the client's had a track for it."""
        self.heard: list[tuple[float, NDArray[np.int16]]] = []
        """When each packet was sent (trio's clock), and what: 20 ms, (samples, 2) int16."""
        self.listening = False
        """Whether a client's sound is being taken."""
        self.deaf = False
        """Report on nothing any more, as a server does that has given the track up."""
        self._scope = trio.CancelScope()
        self._connected: Callable[[], bool] = lambda: True

    def start(self, services: Services, queue: SoundQueue, *, connected: Callable[[], bool] = lambda: True) -> None:
        """Take what comes into the queue, until :meth:`stop`; none of it comes unless ``connected``."""
        self._scope, self._connected = trio.CancelScope(), connected
        services.start_soon(self._listen, queue, self._scope)

    async def _listen(self, queue: SoundQueue, scope: trio.CancelScope) -> None:
        sound = trio.Event()

        def wake() -> None:
            sound.set()

        queue.wake = wake
        self.listening = True
        try:
            with scope:
                while True:
                    taken = queue.take()
                    if not isinstance(taken, Nothing):
                        self._hear(taken, queue)
                    if taken is Nothing.ANY_MORE:
                        await sound.wait()
                        sound = trio.Event()
                    else:
                        await trio.sleep(0.02)
        finally:
            self.listening = False

    def _hear(self, samples: NDArray[np.int16], queue: SoundQueue) -> None:
        queue.note_sent()
        if not self._connected():
            return
        self.heard.append((trio.current_time(), samples))
        if not self.deaf:
            queue.note_received(len(self.heard))

    def stop(self) -> None:
        """Listen no more. Idempotent."""
        self._scope.cancel(reason="the microphone was closed")
