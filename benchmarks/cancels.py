"""Does a call that is cancelled at a random moment leave anything, on real sockets?

    python benchmarks/cancels.py                       # an embedded server, every call 40 times
    python benchmarks/cancels.py http://desk:8080 --password neko --admin-password admin -n 100

Each play is one public coroutine of a session or several that belong together. It runs twice as it is, which says how
long it takes; then again and again, cancelled at a random moment of that time. After each, on the same session: no key,
button or finger is down, here and at the embedded server; the host role is nobody's, as somebody else in the room sees
it; and the session can still be used: it becomes host, presses a key, and the server says that it has handled it. After
all plays no task of theirs goes on.

A server that lacks what a play needs refuses it with a typed error, which is counted as refused. The server named must
be one's own: its room is changed. Exit code 1: something was left, or a play ended with an error that is not typed.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import trio
from figures import add_json_option, environment, report
from servers import add_server_options

import neko_trio
from neko_trio import NekoError, Session
from neko_trio.errors import ControlLost
from neko_trio.signaling import rest
from neko_trio.signaling.url import parse_server_url
from neko_trio.simulator import Simulator, open_simulator
from neko_trio.simulator._files import FileOptions

SOON = 8.0
"""Seconds for what must happen by itself."""
MOMENT = 0.2
"""Seconds that is waited for what may not come: a copy, a sound, a file chooser."""
ALSO_WITHOUT_PEER = frozenset({"control", "hold", "pointer", "typing", "paste", "fingers", "flush"})
"""Plays whose input goes over the data channel when there is one, and over the WebSocket else."""
SERVERS = ("neko_trio.simulator", "trio._highlevel_serve_listeners")
"""What the names of the embedded server's tasks begin with."""
GREEK = "".join(map(chr, range(0x3B1, 0x3CA)))
"""More foreign characters than there are spare keycodes: by way of the clipboard."""


@dataclass
class Scene:
    """Who plays, and where."""

    session: Session
    other: Session
    """Another admin in the room."""
    guest: str = ""
    """Session id of somebody who may be disturbed."""
    simulator: Simulator | None = None


Play = Callable[[Scene], Awaitable[object]]


async def control(scene: Scene) -> None:
    async with scene.session.control(wait=True), scene.session.control(steal=True):
        await scene.session.mouse.down(5, 5)


async def regain(scene: Scene) -> None:
    async with scene.session.control(regain=MOMENT), scene.session.keyboard.hold("shift"):
        await scene.other.room.take_control()
        await scene.session.wait_state(lambda state: not state.is_host)
        await scene.other.room.reset_control()
        await scene.session.keyboard.press("a")


async def give(scene: Scene) -> None:
    try:
        async with scene.session.control():
            await scene.session.mouse.down(3, 3)
            await scene.session.room.give_control(scene.other.state.session_id)
    except ControlLost:
        pass  # what giving it away ends a block with


async def take(scene: Scene) -> None:
    await scene.session.room.take_control()
    await scene.session.room.reset_control()


async def pointer(scene: Scene) -> None:
    mouse = scene.session.mouse
    async with scene.session.control():
        await mouse.move(7, 7)
        await mouse.click(30, 30, count=2, keys="ctrl+shift")
        await mouse.drag([(30, 30), (60, 30), (60, 5)], keys="shift")
        await mouse.scroll(20, 20, down=2, keys="ctrl")
        await mouse.down(2, 2, button="right")
        await mouse.up(button="right")


async def fingers(scene: Scene) -> None:
    touch = scene.session.touch
    async with scene.session.control():
        await touch.tap(9, 9)
        await touch.swipe((1, 1), (50, 50), duration=0.02, steps=2)
        await touch.pinch((60, 60), start=10, end=40, duration=0.02, steps=2)
        await touch.down(2, 2)
        await touch.move(9, 9)
        await touch.up()


async def typing(scene: Scene) -> None:
    async with scene.session.control():
        await scene.session.keyboard.type("Hello, Wörld!")
        await scene.session.keyboard.press("ctrl+shift+a")


