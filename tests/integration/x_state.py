"""What an X server itself says is pressed. Xlib through ctypes: no package beyond libX11."""

from __future__ import annotations

import ctypes
import ctypes.util

BUTTONS_SHIFT, FIVE_BUTTONS = 8, 0x1F


class XState:
    """A connection to the display that a real server drives (``":420"``)."""

    def __init__(self, display: str) -> None:
        self._x = x = ctypes.CDLL(ctypes.util.find_library("X11"))
        x.XOpenDisplay.restype, x.XOpenDisplay.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
        x.XDefaultRootWindow.restype, x.XDefaultRootWindow.argtypes = ctypes.c_ulong, [ctypes.c_void_p]
        x.XQueryKeymap.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        x.XQueryPointer.argtypes = [ctypes.c_void_p, ctypes.c_ulong, *[ctypes.c_void_p] * 7]
        x.XCloseDisplay.argtypes = [ctypes.c_void_p]
        self._display = x.XOpenDisplay(display.encode())
        assert self._display, f"no X server answers at {display}"

    def pressed(self) -> tuple[int, int]:
        """How many keys and how many buttons are down now."""
        keys = ctypes.create_string_buffer(32)
        self._x.XQueryKeymap(self._display, keys)
        root, child, mask = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_uint()
        places = [ctypes.c_int() for _ in range(4)]
        self._x.XQueryPointer(
            self._display,
            self._x.XDefaultRootWindow(self._display),
            *map(ctypes.byref, (root, child, *places, mask)),
        )
        return sum(byte.bit_count() for byte in keys.raw), (mask.value >> BUTTONS_SHIFT & FIVE_BUTTONS).bit_count()

    def close(self) -> None:
        """Leave the display."""
        self._x.XCloseDisplay(self._display)
