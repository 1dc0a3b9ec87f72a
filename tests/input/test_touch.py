from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from neko_trio.desktop.touch import Touch
from neko_trio.errors import FeatureOff, HostTaken, InvalidInput, NotAllowed
from neko_trio.protocol import requests
from neko_trio.protocol.data_channel import ClientMessage, Scroll, TouchBegin, TouchEnd, TouchUpdate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.input.conftest import Desk


@pytest.fixture
def touch(desk: Desk) -> Touch:
    return desk.touch


def fingers(messages: list[ClientMessage | requests.ClientRequest]) -> list[tuple[str, int, int, int, int]]:
    """(kind, finger, x, y, pressure) of each touch: ids are those of the session, a multiple of 16 and the finger."""
    names = {TouchBegin: "down", TouchUpdate: "move", TouchEnd: "up"}
    return [
        (names[type(message)], message.touch_id % 16, message.x, message.y, message.pressure)
        for message in messages
        if isinstance(message, TouchBegin | TouchUpdate | TouchEnd)
    ]


async def test_a_tap_is_one_hop(desk: Desk, touch: Touch, autojump_clock: MockClock) -> None:
    await touch.tap(640, 360)
    await desk.inputs.flush()
    assert fingers(desk.server.handled) == [("down", 0, 640, 360, 255), ("up", 0, 640, 360, 0)]
    assert desk.server.hops == [3, 1, 1, 1]
    assert desk.server.handled[2:] == [Scroll(0, 0)] * 2, "the driver does not wake X; this does, and a flush again"
    await desk.inputs.flush()
    await desk.mouse.move(1, 1)
    await desk.inputs.flush()
    assert desk.server.hops == [3, 1, 1, 1, 1, 1]
    assert desk.cursor.position == (1, 1)


async def test_a_double_tap_and_taps_that_stay_single(desk: Desk, touch: Touch, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await touch.tap(5, 5, count=2, finger=9, pressure=100)
    assert trio.current_time() == began
    await touch.tap(5, 5)
    assert trio.current_time() == pytest.approx(began + 0.55)
    await desk.mouse.click(5, 5)
    assert trio.current_time() == pytest.approx(began + 1.1), "to most programs they are the same button"
    await desk.inputs.flush()
    assert fingers(desk.server.handled)[:4] == [("down", 9, 5, 5, 100), ("up", 9, 5, 5, 0)] * 2


async def test_a_long_press_says_that_it_is_there(desk: Desk, touch: Touch, autojump_clock: MockClock) -> None:
    """The server lifts a finger that says nothing for 10 s."""
    began = trio.current_time()
    await touch.tap(7, 8, duration=9, count=2)
    assert trio.current_time() == pytest.approx(began + 18)
    await desk.inputs.flush()
    rest = [("down", 0, 7, 8, 255), ("move", 0, 7, 8, 255), ("move", 0, 7, 8, 255), ("up", 0, 7, 8, 0)]
    assert fingers(desk.server.handled) == rest * 2


async def test_fingers_one_by_one(desk: Desk, touch: Touch, autojump_clock: MockClock) -> None:
    await touch.down(1, 2, finger=3)
    await touch.down(5, 6, finger=4, pressure=0)
    await touch.move(7, 8, finger=3, pressure=9)
    with pytest.raises(InvalidInput, match="Finger 3 is held down already"):
        await touch.down(1, 1, finger=3)
    for call in (touch.move(1, 1, finger=0), touch.up(finger=0), touch.up(1, 1, finger=0)):
        with pytest.raises(InvalidInput, match="Finger 0 is not down"):
            await call
    await touch.up(finger=3)
    await touch.up(9, 9, finger=4)
    await desk.inputs.flush()
    assert fingers(desk.server.handled) == [
        *(("down", 3, 1, 2, 255), ("down", 4, 5, 6, 0), ("move", 3, 7, 8, 9)),
        *(("up", 3, 7, 8, 0), ("move", 4, 9, 9, 0), ("up", 4, 9, 9, 0)),
    ]
    assert desk.inputs.held == ()


async def test_a_swipe(desk: Desk, touch: Touch, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await touch.swipe((100, 300), (100, 100), (300, 100), steps=2, duration=0.4, finger=1)
    assert trio.current_time() == pytest.approx(began + 0.4)
    await desk.inputs.flush()
    assert fingers(desk.server.handled) == [
        ("down", 1, 100, 300, 255),
        *(("move", 1, x, y, 255) for x, y in ((100, 200), (100, 100), (200, 100), (300, 100))),
        ("up", 1, 300, 100, 0),
    ]


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({"start": 200, "end": 100}, [(300, 500), (325, 475), (350, 450)]),
        ({"start": 0, "end": 40}, [(400, 400), (390, 410), (380, 420)]),
        ({"start": 5, "end": 5}, [(398, 402)] * 3),
    ],
)
async def test_a_pinch(
    desk: Desk, touch: Touch, autojump_clock: MockClock, options: dict[str, int], places: list[tuple[int, int]]
) -> None:
    began = trio.current_time()
    await touch.pinch((400, 300), **options, steps=2, duration=1)
    assert trio.current_time() == pytest.approx(began + 1)
    await desk.inputs.flush()
    told = fingers(desk.server.handled)
    assert [(kind, finger) for kind, finger, *_ in told] == [
        (kind, finger) for kind in ("down", "move", "move", "up") for finger in (0, 1)
    ]
    left = [(x, y) for _, finger, x, y, _ in told if finger == 0]
    right = [(x, y) for _, finger, x, y, _ in told if finger == 1]
    assert left == [(x, 300) for x, _ in [*places, places[-1]]]
    assert right == [(x, 300) for _, x in [*places, places[-1]]]


