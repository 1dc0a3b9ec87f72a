"""A file that is written here: under another name until it is whole, and not at all unless it becomes so."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import trio

from neko_trio.errors import InvalidInput

CLEANUP = 5.0
"""Seconds that removing half a file may take once its download has ended."""


@asynccontextmanager
async def whole_file(folder: str | os.PathLike[str], name: str, *, overwrite: bool) -> AsyncIterator[BinaryIO]:
    """A new file ``name`` in ``folder``: there, complete and at once, when the block has ended well.

    However else the block ends, nothing is left, and a file of that name that was there before is as it was. Raises
    :class:`InvalidInput` without such a folder, and for a name that is there unless ``overwrite``; ``OSError`` when
    the disk fails. Write to the file in threads.
    """
    final = Path(folder) / name
    file, temporary = await trio.to_thread.run_sync(_create, final, overwrite)
    try:
        yield file
        await trio.to_thread.run_sync(_finish, file, temporary, final, overwrite)
    except BaseException:  # cancelled, too: half a file does not stay
        with trio.move_on_after(CLEANUP, shield=True):
            await trio.to_thread.run_sync(_discard, file, temporary)
        raise


def _create(final: Path, overwrite: bool) -> tuple[BinaryIO, Path]:
    if not final.parent.is_dir():
        raise InvalidInput(f"There is no folder {str(final.parent)!r}.")
    if final.is_dir() or (os.path.lexists(final) and not overwrite):
        raise _exists(final)
    temporary = final.with_name(f".{secrets.token_hex(8)}.neko-trio.part")
    try:
        return open(temporary, "xb"), temporary
    except OSError as error:
        raise InvalidInput(f"Nothing can be written into {str(final.parent)!r}: {error.strerror}.") from error


def _finish(file: BinaryIO, temporary: Path, final: Path, overwrite: bool) -> None:
    file.close()
    if not overwrite:
        try:
            os.link(temporary, final)  # in one step only where nothing is of that name
        except FileExistsError:
            raise _exists(final) from None
        except OSError:
            if os.path.lexists(final):  # no hard links on this file system: a moment remains in between
                raise _exists(final) from None
        else:
            os.unlink(temporary)
            return
    os.replace(temporary, final)


def _discard(file: BinaryIO, temporary: Path) -> None:
    try:
        file.close()  # may fail once more on a full disk
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _exists(final: Path) -> InvalidInput:
    return InvalidInput(
        f"{str(final)!r} is there already.", hint="Give another name with save_as=, or overwrite=True for a file."
    )
