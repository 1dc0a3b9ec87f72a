"""A server of input in virtual time: two wires, read separately, and what the room says about the host."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from neko_trio._ports.inputs import InputPort
from neko_trio._ports.rest import RestPort
from neko_trio._ports.state import StateCell
from neko_trio._state import State
from neko_trio.desktop.clicks import Clicks
from neko_trio.desktop.clipboard import Clipboard
from neko_trio.desktop.cursor import CursorPort
from neko_trio.desktop.key_map import KeyMap
from neko_trio.desktop.keyboard import Keyboard
from neko_trio.desktop.mouse import Mouse
from neko_trio.desktop.touch import Touch
from neko_trio.errors import InputInDoubt, SessionLost
from neko_trio.protocol import data_channel, requests
from neko_trio.protocol.data_channel import ClientMessage, Ping, Pong
from neko_trio.protocol.events import (
    ClipboardUpdated,
    Profile,
    ScreenSize,
    SendUnicast,
    SessionInfo,
    SessionState,
    Settings,
)
from neko_trio.room.control import Control
from neko_trio.room.rights import check_host
from neko_trio.testing import RestRefusal, ScriptedRest

ME = "me-12345"
OTHER = "other-67890"


class Server:
    """Handles each wire's messages in order, ``*_delay`` seconds of virtual time each, as the Go server would.

    ``handled`` is what it acted on, in its order, whichever wire it came over: data-channel values as they are,
    requests as structs; barriers are not in it.
    """

    def __init__(self, state: StateCell[State]) -> None:
        self.state = state
        self.inputs: InputPort
        self.control: Control
        self.observers: list[Callable[[State], None]] = []
        self.handled: list[ClientMessage | requests.ClientRequest] = []
        self.channels: list[str] = []  # "data" or "socket" for each of ``handled``
        self.data_delay = 0.0
        self.socket_delay = 0.0
        self.silent = False
        self.deaf_to_control = False
        self._wake = {"data": trio.Event(), "socket": trio.Event()}
        self._queues: dict[str, deque[bytes | str]] = {"data": deque(), "socket": deque()}
        self.hops: list[int] = []  # messages in each hop

    # -- the room

    def set_state(self, **changes: object) -> None:
        value = self.state.value
        self.state.set(replace(value, revision=value.revision + 1, **changes))  # type: ignore[arg-type]
        self.control.on_state(self.state.value)
        for observer in self.observers:
            observer(self.state.value)

    def set_host(self, host: str | None) -> None:
        self.set_state(host=host)

    def profile(self, **changes: object) -> None:
        profile = self.state.value.profile
        fields = {name: getattr(profile, name) for name in profile.__struct_fields__}
        self.set_state(profile=Profile(**(fields | changes)))

    # -- the wires

    def receive(self, channel: str, messages: Sequence[bytes | str]) -> None:
        self.hops.append(len(messages))
        self._queues[channel].extend(messages)
        self._wake[channel].set()

    async def serve(self, channel: str) -> None:
        queue = self._queues[channel]
        while True:
            while not queue:
                self._wake[channel] = trio.Event()
                await self._wake[channel].wait()
            await trio.sleep(self.data_delay if channel == "data" else self.socket_delay)
            if not queue:
                continue  # what was on its way has gone with its wire
            message = queue.popleft()
            if isinstance(message, bytes):
                self._on_data(data_channel.decode_client(message))
            else:
                self._on_socket(requests.decode(message))

    def _on_data(self, message: ClientMessage) -> None:
        if isinstance(message, Ping):
            if not self.silent:
                self.inputs.on_pong(Pong(message.timestamp, 0))
        elif self.state.value.is_host:
            self.handled.append(message)
            self.channels.append("data")

    def _on_socket(self, request: requests.ClientRequest) -> None:
        if isinstance(request, requests.SendUnicast):
            if not self.silent:
                event = SendUnicast(sender=ME, receiver=request.receiver, subject=request.subject, body=request.body)
                self.inputs.on_unicast(event)
            return
        self.handled.append(request)
        self.channels.append("socket")
        state = self.state.value
        if self.deaf_to_control:
            return
        if isinstance(request, requests.ControlRequest) and (state.host is None or state.settings.implicit_hosting):
            self.set_host(ME)
        elif isinstance(request, requests.ControlRelease) and state.is_host:
            self.set_host(None)


class Data:
    """A peer's data channel."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.data_channel_open = True
        self.stuck: trio.Event | None = None

    async def send_data(self, messages: Sequence[bytes]) -> None:
        await trio.lowlevel.checkpoint()
        if self.stuck is not None:
            await self.stuck.wait()
        if not self.data_channel_open:
            raise InputInDoubt("closed")
        self.server.receive("data", messages)


