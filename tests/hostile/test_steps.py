"""Every deed at every step of the handshake: silence, a trickle, an end, a reset, nonsense."""

from __future__ import annotations

import pytest

from neko_trio.errors import (
    ConnectTimeout,
    IceFailed,
    NekoError,
    NoOffer,
    NotNeko,
    ServerUnreachable,
)
from tests.hostile.judge import in_time, meet
from tests.hostile.servers import DEEDS, HostileNeko

ENDS = {"close", "close_half_way", "reset"}
LATE = {"say_nothing": 0, "trickle": 1}

EXPECTED: dict[str, dict[str, type[NekoError]]] = {
    "login": {"say_nothing": ConnectTimeout, "trickle": ConnectTimeout, "babble": NotNeko},
    "upgrade": {"say_nothing": ConnectTimeout, "trickle": ConnectTimeout, "babble": NotNeko},
    "init": {"say_nothing": NotNeko, "trickle": NotNeko, "babble": ServerUnreachable},
    "offer": {"say_nothing": NoOffer, "trickle": NoOffer, "babble": ServerUnreachable},
    "answered": {"say_nothing": IceFailed, "trickle": IceFailed, "babble": ServerUnreachable},
}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("step", EXPECTED)
async def test_each_step_has_its_error(step: str, deed: str) -> None:
    expected = EXPECTED[step].get(deed, ServerUnreachable)
    server = HostileNeko({step: DEEDS[deed]})
    timeout = 0.25 if deed in LATE else 2
    async with server.served() as served, in_time(6):
        # With a token the unanswered offer has to be answered on the way out, which is one thing more to go wrong.
        error = await meet(served.url, token=step == "offer", connect_timeout=timeout)
    assert type(error) is expected, repr(error)
    assert deed in LATE or error.hint is not None or error.retryable


@pytest.mark.parametrize("deed", DEEDS)
async def test_a_logout_that_goes_wrong_is_not_the_error(deed: str) -> None:
    server = HostileNeko({"logout": DEEDS[deed]})
    async with server.served() as served, in_time(6):
        error = await meet(served.url, connect_timeout=2)
    assert isinstance(error, IceFailed)
    assert "signal/close" in str(error)
    assert server.logouts == 1
