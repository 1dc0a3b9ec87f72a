"""Every public coroutine of a session, cancelled at every one of its steps, in virtual time.

What a call pressed is let go, the host role is given back, nothing of it goes on, and the session works as before.
The rows are compared with what a session has: a new coroutine without a row fails.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

from neko_trio import Session
from neko_trio.errors import ClipboardEmpty, ControlLost, FeatureOff
from neko_trio.simulator import InputEvent, Member, Person, Profile
from neko_trio.simulator._files import FileOptions
from neko_trio.testing import cancel_at_every_step
from neko_trio.testing._sweep import swept
from tests.virtual_room import VirtualRoom, open_virtual_room

LAYERS = ("_ports", "_session", "audio", "desktop", "room")
"""Where what a session hands out is made; pictures (``media``) are values, encoded in a thread."""
INPUT = ("clipboard.paste", "control", "flush", "keyboard", "mouse", "touch")
"""Calls that go over the data channel while it is open, and else over the WebSocket."""
ADMIN = Profile(name="agent", is_admin=True, can_see_inactive_cursors=True)
MEMBERS = {"agent": Member("secret", ADMIN), "guest": Member("secret", Profile(name="guest"))}
FILES = FileOptions(transfer=True, dialog=True, links=True)


class Blank:
    """A desktop that costs nothing to make."""

    def render(self, _now: float) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.zeros((720, 1280, 3), np.uint8)

    def on_input(self, event: InputEvent) -> None:
        pass


@dataclass
class Scene:
    """A session in a room, and somebody else who is there."""

    room: VirtualRoom
    session: Session
    other: Person

    async def after(self, seconds: float, act: Callable[[], Awaitable[object]]) -> None:
        await trio.sleep(seconds)
        await act()

    async def show(self) -> None:
        """A black picture comes, and a moment later a white one."""
        self.room.client.show(np.zeros((72, 128, 3), np.uint8))
        await trio.sleep(0.1)
        self.room.client.show(np.full((72, 128, 3), 255, np.uint8))

    async def copy(self) -> None:
        """A program on the desktop copies."""
        await trio.lowlevel.checkpoint()
        self.room.simulator.copy("copied")


Scenario = Callable[[Scene], Awaitable[object]]


def host(act: Callable[[Session], Awaitable[object]]) -> Scenario:
    """As host, all of it before the end of the block."""

    async def play(scene: Scene) -> None:
        async with scene.session.control():
            await act(scene.session)

    return play


def alone(act: Callable[[Session], Awaitable[object]]) -> Scenario:
    """Without the host role."""
    return lambda scene: act(scene.session)


# -- the rows


async def keep_control(scene: Scene) -> None:
    async with scene.session.control(), scene.session.control():
        await scene.session.mouse.down(1, 1)


async def steal(scene: Scene) -> None:
    await scene.other.request_control()
    async with scene.session.control(steal=True):
        await scene.session.keyboard.press("a")


async def wait_for_control(scene: Scene) -> None:
    await scene.other.request_control()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 1, scene.other.release_control)
        async with scene.session.control(wait=True):
            await scene.session.keyboard.press("a")


async def regain(scene: Scene) -> None:
    async with scene.session.control(regain=True), scene.session.keyboard.hold("shift"):
        await scene.session.flush()
        await scene.other.take_control()
        await scene.session.wait_state(lambda state: not state.is_host)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.after, 1, lambda: scene.other.give_control(scene.session.state.session_id))
            await scene.session.keyboard.press("a")
        await scene.session.flush()


async def give(scene: Scene) -> None:
    with pytest.raises(ControlLost):
        async with scene.session.control():
            await scene.session.mouse.down(3, 3)
            await scene.session.room.give_control(scene.other.id)


async def take(session: Session) -> None:
    await session.room.take_control()
    await session.room.reset_control()


async def drag(session: Session) -> None:
    await session.mouse.drag([(1, 1), (30, 30), (60, 5)], keys="shift")


async def hold(session: Session) -> None:
    async with session.keyboard.hold("ctrl+shift"):
        await session.mouse.click(4, 4)
        await trio.sleep(0.1)


async def press_and_lift(session: Session) -> None:
    await session.mouse.down(2, 2, button="right")
    await session.mouse.up(button="right")


async def finger(session: Session) -> None:
    await session.touch.down(2, 2)
    await session.touch.move(9, 9)
    await session.touch.up()


async def events(scene: Scene) -> None:
    async with scene.session.events("chat/*") as seen, trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, lambda: scene.other.say("hello"))
        await anext(seen)


async def expect(scene: Scene) -> None:
    async with scene.session.expect("chat/message", timeout=2):
        await scene.other.say("hello")


async def wait_state(scene: Scene) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, scene.other.request_control)
        await scene.session.wait_state(lambda state: state.host == scene.other.id)


async def wait_connected(scene: Scene) -> None:
    await scene.session.wait_connected()


async def heard(scene: Scene) -> None:
    async with scene.session.chat.messages() as seen, trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, lambda: scene.other.say("hello"))
        await anext(seen)


async def messages(scene: Scene) -> None:
    async with scene.session.room.messages() as seen:
        await scene.session.room.send(scene.session.state.session_id, "to/myself", {"a": [1]})
        await anext(seen)


async def frame(scene: Scene) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, scene.show)
        await scene.session.screen.frame()


async def frames(scene: Scene) -> None:
    async with scene.session.screen.frames() as seen, trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, scene.show)
        await anext(seen)


async def wait_change(scene: Scene) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, scene.show)
        await scene.session.screen.wait_change((0, 0, 640, 360))


async def wait_stable(scene: Scene) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, scene.show)
        await scene.session.screen.wait_stable(for_=0.3)


async def wait_match(scene: Scene) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, scene.show)
        await scene.session.screen.wait_match(np.full((16, 16, 3), 255, np.uint8))


async def watch(scene: Scene) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, scene.show)
        async with scene.session.screen.watch() as changes:
            await anext(changes)


async def cast(session: Session) -> None:
    with pytest.raises(FeatureOff):
        await session.screen.cast()


async def keyboard_settings(session: Session) -> None:
    await session.keyboard.layout()
    await session.keyboard.set_layout("de", variant="nodeadkeys")
    await session.keyboard.modifiers()
    await session.keyboard.set_modifiers(capslock=True)


async def clipboard(session: Session) -> None:
    await session.clipboard.write("text")
    await session.clipboard.read()
    await session.clipboard.write_html("<b>html</b>")
    await session.clipboard.read_html()
    content = await session.clipboard.content()
    if content is not None:
        await session.clipboard.put(content)
    with pytest.raises(ClipboardEmpty):
        await session.clipboard.read_image()


async def clipboard_chords(session: Session) -> None:
    await session.keyboard.type("abc")
    await session.clipboard.select_all()
    await session.clipboard.copy()
    await session.clipboard.cut()
    await session.clipboard.paste("other")


async def copied(scene: Scene) -> None:
    async with scene.session.control(), trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, scene.copy)
        await scene.session.clipboard.copied()


async def updates(scene: Scene) -> None:
    async with scene.session.control(), scene.session.clipboard.updates() as seen, trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, scene.copy)
        await anext(seen)


async def paste_much(session: Session) -> None:
    """More foreign characters than there are spare keycodes: by way of the clipboard, which is restored."""
    await session.clipboard.write("before")
    await session.keyboard.type("".join(map(chr, range(0x3B1, 0x3CA))))


async def quality(session: Session) -> None:
    await session.screen.quality_down()
    await session.screen.quality_up()


async def pause(scene: Scene) -> None:
    await scene.session.screen.pause()
    await scene.session.screen.resume()


async def guests(session: Session) -> None:
    members = session.room.members
    await members.create("new", "secret", name="New")
    await members.get("new")
    await members.update("new", can_host=False)
    await members.set_password("new", "other")
    await members.update_many(["new", "guest"], can_watch=False)
    await members.list()
    await members.delete("new")
    await members.delete_many(["guest"])


async def broadcast(session: Session) -> None:
    await session.room.broadcast.start("rtmp://192.0.2.1/live")
    await session.room.broadcast.status()
    await session.room.broadcast.stop()


async def files(session: Session) -> None:
    await session.files.upload(b"hello " * 100, name="hello.txt", overwrite=True)
    await session.files.list()
    await session.files.delete("hello.txt")


async def read(session: Session) -> None:
    await session.files.upload(b"hello " * 4, name="hello.txt", overwrite=True)
    await session.files.read("hello.txt")


async def download(session: Session) -> None:
    with TemporaryDirectory() as folder:
        await session.files.upload(b"hello " * 4, name="hello.txt", overwrite=True)
        try:
            await session.files.download("hello.txt", to=folder)
        except trio.Cancelled:
            assert os.listdir(folder) in ([], ["hello.txt"]), "half a file was left"
            raise


async def answer_dialog(scene: Scene) -> None:
    async with scene.session.control():
        scene.room.simulator.open_file_dialog()
        await scene.session.wait_state(lambda state: state.file_dialog is not None)
        await scene.session.files.answer_dialog([("a.txt", b"abc")])


async def close_dialog(scene: Scene) -> None:
    async with scene.session.control():
        scene.room.simulator.open_file_dialog()
        await scene.session.wait_state(lambda state: state.file_dialog is not None)
        await scene.session.files.close_dialog()


async def blocks(scene: Scene) -> None:
    async def sound() -> None:
        await trio.lowlevel.checkpoint()
        scene.room.client.sound(np.zeros((960, 2), np.int16))

    async with scene.session.audio.blocks() as heard, trio.open_nursery() as nursery:
        nursery.start_soon(scene.after, 0.1, sound)
        await anext(heard)


async def speak(session: Session) -> None:
    async with session.microphone() as microphone:
        await microphone.write(np.zeros((48_000, 2), np.int16))
        await microphone.flush()
        await microphone.wait_for_playout()


CLIPBOARD_CALLS = ("content", "put", "read", "read_html", "read_image", "write", "write_html")
MEMBERS_CALLS = ("create", "delete", "delete_many", "get", "list", "set_password", "update", "update_many")
CALLS: dict[str, Scenario] = {
    "audio.blocks": blocks,
    **dict.fromkeys((f"files.{name}" for name in ("delete", "list", "upload")), alone(files)),
    "files.answer_dialog": answer_dialog,
    "files.close_dialog": close_dialog,
    "files.download": alone(download),
    "files.read": alone(read),
    "files.drop": host(lambda session: session.files.drop([("a.txt", b"abc")], 50, 50)),
    "microphone": alone(speak),
    "open_link": host(lambda session: session.open_link("https://example.org/")),
    "control": keep_control,
    "control(steal)": steal,
    "control(wait)": wait_for_control,
    "control(regain)": regain,
    "flush": host(lambda session: session.flush()),
    "events": events,
    "expect": expect,
    "send_event": alone(lambda session: session.send_event("send/broadcast", {"subject": "x", "body": 1})),
    "wait_state": wait_state,
    "wait_connected": wait_connected,
    "chat.messages": heard,
    "chat.say": alone(lambda session: session.chat.say("hello")),
    **dict.fromkeys((f"clipboard.{name}" for name in CLIPBOARD_CALLS), host(clipboard)),
    **dict.fromkeys((f"clipboard.{name}" for name in ("copy", "cut", "paste", "select_all")), host(clipboard_chords)),
    "clipboard.copied": copied,
    "clipboard.updates": updates,
    **dict.fromkeys(
        (f"keyboard.{name}" for name in ("layout", "modifiers", "set_layout", "set_modifiers")), host(keyboard_settings)
    ),
    "keyboard.type(paste)": host(paste_much),
    "keyboard.hold": host(hold),
    "keyboard.press": host(lambda session: session.keyboard.press("ctrl+shift+a")),
    "keyboard.type": host(lambda session: session.keyboard.type("Hello, Wörld!\n" * 4)),
    "mouse.click": host(lambda session: session.mouse.click(5, 6, count=2, keys="ctrl")),
    "mouse.down": host(press_and_lift),
    "mouse.drag": host(drag),
    "mouse.move": host(lambda session: session.mouse.move(7, 7)),
    "mouse.scroll": host(lambda session: session.mouse.scroll(1, 1, down=3, keys="ctrl")),
    "mouse.up": host(press_and_lift),
    "room.batch": alone(lambda session: session.room.batch([("GET", "/api/whoami"), ("GET", "/api/stats")])),
    "room.broadcast.start": alone(broadcast),
    "room.broadcast.status": alone(broadcast),
    "room.broadcast.stop": alone(broadcast),
    "room.change_settings": alone(lambda session: session.room.change_settings(inactive_cursors=True)),
    "room.disconnect": lambda scene: scene.session.room.disconnect(scene.other.id),
    "room.give_control": give,
    "room.log": alone(lambda session: session.room.log("info", "hello", answer=42)),
    **dict.fromkeys((f"room.members.{name}" for name in MEMBERS_CALLS), alone(guests)),
    "room.messages": messages,
    "room.remove": lambda scene: scene.session.room.remove(scene.other.id),
    "room.rename": alone(lambda session: session.room.rename("another")),
    "room.reset_control": alone(take),
    "room.send": lambda scene: scene.session.room.send(scene.other.id, "subject", {"a": 1}),
    "room.send_all": alone(lambda session: session.room.send_all("subject", None)),
    "room.session": lambda scene: scene.session.room.session(scene.other.id),
    "room.sessions": alone(lambda session: session.room.sessions()),
    "room.settings": alone(lambda session: session.room.settings()),
    "room.stats": alone(lambda session: session.room.stats()),
    "room.take_control": alone(take),
    "room.update_profile": alone(lambda session: session.room.update_profile(can_see_inactive_cursors=False)),
    "room.whoami": alone(lambda session: session.room.whoami()),
    "screen.frame": frame,
    "screen.frames": frames,
    "screen.pause": pause,
    "screen.cast": alone(cast),
    "screen.screenshot": alone(lambda session: session.screen.screenshot()),
    "screen.set_size": alone(lambda session: session.screen.set_size(640, 480, 25)),
    "screen.sizes": alone(lambda session: session.screen.sizes()),
    "screen.wait_change": wait_change,
    "screen.wait_match": wait_match,
    "screen.wait_stable": wait_stable,
    "screen.watch": watch,
    "screen.quality_down": alone(quality),
    "screen.quality_up": alone(quality),
    "screen.resume": pause,
    "screen.select": alone(lambda session: session.screen.select("low")),
    "touch.down": host(finger),
    "touch.move": host(finger),
    "touch.pinch": host(lambda session: session.touch.pinch((60, 60), start=10, end=80, steps=3)),
    "touch.swipe": host(lambda session: session.touch.swipe((1, 1), (50, 50), steps=3)),
    "touch.tap": host(lambda session: session.touch.tap(9, 9, count=2)),
    "touch.up": host(finger),
}
"""By the name of the call, and in brackets a way of using it: what is cancelled."""

JPEG = b"\xff\xd8\xff\xe0"
"""As much of a screenshot as is looked at."""
AT_ONCE = {"screen.cast"}
"""The server has no screencast, which is told without a step."""
SERVER_TAKES = 4.0
"""Seconds for which the server may be at what it was asked: drags and file choosers take it 2 s."""
LEAVES_HOST = {"room.take_control", "room.reset_control"}
"""Cancelled, they may have been done: who takes the role without a block keeps it."""

SHARED = {
    "Subscription.__anext__": "events",
    "Frames.__anext__": "screen.frames",
    "Expectation.wait": "expect",
    "AudioBlocks.__anext__": "audio.blocks",
    "Changes.__anext__": "screen.watch",
    "ClipboardUpdates.__anext__": "clipboard.updates",
    **dict.fromkeys((f"Microphone.{name}" for name in ("flush", "wait_for_playout", "write")), "microphone"),
}
"""What a call hands out is cancelled in that call's row."""


