"""Waiting on the screen, in virtual time: a peer that shows what the test draws."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from numpy.typing import NDArray
from PIL import Image
from trio.testing import MockClock, wait_all_tasks_blocked

from neko_trio import Frame, Session
from neko_trio.desktop.waiting import SILENCE
from neko_trio.errors import InvalidInput, SessionClosed, SessionLost, VideoOff, VideoStalled
from neko_trio.protocol import events
from neko_trio.testing import FakeMedia, ScriptedServer, cancel_at_every_step, open_scripted_session
from neko_trio.testing._fake_peer import FakePeer
from neko_trio.testing._scripted import system_init

WIDTH, HEIGHT = 320, 200
Pixels = NDArray[np.uint8]


def page(seed: int = 1) -> Pixels:
    """A screen full of blots, like no other."""
    blots: Pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    return blots.repeat(8, axis=0).repeat(8, axis=1)


def with_noise(pixels: Pixels, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).integers(-12, 13, pixels.shape)
    noisy: Pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return noisy


def with_box(pixels: Pixels, box: tuple[int, int, int, int], colour: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
    left, top, right, bottom = box
    changed = pixels.copy()
    changed[top:bottom, left:right] = colour
    return changed


class Desktop:
    """A session and the peer that shows it things."""

    def __init__(self, session: Session, server: ScriptedServer, media: FakeMedia) -> None:
        self.session, self.server, self.media = session, server, media
        self.screen = session.screen

    @property
    def peer(self) -> FakePeer:
        return self.media.peers[-1]

    def show(self, pixels: Pixels) -> Frame:
        return self.peer.show(pixels)

    async def show_every(self, interval: float, pictures: list[Pixels]) -> None:
        for pixels in pictures:
            self.show(pixels)
            await trio.sleep(interval)


def scripted() -> ScriptedServer:
    server = ScriptedServer()
    init = system_init()
    size = events.ScreenSize(width=WIDTH, height=HEIGHT, rate=30)
    server.init = events.SystemInit(
        **{name: getattr(init, name) for name in init.__struct_fields__} | {"screen_size": size}
    )
    return server


@pytest.fixture
async def desktop(autojump_clock: MockClock) -> AsyncIterator[Desktop]:
    server, media = scripted(), FakeMedia(silent=True)
    async with open_scripted_session(server, media) as session:
        yield Desktop(session, server, media)


class Waiting:
    """A wait in a task of its own; what it returned, and when."""

    def __init__(self, wait: Callable[[], Awaitable[Any]]) -> None:
        self._wait = wait
        self.done = False
        self.value: Any = None
        self.at = 0.0

    async def run(self) -> None:
        self.value = await self._wait()
        self.done, self.at = True, trio.current_time()


# -- a change


async def test_noise_is_no_change_and_a_box_is(desktop: Desktop, autojump_clock: MockClock) -> None:
    first = page()
    desktop.show(first)
    async with trio.open_nursery() as nursery:
        waiting = Waiting(desktop.screen.wait_change)
        nursery.start_soon(waiting.run)
        for seed in range(5):
            await wait_all_tasks_blocked()
            desktop.show(with_noise(first, seed))
        await wait_all_tasks_blocked()
        assert not waiting.done
        shown = desktop.show(with_box(first, (40, 48, 60, 52)))
    change = waiting.value
    assert change.frame is shown
    assert change.box == change.frame_box == (40, 48, 64, 56), "all of it is inside, and no more than its blocks"


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 160, 0), (12, 12, 12), (138, 138, 138)])
async def test_each_kind_of_change_counts(
    desktop: Desktop, autojump_clock: MockClock, colour: tuple[int, int, int]
) -> None:
    """Colours of nearly the same brightness, and a grey a little lighter all over."""
    plain = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    desktop.show(with_box(plain, (64, 64, 128, 96), (255, 0, 0) if colour == (0, 160, 0) else (128, 128, 128)))
    async with trio.open_nursery() as nursery:
        waiting = Waiting(desktop.screen.wait_change)
        nursery.start_soon(waiting.run)
        await wait_all_tasks_blocked()
        desktop.show(with_box(plain, (64, 64, 128, 96), colour))
    assert waiting.value.box == (64, 64, 128, 96)


async def test_a_single_pixel_is_a_change(desktop: Desktop, autojump_clock: MockClock) -> None:
    plain = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    desktop.show(plain)
    async with trio.open_nursery() as nursery:
        waiting = Waiting(lambda: desktop.screen.wait_change((100, 100, 200, 150)))
        nursery.start_soon(waiting.run)
        await wait_all_tasks_blocked()
        desktop.show(with_box(plain, (150, 120, 151, 121), (0, 0, 0)))
    assert waiting.value.box == (150, 120, 151, 121)


async def test_the_tolerance_is_what_is_asked_for(desktop: Desktop, autojump_clock: MockClock) -> None:
    plain = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    before = desktop.show(plain)
    desktop.show(with_box(plain, (150, 120, 152, 122), (140, 140, 140)))  # 34 in brightness
    assert (await desktop.screen.wait_change(since=before, tolerance=30)).box == (150, 120, 152, 122)
    with trio.move_on_after(1) as scope:
        await desktop.screen.wait_change(since=before, tolerance=40)
    assert scope.cancelled_caught


@pytest.mark.parametrize("tolerance", [-1, 256, float("nan"), True, "much"])
async def test_a_tolerance_that_is_none(desktop: Desktop, autojump_clock: MockClock, tolerance: Any) -> None:
    for wait in (desktop.screen.wait_change, desktop.screen.wait_stable):
        with pytest.raises(InvalidInput, match="tolerance"):
            await wait(tolerance=tolerance)
    with pytest.raises(InvalidInput, match="tolerance"):
        await desktop.screen.wait_match(page(), tolerance=tolerance)


async def test_outside_of_the_region_nothing_counts(desktop: Desktop, autojump_clock: MockClock) -> None:
    first = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    desktop.show(first)
    async with trio.open_nursery() as nursery:
        waiting = Waiting(lambda: desktop.screen.wait_change((41, 49, 99, 101)))
        nursery.start_soon(waiting.run)
        for box in ((0, 0, 40, HEIGHT), (100, 0, WIDTH, HEIGHT), (0, 0, WIDTH, 48), (0, 102, WIDTH, HEIGHT)):
            await wait_all_tasks_blocked()
            desktop.show(with_box(first, box))
        await wait_all_tasks_blocked()
        assert not waiting.done
        desktop.show(with_box(first, (98, 100, 120, 120)))
    assert waiting.value.box == (98, 100, 99, 101), "cut off at the region's edge"


async def test_since_a_frame(desktop: Desktop, autojump_clock: MockClock) -> None:
    before = desktop.show(page())
    with trio.move_on_after(1) as scope:
        await desktop.screen.wait_change(since=before)
    assert scope.cancelled_caught, "itself is no change"
    after = desktop.show(with_box(page(), (0, 0, 50, 50)))
    for since in (before, before.crop((60, 60, 80, 80)), before.scaled(max_edge=40)):
        with trio.fail_after(0.01):
            change = await desktop.screen.wait_change(since=since)
        assert change.frame is after, "what is there already is found at once, whatever was made of the frame"


async def test_since_a_frame_of_another_session(desktop: Desktop, autojump_clock: MockClock) -> None:
    other = desktop.show(page())
    foreign = replace(other, context=replace(other.context, session=object()))
    with pytest.raises(InvalidInput, match="another session"):
        await desktop.screen.wait_change(since=foreign)


async def test_a_drift_too_small_to_see_adds_up(desktop: Desktop, autojump_clock: MockClock) -> None:
    plain = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    desktop.show(plain)
    async with trio.open_nursery() as nursery:
        waiting = Waiting(desktop.screen.wait_change)
        nursery.start_soon(waiting.run)
        for lighter in range(1, 20):
            await wait_all_tasks_blocked()
            if waiting.done:
                break
            desktop.show(plain + np.uint8(lighter))
    assert waiting.value.frame.number in range(8, 12)


async def test_another_size_of_the_screen_is_a_change_of_all(desktop: Desktop, autojump_clock: MockClock) -> None:
    desktop.show(page())
    async with trio.open_nursery() as nursery:
        waiting = Waiting(desktop.screen.wait_change)
        nursery.start_soon(waiting.run)
        await wait_all_tasks_blocked()
        desktop.server.send(events.ScreenUpdated(id="x", width=160, height=104, rate=30))
        await wait_all_tasks_blocked()
        desktop.show(page()[:104, :160])
    assert waiting.value.box == (0, 0, 160, 104)
    with pytest.raises(InvalidInput, match="not on the screen, which is 160x104"):
        await desktop.screen.wait_change((0, 0, 170, 100))


async def test_a_region_that_is_lost_meanwhile(desktop: Desktop, autojump_clock: MockClock) -> None:
    desktop.show(page())
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(InvalidInput, match="160x104"):
                await desktop.screen.wait_stable((100, 100, 300, 180))

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        desktop.server.send(events.ScreenUpdated(id="x", width=160, height=104, rate=30))
        await wait_all_tasks_blocked()
        desktop.show(page()[:104, :160])


@pytest.mark.parametrize(
    "region",
    [
        *((left, 0, 10, 10) for left in (-1, 10, 11)),
        (0, 0, WIDTH + 1, 10),
        (0, 0, 10, HEIGHT + 1),
        (0, 5, 10, 5),
        (0, 0, 10.0, 10),
        (0, 0, 10),
        7,
        "abcd",
    ],
)
async def test_a_region_that_is_none(desktop: Desktop, autojump_clock: MockClock, region: Any) -> None:
    for wait in (desktop.screen.wait_change, desktop.screen.wait_stable):
        with pytest.raises(InvalidInput):
            await wait(region)
    with pytest.raises(InvalidInput):
        await desktop.screen.wait_match(page(), region)
    with pytest.raises(InvalidInput):
        async with desktop.screen.watch(region):
            raise AssertionError


async def test_a_smaller_stream(desktop: Desktop, autojump_clock: MockClock) -> None:
    """Regions and boxes are the screen's, whatever size its pictures have."""
    small = np.ascontiguousarray(page()[::2, ::2])
    desktop.show(small)
    async with trio.open_nursery() as nursery:
        waiting = Waiting(lambda: desktop.screen.wait_change((160, 100, 320, 200)))
        nursery.start_soon(waiting.run)
        await wait_all_tasks_blocked()
        desktop.show(with_box(small, (0, 0, 40, 100)))
        await wait_all_tasks_blocked()
        assert not waiting.done
        desktop.show(with_box(small, (96, 60, 104, 64)))
    change = waiting.value
    assert (change.box, change.frame_box) == ((192, 116, 208, 132), (96, 58, 104, 66))