async def hold(scene: Scene) -> None:
    async with scene.session.control(), scene.session.keyboard.hold("ctrl+shift"):
        await scene.session.mouse.click(4, 4)
        await trio.sleep(0.01)


async def paste(scene: Scene) -> None:
    async with scene.session.control():
        await scene.session.keyboard.type(GREEK)


async def layout(scene: Scene) -> None:
    keyboard = scene.session.keyboard
    async with scene.session.control():
        await keyboard.set_layout("us")
        await keyboard.layout()
        await keyboard.modifiers()
        await keyboard.set_modifiers(capslock=False)


async def flush(scene: Scene) -> None:
    async with scene.session.control():
        await scene.session.mouse.move(5, 5)
        await scene.session.flush()


async def clipboard(scene: Scene) -> None:
    board = scene.session.clipboard
    async with scene.session.control():
        await board.write("text")
        await board.read()
        await board.write_html("<b>html</b>")
        await board.read_html()
        content = await board.content()
        if content is not None:
            await board.put(content)


async def clipboard_image(scene: Scene) -> None:
    async with scene.session.control():
        await scene.session.clipboard.read_image()


async def clipboard_chords(scene: Scene) -> None:
    board = scene.session.clipboard
    async with scene.session.control():
        await board.select_all()
        await board.copy()
        await board.cut()
        await board.paste("other")


async def copied(scene: Scene) -> None:
    board = scene.session.clipboard
    async with scene.session.control(), board.updates() as updates:
        with trio.move_on_after(MOMENT):
            await board.write("mine")
            await anext(updates)
        with trio.move_on_after(MOMENT / 4):
            await board.copied()


async def shared_folder(scene: Scene) -> None:
    files = scene.session.files
    await files.upload(b"hello " * 1000, name="hello.txt", overwrite=True)
    await files.list()
    await files.read("hello.txt")
    with tempfile.TemporaryDirectory() as folder:
        try:
            await files.download("hello.txt", to=folder)
        except trio.Cancelled:
            assert os.listdir(folder) in ([], ["hello.txt"]), "half a file was left"
            raise
    await files.delete("hello.txt")


async def drop(scene: Scene) -> None:
    async with scene.session.control():
        await scene.session.files.drop([("a.txt", b"abc")], 50, 50)


async def dialog(scene: Scene) -> None:
    for answer in (True, False):
        async with scene.session.control():
            if scene.simulator is not None:
                scene.simulator.open_file_dialog()
            with trio.move_on_after(MOMENT):
                await scene.session.wait_state(lambda state: state.file_dialog is not None)
            if answer:
                await scene.session.files.answer_dialog([("a.txt", b"abc")])
            else:
                await scene.session.files.close_dialog()


async def link(scene: Scene) -> None:
    async with scene.session.control():
        await scene.session.open_link("https://example.org/")


async def events(scene: Scene) -> None:
    session = scene.session
    async with session.events("chat/*") as seen, session.chat.messages() as said:
        await session.chat.say("hello")
        await anext(seen)
        await anext(said)


async def expect(scene: Scene) -> None:
    async with scene.session.expect("chat/message", timeout=2) as expected:
        await scene.other.chat.say("hello")
        await expected.wait()


async def wait_state(scene: Scene) -> None:
    async with scene.session.control():
        await scene.session.wait_state(lambda state: state.is_host)
        await scene.session.wait_connected()


async def messages(scene: Scene) -> None:
    session = scene.session
    async with session.room.messages() as seen:
        await session.room.send(session.state.session_id, "to/myself", {"a": [1]})
        await anext(seen)
    await session.room.send_all("subject", None)
    await session.send_event("send/broadcast", {"subject": "x", "body": 1})


async def asking(scene: Scene) -> None:
    room = scene.session.room
    await room.batch([("GET", "/api/whoami"), ("GET", "/api/stats")])
    await room.log("info", "hello", answer=42)
    await room.session(scene.other.state.session_id)
    await room.sessions()
    await room.settings()
    await room.stats()
    await room.whoami()


async def changing(scene: Scene) -> None:
    room = scene.session.room
    await room.change_settings(inactive_cursors=True)
    await room.change_settings(inactive_cursors=False)
    await room.rename("another")
    await room.update_profile(can_see_inactive_cursors=True)


