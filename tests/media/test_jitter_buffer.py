"""The jitter buffer on a format of its own: every payload names its frame, so that what comes out tells all."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import thread_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neko_trio.media.depayload import BadPayload, Payload, VideoFormat
from neko_trio.media.jitter_buffer import EncodedFrame, JitterBuffer

FORMAT = VideoFormat("TEST", "none", lambda payload: Payload(payload, False, False))


@dataclass(frozen=True)
class Packet:
    number: int  # unwrapped
    timestamp: int
    marker: bool
    payload: Payload | None


def stream(sizes: Sequence[int], keys: Iterable[int], start: int = 0) -> list[Packet]:
    """Frames of ``sizes`` packets; those at ``keys`` are keyframes."""
    keys, packets, number = set(keys), [], start
    for index, size in enumerate(sizes):
        for part in range(size):
            key = index in keys
            payload = Payload(f"<{index}.{part}/{size}>".encode(), key and part == 0, key and part == 0)
            packets.append(Packet(number, index * 3600, part == size - 1, payload))
            number += 1
    return packets


def whole(index: int, size: int) -> bytes:
    return b"".join(f"<{index}.{part}/{size}>".encode() for part in range(size))


def feed(buffer: JitterBuffer, packets: Iterable[Packet], now: float = 0.0) -> list[EncodedFrame]:
    frames = []
    for packet in packets:
        frames += buffer.receive(packet.number & 0xFFFF, packet.timestamp, packet.marker, packet.payload, now)
    return frames


def indices(frames: Iterable[EncodedFrame]) -> list[int]:
    return [frame.timestamp // 3600 for frame in frames]


def test_a_frame_leaves_with_its_marker_not_with_the_next_frame() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = stream([3, 2], [0])
    assert feed(buffer, packets[:2], 0.1) == []
    assert feed(buffer, packets[2:3], 0.2) == [EncodedFrame(whole(0, 3), 0, True, 0.2)]
    assert feed(buffer, packets[3:], 0.3) == [EncodedFrame(whole(1, 2), 3600, False, 0.3)]
    assert buffer.get_timer() is None
    assert buffer.take_nacks() == []


def test_a_frame_without_a_marker_leaves_with_the_next_one() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = [Packet(p.number, p.timestamp, p.marker and p.timestamp > 0, p.payload) for p in stream([2, 1], [0])]
    assert indices(feed(buffer, packets)) == [0, 1]


def test_padding_belongs_to_no_frame() -> None:
    buffer = JitterBuffer(FORMAT)
    one, two = stream([1, 1], [0])
    padding = [Packet(1, 0, False, None), Packet(2, 0, False, None)]
    frames = feed(buffer, [one, *padding, Packet(3, two.timestamp, True, two.payload)])
    assert [frame.data for frame in frames] == [whole(0, 1), whole(1, 1)]


def test_nothing_leaves_before_a_keyframe_and_that_at_once() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = stream([1, 2, 1, 3, 1], [3], start=100)
    assert feed(buffer, packets[:6]) == []
    assert indices(feed(buffer, packets[6:])) == [3, 4]


def test_without_a_keyframe_one_is_asked_for() -> None:
    buffer = JitterBuffer(FORMAT)
    assert feed(buffer, stream([1, 2, 1], [], start=100)) == []
    assert buffer.handle_timer(0.2) == []
    assert buffer.keyframes.take(0.2)


def test_the_first_packets_may_come_in_any_order() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = stream([5, 1], [0], start=3)
    assert indices(feed(buffer, [packets[2], packets[0], packets[1], *packets[3:]])) == [0, 1]


def test_a_lost_first_packet_is_asked_for() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = stream([5, 1], [0], start=2)
    assert feed(buffer, packets[1:]) == []
    assert buffer.take_nacks() == [(3 - 32 + i) & 0xFFFF for i in range(32)]
    assert indices(feed(buffer, packets[:1], 0.01)) == [0, 1]


def test_a_loss_is_asked_for_at_once_and_every_30_ms_until_it_comes() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = stream([2, 3, 2], [0])
    feed(buffer, packets[:2], 1.0)
    assert feed(buffer, [packets[3], *packets[5:]], 1.0) == []
    assert buffer.nacks_due
    assert buffer.take_nacks() == [2, 4]
    assert buffer.take_nacks() == []
    asked = []
    while (due := buffer.get_timer()) is not None and due < 1.19:
        assert buffer.handle_timer(due) == []
        asked.append((round(due, 3), buffer.take_nacks()))
    assert asked == [(1.0 + round(i * 0.03, 3), [2, 4, 2, 4]) for i in range(1, 7)]
    assert feed(buffer, [packets[2]], 1.19) == []
    assert indices(feed(buffer, [packets[4]], 1.195)) == [1, 2]
    assert buffer.get_timer() is None
    assert buffer.counts.nacks_sent == 2 + 6 * 4


def test_a_packet_that_came_meanwhile_is_not_asked_for() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = stream([4], [0])
    feed(buffer, [packets[0], packets[3], packets[1]])
    assert buffer.take_nacks() == [2]


def test_a_hole_is_given_up_after_the_patience_and_a_keyframe_asked_for() -> None:
    buffer = JitterBuffer(FORMAT, patience=0.2)
    packets = stream([2, 2, 2, 2, 2], [0, 4])
    assert indices(feed(buffer, [*packets[:2], *packets[3:6]], 5.0)) == [0]
    assert buffer.handle_timer(5.19) == []
    assert not buffer.keyframes.take(5.19)
    assert buffer.handle_timer(5.2) == []
    assert buffer.keyframes.take(5.2)
    assert buffer.get_timer() is None
    assert buffer.counts.holes_given_up == 1
    assert feed(buffer, [packets[2]], 5.21) == []  # too late
    assert buffer.counts.packets_late == 1
    assert indices(feed(buffer, packets[6:], 5.3)) == [4]
    assert buffer.counts.frames_skipped == 1


def test_a_whole_keyframe_behind_the_hole_ends_the_waiting() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = stream([2, 2, 2, 3, 1], [0, 3])
    feed(buffer, [*packets[:2], *packets[3:8]])  # the keyframe lacks its last packet
    assert feed(buffer, packets[8:9], 0.01) == []  # the packet may only have been overtaken
    assert buffer.get_timer() == 0.03
    frames = buffer.handle_timer(0.03)
    assert indices(frames) == [3]
    assert frames[0].data == whole(3, 3)
    assert indices(feed(buffer, packets[9:])) == [4]
    assert not buffer.keyframes.take(0.05)


def test_an_incomplete_keyframe_behind_the_hole_gets_its_own_patience() -> None:
    buffer = JitterBuffer(FORMAT, patience=0.2)
    packets = stream([1, 2, 3, 1], [0, 2])
    feed(buffer, packets[:1])
    feed(buffer, packets[2:4], 0.0)  # 1 lost
    feed(buffer, packets[5:], 0.1)  # 4 lost, in the keyframe
    assert buffer.handle_timer(0.2) == []
    assert indices(feed(buffer, packets[4:5], 0.25)) == [2, 3]


def test_patience_and_rounds_grow_with_the_way_that_retransmissions_take() -> None:
    buffer = JitterBuffer(FORMAT, patience=0.2)
    packets = stream([1] * 60, [0])
    frames = feed(buffer, packets[:1])
    now = 0.0
    for lost in range(1, 41, 2):  # 150 ms for each
        frames += feed(buffer, [packets[lost + 1]], now)
        frames += feed(buffer, [packets[lost]], now + 0.15)
        now += 1
    assert indices(frames) == list(range(41))
    buffer.take_nacks()
    feed(buffer, [packets[42]], now)
    assert buffer.get_timer() == pytest.approx(now + 0.15, abs=0.02)
    buffer.handle_timer(now + 0.4)
    assert buffer.counts.holes_given_up == 0
    buffer.handle_timer(now + 0.6)
    assert buffer.counts.holes_given_up == 1


def test_a_way_longer_than_the_patience_is_learnt_from_late_packets() -> None:
    buffer = JitterBuffer(FORMAT, patience=0.2)
    packets = stream([1] * 20, [0, 4, 8, 12, 16])
    feed(buffer, packets[:1])
    feed(buffer, packets[2:3], 0.0)
    buffer.handle_timer(0.2)
    feed(buffer, packets[1:2], 0.3)  # came, but too late
    feed(buffer, packets[3:9], 0.4)
    feed(buffer, packets[10:11], 1.0)
    buffer.handle_timer(1.3)
    assert indices(feed(buffer, packets[9:10], 1.3)) == [9, 10]


def test_a_keyframe_of_2000_packets_with_a_burst_lost() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = stream([2000, 1], [0], start=65_000)
    assert feed(buffer, [*packets[:100], *packets[504:]]) == []
    lost = buffer.take_nacks()
    assert lost == [packet.number & 0xFFFF for packet in packets[100:504]]
    frames = feed(buffer, packets[100:504], 0.02)
    assert [frame.data for frame in frames] == [whole(0, 2000), whole(1, 1)]


def test_more_than_the_capacity_ahead_starts_anew() -> None:
    buffer = JitterBuffer(FORMAT, capacity=64)
    feed(buffer, stream([1, 1], [0]))
    assert indices(feed(buffer, stream([2, 1], [0], start=70))) == [0, 1]
    assert buffer.counts.holes_given_up == 1


def test_a_sequence_that_jumped_back_is_followed_with_its_second_packet() -> None:
    buffer = JitterBuffer(FORMAT)
    feed(buffer, stream([1] * 10, [0], start=30_000))
    again = stream([1, 2, 1], [0, 1], start=100)
    assert feed(buffer, again[:1]) == []
    assert indices(feed(buffer, again[1:])) == [1, 2]


def test_one_old_straggler_changes_nothing() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = stream([1] * 5000, [0])
    feed(buffer, packets[:4999])
    assert feed(buffer, [packets[10], packets[4999]]) != []
    assert buffer.counts.packets_late == 1


def test_work_for_a_packet_does_not_grow_with_what_is_missing() -> None:
    """30,000 packets that all come again, against 30,000 of which none is missing. CPU time, the best of five."""
    packets = stream([1, 30_000, 1], [0, 1])

    def cost(missing: bool) -> float:
        buffer = JitterBuffer(FORMAT, capacity=32_000)
        feed(buffer, [*packets[:2], *(packets[-1:] if missing else ())])
        started = thread_time()
        for packet in packets[2:-1]:
            buffer.receive(packet.number & 0xFFFF, packet.timestamp, packet.marker, packet.payload, 0.0)
            buffer.get_timer()
        return thread_time() - started

    assert min(cost(True) for _ in range(5)) < 3 * min(cost(False) for _ in range(5))


def flow(buffer: JitterBuffer, packets: Iterable[Packet], start: float) -> float:
    """One packet every 40 ms; the time after the last."""
    now = start
    for packet in packets:
        feed(buffer, [packet], now)
        now += 0.04
    return now


def test_a_hole_that_is_repaired_late_is_a_freeze() -> None:
    buffer, packets = JitterBuffer(FORMAT), stream([1] * 60, [0])
    flow(buffer, packets[:40], 0.0)  # the last at 1.56
    feed(buffer, packets[41:44], 1.7)
    feed(buffer, packets[40:41], 1.86)
    assert (buffer.counts.freezes.count, buffer.counts.packets_repaired) == (1, 1)
    assert buffer.counts.freezes.seconds == pytest.approx(0.3)


def test_waiting_for_a_keyframe_is_a_freeze() -> None:
    buffer, packets = JitterBuffer(FORMAT), stream([1] * 60, [0, 55])
    flow(buffer, packets[:40], 0.0)  # the last at 1.56
    feed(buffer, packets[41:42], 1.64)
    buffer.handle_timer(1.84)
    assert buffer.keyframes.take(1.84)
    feed(buffer, packets[55:57], 2.36)
    buffer.handle_timer(2.56)
    assert buffer.counts.freezes.count == 1
    assert buffer.counts.freezes.seconds == pytest.approx(1.0)


def test_video_that_was_switched_off_is_no_freeze() -> None:
    buffer, packets = JitterBuffer(FORMAT), stream([1] * 60 + [2, 1], [0, 40, 60])
    now = flow(buffer, packets[:40], 0.0)
    now = flow(buffer, packets[40:60], now + 5)
    assert buffer.counts.freezes.count == 0
    feed(buffer, packets[60:61], now + 5)
    feed(buffer, packets[61:62], now + 5.4)
    assert buffer.counts.freezes.count == 0
    feed(buffer, packets[62:], now + 5.8)  # on again since then
    assert buffer.counts.freezes.count == 1
    assert buffer.counts.freezes.seconds == pytest.approx(0.4)


def test_the_network_away_is_a_freeze_though_a_keyframe_ends_it() -> None:
    buffer, packets = JitterBuffer(FORMAT), stream([1] * 60, [0, 50])
    now = flow(buffer, packets[:40], 0.0)
    feed(buffer, packets[50:51], now + 0.46)
    buffer.handle_timer(now + 0.5)
    assert buffer.counts.freezes.count == 1
    assert buffer.counts.freezes.seconds == pytest.approx(0.54)


def test_a_keyframe_that_begins_ends_the_wait_after_a_request_in_vain() -> None:
    buffer, packets = JitterBuffer(FORMAT), stream([1] * 4 + [2, 2, 1], [0, 4])
    feed(buffer, [packets[0], *packets[2:4]])
    buffer.handle_timer(0.2)
    assert buffer.keyframes.take(0.2)
    buffer.keyframes.lost()
    assert not buffer.keyframes.take(1.3)
    feed(buffer, packets[4:5], 1.4)
    assert buffer.keyframes.take(1.4)


def fragments(index: int, kinds: str, start: int) -> list[Packet]:
    """One frame, H264's way: ``s`` opens one (parameter sets), ``k`` is a part of a keyframe, ``.`` of another."""
    return [
        Packet(start + part, index * 3600, part == len(kinds) - 1, Payload(kind.encode(), kind == "s", kind == "k"))
        for part, kind in enumerate(kinds)
    ]


