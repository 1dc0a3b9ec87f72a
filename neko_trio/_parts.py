"""What a session is made of: its ports, and the way of an event, a data-channel message and a failure through them."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from neko_trio._checks import Options
from neko_trio._handshake import Attempt
from neko_trio._link import Link
from neko_trio._peer_microphone import PeerMicrophone
from neko_trio._peer_tasks import PeerTasks
from neko_trio._ports.audio import AudioPort
from neko_trio._ports.budget import Budget
from neko_trio._ports.bus import EventBus
from neko_trio._ports.frames import FrameSlot
from neko_trio._ports.inputs import InputPort
from neko_trio._ports.microphone import MicrophonePort
from neko_trio._ports.rest import RestPort
from neko_trio._ports.state import StateCell
from neko_trio._reconnect import Outage
from neko_trio._round_trip import RoundTrip
from neko_trio._state import State, initial_state, reduce_state
from neko_trio._statistics import Statistics
from neko_trio._timeline import Timeline
from neko_trio._video_switch import VideoSwitch
from neko_trio._watch import Watch
from neko_trio._wiring import Wiring
from neko_trio.audio.microphone import Microphones
from neko_trio.audio.sound import Audio
from neko_trio.desktop.clicks import Clicks
from neko_trio.desktop.clipboard import Clipboard
from neko_trio.desktop.cursor import CursorPort
from neko_trio.desktop.files import Files
from neko_trio.desktop.key_map import KeyMap
from neko_trio.desktop.keyboard import Keyboard
from neko_trio.desktop.links import Links
from neko_trio.desktop.mouse import Mouse
from neko_trio.desktop.screen import Screen
from neko_trio.desktop.screen_calls import ScreenCalls
from neko_trio.desktop.touch import Touch
from neko_trio.errors import NekoError
from neko_trio.protocol import Malformed, data_channel, events
from neko_trio.room.chat import Chat
from neko_trio.room.control import Control
from neko_trio.room.ports import RoomPorts
from neko_trio.room.rights import check_host, check_may_act
from neko_trio.room.room import Room
from neko_trio.signaling.credential import Credential

if TYPE_CHECKING:
    from neko_trio.media.bridge import Lease
    from neko_trio.media.frames import FrameContext
    from neko_trio.media.peer_api import Peer

logger = logging.getLogger("neko_trio.session")


class Parts:
    """What outlives a link or a peer. The supervisor plugs those in; ``Session`` is the caller's view."""

    def __init__(self, wiring: Wiring, options: Options) -> None:
        self.wiring = wiring
        self.options = options
        self.goodbyes = Budget(options.close_timeout)
        self.attempt = Attempt(Timeline(), self.goodbyes)
        self.key = object()
        self.slot = FrameSlot(wiring.clock)
        self.sound = AudioPort()
        self.audio = Audio(self.sound, on=options.audio)
        self.sound_in = MicrophonePort(self.goodbyes)
        self.microphones: Microphones
        self.bus: EventBus[events.ServerEvent] = EventBus()
        self.rest = RestPort()
        self.rest.returns = options.reconnect is not None and wiring.login is not None
        self.epoch = 0
        self.link: Link | None = None
        self._linked = False  # and it is not known to be gone
        self.peer: Peer | None = None
        self.peer_tasks: PeerTasks | None = None
        self.lease: Lease | None = None
        self.credential: Credential | None = None
        self.failure: Callable[[], NekoError] | None = None
        self.round_trip = RoundTrip()
        self.watch = Watch(lambda: self.inputs.ask(), clock=wiring.clock)
        self.outage = Outage(options.reconnect)
        self.up = StateCell(False)
        """Whether the session is up now."""
        self._data_messages_malformed = 0
        self._began = wiring.clock()
        self._past = Statistics()  # what links and peers counted that others have taken the place of
        self._numbers = itertools.count(1)
        self._state: StateCell[State] | None = None
        self.video: VideoSwitch | None = None
        self.screen: Screen
        self.cursor: CursorPort
        self.mouse: Mouse
        self.touch: Touch
        self.keyboard: Keyboard
        self.key_map: KeyMap
        self.clipboard: Clipboard
        self.files: Files
        self.links: Links
        self.control: Control
        self.room: Room
        self.chat: Chat
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
                self.clipboard.on_state(state)
                self.key_map.on_state(state)
            if isinstance(event, events.SendUnicast):
                self.inputs.on_unicast(event)
            elif isinstance(event, events.ClipboardUpdated):
                self.clipboard.on_update(event)
        self.bus.publish(event.event, event)

    def _build(self, state: State) -> None:
        self._state = cell = StateCell(state)
        if self.failure is not None:
            cell.fail(self.failure)
        self.cursor = CursorPort(lambda: cell.value.screen)
        self.inputs = InputPort(
            admit=lambda: self._admit(check_host), on_sent=self.cursor.on_sent, goodbyes=self.goodbyes
        )
        self.inputs.returns = self.options.reconnect is not None
        self.sound_in.returns = self.inputs.returns and self.options.wants_peer
        clicks = Clicks(self.inputs)
        self.mouse = Mouse(self.inputs, cell, self.cursor, clicks)
        self.touch = Touch(self.inputs, cell, clicks)
        self.clipboard = Clipboard(self.inputs, self.rest, cell, admit=lambda: self._admit(check_host))
        self.key_map = KeyMap(self.rest)
        self.keyboard = Keyboard(self.inputs, self.key_map, self.clipboard, admit=lambda: self._admit(check_host))
        self.microphones = Microphones(self.sound_in, cell)
        self.files = Files(cell, self.inputs, self.rest, admit=lambda: self._admit(check_may_act))
        self.links = Links(cell, self.inputs, self.rest, admit=lambda: self._admit(check_may_act))
        if self.options.wants_peer:
            self.video = VideoSwitch(
                self.slot,
                cell,
                self.inputs,
                on_demand=self.options.video == "on_demand",
                linger=self.options.linger,
                stream=self.options.stream,
                connection=self.watch,
                clock=self.wiring.clock,
            )
            self.watch.on_certain = self.video.note_certain
            self.video.paused = self.options.video == "off"  # for good: there is nobody who could resume it
            if self.failure is not None:
                self.video.fail(self.failure)
        video = self.video if self.options.video != "off" else None
        self.screen = Screen(
            self.slot,
            video,
            streams=lambda: cell.value.streams,
            session=self.key,
            cursor=self.cursor,
            calls=ScreenCalls(cell, self.rest, self.inputs, self.bus),
        )
        self.control = Control(cell, self.inputs, take=self._take_control)
        ports = RoomPorts(cell, self.inputs, self.rest, self.bus)
        self.room, self.chat = Room(ports), Chat(ports)

    def _admit(self, check: Callable[[State], None]) -> None:
        """Raise the session's end, which says more than what it left of our rights, or what ``check`` does."""
        if self.failure is not None:
            raise self.failure()
        check(self.state.value)

    @property
    def state(self) -> StateCell[State]:
        assert self._state is not None, "the state exists from system/init on"
        return self._state

    def on_data(self, message: bytes) -> None:
        """A message of the data channel, in order, on the trio thread."""
        try:
            match event := data_channel.decode_server(message):
                case data_channel.CursorPosition():
                    self.cursor.on_position(event)
                case data_channel.CursorImage():
                    self.cursor.on_image(event)
                case data_channel.Pong():
                    if not self.inputs.on_pong(event):
                        self.round_trip.on_pong(event)
        except Malformed as error:
            self._data_messages_malformed += 1
            logger.warning("skipped a data channel message of the server: %s", error)

    async def _take_control(self) -> None:
        await self.rest.call("POST", "/api/room/control/take", step="control")

    # -- what the decoder's thread asks

    def new_number(self) -> int:
        """The next frame number. Any thread: ``next`` on a count is atomic."""
        return next(self._numbers)

    def next_frame_context(self) -> Callable[[], FrameContext]:
        """What is known about a picture that is decoded now, for those of the next peer to come up."""
        epoch = self.epoch + 1

        def frame_context() -> FrameContext:  # any thread: one read of one frozen snapshot
            from neko_trio.media.frames import FrameContext

            state = self.state.value
            return FrameContext(
                session=self.key,
                epoch=epoch,
                screen_size=(state.screen.width, state.screen.height),
                stream=state.stream,
            )

        return frame_context

    # -- the end

    def fail(self, failure: Callable[[], NekoError]) -> None:
        """End every wait on any port, now and later. The first failure stays."""
        if self.failure is not None:
            return
        self.failure = failure
        self.slot.fail(failure)
        self.sound.fail(failure)
        self.sound_in.fail(failure)
        self.bus.fail(failure)
        self.rest.fail(failure)
        self.up.fail(failure)
        if self._state is not None:
            self._state.fail(failure)
            self.inputs.fail(failure)
            self.clipboard.fail(failure)
        if self.video is not None:
            self.video.fail(failure)

    async def send_texts(self, texts: list[str]) -> None:
        """Send over the link there is, or the one that is being made. Raises why there is none any more."""
        await self.inputs.wait_back()
        if self.failure is not None:
            raise self.failure()
        assert self.link is not None
        await self.link.send_texts(texts)

    # -- the link and the peer that there are now

    def plug_link(self, link: Link) -> None:
        """The session goes on with this link."""
        self._past += self._of_link()
        self.link, self._linked = link, True
        self.goodbyes.listen_to(link)

    def unplug_link(self, *, returns: bool) -> None:
        """The link is gone. ``returns``: another may be made; what is sent meanwhile waits for it. Idempotent."""
        linked, self._linked = self._linked, False
        if not linked:
            return
        if returns and self.outage.repeats:
            self.control.on_link_lost()
            self.key_map.forget()  # another may be host meanwhile, unseen
        if returns:
            self.inputs.go_away()  # until there is another, or the session is said to have failed
        else:
            self.inputs.unplug()

    def plug_peer(self, peer: Peer, tasks: PeerTasks) -> None:
        """The session goes on with this peer."""
        self._past += self._of_peer()
        self.epoch += 1
        self.peer, self.peer_tasks = peer, tasks
        self.sound_in.plug(PeerMicrophone(peer, tasks.signals, self.inputs.ask, self.inputs.drain_media, self.goodbyes))

    def statistics(self) -> Statistics:
        """A snapshot of everything that is counted."""
        video, slot, round_trip = self.video, self.slot, self.round_trip
        now, newest = self.wiring.clock(), slot.newest
        total = self._past + self._of_link() + self._of_peer()
        return replace(
            total,
            seconds=now - self._began,
            epoch=self.epoch,
            outages=self.outage.overcome,
            outage_seconds=self.outage.seconds,
            messages_malformed=total.messages_malformed + self._data_messages_malformed,
            video_toggles=video.toggles if video else 0,
            video_seconds_on=video.seconds_on if video else 0.0,
            pictures_on_demand=video.pictures_on_demand if video else 0,
            frames_shown=slot.put_total,
            frames_unseen=slot.unseen_total,
            audio_blocks=self.sound.blocks_total,
            audio_blocks_dropped=self.sound.dropped_total,
            frame_age_seconds=slot.age_total,
            frame_age=now - newest.arrived if newest else None,
            round_trip=round_trip.seconds,
            pings_sent=round_trip.pings_sent,
            pongs_received=round_trip.pongs_received,
            background_failures=self.lease.background_failures.total if self.lease else 0,
        )

    def _of_link(self) -> Statistics:
        if self.link is None:
            return Statistics()
        counts = self.link.counts
        return Statistics(
            messages_received=counts.messages_received,
            messages_sent=counts.messages_sent,
            messages_malformed=counts.malformed,
            offers_unrequested=counts.unrequested_offers,
            offers_dropped=counts.offers_dropped,
            candidates_stray=counts.stray_candidates,
        )

    def _of_peer(self) -> Statistics:
        if self.peer is None or self.peer_tasks is None:
            return Statistics()
        tasks = self.peer_tasks
        return Statistics(
            candidates_malformed=tasks.candidates_malformed,
            candidates_dropped=tasks.candidates_dropped,
            local_candidates_dropped=tasks.local_candidates_dropped,
            peer=self.peer.statistics(),
        )
