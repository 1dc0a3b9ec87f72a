"""Packets in order: whatever overtakes, repeats, is lost or wraps, and never longer than the patience."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.media.audio.reorder import LIMIT, PATIENCE, AudioPacket, Reorder


def feed(order: Reorder, *numbers: int, now: float = 0.0) -> list[int]:
    return [packet.sequence & 0xFFFF for n in numbers for packet in order.receive(n & 0xFFFF, n, b"x", now)]


def test_in_order_nothing_waits() -> None:
    order = Reorder()
    released = [packet for n in range(5) for packet in order.receive(n, n * 960, bytes([n]), n / 50)]
    assert released == [AudioPacket(n, n * 960, bytes([n]), n / 50, n == 0) for n in range(5)]
    assert order.get_timer() is None


def test_what_overtook_is_put_back() -> None:
    order = Reorder()
    assert feed(order, 0, 2, 3) == [0]
    assert order.get_timer() == PATIENCE
    assert feed(order, 1, now=0.03) == [1, 2, 3]
    assert order.get_timer() is None


def test_a_missing_packet_is_given_up_in_time() -> None:
    order = Reorder()
    assert feed(order, 0) == [0]
    assert feed(order, 2, now=0.04) == []
    assert order.handle_timer(0.09) == []
    assert order.get_timer() == 0.04 + PATIENCE
    assert [packet.sequence for packet in order.handle_timer(0.101)] == [2]
    assert feed(order, 1, now=0.11) == []
    assert order.packets_late == 1
    assert feed(order, 3, now=0.12) == [3]


def test_each_hole_has_its_own_patience() -> None:
    order = Reorder()
    assert feed(order, 0) == [0]
    assert feed(order, 2, now=0.01) == []
    assert feed(order, 4, now=0.05) == []
    assert [packet.sequence for packet in order.handle_timer(0.08)] == [2]
    assert order.get_timer() == pytest.approx(0.05 + PATIENCE)
    assert feed(order, 3, now=0.1) == [3, 4]


def test_what_is_held_is_bounded() -> None:
    order = Reorder()
    assert feed(order, 0) == [0]
    assert feed(order, *range(2, LIMIT + 2)) == []
    assert feed(order, LIMIT + 2) == list(range(2, LIMIT + 3))


def test_a_repeated_packet_is_dropped_and_counted() -> None:
    order = Reorder()
    assert feed(order, 0, 0, 2, 2, 1, 1) == [0, 1, 2]
    assert order.packets_late == 3


def test_numbers_wrap() -> None:
    order = Reorder()
    released = [p for n in (65534, 65535, 0, 2, 1) for p in order.receive(n, 0, b"x", 0.0)]
    assert [packet.sequence for packet in released] == [65534, 65535, 65536, 65537, 65538]


@pytest.mark.parametrize("jump", [5000, 40000, 65536 - 5000])
def test_a_sender_that_begins_anew_is_followed(jump: int) -> None:
    order = Reorder()
    assert feed(order, 0, 2) == [0]
    released = order.receive(jump, 0, b"x", 0.01)
    assert [(packet.sequence & 0xFFFF, packet.first) for packet in released] == [(2, False), (jump, True)]
    assert order.get_timer() is None
    assert feed(order, jump + 1) == [jump + 1]


@given(
    start=st.integers(0, 0xFFFF),
    arrivals=st.lists(st.tuples(st.integers(0, 120), st.floats(0, 0.05)), max_size=150),
)
def test_whatever_comes_goes_on_once_in_order_and_in_time(start: int, arrivals: list[tuple[int, float]]) -> None:
    order, now, released = Reorder(), 0.0, []
    came: dict[int, float] = {}
    for number, wait in arrivals:
        now += wait
        due = order.get_timer()
        if due is not None and due <= now:
            released += [(packet, due) for packet in order.handle_timer(due)]
        came.setdefault((start + number) & 0xFFFF, now)
        released += [(packet, now) for packet in order.receive((start + number) & 0xFFFF, 0, b"x", now)]
    while (due := order.get_timer()) is not None:
        released += [(packet, due) for packet in order.handle_timer(due)]
    sequences = [packet.sequence for packet, _ in released]
    assert sequences == sorted(set(sequences))
    assert len(sequences) + order.packets_late == len(arrivals)
    for packet, at in released:
        assert at - packet.arrived <= PATIENCE + 0.05 + 1e-9  # the timer is looked at before each arrival
    assert order.receive(sequences[-1] + 1 & 0xFFFF if sequences else 0, 0, b"x", now)


def test_a_shuffled_stream_comes_out_whole() -> None:
    numbers = list(range(1000))
    shuffle = random.Random(1)
    for at in range(0, 1000, 3):
        piece = numbers[at + 1 : at + 3]
        shuffle.shuffle(piece)
        numbers[at + 1 : at + 3] = piece
    assert feed(Reorder(), *numbers) == list(range(1000))