def test_the_rest_of_a_keyframe_is_no_keyframe() -> None:
    buffer = JitterBuffer(FORMAT)
    assert feed(buffer, [*fragments(0, "kkk", 50), *fragments(1, "..", 53)]) == []
    buffer.handle_timer(0.2)  # what came before it will not come any more
    assert feed(buffer, [*fragments(2, "kk", 55), *fragments(3, "..", 57)], 0.3) == []
    assert indices(feed(buffer, [*fragments(4, "kk", 59), *fragments(5, ".", 61)], 0.3)) == [4, 5]


def test_parameter_sets_before_a_picture_that_needs_a_reference_do_not_make_it_a_keyframe() -> None:
    buffer = JitterBuffer(FORMAT)
    feed(buffer, fragments(0, "sk", 0))
    feed(buffer, fragments(2, "s..", 5))  # 2 to 4 are lost
    assert buffer.handle_timer(0.2) == []
    assert feed(buffer, fragments(3, "..", 8), 0.3) == []
    assert indices(feed(buffer, fragments(4, "sk", 10), 0.3)) == [4]


def test_a_round_does_not_repeat_what_was_asked_for_just_before() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = stream([6], [0])
    feed(buffer, [packets[0], packets[2]], 0.0)
    feed(buffer, [packets[4]], 0.029)
    assert buffer.take_nacks() == [1, 3]
    buffer.handle_timer(0.03)
    assert buffer.take_nacks() == [1, 1]
    buffer.handle_timer(0.06)
    assert buffer.take_nacks() == [1, 3, 1, 3]


