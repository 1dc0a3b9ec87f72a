"""Peer connections as the room sees them: `signal/*`, the rules of video and audio, and the data channel.

Facts: `server/internal/websocket/handler/signal.go`, `server/internal/webrtc/manager.go`, `peer.go`, `handler.go`.
"""

import functools
import io
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from neko_trio.protocol import Malformed, data_channel
from neko_trio.simulator._media_api import LocalCandidate, MediaPeer, MediaServer, PeerCallbacks
from neko_trio.simulator._session import Session

if TYPE_CHECKING:
    from neko_trio.simulator._faults_media import PacketFault
    from neko_trio.simulator._room import Room

__all__ = ["SimulatedPeer", "arrow_cursor"]

MAX_CANDIDATES = 200
"""Of one client."""
_ARROW = ((0, 0), (0, 16), (4, 12), (7, 19), (10, 18), (7, 11), (12, 11))


class SimulatedPeer:
    """What the session holds of one peer connection; `media` is the connection itself, once it is made."""

    def __init__(self, room: "Room", session: Session, *, offered: bool) -> None:
        self.session = session
        self.media: MediaPeer | None = None
        self.video_disabled = False
        self.video_id = ""
        self.audio_disabled = True
        self.paused = False
        self.ended = False
        self.made = trio.Event()
        self._room = room
        self._offered = offered
        self._channel_open = False
        self._candidates = 0

    # What the client asks

    async def make(self, media: MediaServer, *, stream: str) -> None:
        """Creates the connection; returns when it gathers.  The offer goes out when it is there.
        Raises `OSError` when no socket can be had: candidates may have come, no offer will."""
        try:
            self.media = await media.new_peer(
                self._callbacks(),
                video_disabled=self.video_disabled or not self._offered,
                stream=stream,
                audio_disabled=self.audio_disabled,
            )
        finally:
            self.made.set()
        if self.ended:
            await self.media.aclose()
            return
        if self.paused:
            self.media.set_paused(True)
        self._room.faults.peer_made(self)

    async def set_video(self, streams: Sequence[str], disabled: bool | None, selected: str | None, known: bool) -> None:
        """`known` False: the selector names no stream; a `disabled` beside it takes effect all the same, without an
        answer."""
        modified = False
        if disabled is not None and disabled != self.video_disabled:
            self.video_disabled, modified = disabled, True
        if known and selected is not None and selected != self.video_id:
            self.video_id, modified = selected, True
        if modified and self.media is not None:
            await self.media.set_video(disabled=self.video_disabled, stream=self.video_id or streams[0])
        if modified and known:
            self.session.send("signal/video", self.video_payload())

    async def set_audio(self, disabled: bool | None) -> None:
        if disabled is None or disabled == self.audio_disabled:
            return
        self.audio_disabled = disabled
        if self.media is not None:
            await self.media.set_audio(disabled=disabled)
        self.session.send("signal/audio", self.audio_payload())

    def video_payload(self) -> dict[str, Any]:
        return {"disabled": self.video_disabled, "id": self.video_id, "video": self.video_id, "auto": False}

    def audio_payload(self) -> dict[str, Any]:
        return {"disabled": self.audio_disabled}

    def one_candidate_more(self) -> bool:
        """Each candidate of the client is an address that is sent to: there are only so many."""
        self._candidates += 1
        return self._candidates <= MAX_CANDIDATES

    # What the room does to it

    def set_paused(self, paused: bool) -> None:
        self.paused = paused
        if self.media is not None:
            self.media.set_paused(paused)

    # What faults do to it

    @property
    def session_id(self) -> str:
        return self.session.id

    def set_silent(self, silent: bool) -> None:
        if self.media is not None:
            self.media.set_silent(silent)

    def set_stuck(self, stuck: bool) -> None:
        if self.media is not None:
            self.media.set_paused(stuck or self.paused)

    def set_path(self, faults: tuple["PacketFault", ...]) -> None:
        if self.media is not None:
            self.media.set_path(faults)

    def kill(self, *, silently: bool) -> None:
        """`silently`: the client learns of it neither here nor there, and the server has forgotten the peer."""
        if not silently:
            self.destroy()
            return
        self.set_silent(True)
        self.close()
        if self.session.peer is self:
            self.session.set_watching(False)
            self.session.peer = None

    # How it ends

    def destroy(self) -> None:
        """Closed by the server, as on a kick: the session is told `signal/close` if this is its current peer."""
        self.close()
        if self.session.peer is self:
            self._room.webrtc_changed(self.session, watching=False)

    def close(self) -> None:
        """Closed without a word on the WebSocket, as when a new request replaces it."""
        if self.ended:
            return
        self.ended = True
        if self.media is not None:
            self._room.background.start_soon(self._close, self.media)

    async def _close(self, media: MediaPeer) -> None:
        async with self._room.closing_peers:
            await media.aclose()

    def send_cursor_position(self, x: int, y: int) -> None:
        if self._channel_open:
            self._send(data_channel.CursorPosition(x & 0xFFFF, y & 0xFFFF))

    # What the connection tells

    def _callbacks(self) -> PeerCallbacks:
        return PeerCallbacks(
            on_offer=self._on_offer,
            on_candidate=self._on_candidate,
            on_connected=self._on_connected,
            on_closed=self._on_closed,
            on_data=self._on_data,
            on_data_channel_open=self._on_data_channel_open,
            may_speak=lambda: self.session.id if self.session.profile.can_share_media else None,
        )

    def _on_offer(self, sdp: str) -> None:
        # Without a stream to show the server stops half-way: candidates, but no offer and no error.
        if self.ended or not self._offered:
            return
        self.session.send(
            "signal/provide",
            {
                "sdp": sdp,
                "iceservers": list(self._room.ice_servers),
                "video": self.video_payload(),
                "audio": self.audio_payload(),
            },
        )
        if not self.audio_disabled:
            self.session.send("signal/audio", self.audio_payload())
        self.session.send("signal/video", self.video_payload())

    def _on_candidate(self, candidate: LocalCandidate) -> None:
        # The end of candidates is not announced: pion's callback gets nil, and the server only logs it.
        if self.ended or not candidate.candidate:
            return
        self.session.send(
            "signal/candidate",
            {
                "candidate": candidate.candidate,
                "sdpMid": candidate.sdp_mid,
                "sdpMLineIndex": candidate.sdp_mline_index,
                "usernameFragment": candidate.username_fragment,
            },
        )

    def _on_connected(self) -> None:
        if self.session.peer is self:
            self._room.journal.add(self.session.id, "room", "", "peer connected", "")
            self._room.webrtc_changed(self.session, watching=True)

    def _on_closed(self, reason: str) -> None:
        self.ended = True
        self._room.journal.add(self.session.id, "room", "", "peer closed", reason)
        if self.session.peer is self:
            self._room.webrtc_changed(self.session, watching=False)

    def _on_data_channel_open(self) -> None:
        self._channel_open = True
        width, height, hot_x, hot_y, image = arrow_cursor()
        self._send(data_channel.CursorImage(width, height, hot_x, hot_y, image))
        if not self._room.is_host(self.session):
            x, y = self._room.desk.pointer
            self.send_cursor_position(x, y)

    def _send(self, message: data_channel.ServerMessage) -> None:
        if self.media is None:
            return
        encoded = data_channel.encode_server(message)
        self._room.journal.add(self.session.id, "data", "sent", type(message).__name__, encoded)
        self.media.send_data(encoded)

    def _on_data(self, raw: bytes) -> None:
        """All but move and ping need the host role; nothing here makes anybody host."""
        room, session, desk = self._room, self.session, self._room.desk
        try:
            message = data_channel.decode_client(raw)
        except Malformed:
            room.refuse("data channel", "malformed")
            return
        room.journal.add(session.id, "data", "received", type(message).__name__, raw)
        host = room.is_host(session)
        match message:
            case data_channel.Ping():
                self._send(data_channel.Pong(message.timestamp, time.time_ns() // 1_000_000))
            case data_channel.Move() if not host:
                room.set_inactive_cursor(session, message.x, message.y)
            case _ if not host:
                room.refuse("data channel", "is not the host")
            case data_channel.Move():
                desk.move(message.x, message.y)
                room.set_cursor_position(message.x, message.y)
            case data_channel.Scroll():
                desk.scroll(message.delta_x, message.delta_y, control=message.control_key)
            case data_channel.KeyDown():
                desk.key_down(message.keysym)
            case data_channel.KeyUp():
                desk.key_up(message.keysym)
            case data_channel.ButtonDown():
                desk.button_down(message.code)
            case data_channel.ButtonUp():
                desk.button_up(message.code)
            case data_channel.TouchBegin():
                desk.touch("begin", message.touch_id, message.x, message.y, message.pressure)
            case data_channel.TouchUpdate():
                desk.touch("update", message.touch_id, message.x, message.y, message.pressure)
            case data_channel.TouchEnd():
                desk.touch("end", message.touch_id, message.x, message.y, message.pressure)


@functools.cache
def arrow_cursor() -> tuple[int, int, int, int, bytes]:
    """The cursor's width, height, hot spot and PNG."""
    from PIL import Image, ImageDraw

    image = Image.new("RGBA", (24, 24))
    outline = [(x + 4, y + 4) for x, y in _ARROW]
    ImageDraw.Draw(image).polygon(outline, fill=(0, 0, 0, 255), outline=(255, 255, 255, 255))
    png = io.BytesIO()
    image.save(png, "PNG")
    return 24, 24, 4, 4, png.getvalue()
