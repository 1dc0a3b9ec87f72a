from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio._ports.held import Held
from neko_trio.errors import InvalidInput
from neko_trio.protocol.data_channel import (
    ButtonDown,
    ButtonUp,
    ClientMessage,
    KeyDown,
    KeyUp,
    Move,
    TouchBegin,
    TouchEnd,
    TouchUpdate,
)

SHIFT = 0xFFE1
A = 0x61


def test_overlapping_holds_of_a_modifier_are_sent_once() -> None:
    first, held = Held().after([KeyDown(SHIFT)])
    second, held = held.after([KeyDown(SHIFT), KeyDown(A), KeyUp(A), KeyUp(SHIFT)])
    third, held = held.after([KeyUp(SHIFT)])
    assert first == [KeyDown(SHIFT)]
    assert second == [KeyDown(A), KeyUp(A)]
    assert third == [KeyUp(SHIFT)]
    assert not held


@pytest.mark.parametrize("down", [KeyDown(A), ButtonDown(1)])
def test_a_second_press_is_refused(down: ClientMessage) -> None:
    _, held = Held().after([down])
    with pytest.raises(InvalidInput, match="held down already"):
        held.after([Move(1, 1), down])


@pytest.mark.parametrize("up", [KeyUp(A), KeyUp(SHIFT), ButtonUp(1)])
def test_letting_go_of_what_is_not_held_is_refused(up: ClientMessage) -> None:
    with pytest.raises(InvalidInput, match="not held"):
        Held().after([up])


def test_a_key_and_a_button_of_the_same_number_differ() -> None:
    messages, held = Held().after([KeyDown(1), ButtonDown(1)])
    assert messages == [KeyDown(1), ButtonDown(1)]
    assert held.releases == (ButtonUp(1), KeyUp(1))


def test_without_leaves_out_what_is_not_held() -> None:
    _, held = Held().after([KeyDown(SHIFT), KeyDown(SHIFT), ButtonDown(3)])
    messages, held = held.without([ButtonUp(3), ButtonUp(1), KeyUp(SHIFT)])
    assert messages == [ButtonUp(3)]
    assert held.releases == (KeyUp(SHIFT),)
    messages, held = held.without([KeyUp(SHIFT)])
    assert messages == [KeyUp(SHIFT)]
    assert not held


_STEPS = st.lists(
    st.sampled_from([SHIFT, 0xFFE3, A, 0x62]).flatmap(
        lambda code: st.sampled_from([KeyDown(code), KeyUp(code), ButtonDown(code), ButtonUp(code)])
    )
)


@given(_STEPS)
def test_the_server_never_gets_what_it_would_drop(steps: list[ClientMessage]) -> None:
    """Against the server's own rule: one down, then one up (its ``debounce`` maps)."""
    held = Held()
    down: set[object] = set()
    for step in steps:
        try:
            messages, held = held.after([step])
        except InvalidInput:
            continue
        for message in messages:
            match message:
                case KeyDown(code):
                    assert KeyUp(code) not in down
                    down.add(KeyUp(code))
                case ButtonDown(code):
                    assert ButtonUp(code) not in down
                    down.add(ButtonUp(code))
                case _:
                    down.remove(message)
    assert down == set(held.releases)


def test_a_finger_is_lifted_where_it_is() -> None:
    messages, held = Held().after([TouchBegin(7, 1, 2, 255), TouchBegin(8, 3, 4, 255), TouchUpdate(7, 5, 6, 100)])
    assert messages == [TouchBegin(7, 1, 2, 255), TouchBegin(8, 3, 4, 255), TouchUpdate(7, 5, 6, 100)]
    assert held.releases == (TouchEnd(8, 3, 4, 0), TouchEnd(7, 5, 6, 0))
    messages, held = held.without([TouchEnd(7, 0, 0, 0), TouchEnd(9, 0, 0, 0)])
    assert messages == [TouchEnd(7, 5, 6, 0)]
    messages, held = held.after([TouchEnd(8, 9, 9, 0)])
    assert messages == [TouchEnd(8, 9, 9, 0)]
    assert not held
    assert held.releases == ()


@pytest.mark.parametrize("message", [TouchUpdate(1, 0, 0, 0), TouchEnd(1, 0, 0, 0)])
def test_a_finger_that_is_not_down_is_not_moved_or_lifted(message: ClientMessage) -> None:
    with pytest.raises(InvalidInput, match="Finger 1 is not down"):
        Held().after([message])
    _, held = Held().after([TouchBegin(1, 0, 0, 0)])
    with pytest.raises(InvalidInput, match="held down already"):
        held.after([TouchBegin(1, 5, 5, 0)])


def test_between_two_truths_the_larger_count_holds() -> None:
    """So that one release of an overlapping hold, sent or not, does not let go of the other one's key."""
    _, outer = Held().after([KeyDown(SHIFT)])
    _, both = outer.after([KeyDown(SHIFT)])
    assert both.joined(outer).without([KeyUp(SHIFT)])[0] == []
    assert outer.joined(both).without([KeyUp(SHIFT)])[0] == []
    _, touched = outer.after([TouchBegin(1, 2, 3, 4)])
    _, moved = touched.after([TouchUpdate(1, 5, 6, 4)])
    assert touched.joined(moved).releases[0] == TouchEnd(1, 5, 6, 0)
    assert touched.joined(outer).releases[0] == TouchEnd(1, 2, 3, 0)