async def turn_out(scene: Scene) -> None:
    await scene.session.room.disconnect(scene.guest)
    await scene.session.room.remove(scene.guest)


async def members(scene: Scene) -> None:
    members = scene.session.room.members
    await members.create("new", "secret", name="New")
    try:
        await members.get("new")
        await members.list()
        await members.update("new", can_host=False)
        await members.set_password("new", "other")
        await members.update_many(["new"], can_watch=False)
    finally:
        with trio.move_on_after(SOON, shield=True):
            await members.delete("new")
    await members.delete_many([])


async def broadcast(scene: Scene) -> None:
    broadcast = scene.session.room.broadcast
    await broadcast.status()
    await broadcast.start("rtmp://127.0.0.1:9/live")
    await broadcast.stop()


async def frame(scene: Scene) -> None:
    screen = scene.session.screen
    await screen.frame(newer_than=await screen.frame())
    async with screen.frames() as frames:
        await anext(frames)


async def waiting(scene: Scene) -> None:
    screen = scene.session.screen
    picture = await screen.frame()
    await screen.wait_match(picture.to_ndarray()[:16, :16])
    with trio.move_on_after(MOMENT):
        async with screen.watch() as changes, scene.session.control():
            await scene.session.keyboard.press("a")
            await anext(changes)
    with trio.move_on_after(MOMENT):
        await screen.wait_change((0, 0, 64, 64))
    with trio.move_on_after(MOMENT):
        await screen.wait_stable((0, 0, 64, 64), for_=0.05)


async def pausing(scene: Scene) -> None:
    try:
        await scene.session.screen.pause()
    finally:
        with trio.move_on_after(SOON, shield=True):
            await scene.session.screen.resume()


async def streams(scene: Scene) -> None:
    screen = scene.session.screen
    await screen.select(scene.session.state.streams[-1])
    await screen.quality_up()
    await screen.quality_down()


async def by_rest(scene: Scene) -> None:
    screen = scene.session.screen
    await screen.sizes()
    await screen.screenshot()
    await screen.cast()


async def resize(scene: Scene) -> None:
    size = scene.session.state.screen
    await scene.session.screen.set_size(size.width, size.height, size.rate)


async def hear(scene: Scene) -> None:
    async with scene.session.audio.blocks() as blocks:
        with trio.move_on_after(MOMENT):
            await anext(blocks)


async def speak(scene: Scene) -> None:
    async with scene.session.microphone() as microphone:
        await microphone.write(np.zeros((4_800, 2), np.int16))
        await microphone.flush()
        await microphone.wait_for_playout()