# -- stillness


async def test_still_pictures_are_stable_after_the_time_asked_for(desktop: Desktop, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desktop.show_every, 0.04, [with_noise(page(), seed) for seed in range(60)])
        await trio.sleep(0.5)
        began = trio.current_time()
        frame = await desktop.screen.wait_stable(for_=0.3)
        assert 0.3 <= frame.arrived - began <= 0.3401
        assert trio.current_time() == frame.arrived
        nursery.cancel_scope.cancel()


async def test_stillness_begins_with_the_last_change(desktop: Desktop, autojump_clock: MockClock) -> None:
    moving = [with_box(page(), (10 * step, 0, 10 * step + 10, 10)) for step in range(10)]
    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(desktop.show_every, 0.1, moving + [moving[-1]] * 20)
        frame = await desktop.screen.wait_stable(for_=0.3)
        assert frame.arrived - began == pytest.approx(1.2)
        nursery.cancel_scope.cancel()


async def test_motion_elsewhere_does_not_matter(desktop: Desktop, autojump_clock: MockClock) -> None:
    moving = [with_box(page(), (10 * step, 0, 10 * step + 10, 10)) for step in range(30)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desktop.show_every, 0.1, moving)
        with trio.move_on_after(2) as scope:
            await desktop.screen.wait_stable()
        assert scope.cancelled_caught
        with trio.fail_after(0.5):
            await desktop.screen.wait_stable((0, 20, WIDTH, HEIGHT))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("for_", [0.0, 0.3, 2.0, 12.0])
