"""From any thread to trio: in order, bounded, one wake-up, and nothing that a delivery does ends the run."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from neko_trio.media.mailbox import Mailbox


def _count_wake_ups(mailbox: Mailbox[int], monkeypatch: pytest.MonkeyPatch) -> list[None]:
    wake_ups: list[None] = []
    drain = mailbox._drain

    def counted() -> None:
        wake_ups.append(None)
        drain()

    monkeypatch.setattr(mailbox, "_drain", counted)
    return wake_ups


async def test_delivers_in_order_on_the_trio_thread_with_one_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[tuple[int, int]] = []
    mailbox: Mailbox[int] = Mailbox(lambda item: got.append((item, threading.get_ident())), limit=1000)
    wake_ups = _count_wake_ups(mailbox, monkeypatch)
    thread = threading.Thread(target=lambda: [mailbox.put(number) for number in range(1000)])
    thread.start()
    thread.join()  # trio is busy meanwhile
    await trio.testing.wait_all_tasks_blocked()
    assert got == [(number, threading.get_ident()) for number in range(1000)]
    assert len(wake_ups) == 1


async def test_many_threads_lose_nothing_and_each_keeps_its_order() -> None:
    got: list[tuple[int, int]] = []
    done = trio.Event()

    def deliver(item: tuple[int, int]) -> None:
        got.append(item)
        if len(got) == 4 * 500:
            done.set()

    mailbox: Mailbox[tuple[int, int]] = Mailbox(deliver, limit=4 * 500)
    threads = [
        threading.Thread(target=lambda who=who: [mailbox.put((who, number)) for number in range(500)])
        for who in range(4)
    ]
    for thread in threads:
        thread.start()
    await done.wait()
    for thread in threads:
        thread.join()
    for who in range(4):
        assert [number for sender, number in got if sender == who] == list(range(500))


@given(limit=st.integers(1, 5), puts=st.lists(st.one_of(st.integers(), st.just("turn")), max_size=30))
def test_is_a_bounded_queue_that_drops_the_newest_and_counts(limit: int, puts: list[int | str]) -> None:
    """Compared with a list that is cut at the limit; ``"turn"`` lets trio deliver."""
    delivered: list[int] = []
    model: list[int] = []

    async def main() -> None:
        mailbox: Mailbox[int] = Mailbox(delivered.append, limit)
        waiting = dropped = 0
        for item in puts:
            if isinstance(item, str):
                await trio.testing.wait_all_tasks_blocked()
                waiting = 0
                assert delivered == model
                continue
            fits = waiting < limit
            assert mailbox.put(item) is fits
            if fits:
                model.append(item)
                waiting += 1
            else:
                dropped += 1
        assert mailbox.dropped_total == dropped

    trio.run(main)


async def test_an_item_put_by_a_delivery_is_delivered_too() -> None:
    got: list[int] = []

    def deliver(item: int) -> None:
        got.append(item)
        if item < 3:
            mailbox.put(item + 1)

    mailbox: Mailbox[int] = Mailbox(deliver, limit=1)
    mailbox.put(0)
    await trio.testing.wait_all_tasks_blocked()
    assert got == [0, 1, 2, 3]


async def test_a_failing_delivery_loses_its_own_item_only(caplog: pytest.LogCaptureFixture) -> None:
    got: list[float] = []
    mailbox: Mailbox[int] = Mailbox(lambda item: got.append(1 / item), limit=10)
    for item in (1, 0, 2):
        mailbox.put(item)
    await trio.testing.wait_all_tasks_blocked()
    assert got == [1.0, 0.5]
    assert mailbox.failed_total == 1
    assert "ZeroDivisionError" in caplog.text


async def test_closed_it_delivers_nothing_any_more() -> None:
    got: list[int] = []

    def deliver(item: int) -> None:
        got.append(item)
        mailbox.close()

    mailbox: Mailbox[int] = Mailbox(deliver, limit=10)
    assert mailbox.put(1)
    assert mailbox.put(2)
    await trio.testing.wait_all_tasks_blocked()
    assert got == [1]
    assert not mailbox.put(3)
    await trio.testing.wait_all_tasks_blocked()
    assert got == [1]
    assert mailbox.dropped_total == 0


def test_a_finished_run_refuses_quietly() -> None:
    async def main() -> Mailbox[int]:
        return Mailbox([].append, limit=1)

    mailbox = trio.run(main)
    assert not mailbox.put(1)
    assert not mailbox.put(2)
    assert mailbox.dropped_total == 0


async def test_needs_room_for_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Mailbox([].append, limit=0)
