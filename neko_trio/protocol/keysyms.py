"""X11 keysyms of characters and of key names.

Rules (X11 protocol, appendix A, and the server's behaviour): Latin-1 characters are their code point, all others
``0x01000000`` + code point; named keys are in :mod:`neko_trio.protocol.keysym_table`.
"""

from __future__ import annotations

import re
from functools import cache

from neko_trio.protocol.malformed import Malformed

__all__ = ["char_needs_shift", "char_of_keysym", "keysym_of_char", "keysym_of_name"]

_UNICODE = 0x01000000
_CONTROL = {
    "\b": 0xFF08,  # BackSpace
    "\t": 0xFF09,  # Tab
    "\n": 0xFF0D,  # Return: what a person presses for a new line (Linefeed is another key)
    "\r": 0xFF0D,
    "\x1b": 0xFF1B,  # Escape
    "\x7f": 0xFFFF,  # Delete
}
_SHIFTED = frozenset('ABCDEFGHIJKLMNOPQRSTUVWXYZ~!@#$%^&*()_+{}|:"<>?')
_CODE_POINT = re.compile(r"[Uu]\+?([0-9A-Fa-f]{4,6})", re.ASCII)

# What people call keys, in lower case, without spaces, "-" and "_"; the X11 name they mean.
_ALIASES = {
    "alt": "Alt_L",
    "altgr": "ISO_Level3_Shift",
    "apps": "Menu",
    "arrowdown": "Down",
    "arrowleft": "Left",
    "arrowright": "Right",
    "arrowup": "Up",
    "back": "BackSpace",
    "backspace": "BackSpace",
    "bksp": "BackSpace",
    "break": "Break",
    "caps": "Caps_Lock",
    "capslock": "Caps_Lock",
    "cmd": "Super_L",
    "command": "Super_L",
    "contextmenu": "Menu",
    "control": "Control_L",
    "ctl": "Control_L",
    "ctrl": "Control_L",
    "del": "Delete",
    "delete": "Delete",
    "down": "Down",
    "end": "End",
    "enter": "Return",
    "esc": "Escape",
    "escape": "Escape",
    "home": "Home",
    "hyper": "Hyper_L",
    "ins": "Insert",
    "insert": "Insert",
    "lalt": "Alt_L",
    "lctrl": "Control_L",
    "left": "Left",
    "leftalt": "Alt_L",
    "leftctrl": "Control_L",
    "leftshift": "Shift_L",
    "lshift": "Shift_L",
    "menu": "Menu",
    "meta": "Meta_L",
    "minus": "minus",
    "numlock": "Num_Lock",
    "opt": "Alt_L",
    "option": "Alt_L",
    "pagedown": "Page_Down",
    "pageup": "Page_Up",
    "pause": "Pause",
    "pgdn": "Page_Down",
    "pgdown": "Page_Down",
    "pgup": "Page_Up",
    "plus": "plus",
    "print": "Print",
    "printscreen": "Print",
    "prtsc": "Print",
    "ralt": "Alt_R",
    "rctrl": "Control_R",
    "return": "Return",
    "right": "Right",
    "rightalt": "Alt_R",
    "rightctrl": "Control_R",
    "rightshift": "Shift_R",
    "rshift": "Shift_R",
    "scrolllock": "Scroll_Lock",
    "shift": "Shift_L",
    "space": "space",
    "spacebar": "space",
    "super": "Super_L",
    "sysrq": "Sys_Req",
    "tab": "Tab",
    "up": "Up",
    "volumedown": "XF86AudioLowerVolume",
    "volumemute": "XF86AudioMute",
    "volumeup": "XF86AudioRaiseVolume",
    "win": "Super_L",
    "windows": "Super_L",
}


@cache
def _by_name() -> dict[str, int]:
    from neko_trio.protocol.keysym_table import KEYSYMS  # 2 ms, and only who names keys needs it

    words = KEYSYMS.split()
    return {name: int(value, 16) for name, value in zip(words[::2], words[1::2], strict=True)}


@cache
def _by_folded_name() -> dict[str, int | None]:
    """The names without regard to case; ``None`` where names that differ by case alone mean different keys."""
    found: dict[str, int | None] = {}
    for name, value in _by_name().items():
        folded = name.casefold()
        found[folded] = value if found.get(folded, value) == value else None
    return found


def keysym_of_char(char: str) -> int:
    """The keysym that types ``char``, one character.

    Line ends are Return, the other control characters with a key of their own are that key. Raises :class:`Malformed`
    for the rest of them, for half a surrogate pair, and for anything but one character.
    """
    if len(char) != 1:
        raise Malformed("one character is due")
    point = ord(char)
    if 0x20 <= point <= 0x7E or 0xA0 <= point <= 0xFF:
        return point
    if char in _CONTROL:
        return _CONTROL[char]
    if point < 0xA0 or 0xD800 <= point <= 0xDFFF:
        raise Malformed(f"no key types U+{point:04X}")
    return _UNICODE + point


def char_of_keysym(keysym: int) -> str | None:
    """The character of a keysym by the same rules, ``None`` if it is a key without one. Return is ``None`` too."""
    if 0x20 <= keysym <= 0x7E or 0xA0 <= keysym <= 0xFF:
        return chr(keysym)
    point = keysym - _UNICODE
    # The Unicode form of a Latin-1 character is a keysym too, though not the one X names.
    if 0x20 <= point <= 0x7E or 0xA0 <= point <= 0xD7FF or 0xE000 <= point <= 0x10FFFF:
        return chr(point)
    return None


def keysym_of_name(name: str) -> int:
    """The keysym of a key by name.

    A name is one character (``a``, ``+``, ``é``), an X11 name (``Return``, ``Page_Up``, ``XF86AudioMute``, ``U20AC``,
    with or without ``XK_``), or what people call keys (``ctrl``, ``enter``, ``esc``, ``page up``, ``super``). Names of
    several characters go without regard to case where X11 leaves no doubt: ``Eacute`` and ``eacute`` differ, ``RETURN``
    is ``Return``. Raises :class:`Malformed` for a name that means no key, or more than one.
    """
    if len(name) == 1:
        return keysym_of_char(name)
    exact = _by_name().get(name.removeprefix("XK_"))
    if exact is not None:
        return exact
    alias = _ALIASES.get(re.sub(r"[ _-]", "", name.casefold()))
    if alias is not None:
        return _by_name()[alias]
    code_point = _CODE_POINT.fullmatch(name)
    if code_point and int(code_point[1], 16) <= 0x10FFFF:
        return keysym_of_char(chr(int(code_point[1], 16)))
    folded = name.casefold().removeprefix("xk_")
    found = _by_folded_name().get(folded)
    if found is None:
        raise Malformed(
            "several keys have that name, by case" if folded in _by_folded_name() else "no key of that name"
        )
    return found


def char_needs_shift(char: str) -> bool:
    """Whether ``char`` needs Shift held on the layout ``us``.

    A keysym that the layout gives only with Shift costs the server a spare keycode when it comes without.
    """
    return char in _SHIFTED
