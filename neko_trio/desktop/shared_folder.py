"""What the file transfer plugin lets a session do, read from the room's state.

The rules are the server's (``internal/plugins/filetransfer/manager.go``): the plugin is on for all, unless the room's
settings turn it off for users or a member's profile for that member; then each kind of call is open to admins, and to
users where the server's owner said so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from neko_trio.errors import FeatureOff, InvalidInput, NotAllowed
from neko_trio.protocol.events import FileItem, FileTransferUpdate

if TYPE_CHECKING:
    from neko_trio._state import State

Right = Literal["download", "upload", "delete"]

_SETTING = "filetransfer.enabled"  # of the plugins' settings, which are one flat map (server pkg/types/plugins.go)


def shared_folder(state: State) -> FileTransferUpdate:
    """The folder as the server described it last; raises :class:`FeatureOff` when there is none."""
    folder = state.file_transfer
    if folder is None or not folder.enabled:
        raise FeatureOff(
            "This server has file transfer off." if folder else "This server knows no file transfer.",
            hint="Its owner can turn it on: filetransfer.enabled.",
            step="files",
        )
    return folder


def check_right(state: State, right: Right) -> None:
    """Raise what the server would refuse this session with: :class:`FeatureOff` or :class:`NotAllowed`."""
    folder, profile = shared_folder(state), state.profile
    if (profile.plugins or {}).get(_SETTING) is False:
        raise NotAllowed(
            "File transfer is off for this member.", hint=f"An admin can grant it: {_SETTING} in the profile's plugins."
        )
    if profile.is_admin:
        return
    if (state.settings.plugins or {}).get(_SETTING) is False:
        raise NotAllowed(
            "File transfer is off for users in this room.",
            hint=f"An admin can turn it on: {_SETTING} in the settings' plugins.",
        )
    rights = {"download": folder.user_download, "upload": folder.user_upload, "delete": folder.user_delete}
    if rights[right] is False:
        raise NotAllowed(
            f"On this server only admins {right} files.",
            hint=f"Its owner can let users do it: filetransfer.user_{right}.",
        )


def entry_of(state: State, name: str) -> FileItem | None:
    """What the folder holds under that name."""
    return next((entry for entry in shared_folder(state).files or () if entry.name == name), None)


def no_such_file(name: str) -> InvalidInput:
    """The error of a file that is not there."""
    return InvalidInput(f"The shared folder has no file {name!r}.", hint="files.list() shows what it has.")


def not_allowed(message: str) -> NotAllowed:
    """The error of a call that the server refused although the state allowed it."""
    return NotAllowed(f"The server refuses it: {message!r}.", step="files")
