"""Which names a file may have: at the server, and where it is written here."""

from __future__ import annotations

import os
import re

from neko_trio.errors import InvalidInput

LONGEST = 255
"""Bytes of a file name in UTF-8: NAME_MAX of Linux."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHOWN = 80
# learn.microsoft.com, "Naming Files, Paths, and Namespaces": with any extension, in any case, and the superscripts too.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:[.:].*)?", re.IGNORECASE)
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\\]')


def check_name(name: object) -> str:
    """``name``, if the server keeps a file of just that name in the folder; raises :class:`InvalidInput` otherwise.

    The server takes the last part of a path silently (``filetransfer/manager.go``, ``filepath.Base``), and could not
    give back or delete a name that ends in two dots; ``.`` is the folder itself.
    """
    if not isinstance(name, str):
        raise InvalidInput(f"A file name is a text, not {type(name).__name__}.")
    if not name:
        raise _refused(name, "is empty")
    if "/" in name:
        raise _refused(name, "is a path")
    if _CONTROL.search(name):
        raise _refused(name, "has control characters")
    if name == "." or name.endswith(".."):
        raise _refused(name, "is a dot, or ends in two")
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        raise _refused(name, "has half a surrogate pair") from None
    if length > LONGEST:
        raise _refused(name, f"has {length} bytes in UTF-8")
    return name


def check_local_name(name: object, *, windows: bool = os.name == "nt") -> str:
    """``name``, if a file of that name can be written into a folder here, and nowhere else."""
    checked = check_name(name)
    if windows:
        if _NOT_ON_WINDOWS.search(checked) or checked[-1] in ". ":
            raise _refused(checked, "has characters that Windows does not allow, or gives a meaning", local=True)
        if _DEVICE.fullmatch(checked):
            raise _refused(checked, "is a device's on Windows", local=True)
    return checked


def _refused(name: str, reason: str, *, local: bool = False) -> InvalidInput:
    hint = f"It is 1 to {LONGEST} bytes of UTF-8 without '/' and control characters, not '.', and not ending in '..'."
    return InvalidInput(
        f"The file name {name[:_SHOWN]!r} {reason}.", hint="Choose another with save_as=." if local else hint
    )
