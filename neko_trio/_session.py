"""The session: a nursery whose child tasks are the link, the peer and their helpers, and what the caller holds."""

from __future__ import annotations

import itertools
import logging
import math
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from neko_trio._checks import Options, checked_options, refuse_hopeless
from neko_trio._deadline import too_late
from neko_trio._handshake import Attempt, MediaPorts, PeerOptions, open_link, open_peer
from neko_trio._link import Link
from neko_trio._peer_tasks import PeerTasks
from neko_trio._ports.bus import Dropped, EventBus, Subscription
from neko_trio._ports.frames import FrameSlot
from neko_trio._ports.inputs import InputPort
from neko_trio._ports.state import StateCell
from neko_trio._services import open_services, together
from neko_trio._signals import Budget
from neko_trio._state import State, initial_state, reduce_state
from neko_trio._statistics import Statistics
from neko_trio._timeline import Timeline
from neko_trio._wiring import Media, Wiring, real_wiring
from neko_trio.desktop.keyboard import Keyboard
from neko_trio.desktop.mouse import Mouse
from neko_trio.desktop.screen import Screen
from neko_trio.errors import InvalidInput, NekoError, SessionClosed, SessionLost
from neko_trio.protocol import Malformed, data_channel, events, requests
from neko_trio.room.control import Control
from neko_trio.room.rights import check_host
from neko_trio.signaling.credential import Credential
from neko_trio.signaling.url import parse_server_url

if TYPE_CHECKING:
    from neko_trio.media.bridge import Lease
    from neko_trio.media.frames import FrameContext
    from neko_trio.media.peer_api import IceOptions, Peer

logger = logging.getLogger("neko_trio.session")


class Session:
    """One session with a Neko desktop. Made by :func:`open_session`; for the trio thread of that block.

    Everything that waits ends by itself: with :class:`SessionLost` when the session dies, with
    :class:`SessionClosed` after its block, whichever task waits.
    """

    screen: Screen
    """Pictures of the desktop."""
    mouse: Mouse
    """The pointer. Needs :meth:`control`."""
    keyboard: Keyboard
    """The keyboard. Needs :meth:`control`."""

    def __init__(self, state: StateCell[State], parts: _Parts) -> None:
        self._state = state
        self._parts = parts
        self.screen = parts.screen
        self.mouse = parts.mouse
        self.keyboard = parts.keyboard

    @property
    def state(self) -> State:
        """The newest snapshot of the room. Readable also after the session has ended."""
        return self._state.value

    @property
    def timeline(self) -> Timeline:
        """When each step of the newest connect happened."""
        return self._parts.attempt.timeline

    @property
    def epoch(self) -> int:
        """Which peer connection of the session this is, from 1; 0 with ``video="off"``."""
        return self._parts.epoch

    def statistics(self) -> Statistics:
        """What was counted since the session began: a frozen snapshot. Works after the end, too."""
        return self._parts.statistics()

    async def wait_state(self, predicate: Callable[[State], bool]) -> State:
        """Wait until ``predicate`` holds for the state; return that snapshot. A checkpoint; cancelling is safe."""
        return await self._state.wait(predicate)

    @asynccontextmanager
    async def events(self, pattern: str = "*", *, buffer: int = 256) -> AsyncIterator[Subscription[events.ServerEvent]]:
        """Observe the server's events whose name matches ``pattern`` (shell style, ``"control/*"``).

        Iterate over the result: typed events, and :class:`~neko_trio.events.Dropped` markers where more than
        ``buffer`` waited and the oldest were dropped. Events from before the block are not delivered. Raises
        :class:`InvalidInput` for a buffer below 1.
        """
        if buffer < 1:
            raise InvalidInput(f"buffer={buffer!r} must be at least 1 event.")
        with self._parts.bus.subscribe(pattern, buffer) as subscription:
            yield subscription

    async def send_event(self, event: str, payload: Any = None) -> None:
        """Send any event; return when it is written. The server answers what it does not understand with silence.

        ``payload`` is anything JSON can hold; ``None`` leaves it out. Raises :class:`InvalidInput` when it cannot be
        written as JSON. Cancelled, the event was sent whole or not at all.
        """
        try:
            text = requests.encode_raw(event, payload)
        except Malformed as error:
            raise InvalidInput(f"This payload of {event!r} is no JSON: {error}.") from error
        await self._parts.live_link().send_texts([text])

    def control(self, *, wait: bool = False, steal: bool = False) -> AbstractAsyncContextManager[None]:
        """Become host for the block and give the role back at its end, if it was not ours before.

        See :class:`neko_trio.room.control.Control`: another is host: :class:`HostTaken` at once, or ``wait=True``, or
        ``steal=True`` for admins. A loss cancels the body and raises :class:`ControlLost`.
        """
        return self._parts.control.control(wait=wait, steal=steal)

    async def flush(self) -> None:
        """Wait until the server has handled all input sent before: X has it. Cancelling is safe.

        Raises :class:`InputInDoubt` when the connection goes away first.
        """
        await self._parts.inputs.flush()

    def __repr__(self) -> str:
        return f"<neko_trio.Session {self.state.session_id} epoch {self.epoch}>"


