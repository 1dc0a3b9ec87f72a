"""Scripted signaling: a server made of messages, in virtual time, that does what a test tells it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from neko_trio import Reconnect, Session
from neko_trio._checks import LINGER, checked_options
from neko_trio._session import run_session
from neko_trio._wiring import Media, Wiring
from neko_trio.protocol import events, requests
from neko_trio.signaling.credential import Credential
from neko_trio.signaling.web_socket import SocketEnded
from neko_trio.testing._fake_media import FakeMedia
from neko_trio.testing._fake_peer import ANSWER
from neko_trio.testing._fake_video import FakeVideo
from neko_trio.testing._scripted_rest import ScriptedRest

R = TypeVar("R", bound=requests.ClientRequest)

SESSION_ID = "agent-1"
OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1 2",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=setup:actpass",
        "a=mid:0",
        "a=ice-ufrag:ufrag",
        "a=ice-pwd:passwordpasswordpasswordpass",
        "a=rtpmap:111 opus/48000/2",
        "a=sendrecv",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "c=IN IP4 0.0.0.0",
        "a=setup:actpass",
        "a=mid:1",
        "a=rtpmap:96 VP8/90000",
        "a=sendrecv",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=setup:actpass",
        "a=mid:2",
        "a=sctp-port:5000",
        "",
    ]
)
CANDIDATE = "candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host"


def profile(*, name: str = "agent", is_admin: bool = False, without: str = "") -> events.Profile:
    """A member's profile with every right but ``without``, such as ``"can_watch"``."""
    rights = ("can_login", "can_connect", "can_watch", "can_host", "can_share_media", "can_access_clipboard")
    every: dict[str, Any] = {right: right != without for right in rights}
    return events.Profile(name=name, is_admin=is_admin, **every)


def system_init(
    *,
    member: events.Profile | None = None,
    settings: events.Settings | None = None,
    host: str | None = None,
    streams: tuple[str, ...] = ("main",),
) -> events.SystemInit:
    """The first message of a connection."""
    return events.SystemInit(
        session_id=SESSION_ID,
        control_host=events.ControlHostInfo(id="", has_host=host is not None, host_id=host),
        screen_size=events.ScreenSize(width=1280, height=720, rate=30),
        sessions={
            SESSION_ID: events.SessionInfo(
                id=SESSION_ID,
                profile=member or profile(),
                state=events.SessionState(is_connected=True, is_watching=False),
            )
        },
        settings=settings or events.Settings(),
        touch_events=True,
        screencast_enabled=False,
        webrtc=events.WebrtcInfo(videos=streams),
    )


