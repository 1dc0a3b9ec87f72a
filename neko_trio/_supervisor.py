"""The supervisor: the one loop over logins, links and peers.

Each lives inside the one before it, and is lived again when it ends in a way that this cures: a peer by a new offer on
the same WebSocket, a link by a new WebSocket with the same token, a token by a new login. Without a policy
(``reconnect=None``), and until the session has been up once, nothing is tried twice.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from neko_trio._checks import refuse_hopeless
from neko_trio._deadline import too_late
from neko_trio._handshake import MediaPorts, PeerOptions, open_link, open_peer
from neko_trio._link import Link
from neko_trio._parts import Parts
from neko_trio._ports.budget import LAST
from neko_trio._services import open_services, together
from neko_trio.errors import LoginRefused, NekoError, NoOffer, SessionClosed, SessionLost
from neko_trio.protocol import events
from neko_trio.signaling.credential import Credential

LEAST_TCP_LIMIT = 1.0
"""Seconds that TCP may take when a connection is made anew, at least: what is dropped on the way the system would send
again only after one, three and seven seconds, and a network that is back shall be noticed sooner."""

LEAST_SILENCE_LIMIT = 0.8
"""Seconds without a sign of the server's media after which a new offer is asked for, at least; also four times what
dialling took, which is eight round trips."""


class Supervisor:
    """Connects, and keeps the session connected."""

    def __init__(self, parts: Parts, on_lost: Callable[[SessionLost], None]) -> None:
        """``on_lost`` is told of the loss of a session that was up before what can take long: its logout."""
        self._parts = parts
        self._outage = parts.outage
        self._on_lost = on_lost
        self._connect_scope = trio.CancelScope()
        self._tcp_limit = math.inf
        self._logged_in = False  # since the session was last up
        self._login_is_due = False
        self.connected = trio.Event()
        self.ended = trio.Event()
        """Everything is closed."""

    def abandon(self) -> None:
        """Give up a connect that is still under way."""
        self._connect_scope.cancel(reason="the session's block has ended")

    async def run(self) -> None:
        """Connect, and stay connected until cancelled. What ends it is raised, typed."""
        parts = self._parts
        self._connect_scope.deadline = trio.current_time() + parts.options.connect_timeout
        try:
            with self._connect_scope:
                await self._keep(self._with_login, self._needs_login)
            if not self.connected.is_set() and self._connect_scope.cancelled_caught and not parts.attempt.closing:
                raise too_late(parts.attempt, parts.options.connect_timeout)
        except NekoError as error:
            if not self.connected.is_set():
                error.timeline = parts.attempt.timeline
                if error.step is None:
                    error.step = parts.attempt.step
                parts.fail(lambda: SessionClosed("The session never came up."))
                raise
            cause = error  # ``error`` itself is unbound after this block
            if not parts.attempt.closing:
                parts.fail(lambda: _lost(cause))
            if isinstance(error, SessionLost):
                raise
            raise _lost(error) from error
        finally:
            self.ended.set()

    # -- the loop

    async def _keep(self, live: Callable[[], Awaitable[None]], cures: Callable[[NekoError], bool]) -> None:
        """Live, again and again for as long as that cures what it ended with."""
        while True:
            try:
                await live()
                return
            except NekoError as error:
                if not self.connected.is_set() or self._parts.attempt.closing or not cures(error):
                    raise
                cause = error  # ``error`` itself is unbound after this block
            self._outage.begin(cause)
            self._parts.up.set(False)
            await self._outage.pause(cause, at_once=self._login_is_due)
            self._login_is_due = False
            self._parts.attempt.renew()

    @contextmanager
    def _attempt(self) -> Iterator[trio.CancelScope]:
        """One try: what is not up in time is cancelled, and named. Up is who sets the scope's deadline to ``inf``."""
        parts, seconds = self._parts, self._parts.options.connect_timeout
        again = self.connected.is_set()  # else the first connect's own scope is over all of it
        if again:
            seconds = max(0.0, min(seconds, self._outage.time_left))
        with trio.CancelScope(deadline=trio.current_time() + seconds if again else math.inf) as scope:
            yield scope
        if scope.cancelled_caught:
            raise too_late(parts.attempt, seconds)

    # -- a login

    def _needs_login(self, error: NekoError) -> bool:
        """Whether the server has forgotten a token that this session got by logging in, as when it was restarted."""
        dead = isinstance(error, LoginRefused) and error.token_unknown
        return dead and self._outage.repeats and self._parts.wiring.login is not None

    async def _with_login(self) -> None:
        """Log in, connect, stay; then log out: each login else stays in everyone's list of sessions."""
        parts, wiring = self._parts, self._parts.wiring
        if wiring.login is None:
            parts.credential = wiring.credential
            await self._with_rest()
            return
        known = True
        try:
            await self._keep(self._log_in, self._outage.cures)
            parts.attempt.timeline.mark("login")
            await self._with_rest()
        except NekoError as error:
            known = not self._needs_login(error)
            self._login_is_due = not known and not self._logged_in
            raise
        finally:
            credential, parts.credential = parts.credential, None
            if credential is not None and known:
                with parts.attempt.budget.shield(LAST):
                    await together(lambda: wiring.logout(credential))  # noqa: ASYNC102 - the budget is a shield

    async def _log_in(self) -> None:
        with self._attempt():
            self._parts.credential = await self._ask_for_credential()
        self._logged_in = True

    async def _ask_for_credential(self) -> Credential:
        """Log in, with the media's imports beside it. Cancelled half-way, wait for the answer: only it can log out."""
        parts, wiring = self._parts, self._parts.wiring
        login = wiring.login
        assert login is not None
        parts.attempt.step = "login"
        answer: list[Credential] = []
        answered, prepared = trio.Event(), trio.Event()

        async def log_in() -> None:
            try:
                answer.append(await login())
            finally:
                answered.set()

        async def prepare() -> None:
            await wiring.media.prepare()
            prepared.set()

        async def undo() -> None:
            """Nobody else knows of this login."""
            if answer:
                credential = answer.pop()
                with parts.attempt.budget.shield(LAST):
                    await together(lambda: wiring.logout(credential))

        try:
            async with open_services() as services:
                services.start_soon(log_in)
                if parts.options.wants_peer:
                    services.start_soon(prepare)
                else:
                    prepared.set()
                try:
                    await answered.wait()
                    await prepared.wait()
                except BaseException:  # cancelled, too
                    with parts.attempt.budget.shield():
                        await answered.wait()  # noqa: ASYNC102 - the budget is a shield
                    # Now: an import, which nothing can cut short, may take longer than the budget.
                    await undo()  # noqa: ASYNC102 - shielded and bounded inside
                    raise
        except BaseException:  # cancelled, too, when both had ended: nobody takes the login
            await undo()  # noqa: ASYNC102 - shielded and bounded inside
            raise
        return answer[0]

    # -- what its links and peers share

    async def _with_rest(self) -> None:
        parts, credential = self._parts, self._parts.credential
        assert credential is not None
        async with parts.wiring.open_rest(credential) as server:
            parts.rest.plug(server)
            try:
                await self._with_media()
            finally:
                if not parts.attempt.closing:
                    parts.rest.unplug()

    async def _with_media(self) -> None:
        media = self._parts.wiring.media
        if not self._parts.options.wants_peer:
            await self._with_links()
            return
        await media.prepare()
        async with media.open_lease() as lease, open_services() as services:
            self._parts.lease = lease
            services.start_soon(lease.wait_lost)
            await self._with_links()

    async def _with_links(self) -> None:
        try:
            await self._keep(self._with_link, self._outage.cures)
        except NekoError as error:
            if self.connected.is_set() and not self._parts.attempt.closing and not self._needs_login(error):
                cause = error  # ``error`` itself is unbound after this block
                self._parts.fail(lambda: _lost(cause))
                self._on_lost(_lost(cause))
            raise

    # -- a link

    async def _with_link(self) -> None:
        parts, credential = self._parts, self._parts.credential
        assert credential is not None
        with self._attempt() as scope:
            opened = open_link(
                lambda: parts.wiring.dial(credential, self._tcp_limit),
                parts.attempt,
                parts.observe,
                on_lost=self._on_link_lost,
            )
            async with opened as (link, init):
                self._tcp_limit = max(LEAST_TCP_LIMIT, 2 * link.opening_seconds)
                try:
                    parts.plug_link(link)
                    refuse_hopeless(init, parts.options)
                    parts.inputs.plug(None, link, session_id=init.session_id)
                    async with open_services(on_failure=self._on_link_lost) as services:
                        services.start_soon(parts.watch.watch_link, link)
                        if parts.options.wants_peer:
                            scope.deadline = math.inf
                            await self._keep(
                                lambda: self._with_peer(link, init), lambda error: self._peer_again(link, error)
                            )
                        else:
                            await self._stay(scope)
                finally:
                    parts.unplug_link(returns=self._is_to_return)

    def _on_link_lost(self) -> None:
        """In the moment in which that is known: what hung on the link takes its time to say goodbye.

        Who uses the session meanwhile waits for the next link, and is not told again and again that this one is gone.
        """
        if self._is_to_return:
            self._parts.up.set(False)
            self._parts.unplug_link(returns=True)

    @property
    def _is_to_return(self) -> bool:
        return self.connected.is_set() and not self._parts.attempt.closing

    # -- a peer

    def _peer_again(self, link: Link, error: NekoError) -> bool:
        """Whether a new peer on this link can help. A server that sends no offer may have lost more than the peer."""
        return link.alive and self._outage.cures(error) and not isinstance(error, NoOffer)

    async def _with_peer(self, link: Link, init: events.SystemInit) -> None:
        parts = self._parts
        assert parts.lease is not None
        assert parts.video is not None

        def go_on_without() -> None:
            """The WebSocket carries input meanwhile; if it is gone, too, nothing does."""
            if link.alive:
                parts.inputs.plug(None, link, session_id=init.session_id)

        def on_lost() -> None:
            if self._is_to_return:
                parts.up.set(False)
                go_on_without()

        ports = MediaPorts(
            parts.lease,
            parts.slot,
            parts.video,
            parts.new_number,
            parts.next_frame_context(),
            parts.on_data,
            parts.round_trip,
            parts.watch,
            audio=parts.sound if parts.options.audio else None,
            on_lost=on_lost,
        )
        again = self.connected.is_set()
        options = PeerOptions(
            ice=parts.options.ice,
            silence_limit=max(LEAST_SILENCE_LIMIT, 4 * link.opening_seconds) if again else math.inf,
        )
        with self._attempt() as scope:
            if again:
                # A server that has stopped would find the request when it goes on, perhaps behind that of a link to
                # come: it would make two peers, and offer both to the newer link (seen).
                parts.attempt.step = "request"
                await parts.inputs.ask()
            opened = open_peer(link, parts.wiring.media.open_peer_connection, parts.attempt, ports, options)
            async with opened as (peer, tasks):
                parts.plug_peer(peer, tasks)
                parts.inputs.plug(peer, link, session_id=init.session_id)
                try:
                    await self._stay(scope)
                finally:
                    parts.sound_in.plug(None)
                    go_on_without()

    async def _stay(self, scope: trio.CancelScope) -> None:
        scope.deadline = self._connect_scope.deadline = math.inf
        # The deadline may have passed just before: then this is no session any more, and must not be called one.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._outage.end()
        self._logged_in = False
        self._parts.up.set(True)
        self.connected.set()
        await trio.sleep_forever()


def _lost(error: NekoError) -> SessionLost:
    """A fresh error for one waiter: tracebacks of several tasks do not belong into one exception."""
    known = isinstance(error, SessionLost)
    lost = SessionLost(
        error.message if known else f"The session was lost: {error.message}",
        hint=error.hint,
        step=error.step,
        retryable=error.retryable,
    )
    lost.__cause__ = (error.__cause__ or error) if known else error
    return lost