class _Parts:
    """What a session is made of. The supervisor plugs links and peers in; :class:`Session` is the caller's view."""

    def __init__(self, wiring: Wiring, options: Options) -> None:
        self.wiring = wiring
        self.options = options
        self.attempt = Attempt(Timeline(), Budget(options.close_timeout))
        self.key = object()
        self.slot = FrameSlot()
        self.bus: EventBus[events.ServerEvent] = EventBus()
        self.epoch = 0
        self.link: Link | None = None
        self.peer: Peer | None = None
        self.peer_tasks: PeerTasks | None = None
        self.lease: Lease | None = None
        self.credential: Credential | None = None
        self.failure: Callable[[], NekoError] | None = None
        self.data_messages_malformed = 0
        self._numbers = itertools.count(1)
        self._state: StateCell[State] | None = None
        self.screen: Screen
        self.mouse: Mouse
        self.keyboard: Keyboard
        self.control: Control
        self.inputs: InputPort

    # -- the way of an event: reader → state → observers

    def observe(self, event: events.ServerEvent) -> None:
        """Reduce the state, then hand the event to its owners and to the observers. In the reader; never waits."""
        if isinstance(event, events.SystemInit) and self._state is None:
            self._build(initial_state(event))
        elif self._state is not None:
            state = reduce_state(self._state.value, event)
            if state is not self._state.value:
                self._state.set(state)
                self.control.on_state(state)
            if isinstance(event, events.SendUnicast):
                self.inputs.on_unicast(event)
        self.bus.publish(event.event, event)

    def _build(self, state: State) -> None:
        self._state = cell = StateCell(state)
        if self.failure is not None:
            cell.fail(self.failure)
        self.inputs = InputPort(admit=lambda: check_host(cell.value))
        self.mouse = Mouse(self.inputs, cell)
        self.keyboard = Keyboard(self.inputs)
        self.screen = Screen(self.slot, video=self.options.video != "off", session=self.key)
        self.control = Control(cell, self.inputs, take=self._take_control, close_timeout=self.options.close_timeout)

    @property
    def state(self) -> StateCell[State]:
        assert self._state is not None, "the state exists from system/init on"
        return self._state

    def on_data(self, message: bytes) -> None:
        """A message of the data channel, in order, on the trio thread."""
        try:
            event = data_channel.decode_server(message)
        except Malformed as error:
            self.data_messages_malformed += 1
            logger.warning("skipped a data channel message of the server: %s", error)
            return
        if isinstance(event, data_channel.Pong):
            self.inputs.on_pong(event)

    async def _take_control(self) -> None:
        assert self.credential is not None
        await self.wiring.take_control(self.credential)

    # -- what the decoder's thread asks

    def new_number(self) -> int:
        """The next frame number. Any thread: ``next`` on a count is atomic."""
        return next(self._numbers)

    def frame_context(self) -> FrameContext:
        """What is known about a picture that is decoded now. Any thread: one read of one frozen snapshot."""
        from neko_trio.media.frames import FrameContext

        state = self.state.value
        return FrameContext(
            session=self.key,
            epoch=self.epoch,
            screen_size=(state.screen.width, state.screen.height),
            stream=state.stream,
        )

    # -- the end

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait on any port, now and later. The first failure stays."""
        if self.failure is not None:
            return
        self.failure = failure
        self.slot.fail(failure)
        self.bus.fail(failure)
        if self._state is not None:
            self._state.fail(failure)
            self.inputs.fail(failure)

    def live_link(self) -> Link:
        """The link, or the reason why there is none any more."""
        if self.failure is not None:
            raise self.failure()
        assert self.link is not None
        return self.link

    def statistics(self) -> Statistics:
        counts = self.link.counts if self.link else None
        tasks = self.peer_tasks
        return Statistics(
            epoch=self.epoch,
            messages_received=counts.messages_received if counts else 0,
            messages_sent=counts.messages_sent if counts else 0,
            messages_malformed=(counts.malformed if counts else 0) + self.data_messages_malformed,
            offers_unrequested=counts.unrequested_offers if counts else 0,
            candidates_malformed=tasks.candidates_malformed if tasks else 0,
            candidates_dropped=tasks.candidates_dropped if tasks else 0,
            video_toggles=tasks.toggles if tasks else 0,
            frames_shown=self.slot.put_total,
            frames_unseen=self.slot.unseen_total,
            background_failures=self.lease.background_failures.total if self.lease else 0,
            peer=self.peer.statistics() if self.peer else None,
        )


class _Supervisor:
    """The one loop over links and peers; its first policy is "once"."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
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
            await self._with_media()
            return
        try:
            parts.credential = await self._log_in()
            parts.attempt.timeline.mark("login")
            await self._with_media()
        finally:
            credential = parts.credential
            if credential is not None:
                with parts.attempt.budget.shield():
                    await together(lambda: wiring.logout(credential))

    async def _with_media(self) -> None:
        media = self._parts.wiring.media
        if self._parts.options.video == "off":
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
        async with open_link(lambda: parts.wiring.dial(credential), parts.attempt, parts.observe) as (link, init):
            await self._run_link(link, init)

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
                if parts.options.video != "off":
                    services.start_soon(prepare)
                else:
                    prepared.set()
                try:
                    await answered.wait()
                    await prepared.wait()
                finally:
                    if not answered.is_set():
                        with parts.attempt.budget.shield():
                            await answered.wait()
        except BaseException:
            if answer:
                with parts.attempt.budget.shield():
                    await together(lambda: wiring.logout(answer[0]))
            raise
        return answer[0]

    async def _run_link(self, link: Link, init: events.SystemInit) -> None:
        parts = self._parts
        parts.link = link
        refuse_hopeless(init, parts.options)
        parts.inputs.plug(None, link, session_id=init.session_id)
        try:
            if parts.options.video == "off":
                await self._stay()
                return
            assert parts.lease is not None
            parts.epoch += 1
            ports = MediaPorts(parts.lease, parts.slot, parts.new_number, parts.frame_context, parts.on_data)
            options = PeerOptions(
                ice=parts.options.ice,
                stream=parts.options.stream,
                leaves_by_logout=parts.wiring.login is not None,
            )
            opened = open_peer(link, parts.wiring.media.open_peer_connection, parts.attempt, ports, options)
            async with opened as (peer, tasks):
                parts.peer, parts.peer_tasks = peer, tasks
                parts.inputs.plug(peer, link, session_id=init.session_id)
                try:
                    await self._stay()
                finally:
                    parts.inputs.plug(None, link, session_id=init.session_id)
        finally:
            parts.inputs.unplug()

    async def _stay(self) -> None:
        self._connect_scope.deadline = math.inf
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


