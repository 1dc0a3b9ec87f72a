"""An embedded Neko v3 server with a small desktop.

::

    async with neko_trio.simulator.open_simulator() as simulator:
        ...  # simulator.url, .username, .password, .journal, .person("alice"), .faults
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neko_trio.simulator._desktop import Desktop
    from neko_trio.simulator._faults import Fault, Faults
    from neko_trio.simulator._files import FileDialog, FileOptions
    from neko_trio.simulator._folder import Folder
    from neko_trio.simulator._frame_code import FrameCode, read_frame_code
    from neko_trio.simulator._input_events import (
        ButtonDown,
        ButtonUp,
        ClipboardChanged,
        FilesDropped,
        InputEvent,
        KeyDown,
        KeyUp,
        PointerMoved,
        ScreenResized,
        Touched,
    )
    from neko_trio.simulator._journal import Journal, JournalEntry
    from neko_trio.simulator._limits import Limits
    from neko_trio.simulator._person import Person, PersonRefused
    from neko_trio.simulator._process import SimulatorProcess, open_simulator_process
    from neko_trio.simulator._rest import Cookie
    from neko_trio.simulator._room import Timings
    from neko_trio.simulator._server import open_simulator
    from neko_trio.simulator._simulator import Simulator
    from neko_trio.simulator._small_desktop import SmallDesktop
    from neko_trio.simulator._values import Member, Profile, RoomSettings

__all__ = [
    "ButtonDown",
    "ButtonUp",
    "ClipboardChanged",
    "Cookie",
    "Desktop",
    "Fault",
    "Faults",
    "FileDialog",
    "FileOptions",
    "FilesDropped",
    "Folder",
    "FrameCode",
    "InputEvent",
    "Journal",
    "JournalEntry",
    "KeyDown",
    "KeyUp",
    "Limits",
    "Member",
    "Person",
    "PersonRefused",
    "PointerMoved",
    "Profile",
    "RoomSettings",
    "ScreenResized",
    "Simulator",
    "SimulatorProcess",
    "SmallDesktop",
    "Timings",
    "Touched",
    "open_simulator",
    "open_simulator_process",
    "read_frame_code",
]

_HOMES = {
    "_desktop": ("Desktop",),
    "_faults": ("Fault", "Faults"),
    "_files": ("FileDialog", "FileOptions"),
    "_folder": ("Folder",),
    "_frame_code": ("FrameCode", "read_frame_code"),
    "_input_events": (
        "ButtonDown",
        "ButtonUp",
        "ClipboardChanged",
        "FilesDropped",
        "InputEvent",
        "KeyDown",
        "KeyUp",
        "PointerMoved",
        "ScreenResized",
        "Touched",
    ),
    "_journal": ("Journal", "JournalEntry"),
    "_limits": ("Limits",),
    "_person": ("Person", "PersonRefused"),
    "_process": ("SimulatorProcess", "open_simulator_process"),
    "_rest": ("Cookie",),
    "_room": ("Timings",),
    "_server": ("open_simulator",),
    "_simulator": ("Simulator",),
    "_small_desktop": ("SmallDesktop",),
    "_values": ("Member", "Profile", "RoomSettings"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
