"""Transfers that end early, by the session or by their caller: all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import pytest
import trio

from neko_trio import Session
from neko_trio.errors import SessionClosed
from neko_trio.simulator import Timings
from neko_trio.testing import FakeMedia, ScriptedRest, cancel_at_every_step, open_scripted_session
from neko_trio.testing._sweep import swept
from tests.cancelling import cancelled_after
from tests.files.rooms import FOLDER_CALLS, lying, opened

OLD, NEW = b"old" * 20, b"new content"

pytestmark = pytest.mark.usefixtures("autojump_clock")


@pytest.mark.parametrize("verb", FOLDER_CALLS)
async def test_the_sessions_end_ends_it(verb: str) -> None:
    class Stuck(ScriptedRest):
        async def request(self, *_args: object, **_options: object) -> NoReturn:
            await trio.sleep_forever()

    server = lying(("there",))
    server.rest = Stuck()
    session: Session

    async def use() -> None:
        with pytest.raises(SessionClosed):
            await FOLDER_CALLS[verb](session)

    async with trio.open_nursery() as nursery, open_scripted_session(server, FakeMedia()) as session:
        nursery.start_soon(use)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
    await use()


@pytest.mark.parametrize("what", ["upload", "overwrite", "read", "delete", "drop", "dialog", "link"])
def test_cancelled_at_every_step_it_is_done_or_not_done(what: str) -> None:
    """And the session works afterwards, and holds nothing."""
    ended: list[dict[str, bytes]] = []

    async def source() -> AsyncIterator[bytes]:
        yield b"new "
        yield b"content"

    async def act(session: Session) -> None:
        files = session.files
        match what:
            case "upload":
                await files.upload(source(), name="new")
            case "overwrite":
                await files.upload(source(), name="old", overwrite=True)
            case "read":
                assert await files.read("old") == OLD
            case "delete":
                await files.delete("old")
            case "drop":
                async with session.control():
                    await files.drop([("new", source())], 10, 10)
            case "dialog":
                async with session.control():
                    await files.answer_dialog([("new", source())])
            case "link":
                async with session.control():
                    await session.open_link("http://x/")

    async def main() -> None:
        async with opened(timings=Timings(drop=0.2, dialog=0.2)) as (room, session):
            folder = room.simulator.folder
            folder.write("old", OLD)
            async with session.control():
                dialog = room.simulator.open_file_dialog()
                with swept():
                    await act(session)
                await trio.sleep(1)  # the server finishes what it has begun
                await session.mouse.click(1, 1)
            assert dialog.files in (None, (("new", NEW),))
            assert room.simulator.held == (frozenset(), frozenset())
            assert room.simulator.host is None
            ended.append({name: folder.read(name) for name in folder.names})

    def check() -> None:
        after = ended.pop()
        assert after.get("new", NEW) == NEW
        assert after.get("old", OLD) in (OLD, NEW)

    assert cancel_at_every_step(main, check, part=True) > 5


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_download_cancelled_anywhere_leaves_all_or_nothing(tmp_path: Path, overwrite: bool) -> None:
    """Not with the other sweep: there are threads in it."""
    ends: set[bytes] = set()
    async with opened() as (room, session):
        room.simulator.folder.write("a", NEW)
        for step in range(400):
            target = tmp_path / str(step)
            target.mkdir()
            if overwrite:
                (target / "a").write_bytes(OLD)
            with cancelled_after(step) as probe:
                await session.files.download("a", to=target, overwrite=overwrite)
            names = os.listdir(target)
            assert names in ([], ["a"])
            ends.add((target / "a").read_bytes() if names else b"")
            if not probe.fired:
                break
        else:
            raise AssertionError("it took more than 400 steps")
    assert ends == {OLD if overwrite else b"", NEW}
