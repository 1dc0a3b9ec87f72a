"""Servers that list, send and say what they should not; nothing is written but where it should be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neko_trio.errors import (
    FeatureOff,
    InvalidInput,
    ProtocolViolation,
)
from neko_trio.protocol.client_request import ClientRequest
from neko_trio.protocol.events import OpenInAppInit
from neko_trio.testing import FakeMedia, ScriptedServer, open_scripted_session
from tests.files.rooms import lying

pytestmark = pytest.mark.usefixtures("autojump_clock")


@given(st.text(max_size=30) | st.sampled_from(["../../x", "/etc/x", "..\\x", "a/../../b", "x\0", ".", "..", "~/x", ""]))
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
def test_no_listed_name_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    root = tmp_path_factory.mktemp("root")
    folder = root / "folder"
    folder.mkdir()

    async def main() -> None:
        async with open_scripted_session(lying((name,)), FakeMedia()) as session:
            assert [item.name for item in await session.files.list()] == [name]
            try:
                path = await session.files.download(name, to=folder)
            except InvalidInput:
                assert os.listdir(folder) == []
            else:
                assert path.parent == folder
                assert os.listdir(folder) == [name]
                assert path.read_bytes() == b"x"
            assert os.listdir(root) == ["folder"]

    trio.run(main)


async def test_a_file_that_is_longer_than_it_was_listed_is_cut(tmp_path: Path) -> None:
    async with open_scripted_session(lying(("a",), lambda _body: b"x" * 10_000), FakeMedia()) as session:
        with pytest.raises(InvalidInput, match="limit=5000"):
            await session.files.download("a", to=tmp_path, limit=5000)
        with pytest.raises(InvalidInput, match="limit=5000"):
            await session.files.read("a", limit=5000)
    assert os.listdir(tmp_path) == []


async def test_an_upload_that_is_not_listed_or_another_is_told() -> None:
    async with open_scripted_session(lying(("other",), lambda _body: None), FakeMedia()) as session:
        with pytest.raises(ProtocolViolation, match="does not list it"):
            await session.files.upload(b"x", name="a")
    async with open_scripted_session(lying(("a",), lambda _body: None), FakeMedia()) as session:
        with pytest.raises(ProtocolViolation, match="lists it with 1"):
            await session.files.upload(b"four", name="a", overwrite=True)
        with pytest.raises(ProtocolViolation, match="lists it still"):
            await session.files.delete("a")


@pytest.mark.parametrize(
    "payload",
    [
        '{"enabled": 1, "root_dir": "/", "files": []}',
        '{"enabled": true, "root_dir": "/", "files": [{"name": 7, "type": "file"}]}',
        '{"enabled": true, "root_dir": "/", "files": [{"name": "a", "type": "file", "size": "big"}]}',
        '{"enabled": true, "root_dir": "/", "files": [7]}',
        '{"enabled": true, "root_dir": "/", "files": [], "user_download": "yes"}',
        '{"root_dir": "/"}',
        "[]",
        "null",
    ],
)
async def test_a_list_of_wrong_types_is_skipped_and_counted(payload: str) -> None:
    server = ScriptedServer()
    server.on["filetransfer/update"] = lambda _request: server.send_text(
        f'{{"event": "filetransfer/update", "payload": {payload}}}'
    )
    async with open_scripted_session(server, FakeMedia()) as session:
        with pytest.raises(FeatureOff):
            await session.files.list()
        assert session.statistics().messages_malformed == 1
        assert session.state.file_transfer is None


async def test_events_about_links_and_choosers_change_the_state_once() -> None:
    server = ScriptedServer()
    async with open_scripted_session(server, FakeMedia()) as session:
        assert session.state.opens_links is None
        server.send(OpenInAppInit(enabled=False))
        state = await session.wait_state(lambda state: state.opens_links is not None)
        assert state.opens_links is False
        with pytest.raises(FeatureOff):
            await session.open_link("http://x/")


async def test_a_listed_name_that_is_none_is_not_asked_for(tmp_path: Path) -> None:
    names = ("../../x", "/etc/x", "..", ".", "", "x\n")
    server = lying(names)
    async with open_scripted_session(server, FakeMedia()) as session:
        for name in names:
            for call in (
                session.files.read(name),
                session.files.download(name, to=tmp_path, save_as="good"),
                session.files.delete(name),
                session.files.upload(b"x", name=name, overwrite=True),
            ):
                with pytest.raises(InvalidInput, match="file name"):
                    await call
        assert server.rest.calls == []
    assert os.listdir(tmp_path) == []


async def test_a_server_that_is_about_to_say_that_it_opens_links_is_waited_for() -> None:
    server = ScriptedServer()
    answer = server.on["send/unicast"]

    def late(request: ClientRequest) -> None:
        server.send(OpenInAppInit(enabled=True))
        answer(request)

    server.on["send/unicast"] = late
    server.rest.on["POST", "/api/openinapp/openlink"] = lambda _body: None
    async with open_scripted_session(server, FakeMedia()) as session:
        server.give_host(session.state.session_id)
        await session.wait_state(lambda state: state.is_host)
        assert session.state.opens_links is None
        await session.open_link("http://x/")
    assert server.rest.calls == [("POST", "/api/openinapp/openlink", {"text": "http://x/"})]
