"""The journal: bounded, waitable, harmless to the server."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from neko_trio.simulator import Journal


def write(journal: Journal, *events: str) -> None:
    for event in events:
        journal.add("who", "ws", "sent", event, f'{{"event": "{event}", "payload": {{"n": 1}}}}')


def test_it_is_bounded_and_counts_what_it_drops() -> None:
    journal = Journal(limit=3)
    write(journal, *"abcde")
    assert [entry.event for entry in journal] == ["c", "d", "e"]
    assert (len(journal), journal.dropped) == (3, 2)
    assert [entry.event for entry in journal.select(lambda entry: entry.event > "c")] == ["d", "e"]


async def test_waiting_for_what_is_there_and_for_what_comes() -> None:
    journal = Journal()
    write(journal, "a")
    assert (await journal.wait_for(lambda entry: entry.event == "a")).payload() == {"n": 1}
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def wait() -> None:
                assert (await journal.wait_for(lambda entry: entry.event == "c")).event == "c"

            await wait_all_tasks_blocked()
            write(journal, "b", "c", "d")


async def test_a_predicate_that_fails_fails_its_waiter_only() -> None:
    journal = Journal()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait() -> None:
            with pytest.raises(ZeroDivisionError):
                await journal.wait_for(lambda entry: bool(1 / 0))

        await wait_all_tasks_blocked()
        write(journal, "a")


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    journal = Journal()
    with trio.move_on_after(0.01):
        await journal.wait_for(lambda entry: False)
    assert not journal._waiting


def test_a_message_that_is_no_json() -> None:
    journal = Journal()
    journal.add("", "ws", "received", "", "{bad")
    with pytest.raises(ValueError, match="no JSON"):
        next(iter(journal)).payload()
