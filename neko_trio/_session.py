"""The session: a nursery whose child tasks are the link, the peer and their helpers, and what the caller holds."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

import trio

from neko_trio._checks import LINGER, Options, checked_options
from neko_trio._parts import Parts
from neko_trio._ports.bus import Subscription
from neko_trio._ports.expectation import Expectation
from neko_trio._reconnect import Reconnect
from neko_trio._services import open_services, together
from neko_trio._state import State
from neko_trio._statistics import Statistics
from neko_trio._supervisor import Supervisor
from neko_trio._timeline import Timeline
from neko_trio._wiring import Media, Wiring, real_wiring
from neko_trio.audio.microphone import Microphone
from neko_trio.audio.sound import Audio
from neko_trio.desktop.clipboard import Clipboard
from neko_trio.desktop.files import Files
from neko_trio.desktop.keyboard import Keyboard
from neko_trio.desktop.mouse import Mouse
from neko_trio.desktop.screen import Screen
from neko_trio.desktop.touch import Touch
from neko_trio.errors import EventTimeout, InvalidInput, SessionClosed
from neko_trio.protocol import Malformed, events, requests
from neko_trio.room.chat import Chat
from neko_trio.room.room import Room
from neko_trio.signaling.url import parse_server_url

if TYPE_CHECKING:
    from neko_trio.media.peer_api import IceOptions


E = TypeVar("E", bound=events.ServerEvent)


class Session:
    """One session with a Neko desktop. Made by :func:`open_session`; for the trio thread of that block.

    Everything that waits ends by itself: with :class:`SessionLost` when the session dies, with
    :class:`SessionClosed` after its block, whichever task waits.
    """

    screen: Screen
    """Pictures of the desktop."""
    audio: Audio
    """The sound of the desktop. Needs ``open_session(audio=True)``."""
    mouse: Mouse
    """The pointer. Needs :meth:`control`."""
    touch: Touch
    """Fingers on the screen. Needs :meth:`control`, and a server with a touch driver."""
    keyboard: Keyboard
    """The keyboard. Needs :meth:`control`."""
    clipboard: Clipboard
    """The clipboard of the desktop. Needs :meth:`control` and the right ``can_access_clipboard``."""
    files: Files
    """The shared folder, and files for programs."""

    room: Room
    """The others who share the desktop: sessions, members, settings, the host role, messages, the broadcast."""
    chat: Chat
    """What the people of the room say to each other. Needs the server's chat plugin."""

    def __init__(self, parts: Parts) -> None:
        self._state = parts.state
        self._parts = parts
        self.screen = parts.screen
        self.audio = parts.audio
        self.mouse = parts.mouse
        self.touch = parts.touch
        self.keyboard = parts.keyboard
        self.clipboard = parts.clipboard
        self.room = parts.room
        self.chat = parts.chat
        self.files = parts.files

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
        """Which peer connection of the session this is, from 1; 0 without: ``video="off"`` and no sound.

        Those are counted that came up. Unchanged while a lost connection is made anew.
        """
        return self._parts.epoch

    @property
    def connected(self) -> bool:
        """Whether the session is up now. ``False`` while a lost connection is made anew (``reconnect=``), and after
        the end.

        Meanwhile pictures, events and whatever waits for the state simply wait; the state is the last that was known.
        Input waits, too, once what went before it and was not confirmed has been told as :class:`InputInDoubt`: it is
        never repeated. A host role that was held is asked for again. A REST call fails by itself. Observers
        (:meth:`events`) see ``system/init`` when the WebSocket is back: what they missed in between is in the state.
        """
        return self._parts.failure is None and self._parts.up.value

    async def wait_connected(self) -> None:
        """Wait until the session is up. A checkpoint; cancelling is safe. Raises what ends the session."""
        await self._parts.up.wait(lambda up: up)

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
        with self._parts.bus.subscribe(pattern, buffer) as subscription:
            yield subscription

    @overload
    def expect(
        self, event: type[E], *, where: Callable[[E], bool] | None = None, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Expectation[E]]: ...

    @overload
    def expect(
        self, event: str, *, where: Callable[[Any], bool] | None = None, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Expectation[Any]]: ...

    @asynccontextmanager
    async def expect(
        self, event: str | type[E], *, where: Callable[[Any], bool] | None = None, timeout: float | None = None
    ) -> AsyncIterator[Expectation[Any]]:
        """Listen for an event first, cause it in the block, and wait for it at the block's end.

        ::

            async with session.expect("clipboard/updated", timeout=2) as copied:
                await session.clipboard.copy()
            copied.value.text

        ``event``: a name, shell style, or a class of :mod:`neko_trio.events`. ``where`` is asked for each such event
        from the block's beginning on, in the session's reader: it must be quick, and what it raises comes out at the
        block's end. The first that matches is kept, whatever else comes. ``timeout``: seconds that are waited at the
        end of the block; ``None`` waits as long as the caller's own scope allows.

        Raises :class:`EventTimeout`, and ``SessionLost`` or ``SessionClosed`` when the session ends before it comes.
        When the block itself raises, or is cancelled, nothing is waited for.
        """
        if timeout is not None and not timeout >= 0:
            raise InvalidInput(f"timeout={timeout!r} must be a number of seconds, 0 or more; None waits without end.")
        pattern: Any = event if isinstance(event, str) else getattr(event, "event", event)  # the bus refuses the rest
        with self._parts.bus.expect(pattern, where) as expected:
            yield expected
            with trio.move_on_after(math.inf if timeout is None else timeout):
                await expected.wait()
            if not expected.arrived:
                raise EventTimeout(f"No {expected.pattern!r} came within {timeout:g} s.", step="expect")

    async def send_event(self, event: str, payload: Any = None) -> None:
        """Send any event; return when it is written. The server answers what it does not understand with silence.

        ``payload`` is anything JSON can hold; ``None`` leaves it out. Raises :class:`InvalidInput` when it cannot be
        written as JSON. Waits while a lost connection is made anew. Cancelled, the event was sent whole or not at all.
        """
        if not isinstance(event, str) or not event:
            raise InvalidInput(f"The name of an event is a text such as 'send/broadcast', not {event!r}.")
        try:
            text = requests.encode_raw(event, payload)
        except Malformed as error:
            raise InvalidInput(f"This payload of {event!r} is no JSON: {error}.") from error
        await self._parts.send_texts([text])

    def control(
        self, *, wait: bool = False, steal: bool = False, regain: bool | float = False
    ) -> AbstractAsyncContextManager[None]:
        """Become host for the block and give the role back at its end, if it was not ours before.

        See :meth:`neko_trio.room.control.Control.control`: another is host: :class:`HostTaken` at once, or
        ``wait=True``, or ``steal=True`` for admins. A loss cancels the body and raises :class:`ControlLost`; with
        ``regain``, ``True`` or the most seconds, the block's next input waits politely to have the role back instead.
        """
        return self._parts.control.control(wait=wait, steal=steal, regain=regain)

    def microphone(
        self, *, rate: int = 48_000, buffer: float = 0.2, bitrate: int = 64_000
    ) -> AbstractAsyncContextManager[Microphone]:
        """Speak into the desktop for the block: programs there hear it as their microphone.

        ::

            async with session.microphone() as mic:
                await mic.write(pcm)                # int16 or floats, (samples,) or (samples, channels)
                await mic.wait_for_playout()

        ``rate``: samples per second of what is written, a multiple of 50 from 8,000 to 192,000; other rates than 48,000
        are converted. ``buffer``: seconds that may wait, beyond which ``write`` waits. ``bitrate``: of the Opus stream,
        bits per second. Whatever is still queued at the block's end, however it ends, is not sent; what has been sent
        just before is given 0.3 s to sound, unless the block is cancelled or raises.

        Needs a session with a media connection (any but ``video="off"`` without sound) and the right
        ``can_share_media``; not the host role. A server has one microphone: it belongs to the client that spoke last.

        Raises, at once: :class:`AudioOff` without a media connection, :class:`NotAllowed` without the right,
        :class:`MicrophoneTaken` when one of this session is open, :class:`FeatureOff` when the server has no Opus, and
        :class:`InvalidInput`. A server whose microphone is off is found out later: see ``Microphone.write``.
        """
        return self._parts.microphones.open(rate=rate, buffer=buffer, bitrate=bitrate)

    async def open_link(self, url: str) -> None:
        """Have the desktop open an ``http`` or ``https`` URL, as its openinapp plugin is set up; off by default.

        Returns when the server has started its command, not when a page shows. Needs the host role, or implicit
        hosting. Raises :class:`InvalidInput` for what is no such URL, :class:`FeatureOff` when the plugin is off, and
        what :meth:`control` raises for who may not be host. Cancelled, the link may have been opened.
        """
        await self._parts.links.open(url)

    async def flush(self) -> None:
        """Wait until the server has handled all input sent before: X has it. Cancelling is safe.

        Raises :class:`InputInDoubt` when the connection goes away first.
        """
        await self._parts.inputs.flush()

    def __repr__(self) -> str:
        return f"<neko_trio.Session {self.state.session_id} epoch {self.epoch}>"


