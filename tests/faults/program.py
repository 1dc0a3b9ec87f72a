"""What a caller does at each step, and how it makes sure that its session is whole. The same in both rigs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import count, groupby
from typing import Protocol

import trio

import neko_trio
from neko_trio import events
from neko_trio.errors import EventTimeout, InputInDoubt, NekoError, SessionLost
from tests.faults.outcome import Observed

TEXT = "the quick brown fox jumps over the lazy dog " * 8
CALL_LIMIT = 1.0
"""Seconds that the caller gives a REST call."""
ECHO = 0.5
"""Seconds that a message to ourselves may take once the server has handled it."""
PAUSE = 0.2
"""Seconds between two proofs: what is about to fail fails in between."""

_numbers = count(1)


class Rig(Protocol):
    """The server's side, and the network's."""

    observed: Observed

    def strike(self) -> None:
        """Let the fault happen now. Steps that the server sees by itself call this from there."""
        ...

    def break_link(self) -> None:
        """Let a link end that was well, so that the session is made anew; the fault strikes then."""
        ...

    def strike_when_typed(self, characters: int) -> None:
        """Strike when so many have been typed."""
        ...

    def expect_closing(self) -> None:
        """What the client says from now on is its goodbye."""
        ...

    async def renegotiate(self, session: neko_trio.Session) -> None:
        """Have the server send a ``signal/offer`` for the running peer."""
        ...

    def typed(self) -> str:
        """What has been typed at the server."""
        ...


Opened = Callable[[], AbstractAsyncContextManager[neko_trio.Session]]


async def play(rig: Rig, opened: Opened) -> None:
    """Open the session, do what the step's caller does, and note in ``rig.observed`` what came of it."""
    observed = rig.observed
    try:
        async with opened() as session:
            observed.entered = True
            if observed.cell.policy == "again":
                await session.screen.frame()
                rig.break_link()
            await _PROGRAMS.get(observed.cell.step, _watch)(rig, session)
            observed.done_at = trio.current_time()
            rig.expect_closing()
        if observed.cell.step == "closing":
            observed.done_at = trio.current_time()
    except trio.Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - what it is gets judged by the table
        observed.error = error
        observed.done_at = trio.current_time()


async def _watch(rig: Rig, session: neko_trio.Session) -> None:
    await _prove(rig, session)


async def _running(rig: Rig, session: neko_trio.Session) -> None:
    async with session.screen.frames() as frames:
        async for _ in frames:
            break
        rig.strike()
        await _prove(rig, session)
        newest = await session.screen.frame()
        async for frame in frames:  # the same iterator goes on
            if frame.number > newest.number:
                break


async def _on_demand(rig: Rig, session: neko_trio.Session) -> None:
    frame = await session.screen.frame()
    await trio.sleep(3 * PAUSE)  # beyond the linger, and the switch
    rig.strike()
    await session.screen.frame(newer_than=frame)
    await _prove(rig, session)


async def _control(rig: Rig, session: neko_trio.Session) -> None:
    async with session.control():
        async with session.keyboard.hold("shift"):
            await session.flush()
            rig.strike()
            await _prove(rig, session)
            await session.keyboard.press("a")
            await session.flush()
        await session.flush()


async def _typing(rig: Rig, session: neko_trio.Session) -> None:
    rig.strike_when_typed(len(TEXT) // 4)
    async with session.control():
        try:
            await session.keyboard.type(TEXT)
            await session.flush()
        except InputInDoubt:
            rig.observed.in_doubt = True
        await _prove(rig, session)
        typed = rig.typed()
        rig.observed.repeated = len(typed) > len(TEXT) and _squeezed(typed) == _squeezed(TEXT)
        # In doubt: a key that was down then repeats until it is let go.
        whole = _squeezed(TEXT).startswith(_squeezed(typed)) if rig.observed.in_doubt else typed == TEXT
        if not whole and not rig.observed.repeated:
            rig.observed.left_behind.append(f"a text that nobody typed: {typed!r}")


def _squeezed(text: str) -> str:
    return "".join(char for char, _ in groupby(text))


async def _rest(rig: Rig, session: neko_trio.Session) -> None:
    try:
        with trio.fail_after(CALL_LIMIT):
            await session.room.stats()
    except SessionLost:
        raise
    except (NekoError, trio.TooSlowError) as error:
        rig.observed.call_error = error
    await _prove(rig, session)
    layout = await session.keyboard.layout()  # the next call gets its own answer
    if layout.name != "us":
        rig.observed.left_behind.append(f"an answer to another call: {layout!r}")


async def _renegotiation(rig: Rig, session: neko_trio.Session) -> None:
    await session.screen.frame()
    await rig.renegotiate(session)
    await _prove(rig, session)


async def _closing(rig: Rig, session: neko_trio.Session) -> None:
    await session.screen.frame()


_PROGRAMS = {
    "running": _running,
    "on_demand": _on_demand,
    "control": _control,
    "typing": _typing,
    "rest": _rest,
    "renegotiation": _renegotiation,
    "closing": _closing,
}


async def _prove(rig: Rig, session: neko_trio.Session) -> None:
    """Both ways are well, the WebSocket and the media: not only for the moment."""
    for _ in range(2):
        await _answered(rig.observed, session)
        begun = await session.screen.frame()
        await session.screen.frame(newer_than=begun)
        await trio.sleep(PAUSE)
    await _answered(rig.observed, session)


async def _answered(observed: Observed, session: neko_trio.Session) -> None:
    """The server hands a message to ourselves. One that was in doubt is sent again: it is ours to decide that."""
    while not await _echoed(observed, session, next(_numbers)):
        pass  # each waits until there is a connection again


async def _echoed(observed: Observed, session: neko_trio.Session, body: int) -> bool:
    def mine(event: events.SendUnicast) -> bool:
        return bool(event.body == body)

    try:
        async with session.expect(events.SendUnicast, where=mine, timeout=ECHO):
            await session.room.send(session.state.session_id, "faults/echo", body)
    except InputInDoubt:
        observed.times_told += 1
        return False
    except EventTimeout:
        return False  # after a new login the session has another id, and the old one gets nothing
    return True
