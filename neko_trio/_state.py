"""What is known of the room: one frozen snapshot, kept true by the server's events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from neko_trio.protocol import events
from neko_trio.protocol.events import Profile, ScreenSize, SessionInfo, Settings


@dataclass(frozen=True, slots=True)
class State:
    """The room as the server last described it. Immutable: a change makes a new snapshot.

    ``host`` is the session id of whoever controls the desktop, or ``None``. ``sessions`` holds everyone the server
    lists, connected or not. ``screen`` is in pixels and Hz. ``streams`` are the ids that ``stream=`` accepts;
    ``stream`` is the one in use, ``None`` before the first offer. ``revision`` counts the snapshots of this session.
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
    file_transfer: events.FileTransferUpdate | None = None
    """The folder of the file transfer plugin; ``None`` until the server has spoken of it, right after the connect."""
    file_dialog: str | None = None
    """While a program's file chooser is open: the session id of who was host when it opened."""
    opens_links: bool | None = None
    """Whether the openinapp plugin is on; ``None`` until the server has said so, right after the connect."""

    @property
    def is_host(self) -> bool:
        """Whether this session controls the desktop."""
        return self.host == self.session_id


def initial_state(init: events.SystemInit) -> State:
    """The snapshot that ``system/init`` describes. Its list of sessions must hold the session itself."""
    return State(
        session_id=init.session_id,
        profile=init.sessions[init.session_id].profile,
        host=init.control_host.host_id if init.control_host.has_host else None,
        sessions=MappingProxyType(dict(init.sessions)),
        screen=init.screen_size,
        settings=init.settings,
        streams=tuple(init.webrtc.videos),
        touch_events=init.touch_events,
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
    return replace(state, sessions=MappingProxyType({**state.sessions, info.id: info}))