async def test_a_screen_that_sends_nothing_is_stable(desktop: Desktop, autojump_clock: MockClock, for_: float) -> None:
    shown = desktop.show(page())
    await trio.sleep(1)
    began = trio.current_time()
    assert await desktop.screen.wait_stable(for_=for_) is shown
    assert trio.current_time() - began == pytest.approx(max(for_, SILENCE))


async def test_frames_may_be_rare(desktop: Desktop, autojump_clock: MockClock) -> None:
    """One every 0.4 s: each is waited for, silence is longer."""
    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(desktop.show_every, 0.4, [page(), page(2), page(2), page(3), *[page(4)] * 9])
        frame = await desktop.screen.wait_stable(for_=0.3)
        assert frame.arrived - began == pytest.approx(0.8)
        nursery.cancel_scope.cancel()


async def test_while_paused_nothing_is_stable(desktop: Desktop, autojump_clock: MockClock) -> None:
    desktop.show(page())
    await desktop.screen.pause()
    async with trio.open_nursery() as nursery:
        waiting = Waiting(desktop.screen.wait_stable)
        nursery.start_soon(waiting.run)
        await trio.sleep(3)
        assert not waiting.done
        await desktop.screen.resume()
        desktop.show(page())
        resumed = trio.current_time()
    assert waiting.at - resumed <= SILENCE + 0.001