def test_many_missing_packets_are_not_asked_for_twice_at_once() -> None:
    buffer = JitterBuffer(FORMAT)
    packets = stream([2 * JitterBuffer.INSISTED + 3], [0])
    feed(buffer, packets[::2], 0.0)
    first = buffer.take_nacks()
    assert len(first) == JitterBuffer.INSISTED + 1
    buffer.handle_timer(0.03)
    assert buffer.take_nacks() == first
    feed(buffer, packets[1:2], 0.04)
    buffer.handle_timer(0.07)
    assert buffer.take_nacks() == first[1:] * 2


# -- properties


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Packet], list[int], set[int]]:
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=25))
    keys = {0} | draw(st.sets(st.integers(0, len(sizes) - 1), max_size=4))
    start = draw(st.sampled_from([0, 5, 65_530, 65_500, 40_000]))
    return stream(sizes, keys, start), sizes, keys


@given(streams(), st.randoms(use_true_random=False))
def test_shuffled_and_duplicated_within_reach_everything_comes_out(
    made: tuple[list[Packet], list[int], set[int]], rng: random.Random
) -> None:
    packets, sizes, _ = made
    shuffled = sorted(packets, key=lambda packet: packet.number + rng.random() * 8)
    duplicated = [packet for packet in shuffled for _ in range(rng.choice([1, 1, 2]))]
    frames = feed(JitterBuffer(FORMAT), duplicated)
    first = indices(frames)[0]  # at the beginning a later keyframe may be whole before the first one
    assert first in made[2]
    assert indices(frames) == list(range(first, len(sizes)))
    check_promises(frames, sizes, made[2])


