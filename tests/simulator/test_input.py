"""Keys, buttons and text as the X server under the real server has them (neko-protocol.md §5)."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from neko_trio.simulator._input import Desk
from neko_trio.simulator._input_events import (
    ButtonDown,
    ButtonUp,
    ClipboardChanged,
    InputEvent,
    KeyDown,
    KeyUp,
    PointerMoved,
    Touched,
)
from neko_trio.simulator._keyboard import SPARE_KEYCODES, Keyboard

SHIFT, CONTROL, CAPS = 0xFFE1, 0xFFE3, 0xFFE5
SIZE = (1280, 720)


class Program:
    """A desktop that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[InputEvent] = []

    def on_input(self, event: InputEvent) -> None:
        self.events.append(event)

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, KeyDown))


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
async def desk(program: Program) -> Desk:
    return Desk(program, SIZE)


def type_with(keyboard: Keyboard, character: str, *, shift: bool = False) -> str | None:
    keysym = ord(character) if ord(character) <= 0xFF else 0x01000000 + ord(character)
    if shift:
        keyboard.press(SHIFT)
    text = keyboard.press(keysym)
    keyboard.release(SHIFT)
    return text


@pytest.mark.parametrize(
    ("character", "shift", "typed"),
    [
        ("a", False, "a"),
        ("A", True, "A"),
        ("A", False, "a"),  # upper case needs Shift
        ("a", True, "A"),
        ("!", True, "!"),
        ("!", False, "!"),  # by a spare keycode
        ("ä", False, "ä"),
        ("Ä", False, "ä"),
        ("😀", False, "😀"),
        ("я", True, "Я"),
    ],
)
def test_what_a_keysym_types(character: str, shift: bool, typed: str) -> None:
    assert type_with(Keyboard(), character, shift=shift) == typed


def test_spare_keycodes_run_out_and_a_new_map_frees_them() -> None:
    keyboard = Keyboard()
    greek = "αβγδεζηθικλμνξοπρστυφχψω"
    typed = [type_with(keyboard, letter) for letter in greek]
    assert typed[:SPARE_KEYCODES] == list(greek[:SPARE_KEYCODES])
    assert typed[SPARE_KEYCODES:] == [None] * 5
    assert keyboard.lost == 5
    assert type_with(keyboard, "α") == "α"  # it has its keycode already
    keyboard.set_map("us", "")
    assert type_with(keyboard, "ω") == "ω"


def test_each_unshifted_upper_case_letter_costs_a_keycode_and_a_shifted_one_none() -> None:
    keyboard = Keyboard()
    for _ in range(100):
        assert type_with(keyboard, "A", shift=True) == "A"
        assert type_with(keyboard, "?", shift=True) == "?"
    for _ in range(SPARE_KEYCODES):
        assert type_with(keyboard, "A") == "a"
    assert type_with(keyboard, "A") is None


@given(st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_any_keysyms_are_taken(keysyms: list[int]) -> None:
    keyboard = Keyboard()
    for keysym in keysyms:
        text = keyboard.press(keysym)
        assert text is None or text.isprintable() or len(text) == 1
        keyboard.release(keysym)
    assert keyboard.held == {}


def test_caps_lock_and_locked_modifiers() -> None:
    keyboard = Keyboard()
    keyboard.press(CAPS)
    assert type_with(keyboard, "A") == "A"
    assert type_with(keyboard, "1") == "1"
    keyboard.locked = {"control"}
    assert keyboard.press(ord("c")) == ""
    assert keyboard.modifiers == {"ctrl"}


async def test_a_second_down_and_an_up_without_a_down_are_refused(desk: Desk, program: Program) -> None:
    assert (desk.key_down(97), desk.key_down(97), desk.key_up(97), desk.key_up(97)) == (True, False, True, False)
    assert (desk.button_down(1), desk.button_down(1), desk.button_up(1), desk.button_up(1)) == (
        True,
        False,
        True,
        False,
    )
    assert desk.refused == 4
    assert program.events == [KeyDown(97, "a"), KeyUp(97), ButtonDown(1, 640, 360), ButtonUp(1, 640, 360)]


async def test_a_press_releases_everything_held_before_and_after(desk: Desk, program: Program) -> None:
    desk.key_down(CONTROL)
    desk.button_down(3)
    program.events.clear()
    desk.key_press(97)
    assert program.events == [ButtonUp(3, 640, 360), KeyUp(CONTROL), KeyDown(97, "a"), KeyUp(97)]
    assert desk.held == (frozenset(), frozenset())


async def test_a_chord_types_nothing(desk: Desk, program: Program) -> None:
    desk.key_down(CONTROL)
    desk.key_down(97)
    assert program.text == ""
    assert program.events[-1] == KeyDown(97, "", frozenset({"ctrl"}))


@pytest.mark.parametrize(
    ("delta", "buttons"), [((0, 2), [4, 4]), ((0, -1), [5]), ((1, 0), [6]), ((-2, 1), [4, 7, 7]), ((0, 0), [])]
)
async def test_scroll_deltas_are_wheel_clicks(
    desk: Desk, program: Program, delta: tuple[int, int], buttons: list[int]
) -> None:
    desk.scroll(*delta)
    assert [event.button for event in program.events if isinstance(event, ButtonDown)] == buttons
    assert [event.button for event in program.events if isinstance(event, ButtonUp)] == buttons


async def test_scrolling_with_control(desk: Desk, program: Program) -> None:
    desk.scroll(0, 1, control=True)
    assert program.events[0] == ButtonDown(4, 640, 360, frozenset({"ctrl"}))


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ((10, 20), (10, 20)),
        ((5000, 5000), (1279, 719)),
        ((-1, 3), (0, 3)),
        ((32768, 40000), (0, 0)),
        ((32767, 0), (1279, 0)),
    ],
)
async def test_where_the_pointer_goes(
    desk: Desk, program: Program, sent: tuple[int, int], arrived: tuple[int, int]
) -> None:
    desk.move(*sent)
    assert program.events == [PointerMoved(*arrived)]


