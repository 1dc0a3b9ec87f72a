"""The simulator's files and links over HTTP: what each call answers, as the real server was seen to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from neko_trio.simulator import FileOptions, Timings

if TYPE_CHECKING:
    from tests.simulator.conftest import Answer, House, OpenHouse

ON = FileOptions(transfer=True, user_download=True, user_upload=True, user_delete=True, dialog=True, links=True)
QUICK = Timings(drop=0.0, dialog=0.0)
FOLDER = "/api/filetransfer"
DROP, DIALOG, LINK = "/api/room/upload/drop", "/api/room/upload/dialog", "/api/openinapp/openlink"


def form(*files: tuple[str, bytes], **fields: str) -> tuple[bytes, str]:
    """A form as curl writes it, and its header."""
    parts = [f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    for name, data in files:
        head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return b"".join(parts) + b"--b--\r\n", "Content-Type: multipart/form-data; boundary=b\r\n"


async def post(house: House, path: str, token: str, *files: tuple[str, bytes], **fields: str) -> Answer:
    body, header = form(*files, **fields)
    return await house.call("POST", path, body, token=token, headers=header)


def refused(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["message"]


async def test_by_default_all_but_dropping_is_off(house: House) -> None:
    _id, token = await house.login()
    for method in ("GET", "POST", "DELETE"):
        assert refused(await house.call(method, FOLDER, token=token)) == (403, "file transfer is disabled")
    assert refused(await house.call("POST", LINK, {}, token=token)) == (403, "openinapp is disabled")
    not_host = (403, "without implicit hosting, only host can upload files")
    for method, path in (("POST", DROP), ("POST", DIALOG), ("DELETE", DIALOG)):
        assert refused(await house.call(method, path, token=token)) == not_host
    await house.call("POST", "/api/room/control/request", token=token)
    for method in ("POST", "DELETE"):
        assert refused(await house.call(method, DIALOG, token=token)) == (400, "file chooser dialog is disabled")
    assert refused(await house.call("POST", DROP, token=token)) == (400, "failed to parse multipart form")
    async with house.client() as client:
        await client.send("filetransfer/update")
        payload = await client.wait_for("filetransfer/update")
    assert payload == {
        "enabled": False,
        "root_dir": "/home/neko/Downloads",
        "user_download": False,
        "user_upload": False,
        "user_delete": False,
        "files": None,
    }


async def test_what_is_in_the_folder_is_served(open_house: OpenHouse) -> None:
    async with open_house(files=ON) as house:
        _id, token = await house.login()
        house.simulator.folder.write("a.html", b"hello")
        house.simulator.folder.make_folder("dir")

        async def get(query: str) -> Answer:
            return await house.call("GET", f"{FOLDER}?{query}", token=token)

        answer = await get("filename=a.html")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"hello", "text/html")
        assert (await get("filename=/etc/a.html")).body == b"hello"
        for query in ("", "filename=", "filename=..", "filename=a..", "filename=x/../a.html", "filename=..%0Ax"):
            assert refused(await get(query)) == (400, "bad filename")
        answer = await get("filename=nope")
        assert (answer.status, answer.body) == (404, b"404 page not found\n")
        for query in ("filename=dir", "filename=."):
            assert (await get(query)).status == 301


async def test_an_upload_writes_over_the_beginning_and_tells_of_new_names_alone(open_house: OpenHouse) -> None:
    async with open_house(files=ON) as house, house.client() as client:
        _id, token = await house.login("bob")
        answer = await post(house, FOLDER, token, ("a", b"long old text"), ("dir/é b", b"2"))
        assert (answer.status, answer.body) == (200, b"")
        lists = [payload["files"] for event, payload in await client.settle() if event == "filetransfer/update"]
        assert lists[0] == [{"name": "a", "type": "file"}]
        assert house.simulator.folder.names == ["a", "é b"]
        assert (await post(house, FOLDER, token, ("a", b"new"))).status == 200
        assert house.simulator.folder.read("a") == b"newg old text"
        assert [event for event, _payload in await client.settle() if event == "filetransfer/update"] == []
        await client.send("filetransfer/update")
        assert {"name": "a", "type": "file", "size": 13} in (await client.wait_for("filetransfer/update"))["files"]


async def test_an_upload_that_is_no_form_of_files(open_house: OpenHouse) -> None:
    async with open_house(files=ON) as house:
        _id, token = await house.login()
        house.simulator.folder.make_folder("dir")
        no_form = (400, "error parsing form")
        assert refused(await house.call("POST", FOLDER, token=token)) == no_form
        assert refused(await house.call("POST", FOLDER, {"x": 1}, token=token)) == no_form
        body, header = form(("a", b"1"))
        assert refused(await house.call("POST", FOLDER, body[:-9], token=token, headers=header)) == no_form
        assert (await post(house, FOLDER, token, x="1")).status == 200
        for name in ("..", ".", "/", "dir"):
            assert refused(await post(house, FOLDER, token, (name, b"1"))) == (
                500,
                "error opening file for writing",
            )
        assert house.simulator.folder.names == ["dir"]


async def test_what_is_deleted_is_gone_and_told(open_house: OpenHouse) -> None:
    async with open_house(files=ON) as house, house.client() as client:
        _id, token = await house.login("bob")
        name = "é b&c"
        house.simulator.folder.write(name, b"1")
        house.simulator.folder.make_folder("dir")
        await client.settle()
        for each in (name, "dir"):
            answer = await house.call("DELETE", f"{FOLDER}?filename={quote(each)}", token=token)
            assert (answer.status, answer.body) == (200, b"")
        updates = [payload["files"] for event, payload in await client.settle() if event == "filetransfer/update"]
        assert updates == [[{"name": "dir", "type": "dir"}], []]
        assert refused(await house.call("DELETE", f"{FOLDER}?filename=x", token=token)) == (404, "file not found")
        assert refused(await house.call("DELETE", f"{FOLDER}?filename=.", token=token)) == (500, "error deleting file")


@pytest.mark.parametrize(("method", "verb"), [("GET", "download"), ("POST", "upload"), ("DELETE", "delete")])
async def test_users_need_the_owners_leave_and_admins_do_not(open_house: OpenHouse, method: str, verb: str) -> None:
    async with open_house(files=FileOptions(transfer=True)) as house:
        _id, token = await house.login()
        _id, admin = await house.login("root", admin=True)
        answer = await house.call(method, f"{FOLDER}?filename=x", token=token)
        assert refused(answer) == (403, f"file {verb} is not allowed for non-admin users")
        assert (await house.call(method, f"{FOLDER}?filename=x", token=admin)).status in (400, 404)


@pytest.mark.parametrize(
    ("files", "fields", "says"),
    [
        ([], {"y": "1"}, "no X coordinate received"),
        ([], {"x": "1", "y": "b"}, "no Y coordinate received"),
        ([], {"x": "1", "y": "2"}, "no files received"),
        ([("", b"x")], {"x": "1", "y": "2"}, "no files received"),
    ],
)
async def test_a_drop_needs_a_place_and_files(
    open_house: OpenHouse, files: list[tuple[str, bytes]], fields: dict[str, str], says: str
) -> None:
    async with open_house(settings={"implicit_hosting": True}) as house:
        _id, token = await house.login()
        assert refused(await post(house, DROP, token, *files, **fields)) == (400, says)


async def test_two_files_of_one_name_become_one(open_house: OpenHouse) -> None:
    got: list[Any] = []

    class Desktop:
        def render(self, _now: float) -> Any:
            raise AssertionError("nobody looks")

        def on_input(self, event: object) -> None:
            got.append(event)

    async with open_house(settings={"implicit_hosting": True}, desktop=Desktop(), timings=QUICK) as house:
        _id, token = await house.login()
        answer = await post(house, DROP, token, ("a", b"1"), ("a", b"2"), ("b", b"3"), x="90", y="9999")
        assert answer.status == 204
        assert (await post(house, DROP, token, ("a", b"1"), x="8", y="8")).status == 500
    dropped = [event for event in got if type(event).__name__ == "FilesDropped"]
    assert [(event.x, event.y, event.files) for event in dropped] == [(90, 719, (("a", b"12"), ("b", b"3")))]


async def test_a_file_chooser(open_house: OpenHouse) -> None:
    async with open_house(files=ON, timings=QUICK) as house, house.client() as client:
        _id, token = await house.login("bob")
        await house.call("POST", "/api/room/control/request", token=token)
        not_open = (422, "file chooser dialog is not open")
        assert refused(await post(house, DIALOG, token)) == (400, "no files received")
        assert refused(await post(house, DIALOG, token, ("a", b"1"))) == not_open
        assert refused(await house.call("DELETE", DIALOG, token=token)) == not_open
        dialog = house.simulator.open_file_dialog()
        assert (await post(house, DIALOG, token, ("a", b"1"))).status == 204
        assert dialog.files == (("a", b"1"),)
        dialog = house.simulator.open_file_dialog()
        assert (await house.call("DELETE", DIALOG, token=token)).status == 204
        assert (dialog.is_open, dialog.files) == (False, None)
        heard = [(event, payload) for event, payload in await client.settle() if event.startswith("file_chooser")]
    opened, closed = ("file_chooser_dialog/opened", {"id": _id}), ("file_chooser_dialog/closed", {"id": ""})
    assert heard == [opened, closed, opened, closed]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"x", "failed to parse request body"),
        (b"{}", "URL must use http or https scheme"),
        (b'{"text": "ftp://x"}', "URL must use http or https scheme"),
        (b'{"text": "http://a b"}', "failed to parse URL"),
        (b'{"text": "http://a/\\n"}', "failed to parse URL"),
    ],
)
async def test_only_links_are_opened(open_house: OpenHouse, body: bytes, says: str) -> None:
    async with open_house(files=ON) as house:
        _id, token = await house.login()
        assert refused(await house.call("POST", LINK, body, token=token)) == (403, "only the host can open links")
        await house.call("POST", "/api/room/control/request", token=token)
        assert refused(await house.call("POST", LINK, body, token=token)) == (400, says)
        answer = await house.call("POST", LINK, {"text": "https://x/"}, token=token)
        assert (answer.status, answer.json()) == (200, None)
        assert house.simulator.links == ["https://x/"]


async def test_the_journal_does_not_keep_all_of_a_large_body(open_house: OpenHouse) -> None:
    async with open_house(files=ON) as house:
        _id, token = await house.login()
        assert (await post(house, FOLDER, token, ("a", b"x" * 2**20))).status == 200
        kept = [len(entry.message) for entry in house.simulator.journal if entry.event == f"POST {FOLDER}"]
        assert kept == [64 * 1024]
        assert len(house.simulator.folder.read("a")) == 2**20