class ScriptedServer:
    """A Neko server of messages alone: what the client sends is handed to the script, which sends what it likes.

    By default it behaves: ``system/init`` on connect, candidates and the offer on ``signal/request``, an answer to each
    ``signal/video`` and ``signal/audio`` that changes something, the host role to whoever asks, a unicast to oneself
    back. A test changes ``init``, or puts its own function for an event into ``on``
    (``server.on["signal/request"] = lambda request: None`` never offers anything).
    """

    def __init__(self) -> None:
        self.init: events.SystemInit | None = system_init()
        self.requests: list[requests.ClientRequest] = []
        """Everything the client sent, in order."""
        self.logins = 0
        self.logouts = 0
        self.connections = 0
        """WebSockets open now."""
        self.close_codes: list[int] = []
        self.login_failure: Exception | None = None
        self.dial_failure: Exception | None = None
        self.on_connect: Callable[[], None] = lambda: None
        """Called once the WebSocket is open and ``init`` is sent."""
        self.host: str | None = None
        self.video = FakeVideo()
        """What ``signal/video`` has said: a :class:`FakeMedia` with a rate films while it is on."""
        self.audio_disabled = True
        """What ``signal/audio`` has said."""
        self.unanswered = 0
        """Offers sent that no answer came for."""
        self.delays: dict[str, float] = {}
        """Seconds for ``login``, ``dial``, ``logout``."""
        self.rest = ScriptedRest()
        """Answers the REST calls."""
        self.rest.on["POST", "/api/room/control/take"] = lambda _json: self.give_host(SESSION_ID)
        self.stopped = False
        """Whether it says nothing and hears nothing, as a process that has been stopped: its sockets stay open."""
        self._socket: ScriptedSocket | None = None
        self.on: dict[str, Callable[[requests.ClientRequest], None]] = {
            "signal/request": self._offer,
            "signal/answer": self._answered,
            "signal/offer": lambda _request: self.send(events.SignalAnswer(sdp=ANSWER)),
            "signal/video": self._video,
            "signal/audio": self._audio,
            "control/request": lambda _request: self.give_host(SESSION_ID),
            "control/release": lambda _request: self.give_host(None),
            "send/unicast": self._unicast,
        }

    # -- what a test does

    def send(self, event: events.ServerEvent) -> None:
        """Send an event to the client."""
        self.send_text(events.encode(event))

    def send_text(self, text: str) -> None:
        """Send anything."""
        if self._socket is not None and not self.stopped:
            self._socket.deliver(text)

    def end(self, code: int = 1006, reason: str = "") -> None:
        """End the WebSocket from this side."""
        if self._socket is not None:
            self._socket.end(code, reason)

    def give_host(self, session_id: str | None) -> None:
        """Make a session host, or nobody, and tell the client."""
        self.host = session_id
        self.send(events.ControlHost(id=session_id or SESSION_ID, has_host=session_id is not None, host_id=session_id))

    def got(self, kind: type[R]) -> list[R]:
        """The requests of one kind that came so far."""
        return [request for request in self.requests if isinstance(request, kind)]

    def offer(self, sdp: str = OFFER, *, ice_servers: tuple[events.IceServer, ...] = ()) -> events.SignalProvide:
        """An offer to send."""
        return events.SignalProvide(
            sdp=sdp,
            ice_servers=ice_servers,
            video=events.VideoInfo(disabled=True, id=self.video.stream, video=self.video.stream, auto=False),
            audio=events.AudioInfo(disabled=True),
        )

    # -- how it behaves by itself

    def _offer(self, request: requests.ClientRequest) -> None:
        self.unanswered += 1
        self.audio_disabled = isinstance(request, requests.SignalRequest) and bool(request.audio.disabled)
        if isinstance(request, requests.SignalRequest):
            selector, streams = request.video.selector, self._streams()
            self.video.set(disabled=bool(request.video.disabled), stream=selector.id if selector else streams[0])
        self.send(events.SignalCandidate(candidate=CANDIDATE, sdp_mid="0", sdp_mline_index=0, username_fragment=None))
        self.send(self.offer())

    def _streams(self) -> tuple[str, ...]:
        return self.init.webrtc.videos if self.init is not None else ("main",)

    def _video(self, request: requests.ClientRequest) -> None:
        """As server/internal/webrtc/peer.go, SetVideo, does: silent about an unknown stream, and about no change."""
        assert isinstance(request, requests.SignalVideo)
        video = self.video
        disabled = video.disabled if request.disabled is None else request.disabled
        stream = request.selector.id if request.selector is not None else video.stream
        if (disabled, stream) != (video.disabled, video.stream) and stream in self._streams():
            video.set(disabled=disabled, stream=stream)
            self.send(events.SignalVideo(disabled=disabled, id=stream, video=stream, auto=False))

    def _audio(self, request: requests.ClientRequest) -> None:
        """As server/internal/webrtc/peer.go, SetAudio, does."""
        assert isinstance(request, requests.SignalAudio)
        if request.disabled is not None and request.disabled is not self.audio_disabled:
            self.audio_disabled = request.disabled
            self.send(events.SignalAudio(disabled=request.disabled))

    def _answered(self, _request: requests.ClientRequest) -> None:
        self.unanswered = 0

    def _unicast(self, request: requests.ClientRequest) -> None:
        assert isinstance(request, requests.SendUnicast)
        if request.receiver == SESSION_ID:
            self.send(
                events.SendUnicast(sender=SESSION_ID, receiver=SESSION_ID, subject=request.subject, body=request.body)
            )

    def _received(self, text: str) -> None:
        if self.stopped:
            return
        request = requests.decode(text)
        self.requests.append(request)
        handler = self.on.get(request.event)
        if handler is not None:
            handler(request)

    # -- wiring

    def wiring(self, media: Media, *, token: bool = False) -> Wiring:
        """The session's way to this server; ``token``: the caller brought one, so nobody logs in or out."""
        credential = Credential.bearer("scripted")
        if isinstance(media, FakeMedia):
            media.video = self.video

        async def login() -> Credential:
            await trio.sleep(self.delays.get("login", 0))
            if self.login_failure is not None:
                raise self.login_failure
            self.logins += 1
            return credential

        async def logout(_credential: Credential) -> None:
            self.logouts += 1
            self.unanswered = 0
            await trio.sleep(self.delays.get("logout", 0))

        @asynccontextmanager
        async def open_rest(_credential: Credential) -> AsyncIterator[ScriptedRest]:
            yield self.rest

        return Wiring(
            login=None if token else login,
            credential=credential if token else None,
            logout=logout,
            open_rest=open_rest,
            dial=lambda _credential, _tcp_limit: self._dial(),
            media=media,
            clock=trio.current_time,
        )

    @asynccontextmanager
    async def _dial(self) -> AsyncIterator[ScriptedSocket]:
        await trio.sleep(self.delays.get("dial", 0))
        if self.dial_failure is not None:
            raise self.dial_failure
        socket = ScriptedSocket(self)
        self._socket = socket
        self.connections += 1
        if self.init is not None:
            self.send(self.init)
        self.on_connect()
        try:
            yield socket
        finally:
            self.connections -= 1
            self._socket = None
            self.video.set(disabled=True, stream=self.video.stream)  # the session's peer goes with it
            with trio.CancelScope(shield=True):  # one checkpoint, no wait
                await socket.aclose()


