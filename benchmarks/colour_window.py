"""An X client of a few lines: a window that paints itself in the next colour whenever a key or a button is pressed.

    DISPLAY=:99 python colour_window.py [--delay MS]

It says ``ready`` on its standard output, then for each of them when it had painted (seconds of
``time.perf_counter``, one clock for all processes of a Linux machine), and runs until it is ended or its input closes.
Xlib through ctypes: no package beyond libX11. ``--delay`` makes it a slow program. The colours follow each other in the
order of :data:`PALETTE`, the first one stands there before any of them.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import sys
import threading
import time

PALETTE = ((255, 0, 0), (0, 160, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255))
"""Far enough from each other to be told apart after a video codec has had them."""

BOX = (100, 100, 400, 300)
"""The window on the screen: left, top, width, height in px."""

KEY_PRESS, BUTTON_PRESS = 2, 4  # X.h
KEY_PRESS_MASK, BUTTON_PRESS_MASK = 1, 1 << 2
OVERRIDE_REDIRECT = 1 << 9
GRAB_MODE_ASYNC = 1
CURRENT_TIME = 0


class SetWindowAttributes(ctypes.Structure):
    """``XSetWindowAttributes`` of Xlib.h."""

    _fields_ = (
        ("background_pixmap", ctypes.c_ulong),
        ("background_pixel", ctypes.c_ulong),
        ("border_pixmap", ctypes.c_ulong),
        ("border_pixel", ctypes.c_ulong),
        ("bit_gravity", ctypes.c_int),
        ("win_gravity", ctypes.c_int),
        ("backing_store", ctypes.c_int),
        ("backing_planes", ctypes.c_ulong),
        ("backing_pixel", ctypes.c_ulong),
        ("save_under", ctypes.c_int),
        ("event_mask", ctypes.c_long),
        ("do_not_propagate_mask", ctypes.c_long),
        ("override_redirect", ctypes.c_int),
        ("colormap", ctypes.c_ulong),
        ("cursor", ctypes.c_ulong),
    )


def pixel(colour: tuple[int, int, int]) -> int:
    """A colour as a TrueColor display wants it."""
    red, green, blue = colour
    return red << 16 | green << 8 | blue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.0, metavar="MS", help="how long it thinks before it paints")
    delay = parser.parse_args().delay / 1000
    library = ctypes.util.find_library("X11")
    if library is None:
        raise SystemExit("libX11 is not installed")
    x11 = ctypes.CDLL(library)
    x11.XOpenDisplay.restype = display_t = ctypes.c_void_p
    x11.XDefaultRootWindow.restype = x11.XCreateSimpleWindow.restype = window_t = ctypes.c_ulong
    for name in ("XDefaultRootWindow", "XSync", "XCloseDisplay"):
        getattr(x11, name).argtypes = (display_t,) if name != "XSync" else (display_t, ctypes.c_int)
    edges = (ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
    x11.XCreateSimpleWindow.argtypes = (display_t, window_t, *edges, ctypes.c_ulong, ctypes.c_ulong)
    x11.XChangeWindowAttributes.argtypes = (display_t, window_t, ctypes.c_ulong, ctypes.POINTER(SetWindowAttributes))
    x11.XSelectInput.argtypes = (display_t, window_t, ctypes.c_long)
    x11.XMapRaised.argtypes = x11.XClearWindow.argtypes = (display_t, window_t)
    x11.XSetWindowBackground.argtypes = (display_t, window_t, ctypes.c_ulong)
    x11.XGrabKeyboard.argtypes = (display_t, window_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ulong)
    x11.XNextEvent.argtypes = (display_t, ctypes.c_void_p)

    display = x11.XOpenDisplay(None)
    if not display:
        raise SystemExit("no X display there: set DISPLAY")
    left, top, width, height = BOX
    window = x11.XCreateSimpleWindow(
        display, x11.XDefaultRootWindow(display), left, top, width, height, 0, 0, pixel(PALETTE[0])
    )
    attributes = SetWindowAttributes(override_redirect=1)  # the window manager keeps its hands off
    x11.XChangeWindowAttributes(display, window, OVERRIDE_REDIRECT, ctypes.byref(attributes))
    x11.XSelectInput(display, window, KEY_PRESS_MASK | BUTTON_PRESS_MASK)
    x11.XMapRaised(display, window)
    x11.XSync(display, 0)
    if x11.XGrabKeyboard(display, window, 1, GRAB_MODE_ASYNC, GRAB_MODE_ASYNC, CURRENT_TIME):
        raise SystemExit("another program holds the keyboard")
    event = (ctypes.c_long * 24)()  # XEvent: the largest of a union, its first member an int that says which
    threading.Thread(target=_end_with_input, daemon=True).start()
    print("ready", flush=True)
    presses = 0
    while True:
        x11.XNextEvent(display, event)
        if ctypes.cast(event, ctypes.POINTER(ctypes.c_int))[0] in (KEY_PRESS, BUTTON_PRESS):
            presses += 1
            time.sleep(delay)
            x11.XSetWindowBackground(display, window, pixel(PALETTE[presses % len(PALETTE)]))
            x11.XClearWindow(display, window)
            x11.XSync(display, 0)
            print(time.perf_counter(), flush=True)


def _end_with_input() -> None:
    """Whoever started this has ended: so does this."""
    sys.stdin.read()
    import os

    os._exit(0)


if __name__ == "__main__":
    main()
