"""Tests of what runs on an asyncio thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from typing import Any, ParamSpec

from neko_trio.media.bridge import open_lease
from neko_trio.testing import leak_check

P = ParamSpec("P")


def on_asyncio(test: Callable[P, Awaitable[None]]) -> Callable[P, Coroutine[Any, Any, None]]:
    """Make an asyncio test one that trio runs: in a leased thread, where it must leave nothing."""

    @wraps(test)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async with open_lease("media") as lease:
            with leak_check():
                await lease.run(partial(test, *args, **kwargs))

    return run
