"""The shared folder in virtual time: up, down, listed and deleted; limits, names, and who may."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from neko_trio.errors import (
    FeatureOff,
    InvalidInput,
    NotAllowed,
)
from neko_trio.protocol.events import FileItem
from neko_trio.simulator import FileOptions, Member, Profile
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session
from tests.files.rooms import ALL, FOLDER_CALLS, opened, posted, without

pytestmark = pytest.mark.usefixtures("autojump_clock")


# -- the shared folder


async def test_a_file_goes_up_is_listed_comes_down_and_goes_away(tmp_path: Path) -> None:
    data = os.urandom(5000)
    told: list[tuple[int, int | None]] = []
    async with opened() as (room, session):
        files = session.files
        assert await files.list() == ()
        entry = await files.upload(data, name='né"w\\ 👋.txt')
        assert entry == FileItem('né"w\\ 👋.txt', "file", 5000)
        assert room.simulator.folder.read(entry.name) == data
        assert await files.list() == (entry,)
        assert session.state.file_transfer is not None
        assert session.state.file_transfer.files == (entry,)
        assert await files.read(entry.name) == data
        path = await files.download(entry.name, to=tmp_path, progress=lambda *now: told.append(now))
        assert path == tmp_path / entry.name
        assert path.read_bytes() == data
        assert told[-1] == (5000, 5000)
        other = await files.download(entry.name, to=tmp_path, save_as="other")
        assert other.read_bytes() == data
        await files.delete(entry.name)
        assert await files.list() == ()
    assert sorted(os.listdir(tmp_path)) == sorted([entry.name, "other"])


async def test_a_file_of_a_path_goes_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(b"%PDF")
    async with opened() as (room, session):
        assert (await session.files.upload(path)).name == "report.pdf"
        assert (await session.files.upload(str(path), name="two")).name == "two"
        assert room.simulator.folder.names == ["report.pdf", "two"]


async def test_what_programs_and_others_do_shows_in_the_state() -> None:
    async with opened() as (room, session):
        await session.files.list()
        room.simulator.folder.write("log", b"123")
        state = await session.wait_state(lambda state: bool(state.file_transfer and state.file_transfer.files))
        assert state.file_transfer is not None
        assert state.file_transfer.files == (FileItem("log", "file", 0),)  # as the server: the size is the first look's
        assert await session.files.list() == (FileItem("log", "file", 3),)
        room.simulator.folder.remove("log")
        await session.wait_state(lambda state: state.file_transfer is not None and not state.file_transfer.files)


@pytest.mark.parametrize("size", [2, 5, 6, 9])
@pytest.mark.parametrize("known", [True, False], ids=["known size", "unknown size"])
async def test_a_file_takes_the_place_of_another_whole(size: int, known: bool) -> None:
    """The server writes over the beginning alone; with a shorter file the end of the old one would stay."""

    async def source() -> AsyncIterator[bytes]:
        yield b"n" * size

    async with opened() as (room, session):
        room.simulator.folder.write("a", b"old old"[:6])
        with pytest.raises(InvalidInput, match="overwrite=True"):
            await session.files.upload(b"n" * size, name="a")
        assert room.simulator.folder.read("a") == b"old ol"
        if known:
            await session.files.upload(b"n" * size, name="a", overwrite=True)
        else:
            await session.files.upload(source(), name="a", overwrite=True)
        assert room.simulator.folder.read("a") == b"n" * size


async def test_a_folder_is_neither_written_over_nor_downloaded_but_deleted(tmp_path: Path) -> None:
    async with opened() as (room, session):
        room.simulator.folder.make_folder("dir")
        (entry,) = await session.files.list()
        assert entry == FileItem("dir", "dir", 0)
        for call in (
            session.files.upload(b"x", name="dir", overwrite=True),
            session.files.download("dir", to=tmp_path),
            session.files.read("dir"),
        ):
            with pytest.raises(InvalidInput, match="dir"):
                await call
        await session.files.delete("dir")
        assert "dir" not in room.simulator.folder


async def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    async with opened() as (_room, session):
        for call in (session.files.download("a", to=tmp_path), session.files.read("a"), session.files.delete("a")):
            with pytest.raises(InvalidInput, match="no file 'a'"):
                await call
    assert os.listdir(tmp_path) == []


async def test_what_is_there_here_stays(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    async with opened() as (room, session):
        room.simulator.folder.write("a", b"theirs")
        with pytest.raises(InvalidInput, match="there already"):
            await session.files.download("a", to=tmp_path)
        assert (tmp_path / "a").read_bytes() == b"mine"
        await session.files.download("a", to=tmp_path, overwrite=True)
        assert (tmp_path / "a").read_bytes() == b"theirs"


async def test_more_than_the_limit_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"123456")
    told: list[object] = []
    async with opened() as (room, session):
        room.simulator.folder.write("big", b"123456")
        async with session.control():
            for call in (
                session.files.upload(path, name="b", limit=5, progress=lambda *now: told.append(now)),
                session.files.upload(b"123456", name="b", limit=5),
                session.files.drop([path, ("b", b"")], 100, 50, limit=5),
                session.files.answer_dialog([("a", b"123"), ("b", b"456")], limit=5),
                session.files.download("big", to=tmp_path, save_as="x", limit=5),
                session.files.read("big", limit=5),
            ):
                with pytest.raises(InvalidInput, match="limit=5"):
                    await call
        assert posted(room) == []
    assert told == []
    assert os.listdir(tmp_path) == ["big"]


async def test_a_bad_name_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    names: list[Any] = ["", "a/b", "../x", "..", ".", "a\0", "a\n", "x" * 256, "\ud800", None, b"a", 7]
    async with opened() as (room, session), session.control():
        room.simulator.folder.write("there", b"x")
        for name in names:
            calls = [
                session.files.upload(b"x", name=name),
                session.files.download(name, to=tmp_path),
                session.files.read(name),
                session.files.delete(name),
                session.files.drop([(name, b"x")], 100, 50),
                session.files.answer_dialog([(name, b"x")]),
            ]
            if name is not None:
                calls.append(session.files.download("there", to=tmp_path, save_as=name))
            for call in calls:
                with pytest.raises(InvalidInput):
                    await call
        assert posted(room) == []
        await session.files.read("there")
        assert posted(room) == ["GET /api/filetransfer"]
    assert os.listdir(tmp_path) == []


# -- who may


@pytest.mark.parametrize("verb", FOLDER_CALLS)
async def test_a_user_does_what_the_servers_owner_lets_users_do(verb: str) -> None:
    async with opened(without(f"user_{verb}")) as (room, session):
        room.simulator.folder.write("there", b"x")
        with pytest.raises(NotAllowed, match=f"user_{verb}"):
            await FOLDER_CALLS[verb](session)
        assert posted(room) == []
        for other in set(FOLDER_CALLS) - {verb, "delete"}:
            await FOLDER_CALLS[other](session)


async def test_an_admin_does_all_of_it() -> None:
    async with opened(FileOptions(transfer=True), admin=True) as (room, session):
        room.simulator.folder.write("there", b"x")
        for verb in FOLDER_CALLS:
            await FOLDER_CALLS[verb](session)
        assert room.simulator.folder.names == ["a"]


@pytest.mark.parametrize("verb", FOLDER_CALLS)
@pytest.mark.parametrize("where", ["server", "room", "member"])
async def test_where_file_transfer_is_off_it_is_told_at_once(verb: str, where: str) -> None:
    off = {"filetransfer.enabled": False}
    profile = Profile(name="me", plugins=off if where == "member" else None)
    async with opened(
        ALL if where != "server" else without("transfer"),
        members={"me": Member("secret", profile)},
        password="secret",
        settings={"plugins": off} if where == "room" else {},
    ) as (room, session):
        if where != "server":
            room.simulator.folder.write("there", b"x")
        with pytest.raises(FeatureOff if where == "server" else NotAllowed, match=r"filetransfer\.enabled"):
            await FOLDER_CALLS[verb](session)
        assert posted(room) == []


async def test_rights_that_an_old_server_does_not_tell_are_its_own_to_judge() -> None:
    server = ScriptedServer()
    payload = '{"enabled": true, "root_dir": "/d", "files": [{"name": "a", "type": "file", "size": 1}]}'
    server.on["filetransfer/update"] = lambda _request: server.send_text(
        f'{{"event": "filetransfer/update", "payload": {payload}}}'
    )
    server.rest.on["GET", "/api/filetransfer?filename=a"] = lambda _body: b"x"
    async with open_scripted_session(server, FakeMedia()) as session:
        assert await session.files.read("a") == b"x"
        assert session.statistics().messages_malformed == 0


async def test_a_server_without_the_plugins_is_told_at_once() -> None:
    server = ScriptedServer()
    async with open_scripted_session(server, FakeMedia()) as session:
        with pytest.raises(FeatureOff, match="no file transfer"):
            await session.files.list()
        with pytest.raises(FeatureOff, match="openinapp"):
            await session.open_link("https://example.org/")
        assert server.rest.calls == []
