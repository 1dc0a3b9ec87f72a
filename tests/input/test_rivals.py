"""Others at the same keyboard and clipboard: a second task, another host, a program on the desktop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from neko_trio.desktop.clipboard_values import LONGEST
from neko_trio.desktop.key_map import SPARE_KEYCODES, Layout
from neko_trio.errors import InvalidInput
from neko_trio.protocol.data_channel import KeyDown
from neko_trio.protocol.keysyms import keysym_of_char

if TYPE_CHECKING:
    from tests.input.conftest import Desk

ME, OTHER, THIRD = "me-12345", "other-67890", "third-11111"
SHIFT = 0xFFE1


@pytest.fixture
def slow(desk: Desk) -> Desk:
    """A desk on which 10 characters take a second."""
    desk.server.data_delay = 0.05
    return desk


def pressed(desk: Desk) -> list[int]:
    """Keysyms, in order, but for Shift."""
    keysyms = [message.keysym for message in desk.server.handled if isinstance(message, KeyDown)]
    return [keysym for keysym in keysyms if keysym != SHIFT]


async def test_caps_lock_pressed_while_another_task_types(slow: Desk) -> None:
    async def lock() -> None:
        await trio.sleep(1)
        slow.x.caps_lock = True
        await slow.keyboard.press("Caps_Lock")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.keyboard.type, "a" * 120)
        nursery.start_soon(lock)
    await slow.inputs.flush()
    letters = slow.server.handled.count(KeyDown(ord("a")))
    assert letters == 120
    caps = slow.server.handled.index(KeyDown(0xFFE5))
    assert KeyDown(SHIFT) in slow.server.handled[caps:], "under Caps Lock it is Shift that gives small letters"
    assert KeyDown(SHIFT) not in slow.server.handled[:caps]


async def test_layout_set_while_another_task_types(slow: Desk) -> None:
    async def change() -> None:
        await trio.sleep(1)
        await slow.keyboard.set_layout("ru")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.keyboard.type, "я" * 120)
        nursery.start_soon(change)
    await slow.inputs.flush()
    russian = Layout("ru").key("я")
    assert russian is not None
    keys = pressed(slow)
    assert len(keys) == 120
    assert (keys[0], keys[-1]) == (keysym_of_char("я"), russian.keysym), "each by the layout of its moment"


async def test_two_tasks_share_the_spare_keycodes(slow: Desk) -> None:
    """Each has enough of them alone: together they would have lost keys without a word."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.keyboard.type, "αβγδεζηθ" * 3)
        nursery.start_soon(slow.keyboard.type, "бвгджзий" * 3)
    await slow.inputs.flush()
    assert len({keysym for keysym in pressed(slow) if keysym > 0xFFFF}) <= SPARE_KEYCODES
    assert slow.x.layouts_set == 1, "what the other task has in use is not taken from it"


async def test_another_host_while_typing_waits(desk: Desk, nursery: trio.Nursery) -> None:
    """What the keyboard was known to be is not true any more in the middle of a text."""
    desk.server.set_host(None)

    async def others() -> None:
        for host in (OTHER, THIRD, ME):
            await trio.sleep(2)
            desk.server.set_host(host)

    nursery.start_soon(others)
    async with desk.control.control(regain=True):
        await trio.sleep(3)
        await desk.keyboard.type("a" * 40)
    assert pressed(desk) == [ord("a")] * 40


async def test_what_another_host_changed_last_is_asked_for(desk: Desk) -> None:
    """The server tells nobody of a layout: that of the moment when he left counts, not what was seen before."""
    desk.server.set_host(OTHER)
    await desk.key_map.learn()
    desk.x.layout = {"layout": "ru", "variant": ""}
    desk.server.set_host(ME)
    assert not desk.key_map.known
    assert await desk.key_map.learn() == Layout("ru")
    desk.server.set_host(None)
    desk.server.set_host(ME)
    assert desk.key_map.known, "nobody else was there"


async def test_an_answer_from_before_a_change_is_not_kept(desk: Desk, nursery: trio.Nursery) -> None:
    answer = desk.front.on["GET", "/api/room/keyboard/modifiers"]

    def late(body: object) -> object:
        desk.front.on["GET", "/api/room/keyboard/modifiers"] = answer
        desk.x.layout = {"layout": "de", "variant": ""}
        desk.key_map.forget()
        return answer(body)

    desk.front.on["GET", "/api/room/keyboard/modifiers"] = late
    assert await desk.key_map.learn() == Layout("de")


@pytest.mark.parametrize("text", ["a" * 100 + "\nα", "α\n" + "a" * 100 + "\nα"], ids=["before a paste", "in between"])
async def test_what_a_program_copies_while_the_clipboard_is_on_loan(
    slow: Desk, nursery: trio.Nursery, text: str
) -> None:
    slow.x.put("before")
    slow.keyboard.spare_keycodes = 0

    async def program() -> None:
        await trio.sleep(1)
        slow.x.put("copied since")

    nursery.start_soon(program)
    await slow.keyboard.type(text)
    assert slow.x.text == "copied since"


async def test_pasted_text_has_the_clipboards_limit(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="at most"):
        await desk.keyboard.type("<" * (LONGEST + 1), paste=True)
    assert not desk.server.handled


async def test_an_update_that_was_never_told_is_not_waited_for(desk: Desk, nursery: trio.Nursery) -> None:
    """The host alone is told: what was written right before the role went may be copied by a program later."""

    def write(body: dict[str, str]) -> None:
        desk.x.text = body["text"]
        desk.server.set_host(OTHER)

    desk.front.on["POST", "/api/room/clipboard"] = write
    desk.server.set_host(ME)
    await desk.clipboard.write("hello")
    desk.server.set_host(ME)

    async def program() -> None:
        await trio.sleep(1)
        desk.x.put("hello")

    nursery.start_soon(program)
    with trio.fail_after(5):
        assert await desk.clipboard.copied() == "hello"


async def test_typing_while_shift_is_held_loses_nothing_silently(desk: Desk) -> None:
    """A key that gives nothing of that name under Shift takes a spare keycode at the server: 19, and the rest is lost
    (26 letters were typed with Shift held, and 19 arrived)."""
    async with desk.keyboard.hold("shift"):
        await desk.keyboard.type("Hello < YOU!\n")
        with pytest.raises(InvalidInput, match="while Shift is held"):
            await desk.keyboard.type("1")
        await desk.keyboard.press("d")
        await desk.keyboard.press("ctrl+1")
        await desk.inputs.flush()
    assert "".join(map(chr, pressed(desk)[:-4])) == "HELLO < YOU!", "as a person would type it"
    assert pressed(desk)[-3:] == [ord("D"), 0xFFE3, ord("!")], "as if it were shift+d and ctrl+shift+1"
    assert ord("d") not in pressed(desk)
    await desk.keyboard.type("d")
    await desk.inputs.flush()
    assert pressed(desk)[-1] == ord("d")
