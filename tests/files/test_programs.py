"""Files for programs and links in virtual time: dropped, chosen, opened; where it is off, and who may."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from neko_trio.errors import (
    FeatureOff,
    FilesRefused,
    HostTaken,
    InvalidInput,
    NekoError,
    NotAllowed,
    ProtocolViolation,
)
from neko_trio.simulator import FileOptions, FilesDropped
from tests.files.rooms import Desktop, opened, posted, without

NO_LINKS = [
    *(
        "",
        "x",
        "ftp://x/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:",
        "http://",
        "https:///x",
        "http://a b/",
    ),
    *("http://a/\n", "http://a/ b", "http://a/\ud800", "http://[::1", "http://a:99999/", " http://a/", "http://a:0/"),
    *("http://" + "a" * 40_000, None, b"http://a/", 7),
]

pytestmark = pytest.mark.usefixtures("autojump_clock")


# -- files for programs


async def test_files_are_dropped_where_they_should_and_input_goes_around_it() -> None:
    desktop = Desktop()
    async with opened(desktop=desktop) as (_room, session), session.control():
        await session.keyboard.type("ab")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.files.drop, [("a", b"1"), ("b", b"2")], 30, 40)
            await trio.sleep(0.1)
            nursery.start_soon(session.keyboard.type, "cd")
        await session.flush()
    seen = [getattr(event, "text", "") or type(event).__name__ for event in desktop.seen]
    assert desktop.seen[seen.index("FilesDropped")] == FilesDropped(30, 40, (("a", b"1"), ("b", b"2")))
    assert "".join(name for name in seen if len(name) == 1) == "abcd"
    assert seen.index("b") < seen.index("FilesDropped") < seen.index("c")


async def test_a_drop_needs_the_role_a_place_and_nothing_held() -> None:
    drop = [("a", b"1")]
    async with opened() as (room, session), room.simulator.person("other") as other:
        files = session.files
        with pytest.raises(NotAllowed, match=r"session\.control"):
            await files.drop(drop, 100, 50)
        await other.request_control()
        await session.wait_state(lambda state: state.host == other.id)
        for call in (
            files.drop(drop, 100, 50),
            files.answer_dialog(drop),
            files.close_dialog(),
            session.open_link("http://x/"),
        ):
            with pytest.raises(HostTaken) as caught:
                await call
            assert caught.value.holder == other.id
        await other.release_control()
        await session.wait_state(lambda state: state.host is None)
        async with session.control():
            for x, y in ((1280, 1), (1, 720), (-1, 1), (1.5, 1), ("1", 1), (0, 0), (8, 8)):
                with pytest.raises(InvalidInput):
                    await files.drop(drop, x, y)  # type: ignore[arg-type]
            async with session.keyboard.hold("shift"):
                with pytest.raises(InvalidInput, match="held"):
                    await files.drop(drop, 100, 50)
        assert [event for event in posted(room) if not event.startswith("DELETE")] == []


async def test_the_role_may_go_while_the_files_are_under_way() -> None:
    desktop = Desktop()
    async with opened(admin=True, desktop=desktop) as (room, session), room.simulator.person("other") as other:
        await session.room.take_control()

        async def chunks() -> AsyncIterator[bytes]:
            yield b"1"
            await session.room.give_control(other.id)
            yield b"2"

        with pytest.raises(HostTaken):
            await session.files.drop([("a", chunks())], 100, 50)
    assert not any(isinstance(event, FilesDropped) for event in desktop.seen)


async def test_with_implicit_hosting_nobody_needs_the_role_who_may_have_it() -> None:
    async with opened(settings={"implicit_hosting": True}) as (room, session):
        await session.files.drop([("a", b"1")], 100, 50)
        await session.open_link("https://example.org/a?b=c#d")
        assert room.simulator.links == ["https://example.org/a?b=c#d"]


async def test_a_drop_that_a_program_refuses_is_told() -> None:
    body = b'{"code": 500, "message": "Internal Server Error"}'
    async with (
        opened() as (room, session),
        session.control(),
        room.simulator.faults.answer("/api/room/upload/drop", status=500, body=body),
    ):
        with pytest.raises(FilesRefused, match=r"\(50, 60\)"):
            await session.files.drop([("a", b"1")], 50, 60)


@pytest.mark.parametrize("what", ["drop", "dialog"])
async def test_what_is_off_at_the_server_says_who_can_turn_it_on(what: str) -> None:
    async with opened(without(what)) as (_room, session), session.control():
        if what == "drop":
            with pytest.raises(FeatureOff, match=r"desktop\.upload_drop"):
                await session.files.drop([("a", b"1")], 100, 50)
        else:
            for call in (session.files.answer_dialog([("a", b"1")]), session.files.close_dialog()):
                with pytest.raises(FeatureOff, match=r"desktop\.file_chooser_dialog"):
                    await call


async def test_a_file_chooser_is_announced_answered_and_closed() -> None:
    async with opened() as (room, session), room.simulator.person("other") as other:
        async with session.control():
            for call in (session.files.answer_dialog([("a", b"1")]), session.files.close_dialog()):
                with pytest.raises(FilesRefused, match="No file chooser is open"):
                    await call
            dialog = room.simulator.open_file_dialog()
            state = await session.wait_state(lambda state: state.file_dialog is not None)
            assert state.file_dialog == session.state.session_id
            assert await other.wait_for("file_chooser_dialog/opened") == {"id": session.state.session_id}
            await session.files.answer_dialog([("a", b"1"), ("b", b"2")])
            assert dialog.files == (("a", b"1"), ("b", b"2"))
            await session.wait_state(lambda state: state.file_dialog is None)
            dialog = room.simulator.open_file_dialog()
            await session.files.close_dialog()
            assert (dialog.is_open, dialog.files) == (False, None)
        await session.wait_state(lambda state: state.host is None)
        dialog = room.simulator.open_file_dialog()
        assert not dialog.is_open, "without a host the server closes it"


async def test_who_comes_later_hears_of_an_open_chooser_and_its_owner_takes_it_along() -> None:
    async with opened() as (room, first):
        async with room.open_session("second") as second, second.control():
            dialog = room.simulator.open_file_dialog()
            async with room.open_session("third") as third:
                assert (await third.wait_state(lambda state: state.file_dialog is not None)).host is not None
        await first.wait_state(lambda state: state.file_dialog is None)
        await dialog.wait_closed()


# -- links


async def test_what_is_no_link_is_refused_before_anything_is_sent() -> None:
    async with opened() as (room, session), session.control():
        for url in NO_LINKS:
            with pytest.raises(InvalidInput) as caught:
                await session.open_link(url)  # type: ignore[arg-type]
            assert "alert" not in str(caught.value)
        assert room.simulator.links == []


async def test_links_are_told_off_at_once() -> None:
    async with opened(FileOptions()) as (room, session), session.control():
        with pytest.raises(FeatureOff, match=r"openinapp\.enabled"):
            await session.open_link("http://x/")
        assert [entry for entry in room.simulator.journal if "openlink" in entry.event] == []


@pytest.mark.parametrize(
    ("status", "kind"), [(400, InvalidInput), (403, NotAllowed), (500, FeatureOff), (422, ProtocolViolation)]
)
async def test_what_the_server_says_of_a_link(status: int, kind: type[NekoError]) -> None:
    async with opened() as (room, session), session.control():
        body = b'{"code": %d, "message": "said"}' % status
        async with room.simulator.faults.answer("/api/openinapp/openlink", status=status, body=body):
            with pytest.raises(kind, match="said"):
                await session.open_link("http://secret.example/")
