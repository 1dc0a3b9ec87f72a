"""Hearing the desktop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from neko_trio._ports.audio import AudioBlocks, AudioPort
from neko_trio.errors import AudioOff, InvalidInput


class Audio:
    """The sound of one session. All waits end with ``SessionLost`` or ``SessionClosed`` when the session does."""

    def __init__(self, port: AudioPort, *, on: bool) -> None:
        """``on``: whether the session was opened with sound."""
        self._port = port
        self._on = on

    @asynccontextmanager
    async def blocks(self, *, buffer: int = 50) -> AsyncIterator[AudioBlocks]:
        """Listen: iterate over the desktop's sound as :class:`~neko_trio.AudioBlock` of 20 ms each, in order.

        The server sends sound, and it is decoded, only while some such block is open. The first one starts the server's
        recorder: 30 to 100 ms while some program plays, up to 2 s on a desktop that has long been silent (PulseAudio's
        null sink then works in steps of 2 s). Up to ``buffer`` blocks are kept for a slow reader, then the oldest are
        dropped and counted in ``dropped``. Several may be open at once: the sound is decoded once. A silent desktop
        sends silence; a server without a sound device sends nothing, and says nothing of it: wait under a timeout of
        your own.

        Raises :class:`~neko_trio.errors.AudioOff` in a session opened without ``audio=True`` and
        :class:`~neko_trio.errors.InvalidInput` for a buffer that is no positive whole number. Cancelling is safe.
        """
        await trio.lowlevel.checkpoint()
        if not self._on:
            raise AudioOff("This session was opened without sound.", hint="Open it with audio=True.")
        if isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 1:
            raise InvalidInput(f"buffer is a positive number of blocks, not {buffer!r}.")
        with self._port.subscribe(buffer) as reader:
            yield reader
