"""The watchdogs: a connection that has fallen silent is asked, and taken for lost when it does not answer in time.

Silence alone is no fault: nothing is sent on a desktop whose video is off. So both ask first, the media connection by
checks of ICE, the WebSocket by its barrier. And only time in which this process ran is counted: after a
laptop's sleep, or with a debugger's break behind it, what the other side has sent meanwhile is read first.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING

import trio

from neko_trio._awake import sleep_awake
from neko_trio._link import Link
from neko_trio._services import open_services
from neko_trio.errors import NekoError, ServerUnreachable, SessionLost

if TYPE_CHECKING:
    from neko_trio.media.peer_api import Peer

logger = logging.getLogger("neko_trio.watch")

MEDIA_QUIET = 1.5
"""Seconds without any packet of the media connection after which it is asked. With the video on, 37 frames are due."""
MEDIA_CHECKS = 8
"""How often it is asked, in case datagrams are lost on the way."""
MEDIA_PATIENCE = 2.4
"""Seconds that an answer may take in all."""
SUSPICIOUS_AFTER = 3
"""Checks without an answer after which the WebSocket is asked as well."""
LINK_QUIET = 5.0
"""Seconds without any message after which the WebSocket is asked."""
LINK_PATIENCE = 6.0
"""Seconds that its answer may take. The server handles one message after the other, and some take it long: to start a
pipeline up to 0.4 s, to end a recorder of sound up to 2 s (seen)."""
SUSPICIOUS_PATIENCE = 2.4
"""The same when the media connection has fallen silent, too."""


class Watch:
    """Both watchdogs of one session, for each link and each peer in turn. Trio thread only."""

    def __init__(self, ask_link: Callable[[], Awaitable[None]], *, clock: Callable[[], float] = perf_counter) -> None:
        """``ask_link`` sends something over the WebSocket and returns when it is answered (``InputPort.ask``).
        ``clock`` is that of ``Peer.heard_at``, in seconds."""
        self._ask_link, self._clock = ask_link, clock
        self._suspicious = trio.Event()
        self._link_asked = False
        self._media_asked: tuple[Peer, float] | None = None  # and when it had last been heard
        self.on_certain: Callable[[], None] = lambda: None
        """Called when a connection that was :attr:`in_doubt` has answered. Must not raise."""

    @property
    def in_doubt(self) -> bool:
        """Whether a connection has been asked for a sign of life, and has given none yet.

        It ends by :attr:`on_certain`, or with the connection. So what is silent now is not known to be well.
        """
        asked = self._media_asked
        return self._link_asked or (asked is not None and asked[0].heard_at == asked[1])

    def _note_certain(self) -> None:
        if not self.in_doubt:
            self.on_certain()

    async def watch_checks(self, peer: Peer, limit: float) -> None:
        """Raise :class:`IceFailed` when ``limit`` seconds have passed and nothing has come of the server's media.

        Checks that a server sent before a network was there again it does not repeat: a new offer is quicker.
        """
        since = peer.heard_at
        await sleep_awake(limit)
        if peer.heard_at == since:
            raise peer.ice_failed(f"nothing came within {limit:.1f} s")

    async def watch_media(self, peer: Peer) -> None:
        """Raise :class:`SessionLost` when the media connection is dead. Until cancelled."""
        self._media_asked = None
        while True:
            quiet = self._clock() - peer.heard_at
            if quiet < MEDIA_QUIET:
                if self._media_asked is not None:
                    self._media_asked = None
                    self._note_certain()
                await trio.sleep(MEDIA_QUIET - quiet)
                continue
            since = peer.heard_at
            self._media_asked = peer, since
            await self._ask_media(peer)
            if peer.heard_at == since:
                raise SessionLost(
                    f"Nothing has come over the media connection for {self._clock() - since:.1f} s.",
                    hint="Is UDP to the server blocked now, or has the server's process ended?",
                    step="running",
                )

    async def _ask_media(self, peer: Peer) -> None:
        """Ask for a sign of life, and wait for it as long as one may take."""
        since = peer.heard_at
        for number in range(1, MEDIA_CHECKS + 1):
            peer.ask()
            await sleep_awake(MEDIA_PATIENCE / MEDIA_CHECKS)
            if peer.heard_at != since:
                return
            if number == SUSPICIOUS_AFTER:
                self._suspicious.set()  # what ails the media connection may ail the WebSocket

    async def watch_link(self, link: Link) -> None:
        """Raise :class:`ServerUnreachable` when the WebSocket is dead. Until cancelled."""
        self._link_asked = False
        while True:
            self._suspicious = trio.Event()
            with trio.move_on_at(link.heard_at + LINK_QUIET):
                await self._suspicious.wait()
            heard = trio.current_time() < link.heard_at + LINK_QUIET
            if heard and not self._suspicious.is_set():
                continue
            self._link_asked = True
            if await self._answers():
                self._link_asked = False
                self._note_certain()
                continue
            link.give_up()
            raise ServerUnreachable(
                "The server does not answer on the WebSocket any more.",
                hint="Its process has been stopped, or a network or proxy in between has gone silent.",
                step="link",
            )

    async def _answers(self) -> bool:
        """Whether the server answers on the WebSocket in time."""
        answered = False

        async def ask() -> None:
            nonlocal answered
            try:
                await self._ask_link()
            except NekoError as error:  # whoever reads the link says so, too, and knows more
                logger.debug("the WebSocket could not be asked: %s", error)
                return
            answered = True
            scope.cancel(reason="the server has answered")

        async def hurry() -> None:
            await self._suspicious.wait()
            await sleep_awake(SUSPICIOUS_PATIENCE)
            scope.cancel(reason="the server has not answered in time")

        async with open_services() as services:
            with trio.CancelScope() as scope:
                services.start_soon(ask)
                services.start_soon(hurry)
                await sleep_awake(LINK_PATIENCE)
        return answered
