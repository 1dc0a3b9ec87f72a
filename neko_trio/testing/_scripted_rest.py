"""Scripted REST: the calls of a scripted server, each a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import trio

from neko_trio._ports.rest import NO_REFUSALS, Refusals
from neko_trio.signaling.answers import Answer, read_answer
from neko_trio.signaling.url import parse_server_url

SCRIPTED_URL = parse_server_url("http://scripted.invalid")


class ScriptedRest:
    """The server's REST front: a function for each call, which may raise a :class:`RestRefusal`."""

    def __init__(self) -> None:
        self.on: dict[tuple[str, str], Callable[[Any], object]] = {}
        """By method and path, with its query: takes the body (a JSON value, or bytes), returns the answer: ``None``,
        bytes, or what JSON can hold. What has no function is a 404."""
        self.calls: list[tuple[str, str, object]] = []
        """Method, path and body of every call, in order."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        content: bytes | None = None,
        content_type: str = "application/json",
        step: str = "rest",
    ) -> Answer:
        """Call the function: a checkpoint, and then at once."""
        await trio.lowlevel.checkpoint()
        body = json if content is None else content
        self.calls.append((method, path, body))
        handler = self.on.get((method, path))
        try:
            if handler is None:
                raise RestRefusal(404, "Not Found")
            answer = handler(body)
        except RestRefusal as refusal:
            return Answer(refusal.status, (), msgspec.json.encode({"code": refusal.status, "message": refusal.message}))
        if answer is None:
            return Answer(204, (), b"")
        return Answer(200, (), answer if isinstance(answer, bytes) else msgspec.json.encode(answer))

    async def call(
        self, method: str, path: str, *, json: object = None, step: str = "rest", refusals: Refusals = NO_REFUSALS
    ) -> Any:
        """As ``signaling.rest.Rest.call``."""
        return read_answer(
            SCRIPTED_URL, path, await self.request(method, path, json=json, step=step), step=step, refusals=refusals
        )


class RestRefusal(Exception):
    """What a scripted call is refused with: the status and the server's message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message