def coroutines(cls: type) -> Iterator[tuple[str, str]]:
    """The public coroutines and contexts of a class, each with what it returns."""
    for name in dir(cls):
        function = inspect.getattr_static(cls, name)
        if (name.startswith("_") and name != "__anext__") or not inspect.isfunction(function):
            continue
        bare = inspect.unwrap(function)
        returns = str(bare.__annotations__.get("return", ""))
        if inspect.iscoroutinefunction(bare) or inspect.isasyncgenfunction(bare) or "AsyncContextManager" in returns:
            yield name, returns


def surface(session: Session) -> set[str]:
    """Every public coroutine that can be reached from a session: of its parts, and of what its contexts yield."""
    classes = {
        name: value
        for module in list(sys.modules.values())
        if module.__name__.startswith(tuple(f"neko_trio.{layer}" for layer in LAYERS))
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }
    found: set[str] = set()
    seen: set[int] = set()

    def walk(prefix: str, cls: type, part: Any) -> None:
        for name, returns in coroutines(cls):
            found.add(prefix + name)
            for word in re.findall(r"\w+", returns):
                handed_out = classes.get(word)
                if handed_out is not None and id(handed_out) not in seen:
                    seen.add(id(handed_out))
                    walk(f"{word}.", handed_out, None)
        for name in () if part is None else dir(part):
            if name.startswith("_") or isinstance(inspect.getattr_static(cls, name, None), property):
                continue
            value = getattr(part, name)
            if type(value).__module__.startswith(tuple(f"neko_trio.{layer}" for layer in LAYERS)):
                walk(f"{prefix}{name}.", type(value), value)

    walk("", type(session), session)
    return found


