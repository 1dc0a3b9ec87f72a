"""An X client of a few lines: a window that tells what X sends it of pointer and touch, as lines of JSON.

    DISPLAY=:99 python x_window.py LEFT TOP WIDTH HEIGHT [--touch]

It says ``"ready"`` once it is on the screen, then ``[kind, detail, x, y, state, time]`` for each event: ``down`` and
``up`` with the button, ``move`` with 0; or, with ``--touch``, ``move``, and ``begin``, ``update`` and ``end`` with the
touch's id (without, X shows touches as the mouse). Positions are the screen's, ``state`` is X's mask of modifiers and
buttons, ``time`` is in X's milliseconds. It ends with its input. Xlib through ctypes: no package beyond libX11 and, for
touch, libXi.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import sys
import threading
from typing import Any

KINDS = {4: "down", 5: "up", 6: "move"}  # X.h: ButtonPress, ButtonRelease, MotionNotify
TOUCH_KINDS = {18: "begin", 19: "update", 20: "end"}  # XI2.h
GENERIC_EVENT = 35
BUTTON_MASKS, MOTION_MASK = 1 << 2 | 1 << 3, 1 << 6
OVERRIDE_REDIRECT = 1 << 9
ALL_MASTER_DEVICES = 1


class Attributes(ctypes.Structure):
    """``XSetWindowAttributes`` of Xlib.h."""

    _fields_ = (
        *(
            (name, ctypes.c_ulong)
            for name in ("background_pixmap", "background_pixel", "border_pixmap", "border_pixel")
        ),
        *((name, ctypes.c_int) for name in ("bit_gravity", "win_gravity", "backing_store")),
        *((name, ctypes.c_ulong) for name in ("backing_planes", "backing_pixel")),
        ("save_under", ctypes.c_int),
        *((name, ctypes.c_long) for name in ("event_mask", "do_not_propagate_mask")),
        ("override_redirect", ctypes.c_int),
        *((name, ctypes.c_ulong) for name in ("colormap", "cursor")),
    )


class Event(ctypes.Structure):
    """``XButtonEvent`` of Xlib.h, padded to an ``XEvent``; ``XMotionEvent`` differs behind ``state`` alone."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        *((name, ctypes.c_ulong) for name in ("window", "root", "subwindow", "time")),
        *((name, ctypes.c_int) for name in ("x", "y", "x_root", "y_root")),
        *((name, ctypes.c_uint) for name in ("state", "button")),
        ("padding", ctypes.c_long * 24),
    )


class Cookie(ctypes.Structure):
    """``XGenericEventCookie`` of Xlib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("extension", "evtype")),
        ("cookie", ctypes.c_uint),
        ("data", ctypes.c_void_p),
    )


class DeviceEvent(ctypes.Structure):
    """The beginning of ``XIDeviceEvent`` of XInput2.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("extension", "evtype")),
        ("time", ctypes.c_ulong),
        *((name, ctypes.c_int) for name in ("deviceid", "sourceid", "detail")),
        *((name, ctypes.c_ulong) for name in ("root", "event", "child")),
        *((name, ctypes.c_double) for name in ("root_x", "root_y")),
    )


class EventMask(ctypes.Structure):
    """``XIEventMask`` of XInput2.h."""

    _fields_ = (("deviceid", ctypes.c_int), ("mask_len", ctypes.c_int), ("mask", ctypes.c_char_p))


def library(name: str) -> Any:
    found = ctypes.util.find_library(name)
    if found is None:
        raise SystemExit(f"lib{name} is not installed")
    return ctypes.CDLL(found)


def main() -> None:
    box, touch = [int(argument) for argument in sys.argv[1:5]], "--touch" in sys.argv
    x11 = library("X11")
    x11.XOpenDisplay.restype = pointer = ctypes.c_void_p
    x11.XDefaultRootWindow.restype = x11.XCreateSimpleWindow.restype = number = ctypes.c_ulong
    x11.XDefaultRootWindow.argtypes = (pointer,)
    x11.XSync.argtypes = (pointer, ctypes.c_int)
    sizes = (ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint)
    x11.XCreateSimpleWindow.argtypes = (pointer, number, *sizes, number, number)
    x11.XChangeWindowAttributes.argtypes = (pointer, number, number, pointer)
    x11.XSelectInput.argtypes = (pointer, number, ctypes.c_long)
    x11.XMapRaised.argtypes = (pointer, number)
    x11.XNextEvent.argtypes = x11.XGetEventData.argtypes = x11.XFreeEventData.argtypes = (pointer, pointer)

    display = x11.XOpenDisplay(None)
    if not display:
        raise SystemExit("no X display there: set DISPLAY")
    window = x11.XCreateSimpleWindow(display, x11.XDefaultRootWindow(display), *box, 0, 0, 0x3355AA)
    attributes = Attributes(override_redirect=1)  # the window manager keeps its hands off
    x11.XChangeWindowAttributes(display, window, OVERRIDE_REDIRECT, ctypes.byref(attributes))
    x11.XSelectInput(display, window, MOTION_MASK if touch else MOTION_MASK | BUTTON_MASKS)
    if touch:
        xi = library("Xi")
        xi.XIQueryVersion.argtypes = (pointer, pointer, pointer)
        xi.XISelectEvents.argtypes = (pointer, number, pointer, ctypes.c_int)
        major, minor = ctypes.c_int(2), ctypes.c_int(2)
        xi.XIQueryVersion(display, ctypes.byref(major), ctypes.byref(minor))
        bits = bytearray(3)
        for kind in TOUCH_KINDS:
            bits[kind // 8] |= 1 << kind % 8
        mask = EventMask(ALL_MASTER_DEVICES, len(bits), bytes(bits))
        xi.XISelectEvents(display, window, ctypes.byref(mask), 1)
    x11.XMapRaised(display, window)
    x11.XSync(display, 0)
    threading.Thread(target=_end_with_input, daemon=True).start()
    say("ready")
    event = Event()
    while True:
        x11.XNextEvent(display, ctypes.byref(event))
        if event.type in KINDS:
            detail = 0 if KINDS[event.type] == "move" else event.button
            say([KINDS[event.type], detail, event.x_root, event.y_root, event.state, event.time])
        elif event.type == GENERIC_EVENT:
            cookie = Cookie.from_buffer(event)
            if x11.XGetEventData(display, ctypes.byref(cookie)):
                told = ctypes.cast(cookie.data, ctypes.POINTER(DeviceEvent)).contents
                if told.evtype in TOUCH_KINDS:
                    say(
                        [
                            TOUCH_KINDS[told.evtype],
                            told.detail,
                            round(told.root_x, 2),
                            round(told.root_y, 2),
                            0,
                            told.time,
                        ]
                    )
                x11.XFreeEventData(display, ctypes.byref(cookie))


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _end_with_input() -> None:
    """Whoever started this has ended: so does this."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
