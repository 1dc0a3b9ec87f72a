"""Speaking into the desktop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from neko_trio._ports.microphone import PACKETS_PER_SECOND, MicrophoneOptions, MicrophonePort, SoundQueue
from neko_trio._ports.state import StateCell
from neko_trio.errors import FeatureOff, InvalidInput, NekoError, NotAllowed, SessionClosed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from neko_trio._ports.microphone import Samples
    from neko_trio._state import State

RATES = range(8_000, 192_001)
"""Samples per second that can be written."""
BUFFERS = 0.02, 10.0
"""Seconds that a microphone's buffer may hold."""
BITRATES = range(6_000, 510_001)
"""Bits per second that Opus can be told (RFC 7587 §6.1)."""
CONFIRM_LIMIT = 4.0
"""Seconds in which the server has to report on what was sent; it reports every second."""


class Microphone:
    """Sound into the desktop, as a microphone that is plugged in there. Made by ``Session.microphone()``.

    Sound goes out in real time, from the first write on: what is written faster waits in a buffer, and a full buffer
    makes :meth:`write` wait. Nothing is sent while there is nothing to say.
    """

    def __init__(self, queue: SoundQueue) -> None:
        self._queue = queue
        self._turn = trio.Lock()

    @property
    def rate(self) -> int:
        """Samples per second of what is written."""
        return self._queue.rate

    @property
    def queued_duration(self) -> float:
        """Seconds of sound that have been written and not been sent."""
        return self._queue.queued / self._queue.rate

    async def write(self, pcm: NDArray[np.int16] | NDArray[np.floating]) -> None:
        """Say this; return when the last of it is in the buffer. A checkpoint.

        ``pcm``: int16, or floats of full scale ±1 (beyond, they are clipped); shape (samples, channels) with one or two
        channels, or (samples,); at the microphone's rate. Of several tasks that write, each is heard whole and in turn.

        Cancelled while it is this call's turn, it clears all that is queued: the desktop falls silent within 20 ms.

        Raises :class:`~neko_trio.errors.InvalidInput` for anything else, and then nothing of it is heard;
        :class:`~neko_trio.errors.MicrophoneTaken` when another client's microphone has taken this one's place at the
        server, and :class:`~neko_trio.errors.FeatureOff` when the server has none: the server says neither, and
        its silence is noticed after four seconds of sound.
        """
        sound = _checked(pcm)
        async with self._turn:
            with _Clearing(self._queue):
                for start in range(0, max(1, len(sound)), self.rate):
                    await self._queue.write(_stereo(sound[start : start + self.rate]))

    def clear(self) -> None:
        """Forget what is queued: the desktop falls silent within 20 ms."""
        self._queue.clear()

    async def wait_for_playout(self) -> None:
        """Wait until everything written before has been sent and has sounded. A checkpoint.

        The network and the server's player come later by their own delay. Cancelled, it clears all that is queued.
        Raises as :meth:`write` does.
        """
        with _Clearing(self._queue):
            await self._queue.wait_silent()

    async def flush(self) -> None:
        """:meth:`wait_for_playout`, and then wait until the server has reported that it came: up to a second more.

        A part that the network lost does not hold this up: it says that the server takes the sound, not how good it
        is. Raises as :meth:`write` does, and :class:`~neko_trio.errors.FeatureOff` when no report comes within 4 s.
        """
        await self.wait_for_playout()
        with trio.move_on_after(CONFIRM_LIMIT):
            await self._queue.wait_received()
            return
        raise FeatureOff(
            f"The server has not reported on the sound within {CONFIRM_LIMIT:g} s: it does not take it.",
            hint="Another client's microphone has taken its place, or capture.microphone is not enabled there.",
            step="microphone",
        )

    def __repr__(self) -> str:
        return f"<neko_trio.Microphone at {self.rate} Hz, {self.queued_duration:.2f} s queued>"


class _Clearing:
    """A block that clears the queue when it is cancelled."""

    def __init__(self, queue: SoundQueue) -> None:
        self._queue = queue

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if kind is not None and issubclass(kind, trio.Cancelled):
            self._queue.clear()


class Microphones:
    """Opens the microphone of one session."""

    def __init__(self, port: MicrophonePort, state: StateCell[State]) -> None:
        self._port, self._state = port, state

    @asynccontextmanager
    async def open(self, *, rate: int, buffer: float, bitrate: int) -> AsyncIterator[Microphone]:
        """See ``Session.microphone``."""
        await trio.lowlevel.checkpoint()
        _check_options(rate, buffer, bitrate)
        self._port.check()
        if not self._state.value.profile.can_share_media:
            raise NotAllowed(
                "This member may not send sound into the desktop.", hint="An admin can grant it: can_share_media."
            )
        queue = SoundQueue(rate=rate, limit=max(round(buffer * rate), rate // PACKETS_PER_SECOND))
        try:
            async with self._port.open(queue, MicrophoneOptions(bitrate=bitrate)):
                yield Microphone(queue)
        finally:
            queue.fail(_closed)


def _closed() -> NekoError:
    return SessionClosed("This microphone is closed: its async with block has ended.")


def _check_options(rate: int, buffer: float, bitrate: int) -> None:
    if not _is_whole(rate) or rate not in RATES or rate % PACKETS_PER_SECOND:
        raise InvalidInput(f"rate is a multiple of 50 from 8,000 to 192,000 samples per second, not {rate!r}.")
    if isinstance(buffer, bool) or not isinstance(buffer, int | float) or not BUFFERS[0] <= buffer <= BUFFERS[1]:
        raise InvalidInput(f"buffer is {BUFFERS[0]:g} to {BUFFERS[1]:g} seconds, not {buffer!r}.")
    if not _is_whole(bitrate) or bitrate not in BITRATES:
        raise InvalidInput(f"bitrate is 6,000 to 510,000 bits per second, not {bitrate!r}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked(pcm: object) -> NDArray[np.int16] | NDArray[np.floating]:
    """An array of shape (samples, channels) that can be played; raises :class:`InvalidInput`."""
    import numpy as np

    if not isinstance(pcm, np.ndarray):
        raise InvalidInput(f"pcm is a numpy array, not {type(pcm).__name__}.")
    if pcm.dtype != np.int16 and not np.issubdtype(pcm.dtype, np.floating):
        raise InvalidInput(f"pcm is int16, or floats of full scale ±1, not {pcm.dtype}.")
    if pcm.ndim not in (1, 2) or (pcm.ndim == 2 and pcm.shape[1] not in (1, 2)):
        raise InvalidInput(f"pcm has the shape (samples,), (samples, 1) or (samples, 2), not {pcm.shape}.")
    if pcm.dtype != np.int16 and not np.isfinite(pcm).all():
        raise InvalidInput("pcm holds a sample that is no number.")
    return pcm[:, np.newaxis] if pcm.ndim == 1 else pcm


def _stereo(sound: NDArray[np.int16] | NDArray[np.floating]) -> Samples:
    """Two channels of int16."""
    import numpy as np

    whole = np.rint(np.clip(sound, -1.0, 1.0) * 32767.0) if sound.dtype != np.int16 else sound
    samples = whole.astype(np.int16, copy=False)
    return np.repeat(samples, 2, axis=1) if samples.shape[1] == 1 else samples