@asynccontextmanager
async def run_session(wiring: Wiring, options: Options) -> AsyncIterator[Session]:
    """The session over any wiring; :func:`open_session` gives it the real one."""
    parts = _Parts(wiring, options)
    supervisor = _Supervisor(parts)
    async with open_services() as services:
        services.start_soon(supervisor.run)
        try:
            await supervisor.connected.wait()
            yield Session(parts.state, parts)
        finally:
            services.settle()
            parts.attempt.closing = True
            if supervisor.connected.is_set():
                with parts.attempt.budget.shield() as scope:
                    # Half of the budget: the goodbye to the room must not cost the goodbye to the server.
                    scope.deadline = min(scope.deadline, trio.current_time() + options.close_timeout / 2)
                    await together(parts.control.give_back)
            else:
                supervisor.abandon()
            parts.fail(lambda: SessionClosed("The session is closed: its async with block has ended."))
    # Leaving the services cancels the supervisor, whose contexts close peer, link, login and lease in that order.


@asynccontextmanager
async def open_session(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    token: str | None = None,
    video: str = "live",
    audio: bool = False,
    stream: str | None = None,
    ice: IceOptions | None = None,
    ssl_context: ssl.SSLContext | None = None,
    media: Media | None = None,
    reconnect: None = None,
    connect_timeout: float = 9,
    close_timeout: float = 2,
) -> AsyncIterator[Session]:
    """Connect to the Neko v3 server at ``url`` and yield the :class:`Session`; at the block's end nothing is left.

    Args:
      url: the server's base URL, ``http`` or ``https``, with a path prefix if it lives under one.
      username: any name with the multiuser member provider, which is the default; the password decides the role.
      password: log in by ``POST /api/login``; the session logs out at its end.
      token: use this token instead of logging in. It stays valid.
      video: ``"live"`` connects the peer and keeps the newest frame; ``"off"`` has no peer, only the WebSocket.
      audio: must be false in this version.
      stream: id of the video stream (``session.state.streams``); ``None`` is the server's default.
      ice: how ICE goes about it, see :class:`IceOptions`.
      ssl_context: for a CA of your own or a client certificate; by default certificates are verified as usual.
      media: where peer connections come from; ``None`` is aiortc.
      reconnect: must be ``None`` in this version.
      connect_timeout: seconds until the peer must be connected. 9, because the server gives up at 10.
      close_timeout: seconds that all goodbyes together may take.

    Yields at ``connected`` (``video="off"``: at ``system/init``). Cancelling at any step, like every other way out,
    closes in one order: held keys up, flush, host role back, peer and WebSocket closed, logout, media thread left.

    Raises:
      LoginRefused, NotNeko, ServerUnreachable, ConnectionRejected, NotAllowed, NoOffer, UnsupportedCodec, IceFailed,
      ConnectTimeout, InvalidInput: the connect failed; ``error.step`` says where and ``error.timeline`` when.
      SessionLost: the session died under the block, which was cancelled; ``__cause__`` says why.

    An exception of the block itself leaves unchanged; no exception group does.
    """
    target = parse_server_url(url)
    options = checked_options(
        username=username,
        password=password,
        token=token,
        video=video,
        audio=audio,
        stream=stream,
        ice=ice,
        reconnect=reconnect,
        connect_timeout=connect_timeout,
        close_timeout=close_timeout,
    )
    wiring = real_wiring(
        target, username=username, password=password, token=token, ssl_context=ssl_context, media=media
    )
    _refuse_jumping_clock(wiring)
    async with run_session(wiring, options) as session:
        yield session


def _refuse_jumping_clock(wiring: Wiring) -> None:
    """A clock that jumps while threads and sockets are at work would let every deadline fire at once."""
    clock = trio.lowlevel.current_clock()
    threshold = getattr(clock, "autojump_threshold", math.inf)
    if threshold != math.inf:
        raise InvalidInput(
            "open_session needs real time: trio's autojump clock does not see sockets and threads.",
            hint="Use neko_trio.testing.FakePeer and scripted signaling under a mock clock.",
        )


__all__ = ["Dropped", "Session", "open_session", "run_session"]
