"""The one rule for every hostile server: one typed error, in time, that tells no secret and leaves nothing."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio

import neko_trio
from neko_trio.errors import NekoError
from tests.crowding import is_within
from tests.hostile.servers import CREDENTIAL, PASSWORD, TOKEN

CONNECT_TIMEOUT = 0.25
CLOSE_TIMEOUT = 0.2
SLACK = 1.5
"""Seconds that a busy machine may add to the two timeouts."""
SECRETS = (PASSWORD, TOKEN, CREDENTIAL)

Body = Callable[[neko_trio.Session], Awaitable[None]]


async def meet(
    url: object,
    *,
    token: bool = False,
    body: Body | None = None,
    connect_timeout: float = CONNECT_TIMEOUT,
    password: str = PASSWORD,
    **options: Any,
) -> NekoError:
    """Open a session that has to fail; return its error, judged. With ``body``, it may fail after the connect."""
    who: dict[str, Any] = {"token": TOKEN} if token else {"username": "bob", "password": password}
    options = {"close_timeout": CLOSE_TIMEOUT, **options}
    connected = False
    started = trio.current_time()
    caught: BaseException | None = None
    with logged() as log:
        try:
            async with neko_trio.open_session(str(url), connect_timeout=connect_timeout, **who, **options) as session:
                connected = True
                assert body is not None, "it connected"
                started = trio.current_time()
                await body(session)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - that it is a NekoError is what is judged
            caught = error
    took = trio.current_time() - started
    assert caught is not None, "it ended without an error"
    assert isinstance(caught, NekoError), "".join(traceback.format_exception(caught))
    limit = (0 if connected else connect_timeout) + options["close_timeout"] + SLACK
    assert is_within(took, limit), f"{caught!r} came after {took:.2f} s"
    if not connected:
        assert caught.timeline is not None
        assert "start" in caught.timeline
        assert caught.step, f"{caught!r} does not say which step failed"
    assert caught.message
    assert "ExceptionGroup" not in "".join(traceback.format_exception(caught))
    judge_secrets(caught, log)
    return caught


def judge_secrets(error: BaseException, log: list[str]) -> None:
    """No secret stands in the error, in what caused it, in its timeline or in the log."""
    for secret in SECRETS:
        for link in chain(error):
            for shown in (str(link), repr(link), repr(link.args), repr(getattr(link, "timeline", None))):
                assert secret not in shown, f"{type(link).__name__} tells a secret"
            for note in getattr(link, "__notes__", ()):
                assert secret not in note
        assert secret not in "".join(traceback.format_exception(error))
        for line in log:
            assert secret not in line, f"the log tells a secret: {line[:500]}"


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that is shown with it: causes, contexts that are not suppressed, members of groups."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        link = waiting.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        below = link.__cause__ if link.__suppress_context__ else link.__context__
        waiting += [] if below is None else [below]
        if isinstance(link, BaseExceptionGroup):
            waiting += link.exceptions


@contextmanager
def logged() -> Iterator[list[str]]:
    """Everything that any library logs meanwhile, down to DEBUG, as text with its tracebacks."""
    lines: list[str] = []
    formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(formatter.format(record))

    root, handler = logging.getLogger(), Keep(logging.DEBUG)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


@asynccontextmanager
async def in_time(seconds: float) -> AsyncIterator[None]:
    """Fail, by name, when the block hangs."""
    with trio.move_on_after(seconds) as scope:
        yield
    assert not scope.cancelled_caught, f"it hangs: no end within {seconds:g} s"