async def test_a_pinch_upright(desk: Desk, touch: Touch, autojump_clock: MockClock) -> None:
    await touch.pinch((400, 300), start=200, end=200, angle=90, steps=1)
    await desk.inputs.flush()
    assert fingers(desk.server.handled)[:2] == [("down", 0, 400, 200, 255), ("down", 1, 400, 400, 255)]


@pytest.mark.parametrize(
    "call",
    [
        lambda touch: touch.tap(1280, 0),
        lambda touch: touch.tap(0.5, 0),
        lambda touch: touch.tap(1, 1, finger=10),
        lambda touch: touch.tap(1, 1, finger=-1),
        lambda touch: touch.tap(1, 1, pressure=256),
        lambda touch: touch.tap(1, 1, pressure=0.5),
        lambda touch: touch.tap(1, 1, count=0),
        lambda touch: touch.tap(1, 1, count=11),
        lambda touch: touch.tap(1, 1, duration=-1),
        lambda touch: touch.tap(1, 1, duration=301),
        lambda touch: touch.down(-1, 0),
        lambda touch: touch.down("1", 0),
        lambda touch: touch.up(1),
        lambda touch: touch.swipe(),
        lambda touch: touch.swipe((1, 1)),
        lambda touch: touch.swipe((1, 1), (1280, 1)),
        lambda touch: touch.swipe((1, 1), 2),
        lambda touch: touch.swipe((1, 1), (2, 2), steps=0),
        lambda touch: touch.pinch((1, 1), start=10, end=1),
        lambda touch: touch.pinch((100, 100), start=10, end=1000),
        lambda touch: touch.pinch((100, 100), start=-1, end=1),
        lambda touch: touch.pinch((100, 100), start=1, end=1.5),
        lambda touch: touch.pinch((100, 100), start=1, end=2, angle=float("inf")),
        lambda touch: touch.pinch(100, start=1, end=2),
    ],
)
async def test_what_the_server_would_bend_or_drop(
    desk: Desk, touch: Touch, autojump_clock: MockClock, call: Any
) -> None:
    with pytest.raises(InvalidInput):
        await call(touch)
    assert desk.server.hops == []


@pytest.mark.parametrize(
    "call",
    [
        lambda touch: touch.tap(1, 1),
        lambda touch: touch.down(1, 1),
        lambda touch: touch.move(1, 1),
        lambda touch: touch.up(),
        lambda touch: touch.swipe((1, 1), (2, 2)),
        lambda touch: touch.pinch((100, 100), start=1, end=2),
    ],
)
async def test_without_a_touch_driver_it_says_so(
    desk: Desk, touch: Touch, autojump_clock: MockClock, call: Any
) -> None:
    desk.server.set_state(touch_events=False)
    with pytest.raises(FeatureOff, match="input driver"):
        await call(touch)
    desk.server.set_state(touch_events=True, host=None)
    with pytest.raises((NotAllowed, InvalidInput)):
        await call(touch)
    assert desk.server.hops == []


