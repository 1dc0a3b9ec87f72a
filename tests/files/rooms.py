"""A session in the simulator's own room, without sockets: what the tests of files share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from neko_trio import Session
from neko_trio.protocol.events import FileItem, FileTransferUpdate
from neko_trio.simulator import FileOptions, InputEvent
from neko_trio.testing import ScriptedServer
from tests.virtual_room import VirtualRoom, open_virtual_room

ALL = FileOptions(
    transfer=True, user_download=True, user_upload=True, user_delete=True, drop=True, dialog=True, links=True
)

FOLDER_CALLS: dict[str, Callable[[Session], Awaitable[object]]] = {
    "upload": lambda session: session.files.upload(b"x", name="a"),
    "download": lambda session: session.files.read("there"),
    "delete": lambda session: session.files.delete("there"),
}
"""By the right that each needs."""


def without(what: str) -> FileOptions:
    """All but one."""
    return replace(ALL, **{what: False})  # type: ignore[arg-type]


class Desktop:
    """Nobody looks at it; it keeps what it is told."""

    def __init__(self) -> None:
        self.seen: list[InputEvent] = []

    def render(self, _now: float) -> Any:
        raise AssertionError("nobody looks")

    def on_input(self, event: InputEvent) -> None:
        self.seen.append(event)


@asynccontextmanager
async def opened(
    options: FileOptions = ALL, *, admin: bool = False, **more: Any
) -> AsyncIterator[tuple[VirtualRoom, Session]]:
    """A room with these options, and a session in it."""
    more.setdefault("desktop", Desktop())
    async with open_virtual_room(files=options, **more) as room, room.open_session("me", admin=admin) as session:
        yield room, session


def lying(names: tuple[str, ...], answer: Callable[[Any], object] = lambda _body: b"x") -> ScriptedServer:
    """A server that lists these names, whatever is done with them, and answers every call about them so."""
    server = ScriptedServer()
    items = tuple(FileItem(name, "file", 1) for name in names)
    server.on["filetransfer/update"] = lambda _request: server.send(
        FileTransferUpdate(
            enabled=True, root_dir="/d", files=items, user_download=True, user_upload=True, user_delete=True
        )
    )
    for method in ("GET", "POST", "DELETE"):
        server.rest.on[method, "/api/filetransfer"] = answer
        for name in names:
            server.rest.on[method, f"/api/filetransfer?filename={quote(name, safe='')}"] = answer
    return server


def posted(room: VirtualRoom) -> list[str]:
    """The calls that were made about files."""
    journal = room.simulator.journal
    return [e.event for e in journal if e.channel == "http" and ("filetransfer" in e.event or "upload" in e.event)]