@asynccontextmanager
async def run_session(wiring: Wiring, options: Options) -> AsyncIterator[Session]:
    """The session over any wiring; :func:`open_session` gives it the real one."""
    parts = Parts(wiring, options)
    async with open_services() as services:
        supervisor = Supervisor(parts, on_lost=services.fail)
        services.start_soon(supervisor.run)
        hurried = True  # unless the block says otherwise: cancelled, or struck by Ctrl-C
        try:
            await supervisor.connected.wait()
            services.start_soon(parts.control.run)
            services.start_soon(parts.sound_in.run)
            yield Session(parts)
        except Exception:  # the block's own error, which is in no hurry
            hurried = False
            raise
        else:
            hurried = False
        finally:
            services.settle()
            parts.attempt.closing = True
            parts.goodbyes.close(hurried=hurried)
            try:
                if supervisor.connected.is_set():
                    with parts.goodbyes.shield():
                        await together(parts.control.give_back)  # noqa: ASYNC102 - the budget is a shield
                else:
                    supervisor.abandon()
                parts.fail(lambda: SessionClosed("The session is closed: its async with block has ended."))
                # Cancels the supervisor, whose contexts close peer, link, login and lease in that order.
                services.cancel()
                # Each of its goodbyes has a part of the budget. What of it is our own work is waited for in any case.
                with trio.move_on_after(parts.options.close_timeout + 1, shield=True):
                    await supervisor.ended.wait()
            except BaseException:  # Ctrl-C while the goodbyes wait
                parts.goodbyes.hurry()
                raise


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
    reconnect: Reconnect | bool | None = None,
    connect_timeout: float = 9,
    close_timeout: float = 2,
    linger: float = LINGER,
) -> AsyncIterator[Session]:
    """Connect to the Neko v3 server at ``url`` and yield the :class:`Session`; at the block's end nothing is left.

    Args:
      url: the server's base URL, ``http`` or ``https``, with a path prefix if it lives under one.
      username: any name with the multiuser member provider, which is the default; the password decides the role.
      password: log in by ``POST /api/login``; the session logs out at its end.
      token: use this token instead of logging in. It stays valid.
      video: ``"live"`` keeps the newest frame; ``"on_demand"`` keeps the video off at the server, except while somebody
        waits for a picture; ``"off"`` has no peer, only the WebSocket, but for sound.
      audio: whether sound can be listened to (``session.audio``). The server sends it only while somebody does.
      stream: id of the video stream (``session.state.streams``); ``None`` is the server's default.
      ice: how ICE goes about it, see :class:`IceOptions`.
      ssl_context: for a CA of your own or a client certificate; by default certificates are verified as usual. TURN and
        STUN servers over TLS are verified with it, too, unless ``ice`` has one for them.
      media: where peer connections come from; ``None`` is aiortc.
      reconnect: what becomes of a session that is lost once it is up: with ``None`` it ends; with ``True``, or a
        :class:`Reconnect`, it is made anew under its caller. See :attr:`Session.connected`.
      connect_timeout: seconds until the peer must be connected. 9, because the server gives up at 10.
      close_timeout: seconds that all goodbyes together may take. A session that is cancelled, or ended by Ctrl-C, waits
        0.6 s, or 16 round trips, for a server of which nothing is heard any more.
      linger: on demand, seconds for which the video stays on after the last picture that was wanted: for as long a
        picture counts as new.

    Yields at ``connected`` (without video and sound: at ``system/init``). Cancelling at any step, like every other way
    out, closes in one order: held keys up, flush, host role back, peer and WebSocket closed, logout, media thread left.

    Raises:
      LoginRefused, NotNeko, ServerUnreachable, ConnectionRejected, NotAllowed, NoOffer, UnsupportedCodec, IceFailed,
      ConnectTimeout, InvalidInput: the connect failed; ``error.step`` says where and ``error.timeline`` when.
      SessionLost: the session died under the block, which was cancelled; ``__cause__`` says why.

    An exception of the block itself leaves unchanged; no exception group does.
    """
    target = parse_server_url(url)
    options = checked_options(
        password=password,
        token=token,
        video=video,
        audio=audio,
        stream=stream,
        ice=ice,
        ssl_context=ssl_context,
        reconnect=reconnect,
        connect_timeout=connect_timeout,
        close_timeout=close_timeout,
        linger=linger,
    )
    wiring = real_wiring(
        target, username=username, password=password, token=token, ssl_context=ssl_context, media=media
    )
    _refuse_jumping_clock()
    async with run_session(wiring, options) as session:
        yield session


def _refuse_jumping_clock() -> None:
    """A clock that jumps while threads and sockets are at work would let every deadline fire at once."""
    clock = trio.lowlevel.current_clock()
    threshold = getattr(clock, "autojump_threshold", math.inf)
    if threshold != math.inf:
        raise InvalidInput(
            "open_session needs real time: trio's autojump clock does not see sockets and threads.",
            hint="Use neko_trio.testing.FakePeer and scripted signaling under a mock clock.",
        )
