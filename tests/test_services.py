"""The services block: who ends first, and what comes out of it."""

from __future__ import annotations

import signal
from typing import cast

import pytest
import trio

from neko_trio._services import Services, open_services, together
from neko_trio.errors import ServerUnreachable


class Boom(Exception):
    pass


async def fail() -> None:
    raise Boom


async def test_a_failing_service_cancels_the_body_and_leaves_bare() -> None:
    with pytest.raises(Boom):
        async with open_services() as services:
            services.start_soon(fail)
            await trio.sleep_forever()


async def test_the_bodys_own_error_wins_and_names_the_other() -> None:
    with pytest.raises(KeyError) as caught:
        async with open_services() as services:
            services.start_soon(fail)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("body")
    assert "Boom" in caught.value.__notes__[0]


async def test_a_body_that_outlives_its_cancellation_still_gets_the_failure() -> None:
    with pytest.raises(Boom):
        async with open_services() as services:
            services.start_soon(fail)
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()


async def test_an_interrupt_of_the_body_is_no_group() -> None:
    with pytest.raises(KeyboardInterrupt):
        async with open_services() as services:
            services.start_soon(trio.sleep_forever)
            raise KeyboardInterrupt


async def test_services_outlive_a_cancelled_body(autojump_clock: trio.testing.MockClock) -> None:
    order: list[str] = []

    async def service() -> None:
        try:
            await trio.sleep_forever()
        finally:
            order.append("service")

    with trio.move_on_after(1) as scope:
        async with open_services() as services:
            services.start_soon(service)
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(5)
                order.append("body")
    assert scope.cancelled_caught
    assert order == ["body", "service"]
    assert trio.current_time() == pytest.approx(6, abs=0.01)


async def test_a_settled_block_ignores_what_its_services_fail_with() -> None:
    async with open_services() as services:
        gate = trio.Event()

        async def late() -> None:
            await gate.wait()
            raise Boom

        services.start_soon(late)
        services.settle()
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
    assert services.failure is None


async def test_a_service_started_after_the_end_never_runs() -> None:
    kept: list[Services] = []
    ran = False

    async def service() -> None:
        nonlocal ran
        await trio.lowlevel.checkpoint()
        ran = True

    async with open_services() as services:
        kept.append(services)

        async def starts_another() -> None:
            try:
                await trio.sleep_forever()
            finally:
                services.start_soon(service)

        services.start_soon(starts_another)
        await trio.testing.wait_all_tasks_blocked()
    assert not ran


async def test_together_ends_every_step_whatever_becomes_of_the_others(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    async def refused() -> None:
        await trio.lowlevel.checkpoint()
        raise ServerUnreachable("gone")

    async def other() -> None:
        await trio.testing.wait_all_tasks_blocked()
        done.append("other")

    with caplog.at_level("INFO", "neko_trio"):
        await together(refused, other)
    assert done == ["other"]
    assert "gone" in caplog.text


def test_a_ctrl_c_while_the_services_end_comes_out_bare() -> None:
    async def slow_to_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                signal.raise_signal(signal.SIGINT)  # not for this task, which is protected: for the one that waits
                await trio.sleep(0.05)

    async def main() -> None:
        async with open_services() as services:
            services.start_soon(slow_to_end)
            await trio.sleep(0.01)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            trio.run(main)
    finally:
        signal.signal(signal.SIGINT, before)


async def test_ctrl_c_waits_until_a_service_has_been_started() -> None:
    class Nursery:
        def start_soon(self, *_args: object, **_options: object) -> None:
            protected.append(trio.lowlevel.currently_ki_protected())

    protected: list[bool] = []
    Services(cast("trio.Nursery", Nursery()), lambda: None).start_soon(trio.sleep_forever)
    assert protected == [True]
    assert not trio.lowlevel.currently_ki_protected()
