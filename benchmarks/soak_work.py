"""What the sessions of `soak.py` do, and what they may be told while faults strike."""

from __future__ import annotations

import itertools
import logging
import random
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import trio
from soak_faults import Faults

import neko_trio
from neko_trio import NekoError, Reconnect, Session
from neko_trio.errors import (
    ConnectionRejected,
    ConnectTimeout,
    ControlLost,
    IceFailed,
    InputInDoubt,
    LoginRefused,
    NoOffer,
    NotNeko,
    ProtocolViolation,
    ServerUnreachable,
    SessionClosed,
    SessionLost,
)

logger = logging.getLogger("neko_trio.soak")

LIMIT = 300.0
"""Seconds that one outage may last."""
STUCK = 90.0
"""Seconds after which a call has hung: a turn waits for those before it, and they for a server that is away."""
CANCELLED_SHARE = 0.15
"""Of the calls that are cancelled, at a random moment of their first ``CANCELLED_WITHIN`` seconds."""
CANCELLED_WITHIN = 0.3

DISTURBED = (InputInDoubt, ControlLost, ServerUnreachable, ConnectTimeout, LoginRefused)
"""What a call of a session that comes back may end with while a fault is at work. ``LoginRefused``: a REST call with
the token that a server which was restarted does not know, before the session has logged in again."""
TURNED_AWAY = (
    *(ServerUnreachable, ConnectTimeout, IceFailed, NoOffer, NotNeko, ConnectionRejected, LoginRefused),
    *(SessionLost, SessionClosed, ProtocolViolation, InputInDoubt, ControlLost),
)
"""What a session without ``reconnect=`` may end with then."""


@dataclass
class Tally:
    """What was seen since it was last taken, and what was counted since the beginning."""

    latencies: list[float] = field(default_factory=list)
    """Seconds from a frame's capture to its arrival."""
    ages: list[float] = field(default_factory=list)
    """Seconds from a frame's arrival to its reader."""
    fresh: list[float] = field(default_factory=list)
    """Seconds for ``frame(fresh=True)``."""
    on_demand: list[float] = field(default_factory=list)
    """Seconds for a picture of a video that is off."""
    connects: list[float] = field(default_factory=list)
    """Seconds until a short session was up."""
    done: Counter[str] = field(default_factory=Counter)
    cancelled: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """By what was done, what was raised, and which fault was at work."""

    def take(self) -> dict[str, list[float]]:
        """The seconds since the last time, by name."""
        names = ("latencies", "ages", "fresh", "on_demand", "connects")
        taken = {name: getattr(self, name) for name in names}
        for name in names:
            setattr(self, name, [])
        return taken


class Judge:
    """Which errors the faults explain."""

    def __init__(self, tally: Tally, fail: Callable[[str], None]) -> None:
        self._tally, self.fail = tally, fail
        self.faults: Faults

    def accept(
        self, what: str, error: NekoError, since: float, allowed: tuple[type[NekoError], ...], told: bool = False
    ) -> None:
        """Count an error of what began at ``since``; a failure, with its traceback, when no fault explains it.
        ``told``: it is due anyway."""
        kind = self.faults.touch(since)
        if isinstance(error, allowed) and (kind or told):
            self._tally.errors[f"{what}: {type(error).__name__} ({kind or 'before'})"] += 1
            return
        text = "".join(traceback.format_exception(error))
        self.fail(f"{what}, fault: {kind}: {type(error).__name__}: {error}\n{text}")


