"""Files and links from end to end on real sockets: the embedded server, or with ``--neko-url`` a real one.

A real server needs its plugins on (``NEKO_FILETRANSFER_ENABLED=true``, ``NEKO_OPENINAPP_ENABLED=true``,
``--desktop.file_chooser_dialog``), and, for programs that take files, ``--neko-display``.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trio

import neko_trio
from neko_trio import Session
from neko_trio.errors import FeatureOff, FilesRefused, InvalidInput, NotAllowed
from neko_trio.protocol.events import FileItem
from neko_trio.simulator import FileOptions, Timings
from neko_trio.testing import TestServer
from neko_trio.testing._server import named_server, open_test_server
from tests.integration.conftest import unique

pytestmark = pytest.mark.real_time

WITHIN = 20.0
ON = FileOptions(transfer=True, dialog=True, links=True)
STRANGE = [
    "plain.txt",
    "two words.txt",
    "grüße 👋.txt",
    'a"b\\c.txt',
    "100% a+b&c=d;e?.txt",
    "-rf",
    ".hidden",
    "é" * 110,
]


@pytest.fixture
async def server(request: pytest.FixtureRequest) -> AsyncIterator[TestServer]:
    named = named_server(request.config)
    if named is not None:
        yield named
        return
    async with open_test_server(files=ON, timings=Timings(drop=0.2, dialog=0.2)) as embedded:
        yield embedded


@pytest.fixture
async def session(server: TestServer) -> AsyncIterator[Session]:
    """An admin without video."""
    async with open_session(server) as session:
        yield session


@pytest.fixture
def has_folder(request: pytest.FixtureRequest) -> None:
    """Skip where file transfer is off. In a run of its own: a skip inside of an async test or fixture has no reason."""
    named = named_server(request.config)
    if named is None:
        return

    async def ask(server: TestServer) -> str | None:
        async with open_session(server) as session:
            try:
                await session.files.list()
            except FeatureOff as off:
                return str(off)
        return None

    reason = trio.run(ask, named)
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
async def folder(has_folder: None, session: Session) -> AsyncIterator[Callable[[str], str]]:
    """Makes names that nobody else in the shared folder has, and deletes their files at the end."""
    mark = secrets.token_hex(4)
    yield lambda name: f"{mark} {name}"
    for item in await session.files.list():
        if item.name.startswith(mark):
            await session.files.delete(item.name)


def open_session(server: TestServer, *, admin: bool = True) -> AbstractAsyncContextManager[Session]:
    password = server.admin_password if admin else server.password
    return neko_trio.open_session(server.url, username=unique("files"), password=password, video="off")


async def of_name(session: Session, name: str) -> FileItem | None:
    return next((item for item in await session.files.list() if item.name == name), None)


# -- the shared folder


@pytest.mark.parametrize("name", STRANGE, ids=range(len(STRANGE)))
async def test_a_file_goes_up_and_comes_down_byte_for_byte(
    session: Session, folder: Callable[[str], str], tmp_path: Path, name: str
) -> None:
    data = os.urandom(300_001)
    named = folder(name)
    source = tmp_path / "source"
    source.write_bytes(data)
    told: list[tuple[int, int | None]] = []
    with trio.fail_after(WITHIN):
        item = await session.files.upload(source, name=named, progress=lambda *now: told.append(now))
        assert item == FileItem(named, "file", len(data)) == await of_name(session, named)
        path = await session.files.download(named, to=tmp_path, progress=lambda *now: told.append(now))
        assert path == tmp_path / named
        assert path.read_bytes() == data
        assert await session.files.read(named) == data
        await session.files.delete(named)
        assert await of_name(session, named) is None
    assert told.count((len(data), len(data))) == 2
    assert sorted(os.listdir(tmp_path)) == sorted(["source", named])


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
@pytest.mark.parametrize("known", [True, False], ids=["length", "chunked"])
async def test_an_iterator_goes_up_as_it_comes(
    session: Session, folder: Callable[[str], str], size: int, known: bool
) -> None:
    data = os.urandom(size)

    async def source() -> AsyncIterator[bytes]:
        for start in range(0, size, 100_000):
            yield data[start : start + 100_000]

    with trio.fail_after(WITHIN):
        item = await session.files.upload(source(), name=folder("stream"), size=size if known else None)
        assert item.size == size
        assert await session.files.read(item.name) == data


@pytest.mark.parametrize("size", [10, 1000, 2000])
async def test_a_file_that_takes_the_place_of_another_is_whole(
    session: Session, folder: Callable[[str], str], size: int
) -> None:
    name = folder("again")
    with trio.fail_after(WITHIN):
        await session.files.upload(b"o" * 1000, name=name)
        with pytest.raises(InvalidInput, match="already"):
            await session.files.upload(b"n" * size, name=name)
        await session.files.upload(b"n" * size, name=name, overwrite=True)
        assert await session.files.read(name) == b"n" * size


async def test_the_others_see_what_comes_and_goes(
    server: TestServer, session: Session, folder: Callable[[str], str]
) -> None:
    name = folder("seen")

    def listed(state: neko_trio.State) -> bool:
        known = state.file_transfer
        return known is not None and name in [item.name for item in known.files or ()]

    with trio.fail_after(WITHIN):
        async with open_session(server, admin=False) as other:
            await session.files.upload(b"x", name=name)
            await other.wait_state(listed)
            await session.files.delete(name)
            await other.wait_state(lambda state: not listed(state))


async def test_an_upload_that_is_cancelled_leaves_nothing(session: Session, folder: Callable[[str], str]) -> None:
    name, half = folder("half"), trio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"x" * 1_000_000
        half.set()
        await trio.sleep_forever()

    with trio.fail_after(WITHIN):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: session.files.upload(source(), name=name, size=2_000_000))
            await half.wait()
            nursery.cancel_scope.cancel()
        await session.files.upload(b"next", name=folder("next"))  # a turn of the server later
        assert await of_name(session, name) is None


async def test_what_is_not_there_or_too_large_says_so(
    session: Session, folder: Callable[[str], str], tmp_path: Path
) -> None:
    name = folder("small")
    with trio.fail_after(WITHIN):
        for call in (session.files.read(name), session.files.delete(name), session.files.download(name, to=tmp_path)):
            with pytest.raises(InvalidInput, match="no file"):
                await call
        await session.files.upload(b"123456", name=name)
        with pytest.raises(InvalidInput, match="limit=5"):
            await session.files.download(name, to=tmp_path, limit=5)
    assert os.listdir(tmp_path) == []


async def test_a_user_may_what_the_server_lets_users_do(
    server: TestServer, session: Session, folder: Callable[[str], str]
) -> None:
    name = folder("of an admin")
    with trio.fail_after(WITHIN):
        await session.files.upload(b"x", name=name)
        async with open_session(server, admin=False) as user:
            await user.files.list()
            rights = user.state.file_transfer
            assert rights is not None
            for may, call in (
                (rights.user_upload, user.files.upload(b"x", name=folder("of a user"))),
                (rights.user_download, user.files.read(name)),
                (rights.user_delete, user.files.delete(name)),
            ):
                if may:
                    await call
                else:
                    with pytest.raises(NotAllowed, match="only admins"):
                        await call


# -- files for programs


async def test_files_are_dropped_at_a_point(server: TestServer, session: Session, tmp_path: Path) -> None:
    """Also more than the 32 MiB that the server's form keeps in memory; that somebody took them is in the next test."""
    path = tmp_path / "dropped"
    path.write_bytes(b"x" * 40 * 2**20)
    with trio.fail_after(WITHIN):
        with pytest.raises(NotAllowed, match="control"):
            await session.files.drop([path], 50, 60)
        async with session.control(wait=True):
            await session.files.drop([path, ("b", b"2")], 50, 60)
            with pytest.raises(InvalidInput, match="limit"):
                await session.files.drop([path], 50, 60, limit=1000)


