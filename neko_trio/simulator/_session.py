"""One session of the room: a member's login, with at most one WebSocket and at most one peer connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import trio

from neko_trio.simulator._values import Profile, now_text

if TYPE_CHECKING:
    from neko_trio.simulator._peers import SimulatedPeer

__all__ = ["NO_PAYLOAD", "Session", "SocketSide"]

NO_PAYLOAD = msgspec.UNSET
"""`{"event": …}` without a payload, which is not `"payload": null`."""


class SocketSide(Protocol):
    """A client's WebSocket as the room sees it.  Nothing here blocks."""

    def send(self, event: str, payload: object = NO_PAYLOAD) -> None: ...

    def destroy(self, reason: str) -> None:
        """`system/disconnect` with the reason, then the TCP connection is dropped without a close frame."""


class Session:
    """Mutable, on the trio thread; the room changes it."""

    def __init__(self, session_id: str, token: str, profile: Profile) -> None:
        self.id = session_id
        self.token = token
        self.profile = profile
        self.is_connected = False
        self.is_watching = False
        self.socket: SocketSide | None = None
        self.peer: SimulatedPeer | None = None
        self.grace: trio.CancelScope | None = None
        """The wait after an abnormal loss, in which a new WebSocket continues the session."""
        self._since: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Session {self.id} connected={self.is_connected} watching={self.is_watching}>"

    def set_connected(self, connected: bool) -> None:
        self.is_connected = connected
        self._mark("connected", connected)

    def set_watching(self, watching: bool) -> None:
        self.is_watching = watching
        self._mark("watching", watching)

    def send(self, event: str, payload: object = NO_PAYLOAD) -> None:
        if self.socket is not None:
            self.socket.send(event, payload)

    def forget_states(self) -> None:
        """Neither connected nor watching, and nobody knows since when."""
        self.is_connected = self.is_watching = False
        self._since.clear()

    def state(self) -> dict[str, Any]:
        """`types.SessionState` (`server/pkg/types/session.go`): what is not known is left out."""
        return {
            "is_connected": self.is_connected,
            **self._marks("connected"),
            "is_watching": self.is_watching,
            **self._marks("watching"),
        }

    def data(self) -> dict[str, Any]:
        return {"id": self.id, "profile": self.profile, "state": self.state()}

    def _mark(self, what: str, on: bool) -> None:
        self._since.pop(f"not_{what}_since" if on else f"{what}_since", None)
        self._since[f"{what}_since" if on else f"not_{what}_since"] = now_text()

    def _marks(self, what: str) -> dict[str, str]:
        names = (f"{what}_since", f"not_{what}_since")
        return {name: self._since[name] for name in names if name in self._since}
