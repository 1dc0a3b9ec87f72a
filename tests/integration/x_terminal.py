"""Runs in an XTerm: takes the keyboard focus, and hands on what is typed there, byte by byte, to a socket.

    DISPLAY=:99 xterm -e python x_terminal.py PORT

It says ``ready`` and a line feed first. It ends with the socket. Xlib through ctypes: no package beyond libX11.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import socket
import sys
import threading
import time
import tty
from typing import Any

VIEWABLE = 2  # X.h: IsViewable
PATIENCE = 10.0


class Attributes(ctypes.Structure):
    """``XWindowAttributes`` of Xlib.h."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("x", "y", "width", "height", "border_width", "depth")),
        ("visual", ctypes.c_void_p),
        ("root", ctypes.c_ulong),
        *((name, ctypes.c_int) for name in ("class", "bit_gravity", "win_gravity", "backing_store")),
        *((name, ctypes.c_ulong) for name in ("backing_planes", "backing_pixel")),
        ("save_under", ctypes.c_int),
        ("colormap", ctypes.c_ulong),
        *((name, ctypes.c_int) for name in ("map_installed", "map_state")),
        *((name, ctypes.c_long) for name in ("all_event_masks", "your_event_mask", "do_not_propagate_mask")),
        ("override_redirect", ctypes.c_int),
        ("screen", ctypes.c_void_p),
    )


def focus(window: int) -> None:
    """Have the keyboard's focus; returns when X has given it."""
    found = ctypes.util.find_library("X11")
    if found is None:
        raise SystemExit("libX11 is not installed")
    x11: Any = ctypes.CDLL(found)
    x11.XOpenDisplay.restype = pointer = ctypes.c_void_p
    x11.XGetWindowAttributes.argtypes = (pointer, ctypes.c_ulong, pointer)
    x11.XSetInputFocus.argtypes = (pointer, ctypes.c_ulong, ctypes.c_int, ctypes.c_ulong)
    x11.XSync.argtypes = (pointer, ctypes.c_int)
    display = x11.XOpenDisplay(None)
    attributes = Attributes()
    end = time.monotonic() + PATIENCE
    while attributes.map_state != VIEWABLE:
        if time.monotonic() > end:
            raise SystemExit("the window did not come up")
        x11.XGetWindowAttributes(display, window, ctypes.byref(attributes))
        time.sleep(0.02)  # another process: nothing here to be woken by
    x11.XSetInputFocus(display, window, 1, 0)
    x11.XSync(display, 0)


def main() -> None:
    tty.setraw(0)
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as told:
        focus(int(os.environ["WINDOWID"]))
        told.sendall(b"ready\n")
        threading.Thread(target=_end_with, args=(told,), daemon=True).start()
        while data := os.read(0, 65536):
            told.sendall(data)


def _end_with(told: socket.socket) -> None:
    told.recv(1)
    os._exit(0)


if __name__ == "__main__":
    main()
