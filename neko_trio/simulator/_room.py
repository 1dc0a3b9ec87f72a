"""The room: its sessions, its host, its settings, and who is told what.

Rules as the server's (`server/internal/session/manager.go`, `session.go`, `server/internal/websocket/handler`): all of
it is synchronous, on the trio thread, so that what one message does cannot be interleaved with another's.
"""

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

import msgspec
import trio

from neko_trio.simulator._attendance import Attendance
from neko_trio.simulator._cursors import Cursors
from neko_trio.simulator._faults import Faults
from neko_trio.simulator._files import FileOptions, Files
from neko_trio.simulator._input import Desk
from neko_trio.simulator._journal import Journal
from neko_trio.simulator._limits import Limits
from neko_trio.simulator._session import Session, SocketSide
from neko_trio.simulator._timings import Timings
from neko_trio.simulator._values import (
    Profile,
    RoomSettings,
    ScreenSize,
    api_profile,
    merged,
    new_uid,
)

__all__ = ["Room", "RoomError", "Timings"]

CLOSING_PEERS = 16


class Background(Protocol):
    """Where the room's own tasks run: they end with the simulator."""

    def start_soon(self, fn: Callable[..., Awaitable[object]], *args: Any) -> None: ...


class RoomError(Exception):
    """Something the server refuses: logged there, an HTTP error where it came by REST, silence on the WebSocket."""


