"""Cancelled at every step of its task, on real sockets: nothing stays pressed, and the host role is given back.

The journal of the embedded server proves it: what went down came up, and what was taken was released. With
``--neko-url`` the others in the room see the role come back, and with ``--neko-display`` X says that nothing is down.
The sweep over all calls is in virtual time: ``tests/test_cancel_calls.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

import neko_trio
from neko_trio import Session
from neko_trio.protocol import Malformed, data_channel, requests
from neko_trio.testing import TestServer, open_test_server
from tests.cancelling import cancelled_after
from tests.integration.conftest import unique
from tests.integration.test_control import SOON, Desk, barrier, desk, person, sees_host, x_state
from tests.integration.test_session import data_channel_open

__all__ = ["desk", "x_state"]  # fixtures

pytestmark = pytest.mark.real_time

Scenario = Callable[[Session], Awaitable[object]]


async def click(session: Session) -> None:
    await session.mouse.click(30, 30, keys="ctrl+shift", count=2)
    await session.mouse.scroll(30, 30, down=2, keys="ctrl")


async def drag(session: Session) -> None:
    await session.mouse.drag([(30, 30), (90, 60), (40, 90)], keys="shift")


async def down_and_up(session: Session) -> None:
    await session.mouse.down(40, 40)
    await session.flush()
    await session.mouse.up(50, 50)


async def type_text(session: Session) -> None:
    await session.keyboard.type("Hello, World!")
    await session.flush()


async def hold(session: Session) -> None:
    async with session.keyboard.hold("ctrl+shift"):
        await session.keyboard.press("a")
        await session.flush()


async def clipboard(session: Session) -> None:
    """By both of its routes, which the server must never have at once."""
    await session.clipboard.write("text")
    async with session.keyboard.hold("shift"):
        await session.flush()
    await session.clipboard.select_all()
    await session.clipboard.paste("other")


async def touch(session: Session) -> None:
    await session.touch.tap(20, 20)
    await session.touch.swipe((20, 20), (200, 200), duration=0.02, steps=2)
    await session.touch.pinch((100, 100), start=20, end=60, duration=0.02, steps=2)


SCENARIOS: list[tuple[Scenario, int]] = [
    (click, 1),
    (drag, 4),
    (down_and_up, 1),
    (type_text, 1),
    (hold, 1),
    (clipboard, 2),
]
"""With how many steps from one cancellation to the next."""


async def sweep(
    session: Session, other: Session, scenario: Scenario, is_clean: Callable[[], bool], *, every: int = 1
) -> int:
    """``scenario`` as host, cancelled after each, or each n-th, step of this task; return how many times."""
    for step in range(0, 2000, every):
        with cancelled_after(step) as cancel:
            async with session.control():
                await scenario(session)
        await barrier(session)
        assert not session.state.is_host, f"the role was kept at step {step}"
        await barrier(other)
        await sees_host(other, None)
        assert is_clean(), f"something stays pressed at step {step}"
        if not cancel.fired:
            return step // every
    raise AssertionError("the scenario did not end")


@pytest.mark.parametrize(("scenario", "every"), SCENARIOS)
@pytest.mark.parametrize("video", ["live", "off"], ids=["data-channel", "websocket"])
async def test_cancelled_at_every_step(
    neko_simulator: TestServer, desk: Desk, scenario: Scenario, every: int, video: str
) -> None:
    server = neko_simulator
    async with (
        person(server) as (other, _),
        neko_trio.open_session(server.url, username=unique("cancel"), password=server.password, video=video) as session,
    ):
        if video == "live":
            with trio.fail_after(SOON):
                await data_channel_open(session)
        steps = await sweep(session, other, scenario, desk.is_pressed, every=every)
        assert steps > 5
        check_journal(server, session, steps)


@pytest.fixture
async def touch_server(embedded_only: None) -> AsyncIterator[TestServer]:
    async with open_test_server(touch=True) as server:
        yield server


async def test_fingers_are_lifted(touch_server: TestServer) -> None:
    server = touch_server
    assert server.simulator is not None
    async with (
        person(server) as (other, _),
        neko_trio.open_session(server.url, username="cancel", password=server.password, video="off") as session,
    ):
        simulator = server.simulator
        steps = await sweep(
            session,
            other,
            touch,
            lambda: simulator.held == (frozenset(), frozenset()) and not simulator.touches,
            every=5,
        )
        assert steps > 10
        check_journal(server, session, steps)


def check_journal(server: TestServer, session: Session, steps: int) -> None:
    """Whatever went down came up before the role was released, each time, and each taking has its release."""
    if server.simulator is None:
        return
    down: set[tuple[str, int]] = set()
    seen: Counter[str] = Counter()
    me = session.state.session_id
    for entry in server.simulator.journal.select(lambda entry: entry.who == me and entry.direction == "received"):
        for kind, code, pressed in _presses(entry.channel, entry.message):
            if pressed:
                assert (kind, code) not in down, f"{kind} {code} is pressed twice"
                down.add((kind, code))
            else:
                down.discard((kind, code))  # twice is harmless: what a cancelled call may have sent is let go again
            seen["presses"] += pressed
        if entry.event == "control/release":
            assert not down, f"released with {down} down"
        seen[entry.event] += 1
    assert not down
    assert seen["presses"] > 0
    assert seen["control/release"] >= seen["control/request"] > steps / 2


def _presses(channel: str, message: str | bytes) -> list[tuple[str, int, bool]]:
    """What a message presses or lets go of: kind, code, and whether it goes down."""
    if channel == "data":
        assert isinstance(message, bytes)
        match data_channel.decode_client(message):
            case data_channel.KeyDown(code) | data_channel.KeyUp(code) as key:
                return [("key", code, isinstance(key, data_channel.KeyDown))]
            case data_channel.ButtonDown(code) | data_channel.ButtonUp(code) as button:
                return [("button", code, isinstance(button, data_channel.ButtonDown))]
        return []
    if channel != "ws":
        return []
    try:
        request = requests.decode(message)
    except Malformed:
        return []
    match request:
        case requests.ControlKeyDown() | requests.ControlKeyUp():
            return [("key", request.keysym, isinstance(request, requests.ControlKeyDown))]
        case requests.ControlButtonDown() | requests.ControlButtonUp():
            return [("button", request.code, isinstance(request, requests.ControlButtonDown))]
        case requests.ControlTouchBegin() | requests.ControlTouchEnd():
            return [("finger", request.touch_id, isinstance(request, requests.ControlTouchBegin))]
    return []
