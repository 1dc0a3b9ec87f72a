"""Several REST calls in one round trip."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from neko_trio.errors import InvalidInput, ProtocolViolation
from neko_trio.room.ports import STEP, RoomCalls, checked_json, read

BatchCall: TypeAlias = "tuple[str, str] | tuple[str, str, Any]"
"""Method, path, and what is to be the JSON body."""

METHODS = ("GET", "POST", "DELETE")
NOT_IN_A_BATCH = {
    "/api/ws": "it is the WebSocket",
    "/api/batch": "the server does not nest batches",
    "/api/login": "open_session logs in",
    "/api/logout": "leaving the session's block logs out",
}
NO_JSON = re.compile(r"^(GET) /api/(room/screen/(shot|cast)\.jpg|room/clipboard/image\.png|filetransfer)/?$")
"""Calls whose answer is no JSON: one of them, and the server's answer to the whole batch is empty (seen)."""


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What the server answered to one call. ``body`` is decoded JSON: of a refusal ``{"code": …, "message": …}``."""

    method: str
    path: str = field(repr=False)
    status: int
    body: Any = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return 200 <= self.status < 300


class _Item(msgspec.Struct):
    status: int
    body: Any = None


class Batch(RoomCalls):
    """``POST /api/batch``."""

    async def batch(self, calls: Iterable[BatchCall]) -> tuple[BatchAnswer, ...]:
        """Make several calls, one after the other, in one round trip; the answers are in their order.

        Each is ``(method, path)`` or ``(method, path, body)``; a path begins with ``/api/``. All are made, also after
        one that is refused, and no right is checked beforehand: look at each ``status``. Returns when the state of the
        session shows what they did.

        Raises :class:`InvalidInput`, and makes none of them, for another method than GET, POST, DELETE, for a path that
        the server does not take in a batch, and for one that answers a picture or a file: a single answer that is not
        JSON (also that of a path which does not exist) makes the server's whole answer empty. Where that happens all
        the same it is :class:`ProtocolViolation`: the calls were made, and what came of them is not known; nor is it
        when this is cancelled. A server with a ``path_prefix`` of its own makes none and always answers so (seen).
        """
        items = [_item(call) for call in calls]
        answer = await self._ports.rest.call("POST", "/api/batch", json=items, step=STEP)
        await self._ports.settle()
        if answer is None:
            raise ProtocolViolation(
                "The server told nothing of the batch: one of its calls answered something else than JSON.",
                hint="A path that does not exist does that; with a path_prefix of its own a server finds none of them.",
                step=STEP,
            )
        answers: Sequence[_Item] = read(answer, list[_Item], "answer to the batch")
        if len(answers) != len(items):
            raise ProtocolViolation(f"{len(items)} calls have {len(answers)} answers: which is whose?", step=STEP)
        return tuple(
            BatchAnswer(item["method"], item["path"], given.status, given.body)
            for item, given in zip(items, answers, strict=True)
        )


def _item(call: BatchCall) -> dict[str, Any]:
    if not isinstance(call, tuple | list) or len(call) not in (2, 3):
        raise InvalidInput("A call of a batch is (method, path) or (method, path, body).", step=STEP)
    method, path, *body = call
    if method not in METHODS:
        raise InvalidInput(f"method {method!r} is none of {', '.join(METHODS)}.", step=STEP)
    if not isinstance(path, str) or not re.fullmatch(r"/api/[!-~]+", path) or "#" in path:
        raise InvalidInput("A path of a batch begins with /api/ and is percent-encoded ASCII.", step=STEP)
    bare = path.partition("?")[0].rstrip("/")
    if bare in NOT_IN_A_BATCH:
        raise InvalidInput(f"{bare} cannot be in a batch: {NOT_IN_A_BATCH[bare]}.", step=STEP)
    if NO_JSON.match(f"{method} {bare}"):
        raise InvalidInput(
            f"{bare} answers with something else than JSON, and the server then gives no answers at all.",
            hint="Call its own method instead.",
            step=STEP,
        )
    item: dict[str, Any] = {"method": method, "path": path}
    if body:
        checked_json(body[0], f"The body of {bare}")
        item["body"] = body[0]
    return item
