"""Drive Neko v3 remote desktops from trio: a session is a nursery.

::

    async with neko_trio.open_session("http://desk:8080", username="agent", password=...) as session:
        async with session.control():
            await session.mouse.click(640, 360)
            await session.keyboard.type("hello")
            await session.flush()
        frame = await session.screen.frame()
        await frame.save("screen.png")

Importing this package loads neither av nor aiortc; the first ``open_session`` does, before it dials.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from neko_trio import errors
from neko_trio.errors import *  # noqa: F403 - the list of errors is kept in one place

if TYPE_CHECKING:
    from neko_trio._ports.audio import AudioBlock
    from neko_trio._reconnect import Reconnect
    from neko_trio._session import Session, open_session
    from neko_trio._state import State
    from neko_trio._statistics import Statistics
    from neko_trio._timeline import Timeline
    from neko_trio.audio.microphone import Microphone
    from neko_trio.desktop.clipboard_values import ClipboardUpdate
    from neko_trio.desktop.cursor import Cursor
    from neko_trio.desktop.key_map import Layout
    from neko_trio.desktop.looking import Change, Match
    from neko_trio.media.frames import Frame
    from neko_trio.media.peer_api import CandidatePair, IceOptions, PeerStatistics
    from neko_trio.media.video_statistics import VideoStatistics
    from neko_trio.room.values import Member

__all__ = [  # noqa: RUF022 - in the order a newcomer meets them
    "open_session",
    "Session",
    "Frame",
    "Change",
    "Match",
    "Cursor",
    "AudioBlock",
    "Microphone",
    "Layout",
    "ClipboardUpdate",
    "Member",
    "State",
    "Timeline",
    "Statistics",
    "PeerStatistics",
    "VideoStatistics",
    "CandidatePair",
    "IceOptions",
    "Reconnect",
]
__all__ += errors.__all__

_HOMES = {
    "open_session": "neko_trio._session",
    "Session": "neko_trio._session",
    "Reconnect": "neko_trio._reconnect",
    "Frame": "neko_trio.media.frames",
    "Change": "neko_trio.desktop.looking",
    "Match": "neko_trio.desktop.looking",
    "Cursor": "neko_trio.desktop.cursor",
    "AudioBlock": "neko_trio._ports.audio",
    "Microphone": "neko_trio.audio.microphone",
    "Layout": "neko_trio.desktop.key_map",
    "ClipboardUpdate": "neko_trio.desktop.clipboard_values",
    "Member": "neko_trio.room.values",
    "State": "neko_trio._state",
    "Timeline": "neko_trio._timeline",
    "Statistics": "neko_trio._statistics",
    "PeerStatistics": "neko_trio.media.peer_api",
    "VideoStatistics": "neko_trio.media.video_statistics",
    "CandidatePair": "neko_trio.media.peer_api",
    "IceOptions": "neko_trio.media.peer_api",
}


def __getattr__(name: str) -> Any:
    # Lazily, because the neko-trio command and pytest's plugin import this package before they know what they need.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