CLIPBOARD = ("content", "put", "read", "read_html", "write", "write_html")
MEMBERS = ("create", "delete", "delete_many", "get", "list", "set_password", "update", "update_many")
PLAYS: dict[Play, tuple[str, ...]] = {
    control: ("control",),
    regain: ("control",),
    give: ("room.give_control",),
    take: ("room.take_control", "room.reset_control"),
    pointer: tuple(f"mouse.{name}" for name in ("click", "down", "drag", "move", "scroll", "up")),
    fingers: tuple(f"touch.{name}" for name in ("down", "move", "pinch", "swipe", "tap", "up")),
    typing: ("keyboard.type", "keyboard.press"),
    hold: ("keyboard.hold",),
    paste: ("keyboard.type",),
    layout: tuple(f"keyboard.{name}" for name in ("layout", "modifiers", "set_layout", "set_modifiers")),
    flush: ("flush",),
    clipboard: tuple(f"clipboard.{name}" for name in CLIPBOARD),
    clipboard_image: ("clipboard.read_image",),
    clipboard_chords: tuple(f"clipboard.{name}" for name in ("copy", "cut", "paste", "select_all")),
    copied: ("clipboard.copied", "clipboard.updates", "ClipboardUpdates.__anext__"),
    shared_folder: tuple(f"files.{name}" for name in ("delete", "download", "list", "read", "upload")),
    drop: ("files.drop",),
    dialog: ("files.answer_dialog", "files.close_dialog"),
    link: ("open_link",),
    events: ("events", "chat.messages", "chat.say", "Subscription.__anext__"),
    expect: ("expect", "Expectation.wait"),
    wait_state: ("wait_state", "wait_connected"),
    messages: ("room.messages", "room.send", "room.send_all", "send_event"),
    asking: tuple(f"room.{name}" for name in ("batch", "log", "session", "sessions", "settings", "stats", "whoami")),
    changing: ("room.change_settings", "room.rename", "room.update_profile"),
    turn_out: ("room.disconnect", "room.remove"),
    members: tuple(f"room.members.{name}" for name in MEMBERS),
    broadcast: tuple(f"room.broadcast.{name}" for name in ("start", "status", "stop")),
    frame: ("screen.frame", "screen.frames", "Frames.__anext__"),
    waiting: (
        *(f"screen.{name}" for name in ("wait_change", "wait_match", "wait_stable", "watch")),
        "Changes.__anext__",
    ),
    pausing: ("screen.pause", "screen.resume"),
    streams: ("screen.quality_down", "screen.quality_up", "screen.select"),
    by_rest: ("screen.cast", "screen.screenshot", "screen.sizes"),
    resize: ("screen.set_size",),
    hear: ("audio.blocks", "AudioBlocks.__anext__"),
    speak: ("microphone", *(f"Microphone.{name}" for name in ("flush", "wait_for_playout", "write"))),
}
"""Each play, and the coroutines of a session that it is of."""


@dataclass
class Row:
    """What came of one play."""

    play: str
    video: str
    outcomes: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        return {"play": self.play, "video": self.video, "outcomes": dict(self.outcomes)}


class Stage:
    """The session that all plays share, and what is looked at after each."""

    def __init__(self, scene: Scene, moments: random.Random, failures: list[str], renew: Callable[[], Any]) -> None:
        self._scene, self._moments, self._failures, self._renew = scene, moments, failures, renew
        self._lasts: dict[Play, float] = {}

    async def cancel_once(self, play: Play, row: Row) -> None:
        """Play it, cancelled at a random moment, and look; the first time, play it twice as it is before."""
        if play not in self._lasts:
            for _ in range(2):
                began = trio.current_time()
                await self._play(play, row, SOON)
                self._lasts[play] = trio.current_time() - began
        await self._play(play, row, self._moments.uniform(0, 1.1 * self._lasts[play]))

    async def _play(self, play: Play, row: Row, after: float) -> None:
        scene = self._scene
        if scene.guest not in scene.session.state.sessions:
            scene.guest = await self._renew()
        with trio.move_on_after(after) as scope:
            try:
                await play(scene)
                outcome = "done"
            except NekoError as error:
                outcome = f"refused: {type(error).__name__}"
        row.outcomes["cancelled" if scope.cancelled_caught else outcome] += 1
        try:
            with trio.fail_after(SOON):
                await self._look()
        except (trio.TooSlowError, AssertionError, NekoError) as error:
            moment = f"{after * 1000:.1f} of {self._lasts.get(play, 0.0) * 1000:.1f} ms"
            self._failures.append(f"{row.play} ({row.video}), {moment}: {type(error).__name__}: {error}"[:400])

    async def _look(self) -> None:
        scene, session = self._scene, self._scene.session
        inputs, me = session._parts.inputs, session.state.session_id
        await inputs.ask()
        if scene.other.state.is_host or session.state.is_host:  # given away, or taken without a block: that stays
            await scene.other.room.reset_control()
        assert inputs.held == (), f"{inputs.held} still down here"
        if scene.simulator is not None:
            held = (*scene.simulator.held[0], *scene.simulator.held[1], *scene.simulator.touches)
            assert not held, f"{held} still down at the server"
        await scene.other.wait_state(lambda state: state.host is None)
        async with session.control():
            await session.keyboard.press("a")
            await session.flush()
            assert session.state.host == me
        await scene.other.wait_state(lambda state: state.host is None)


