"""The server's events as typed values: what ``session.events()`` yields. See :mod:`neko_trio.protocol.events`."""

from __future__ import annotations

from neko_trio._ports import bus as _bus
from neko_trio._ports import expectation as _expectation
from neko_trio.protocol import events as _events
from neko_trio.protocol.events import *  # noqa: F403 - the list of events is kept in one place

Dropped = _bus.Dropped
Expectation = _expectation.Expectation
Subscription = _bus.Subscription

__all__ = [*_events.__all__, "Dropped", "Expectation", "Subscription"]