async def test_what_is_held_for_ten_seconds_is_released_at_the_next_check(
    program: Program, autojump_clock: MockClock
) -> None:
    desk = Desk(program, SIZE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        await trio.sleep(0.1)
        desk.button_down(1)
        await trio.sleep(0.5)
        desk.key_down(SHIFT)
        await trio.sleep(10.3)
        assert desk.held == (frozenset({SHIFT}), frozenset({1}))  # the check of second 11 is still to come
        await trio.sleep(0.2)
        assert desk.held == (frozenset(), frozenset())
        assert program.events[-2:] == [ButtonUp(1, 640, 360), KeyUp(SHIFT)]
        nursery.cancel_scope.cancel()


async def test_a_held_key_repeats(program: Program, autojump_clock: MockClock) -> None:
    desk = Desk(program, SIZE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        await trio.lowlevel.checkpoint()
        desk.key_down(97)
        await trio.sleep(1)
        desk.key_up(97)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert program.text == "a" * 10  # ten in the first second, as seen


async def test_a_modifier_does_not_repeat(program: Program, autojump_clock: MockClock) -> None:
    desk = Desk(program, SIZE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        await trio.lowlevel.checkpoint()
        desk.key_down(SHIFT)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert len(program.events) == 1


async def test_touch_needs_a_driver(program: Program) -> None:
    desk = Desk(program, SIZE)
    assert (desk.touch("begin", 1, 5, 5, 100), desk.touch("end", 2, 5, 5, 100)) == (True, True), "a dummy"
    assert (program.events, desk.refused, desk.touches) == ([], 0, frozenset())
    Desk(program, SIZE, touch=True).touch("begin", 1, 40_000, -3, 100)
    assert program.events[0] == Touched("begin", 1, 1279, 0, 100)


async def test_the_first_finger_comes_as_the_mouse_too(program: Program) -> None:
    """As X shows touches to programs that know nothing of them; seen with the server's driver."""
    desk = Desk(program, SIZE, touch=True)
    desk.touch("begin", 7, 10, 20, 255)
    assert program.events == [Touched("begin", 7, 10, 20, 255), PointerMoved(10, 20), ButtonDown(1, 10, 20)]
    desk.touch("begin", 8, 300, 300, 255)
    desk.touch("update", 7, 11, 21, 255)
    desk.touch("end", 7, 12, 22, 0)
    desk.touch("update", 8, 301, 301, 255)
    assert program.events[3:] == [
        Touched("begin", 8, 300, 300, 255),
        *(Touched("update", 7, 11, 21, 255), PointerMoved(11, 21)),
        *(Touched("end", 7, 12, 22, 0), PointerMoved(12, 22), ButtonUp(1, 12, 22)),
        Touched("update", 8, 301, 301, 255),
    ]
    desk.touch("begin", 7, 50, 50, 255)
    assert desk.pointer == (12, 22), "another one is down already"
    assert desk.touches == {7, 8}
    told = [event.emulated for event in program.events if isinstance(event, Touched)]
    assert told == [True, False, True, True, False, False]


async def test_a_finger_twice_and_one_that_is_not_there_are_refused(program: Program) -> None:
    desk = Desk(program, SIZE, touch=True)
    assert desk.touch("begin", 1, 5, 5, 100)
    assert not desk.touch("begin", 1, 6, 6, 100)
    assert not desk.touch("update", 2, 6, 6, 100)
    assert not desk.touch("end", 2, 6, 6, 100)
    assert desk.refused == 3
    desk.release_all()
    assert desk.touches == {1}, "the server's ResetKeys knows nothing of fingers"


async def test_a_finger_without_a_word_for_ten_seconds_is_lifted(program: Program, autojump_clock: MockClock) -> None:
    desk = Desk(program, SIZE, touch=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        await trio.sleep(0.1)
        desk.touch("begin", 1, 5, 6, 255)
        desk.touch("begin", 2, 7, 8, 255)
        await trio.sleep(5)
        desk.touch("update", 2, 9, 10, 255)
        await trio.sleep(6)
        assert desk.touches == {2}
        await trio.sleep(5)
        assert desk.touches == frozenset()
        assert program.events[-1] == Touched("end", 2, 9, 10, 0)
        assert Touched("end", 1, 5, 6, 0) in program.events
        nursery.cancel_scope.cancel()


async def test_presses_have_xs_timestamp(desk: Desk, program: Program, autojump_clock: MockClock) -> None:
    """In milliseconds: what comes together has the same one."""
    began = trio.current_time()
    desk.button_press(1)
    desk.button_press(1)
    await trio.sleep(0.0504)
    desk.scroll(0, 1)
    times = [event.time for event in program.events if isinstance(event, ButtonDown)]
    assert times[0] == times[1]
    assert times[2] - times[0] == pytest.approx(0.05, abs=1e-6)
    assert times[0] == pytest.approx(began, abs=1e-3)


async def test_the_clipboard(desk: Desk, program: Program) -> None:
    told: list[str | None] = []
    desk.on_clipboard = lambda: told.append(desk.clipboard)
    desk.set_clipboard("text")
    assert (told, program.events) == (["text"], [ClipboardChanged("text")])


async def test_a_desktop_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def on_input(self, event: InputEvent) -> None:
            raise RuntimeError("mine")

    desk = Desk(Broken(), SIZE)
    desk.move(1, 1)
    assert desk.failures == 1
    assert "the desktop failed" in caplog.text
