"""One peer's sound at the server: switched on while somebody listens.

The server records and encodes the desktop's sound only while a client has it on, and sends it only to those
(server/internal/webrtc/peer.go, SetAudio; capture/streamsink.go). A peer begins with it off.
"""

from __future__ import annotations

from typing import Protocol

import trio

from neko_trio._ports.audio import AudioPort
from neko_trio._signals import Answers
from neko_trio.protocol import requests

LINGER = 1.0
"""Seconds that the sound stays on when nobody listens any more: to start its recorder takes the server 30 ms, and on a
silent desktop up to 2 s (seen)."""

START_LIMIT = 3.0
"""Seconds that the recorder may take for its first packet, before which it is not switched off: the server would wait
for it, up to 2 s, and handle nothing else of this session meanwhile (seen)."""

ANSWER_PATIENCE = 0.25
"""Seconds that the close waits for an answer; it takes a millisecond."""


class Wire(Protocol):
    """The WebSocket of a link."""

    @property
    def alive(self) -> bool:
        """Whether messages can still be sent."""
        ...

    async def send(self, request: requests.ClientRequest) -> None:
        """Send one event; return when it is written. Raises a ``NekoError`` when that cannot be."""
        ...


class PeerAudio:
    """The switch of one connected peer. :meth:`run` is a task, :meth:`end` comes before the peer goes."""

    def __init__(self, port: AudioPort, wire: Wire, answers: Answers) -> None:
        """``answers`` are those of this peer."""
        self._port, self._wire, self._answers = port, wire, answers
        self._turn = trio.Lock()
        self._ended = False

    async def run(self) -> None:
        """Keep the sound on while somebody listens and a moment longer, until cancelled."""
        while True:
            await self._port.wait_wanted(True)
            packet_came = self._port.expect_packet()
            await self._tell(on=True)
            while True:
                await self._wait_unwanted()
                with trio.move_on_after(START_LIMIT):
                    await packet_came.wait()
                if not self._port.wanted:
                    break
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
                self._answers.owed += 1
                await self._wire.send(requests.SignalAudio(disabled=not on))

    async def end(self) -> None:
        """Switch nothing any more, and wait until the server has handled what it was told; a moment at most.

        It handles messages and the peer's end at the same time, and an enable behind the end would leave a listener,
        for which it records on for ever (seen with the video, whose switch is the same). The end itself switches off.
        """
        self._ended = True
        with trio.move_on_after(ANSWER_PATIENCE):
            async with self._turn:  # what is being written is written first
                pass
            if self._wire.alive:
                await self._answers.settled()
