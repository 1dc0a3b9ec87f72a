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

if TYPE_CHECKING:
    from neko_trio._session import Session, open_session
    from neko_trio._state import State
    from neko_trio._statistics import Statistics
    from neko_trio._timeline import Timeline
    from neko_trio.errors import (
        CallerError,
        ConnectionRejected,
        ConnectTimeout,
        ControlLocked,
        ControlLost,
        HostTaken,
        IceFailed,
        InputInDoubt,
        InvalidInput,
        Kicked,
        LoginRefused,
        MediaThreadLost,
        NekoError,
        NetworkError,
        NoOffer,
        NotAllowed,
        NotNeko,
        ProtocolViolation,
        Replaced,
        ServerError,
        ServerUnreachable,
        SessionClosed,
        SessionLost,
        UnsupportedCodec,
        VideoOff,
        VideoStalled,
    )
    from neko_trio.media.frames import Frame
    from neko_trio.media.peer_api import CandidatePair, IceOptions, PeerStatistics

# In the order a newcomer meets them.
__all__ = [
    "CallerError",
    "CandidatePair",
    "ConnectTimeout",
    "ConnectionRejected",
    "ControlLocked",
    "ControlLost",
    "Frame",
    "HostTaken",
    "IceFailed",
    "IceOptions",
    "InputInDoubt",
    "InvalidInput",
    "Kicked",
    "LoginRefused",
    "MediaThreadLost",
    "NekoError",
    "NetworkError",
    "NoOffer",
    "NotAllowed",
    "NotNeko",
    "PeerStatistics",
    "ProtocolViolation",
    "Replaced",
    "ServerError",
    "ServerUnreachable",
    "Session",
    "SessionClosed",
    "SessionLost",
    "State",
    "Statistics",
    "Timeline",
    "UnsupportedCodec",
    "VideoOff",
    "VideoStalled",
    "open_session",
]  # fmt: skip

_HOMES = {
    "open_session": "neko_trio._session",
    "Session": "neko_trio._session",
    "Frame": "neko_trio.media.frames",
    "Timeline": "neko_trio._timeline",
    "State": "neko_trio._state",
    "Statistics": "neko_trio._statistics",
    "PeerStatistics": "neko_trio.media.peer_api",
    "CandidatePair": "neko_trio.media.peer_api",
    "IceOptions": "neko_trio.media.peer_api",
}


def __getattr__(name: str) -> Any:
    # Lazily, because the neko-trio command and pytest's plugin import this package before they know what they need.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES.get(name, "neko_trio.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