@pytest.mark.parametrize("for_", [-0.1, 3601, float("inf"), float("nan"), True, "long"])
async def test_a_time_that_is_none(desktop: Desktop, autojump_clock: MockClock, for_: Any) -> None:
    with pytest.raises(InvalidInput, match="for_"):
        await desktop.screen.wait_stable(for_=for_)


async def test_on_demand_the_video_is_on_while_it_is_waited_on(autojump_clock: MockClock) -> None:
    server, media = scripted(), FakeMedia(rate=25)
    async with open_scripted_session(server, media, video="on_demand") as session:
        await trio.sleep(1)
        assert server.video.disabled
        began = trio.current_time()
        # What films shows black pictures of 16x16: all of them equal.
        assert 0.3 <= (await session.screen.wait_stable(for_=0.3)).arrived - began < 0.4
        assert not server.video.disabled
        await trio.sleep(0.5)
        assert server.video.disabled
        with trio.move_on_after(3) as scope:
            await session.screen.wait_change()
        assert scope.cancelled_caught


# -- watching


async def test_watching_gives_each_change_from_the_one_before(desktop: Desktop, autojump_clock: MockClock) -> None:
    plain = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    desktop.show(plain)
    async with desktop.screen.watch() as changes:
        for step in range(5):
            await wait_all_tasks_blocked()
            shown = desktop.show(with_box(plain, (32 * step, 0, 32 * step + 16, 16)))
            change = await anext(changes)
            assert change.frame is shown
            assert change.box == (max(0, 32 * step - 32), 0, 32 * step + 16, 16), "what has gone, and what has come"
        with trio.move_on_after(1) as scope:
            await anext(changes)
        assert scope.cancelled_caught
    assert [change async for change in changes] == []


async def test_what_comes_right_after_the_block_is_entered_is_a_change(
    desktop: Desktop, autojump_clock: MockClock
) -> None:
    desktop.show(page())
    async with desktop.screen.watch() as changes:
        shown = desktop.show(page(2))
        assert (await anext(changes)).frame is shown


async def test_a_slow_reader_of_changes_gets_one_for_all(desktop: Desktop, autojump_clock: MockClock) -> None:
    plain = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    desktop.show(plain)
    async with desktop.screen.watch() as changes:
        both = with_box(plain, (0, 0, 16, 16))
        desktop.show(both)
        both = with_box(both, (160, 80, 176, 96))
        newest = desktop.show(both)
        change = await anext(changes)
        assert (change.box, change.frame) == ((0, 0, 176, 96), newest)
        with trio.move_on_after(1) as scope:
            await anext(changes)
        assert scope.cancelled_caught, "nothing is kept"


# -- finding


def kinds_of(pixels: Pixels, folder: Path, frame: Frame, box: tuple[int, int, int, int]) -> list[Any]:
    Image.fromarray(pixels).save(folder / "wanted.png")
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    Image.fromarray(opaque).save(folder / "opaque.png")
    return [pixels, opaque, str(folder / "wanted.png"), folder / "opaque.png", frame.crop(box)]


async def test_each_kind_of_picture_is_found_where_it_is(
    desktop: Desktop, autojump_clock: MockClock, tmp_path: Path
) -> None:
    frame = desktop.show(with_noise(page(), 3))
    box = (101, 57, 161, 90)
    left, top, right, bottom = box
    for image in kinds_of(page()[top:bottom, left:right], tmp_path, frame, box):
        match = await desktop.screen.wait_match(image)
        assert (match.box, match.frame_box, match.frame) == (box, box, frame)
        assert match.center == (130, 73)
        assert match.difference < 10
        assert (await desktop.screen.wait_match(image, (100, 50, 200, 100))).box == box


