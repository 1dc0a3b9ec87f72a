"""How large the pictures are that a VP9 packet says it holds: libvpx allocates what a header says before it looks on.

FFmpeg's ``max_pixels`` comes too late for it: a header of 60 bytes that says 65,536 by 65,536 costs gigabytes and
seconds. (Its other decoders look before they allocate.) References: VP9 bitstream specification, §6.2, annex B.
"""

from __future__ import annotations

from neko_trio.media.depayload.payload import BadPayload

__all__ = ["bounded_vp9"]

_RGB = 7


def bounded_vp9(data: bytes, most_pixels: int) -> bytes:
    """``data``, if no frame in it says that it has more pixels; ready for libvpx, which then finds no other in it.

    Raises :class:`BadPayload`.
    """
    sizes = _superframe(data)
    if sizes is None:
        # Without an index libvpx takes what lies behind a frame for the next one.
        sizes = [len(data)]
        data += b"\xd8" + len(data).to_bytes(4, "little") + b"\xd8"
    at = 0
    for size in sizes:
        if _pixels(data[at : at + size]) > most_pixels:
            raise BadPayload(f"VP9 frame of more than {most_pixels} pixels")
        at += size
    return data


def _superframe(data: bytes) -> list[int] | None:
    """The sizes of a superframe's frames, ``None`` where no index says them (annex B.2)."""
    marker = data[-1] if data else 0
    count, magnitude = (marker & 7) + 1, (marker >> 3 & 3) + 1
    length = 2 + count * magnitude
    if marker & 0xE0 != 0xC0 or len(data) < length or data[-length] != marker:
        return None
    entries = data[-length + 1 : -1]
    return [int.from_bytes(entries[at : at + magnitude], "little") for at in range(0, len(entries), magnitude)]


class _Bits:
    """Reads a header's bits; behind its end they are 0."""

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data[:_LONGEST].ljust(_LONGEST, b"\0"), "big")
        self._left = 8 * _LONGEST

    def __call__(self, count: int = 1) -> int:
        self._left -= count
        return self._bits >> self._left & (1 << count) - 1


_LONGEST = 20  # bytes up to a frame's size, whatever stands before it


def _pixels(frame: bytes) -> int:
    """How many a frame says it has; 0 where it says it has as many as another, or is none."""
    read = _Bits(frame)
    if read(2) != 2:
        return 0
    profile = read() | read() << 1
    if profile == 3:
        read()
    if read():  # show_existing_frame
        return 0
    inter, shown, resilient = read(), read(), read()
    if inter:
        intra_only = 0 if shown else read()
        if not resilient:
            read(2)
        if not intra_only:
            read(8)
            for _ in range(3):
                read(4)
            return 0 if any(read() for _ in range(3)) else _size(read)
        read(24)
        if profile:
            _skip_colours(read, profile)
        read(8)
    else:
        read(24)
        _skip_colours(read, profile)
    return _size(read)


def _skip_colours(read: _Bits, profile: int) -> None:
    if profile >= 2:
        read()
    if read(3) != _RGB:
        read(4 if profile & 1 else 1)
    elif profile & 1:
        read()


def _size(read: _Bits) -> int:
    return (read(16) + 1) * (read(16) + 1)