def test_every_public_coroutine_has_its_row() -> None:
    names: set[str] = set()

    async def main() -> None:
        async with open_virtual_room() as room, room.open_session("agent") as session:
            names.update(surface(session))

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    rows = {name.partition("(")[0] for name in CALLS} | SHARED.keys()
    assert rows - names == set(), "rows of what is not there"
    assert names - rows == set(), "public coroutines that nobody cancels"


@pytest.mark.parametrize(
    ("name", "video"),
    [(name, video) for name in CALLS for video in ("live", "off") if video == "live" or name.startswith(INPUT)],
)
def test_cancelled_at_every_step(name: str, video: str) -> None:
    async def play() -> None:
        async with (
            open_virtual_room(
                members=MEMBERS, touch=True, files=FILES, streams=("high", "low"), desktop=Blank()
            ) as room,
            room.simulator.person("other", admin=True) as other,
        ):
            async with room.open_session("agent", video=video, audio=name.startswith("audio.")) as session:
                scene = Scene(room, session, other)
                room.simulator._rest.screenshot = lambda _quality: JPEG
                tasks = count_tasks()
                with swept():
                    await CALLS[name](scene)
                if name in LEAVES_HOST or room.simulator.host == other.id:
                    await other.reset_control()
                await session._parts.inputs.ask()
                assert room.simulator.held == (frozenset(), frozenset()), "something stays pressed"
                assert room.simulator.touches == frozenset(), "a finger stays down"
                assert session._parts.inputs.held == ()
                assert room.simulator.host is None, "the host role was not given back"
                await room.idle()
                await trio.sleep(SERVER_TAKES)
                await trio.testing.wait_all_tasks_blocked()
                assert count_tasks() == tasks, "a task goes on"
                async with session.control():
                    await session.keyboard.press("a")
            assert set(room.simulator.sessions) <= {other.id}, "the session was not logged out"

    assert cancel_at_every_step(play, lambda: None, part=True) > 0 or name in AT_ONCE


def count_tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living
