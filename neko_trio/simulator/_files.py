"""Files and links at the desktop: what the server is configured with, drops, and the file chooser.

Facts: `server/internal/desktop/drop.go`, `filechooserdialog.go`, `server/internal/websocket/filechooserdialog.go`,
`server/internal/plugins/filetransfer` and `openinapp`.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from neko_trio.simulator._folder import Folder
from neko_trio.simulator._forms import FormFile
from neko_trio.simulator._session import Session

if TYPE_CHECKING:
    from neko_trio.simulator._room import Room

__all__ = ["FileDialog", "FileOptions", "Files"]


MAX_LINKS = 1000
_DRAG_BEGINS = 8
"""Pixels that GTK takes for a click that shook."""
_DROP_LIMIT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOptions:
    """What the server is configured with about files and links; the defaults are the server's."""

    transfer: bool = False
    """`filetransfer.enabled`: the shared folder. For admins, and for users what the next three say."""
    user_download: bool = False
    user_upload: bool = False
    user_delete: bool = False
    root_dir: str = "/home/neko/Downloads"
    """How the shared folder is called; it is in memory."""
    drop: bool = True
    """`desktop.upload_drop`."""
    dialog: bool = False
    """`desktop.file_chooser_dialog`."""
    links: bool = False
    """`openinapp.enabled`."""


class FileDialog:
    """A file chooser that a program has open; see `Simulator.open_file_dialog`."""

    def __init__(self) -> None:
        self.files: tuple[tuple[str, bytes], ...] | None = None
        """What was chosen, names and bytes; `None` as long as nothing was."""
        self._closed = trio.Event()

    @property
    def is_open(self) -> bool:
        return not self._closed.is_set()

    async def wait_closed(self) -> None:
        """Until files were chosen or it was closed. Safe to cancel."""
        await self._closed.wait()

    def close(self, files: tuple[tuple[str, bytes], ...] | None) -> None:
        self.files = files
        self._closed.set()


class Files:
    """Of one room."""

    def __init__(self, room: "Room", options: FileOptions) -> None:
        self.options = options
        self.folder = Folder()
        self.folder.on_change = self._folder_changed
        self.links: deque[str] = deque(maxlen=MAX_LINKS)
        """What was opened, in order; the last of it."""
        self._room = room
        self._dialog: FileDialog | None = None
        self._dialog_of: Session | None = None
        self._turn = trio.Lock()  # the server does one such thing at a time

    def greet(self, session: Session) -> None:
        """What somebody is told who connects: by the plugins, and of a chooser that is open."""
        session.send("filetransfer/update", self.payload())
        session.send("openinapp/init", {"enabled": self.options.links})
        if self._dialog_of is not None:
            session.send("file_chooser_dialog/opened", {"id": self._dialog_of.id})

    def opened(self, link: str) -> None:
        """A program on the desktop opens it."""
        self.links.append(link)

    # The shared folder

    def payload(self) -> dict[str, Any]:
        options = self.options
        return {
            "enabled": options.transfer,
            "root_dir": options.root_dir,
            "user_download": options.user_download,
            "user_upload": options.user_upload,
            "user_delete": options.user_delete,
            "files": self.folder.listed if options.transfer else None,
        }

    def ask(self, session: Session) -> None:
        """`filetransfer/update` from a client: what is new is told to everybody, what is not to this one."""
        if self.options.transfer and self.folder.refresh():
            self._folder_changed()
        else:
            session.send("filetransfer/update", self.payload())

    def on_for(self, session: Session) -> bool:
        """Unless the room's settings, for users, or the member's profile say otherwise."""
        of_room, of_member = _setting(self._room.settings.plugins), _setting(session.profile.plugins)
        return self.options.transfer and (of_room or session.profile.is_admin) and of_member

    def _folder_changed(self) -> None:
        if self.options.transfer:
            self._room.broadcast("filetransfer/update", self.payload())

    # Drops and the file chooser

    async def drop(self, x: int, y: int, files: list[FormFile]) -> bool:
        """The server drags with the mouse, from (0, 0). False: it gave up, because it never became a drag; nobody says
        whether there was anybody to take them."""
        async with self._turn:
            desk = self._room.desk
            desk.release_all()
            desk.move(0, 0)
            if max(x, y) <= _DRAG_BEGINS:
                await trio.sleep(_DROP_LIMIT)
                return False
            await trio.sleep(self._room.timings.drop)
            desk.move(x, y)
            desk.drop(tuple((file.name, file.data) for file in files))
            return True

    @property
    def dialog(self) -> FileDialog | None:
        """The chooser that is open."""
        return self._dialog

    def open_dialog(self) -> FileDialog:
        """A program opens a file chooser. Without a host the server closes it at once."""
        dialog = FileDialog()
        host = self._room.host
        if not self.options.dialog:
            self._dialog = dialog  # the server does not care
        elif host is None:
            dialog.close(None)
            self._room.broadcast("file_chooser_dialog/closed", {"id": ""})
        else:
            self._dialog, self._dialog_of = dialog, host
            self._room.broadcast("file_chooser_dialog/opened", {"id": host.id})
        return dialog

    async def answer_dialog(self, dialog: FileDialog, files: list[FormFile]) -> None:
        """The server types into it."""
        async with self._turn:
            await trio.sleep(self._room.timings.dialog)
            self._close(dialog, tuple((file.name, file.data) for file in files))

    def close_dialog(self, dialog: FileDialog) -> None:
        self._close(dialog, None)

    def left(self, session: Session) -> None:
        """Whose chooser it was has disconnected: it is closed."""
        if self._dialog is not None and self._dialog_of is session:
            self._close(self._dialog, None)

    def _close(self, dialog: FileDialog, files: tuple[tuple[str, bytes], ...] | None) -> None:
        if not dialog.is_open:
            return
        dialog.close(files)
        self._dialog, told = None, self._dialog_of is not None
        self._dialog_of = None
        if told:
            self._room.broadcast("file_chooser_dialog/closed", {"id": ""})


def _setting(plugins: Mapping[str, Any] | None) -> bool:
    return (plugins or {}).get("filetransfer.enabled", True) is not False
