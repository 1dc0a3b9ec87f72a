"""The pointer: where it is and what it looks like.

The server tells both over the data channel: the picture to everyone, whenever it changes, the place to everyone but the
host, once for each move of the host's (not for those of programs); so as host we go by our own moves (neko-protocol.md,
§4; ``internal/webrtc/peer.go``).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from neko_trio.desktop.pixels import Pixel, Size
from neko_trio.errors import ProtocolViolation
from neko_trio.protocol import Malformed
from neko_trio.protocol.data_channel import (
    ClientMessage,
    CursorImage,
    CursorPosition,
    Move,
    TouchBegin,
    TouchEnd,
    TouchUpdate,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SIDE = 512
"""Pixels of a cursor's picture in one direction. X's are 16 to 96 as a rule; a hostile one would cost memory."""

MOST_BYTES = 4 * MOST_SIDE * MOST_SIDE + 4096
"""Of its file: that of a picture that cannot be compressed at all."""

AT_ONCE = 96 * 96
"""Pixels that are decoded in less than a millisecond, so not worth a thread."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""Chunks that say what a pixel looks like; in any other a hostile file could hide what grows when it is unpacked."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The pointer as it is now."""

    position: Pixel
    """(x, y) of the pixel that it points at, in pixels of the screen."""
    size: tuple[int, int]
    """(width, height) of its picture in px."""
    hotspot: tuple[int, int]
    """(x, y) of the pixel of its picture that is at :attr:`position`."""
    png: bytes = field(repr=False)
    """Its picture, a PNG file, mostly transparent."""


class CursorPort:
    """What is known of the pointer. One per session; trio thread."""

    def __init__(self, screen: Callable[[], Size]) -> None:
        """``screen``: how large the screen is now."""
        self._screen = screen
        self._position: Pixel | None = None
        self._image: CursorImage | None = None
        self._pixels: NDArray[np.uint8] | None = None
        self._fingers: set[int] = set()
        self._leading: int | None = None

    @property
    def screen(self) -> Size:
        """How large the screen is now."""
        return self._screen()

    @property
    def position(self) -> Pixel | None:
        """Where it is, in pixels of the screen, ``None`` before the first word of it."""
        if self._position is None:
            return None
        screen = self._screen()  # a smaller one has pushed the pointer inside
        return min(self._position[0], screen.width - 1), min(self._position[1], screen.height - 1)

    @property
    def now(self) -> Cursor | None:
        """The pointer, once both its place and its picture are known."""
        position, image = self.position, self._image
        if position is None or image is None:
            return None
        return Cursor(position, (image.width, image.height), (image.hotspot_x, image.hotspot_y), image.image)

    def on_position(self, event: CursorPosition) -> None:
        """The server says where it is."""
        self._position = event.x, event.y

    def on_image(self, event: CursorImage) -> None:
        """The server says what it looks like. Raises :class:`Malformed` for a picture that is not to be trusted."""
        check_image(event)
        if event != self._image:
            self._image, self._pixels = event, None

    def on_sent(self, plan: Iterable[ClientMessage]) -> None:
        """This session's own input has left.

        The pointer goes with the finger that came down first, as long as that one is down (X's pointer emulation, seen:
        the next one comes when none is down any more).
        """
        for message in plan:
            match message:
                case Move(x, y):
                    self._position = x, y
                case TouchBegin(touch_id, x, y) | TouchUpdate(touch_id, x, y) | TouchEnd(touch_id, x, y):
                    if isinstance(message, TouchBegin):
                        self._leading = self._leading if self._fingers else touch_id
                        self._fingers.add(touch_id)
                    if touch_id == self._leading:
                        self._position = x, y
                    if isinstance(message, TouchEnd):
                        self._fingers.discard(touch_id)
                        self._leading = None if touch_id == self._leading else self._leading
                case _:
                    pass

    async def pixels(self) -> tuple[NDArray[np.uint8], Pixel] | None:
        """Its picture, (height, width, 4) uint8 RGBA, and the place of that one's upper left corner on the screen.

        ``None`` while it is unknown. Decoded once, a large one in a worker thread. Raises
        :class:`~neko_trio.errors.ProtocolViolation` when the picture cannot be decoded. A checkpoint; cancelling is
        safe.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        image, position, pixels = self._image, self.position, self._pixels
        if image is None or position is None:
            return None
        if pixels is None:
            if image.width * image.height <= AT_ONCE:
                pixels = decode(image)
            else:
                pixels = await trio.to_thread.run_sync(decode, image)
            if image is self._image:
                self._pixels = pixels
        return pixels, (position[0] - image.hotspot_x, position[1] - image.hotspot_y)


def check_image(event: CursorImage) -> None:
    """Raise :class:`Malformed` unless it is a PNG file of the size announced, and of a sensible one."""
    if not (1 <= event.width <= MOST_SIDE and 1 <= event.height <= MOST_SIDE):
        raise Malformed(f"cursor image: {event.width}x{event.height} is no size of a cursor")
    if event.hotspot_x > event.width or event.hotspot_y > event.height:
        raise Malformed("cursor image: its hot spot is outside")
    if len(event.image) > MOST_BYTES:
        raise Malformed(f"cursor image: {len(event.image)} bytes are too many")
    # A PNG begins with its signature and a chunk of 13 bytes, which begins with its size (W3C PNG, §5.2, §11.2.1).
    if event.image[:16] != _SIGNATURE + struct.pack(">I4s", 13, b"IHDR"):
        raise Malformed("cursor image: not a PNG file")
    if event.image[16:24] != struct.pack(">II", event.width, event.height):
        raise Malformed("cursor image: its file has another size")


def decode(event: CursorImage) -> NDArray[np.uint8]:
    """(height, width, 4) uint8 RGBA. Any thread. Raises :class:`~neko_trio.errors.ProtocolViolation`."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(_bare(event.image)), formats=("PNG",)) as image:
            if image.size != (event.width, event.height):
                raise ValueError("another size")
            return np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise ProtocolViolation(
            f"The server's picture of the pointer cannot be decoded: {type(error).__name__}.", step="cursor"
        ) from error


def _bare(png: bytes) -> bytes:
    """The file with nothing in it but the chunks that are needed."""
    parts: Sequence[bytes] = [_SIGNATURE, *_chunks(png)]
    return b"".join(parts)


def _chunks(png: bytes) -> Iterable[bytes]:
    at = len(_SIGNATURE)
    while at + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        end = at + 12 + length  # its length, its kind, its data, its checksum
        if kind in _NEEDED:
            yield png[at:end]
        at = end
