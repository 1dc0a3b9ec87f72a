"""Scripted REST: the calls of a scripted server, each a function."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, Unpack

import msgspec
import trio

from neko_trio._ports.rest import NO_REFUSALS, Refusals, RequestOptions, Sink, StreamedBody
from neko_trio.errors import InvalidInput
from neko_trio.signaling.answers import Answer, refused_file
from neko_trio.signaling.rest_calls import Calls
from neko_trio.signaling.url import parse_server_url

SCRIPTED_URL = parse_server_url("http://scripted.invalid")


class BufferedCalls(Calls):
    """A server in memory: whole answers, of which downloads are made."""

    chunk = 1024
    """Bytes of a download's chunk."""

    async def download(
        self, path: str, sink: Sink, *, limit: int | None, step: str = "rest", refusals: Refusals = NO_REFUSALS
    ) -> None:
        """As ``signaling.rest.Rest.download``; the body comes in chunks of :attr:`chunk` bytes, a checkpoint each."""
        answer = await self.request("GET", path, step=step)
        if answer.status != 200:
            raise refused_file(self._url, path, answer, step=step, refusals=refusals)
        if limit is not None and len(answer.body) > limit:
            raise InvalidInput(f"The file is larger than limit={limit} bytes.", step=step)
        sink.begin(len(answer.body))
        for start in range(0, len(answer.body), self.chunk):
            await trio.lowlevel.checkpoint()
            await sink.write(answer.body[start : start + self.chunk])


class ScriptedRest(BufferedCalls):
    """The server's REST front: a function for each call, which may raise a :class:`RestRefusal`."""

    def __init__(self) -> None:
        super().__init__(SCRIPTED_URL)
        self.on: dict[tuple[str, str], Callable[[Any], object]] = {}
        """By method and path, with its query: takes the body (a JSON value, or bytes), returns the answer: ``None``,
        bytes, or what JSON can hold. What has no function is a 404."""
        self.calls: list[tuple[str, str, object]] = []
        """Method, path and body of every call, in order."""

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> Answer:
        """Call the function: a checkpoint, and one more for each chunk of a streamed body, which it gets whole."""
        await trio.lowlevel.checkpoint()
        content = options.get("content")
        body = options.get("json") if content is None else await whole(content)
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


async def whole(content: bytes | StreamedBody) -> bytes:
    """All of a request's body; a checkpoint for each chunk of a streamed one, which is closed."""
    if isinstance(content, bytes):
        return content
    body = bytearray()
    try:
        async for chunk in content.chunks:
            await trio.lowlevel.checkpoint()
            body += chunk
    finally:
        if isinstance(content.chunks, AsyncGenerator):
            await content.chunks.aclose()
    assert content.size in (None, len(body)), f"{len(body)} bytes came, {content.size} were announced"
    return bytes(body)


class RestRefusal(Exception):
    """What a scripted call is refused with: the status and the server's message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status, self.message = status, message
