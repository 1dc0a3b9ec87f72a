"""The budget of the goodbyes: one for all of them, and a short one for an exit that is cancelled."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from neko_trio._ports.budget import HURRY, LAST, LAST_LEAST, ROUND_TRIPS, Budget


@dataclass
class Link:
    heard_at: float = 0.0
    opening_seconds: float = 0.0


async def waits(budget: Budget, share: float = 0.5, *, ours: bool = False) -> float:
    """Seconds that a step waits for a server that says nothing."""
    began = trio.current_time()
    with budget.shield(share, ours=ours):
        await trio.sleep_forever()
    return trio.current_time() - began


async def block(budget: Budget, seconds: float = 2.0) -> float:
    """The same for the goodbye of a block."""
    began = trio.current_time()
    with trio.move_on_after(budget.limit(seconds), shield=True):
        await trio.sleep_forever()
    budget.answered(yes=False)
    return trio.current_time() - began


async def test_each_step_takes_half_of_what_is_left_and_the_last_all_of_it(autojump_clock: MockClock) -> None:
    budget = Budget(2)
    budget.close(hurried=False)
    assert [await waits(budget), await waits(budget), await waits(budget, LAST)] == pytest.approx([1, 0.5, 0.5])
    assert await waits(budget, LAST) == pytest.approx(0)


async def test_a_step_of_a_peer_that_goes_alone_begins_a_budget_which_is_renewed(autojump_clock: MockClock) -> None:
    budget = Budget(2)
    assert await waits(budget) == pytest.approx(1)
    budget.renew()
    await trio.sleep(100)
    assert await waits(budget) == pytest.approx(1)


async def test_a_hurried_close_waits_for_a_silent_server_no_longer_than_that(autojump_clock: MockClock) -> None:
    budget = Budget(10)
    budget.listen_to(Link())
    budget.close(hurried=True)
    began = trio.current_time()
    for share in (0.5, 0.5, 0.5, 0.75):
        await waits(budget, share)
    assert trio.current_time() - began < HURRY
    await waits(budget, LAST)
    assert HURRY <= trio.current_time() - began < HURRY + LAST_LEAST


async def test_a_server_that_is_heard_is_given_all_of_the_budget(autojump_clock: MockClock) -> None:
    budget, link = Budget(2), Link()
    budget.listen_to(link)
    budget.close(hurried=True)
    for _ in range(10):
        link.heard_at = trio.current_time()
        await waits(budget)
    assert HURRY < trio.current_time() <= 2


async def test_far_away_a_hurry_takes_longer(autojump_clock: MockClock) -> None:
    budget, round_trip = Budget(10), 0.2
    budget.listen_to(Link(opening_seconds=2 * round_trip))
    budget.close(hurried=True)
    assert await waits(budget, LAST) == pytest.approx(ROUND_TRIPS * round_trip)


async def test_a_hurry_never_takes_longer_than_the_budget(autojump_clock: MockClock) -> None:
    budget = Budget(0.1)
    budget.close(hurried=True)
    assert await waits(budget, LAST) == pytest.approx(0.1)


async def test_blocks_and_the_close_behind_them_are_in_one_hurry(autojump_clock: MockClock) -> None:
    budget = Budget(2)
    budget.listen_to(Link())
    await trio.sleep(50)
    began = trio.current_time()
    for _ in range(2):
        budget.note(KeyboardInterrupt())
        await block(budget)
    budget.close(hurried=True)
    await waits(budget)
    await waits(budget, LAST)
    assert HURRY <= trio.current_time() - began < HURRY + LAST_LEAST


async def test_the_last_step_has_its_time_in_any_hurry_but_not_beyond_the_budget(autojump_clock: MockClock) -> None:
    budget = Budget(2)
    budget.close(hurried=True)
    await trio.sleep(1)
    assert await waits(budget) == 0
    assert await waits(budget, LAST) == pytest.approx(LAST_LEAST)
    await trio.sleep(2)
    assert await waits(budget, LAST) == 0


async def test_a_block_that_raises_is_in_no_hurry_and_what_it_waited_in_vain_is_not_waited_again(
    autojump_clock: MockClock,
) -> None:
    budget = Budget(2)
    budget.listen_to(Link())
    await trio.sleep(50)
    budget.note(ValueError("the block's own"))
    assert await block(budget) == pytest.approx(2)
    budget.close(hurried=False)
    assert await waits(budget, LAST) == pytest.approx(HURRY)


async def test_a_server_that_has_been_heard_since_is_waited_for_as_ever(autojump_clock: MockClock) -> None:
    budget, link = Budget(2), Link()
    budget.listen_to(link)
    await trio.sleep(50)
    budget.note(KeyboardInterrupt())
    await block(budget)
    await trio.sleep(1)
    link.heard_at = trio.current_time()
    await trio.sleep(20)
    assert budget.limit(2) == 2
    budget.close(hurried=False)
    assert await waits(budget, LAST) == pytest.approx(2)


async def test_an_answered_goodbye_ends_the_hurry_of_its_block(autojump_clock: MockClock) -> None:
    budget = Budget(2)
    budget.note(KeyboardInterrupt())
    assert budget.limit(2) == pytest.approx(HURRY / 2)
    budget.answered(yes=True)
    assert budget.limit(2) == 2


async def test_an_answered_block_does_not_end_the_hurry_of_a_close(autojump_clock: MockClock) -> None:
    budget = Budget(2)
    budget.close(hurried=True)
    budget.answered(yes=True)
    assert await waits(budget, LAST) == pytest.approx(HURRY)


async def test_ctrl_c_during_a_close_hurries_the_step_that_waits(autojump_clock: MockClock) -> None:
    budget = Budget(60)
    budget.close(hurried=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits, budget)
        await trio.sleep(5)
        budget.hurry()
    assert trio.current_time() == pytest.approx(5 + HURRY / 2)


async def test_work_of_ones_own_is_not_cut_by_a_hurry(autojump_clock: MockClock) -> None:
    budget = Budget(10)
    budget.close(hurried=True)
    async with trio.open_nursery() as nursery:

        async def work() -> None:
            assert await waits(budget, ours=True) == pytest.approx(5)

        nursery.start_soon(work)
        await trio.sleep(1)
        budget.hurry()


async def test_a_nursery_that_ctrl_c_struck_is_told_from_another(autojump_clock: MockClock) -> None:
    async def limits(error: BaseException) -> float:
        budget = Budget(2)

        async def sleeper() -> None:
            try:
                await trio.sleep_forever()
            except BaseException as caught:
                budget.note(caught)
                raise

        with pytest.raises(BaseExceptionGroup):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sleeper)
                await trio.testing.wait_all_tasks_blocked()
                raise error
        return budget.limit(2)

    assert await limits(KeyboardInterrupt()) == pytest.approx(HURRY / 2)
    assert await limits(ValueError()) == 2
