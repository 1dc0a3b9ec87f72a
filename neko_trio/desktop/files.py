"""Files to and from the desktop's machine: the shared folder, dropping, and the file chooser."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, SupportsIndex
from urllib.parse import quote

import trio

from neko_trio._ports.inputs import InputPort
from neko_trio._ports.rest import Refusals, RestPort, Sink
from neko_trio._ports.state import StateCell
from neko_trio.desktop.file_names import check_local_name, check_name
from neko_trio.desktop.pixels import pixel
from neko_trio.desktop.saving import whole_file
from neko_trio.desktop.shared_folder import check_right, entry_of, no_such_file, not_allowed, shared_folder
from neko_trio.desktop.uploads import Form, Progress, Source, check_limit, named, opened
from neko_trio.errors import FeatureOff, FilesRefused, InvalidInput, NekoError, ProtocolViolation
from neko_trio.protocol.events import FileItem
from neko_trio.protocol.requests import FileTransferUpdate as AskForFiles

if TYPE_CHECKING:
    from neko_trio._state import State

LIMIT = 2**30
"""Bytes that go in one call unless told otherwise: 1 GiB."""

DRAG_BEGINS = 8
"""Pixels from the upper left corner, where the server presses the button: GTK sees no drag in a shorter way (seen)."""

_ROUTE = "/api/filetransfer"
_DROP = "/api/room/upload/drop"
_DIALOG = "/api/room/upload/dialog"


class Files:
    """Files to and from the machine that the desktop runs on.

    Its shared folder (:meth:`list`, :meth:`upload`, :meth:`download`, :meth:`read`, :meth:`delete`) is the server's
    file transfer plugin, which is off by default, and then open to admins alone until the server's owner says
    otherwise: see ``session.state.file_transfer``. :meth:`drop` and :meth:`answer_dialog` hand files to programs, as
    the host.

    What is sent and received is streamed, in constant memory; ``progress`` is called as
    ``progress(bytes_so_far, bytes_in_all_or_None)``; more than ``limit`` bytes in all is an error, before anything is
    sent where the size is known; ``None`` is no limit. Cancelling closes the connection: the server acts only on whole
    forms, so what was cancelled before its last byte has left nothing there, and after it this is not known.

    Raises, before anything is sent: :class:`~neko_trio.errors.InvalidInput`,
    :class:`~neko_trio.errors.FeatureOff` when the server has the plugin off, :class:`~neko_trio.errors.NotAllowed`
    without the right, :class:`~neko_trio.errors.HostTaken` while another is host; and as every call,
    :class:`~neko_trio.errors.ServerUnreachable`, :class:`~neko_trio.errors.SessionLost` and
    :class:`~neko_trio.errors.SessionClosed`.
    """

    def __init__(
        self, state: StateCell[State], inputs: InputPort, rest: RestPort, *, admit: Callable[[], None]
    ) -> None:
        self._state = state
        self._inputs = inputs
        self._rest = rest
        self._admit = admit  # raises unless this session may hand files to programs now

    # -- the shared folder

    async def list(self) -> tuple[FileItem, ...]:
        """What is in the shared folder now, by name: entries with ``name``, ``type`` (``"file"`` or ``"dir"``) and
        ``size`` in bytes. Folders in it cannot be looked into. Cancelling is safe.

        ``session.state.file_transfer`` shows the same without asking, but the server tells of new and deleted files
        alone, and of a file that has grown only after 30 s or when somebody asks.
        """
        await self._inputs.ask(AskForFiles())  # the answer is in the state when the barrier is back
        return shared_folder(self._state.value).files or ()

    async def upload(
        self,
        source: Source,
        *,
        name: str | None = None,
        overwrite: bool = False,
        size: int | None = None,
        limit: int | None = LIMIT,
        progress: Progress | None = None,
    ) -> FileItem:
        """Put a file into the shared folder; return its entry there.

        Args:
          source: a path, the bytes themselves, or an async iterable of bytes, whose ``size`` may be given.
          name: in the folder; a path has a name of its own. No path, no control characters, at most 255 bytes.
          overwrite: whether it may take the place of a file of that name. The server writes over the beginning of the
            old file and leaves what is longer; so a longer one, or one that may be, is deleted first.

        The return value is the entry of the server's list from after the upload. Cancelled, see the class.
        """
        async with opened([(name, source, size)], limit=limit, progress=progress) as form:
            (target,) = form.names
            await self.list()
            check_right(self._state.value, "upload")
            old = entry_of(self._state.value, target)
            if old is not None:
                if not overwrite or old.type != "file":
                    raise InvalidInput(
                        f"The shared folder has a {old.type} {target!r} already.",
                        hint="Choose another name, or overwrite=True for a file.",
                    )
                if form.size is None or form.size < old.size:
                    await self.delete(target)
            await self._rest.call(
                "POST",
                _ROUTE,
                content=form.body(),
                content_type=form.content_type,
                step="upload",
                refusals={403: not_allowed},
            )
            await self.list()
        entry = entry_of(self._state.value, target)
        if entry is None or entry.size != form.sent:
            found = "does not list it" if entry is None else f"lists it with {entry.size}"
            raise ProtocolViolation(
                f"The server took {target!r} with {form.sent} bytes and {found}.",
                hint="Does another client or a program change it at the same time?",
                step="upload",
            )
        return entry

    async def download(
        self,
        name: str,
        *,
        to: str | os.PathLike[str] = ".",
        save_as: str | None = None,
        overwrite: bool = False,
        limit: int | None = LIMIT,
        progress: Progress | None = None,
    ) -> Path:
        """Bring the file ``name`` of the shared folder into the folder ``to``; return its path there.

        It is written under another name in that folder and renamed when it is whole: however else this ends, nothing is
        left. Never outside of the folder: ``save_as``, by default ``name``, is a plain file name. One that is there is
        an error unless ``overwrite``. Raises ``OSError`` when the disk fails.
        """
        local = check_local_name(name if save_as is None else save_as)
        await self._check_readable(name, limit)
        async with whole_file(to, local, overwrite=overwrite) as file:
            await self._transfer(name, _FileSink(file, progress), limit)
        return Path(to) / local

    async def read(self, name: str, *, limit: int = 32 * 2**20, progress: Progress | None = None) -> bytes:
        """The bytes of the file ``name`` of the shared folder. Cancelling is safe."""
        await self._check_readable(name, limit)
        data = io.BytesIO()
        await self._transfer(name, _FileSink(data, progress), limit)
        return data.getvalue()

    async def delete(self, name: str) -> None:
        """Delete the file ``name``, or an empty folder, from the shared folder; return when it is gone from the list.

        Cancelled, it may have been deleted.
        """
        check_name(name)
        await self.list()
        check_right(self._state.value, "delete")
        if entry_of(self._state.value, name) is None:
            raise no_such_file(name)
        await self._rest.call(
            "DELETE",
            _path_of(name),
            step="delete",
            refusals={
                403: not_allowed,
                404: lambda _message: no_such_file(name),
                500: lambda _message: InvalidInput(
                    f"The server cannot delete {name!r}: it may be a folder with files."
                ),
            },
        )
        await self.list()
        if entry_of(self._state.value, name) is not None:
            raise ProtocolViolation(f"The server has deleted {name!r} and lists it still.", step="delete")

    async def _transfer(self, name: str, sink: Sink, limit: int | None) -> None:
        await self._rest.download(
            _path_of(name),
            sink,
            limit=limit,
            step="download",
            refusals={403: not_allowed, 404: lambda _message: no_such_file(name)},
        )

    async def _check_readable(self, name: str, limit: int | None) -> None:
        """Everything that can be known before: what the list says of it."""
        check_name(name)
        check_limit(limit)
        await self.list()
        check_right(self._state.value, "download")
        entry = entry_of(self._state.value, name)
        if entry is None:
            raise no_such_file(name)
        if entry.type != "file":
            raise InvalidInput(f"{name!r} is a folder: only files can be downloaded.")
        if limit is not None and entry.size > limit:
            raise InvalidInput(
                f"{name!r} has {entry.size} bytes, more than limit={limit}.", hint="Give a higher limit."
            )

    # -- files for programs

    async def drop(
        self,
        files: Iterable[Source | tuple[str, Source]],
        x: SupportsIndex,
        y: SupportsIndex,
        *,
        limit: int | None = LIMIT,
        progress: Progress | None = None,
    ) -> None:
        """Drop files onto the program at (x, y), in pixels of the screen, as a person drags them there.

        ``files`` are sources as for :meth:`upload`, or pairs of a name and a source. The server keeps them in a folder
        of its own, drags with the mouse, which takes 0.5 s, and lets go of all keys and buttons; other input waits
        meanwhile. Needs the host role, or implicit hosting.

        Raises :class:`~neko_trio.errors.FilesRefused` when the program there refuses them, or takes more than a second.
        Where no program takes files the server says nothing, and this returns as well (seen): look at the screen.
        """
        left, top = pixel(x, y, self._state.value.screen)
        if left <= DRAG_BEGINS and top <= DRAG_BEGINS:
            raise InvalidInput(
                f"The server drags files from (0, 0), and ({left}, {top}) is too near for that.",
                hint=f"Drop them more than {DRAG_BEGINS} pixels away.",
            )
        given = named(files)
        self._admit()
        async with opened(given, limit=limit, progress=progress) as form:
            await self._hand_over(
                _DROP,
                form,
                {"x": str(left), "y": str(top)},
                {
                    400: lambda message: _off(message, "upload_drop"),
                    500: lambda _message: FilesRefused(
                        f"The program at ({left}, {top}) did not take the files.",
                        hint="Drop them on a window that takes such files, and wait until it shows.",
                        step="drop",
                    ),
                },
            )

    async def answer_dialog(
        self,
        files: Iterable[Source | tuple[str, Source]],
        *,
        limit: int | None = LIMIT,
        progress: Progress | None = None,
    ) -> None:
        """Choose files in the file chooser that a program has open; return when it has taken them and is closed.

        ``files`` are as for :meth:`drop`. ``session.state.file_dialog`` tells when one is open. The server puts the
        files into a folder of its own and types its name into the chooser, 1.8 s in all; other input waits meanwhile.
        Needs the host role, or implicit hosting, and a server with ``desktop.file_chooser_dialog``.

        Raises :class:`~neko_trio.errors.FilesRefused` when no chooser is open, or it does not take the files.
        """
        given = named(files)
        self._admit()
        async with opened(given, limit=limit, progress=progress) as form:
            await self._hand_over(
                _DIALOG,
                form,
                {},
                {
                    **_DIALOG_REFUSALS,
                    500: lambda _message: FilesRefused("The file chooser did not take the files.", step="dialog"),
                },
            )

    async def close_dialog(self) -> None:
        """Close the file chooser that a program has open, without choosing. The server presses Alt+F4 on it.

        Needs what :meth:`answer_dialog` needs, and raises what it raises.
        """
        self._admit()
        async with self._inputs.quiet():
            await self._rest.call("DELETE", _DIALOG, step="dialog", refusals=_DIALOG_REFUSALS)

    async def _hand_over(self, route: str, form: Form, fields: Mapping[str, str], refusals: Refusals) -> None:
        """Send the form. From its last byte on the server moves the mouse and types, and we don't."""
        async with AsyncExitStack() as stack:

            async def quiet() -> None:
                await stack.enter_async_context(self._inputs.quiet())
                self._admit()

            await self._rest.call(
                "POST",
                route,
                content=form.body(fields, before_end=quiet),
                content_type=form.content_type,
                step=route.rpartition("/")[2],
                refusals={403: not_allowed, **refusals},
            )


class _FileSink:
    """Writes to a file, in threads."""

    def __init__(self, file: BinaryIO, progress: Progress | None) -> None:
        self._file, self._progress = file, progress
        self._size: int | None = None
        self._come = 0

    def begin(self, size: int | None) -> None:
        self._size = size

    async def write(self, chunk: bytes) -> None:
        await trio.to_thread.run_sync(self._file.write, chunk)
        self._come += len(chunk)
        if self._progress is not None:
            self._progress(self._come, self._size)


def _path_of(name: str) -> str:
    return f"{_ROUTE}?filename={quote(name, safe='')}"


def _off(message: str, setting: str) -> NekoError:
    """What a 400 of the desktop's routes says: that it is off, or that the form was not what is due."""
    if "disabled" not in message:
        return ProtocolViolation(f"The server could not read the files: {message!r}.")
    return FeatureOff(f"The server says: {message!r}.", hint=f"Its owner can turn it on: desktop.{setting}.")


_DIALOG_REFUSALS: Refusals = {
    400: lambda message: _off(message, "file_chooser_dialog"),
    403: not_allowed,
    422: lambda _message: FilesRefused(
        "No file chooser is open.", hint="Wait for one: wait_state(lambda state: state.file_dialog).", step="dialog"
    ),
}
