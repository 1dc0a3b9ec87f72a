"""A file that is written here is whole or not there, and only there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from neko_trio.desktop.saving import whole_file
from neko_trio.errors import InvalidInput


async def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    async with whole_file(tmp_path, "a.txt", overwrite=False) as file:
        file.write(b"half")
        assert not (tmp_path / "a.txt").exists()
        file.write(b" and half")
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"half and half"


@pytest.mark.parametrize("overwrite", [False, True])
async def test_whatever_ends_it_nothing_is_left(tmp_path: Path, overwrite: bool) -> None:
    old = tmp_path / "old.txt"
    old.write_bytes(b"old")
    name = "old.txt" if overwrite else "new.txt"
    with pytest.raises(RuntimeError, match="broken"):
        async with whole_file(tmp_path, name, overwrite=overwrite) as file:
            file.write(b"half")
            raise RuntimeError("broken")
    with trio.move_on_after(0.05) as scope:
        async with whole_file(tmp_path, name, overwrite=overwrite) as file:
            file.write(b"half")
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert os.listdir(tmp_path) == ["old.txt"]
    assert old.read_bytes() == b"old"


async def test_what_is_there_stays_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(InvalidInput, match="there already"):
        async with whole_file(tmp_path, "a", overwrite=False):
            raise AssertionError("not entered")
    async with whole_file(tmp_path, "a", overwrite=True) as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "none"])
async def test_what_comes_there_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def no_links(*_paths: object) -> None:
        raise PermissionError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(InvalidInput, match="there already"):
        async with whole_file(tmp_path, "a", overwrite=False):
            (tmp_path / "a").write_bytes(b"theirs")
    async with whole_file(tmp_path, "b", overwrite=False) as file:
        file.write(b"ours")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
    assert (tmp_path / "a").read_bytes() == b"theirs"


async def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.write_bytes(b"precious")
    folder.mkdir()
    (folder / "a").symlink_to(outside)
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("a", "dangling"):
        with pytest.raises(InvalidInput, match="there already"):
            async with whole_file(folder, name, overwrite=False):
                raise AssertionError("not entered")
        async with whole_file(folder, name, overwrite=True) as file:
            file.write(b"new")
        assert not (folder / name).is_symlink()
    assert outside.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_folder_is_not_overwritten(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InvalidInput, match="there already"):
        async with whole_file(tmp_path, "a", overwrite=overwrite):
            raise AssertionError("not entered")


@pytest.mark.parametrize("folder", ["nowhere", "file", "file/x"])
async def test_no_folder_no_file(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInput, match="no folder"):
        async with whole_file(tmp_path / folder, "a", overwrite=False):
            raise AssertionError("not entered")


async def test_a_disk_that_is_full_is_told_as_it_is(tmp_path: Path) -> None:
    """`/dev/full` takes nothing: a buffered file finds out when it is closed."""
    with pytest.raises(OSError, match="No space"):
        async with whole_file(tmp_path, "a", overwrite=False) as file:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, file.fileno())
            os.close(full)
            file.write(b"x" * 100)
    assert os.listdir(tmp_path) == []