async def test_it_is_waited_for_until_it_shows(desktop: Desktop, autojump_clock: MockClock) -> None:
    wanted = page(7)[40:80, 40:120]
    plain = page()
    desktop.show(plain)
    async with trio.open_nursery() as nursery:
        waiting = Waiting(lambda: desktop.screen.wait_match(wanted))
        nursery.start_soon(waiting.run)
        for seed in range(3):
            await wait_all_tasks_blocked()
            desktop.show(with_noise(plain, seed))
        for picture in (with_box(plain, (0, 0, 100, 50)), plain, plain):
            await wait_all_tasks_blocked()
            desktop.show(picture)
        await wait_all_tasks_blocked()
        assert not waiting.done
        there = plain.copy()
        there[99:139, 201:281] = wanted
        shown = desktop.show(there)
    assert (waiting.value.box, waiting.value.frame) == ((201, 99, 281, 139), shown)


@pytest.mark.parametrize("edge", [(102, 62, 104, 82), (120, 62, 122, 82), (102, 62, 122, 64), (102, 80, 122, 82)])
async def test_what_was_missing_of_it_is_enough_to_find_it(
    desktop: Desktop, autojump_clock: MockClock, edge: tuple[int, int, int, int]
) -> None:
    """Only what has changed is searched, and that is an edge of it."""
    box = (102, 62, 122, 82)
    whole = with_box(np.zeros((HEIGHT, WIDTH, 3), np.uint8), box)
    desktop.show(with_box(whole, edge, (0, 0, 0)))
    async with trio.open_nursery() as nursery:
        waiting = Waiting(lambda: desktop.screen.wait_match(whole[62:82, 102:122]))
        nursery.start_soon(waiting.run)
        await wait_all_tasks_blocked()
        assert not waiting.done
        desktop.show(whole)
    assert waiting.value.box == box


async def test_a_clock_that_jumps_does_not_overtake_large_pictures(autojump_clock: MockClock) -> None:
    """They are looked at in threads, which such a clock does not see: not then."""
    server, media = ScriptedServer(), FakeMedia(silent=True)
    large = np.zeros((720, 1280, 3), np.uint8)
    async with open_scripted_session(server, media) as session:
        desktop = Desktop(session, server, media)
        before = desktop.show(large)
        desktop.show(with_box(large, (1000, 600, 1016, 616)))
        with trio.fail_after(0.001):
            change = await session.screen.wait_change(since=before)
            match = await session.screen.wait_match(change.frame.crop((990, 590, 1100, 640)))
        assert (change.box, match.box) == ((1000, 600, 1016, 616), (990, 590, 1100, 640))


async def test_another_colour_of_the_same_brightness_is_not_it(desktop: Desktop, autojump_clock: MockClock) -> None:
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    red, green = with_box(grey, (80, 80, 120, 100), (255, 0, 0)), with_box(grey, (80, 80, 120, 100), (0, 130, 0))
    desktop.show(red)
    with trio.move_on_after(1) as scope:
        await desktop.screen.wait_match(green[70:110, 70:130])
    assert scope.cancelled_caught
    assert (await desktop.screen.wait_match(red[70:110, 70:130])).box == (70, 70, 130, 110)


async def test_the_likeness_that_is_asked_for(desktop: Desktop, autojump_clock: MockClock) -> None:
    wanted = page()[40:80, 40:120]
    desktop.show(np.clip(page().astype(int) + 15, 0, 255).astype(np.uint8))
    assert (await desktop.screen.wait_match(wanted)).box == (40, 40, 120, 80)
    with trio.move_on_after(1) as scope:
        await desktop.screen.wait_match(wanted, tolerance=8)
    assert scope.cancelled_caught


async def test_outside_of_the_region_nothing_is_found(desktop: Desktop, autojump_clock: MockClock) -> None:
    desktop.show(page())
    wanted = page()[40:80, 40:120]
    with trio.move_on_after(1) as scope:
        await desktop.screen.wait_match(wanted, (41, 40, 200, 200))
    assert scope.cancelled_caught


