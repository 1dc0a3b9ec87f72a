"""A task beside a block, which ends with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import outcome
import trio


@asynccontextmanager
async def alongside(task: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Run ``task`` while the block runs. It is cancelled at the block's end, and must not raise anything else.

    What the block raises leaves bare. A cancellation from outside does not reach ``task`` until the block has ended.
    """
    body: outcome.Outcome[None] = outcome.Value(None)
    scope = trio.CancelScope(shield=True)

    @trio.lowlevel.enable_ki_protection  # Ctrl-C belongs to the caller's task
    async def run() -> None:
        with scope:
            await task()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        try:
            yield
        except BaseException as error:  # noqa: BLE001, ASYNC103 - raised again below, outside of the nursery
            body = outcome.Error(error)
        finally:
            nursery.cancel_scope.shield = True  # a cancellation from outside is the block's own exception
            scope.cancel(reason="its block has ended")
    body.unwrap()
