"""The small desktop: it reacts to input, shows it, and stays cheap to draw."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from neko_trio.simulator._desktop import LockedDesktop, Rendered
from neko_trio.simulator._frame_code import read_frame_code
from neko_trio.simulator._input_events import (
    ButtonDown,
    ButtonUp,
    ClipboardChanged,
    InputEvent,
    KeyDown,
    KeyUp,
    PointerMoved,
    ScreenResized,
    Touched,
)
from neko_trio.simulator._picture import Bytes2D, Picture
from neko_trio.simulator._small_desktop import SmallDesktop
from neko_trio.simulator._widgets import Box

CTRL = frozenset({"ctrl"})


def type_text(desktop: SmallDesktop, text: str) -> None:
    for character in text:
        desktop.on_input(KeyDown(ord(character), character))
        desktop.on_input(KeyUp(ord(character)))


def press(desktop: SmallDesktop, *keysyms: int, modifiers: frozenset[str] = frozenset()) -> None:
    for keysym in keysyms:
        desktop.on_input(KeyDown(keysym, "", modifiers))
        desktop.on_input(KeyUp(keysym))


def click(desktop: SmallDesktop, at: tuple[int, int], button: int = 1) -> None:
    desktop.on_input(ButtonDown(button, *at))
    desktop.on_input(ButtonUp(button, *at))


def middle(box: Box) -> tuple[int, int]:
    return box[0] + box[2] // 2, box[1] + box[3] // 2


def part(desktop: SmallDesktop, box: Box, now: float = 0.6) -> Bytes2D:
    """The luma of a box as it is drawn now; at 0.6 s the caret is dark."""
    x, y, width, height = box
    return desktop.render(now).y[y : y + height, x : x + width].copy()


@pytest.fixture
def desktop() -> SmallDesktop:
    return SmallDesktop((1280, 720), clock=lambda: 1_800_000_000.0)


def test_typed_text_is_kept_and_seen(desktop: SmallDesktop) -> None:
    before = part(desktop, desktop.text_area)
    type_text(desktop, "Grüße 👋")
    assert desktop.text == "Grüße 👋"
    after = part(desktop, desktop.text_area)
    changed = np.argwhere(before != after)
    assert len(changed) > 100
    assert changed[:, 0].max() < 40, "only the first line"


def test_each_character_that_is_typed_changes_the_picture(desktop: SmallDesktop) -> None:
    before = part(desktop, desktop.text_area)
    for character in "aA1é€я中👋\u0301":
        type_text(desktop, character)
        after = part(desktop, desktop.text_area)
        assert (before != after).any(), f"{character!r} left no trace"
        before = after


def test_editing_keys(desktop: SmallDesktop) -> None:
    type_text(desktop, "abd")
    press(desktop, 0xFF51)  # Left
    type_text(desktop, "c")
    assert desktop.text == "abcd"
    press(desktop, 0xFF50, 0xFFFF)  # Home, Delete
    assert desktop.text == "bcd"
    press(desktop, 0xFF57, 0xFF08, 0xFF0D)  # End, BackSpace, Return
    assert desktop.text == "bc\n"
    press(desktop, 0xFF09)  # Tab
    assert desktop.text == "bc\n    "
    press(desktop, 0xFF50, 0xFF08, 0xFF51)  # Home, BackSpace, Left: nothing to do
    press(desktop, 0xFFE1, 0xFFC9)  # Shift, F12: nothing
    assert desktop.text == "bc\n    "


def test_shortcuts_select_copy_cut_and_paste(desktop: SmallDesktop) -> None:
    type_text(desktop, "one")
    press(desktop, ord("v"), modifiers=CTRL)
    assert desktop.text == "one", "nothing in the clipboard"
    press(desktop, ord("a"), ord("c"), modifiers=CTRL)
    assert desktop.clipboard == "one"
    assert part(desktop, desktop.text_area).min() < 100
    press(desktop, ord("x"), modifiers=CTRL)
    assert desktop.text == ""
    desktop.on_input(ClipboardChanged("two"))
    press(desktop, ord("v"), ord("V"), modifiers=CTRL)
    assert desktop.text == "twotwo"
    press(desktop, ord("a"), modifiers=CTRL)
    type_text(desktop, "three")
    assert desktop.text == "three"


def test_the_text_is_bounded(desktop: SmallDesktop) -> None:
    desktop.on_input(ClipboardChanged("x" * 15_000))
    press(desktop, ord("v"), ord("v"), modifiers=CTRL)
    type_text(desktop, "end")
    assert len(desktop.text) == 20_000
    assert desktop.text.endswith("xend")


def test_the_end_of_a_long_text_stays_in_sight(desktop: SmallDesktop) -> None:
    for _ in range(100):
        press(desktop, 0xFF0D)
    before = part(desktop, desktop.text_area)
    type_text(desktop, "here")
    assert (part(desktop, desktop.text_area) != before).any()


def test_buttons_react_to_a_click_and_show_it(desktop: SmallDesktop) -> None:
    box = desktop.click_button
    up = part(desktop, box)
    desktop.on_input(ButtonDown(1, *middle(box)))
    held = part(desktop, box)
    assert held.mean() < up.mean() - 5, "sinks in"
    assert desktop.clicks == 0
    desktop.on_input(ButtonUp(1, *middle(box)))
    assert desktop.clicks == 1
    assert (part(desktop, box) != up).any(), "says so"
    click(desktop, middle(box), button=3)
    assert desktop.clicks == 1
    desktop.on_input(ButtonDown(1, *middle(box)))
    desktop.on_input(ButtonUp(1, 2, 2))
    assert desktop.clicks == 1, "let go elsewhere"
    type_text(desktop, "gone soon")
    click(desktop, middle(desktop.clear_button))
    assert desktop.text == ""


def test_the_list_scrolls_by_clicks_of_the_wheel_and_rows_are_chosen(desktop: SmallDesktop) -> None:
    box = desktop.list_box
    before = part(desktop, box)
    for _ in range(3):
        click(desktop, middle(box), button=5)
    assert desktop.list_first == 3
    assert (part(desktop, box) != before).mean() > 0.01
    click(desktop, middle(box), button=4)
    assert desktop.list_first == 2
    click(desktop, (box[0] + 20, box[1] + 4))
    assert desktop.list_chosen == 2
    for _ in range(200):
        click(desktop, middle(box), button=5)
    assert 50 < desktop.list_first < 100
    for _ in range(200):
        click(desktop, middle(box), button=4)
    assert desktop.list_first == 0
    click(desktop, middle(desktop.text_area), button=5)
    assert desktop.list_first == 0, "the wheel elsewhere"


def test_a_double_click_opens_a_row_and_two_clicks_do_not(desktop: SmallDesktop) -> None:
    x, y = desktop.list_box[0] + 20, desktop.list_box[1] + 4
    before = part(desktop, desktop.list_box)

    def press(at: tuple[int, int], time: float, button: int = 1) -> None:
        desktop.on_input(ButtonDown(button, *at, time=time))
        desktop.on_input(ButtonUp(button, *at))

    press((x, y), 1.0)
    press((x, y), 1.41)  # too late
    press((x + 6, y), 1.5)  # too far away
    press((x + 6, y), 1.6, button=3)
    press((x + 6, y), 1.7)  # another button came between
    assert (desktop.double_clicks, desktop.list_opened, desktop.list_chosen) == (0, None, 0)
    press((x + 2, y + 5), 2.0999)
    assert (desktop.double_clicks, desktop.list_opened) == (1, 0)
    assert (part(desktop, desktop.list_box) != before).any()
    desktop.on_input(ScreenResized(640, 360))
    assert desktop.list_opened == 0


def test_the_scroll_bar_is_dragged(desktop: SmallDesktop) -> None:
    left, top, width, height = desktop.list_box
    bar = left + width - 5
    desktop.on_input(ButtonDown(1, bar, top + 10))
    assert desktop.list_chosen is None
    desktop.on_input(PointerMoved(bar, top + 10 + height // 4))
    assert desktop.list_first == pytest.approx(25, abs=2)
    desktop.on_input(PointerMoved(bar - 500, top + 10 + height // 2))  # beside it, as with any bar that is held
    assert desktop.list_first == pytest.approx(50, abs=2)
    desktop.on_input(PointerMoved(bar, top - 500))
    assert desktop.list_first == 0
    desktop.on_input(ButtonUp(1, bar, top - 500))
    desktop.on_input(PointerMoved(bar, top + 200))
    assert desktop.list_first == 0, "let go of"
    desktop.on_input(ButtonDown(1, left + 20, top + 10))
    desktop.on_input(PointerMoved(bar, top + 200))
    assert desktop.list_first == 0, "taken hold of elsewhere"


def test_fingers_are_known_by_where_they_are(desktop: SmallDesktop) -> None:
    desktop.on_input(Touched("begin", 4, 5, 6, 255))
    desktop.on_input(Touched("begin", 5, 50, 60, 255))
    desktop.on_input(Touched("update", 4, 7, 8, 255))
    assert desktop.touches == {4: (7, 8), 5: (50, 60)}
    desktop.on_input(Touched("end", 4, 7, 8, 0))
    desktop.on_input(Touched("end", 9, 7, 8, 0))
    assert desktop.touches == {5: (50, 60)}


def test_the_pointer_is_where_it_was_moved_also_at_the_edges(desktop: SmallDesktop) -> None:
    without = desktop.render(0.6).y.copy()
    desktop.on_input(PointerMoved(100, 300))
    picture = desktop.render(0.6).y
    assert picture[300:317, 100:112].min() < 40
    assert (picture[300:317, 100:112] != without[300:317, 100:112]).any()
    for x, y in ((0, 0), (1279, 719), (1279, 0), (0, 719), (5000, -3)):
        desktop.on_input(PointerMoved(x, y))
        desktop.render(0.6)
    desktop.on_input(Touched("begin", 1, 5, 5, 100))


def test_every_picture_has_its_number_and_time(desktop: SmallDesktop) -> None:
    for number in range(1, 20):
        code = read_frame_code(desktop.render(number / 25).to_rgb())
        assert code is not None
        assert code.number == number
        assert code.seconds == pytest.approx(number / 25)


def test_the_picture_moves_although_nobody_does_anything(desktop: SmallDesktop) -> None:
    first = desktop.render(10.0).y[40:].copy()
    assert (desktop.render(10.04).y[40:] != first).any()


@pytest.mark.parametrize("size", [(1920, 1080), (800, 600), (640, 361), (320, 200), (1, 1)])
def test_another_size_keeps_what_was_done(desktop: SmallDesktop, size: tuple[int, int]) -> None:
    type_text(desktop, "kept")
    for _ in range(3):
        click(desktop, middle(desktop.list_box), button=5)
    desktop.on_input(ScreenResized(*size))
    picture = desktop.render(0)
    assert picture.size == (max(size[0], 320) & ~1, max(size[1], 200) & ~1)
    assert desktop.text == "kept"
    assert desktop.list_first == 3
    assert read_frame_code(picture.y) is not None
    boxes = [desktop.text_area, desktop.click_button, desktop.clear_button, desktop.list_box]
    for x, y, width, height in boxes:
        assert width > 20
        assert height > 20
        assert x + width <= picture.width
        assert y + height <= picture.height
    click(desktop, middle(desktop.click_button))
    assert desktop.clicks == 1


class Slow:
    """A program whose drawing takes until it is let go."""

    def __init__(self) -> None:
        self.drawing, self.let_go, self.told = threading.Event(), threading.Event(), threading.Event()

    def render(self, now: float, /) -> Rendered:
        self.drawing.set()
        assert self.let_go.wait(5)
        return np.zeros((64, 64, 3), np.uint8)

    def on_input(self, event: InputEvent, /) -> None:
        self.told.set()


def test_a_locked_desktop_is_never_asked_two_things_at_once() -> None:
    program = Slow()
    locked = LockedDesktop(program)
    drawing = threading.Thread(target=locked.render, args=(0.0,))
    telling = threading.Thread(target=locked.on_input, args=(PointerMoved(1, 1),))
    drawing.start()
    assert program.drawing.wait(5)
    telling.start()
    assert not program.told.wait(0.1)
    program.let_go.set()
    assert program.told.wait(5)
    drawing.join()
    telling.join()


def test_a_locked_desktop_gives_away_copies_of_the_size_asked_for(desktop: SmallDesktop) -> None:
    locked = LockedDesktop(desktop)
    first = locked.picture(0.0, (1280, 720))
    kept = first.buffer.copy()
    locked.picture(1.3, (1280, 720))
    assert (first.buffer == kept).all()
    assert locked.picture(2.0, (640, 360)).size == (640, 360)
    program = Slow()
    program.let_go.set()
    assert LockedDesktop(program).picture(0.0, (320, 240)).size == (320, 240)


def test_pictures_are_even_and_convert_without_loss_of_shape() -> None:
    for size in ((3, 4), (4, 3), (0, 2), (-2, 2)):
        with pytest.raises(ValueError, match="even"):
            Picture(*size)
    assert Picture(68, 36).to_rgb().shape == (36, 68, 3)
    picture = Picture(66, 34)  # lines that encoders pad
    red: Bytes2D = np.full((10, 20, 3), (255, 0, 0), np.uint8)
    picture.paste_rgb(red, 4, 6)
    rgb = picture.to_rgb()
    assert rgb.shape == (34, 66, 3)
    assert np.abs(rgb[8:14, 8:20].astype(int) - (255, 0, 0)).max() < 12
    assert rgb[20:, 30:].max() < 12
    with pytest.raises(ValueError, match="fit"):
        picture.paste_rgb(red, 60, 6)
    with pytest.raises(ValueError, match="fit"):
        picture.paste_rgb(red, 3, 6)
    picture.fill(60, 30, 20, 20, (235, 128, 128))
    assert picture.y[30:, 60:].min() == 235
    assert Picture.from_rgb(red, (40, 20)).size == (40, 20)
