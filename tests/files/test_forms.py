"""The client's forms, read by the simulator as Go reads them; sources of all kinds; nothing is read before it goes."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neko_trio.desktop.uploads import CHUNK, Form, Source, named, opened
from neko_trio.errors import InvalidInput
from neko_trio.simulator._forms import FormFile, read_form

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1, max_size=40).filter(
    lambda name: name != "." and not name.endswith("..") and len(name.encode()) <= 255
)
Given = tuple[str | None, Any, int | None]


async def sent(form: Form, **options: Any) -> bytes:
    body = form.body(**options)
    whole = b"".join([chunk async for chunk in body.chunks])
    assert body.size in (None, len(whole))
    return whole


async def sent_of(*files: Given, limit: int | None = None) -> bytes:
    async with opened(files, limit=limit, progress=None) as form:
        return await sent(form)


@given(st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_what_is_sent_arrives(files: dict[str, bytes]) -> None:
    async def main() -> None:
        async with opened([(name, data, None) for name, data in files.items()], limit=None, progress=None) as form:
            read = read_form(form.content_type, await sent(form, fields={"x": "12", "y": "-3"}))
            assert read.files == {"files": [FormFile(name, data) for name, data in files.items()]}
            assert read.values == {"x": "12", "y": "-3"}

    trio.run(main)


@given(st.binary(max_size=300), st.text(max_size=60))
def test_the_simulator_reads_anything(body: bytes, content_type: str) -> None:
    for kind in (content_type, "multipart/form-data; boundary=b"):
        with suppress(ValueError):
            read_form(kind, body)
        with suppress(ValueError):
            read_form(kind, b"--b\r\n" + body + b"\r\n--b--\r\n")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('filename="a.txt"', "a.txt"),
        ("filename=a.txt", "a.txt"),
        ('filename="a\\"b"', 'a"b'),
        ('filename="a\\\\b"', "a\\b"),
        ('filename="C:\\dir\\a.txt"', "C:\\dir\\a.txt"),
        ('filename="a%22b"', "a%22b"),
        ('filename="../../etc/x"', "x"),
        ('filename="dir/"', "dir"),
        ('filename=".."', ".."),
        ('filename="é;b=c"; x=y', "é;b=c"),
    ],
)
def test_a_file_name_is_read_as_go_reads_it(header: str, name: str) -> None:
    body = f'--b\r\nContent-Disposition: form-data; name="files"; {header}\r\n\r\ndata\r\n--b--\r\n'.encode()
    assert read_form("multipart/form-data; boundary=b", body).files == {"files": [FormFile(name, b"data")]}


@pytest.mark.parametrize("cut", [4, 5, 10, 60, 120, 160])
def test_half_a_form_is_none(cut: int) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + b"d" * 99 + b"\r\n--b--\r\n"
    assert read_form("multipart/form-data; boundary=b", body)
    with pytest.raises(ValueError):
        read_form("multipart/form-data; boundary=b", body[:-cut])


def test_no_more_parts_than_go_takes() -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n\r\n'
    assert len(read_form("multipart/form-data; boundary=b", part * 1000 + b"--b--").files["files"]) == 1000
    with pytest.raises(ValueError, match="many"):
        read_form("multipart/form-data; boundary=b", part * 1001 + b"--b--")


async def test_a_path_goes_under_its_own_name_in_chunks(tmp_path: Path) -> None:
    data = os.urandom(2 * CHUNK + 17)
    path = tmp_path / "pic ture.png"
    path.write_bytes(data)
    told: list[tuple[int, int | None]] = []
    async with opened([(None, path, None)], limit=len(data), progress=lambda *now: told.append(now)) as form:
        assert form.names == ["pic ture.png"]
        assert form.size == len(data)
        assert read_form(form.content_type, await sent(form)).files["files"] == [FormFile("pic ture.png", data)]
    assert told == [(CHUNK, len(data)), (2 * CHUNK, len(data)), (len(data), len(data))]


async def test_an_iterator_is_read_while_it_is_sent_and_closed(tmp_path: Path) -> None:
    closed = []

    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            yield b""
            yield b"two"
        finally:
            closed.append(True)

    async with opened([("a", source(), None)], limit=None, progress=None) as form:
        assert form.size is None
        body = form.body()
        assert body.size is None
        read = read_form(form.content_type, b"".join([chunk async for chunk in body.chunks]))
    assert read.files == {"files": [FormFile("a", b"onetwo")]}
    assert closed == [True]


async def test_an_iterator_that_was_not_read_to_its_end_is_closed() -> None:
    closed = []

    async def source() -> AsyncIterator[bytes]:
        try:
            for _ in range(9):
                yield b"one"
        finally:
            closed.append(True)

    with pytest.raises(InvalidInput, match="limit=7"):
        await sent_of(("a", source(), None), limit=7)
    assert closed == [True]


class NotBytes:
    def __aiter__(self) -> NotBytes:
        return self

    async def __anext__(self) -> str:
        return "text"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ((None, b"data", None), "name"),
        (("a/b", b"data", None), "path"),
        (("a", 7, None), "no source"),
        (("a", None, None), "no source"),
        (("a", [b"x"], None), "no source"),
        ((None, "/nowhere/to/be/found", None), "cannot be read: No such file"),
        ((None, "/dev/null", None), "no regular file"),
        ((None, "/tmp", None), "no regular file"),
        ((None, "a\0b", None), "cannot be read"),
        (("a", b"123456", None), "limit=5"),
        (("a", NotBytes(), None), "bytes, not str"),
        (("a", NotBytes(), -1), "0 or more"),
    ],
)
async def test_what_cannot_go_is_refused(file: Given, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        await sent_of(file, limit=5)


@pytest.mark.parametrize("number", [1.5, math.nan, math.inf, "3", True, -1])
async def test_sizes_and_limits_are_whole_bytes(number: Any) -> None:
    """Nothing else has a place in a header, and a limit that no size is above is none."""
    with pytest.raises(InvalidInput, match="size is 0 or more bytes"):
        await sent_of(("a", NotBytes(), number))
    with pytest.raises(InvalidInput, match="limit is 0 or more bytes"):
        await sent_of(("a", b"abc", None), limit=number)


@pytest.mark.parametrize("size", [1, 5])
async def test_a_source_of_another_size_than_was_said_ends_it(size: int) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"abc"

    with pytest.raises(InvalidInput, match=f"announced with {size} bytes"):
        await sent_of(("a", source(), size))


async def test_a_file_that_shrinks_ends_it_and_one_that_grows_is_sent_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"12345")
    async with opened([(None, path, None)], limit=None, progress=None) as form:
        with path.open("ab") as file:
            file.write(b"678")
        assert read_form(form.content_type, await sent(form)).files["files"] == [FormFile("log", b"12345")]
    async with opened([(None, path, None)], limit=None, progress=None) as form:
        path.write_bytes(b"1")
        with pytest.raises(InvalidInput, match="announced with 8 bytes"):
            await sent(form)


async def test_before_the_end_is_right_before_the_last_bytes() -> None:
    order: list[str] = []

    async def before() -> None:
        await trio.lowlevel.checkpoint()
        order.append("before")

    async with opened([("a", b"data", None)], limit=None, progress=lambda *_: order.append("data")) as form:
        chunks = []
        async for chunk in form.body(before_end=before).chunks:
            chunks.append(chunk)
            order.append("chunk")
    assert order[-2:] == ["before", "chunk"]
    assert chunks[-1].endswith(b"--\r\n")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ("report.pdf", "list"),
        (b"data", "list"),
        (Path("report.pdf"), "list"),
        (7, "list"),
        ([], "1 to 998"),
        ([("a", b"")] * 999, "1 to 998"),
        ([("a", b"", 1)], "pair"),
        ([(None, b"")], "text"),
        ([("..", b"")], "dot"),
    ],
)
def test_the_files_of_a_drop_are_a_list(files: object, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        named(files)


async def test_two_files_of_one_name_do_not_become_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    files: list[Source | tuple[str, Source]] = [path, ("a", b"y")]
    with pytest.raises(InvalidInput, match="Two of the files have the name 'a'"):
        await sent_of(*named(files))
