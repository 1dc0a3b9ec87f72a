from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

from neko_trio.desktop.keyboard import CHUNK, Keyboard
from neko_trio.desktop.keys import SHIFT
from neko_trio.errors import HostTaken, InvalidInput
from neko_trio.protocol.data_channel import KeyDown, KeyUp

if TYPE_CHECKING:
    from tests.input.conftest import Desk

CTRL = 0xFFE3


@pytest.fixture
def keyboard(desk: Desk) -> Keyboard:
    return Keyboard(desk.inputs)


def typed(desk: Desk) -> str:
    """What a program reads on a US layout: the server binds both cases of foreign letters to one spare key."""
    text = ""
    shift = False
    for message in desk.server.handled:
        if isinstance(message, KeyDown | KeyUp) and message.keysym == SHIFT:
            shift = isinstance(message, KeyDown)
        elif isinstance(message, KeyDown):
            keysym = message.keysym
            char = {0xFF0D: "\n", 0xFF09: "\t"}.get(keysym) or chr(keysym - 0x01000000 if keysym > 0xFFFF else keysym)
            text += char if shift or not char.isalpha() else char.lower()
    return text


async def test_type(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    text = "Grüße 👋, ÜBER Я\tund\nA1!~`"
    await keyboard.type(text)
    await desk.inputs.flush()
    assert typed(desk) == text
    assert desk.inputs.held == ()


async def test_nothing_to_type_is_a_checkpoint(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    with assert_checkpoints():
        await keyboard.type("")
    assert desk.server.hops == []


async def test_two_thousand_characters_and_out(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    desk.server.set_host(None)
    desk.server.data_delay = 0.00015  # the real server's pace
    text = "The quick Brown Fox. " * 95 + "12345"
    async with desk.control.control():
        await keyboard.type(text)
    assert typed(desk) == text
    assert not desk.state.value.is_host


async def test_cancelled_it_stops_between_characters_with_nothing_down(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    desk.server.data_delay = 0.01
    text = "AbCdEfGh" * 500
    with trio.move_on_after(15) as scope:
        await keyboard.type(text)
    assert scope.cancelled_caught
    assert desk.inputs.held == ()
    await desk.inputs.flush()
    arrived = typed(desk)
    assert 0 < len(arrived) < len(text)
    assert text.startswith(arrived)
    assert len(arrived) % CHUNK == 0
    downs = [message.keysym for message in desk.server.handled if isinstance(message, KeyDown)]
    ups = [message.keysym for message in desk.server.handled if isinstance(message, KeyUp)]
    assert sorted(downs) == sorted(ups)


async def test_what_cannot_be_typed_is_told_before_anything_is_sent(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock
) -> None:
    for wrong in ("abc\x00", "abc\ud800"):
        with pytest.raises(InvalidInput):
            await keyboard.type(wrong)
    with pytest.raises(InvalidInput):
        await keyboard.press("ctrl+nosuchkey")
    with pytest.raises(InvalidInput):
        async with keyboard.hold(""):
            raise AssertionError
    assert desk.server.hops == []


async def test_spare_keycodes_run_out(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    await keyboard.type("αβγδεζηθικ")
    await keyboard.type("ΑΒΓΔ λμνξοπρστ")  # upper case shares the keys
    sent = len(desk.server.hops)
    with pytest.raises(InvalidInput, match="20 in this session"):
        await keyboard.type("abcυ")
    assert len(desk.server.hops) == sent
    await keyboard.type("abc αβγ")
    keyboard.spare_keycodes = None
    await keyboard.type("υφχψω")


async def test_press(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    await keyboard.press("ctrl+shift+t")
    await desk.inputs.flush()
    t = ord("T")
    assert desk.server.handled == [KeyDown(CTRL), KeyDown(SHIFT), KeyDown(t), KeyUp(t), KeyUp(SHIFT), KeyUp(CTRL)]
    assert desk.server.hops == [6, 1]


async def test_hold(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    async with keyboard.hold("shift"), keyboard.hold("ctrl"):
        await keyboard.press("shift+Tab")
        async with keyboard.hold("shift"):
            pass
        assert desk.inputs.held == (KeyUp(CTRL), KeyUp(SHIFT))
    await desk.inputs.flush()
    tab = 0xFF09
    assert desk.server.handled == [
        *(KeyDown(SHIFT), KeyDown(CTRL), KeyDown(tab), KeyUp(tab), KeyUp(CTRL), KeyUp(SHIFT)),
    ]


@pytest.mark.parametrize("how", ["exception", "cancelled"])
async def test_a_held_key_is_let_go_on_every_way_out(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock, how: str
) -> None:
    with trio.CancelScope() as scope:
        try:
            async with keyboard.hold("ctrl+a"):
                if how == "exception":
                    raise KeyError
                scope.cancel()
                await trio.sleep_forever()
        except KeyError:
            pass
    await desk.inputs.flush()
    assert desk.server.handled == [KeyDown(CTRL), KeyDown(97), KeyUp(97), KeyUp(CTRL)]


async def test_letting_go_is_bounded(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    with trio.move_on_after(1):
        async with keyboard.hold("ctrl"):
            desk.data.stuck = trio.Event()
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(3)
    assert desk.inputs.held == (KeyUp(CTRL),)


async def test_a_hold_whose_host_role_went(desk: Desk, keyboard: Keyboard, autojump_clock: MockClock) -> None:
    async with keyboard.hold("ctrl"):
        desk.server.set_host("other-67890")
    with pytest.raises(HostTaken):
        async with keyboard.hold("ctrl"):
            raise AssertionError
    assert desk.server.hops == [1]


async def test_a_hold_longer_than_the_servers_patience_is_logged(
    desk: Desk, keyboard: Keyboard, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "neko_trio.keyboard"):
        async with keyboard.hold("ctrl"):
            await trio.sleep(9)
        assert caplog.records == []
        async with keyboard.hold("ctrl"):
            await trio.sleep(11)
    assert "more than 10 s" in caplog.text
