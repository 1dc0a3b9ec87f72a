"""The server's events as typed values: what ``session.events()`` yields. See :mod:`neko_trio.protocol.events`."""

from __future__ import annotations

from neko_trio._ports.bus import Dropped, Subscription
from neko_trio.protocol import events as _events
from neko_trio.protocol.events import *  # noqa: F403 - the list of events is kept in one place

__all__ = [name for name in [*_events.__all__, "Dropped", "Subscription"]]  # noqa: C416, PLE0605 - see above
