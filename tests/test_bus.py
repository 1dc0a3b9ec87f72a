"""The event bus: what a caller gives it cannot hurt the reader that publishes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from neko_trio._ports.bus import EventBus
from neko_trio.errors import InvalidInput


@pytest.mark.parametrize("pattern", [None, 7, b"control/*", ["control/*"]])
def test_what_is_no_pattern_is_refused_where_it_is_given(pattern: Any) -> None:
    bus: EventBus[str] = EventBus()
    with pytest.raises(InvalidInput, match="pattern"), bus.subscribe(pattern, 1):
        bus.publish("control/host", "event")
    with pytest.raises(InvalidInput, match="pattern"), bus.expect(pattern):
        bus.publish("control/host", "event")
    bus.publish("control/host", "event")


@pytest.mark.parametrize("buffer", [0, -1, 1.5, math.nan, math.inf, True, "5", None])
def test_a_buffer_is_a_bound(buffer: Any) -> None:
    bus: EventBus[str] = EventBus()
    with pytest.raises(InvalidInput, match="buffer"), bus.subscribe("*", buffer):
        raise AssertionError
