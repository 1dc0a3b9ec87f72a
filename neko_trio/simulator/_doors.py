"""The server as a whole: its port, which can be closed and opened again, and what faults ask of it."""

from __future__ import annotations

import socket
from collections.abc import Iterable

import trio

from neko_trio.protocol.signal_requests import AudioRequest, SignalRequest, VideoRequest
from neko_trio.simulator._events import Dispatcher
from neko_trio.simulator._front import Front
from neko_trio.simulator._peers import SimulatedPeer
from neko_trio.simulator._room import Room, RoomError

__all__ = ["BACKLOG", "Doors"]

BACKLOG = 512
GOODBYE = 0.5
"""Seconds in which clients can be told of the end."""


class Doors:
    """Serves `listeners` until cancelled, whose port stays the server's meanwhile."""

    def __init__(self, room: Room, front: Front, dispatcher: Dispatcher, listeners: list[trio.SocketListener]) -> None:
        self.listeners = listeners
        """Those that are open now."""
        self._room, self._front, self._dispatcher = room, front, dispatcher
        self._stopped = 0
        self._scope = trio.CancelScope()
        self._opened = trio.Event()
        self._closed = trio.Event()
        self._kept: list[trio.socket.SocketType] = []
        """While it is stopped: bound, so that nobody takes the port, and not listening, so that it refuses."""

    async def run(self) -> None:
        """Serve whenever the server is there, until cancelled."""
        while True:
            with self._scope:
                await trio.serve_listeners(self._front.serve, self.listeners)
            self._closed.set()
            await self._opened.wait()

    async def tell(self) -> None:
        """Every WebSocket is told of the end, for as long as that may take."""
        self._room.shut_down()
        with trio.move_on_after(GOODBYE, shield=True):
            await self._front.wait_told()

    async def close(self) -> None:
        """The port is free."""
        for kept in self._kept:
            kept.close()
        for listener in self.listeners:
            await listener.aclose()

    # What faults ask

    async def stop(self, *, goodbye: bool, keep: bool) -> None:
        """Everything of the server's process ends; its port is kept, and refuses. Again: only counted."""
        self._stopped += 1
        if self._stopped > 1:
            await trio.lowlevel.checkpoint()
            return
        if goodbye:
            await self.tell()
        peers = list(self.peers())
        self._room.forget(keep=keep)
        for peer in peers:
            if not goodbye:
                peer.set_silent(True)
            peer.close()
        names = [(listener.socket.family, listener.socket.getsockname()) for listener in self.listeners]
        self._scope.cancel()
        with trio.CancelScope(shield=True):  # bounded: handlers only close their connections
            await self._closed.wait()
            self.listeners = []
            for family, name in names:
                self._kept.append(await _bound(family, name))

    async def start(self) -> None:
        """Serve again, unless it was stopped more than once."""
        self._stopped -= 1
        await trio.lowlevel.checkpoint()
        if self._stopped:
            return
        for kept in self._kept:
            kept.listen(BACKLOG)
        self.listeners = [trio.SocketListener(kept) for kept in self._kept]
        self._kept = []
        self._scope = trio.CancelScope()
        self._closed = trio.Event()
        self._opened.set()
        self._opened = trio.Event()

    def tokens(self, session: str | None) -> frozenset[str]:
        sessions = self._room.sessions.values()
        return frozenset(each.token for each in sessions if session in (None, each.id))

    def peers(self) -> Iterable[SimulatedPeer]:
        return [each.peer for each in self._room.sessions.values() if each.peer is not None]

    def end_session(self, session_id: str, reason: str) -> None:
        """As the server does it for this reason; nothing when the session is gone."""
        room = self._room
        session = room.sessions.get(session_id)
        if session is None:
            return
        match reason:
            case "session deleted":
                room.delete(session_id)
            case "session disconnected":
                room.disconnect(session_id)
            case "connection replaced" if session.socket is not None:
                session.socket.destroy(reason)
            case _:
                room.destroy_socket(session, reason)

    async def offer_again(self, session_id: str, *, fresh: bool) -> None:
        """Nothing when there is no peer any more."""
        session = self._room.sessions.get(session_id)
        if session is None or session.peer is None:
            return
        await session.peer.made.wait()  # an offer goes out before its peer is whole
        if session.peer is None or session.peer.media is None:
            return
        if fresh:
            peer = session.peer
            request = SignalRequest(
                video=VideoRequest(disabled=peer.video_disabled),
                audio=AudioRequest(disabled=peer.audio_disabled),
            )
            try:
                await self._dispatcher.signal_request(session, request)
            except RoomError:
                return  # may not watch any more
        else:
            session.send("signal/offer", {"sdp": await session.peer.media.create_offer()})


async def _bound(family: int, name: tuple[object, ...]) -> trio.socket.SocketType:
    made = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await made.bind(name)
    except BaseException:  # whatever it is: nothing stays open
        made.close()
        raise
    return made
