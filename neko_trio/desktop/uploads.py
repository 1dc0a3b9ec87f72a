"""What is sent to the server as files: opened and measured before anything is sent, then read while it goes."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

import trio

from neko_trio._ports.rest import StreamedBody
from neko_trio.desktop.file_names import check_name
from neko_trio.errors import InvalidInput
from neko_trio.protocol import multipart

CHUNK = 256 * 1024
"""Bytes that are read and sent at a time."""

MOST_FILES = 998
"""Of one form: Go reads at most 1000 parts (``mime/multipart``), and two may be coordinates."""

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | AsyncIterable[bytes]"
"""A file to send: a path, the bytes themselves, or an async iterable of bytes, which is read as it is sent."""

Progress: TypeAlias = Callable[[int, "int | None"], object]
"""Called with the bytes that have gone so far and, where it is known, how many there are. What it raises ends the
transfer."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file that is ready to go. ``size`` in bytes, ``None`` when only its end will tell."""

    name: str
    size: int | None
    chunks: Callable[[], AsyncGenerator[bytes, None]]


class Form:
    """A form of files, all of them ready to go."""

    def __init__(self, files: Sequence[Outgoing], *, limit: int | None, progress: Progress | None) -> None:
        self._files = files
        self._limit = limit
        self._progress = progress
        self._boundary = secrets.token_hex(24)
        sizes = [file.size for file in files]
        self.names = [file.name for file in files]
        self.size: int | None = None if None in sizes else sum(size for size in sizes if size is not None)
        """Bytes of the files together."""
        self.sent = 0
        """Bytes of the files that have gone."""
        self.content_type = multipart.content_type(self._boundary)
        self._check(sum(size for size in sizes if size is not None))

    def body(
        self, fields: Mapping[str, str] | None = None, *, before_end: Callable[[], Awaitable[object]] | None = None
    ) -> StreamedBody:
        """What goes over the wire. ``before_end`` is awaited when only the form's last bytes are to go: the server does
        nothing before it has them."""
        head = b"".join(multipart.field(self._boundary, name, value) for name, value in (fields or {}).items())
        frame = len(head) + len(multipart.end(self._boundary))
        frame += sum(len(self._head(file)) + len(multipart.FILE_END) for file in self._files)
        return StreamedBody(self._pieces(head, before_end), None if self.size is None else frame + self.size)

    async def _pieces(self, head: bytes, before_end: Callable[[], Awaitable[object]] | None) -> AsyncIterator[bytes]:
        if head:
            yield head
        for file in self._files:
            yield self._head(file)
            before = self.sent
            async with aclosing(file.chunks()) as chunks:
                async for chunk in chunks:
                    self._check(self.sent + len(chunk))
                    if file.size is not None and self.sent + len(chunk) - before > file.size:
                        raise _changed(file)
                    yield chunk
                    self.sent += len(chunk)
                    if self._progress is not None:
                        self._progress(self.sent, self.size)
            if file.size is not None and self.sent - before != file.size:
                raise _changed(file)
            yield multipart.FILE_END
        if before_end is not None:
            await before_end()
        yield multipart.end(self._boundary)

    def _head(self, file: Outgoing) -> bytes:
        return multipart.file_head(self._boundary, "files", file.name)

    def _check(self, size: int) -> None:
        if self._limit is not None and size > self._limit:
            raise InvalidInput(f"More than limit={self._limit} bytes are to be sent.", hint="Give a higher limit.")


@asynccontextmanager
async def opened(
    files: Iterable[tuple[str | None, Source, int | None]], *, limit: int | None, progress: Progress | None
) -> AsyncIterator[Form]:
    """A form of these files, each a name or ``None`` for the path's own, a source, and the size of one that only its
    end would tell. At the end of the block the files are closed.

    Raises :class:`InvalidInput` for what cannot be read, names that cannot be kept, and more than ``limit`` bytes.
    """
    check_limit(limit)
    async with AsyncExitStack() as stack:
        ready = [await _ready(stack, *file) for file in files]
        names = [file.name for file in ready]
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            # The server appends one to the other (api/room/upload.go, O_APPEND).
            raise InvalidInput(f"Two of the files have the name {doubles[0]!r}.", hint="Give pairs (name, source).")
        yield Form(ready, limit=limit, progress=progress)


