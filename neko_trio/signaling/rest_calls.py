"""REST calls made of plain requests: the same for the network and for the doubles of tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Unpack

from neko_trio._ports.rest import NO_REFUSALS, Refusals, RequestOptions
from neko_trio.signaling.answers import Answer, read_answer
from neko_trio.signaling.url import ServerUrl

__all__ = ["Calls"]


class Calls(ABC):
    """A server that can be asked: what a subclass requests is read here."""

    def __init__(self, url: ServerUrl) -> None:
        """``url`` is for the errors."""
        self._url = url

    @abstractmethod
    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> Answer:
        """Any answer, whatever its status, with its whole body."""

    async def call(
        self, method: str, path: str, *, refusals: Refusals = NO_REFUSALS, **options: Unpack[RequestOptions]
    ) -> Any:
        """The decoded JSON of a successful answer, ``None`` for one without body; else raises what the status means.

        ``refusals`` says so for this call; otherwise 401 is :class:`LoginRefused`, 403 :class:`NotAllowed`, and any
        other refusal :class:`ProtocolViolation`, all with the server's message; :class:`NotNeko` for what is no Neko.
        """
        answer = await self.request(method, path, **options)
        return read_answer(self._url, path, answer, step=options.get("step", "rest"), refusals=refusals)