class ScriptedSocket:
    """The client's end: a WebSocket without bytes."""

    remote_address = ("192.0.2.1", 8080)

    def __init__(self, server: ScriptedServer) -> None:
        self._server = server
        self._incoming: deque[str] = deque()
        self._news = trio.Event()
        self._ended: SocketEnded | None = None

    def deliver(self, text: str) -> None:
        if self._ended is None:
            self._incoming.append(text)
            self._news.set()

    def end(self, code: int, reason: str) -> None:
        if self._ended is None:
            self._ended = SocketEnded(code, reason)
            self._news.set()

    async def receive(self) -> str:
        """The next message; :class:`SocketEnded` behind what had arrived."""
        await trio.lowlevel.checkpoint()
        while not self._incoming:
            if self._ended is not None:
                raise SocketEnded(self._ended.code, self._ended.reason)
            self._news = trio.Event()
            await self._news.wait()
        return self._incoming.popleft()

    async def send(self, *texts: str) -> None:
        """Hand all texts to the server in one step. Cancelled before the call, none is sent; later, all are."""
        await trio.lowlevel.checkpoint_if_cancelled()
        await trio.lowlevel.cancel_shielded_checkpoint()
        if self._ended is not None:
            raise SocketEnded(self._ended.code, self._ended.reason)
        for text in texts:
            self._server._received(text)

    async def aclose(self, code: int = 1000) -> None:
        """Say goodbye: a checkpoint, and done even when cancelled."""
        if self._ended is None:
            self._server.close_codes.append(code)
            self.end(code, "")
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_scripted_session(
    server: ScriptedServer,
    media: Media,
    *,
    token: bool = False,
    video: str = "live",
    audio: bool = False,
    stream: str | None = None,
    connect_timeout: float = 9,
    close_timeout: float = 2,
    linger: float = LINGER,
    reconnect: Reconnect | bool | None = None,
) -> AsyncIterator[Session]:
    """``open_session`` over scripted signaling: the same code from the login on, fit for a mock clock."""
    options = checked_options(
        password=None if token else "scripted",
        token="scripted" if token else None,
        video=video,
        audio=audio,
        stream=stream,
        ice=None,
        reconnect=reconnect,
        connect_timeout=connect_timeout,
        close_timeout=close_timeout,
        linger=linger,
    )
    async with run_session(server.wiring(media, token=token), options) as session:
        yield session
