"""What is known of the room: one frozen snapshot, kept true by the server's events."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import msgspec

from neko_trio.protocol import events
from neko_trio.protocol.events import BroadcastInfo, Cursor, Profile, ScreenSize, SessionInfo, Settings

MAX_SESSIONS = 4096
"""Sessions that a snapshot lists: far more than a room can serve, and a bound for what a server can make us keep."""
MAX_SESSION_BYTES = 16 * 1024
"""The size, as JSON, beyond which a session is not listed: a hundred times that of a usual one."""


@dataclass(frozen=True, slots=True)
class State:
    """The room as the server last described it. Immutable: a change makes a new snapshot.

    ``host`` is the session id of whoever controls the desktop, or ``None``. ``sessions`` holds everyone the server
    lists, connected or not. ``screen`` is in pixels and Hz. ``streams`` are the ids that ``stream=`` accepts;
    ``stream`` is the one in use, ``None`` before the first offer. ``revision`` counts the snapshots of this session.

    At most 4096 sessions are listed, none larger than 16 kB: ``sessions_left_out`` says how often one was not.
    """

    session_id: str
    profile: Profile
    host: str | None
    sessions: Mapping[str, SessionInfo]
    screen: ScreenSize
    settings: Settings
    streams: tuple[str, ...]
    stream: str | None = None
    revision: int = 0
    touch_events: bool = False
    """Whether the server has a touch screen: its X input driver (``desktop.input.enabled``)."""
    screencast: bool = False
    """Whether the server takes single pictures for everybody (``screen.cast()``)."""
    sessions_left_out: int = 0
    """How often a session was not listed in ``sessions`` because there were too many, or it was too large."""
    chat_enabled: bool | None = None
    """Whether the chat plugin is on; ``None`` until the server has said so, which it does right after the connect."""
    broadcast: BroadcastInfo | None = None
    """Whether the room is broadcast, and where to. Only admins are told; ``None`` until then."""
    cursors: Mapping[str, tuple[Cursor, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Where those who are not host moved their pointers in the last 750 ms, by session id, oldest position first. Only
    members with can_see_inactive_cursors are told, and only while the setting inactive_cursors is on."""

    file_transfer: events.FileTransferUpdate | None = None
    """The folder of the file transfer plugin; ``None`` until the server has spoken of it, right after the connect."""
    file_dialog: str | None = None
    """While a program's file chooser is open: the session id of who was host when it opened. As the server sees it: it
    watches windows called "Open File", and misses some that open or close."""
    opens_links: bool | None = None
    """Whether the openinapp plugin is on; ``None`` until the server has said so, right after the connect."""

    @property
    def is_host(self) -> bool:
        """Whether this session controls the desktop."""
        return self.host == self.session_id


def initial_state(init: events.SystemInit) -> State:
    """The snapshot that ``system/init`` describes. Its list of sessions must hold the session itself."""
    me, own = init.session_id, init.sessions[init.session_id]
    listed = {id_: info for id_, info in init.sessions.items() if id_ != me and _fits(info)}
    sessions = {me: own, **dict(itertools.islice(listed.items(), MAX_SESSIONS - 1))}
    return State(
        session_id=me,
        profile=own.profile,
        host=init.control_host.host_id if init.control_host.has_host else None,
        sessions=MappingProxyType(sessions),
        sessions_left_out=len(init.sessions) - len(sessions),
        screen=init.screen_size,
        settings=init.settings,
        streams=tuple(init.webrtc.videos),
        touch_events=init.touch_events,
        screencast=init.screencast_enabled,
    )


def reduce_state(state: State, event: events.ServerEvent) -> State:
    """The snapshot after ``event``; the same object when the event changes nothing. Pure, never raises."""
    changed = _change(state, event)
    return state if changed is state else replace(changed, revision=state.revision + 1)


def _change(state: State, event: events.ServerEvent) -> State:
    match event:
        case events.SystemInit() if event.session_id in event.sessions:
            return initial_state(event)
        case events.SystemSettings():
            return replace(state, settings=event.settings)
        case events.ControlHost():
            return replace(state, host=event.host_id if event.has_host else None)
        case events.ScreenUpdated():
            return replace(state, screen=ScreenSize(width=event.width, height=event.height, rate=event.rate))
        case events.SignalVideo() | events.SignalProvide():
            stream = event.id if isinstance(event, events.SignalVideo) else event.video.id
            return state if not stream or stream == state.stream else replace(state, stream=stream)
        case events.SessionCreated():
            return _with_session(state, SessionInfo(id=event.id, profile=event.profile, state=event.state))
        case events.SessionDeleted() if event.id in state.sessions:
            rest = {id_: info for id_, info in state.sessions.items() if id_ != event.id}
            return replace(state, sessions=MappingProxyType(rest))
        case events.SessionProfile() if event.id in state.sessions:
            known = state.sessions[event.id]
            changed = _with_session(state, SessionInfo(id=known.id, profile=event.profile, state=known.state))
            return replace(changed, profile=event.profile) if event.id == state.session_id else changed
        case events.SessionStateChanged() if event.id in state.sessions:
            known = state.sessions[event.id]
            return _with_session(state, SessionInfo(id=known.id, profile=known.profile, state=event.state))
        case events.ChatInit() if event.enabled is not state.chat_enabled:
            return replace(state, chat_enabled=event.enabled)
        case events.SystemAdmin():
            return replace(state, broadcast=event.broadcast_status)
        case events.BroadcastStatus():
            return replace(state, broadcast=BroadcastInfo(is_active=event.is_active, url=event.url))
        case events.SessionCursors():
            return replace(state, cursors=MappingProxyType({each.id: each.cursors for each in event.cursors}))
        case events.FileTransferUpdate() if event != state.file_transfer:
            return replace(state, file_transfer=event)
        case events.FileChooserDialogOpened():
            return replace(state, file_dialog=event.id)
        case events.FileChooserDialogClosed():
            return replace(state, file_dialog=None)
        case events.OpenInAppInit() if event.enabled is not state.opens_links:
            return replace(state, opens_links=event.enabled)
        case _:
            return state


def _with_session(state: State, info: SessionInfo) -> State:
    known = info.id in state.sessions
    if info.id == state.session_id or (_fits(info) and (known or len(state.sessions) < MAX_SESSIONS)):
        return replace(state, sessions=MappingProxyType({**state.sessions, info.id: info}))
    left = {id_: other for id_, other in state.sessions.items() if id_ != info.id}
    return replace(state, sessions=MappingProxyType(left), sessions_left_out=state.sessions_left_out + 1)


def _fits(info: SessionInfo) -> bool:
    return len(msgspec.json.encode(info)) <= MAX_SESSION_BYTES
