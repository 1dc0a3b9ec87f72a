"""A call that its caller's cancellation does not cut off half-way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import outcome
import trio


async def finished(call: Callable[[], Awaitable[None]], *, within: Callable[[BaseException], float]) -> None:
    """Do ``call``; cancelled, wait until it is done all the same, for the seconds that ``within`` says of the
    cancellation at most, and then be cancelled.

    The same goes for Ctrl-C. For what must not overlap at the server with the next of its kind. Raises what ``call``
    raises, bare.
    """
    done = trio.Event()
    results: list[outcome.Outcome[None]] = []
    scope = trio.CancelScope(shield=True)

    @trio.lowlevel.enable_ki_protection  # Ctrl-C belongs to the caller's task
    async def run() -> None:
        with scope:
            try:
                await call()
                results.append(outcome.Value(None))
            except Exception as error:  # noqa: BLE001 - raised again in the caller's task, outside of the nursery
                results.append(outcome.Error(error))
        done.set()

    await trio.lowlevel.checkpoint()  # cancelled before it began, it is not begun
    interruption: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        try:
            await done.wait()
        except BaseException as error:  # noqa: BLE001, ASYNC103 - raised again below, outside of the nursery
            interruption = error
            nursery.cancel_scope.shield = True
            scope.deadline = trio.current_time() + within(error)
    if interruption is not None:
        raise interruption
    results[0].unwrap()
