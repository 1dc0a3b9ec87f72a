"""The shared folder of the file transfer plugin, in memory (`server/internal/plugins/filetransfer/manager.go`)."""

import errno
from collections.abc import Callable
from typing import Any

__all__ = ["Folder"]

MAX_BYTES = 2**30
"""Of all that clients upload, and how many files."""
MAX_FILES = 10_000


class Folder:
    """Files and empty folders by name, as programs on the desktop see them; clients come by REST.

    The server lists it again, and tells everybody, when a name comes or goes, or somebody asks: a file that grows
    meanwhile keeps its old size in the list.
    """

    def __init__(self) -> None:
        self.on_change: Callable[[], None] = lambda: None
        """Everybody is to be told of a new list."""
        self._files: dict[str, bytes | None] = {}
        self._listed: list[dict[str, Any]] = []

    def __contains__(self, name: str) -> bool:
        return name in self._files

    @property
    def names(self) -> list[str]:
        """As the server lists them: in the order of their bytes."""
        return sorted(self._files, key=lambda name: name.encode("utf-8", "surrogateescape"))

    @property
    def listed(self) -> list[dict[str, Any]]:
        """The list as it was made last."""
        return self._listed

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises `FileNotFoundError`, `IsADirectoryError`."""
        if name not in self._files:
            raise FileNotFoundError(name)
        data = self._files[name]
        if data is None:
            raise IsADirectoryError(name)
        return data

    def write(self, name: str, data: bytes) -> None:
        """A program saves a file, whole."""
        self._put(name, data)

    def write_over(self, name: str, data: bytes) -> None:
        """As an upload does it: over the beginning of what is there, whose longer rest stays (no `O_TRUNC`).

        Raises `IsADirectoryError`, and `OSError` when the folder is full.
        """
        if name in (".", "/", ".."):
            raise IsADirectoryError(name)
        old = self.read(name) if name in self._files else b""
        kept = sum(len(each) for each in self._files.values() if each is not None)
        if kept + len(data) > MAX_BYTES or len(self._files) >= MAX_FILES:
            raise OSError(errno.ENOSPC, "the folder is full")
        self._put(name, data + old[len(data) :])

    def make_folder(self, name: str) -> None:
        """An empty folder in it."""
        self._files[name] = None
        self._refresh_and_tell()

    def remove(self, name: str) -> None:
        """Raises `FileNotFoundError`."""
        if name not in self._files:
            raise FileNotFoundError(name)
        del self._files[name]
        self._refresh_and_tell()

    def refresh(self) -> bool:
        """List it anew; whether that differs, in names and sizes, from before."""
        before = [(entry["name"], entry.get("size", 0)) for entry in self._listed]
        self._listed = [self._entry(name) for name in self.names]
        return before != [(entry["name"], entry.get("size", 0)) for entry in self._listed]

    def _put(self, name: str, data: bytes) -> None:
        new = name not in self._files
        self._files[name] = b"" if new else data
        if new:  # the server hears of the new name, and looks at once: mostly the file is empty then (seen)
            self._refresh_and_tell()
        self._files[name] = data

    def _refresh_and_tell(self) -> None:
        if self.refresh():
            self.on_change()

    def _entry(self, name: str) -> dict[str, Any]:
        data = self._files[name]
        if data is None:
            return {"name": name, "type": "dir"}
        return {"name": name, "type": "file", **({"size": len(data)} if data else {})}