def test_a_picture_whose_pieces_do_not_fit_is_lost_with_all_that_refers_to_it() -> None:
    def join(pieces: Sequence[bytes]) -> bytes:
        if pieces[0].startswith(b"<2."):
            raise BadPayload("no")
        return b"".join(pieces)

    buffer = JitterBuffer(VideoFormat("TEST", "none", FORMAT.depayload, join))
    packets = stream([1, 1, 2, 1, 1, 1], [0, 4])
    assert indices(feed(buffer, packets[:5])) == [0, 1]
    assert buffer.keyframes.take(0.0)
    assert indices(feed(buffer, packets[5:])) == [4, 5]
    assert buffer.counts.frames_skipped == 2
    assert buffer.counts.holes_given_up == 0


@settings(max_examples=300)
@given(streams(), st.floats(0, 0.5), st.floats(0, 1), st.randoms(use_true_random=False))
def test_whatever_is_lost_late_or_twice_the_promises_hold(
    made: tuple[list[Packet], list[int], set[int]], loss: float, answered: float, rng: random.Random
) -> None:
    packets, sizes, keys = made
    by_number = {packet.number & 0xFFFF: packet for packet in packets}
    buffer, frames = JitterBuffer(FORMAT, capacity=64), list[EncodedFrame]()
    arrivals = [(i * 0.01 + rng.random() * 0.03, packet) for i, packet in enumerate(packets) if rng.random() >= loss]
    arrivals += [(now + rng.random(), packet) for now, packet in arrivals if rng.random() < 0.2]
    now = 0.0
    while arrivals or (buffer.get_timer() is not None):
        arrivals.sort(key=lambda arrival: arrival[0])
        timer = buffer.get_timer()
        if arrivals and (timer is None or arrivals[0][0] <= timer):
            now, packet = arrivals.pop(0)
            frames += feed(buffer, [packet], now)
        else:
            assert timer is not None
            now = max(now, timer)
            frames += buffer.handle_timer(now)
        for number in buffer.take_nacks():
            if number in by_number and rng.random() < answered:
                arrivals.append((now + rng.random() * 0.3, by_number[number]))
        assert len(buffer._packets) + len(buffer._missing) <= 64
        assert list(buffer._missing) == sorted(buffer._missing)
        assert not buffer._missing or next(iter(buffer._missing)) == buffer._next
    check_promises(frames, sizes, keys)


def check_promises(frames: Sequence[EncodedFrame], sizes: Sequence[int], keys: set[int]) -> None:
    """In order, whole, and none whose reference did not leave just before it."""
    previous = -1
    for frame in frames:
        index = frame.timestamp // 3600
        assert index > previous
        assert frame.data == whole(index, sizes[index])
        assert frame.key == (index in keys)
        assert frame.key or index == previous + 1
        previous = index