class Socket:
    """A link's WebSocket."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.open = True

    async def send_texts(self, texts: list[str]) -> None:
        await trio.lowlevel.checkpoint()
        if not self.open:
            raise SessionLost("gone")
        self.server.receive("socket", texts)


class XServer:
    """The REST front of the desktop: its clipboard and its keyboard."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.text: str | None = None
        """What the clipboard holds; ``None``: nothing owns it."""
        self.html: str | None = None
        """Its HTML, where it is not the text itself, which is what xclip answers."""
        self.image = b""
        self.layout = {"layout": "us", "variant": ""}
        self.layouts_set = 0
        self.caps_lock = False
        on = desk.front.on
        on["GET", "/api/room/clipboard"] = self._read
        on["POST", "/api/room/clipboard"] = self._write
        on["GET", "/api/room/clipboard/image.png"] = self._image
        on["GET", "/api/room/keyboard/map"] = lambda _: self.layout
        on["POST", "/api/room/keyboard/map"] = self._set_layout
        on["GET", "/api/room/keyboard/modifiers"] = lambda _: {"capslock": self.caps_lock, "shift": False}
        on["POST", "/api/room/keyboard/modifiers"] = self._set_modifiers

    def put(self, text: str, *, html: str | None = None) -> None:
        """A program, or the server, puts something into the clipboard: the host is told."""
        self.text, self.html = text, html
        self.desk.clipboard.on_update(ClipboardUpdated(text=text))

    def _read(self, _body: object) -> object:
        if self.text is None:
            raise RestRefusal(500, "Internal Server Error")
        html = self.text if self.html is None else self.html
        return {name: value for name, value in (("text", self.text), ("html", html)) if value}

    def _write(self, body: Any) -> None:
        self.put(body.get("html") or body["text"])

    def _image(self, _body: object) -> object:
        if self.text is None and not self.image:
            raise RestRefusal(500, "Internal Server Error")
        return self.image or (self.text or "").encode()

    def _set_layout(self, body: Any) -> None:
        if body["layout"] == "nowhere":
            raise RestRefusal(500, "Internal Server Error")
        self.layout = body
        self.layouts_set += 1

    def _set_modifiers(self, body: Any) -> None:
        self.caps_lock = body.get("capslock", self.caps_lock)


class Desk:
    """A server, its wires, and the client's side of them, plugged in; this session is host."""

    def __init__(self) -> None:
        profile = Profile(
            name="me",
            is_admin=False,
            can_login=True,
            can_connect=True,
            can_watch=True,
            can_host=True,
            can_share_media=True,
            can_access_clipboard=True,
        )
        known = SessionState(is_connected=True, is_watching=True)
        self.state = StateCell(
            State(
                session_id=ME,
                profile=profile,
                host=ME,
                sessions={id_: SessionInfo(id=id_, profile=profile, state=known) for id_ in (ME, OTHER)},
                screen=ScreenSize(width=1280, height=720, rate=30),
                settings=Settings(),
                streams=(),
                touch_events=True,
            )
        )
        self.server = Server(self.state)
        self.cursor = CursorPort(lambda: self.state.value.screen)
        self.inputs = InputPort(admit=lambda: check_host(self.state.value), on_sent=self.cursor.on_sent)
        self.clicks = Clicks(self.inputs)
        self.mouse = Mouse(self.inputs, self.state, self.cursor, self.clicks)
        self.touch = Touch(self.inputs, self.state, self.clicks)
        self.front = ScriptedRest()
        self.rest = RestPort()
        self.rest.plug(self.front)
        admit = self._admit
        self.clipboard = Clipboard(self.inputs, self.rest, self.state, admit=admit)
        self.key_map = KeyMap(self.rest)
        self.keyboard = Keyboard(self.inputs, self.key_map, self.clipboard, admit=admit)
        self.x = XServer(self)
        self.takes = 0
        self.control = Control(self.state, self.inputs, take=self._take)
        self.server.inputs, self.server.control, self.server.observers = (
            self.inputs,
            self.control,
            [self.clipboard.on_state, self.key_map.on_state],
        )
        self.data = Data(self.server)
        self.socket = Socket(self.server)
        self.plug()

    def _admit(self) -> None:
        check_host(self.state.value)

    async def _take(self) -> None:
        self.takes += 1
        await trio.lowlevel.checkpoint()
        self.server.set_host(ME)

    def plug(self, *, data: bool = True) -> None:
        self.inputs.plug(self.data if data else None, self.socket, session_id=ME)


@pytest.fixture
def make_desk() -> type[Desk]:
    """Makes desks whose server the test itself runs."""
    return Desk


@pytest.fixture
async def desk(autojump_clock: MockClock) -> AsyncIterator[Desk]:
    desk = Desk()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.server.serve, "data")
        nursery.start_soon(desk.server.serve, "socket")
        yield desk
        nursery.cancel_scope.cancel()
