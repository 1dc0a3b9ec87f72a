"""The stream below the WebSocket, which reads the answer to the upgrade along with the library.

The library waits for ever when the server closes mid-handshake, and for the whole body when it refuses; so the head of
the answer is looked at here, and a refusal is raised at once.
"""

from __future__ import annotations

import re

import trio

from neko_trio.signaling.answers import Answer
from neko_trio.signaling.dial import Connection

__all__ = ["Refused", "UpgradeStream"]

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?")
_SWITCHING = 101


class Refused(Exception):
    """The server's answer is not 101; raised through the library's reader."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"status {answer.status}")
        self.answer = answer


class UpgradeStream(trio.abc.Stream):
    """Passes everything through; until the head of the answer is complete it keeps a copy in ``head``."""

    def __init__(self, stream: Connection) -> None:
        self._stream = stream
        self._switched = False
        self.head = b""
        """What came so far, while it is not yet a whole 101."""
        self.failure: trio.BrokenResourceError | None = None
        """What broke the stream below: with TLS 1.3 the server refuses a client's certificate only here."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As the stream below; raises :class:`Refused` in place of an answer that is not 101."""
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        except trio.BrokenResourceError as error:
            self.failure = error
            raise
        if not self._switched and data:
            self._look(data)
        return data

    def _look(self, data: bytes) -> None:
        self.head += data
        end = _END_OF_HEAD.search(self.head)
        if end is None:
            return  # not for ever: h11, behind the library, ends the reader when the head grows beyond 16 KiB
        head, body = self.head[: end.start()], self.head[end.end() :]
        lines = re.split(rb"\r?\n", head)
        status = _STATUS_LINE.fullmatch(lines[0])
        if status is None:
            raise trio.BrokenResourceError("the answer is not HTTP")
        if int(status[1]) == _SWITCHING:
            self._switched = True
            self.head = b""
            return
        headers = (line.decode("latin-1").partition(":") for line in lines[1:])
        pairs = tuple((name.strip().lower(), value.strip()) for name, _, value in headers)
        raise Refused(Answer(int(status[1]), pairs, body))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def close(self) -> None:
        """Close the TCP connection at once: without a checkpoint, hence whoever is cancelled."""
        tcp = self._stream.transport_stream if isinstance(self._stream, trio.SSLStream) else self._stream
        tcp.socket.close()
