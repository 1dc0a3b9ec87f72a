"""What waits for the decoder: in order, bounded, nothing before a keyframe, nothing lost that may be asked for."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from neko_trio.media.frames import FrameContext
from neko_trio.media.jitter_buffer import EncodedFrame
from neko_trio.media.picture_group import NumberedFrame, PictureGroup

CONTEXT = FrameContext(session=object(), epoch=1, screen_size=(16, 16), stream=None)


def frame(number: int, *, key: bool = False, size: int = 10) -> NumberedFrame:
    return NumberedFrame(number, CONTEXT, EncodedFrame(bytes(size), number * 3600, key, number / 25))


def drain(group: PictureGroup) -> list[int]:
    numbers = []
    while group.ready:
        numbers.append(group.take().number)
        group.decoded()
    return numbers


def begun(*numbers: int) -> PictureGroup:
    """A group whose first keyframe, number 1, has been decoded, and to which ``numbers`` were added."""
    group = PictureGroup()
    group.add(frame(1, key=True))
    assert drain(group) == [1]
    for number in numbers:
        assert group.add(frame(number))
    return group


def look(group: PictureGroup, *, every: bool = False, after: float = -math.inf) -> None:
    group.look(every=every, after=after)


def test_the_first_keyframe_is_decoded_though_nobody_looks_and_no_more() -> None:
    group = PictureGroup()
    assert not group.add(frame(1))
    assert (group.newest, group.ready, group.frames_dropped) == (0, False, 1)
    assert group.add(frame(2, key=True))
    assert group.add(frame(3))
    assert group.take().number == 2
    group.decoded()
    assert not group.ready
    assert len(group) == 1


def test_a_keyframe_that_could_not_be_decoded_was_not_the_first() -> None:
    group = PictureGroup()
    group.add(frame(1, key=True))
    group.take()
    assert not group.drop_to_keyframe()
    group.add(frame(2, key=True))
    assert drain(group) == [2]


def test_who_looks_goes_on_after_the_last_decoded_frame() -> None:
    group = begun(2, 3)
    assert not group.ready
    look(group)
    assert drain(group) == [2, 3]
    group.add(frame(4))
    assert drain(group) == [4]
    group.rest()
    group.add(frame(5))
    assert not group.ready
    look(group)
    assert drain(group) == [5]
    assert (group.frames_undecoded, group.frames_dropped) == (0, 0)


def test_who_looks_begins_at_the_last_keyframe() -> None:
    group = begun(2, 3)
    group.add(frame(4, key=True))
    group.add(frame(5))
    look(group)
    assert drain(group) == [4, 5]
    assert (group.frames_undecoded, group.frames_dropped) == (2, 0)


def test_a_keyframe_makes_what_waits_useless_for_the_newest_but_not_for_every_frame() -> None:
    group = begun()
    look(group)
    for number in range(2, 6):
        group.add(frame(number, key=number == 4))
    assert drain(group) == [4, 5]
    assert group.frames_dropped == 2
    look(group, every=True)
    for number in range(6, 10):
        group.add(frame(number, key=number == 8))
    assert drain(group) == [6, 7, 8, 9]


def test_when_the_reader_of_every_frame_leaves_the_others_need_only_the_last_keyframe() -> None:
    group = begun()
    look(group, every=True)
    for number in range(2, 10):
        group.add(frame(number, key=number in (4, 7)))
    look(group)
    assert drain(group) == [7, 8, 9]
    assert group.frames_dropped == 5


def test_what_arrived_too_early_is_decoded_only_if_a_later_frame_needs_it() -> None:
    group = begun(2, 3)
    look(group, after=3 / 25)
    assert not group.ready
    group.add(frame(4))
    assert drain(group) == [2, 3, 4]
    look(group, after=6 / 25)
    group.add(frame(5))
    group.add(frame(6))
    group.add(frame(7, key=True))
    assert drain(group) == [7]
    assert (group.frames_undecoded, group.frames_dropped) == (2, 0)


def test_more_than_may_be_kept_is_decoded_not_lost() -> None:
    group = begun(*range(2, 2 + PictureGroup.KEPT))
    assert not group.ready
    last = 2 + PictureGroup.KEPT
    group.add(frame(last))
    assert drain(group) == list(range(2, last + 1))
    group.add(frame(last + 1))
    assert not group.ready
    assert group.add(frame(last + 2, size=PictureGroup.KEPT_BYTES))
    assert drain(group) == [last + 1, last + 2]


def test_a_decoder_that_is_behind_loses_all_up_to_the_next_keyframe() -> None:
    group = begun()
    look(group)
    for number in range(2, 2 + PictureGroup.BACKLOG):
        assert group.add(frame(number))
    assert not group.add(frame(1000))
    assert (len(group), group.frames_dropped) == (0, PictureGroup.BACKLOG + 1)
    assert not group.add(frame(1001))
    assert group.add(frame(1002, key=True))
    assert drain(group) == [1002]


def test_a_decoder_that_is_behind_keeps_the_keyframe_that_waits_already() -> None:
    group = begun()
    look(group, every=True)
    for number in range(2, 2 + PictureGroup.BACKLOG):
        group.add(frame(number, key=number == 50))
    assert group.add(frame(1000))
    assert drain(group) == [*range(50, 2 + PictureGroup.BACKLOG), 1000]
    assert group.frames_dropped == 48
    assert group.add(frame(1001, size=PictureGroup.BACKLOG_BYTES))
    assert not group.add(frame(1002))


def test_after_a_lost_reference_nothing_comes_before_a_keyframe() -> None:
    group = begun()
    look(group, every=True)
    for number in range(2, 6):
        group.add(frame(number, key=number == 4))
    assert group.drop_to_keyframe()
    assert drain(group) == [4, 5]
    assert not group.drop_to_keyframe()
    assert not group.add(frame(6))
    assert group.add(frame(7, key=True))
    group.clear()
    assert not group.add(frame(8))


@settings(max_examples=300)
@given(
    st.lists(
        st.one_of(
            st.just("frame"),
            st.just("frame"),
            st.just("key"),
            st.just("take"),
            st.just("take"),
            st.just("rest"),
            st.just("fail"),
            st.just("big"),
            st.tuples(st.booleans(), st.sampled_from([-math.inf, 1.0, 4.0])),
        ),
        max_size=400,
    )
)
def test_whatever_happens_the_decoder_gets_whole_runs_and_memory_is_bounded(
    steps: list[str | tuple[bool, float]],
) -> None:
    group, number, taken = PictureGroup(), 0, list[NumberedFrame]()
    accepted, failed = dict[int, bool](), False
    for step in steps:
        if isinstance(step, tuple):
            look(group, every=step[0], after=step[1])
        elif step == "rest":
            group.rest()
        elif step == "take":
            if group.ready:
                taken.append(group.take())
                # a keyframe, or what follows what was decoded just before: no broken reference
                assert taken[-1].encoded.key or (taken[-1].number == taken[-2].number + 1 and not failed)
                failed = False
                group.decoded()
        elif step == "fail":
            group.drop_to_keyframe()
            failed = True
        else:
            number += 1
            accepted[number] = group.add(
                frame(number, key=step == "key", size=PictureGroup.KEPT_BYTES // 2 if step == "big" else 10)
            )
        assert len(group) <= PictureGroup.BACKLOG
        assert group._bytes == sum(len(one.encoded.data) for one in group._waiting) <= PictureGroup.BACKLOG_BYTES
        assert group._keys == sum(one.encoded.key for one in group._waiting)
    assert [one.number for one in taken] == sorted({one.number for one in taken})
    assert number == len(taken) + len(group) + group.frames_dropped + group.frames_undecoded
