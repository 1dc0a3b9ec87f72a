"""Every message a client can send over the WebSocket, handled as the server handles it: one after the other, and what
fails is counted and answered with silence.

Facts: `server/internal/websocket/handler/*.go`, `server/internal/plugins/chat/manager.go`.
"""

from collections.abc import Awaitable
from typing import TypeVar

import msgspec
import trio

from neko_trio.protocol import Malformed, requests
from neko_trio.simulator._chat import may_chat
from neko_trio.simulator._fault_book import LiveSocket
from neko_trio.simulator._media_api import MediaPeer, MediaServer
from neko_trio.simulator._peers import SimulatedPeer
from neko_trio.simulator._room import Room, RoomError
from neko_trio.simulator._session import Session
from neko_trio.simulator._values import ScreenSize, now_text

__all__ = ["Dispatcher"]

T = TypeVar("T")

MAX_SDP = 64 * 1024
"""Characters of a session description, which is read by regular expressions."""
MAX_CANDIDATE = 1024
_CHORD_SECONDS = 0.01
"""A chord is held for 10 ms (`server/internal/desktop/xorg.go`)."""


class Dispatcher:
    """Carries out what clients ask."""

    def __init__(self, room: Room, media: MediaServer) -> None:
        self.room = room
        self.media = media

    async def receive(self, session: Session, message: str | bytes, socket: LiveSocket | None = None) -> None:
        """One WebSocket message, text or binary, that came on `socket`.  Never raises for what is in it."""
        await trio.lowlevel.checkpoint()
        room = self.room
        try:
            request = requests.decode(message)
        except Malformed as failure:
            room.journal.add(session.id, "ws", "received", failure.event or "", message)
            room.refuse(failure.event if failure.event in requests.REQUEST_TYPES else "message", "malformed")
            return
        room.journal.add(session.id, "ws", "received", request.event, message)
        if room.faults.strike("deaf", session.id):
            return
        if socket is not None:
            room.faults.received(request.event, socket)
        if isinstance(request, requests.UnknownRequest):
            room.refuse("message", "unknown event")
            return
        try:
            await self._handle(session, request)
        except RoomError as refusal:
            room.refuse(request.event, str(refusal))

    async def _handle(self, session: Session, request: requests.ClientRequest) -> None:
        room = self.room
        match request:
            case requests.SignalRequest():
                await self.signal_request(session, request)
            case requests.SignalRestart():
                session.send("signal/restart", {"sdp": await _media(session).create_offer(ice_restart=True)})
            case requests.SignalOffer():
                answer = await _signal(_media(session).client_offer(_bounded(request.sdp)))
                session.send("signal/answer", {"sdp": answer})
            case requests.SignalAnswer():
                await _signal(_media(session).answer(_bounded(request.sdp)))
            case requests.SignalCandidate():
                media, candidate = _media(session), _bounded(request.candidate, MAX_CANDIDATE)
                if not _peer(session).one_candidate_more():
                    raise RoomError("too many candidates")
                await _signal(media.add_candidate(candidate, request.sdp_mid, request.sdp_mline_index))
            case requests.SignalVideo():
                known, stream = self._select(request.selector)
                await _peer(session).set_video(room.streams, request.disabled, stream, known)
                if not known:
                    raise RoomError("webrtc stream not found")
            case requests.SignalAudio():
                await _peer(session).set_audio(request.disabled)
            case requests.ScreenSet():
                if not session.profile.is_admin:
                    raise RoomError("is not the admin")
                await self.set_screen(session, ScreenSize(request.width, request.height, request.rate))
            case requests.ClipboardSet():
                self._set_clipboard(session, request.text)
            case requests.KeyboardMap():
                self._need_host(session)
                if not room.desk.keyboard.set_map(request.layout, request.variant):
                    raise RoomError("setxkbmap failed")
            case requests.KeyboardModifiers():
                self._need_host(session)
                self.set_modifiers(msgspec.structs.asdict(request))
            case requests.SendUnicast():
                receiver = room.sessions.get(request.receiver)
                if receiver is None:
                    raise RoomError("receiver session ID not found")
                receiver.send("send/unicast", {"sender": session.id, **msgspec.structs.asdict(request)})
            case requests.SendBroadcast():
                room.broadcast(
                    "send/broadcast", {"sender": session.id, **msgspec.structs.asdict(request)}, exclude=session.id
                )
            case requests.ChatMessage():
                if not may_chat(room, session, "can_send"):
                    raise RoomError("is not allowed to send chat messages")
                self.chat(session, request.text)
            case requests.FileTransferUpdate():
                room.files.ask(session)
            case requests.ClientHeartbeat() | requests.SystemLogs():
                pass
            case _:
                await self._control(session, request)

    # Control and input

    async def _control(self, session: Session, request: requests.ClientRequest) -> None:
        room, desk = self.room, self.room.desk
        if isinstance(request, requests.ControlRelease):
            self._need_hosting(session)
            self._need_host(session)
            desk.release_all()
            room.set_host(session, None)
            return
        if isinstance(request, requests.ControlRequest):
            if room.is_host(session):
                # Checked after the right to host, as at the server; both end in silence.
                raise RoomError("is already the host")
            self._become_host(session)
            return
        # Every other message of control asks for the host role first; who does not get it is not obeyed.
        self._become_host(session)
        x, y = getattr(request, "x", None), getattr(request, "y", None)
        positioned = not isinstance(
            request, requests.ControlTouchBegin | requests.ControlTouchUpdate | requests.ControlTouchEnd
        )
        if positioned and x is not None and y is not None:
            desk.move(x, y)
            room.set_cursor_position(x, y)
        match request:
            case requests.ControlMove():
                pass
            case requests.ControlScroll():
                desk.scroll(request.delta_x, request.delta_y, control=request.control_key)
            case requests.ControlButtonPress():
                desk.button_press(request.code)
            case requests.ControlButtonDown():
                _debounced(desk.button_down(request.code))
            case requests.ControlButtonUp():
                _debounced(desk.button_up(request.code))
            case requests.ControlKeyPress():
                desk.key_press(request.keysym)
            case requests.ControlKeyDown():
                _debounced(desk.key_down(request.keysym))
            case requests.ControlKeyUp():
                _debounced(desk.key_up(request.keysym))
            case requests.ControlTouchBegin():
                _debounced(desk.touch("begin", request.touch_id, request.x, request.y, request.pressure))
            case requests.ControlTouchUpdate():
                _debounced(desk.touch("update", request.touch_id, request.x, request.y, request.pressure))
            case requests.ControlTouchEnd():
                _debounced(desk.touch("end", request.touch_id, request.x, request.y, request.pressure))
            case requests.ControlPaste():
                if request.text:
                    self._set_clipboard(session, request.text)
                await self._chord("v")
            case requests.ControlCut():
                await self._chord("x")
            case requests.ControlCopy():
                await self._chord("c")
            case requests.ControlSelectAll():
                await self._chord("a")
            case _:  # pragma: no cover
                raise AssertionError(f"{request.event} has no handler")

    def _become_host(self, session: Session) -> None:
        room = self.room
        self._need_hosting(session)
        if room.is_host(session):
            return
        if room.settings.locked_controls and not session.profile.is_admin:
            raise RoomError("is not allowed to host")
        host = room.host
        if room.settings.implicit_hosting or host is None:
            room.set_host(session, session)
            return
        host.send("control/request", {"id": session.id})
        raise RoomError("is already hosted")

    def _need_hosting(self, session: Session) -> None:
        if not session.profile.can_host or self.room.private_for(session):
            raise RoomError("is not allowed to host")

    def _need_host(self, session: Session) -> None:
        if not self.room.is_host(session):
            raise RoomError("is not the host")

    async def _chord(self, character: str) -> None:
        self.room.desk.chord(character)
        await trio.sleep(_CHORD_SECONDS)

    def _set_clipboard(self, session: Session, text: str) -> None:
        if not session.profile.can_access_clipboard:
            raise RoomError("cannot access clipboard")
        self._need_host(session)
        self.room.desk.set_clipboard(text)

    def set_modifiers(self, wanted: dict[str, bool | None]) -> None:
        """Locks and unlocks; None leaves."""
        locked = self.room.desk.keyboard.locked
        for name, on in wanted.items():
            if on is not None:
                (locked.add if on else locked.discard)(name)

    # Screen and chat, also by REST

    async def set_screen(self, by: Session, wanted: ScreenSize) -> None:
        """Raises `RoomError` when X refuses the size."""
        size = self.room.fitting_screen(wanted)
        await self.media.resize((size.width, size.height), size.rate)
        self.room.set_screen(by, size)

    def chat(self, sender: Session, text: str) -> None:
        message = {"id": sender.id, "created": now_text(), "content": {"text": text}}
        self.room.send_to("chat/message", message, lambda session: may_chat(self.room, session, "can_receive"))

    # Signaling

    def _select(self, selector: requests.StreamSelector | None) -> tuple[bool, str | None]:
        """(known, stream): the id that a selector means (`server/internal/capture/streamselector.go`)."""
        if selector is None:
            return True, None
        streams = list(self.room.streams)
        if selector.id not in streams:
            return False, None
        index = streams.index(selector.id) + {"lower": 1, "higher": -1}.get(selector.type or "exact", 0)
        return (True, streams[index]) if 0 <= index < len(streams) else (False, None)

    async def signal_request(self, session: Session, request: requests.SignalRequest) -> None:
        """A new peer for the session, in place of the one before.  Raises `RoomError`."""
        room = self.room
        if not session.profile.can_watch:
            raise RoomError("not allowed to watch")
        known, stream = self._select(request.video.selector)
        if session.peer is None and sum(each.peer is not None for each in room.sessions.values()) >= room.limits.peers:
            raise RoomError("too many peers")
        async with room.closing_peers:  # who asks again and again waits until what was replaced is gone
            pass
        peer = SimulatedPeer(room, session, offered=known)
        peer.video_disabled = bool(request.video.disabled)
        peer.video_id = stream or (room.streams[0] if known else "")
        peer.audio_disabled = bool(request.audio.disabled)
        peer.paused = room.private_for(session)
        before, session.peer = session.peer, peer
        if before is not None:
            before.close()
        try:
            await peer.make(self.media, stream=peer.video_id or room.streams[0])
        except OSError as failure:
            raise RoomError("no peer connection") from failure
        if not known:
            raise RoomError("webrtc stream not found")


def _peer(session: Session) -> SimulatedPeer:
    if session.peer is None or session.peer.media is None:
        raise RoomError("webRTC peer does not exist")
    return session.peer


def _media(session: Session) -> MediaPeer:
    media = _peer(session).media
    assert media is not None
    return media


def _bounded(text: str, most: int = MAX_SDP) -> str:
    if len(text) > most:
        raise RoomError("too long")
    return text


async def _signal(work: Awaitable[T]) -> T:
    try:
        return await work
    except ValueError as failure:
        raise RoomError("the peer connection refused it") from failure


def _debounced(done: bool) -> None:
    if not done:
        raise RoomError("debounced")