async def test_over_the_web_socket(desk: Desk, touch: Touch, autojump_clock: MockClock) -> None:
    desk.data.data_channel_open = False
    await touch.swipe((1, 2), (3, 4), steps=1)
    await desk.inputs.flush()
    assert [type(request) for request in desk.server.handled] == [
        *(requests.ControlTouchBegin, requests.ControlScroll),
        *(requests.ControlTouchUpdate, requests.ControlTouchEnd, requests.ControlScroll),
        requests.ControlScroll,
    ]
    assert requests.ControlScroll(delta_x=0, delta_y=0) in desk.server.handled


@pytest.mark.parametrize(
    "gesture",
    [
        lambda touch: touch.swipe((0, 0), (100, 0), duration=1, steps=10),
        lambda touch: touch.pinch((50, 0), start=100, end=0, duration=1, steps=10),
        lambda touch: touch.tap(50, 50, duration=1),
    ],
)
async def test_cancelled_all_fingers_of_a_gesture_are_lifted_where_they_are(
    desk: Desk, touch: Touch, autojump_clock: MockClock, gesture: Callable[[Touch], Any]
) -> None:
    await touch.down(500, 500, finger=5)
    with trio.move_on_after(0.55) as scope:
        await gesture(touch)
    assert scope.cancelled_caught
    await desk.inputs.flush()
    told = fingers(desk.server.handled)
    last = {finger: (x, y) for kind, finger, x, y, _ in told if kind != "up"}
    lifted = {finger: (x, y) for kind, finger, x, y, _ in told if kind == "up"}
    assert lifted == {finger: place for finger, place in last.items() if finger != 5}
    assert len(desk.inputs.held) == 1, "the other finger is another one's"


async def test_fingers_are_lifted_with_the_host_role(desk: Desk, touch: Touch, autojump_clock: MockClock) -> None:
    desk.server.set_host(None)
    with trio.move_on_after(1):
        async with desk.control.control():
            await touch.down(1, 1)
            await touch.down(2, 2, finger=1)
            await touch.move(3, 3, finger=0)
            await trio.sleep_forever()
    assert fingers(desk.server.handled)[-2:] == [("up", 1, 2, 2, 0), ("up", 0, 3, 3, 0)]


async def test_a_flush_without_the_role_asks_nobody_for_it(desk: Desk, touch: Touch, autojump_clock: MockClock) -> None:
    """On the WebSocket any message of control makes its sender host, or asks the one there is."""
    desk.data.data_channel_open = False
    await touch.tap(1, 1)
    desk.server.set_host("other-67890")
    await desk.inputs.flush()
    assert len(desk.server.handled) == 3


async def test_a_role_that_is_lost_in_a_gesture(desk: Desk, touch: Touch, autojump_clock: MockClock) -> None:
    async def lose() -> None:
        await trio.sleep(0.5)
        desk.server.set_host("other-67890")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lose)
        with pytest.raises(HostTaken):
            await touch.swipe((0, 0), (100, 0), duration=1)
    assert desk.inputs.held == ()


async def test_sessions_have_ids_of_their_own(desk: Desk, touch: Touch, autojump_clock: MockClock) -> None:
    """A finger that another one left behind keeps its id at the server for 10 s, and the next of that id is lost."""
    ids = set()
    for session in ("me-12345", "other-67890", "third"):
        desk.server.set_state(session_id=session, host=session)
        await touch.tap(1, 1, finger=2)
        await desk.inputs.flush()
        begin = desk.server.handled[-4]
        assert isinstance(begin, TouchBegin)
        ids.add(begin.touch_id)
        assert 1024 <= begin.touch_id < 1 << 16, "the X driver reads 16 bits"
        assert begin.touch_id % 16 == 2
    assert len(ids) == 3