class Member:
    """A long-lived session and what it does until cancelled."""

    def __init__(self, video: str, open_: dict[str, Any], tally: Tally, judge: Judge, moments: random.Random) -> None:
        self.name, self._video, self._open = video, video, open_
        self._tally, self._judge, self._moments = tally, judge, moments
        self._outages_told = 0
        self.session: Session
        self.up = trio.Event()

    async def live(self) -> None:
        """Its whole life; until cancelled. The loss of the session is a failure."""
        calls: dict[str, Callable[[], Awaitable[None]]] = {"turn": self._turn, "rest": self._rest, "chat": self._chat}
        if self._video == "on_demand":
            calls["picture"] = self._picture
        if self._video == "live":
            calls["fresh"] = self._fresh
        opened = neko_trio.open_session(video=self._video, reconnect=Reconnect(limit=LIMIT), **self._open)
        try:
            async with opened as self.session, trio.open_nursery() as nursery:
                self.up.set()
                nursery.start_soon(self._watch)
                nursery.start_soon(self._listen)
                if self._video == "live":
                    nursery.start_soon(self._read)
                while True:
                    await trio.sleep(self._moments.uniform(0.1, 2.0))
                    await self._call(*self._moments.choice(list(calls.items())))
        except NekoError as error:
            text = "".join(traceback.format_exception(error))
            self._judge.fail(f"{self.name}: the session was lost: {type(error).__name__}: {error}\n{text}")

    async def _call(self, what: str, play: Callable[[], Awaitable[None]]) -> None:
        name, began = f"{self.name} {what}", perf_counter()
        cancels = self._moments.random() < CANCELLED_SHARE
        after = self._moments.uniform(0, CANCELLED_WITHIN) if cancels else STUCK
        with trio.move_on_after(after) as scope:
            try:
                await play()
                self._tally.done[name] += 1
            except SessionLost:
                raise
            except NekoError as error:
                outages = self.session.statistics().outages
                told = isinstance(error, InputInDoubt) and outages > self._outages_told
                self._outages_told = outages
                self._judge.accept(name, error, began, DISTURBED, told)
        if scope.cancelled_caught and cancels:
            self._tally.cancelled[name] += 1
        elif scope.cancelled_caught:
            self._judge.fail(f"{name}: hung for {STUCK:g} s; fault: {self._judge.faults.touch(began)}")

    # -- what it does

    async def _turn(self) -> None:
        session = self.session
        async with session.control(wait=True):
            began = perf_counter()
            await session.mouse.click(self._moments.randrange(20, 200), self._moments.randrange(20, 200))
            await session.keyboard.type("soak 12 äß\n")
            text = f"{self.name} {self._moments.random()}"
            await session.clipboard.write(text)
            found = await session.clipboard.read()
            if found != text and self._judge.faults.touch(began) is None:
                self._judge.fail(f"{self.name}: the clipboard held {found!r} instead of {text!r}")
            await session.flush()

    async def _rest(self) -> None:
        await self.session.room.stats()
        await self.session.room.whoami()

    async def _chat(self) -> None:
        await self.session.chat.say("still here")

    async def _fresh(self) -> None:
        began = perf_counter()
        await self.session.screen.frame(fresh=True)
        self._note(self._tally.fresh, began)

    async def _picture(self) -> None:
        began = perf_counter()
        frame = await self.session.screen.frame()
        if frame.arrived > began:  # else the video was still on
            self._note(self._tally.on_demand, began)

    def _note(self, where: list[float], began: float) -> None:
        """Count the seconds of what no fault has disturbed."""
        if self._judge.faults.touch(began) is None:
            where.append(perf_counter() - began)

    async def _read(self) -> None:
        async with self.session.screen.frames() as frames:
            async for frame in frames:
                self._tally.latencies.append(frame.latency)
                self._tally.ages.append(frame.age())

    async def _listen(self) -> None:
        async with self.session.events() as seen:
            async for _event in seen:
                self._tally.done[f"{self.name} event"] += 1

    async def _watch(self) -> None:
        """An outage without a fault is a failure."""
        up = self.session._parts.up
        while True:
            await up.wait(lambda value: not value)
            if self._judge.faults.touch(perf_counter()) is None:
                self._judge.fail(f"{self.name}: the connection was lost, and no fault was at work")
            await up.wait(lambda value: value)

    # -- what faults do to it

    def mark(self) -> tuple[int, int]:
        """Its epoch and its outages."""
        return self.session.epoch, self.session.statistics().outages

    async def well(self, mark: tuple[int, int], ended: float, *, renewed: bool) -> None:
        epoch, outages = mark
        session = self.session
        if renewed:
            await session._parts.up.wait(lambda value: value and session.statistics().outages > outages)
        if self._video == "off":
            await self._answered()
            return
        frame = await session.screen.frame()
        while frame.arrived <= ended or (renewed and frame.epoch <= epoch):
            frame = await session.screen.frame(newer_than=frame)

    async def _answered(self) -> None:
        """The server has answered over the WebSocket."""
        while True:
            await self.session.wait_connected()
            try:
                await self.session._parts.inputs.ask()
            except SessionLost:
                raise
            except NekoError as error:
                logger.debug("asked in vain: %s", error)
                continue
            return


class Passers:
    """Short sessions, one after the other."""

    def __init__(self, open_: dict[str, Any], tally: Tally, judge: Judge, moments: random.Random) -> None:
        self._open, self._tally, self._judge, self._moments = open_, tally, judge, moments
        self.disturbed: set[str] = set()
        """User names of those whose goodbye a fault may have kept from the server."""

    async def pass_for_ever(self) -> None:
        for number in itertools.count(1):
            video = self._moments.choice(("live", "on_demand", "off"))
            name, began = f"short {video}", perf_counter()
            username = f"{self._open['username']}-{number}"
            cancels = self._moments.random() < CANCELLED_SHARE
            with trio.move_on_after(self._moments.uniform(0, 2 * CANCELLED_WITHIN) if cancels else STUCK) as scope:
                try:
                    await self._pass(video, username)
                    self._tally.done[name] += 1
                except NekoError as error:
                    self._judge.accept(name, error, began, TURNED_AWAY)
            if scope.cancelled_caught and cancels:
                self._tally.cancelled[name] += 1
            elif scope.cancelled_caught:
                self._judge.fail(f"{name}: hung for {STUCK:g} s; fault: {self._judge.faults.touch(began)}")
            if self._judge.faults.touch(began) is not None:
                self.disturbed.add(username)
            await trio.sleep(self._moments.uniform(0.5, 2.0))

    async def _pass(self, video: str, username: str) -> None:
        began = perf_counter()
        async with neko_trio.open_session(video=video, **{**self._open, "username": username}) as session:
            if video == "live" and self._judge.faults.touch(began) is None:
                self._tally.connects.append(perf_counter() - began)
            if video != "off":
                await session.screen.frame()
            await session.room.stats()
            if self._moments.random() < 0.3:
                async with session.control(wait=True):
                    await session.keyboard.press("a")
