"""Asyncio work that tells the test what happens to it."""

from __future__ import annotations

import asyncio

import trio


class Witness:
    """What a piece of asyncio work tells: when it has begun, and what it has seen of its cancellation."""

    def __init__(self) -> None:
        self.begun = trio.Event()
        self.cancelled = 0
        self.cleaned_up = False
        self._token = trio.lowlevel.current_trio_token()

    def begin(self) -> None:
        self._token.run_sync_soon(self.begun.set)


async def turns(count: int = 20) -> None:
    """Let the asyncio loop turn: a level-triggered cancellation would strike again here."""
    for _ in range(count):
        await asyncio.sleep(0)