def named(files: object) -> list[tuple[str | None, Source, int | None]]:
    """The files of a drop or a dialog: sources, or pairs (name, source)."""
    if isinstance(files, str | bytes | bytearray | memoryview | os.PathLike) or not isinstance(files, Iterable):
        raise InvalidInput("The files are given as a list.", hint='Write ["report.pdf"], or [("name.txt", b"data")].')
    found: list[tuple[str | None, Source, int | None]] = []
    for file in files:
        if isinstance(file, tuple):
            if len(file) != 2:
                raise InvalidInput("A file is a source, or a pair (name, source).")
            found.append((check_name(file[0]), file[1], None))
        else:
            found.append((None, file, None))
    if not 1 <= len(found) <= MOST_FILES:
        raise InvalidInput(f"1 to {MOST_FILES} files go together, not {len(found)}.")
    return found


async def _ready(stack: AsyncExitStack, name: str | None, source: Source, size: int | None) -> Outgoing:
    if name is not None:
        check_name(name)
    if isinstance(source, str | os.PathLike):
        file, known = await trio.to_thread.run_sync(_open, source)
        stack.enter_context(file)
        own = name if name is not None else check_name(os.path.basename(os.fsdecode(source)))
        return Outgoing(own, known, lambda: _of_file(file, known))
    if name is None:
        raise InvalidInput("Bytes have no name of their own.", hint="Give them one.")
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        return Outgoing(name, len(data), lambda: _of_bytes(data))
    if not hasattr(source, "__aiter__"):
        raise InvalidInput(
            f"{type(source).__name__} is no source of a file.",
            hint="Give a path, bytes, or an async iterable of bytes.",
        )
    if size is not None and not _is_count(size):
        raise InvalidInput(f"A size is 0 or more bytes, not {size!r}.")
    if isinstance(source, AsyncGenerator):
        await stack.enter_async_context(aclosing(source))
    return Outgoing(name, size, lambda: _of_iterable(source))


def check_limit(limit: object) -> None:
    """Raise :class:`InvalidInput` unless it is a number of bytes, or ``None``."""
    if limit is not None and not _is_count(limit):
        raise InvalidInput(f"limit is 0 or more bytes, or None for any number, not {limit!r}.")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _open(path: str | os.PathLike[str]) -> tuple[BinaryIO, int]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before opening: that of a pipe would wait for its other end
            raise ValueError("it is no regular file")
        file = open(path, "rb")  # noqa: SIM115 - the caller's stack closes it
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(f"{os.fspath(path)!r} cannot be read: {reason}.") from error
    return file, os.fstat(file.fileno()).st_size


async def _of_file(file: BinaryIO, size: int) -> AsyncGenerator[bytes, None]:
    """As many bytes as there were at first, or less: a log that grows meanwhile is sent as it was."""
    left = size
    while left and (chunk := await trio.to_thread.run_sync(file.read, min(left, CHUNK))):
        left -= len(chunk)
        yield chunk


async def _of_bytes(data: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(data), CHUNK):
        await trio.lowlevel.checkpoint()
        yield data[start : start + CHUNK]


async def _of_iterable(source: AsyncIterable[Any]) -> AsyncGenerator[bytes, None]:
    async for chunk in source:
        if not isinstance(chunk, bytes | bytearray | memoryview):
            raise InvalidInput(f"A source gives bytes, not {type(chunk).__name__}.")
        if len(data := bytes(chunk)):  # an empty one would end a chunked body
            yield data


def _changed(file: Outgoing) -> InvalidInput:
    return InvalidInput(f"{file.name!r} was announced with {file.size} bytes, and has another number of them.")