async def test_a_smaller_stream_is_searched_as_much_smaller(desktop: Desktop, autojump_clock: MockClock) -> None:
    full = page()
    half = full.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean((1, 3)).astype(np.uint8)
    frame = desktop.show(half)
    match = await desktop.screen.wait_match(full[40:80, 60:140])
    assert (match.box, match.frame_box) == ((60, 40, 140, 80), (30, 20, 70, 40))
    assert (await desktop.screen.wait_match(frame.crop((30, 20, 70, 40)))).box == (60, 40, 140, 80)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10, 3), np.float32),
        np.zeros((10, 10, 5), np.uint8),
        np.zeros((10,), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((HEIGHT + 1, 10, 3), np.uint8),
        np.zeros((10, WIDTH + 1, 3), np.uint8),
    ],
    ids=lambda image: f"{image.dtype} {image.shape}",
)
async def test_a_picture_that_is_none(desktop: Desktop, autojump_clock: MockClock, image: Any) -> None:
    desktop.show(page())
    with pytest.raises(InvalidInput):
        await desktop.screen.wait_match(image)


async def test_a_file_that_is_none(desktop: Desktop, autojump_clock: MockClock, tmp_path: Path) -> None:
    desktop.show(page())
    with pytest.raises(FileNotFoundError):
        await desktop.screen.wait_match(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InvalidInput, match="no picture"):
        await desktop.screen.wait_match(os.fspath(tmp_path / "text.png"))
    Image.fromarray(page()).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    with pytest.raises(InvalidInput, match="no picture"):
        await desktop.screen.wait_match(tmp_path / "half.png")


async def test_a_picture_larger_than_the_region(desktop: Desktop, autojump_clock: MockClock) -> None:
    desktop.show(page())
    with pytest.raises(InvalidInput, match="80x40"):
        await desktop.screen.wait_match(page()[:40, :80], (0, 0, 79, 100))


# -- ends


def waits(session: Session) -> list[Callable[[], Awaitable[object]]]:
    screen = session.screen

    async def watch() -> None:
        async with screen.watch() as changes:
            await anext(changes)

    return [
        screen.wait_change,
        lambda: screen.wait_stable(for_=100),
        lambda: screen.wait_match(page(9)[:20, :20]),
        watch,
    ]


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("which", range(4))
async def test_every_wait_ends_with_the_session(
    desktop: Desktop, autojump_clock: MockClock, which: int, shown: bool
) -> None:
    if shown:
        desktop.show(page())
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(SessionLost):
                await waits(desktop.session)[which]()

        nursery.start_soon(wait)
        await trio.sleep(1)
        desktop.session._parts.fail(lambda: SessionLost("gone"))
    with pytest.raises(SessionLost):
        await waits(desktop.session)[which]()


@pytest.mark.parametrize("which", range(4))
async def test_after_the_session(autojump_clock: MockClock, which: int) -> None:
    async with open_scripted_session(scripted(), FakeMedia(silent=True)) as session:
        pass
    with pytest.raises(SessionClosed):
        await waits(session)[which]()


@pytest.mark.parametrize("which", range(4))
async def test_without_video(autojump_clock: MockClock, which: int) -> None:
    async with open_scripted_session(scripted(), FakeMedia(), video="off") as session:
        with pytest.raises(VideoOff):
            await waits(session)[which]()


@pytest.mark.parametrize("which", [0, 2, 3])
async def test_a_dead_pipeline_is_told(desktop: Desktop, autojump_clock: MockClock, which: int) -> None:
    desktop.show(page())
    with pytest.raises(VideoStalled):
        await waits(desktop.session)[which]()


@pytest.mark.parametrize("which", range(4))
def test_cancelled_at_any_step(which: int) -> None:
    """Nothing is left looking: the video can rest."""
    sessions: list[Session] = []

    async def scenario() -> None:
        media = FakeMedia(silent=True)
        async with open_scripted_session(scripted(), media) as session:
            sessions.append(session)
            desktop = Desktop(session, ScriptedServer(), media)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desktop.show_every, 0.04, [page(), with_noise(page(), 1), page()])
                with trio.move_on_after(2):
                    await waits(session)[which]()
                nursery.cancel_scope.cancel()

    def check() -> None:
        slot = sessions.pop()._parts.slot if sessions else None
        assert slot is None or (not slot.wanted and slot._wishes() is None)

    assert cancel_at_every_step(scenario, check) > 20
