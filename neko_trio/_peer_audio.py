"""One peer's sound at the server: switched on while somebody listens.

The server records and encodes the desktop's sound only while a client has it on, and sends it only to those
(server/internal/webrtc/peer.go, SetAudio; capture/streamsink.go). A peer begins with it off.
"""

from __future__ import annotations

from typing import Protocol

import trio

from neko_trio._ports.audio import AudioPort
from neko_trio.errors import NekoError
from neko_trio.protocol import requests

LINGER = 1.0
"""Seconds that the sound stays on when nobody listens any more: the server needs a quarter of a second to begin."""

DISABLE_PATIENCE = 0.25
"""Seconds that the answer to the last switch may take; it takes less than one millisecond."""


class Wire(Protocol):
    """The WebSocket of a link."""

    async def send(self, request: requests.ClientRequest) -> None:
        """Send one event; return when it is written. Raises a ``NekoError`` when that cannot be."""
        ...


class Answers(Protocol):
    """What the server signals for this peer."""

    audio_off: trio.Event
    """Set by a ``signal/audio`` that says that the sound is off; who waits for one puts a new event here."""


class PeerAudio:
    """The switch of one connected peer. :meth:`run` is a task, :meth:`end` comes before the peer goes."""

    def __init__(self, port: AudioPort, wire: Wire, answers: Answers) -> None:
        self._port, self._wire, self._answers = port, wire, answers
        self._turn = trio.Lock()
        self._on = self._ended = False

    async def run(self) -> None:
        """Keep the sound on while somebody listens and a moment longer, until cancelled."""
        while True:
            await self._port.wait_wanted(True)
            await self._tell(on=True)
            await self._wait_unwanted()
            await self._tell(on=False)

    async def _wait_unwanted(self) -> None:
        while True:
            await self._port.wait_wanted(False)
            with trio.move_on_after(LINGER):
                await self._port.wait_wanted(True)
                continue
            return

    async def _tell(self, *, on: bool) -> None:
        async with self._turn:
            if not self._ended:
                self._on = on  # whatever becomes of the message
                await self._wire.send(requests.SignalAudio(disabled=not on))

    async def end(self) -> None:
        """Switch the sound off, if it is on, and wait for the answer, a quarter of a second at most.

        The server handles messages and the peer's end at the same time; an enable that meets the end would leave a
        listener behind, for which the server records on for ever (seen with the video, whose switch is the same).
        """
        self._ended = True
        with trio.move_on_after(DISABLE_PATIENCE):
            async with self._turn:  # an enable that is being written goes first
                if not self._on:
                    return
                answered = self._answers.audio_off = trio.Event()  # one that an earlier answer has not set
                try:
                    await self._wire.send(requests.SignalAudio(disabled=True))
                except NekoError:
                    return  # without a link nobody can be told; the server ends the peer with its session
            await answered.wait()
