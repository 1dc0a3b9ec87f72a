"""What goes into a clipboard and comes out of it, none of which shows in a repr or an error."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import trio

from neko_trio.errors import InvalidInput

STEP = "clipboard"

LONGEST = 4 * 2**20
"""Bytes of UTF-8 that are written: the server tells them back in one WebSocket message, escaped."""


@dataclass(frozen=True, slots=True)
class ClipboardUpdate:
    """The clipboard has new content."""

    text: str
    """Its text. What owns it may answer with other bytes, such as HTML or a picture: those are shown as text."""
    own: bool
    """Whether this session wrote it, and not a program of the desktop."""

    def __repr__(self) -> str:
        return f"ClipboardUpdate({len(self.text)} characters, own={self.own})"


@dataclass(frozen=True, slots=True)
class Content:
    """What ``GET /api/room/clipboard`` says."""

    text: str = ""
    html: str = ""

    def __repr__(self) -> str:
        return f"Content({len(self.text)} characters of text, {len(self.html)} of HTML)"


class Body:
    """What comes, in memory, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.content = bytearray()
        self._limit = limit

    def begin(self, size: int | None) -> None:
        self._check(size or 0)

    async def write(self, chunk: bytes) -> None:
        self._check(len(self.content) + len(chunk))
        self.content += chunk
        await trio.lowlevel.checkpoint()

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise InvalidInput(
                f"The clipboard holds more than limit={self._limit} bytes.", hint="Give a higher limit.", step=STEP
            )


def checked(text: str) -> str:
    if not isinstance(text, str):
        raise InvalidInput(f"A clipboard holds a str, not {type(text).__name__}.", step=STEP)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput("The text has half of a surrogate pair: it is no Unicode text.", step=STEP) from None
    if size > LONGEST:
        raise InvalidInput(f"A text for the clipboard has at most {LONGEST} bytes, not {size}.", step=STEP)
    return text


def digest(text: str) -> bytes:
    """Stands for a text that is not to be kept."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
