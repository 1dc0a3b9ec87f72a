"""The supervisor: the one loop over links and peers; its first policy is "once"."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from neko_trio._checks import refuse_hopeless
from neko_trio._deadline import too_late
from neko_trio._handshake import MediaPorts, PeerOptions, open_link, open_peer
from neko_trio._link import Link
from neko_trio._parts import Parts
from neko_trio._services import open_services, together
from neko_trio.errors import NekoError, SessionClosed, SessionLost
from neko_trio.protocol import events
from neko_trio.signaling.credential import Credential


class Supervisor:
    """The one loop over links and peers; its first policy is "once"."""

    def __init__(self, parts: Parts, on_lost: Callable[[SessionLost], None]) -> None:
        """``on_lost`` is told of the loss of a session that was up before what can take long: its logout."""
        self._parts = parts
        self._on_lost = on_lost
        self._connect_scope = trio.CancelScope()
        self.connected = trio.Event()

    def abandon(self) -> None:
        """Give up a connect that is still under way."""
        self._connect_scope.cancel(reason="the session's block has ended")

    async def run(self) -> None:
        """Connect, once, and stay connected until cancelled. What ends it is raised, typed."""
        parts = self._parts
        self._connect_scope.deadline = trio.current_time() + parts.options.connect_timeout
        try:
            with self._connect_scope:
                await self._connected_session()
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
            parts.fail(lambda: _lost(cause))
            if isinstance(error, SessionLost):
                raise
            raise _lost(error) from error

    async def _connected_session(self) -> None:
        """Log in, connect, stay; then log out: each login else stays in everyone's list of sessions."""
        parts, wiring = self._parts, self._parts.wiring
        if wiring.login is None:
            parts.credential = wiring.credential
            await self._with_rest()
            return
        try:
            parts.credential = await self._log_in()
            parts.attempt.timeline.mark("login")
            await self._with_rest()
        finally:
            credential = parts.credential
            if credential is not None:
                with parts.attempt.budget.shield():
                    await together(lambda: wiring.logout(credential))  # noqa: ASYNC102 - the budget is a shield

    async def _with_rest(self) -> None:
        parts, credential = self._parts, self._parts.credential
        assert credential is not None
        async with parts.wiring.open_rest(credential) as server:
            parts.rest.plug(server)
            await self._with_media()

    async def _with_media(self) -> None:
        media = self._parts.wiring.media
        if not self._parts.options.wants_peer:
            await self._with_link()
            return
        await media.prepare()
        async with media.open_lease() as lease, open_services() as services:
            self._parts.lease = lease
            services.start_soon(lease.wait_lost)
            await self._with_link()

    async def _with_link(self) -> None:
        parts, credential = self._parts, self._parts.credential
        assert credential is not None
        try:
            async with open_link(lambda: parts.wiring.dial(credential), parts.attempt, parts.observe) as (link, init):
                await self._run_link(link, init)
        except NekoError as error:
            if self.connected.is_set():
                cause = error  # ``error`` itself is unbound after this block
                parts.fail(lambda: _lost(cause))
                self._on_lost(_lost(cause))
            raise

    async def _log_in(self) -> Credential:
        """Log in, with the media's imports beside it. Cancelled half-way, wait for the answer: only it can log out."""
        parts, wiring = self._parts, self._parts.wiring
        login = wiring.login
        assert login is not None
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
                finally:
                    if not answered.is_set():
                        with parts.attempt.budget.shield():
                            await answered.wait()  # noqa: ASYNC102 - the budget is a shield
        except BaseException:
            if answer:
                with parts.attempt.budget.shield():
                    await together(lambda: wiring.logout(answer[0]))  # noqa: ASYNC102 - the budget is a shield
            raise
        return answer[0]

    async def _run_link(self, link: Link, init: events.SystemInit) -> None:
        parts = self._parts
        parts.plug_link(link)
        refuse_hopeless(init, parts.options)
        parts.inputs.plug(None, link, session_id=init.session_id)
        try:
            if not parts.options.wants_peer:
                await self._stay()
                return
            assert parts.lease is not None
            assert parts.video is not None
            parts.epoch += 1
            ports = MediaPorts(
                parts.lease,
                parts.slot,
                parts.video,
                parts.new_number,
                parts.frame_context,
                parts.on_data,
                parts.round_trip,
                audio=parts.sound if parts.options.audio else None,
            )
            options = PeerOptions(
                ice=parts.options.ice,
                leaves_by_logout=parts.wiring.login is not None,
            )
            opened = open_peer(link, parts.wiring.media.open_peer_connection, parts.attempt, ports, options)
            async with opened as (peer, tasks):
                parts.plug_peer(peer, tasks)
                parts.inputs.plug(peer, link, session_id=init.session_id)
                try:
                    await self._stay()
                finally:
                    parts.sound_in.plug(None)
                    parts.inputs.plug(None, link, session_id=init.session_id)
        finally:
            parts.inputs.unplug()

    async def _stay(self) -> None:
        self._connect_scope.deadline = math.inf
        # The deadline may have passed just before: then this is no session any more, and must not be called one.
        await trio.lowlevel.checkpoint_if_cancelled()
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
    lost.__cause__ = error
    return lost