async def test_without_a_file_chooser_there_is_none_to_answer(server: TestServer, session: Session) -> None:
    with trio.fail_after(WITHIN):
        async with session.control(wait=True):
            for call in (session.files.answer_dialog([("a", b"1")]), session.files.close_dialog()):
                with pytest.raises((FilesRefused, FeatureOff), match=r"No file chooser|file_chooser_dialog"):
                    await call


@asynccontextmanager
async def open_program(display: str, what: str) -> AsyncIterator[Callable[[], Any]]:
    """The GTK program on that display; gives the function that returns what it says next."""
    process = await trio.lowlevel.open_process(
        [gtk_python(), str(Path(__file__).with_name("gtk_files.py")), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "DISPLAY": display},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    received = b""

    async def says() -> Any:
        nonlocal received
        assert process.stdout is not None
        while b"\n" not in received:
            more = await process.stdout.receive_some()
            assert more, "the program has ended"
            received += more
        line, _, received = received.partition(b"\n")
        return json.loads(line)

    try:
        assert await says() == "ready"
        yield says
    finally:
        process.kill()
        with trio.move_on_after(5, shield=True):
            await process.stdin.aclose()
            await process.stdout.aclose()
            await process.wait()


@cache
def gtk_python() -> str:
    """A Python that has GTK; empty where there is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        command = [python, "-c", "import gi; gi.require_version('Gtk', '3.0'); from gi.repository import Gtk"]
        try:
            if subprocess.run(command, capture_output=True, timeout=30).returncode == 0:
                return python
        except OSError:
            continue
    return ""


@pytest.fixture
def display(request: pytest.FixtureRequest) -> str:
    found: str | None = request.config.getoption("--neko-display")
    if found is None:
        pytest.skip("runs a program on the desktop: needs --neko-display")
    if not gtk_python():
        pytest.skip("runs a GTK program: needs a Python with PyGObject")
    return found


FILES = [("grüße 👋.txt", b"1"), ("two words.bin", os.urandom(100_000))]
DIGESTS = sorted([name, hashlib.sha256(data).hexdigest()] for name, data in FILES)


async def test_a_program_gets_what_is_dropped_on_it(session: Session, display: str) -> None:
    with trio.fail_after(WITHIN):
        async with session.control(wait=True):
            async with open_program(display, "take") as says:
                await session.files.drop(FILES, 750, 400)
                assert sorted(await says()) == DIGESTS
            async with open_program(display, "refuse"):
                with pytest.raises(FilesRefused, match=r"\(750, 400\)"):
                    await session.files.drop(FILES, 750, 400)


async def test_a_program_gets_what_is_chosen_for_it(session: Session, display: str) -> None:
    with trio.fail_after(WITHIN):
        async with session.control(wait=True):
            try:
                await session.files.close_dialog()
            except FilesRefused:
                pass  # none is open: the server would see one
            except FeatureOff as error:
                pytest.skip(f"this server does not look for file choosers: {error.message}")
            async with open_program(display, "choose") as says:
                state = await session.wait_state(lambda state: state.file_dialog is not None)
                assert state.file_dialog == state.session_id
                await session.files.answer_dialog(FILES)
                assert sorted(await says()) == DIGESTS
                await session.wait_state(lambda state: state.file_dialog is None)
            async with open_program(display, "choose") as says:
                await session.wait_state(lambda state: state.file_dialog is not None)
                await session.files.close_dialog()
                assert await says() == []
                await session.wait_state(lambda state: state.file_dialog is None)


async def test_the_desktop_gets_what_is_dropped_and_chosen(
    embedded_only: None, server: TestServer, session: Session
) -> None:
    """The embedded server's own way of looking at it."""
    assert server.simulator is not None
    with trio.fail_after(WITHIN):
        async with session.control():
            dialog = server.simulator.open_file_dialog()
            await session.wait_state(lambda state: state.file_dialog is not None)
            await session.files.answer_dialog(FILES)
            assert dialog.files == tuple(FILES)
            await session.wait_state(lambda state: state.file_dialog is None)


# -- links


async def test_a_link_is_opened(server: TestServer, session: Session) -> None:
    link = f"https://example.org/{secrets.token_hex(4)}?a=b&c=%20#é"
    with trio.fail_after(WITHIN):
        await session.wait_state(lambda state: state.opens_links is not None)
        if not session.state.opens_links:
            with pytest.raises(FeatureOff, match=r"openinapp\.enabled"):
                await session.open_link(link)
            return
        with pytest.raises(NotAllowed, match="control"):
            await session.open_link(link)
        async with session.control(wait=True):
            await session.open_link(link)
            with pytest.raises(InvalidInput, match="no link"):
                await session.open_link("file:///etc/passwd")
    if server.simulator is not None:
        assert server.simulator.links == [link]