@asynccontextmanager
async def open_stage(
    url: str,
    admin_password: str,
    *,
    video: str,
    moments: random.Random,
    failures: list[str],
    simulator: Simulator | None = None,
) -> AsyncIterator[Stage]:
    """Two admins in the room, who are alone there."""
    target = parse_server_url(url)
    guests: list[rest.Login] = []

    async def renew() -> str:
        guests[:] = [await rest.login(target, "guest", admin_password)]
        return guests[0].session_id

    def join(name: str, **options: Any) -> Any:
        return neko_trio.open_session(url, username=name, password=admin_password, **options)

    try:
        async with join("cancels", video=video, audio=video != "off") as session, join("other", video="off") as other:
            scene = Scene(session, other, simulator=simulator)
            tasks = our_tasks()
            yield Stage(scene, moments, failures, renew)
            await trio.sleep(MOMENT)  # what was asked of the server has been answered
            failures += [f"{video}: a task goes on: {name}" for name in (our_tasks() - tasks).elements()]
    finally:
        with trio.move_on_after(SOON, shield=True):
            for guest in guests:
                await rest.logout(target, guest.credential)


def our_tasks() -> Counter[str]:
    """The tasks of this run by name, the embedded server's left out: it serves those that come and go."""
    root = trio.lowlevel.current_root_task()
    waiting, names = [root], Counter[str]()
    while waiting:
        task = waiting.pop()
        if task is not None and not task.name.startswith(SERVERS):
            names[task.name] += 1
            waiting.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return names


@asynccontextmanager
async def open_room() -> AsyncIterator[Simulator]:
    """An embedded server that has everything."""
    files = FileOptions(transfer=True, dialog=True, links=True)
    async with open_simulator(size=(640, 360), touch=True, files=files, streams=("high", "low")) as simulator:
        yield simulator


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    moments, failures, rows = random.Random(arguments.seed), [], []  # type: ignore[var-annotated]
    left_out = (
        set() if arguments.url is None else {"broadcast"}
    )  # to nowhere, it brings a server to a standstill (seen)
    names = set(arguments.plays or {play.__name__ for play in PLAYS} - left_out)
    chosen = [play for play in PLAYS if play.__name__ in names]
    for video in ("live", "off"):
        plays = [play for play in chosen if video == "live" or play.__name__ in ALSO_WITHOUT_PEER]
        if arguments.url is None:
            async with open_room() as simulator:
                rows += await all_plays(
                    plays, simulator.url, simulator.admin_password, video, moments, failures, arguments, simulator
                )
        else:
            rows += await all_plays(
                plays, arguments.url, arguments.admin_password, video, moments, failures, arguments, None
            )
    cancelled = sum(row.outcomes["cancelled"] for row in rows)
    return {
        "seed": arguments.seed,
        "cancelled": cancelled,
        "rows": [row.as_json() for row in rows],
        "failures": failures,
        **environment(),
    }


async def all_plays(
    plays: list[Play],
    url: str,
    admin_password: str,
    video: str,
    moments: random.Random,
    failures: list[str],
    arguments: argparse.Namespace,
    simulator: Simulator | None,
) -> list[Row]:
    rows = []
    opened = open_stage(url, admin_password, video=video, moments=moments, failures=failures, simulator=simulator)
    async with opened as stage:
        for play in plays:
            row = Row(play.__name__, video)
            rows.append(row)
            for _ in range(arguments.count):
                await stage.cancel_once(play, row)
            print(line(row), file=sys.stderr, flush=True)
    return rows


def line(row: Row) -> str:
    return f"{row.play:<18}{row.video:<6}" + ", ".join(f"{name} {n}" for name, n in sorted(row.outcomes.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-n", "--count", type=int, default=40, help="of each play")
    parser.add_argument("--plays", nargs="+", choices=[play.__name__ for play in PLAYS], metavar="PLAY")
    parser.add_argument("--seed", type=int, default=1)
    add_server_options(parser, admin=True)
    add_json_option(parser)
    arguments = parser.parse_args()
    result = trio.run(measure, arguments)
    table = f"{result['cancelled']} calls cancelled, {len(result['failures'])} failures"
    return report(result, arguments.json, table=table, failures=result["failures"])


if __name__ == "__main__":
    sys.exit(main())