class Room:
    """Everything that outlives a single connection."""

    def __init__(
        self,
        *,
        desk: Desk,
        screen: ScreenSize,
        settings: RoomSettings,
        timings: Timings,
        journal: Journal,
        faults: Faults,
        background: Background,
        streams: tuple[str, ...],
        ice_servers: tuple[dict[str, Any], ...] = (),
        touch: bool = False,
        screencast: bool = False,
        chat: bool = True,
        files: FileOptions | None = None,
        api_token: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.closing_peers = trio.CapacityLimiter(CLOSING_PEERS)
        """Peers that have been replaced or closed, and are not gone."""
        self.desk = desk
        self.screen = screen
        self.largest = screen
        """The X server can make any size up to its first one (neko-protocol.md §5)."""
        self.settings = self._first_settings = settings
        self.timings = timings
        self.journal = journal
        self.faults = faults
        self.background = background
        self.streams = streams
        """The ids of the video pipelines."""
        self.ice_servers = ice_servers
        """What `signal/provide` hands out."""
        self.touch = touch
        self.screencast = screencast
        self.sessions: dict[str, Session] = {}
        self.broadcast_url = ""
        """The last one; it stays when the broadcast ends."""
        self.is_broadcasting = False
        self.chat_enabled = chat
        self.files = Files(self, files or FileOptions())
        self.api_session = None if api_token is None else Session("API", api_token, api_profile())
        """Whoever has the API token: an admin without a WebSocket, in no list."""
        self.refused: Counter[str] = Counter()
        """What was dropped without a word, by event and reason."""
        self._tokens: dict[str, str] = {}
        self._host_id = ""
        self._cursors = Cursors(self._send_cursors)
        self._attendance = Attendance()
        desk.on_clipboard = self._clipboard_updated

    # Sessions

    def create(self, session_id: str, profile: Profile) -> Session:
        """A new session with a token of its own.  Raises `RoomError` when the id is taken."""
        if session_id in self.sessions:
            raise RoomError("session already exists")
        if len(self.sessions) >= self.limits.sessions:
            raise RoomError("too many sessions")
        session = Session(session_id, new_uid(64), profile)
        self._tokens[session.token] = session_id
        self.sessions[session_id] = session
        self.broadcast("session/created", session.data())
        return session

    def delete(self, session_id: str) -> None:
        """Logout, or by an admin: the token ends, the WebSocket is dropped, a connected peer is closed."""
        session = self.sessions.pop(session_id, None)
        if session is None:
            raise RoomError("session not found")
        self._tokens.pop(session.token, None)
        self._end(session, "session deleted")
        self.broadcast("session/deleted", {"id": session_id})

    def disconnect(self, session_id: str) -> None:
        """By an admin: WebSocket and peer end, the token stays valid."""
        session = self.sessions.get(session_id)
        if session is None:
            raise RoomError("session not found")
        self._end(session, "session disconnected")

    def _end(self, session: Session, reason: str) -> None:
        if session.is_connected:
            self.destroy_socket(session, reason)
        # As at the server: a peer that has been offered but never connected is not watching, and is forgotten.
        if session.is_watching and session.peer is not None:
            session.peer.destroy()

    def by_token(self, token: str) -> Session | None:
        for known, session_id in self._tokens.items():
            if secrets.compare_digest(known.encode(), token.encode("utf-8", "surrogateescape")):
                return None if self.faults.is_expired(known, session_id) else self.sessions.get(session_id)
        api = self.api_session
        if api is not None and secrets.compare_digest(api.token.encode(), token.encode("utf-8", "surrogateescape")):
            return api
        return None

    def update_profile(self, session_id: str, profile: Profile) -> None:
        """`session/profile` to everyone, then what the new profile forbids ends."""
        session = self.sessions.get(session_id)
        if session is None:
            raise RoomError("session not found")
        session.profile = profile
        self.broadcast("session/profile", {"id": session_id, **msgspec.structs.asdict(profile)})
        if not profile.can_host and self.is_host(session):
            self.set_host(session, None)
        barred = not (profile.can_connect and profile.can_login)
        if (barred or not profile.can_watch) and session.is_watching:
            self.background.start_soon(self._end_peer_later, session)
        if barred and session.is_connected:
            self.destroy_socket(session, "profile changed")
        if session.peer is not None:
            session.peer.set_paused(self.private_for(session))

    async def _end_peer_later(self, session: Session) -> None:
        """A second later, for old clients (`profileChanged` of `server/internal/session/session.go`)."""
        await trio.sleep(self.timings.profile_grace)
        if session.peer is not None:
            session.peer.destroy()

    # WebSockets

    def connect_socket(self, session: Session, socket: SocketSide) -> None:
        """The WebSocket is the session's now; the one before is told that it was replaced."""
        before, session.socket = session.socket, socket
        if session.grace is not None:
            session.grace.cancel()
            session.grace = None
        session.set_connected(True)
        self._attendance.came(admin=session.profile.is_admin)
        self._greet(session)
        if before is not None:
            before.destroy("connection replaced")

    def _greet(self, session: Session) -> None:
        session.send("system/init", self._init_payload(session))
        if session.profile.is_admin:
            session.send(
                "system/admin",
                {"screen_sizes_list": self.screen_sizes(), "broadcast_status": self.broadcast_status()},
            )
            if self.settings.locked_controls and self.settings.control_protection:
                self.update_settings(session, {"locked_controls": False})
        self.broadcast_state(session)
        session.send("chat/init", {"enabled": self.chat_enabled})
        self.files.greet(session)

    def _init_payload(self, session: Session) -> dict[str, Any]:
        return {
            "session_id": session.id,
            "control_host": self.host_payload(""),
            "screen_size": self.screen,
            "sessions": {each.id: each.data() for each in self.sessions.values()},
            "settings": self.settings,
            "touch_events": self.touch,
            "screencast_enabled": self.screencast,
            "webrtc": {"videos": list(self.streams)},
        }

    def disconnect_socket(self, session: Session, socket: SocketSide, *, delayed: bool) -> None:
        """The WebSocket ended.  `delayed`: abnormally, so the session stays connected, and host, for the grace time."""
        if session.socket is not socket:
            return
        if session.grace is not None:
            session.grace.cancel()
            session.grace = None
        if delayed:
            session.grace = trio.CancelScope()
            self.background.start_soon(self._wait_grace, session, socket, session.grace)
            return
        session.set_connected(False)
        admin = session.profile.is_admin
        self._attendance.left(admin=admin)
        if self.is_host(session):
            self.desk.release_all()
            self.set_host(session, None)
        if admin and self.settings.control_protection and not self.settings.locked_controls and not self._has_admin():
            self.update_settings(session, {"locked_controls": True})
        self.broadcast_state(session)
        session.socket = None
        self.files.left(session)

    async def _wait_grace(self, session: Session, socket: SocketSide, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(self.timings.reconnect_grace)
            session.grace = None
            self.disconnect_socket(session, socket, delayed=False)

    def destroy_socket(self, session: Session, reason: str) -> None:
        socket = session.socket
        if socket is not None:
            self.disconnect_socket(session, socket, delayed=False)
            socket.destroy(reason)

    def shut_down(self) -> None:
        """The server is stopped (SIGINT): every WebSocket is told."""
        for session in self.sessions.values():
            if session.socket is not None:
                session.socket.destroy("connection shutdown")

    def forget(self, *, keep: bool) -> None:
        """The server's process is another one; `keep`: it has read sessions and tokens from a file. Nobody is told."""
        for session in self.sessions.values():
            if session.grace is not None:
                session.grace.cancel()
                session.grace = None
            session.socket = session.peer = None
            session.forget_states()
        if not keep:
            self.sessions.clear()
            self._tokens.clear()
        self.desk.release_all()
        self._host_id = ""
        self.settings = self._first_settings
        self.is_broadcasting, self.broadcast_url = False, ""
        self._cursors.clear()
        self._attendance = Attendance()

    def _has_admin(self) -> bool:
        return any(each.profile.is_admin and each.is_connected for each in self.sessions.values())

    # The host

    @property
    def host(self) -> Session | None:
        return self.sessions.get(self._host_id)

    def is_host(self, session: Session) -> bool:
        return self._host_id == session.id

    def set_host(self, by: Session, host: Session | None) -> None:
        self._host_id = "" if host is None else host.id
        # Also a host who is in no list, which only the API session can be, is named here.
        named = {} if host is None else {"host_id": host.id}
        self.broadcast("control/host", {"id": by.id, "has_host": host is not None, **named})

    def host_payload(self, by: str) -> dict[str, Any]:
        host = self.host
        return {"id": by, "has_host": host is not None, **({} if host is None else {"host_id": host.id})}

    def private_for(self, session: Session) -> bool:
        return self.settings.private_mode and not session.profile.is_admin

    def set_cursor_position(self, x: int, y: int) -> None:
        """The host moved: everyone else's data channel is told."""
        for session in self.sessions.values():
            if session.peer is not None and not self.is_host(session):
                session.peer.send_cursor_position(x, y)

    def set_inactive_cursor(self, session: Session, x: int, y: int) -> None:
        if self.settings.inactive_cursors and session.profile.sends_inactive_cursor:
            self._cursors.add(session.id, x, y)

    async def run_cursors(self) -> None:
        """`session/cursors` as long as the setting is on, until cancelled."""
        await self._cursors.run(self.timings.cursors, wanted=lambda: self.settings.inactive_cursors)

    def _send_cursors(self, cursors: list[dict[str, Any]]) -> None:
        self.send_to("session/cursors", cursors, lambda session: session.profile.can_see_inactive_cursors)

    # Settings

    def update_settings(self, by: Session, changes: dict[str, Any]) -> None:
        """Raises `ValueError` for a wrong type; nothing changes then."""
        self.apply_settings(by, merged(changes, self.settings))

    def apply_settings(self, by: Session, new: RoomSettings) -> None:
        old, self.settings = self.settings, new
        if old.private_mode != new.private_mode:
            for session in self.sessions.values():
                private = self.private_for(session)
                if private and self.is_host(session):
                    self.set_host(by, None)
                if session.peer is not None:
                    session.peer.set_paused(private)
        protects = new.control_protection and not old.control_protection
        if protects and not new.locked_controls and not self._has_admin():
            new = self.settings = msgspec.structs.replace(new, locked_controls=True)
        if new.locked_controls and not old.locked_controls:
            host = self.host
            if host is not None and not host.profile.is_admin:
                self.set_host(by, None)
        if old.inactive_cursors and not new.inactive_cursors:
            self._cursors.clear()
        self.broadcast("system/settings", {"id": by.id, **msgspec.structs.asdict(new)})

    # Screen, clipboard, statistics

    def screen_sizes(self) -> list[ScreenSize]:
        """What X had when the server started, Xvfb its one size without a rate; not what has been made since."""
        return [ScreenSize(self.largest.width, self.largest.height, 0)]

    def fitting_screen(self, wanted: ScreenSize) -> ScreenSize:
        """What X makes of it: the width a multiple of 8, 60 Hz for none.  Raises `RoomError` where X refuses."""
        width = wanted.width - wanted.width % 8
        rate = wanted.rate or 60
        if not (0 < width <= self.largest.width and 0 < wanted.height <= self.largest.height and rate > 0):
            raise RoomError("unknown screen configuration")
        return ScreenSize(width, wanted.height, rate)

    def set_screen(self, by: Session, size: ScreenSize) -> None:
        if size != self.screen:
            self.screen = size
            self.desk.resize((size.width, size.height))
        self.broadcast("screen/updated", {"id": by.id, **msgspec.structs.asdict(size)})

    def _clipboard_updated(self) -> None:
        host = self.host
        if host is not None and host.profile.can_access_clipboard and self.desk.clipboard is not None:
            host.send("clipboard/updated", {"text": self.desk.clipboard})

    def broadcast_status(self) -> dict[str, Any]:
        url = self.broadcast_url
        return {"is_active": self.is_broadcasting, **({"url": url} if url else {})}

    def set_broadcasting(self, url: str | None) -> None:
        """Begin, or (None) end; admins are told."""
        self.is_broadcasting = url is not None
        self.broadcast_url = self.broadcast_url if url is None else url
        self.broadcast_to_admins("broadcast/status", self.broadcast_status())

    def statistics(self) -> dict[str, Any]:
        """`GET /api/stats`."""
        host = self.host
        return self._attendance.shown(None if host is None else host.id)

    # Telling

    def broadcast(self, event: str, payload: object, *, exclude: str | None = None) -> None:
        self._send_all(event, payload, (s for s in self.sessions.values() if s.id != exclude))

    def broadcast_to_admins(self, event: str, payload: object) -> None:
        self._send_all(event, payload, (s for s in self.sessions.values() if s.profile.is_admin))

    def send_to(self, event: str, payload: object, wanted: Callable[[Session], bool]) -> None:
        """To everybody for whom `wanted` holds."""
        self._send_all(event, payload, (s for s in self.sessions.values() if wanted(s)))

    def broadcast_state(self, session: Session) -> None:
        self.broadcast("session/state", {"id": session.id, **session.state()})

    def _send_all(self, event: str, payload: object, sessions: Iterable[Session]) -> None:
        for session in tuple(sessions):
            if session.is_connected:
                session.send(event, payload)

    def webrtc_changed(self, session: Session, *, watching: bool) -> None:
        """The session's current peer connected, or is gone: everyone sees it, and the session gets `signal/close`."""
        session.set_watching(watching)
        self.broadcast_state(session)
        if not watching:
            session.peer = None
            session.send("signal/close", None)

    def refuse(self, event: str, reason: str) -> None:
        """Count what the server only logs.  `event` must be a known name: the counter is kept for ever."""
        self.refused[f"{event}: {reason}"] += 1
