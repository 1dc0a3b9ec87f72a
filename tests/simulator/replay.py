"""Plays the client's lines of a recording to a server and keeps what it hears (design.md, law 8).

The client's lines are the recording's sends, and what the recorded client did without a message: it closed its peer
connection (`pc_state: closed`), closed its WebSocket (`closed: 1000`, noted 0.3 s after it was asked for), or aborted
its TCP connection.  Session ids, tokens and passwords are put in; an answer is made anew for the offer that came.
After each line the player waits for what the recording says comes next: for the answers, not for their time.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import httpx2
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError

NOTED_LATER = 0.305
"""Seconds between a client's close and its line in the recordings, at most."""
SIDE_BY_SIDE = 0.02
"""Seconds within which a client closed both its WebSocket and its peer connection, at once."""
PATIENCE = 3.0
"""Seconds to wait for one line; what has not come then is missing."""


class AnsweringPeer(Protocol):
    """The client's peer connection."""

    answer: str
    data: list[bytes]

    def start(self) -> None: ...
    async def wait_data_channel(self) -> None: ...
    async def send_data(self, message: bytes) -> None: ...
    async def aclose(self) -> None: ...


OpenPeer = Callable[[str, Callable[[], None]], AbstractAsyncContextManager[AnsweringPeer]]


@dataclass(frozen=True)
class Server:
    """Where to play, and who may in."""

    url: str
    user_password: str = field(repr=False)
    admin_password: str = field(repr=False)
    copy: Callable[[str], None] | None = None
    """A program on the server's desktop copies a text."""
    patience: float = PATIENCE


@dataclass(frozen=True)
class Line:
    """One line of a recording; `number` counts from 1."""

    number: int
    at: float
    who: str
    entry: dict[str, Any] = field(repr=False)

    @property
    def is_sent(self) -> bool:
        return str(self.entry["dir"]) == "send"

    @property
    def kind(self) -> str:
        return str(self.entry["kind"])


def read_recording(path: Path) -> list[Line]:
    """Its lines in the order in which things happened."""
    lines: list[Line] = []
    opening: set[str] = set()
    for number, text in enumerate(path.read_text().splitlines(), 1):
        entry = json.loads(text)
        line = Line(number, float(entry["t"]), entry.get("who", ""), entry)
        if "datachannel" in entry:
            opening.add(line.who)
        if line.who in opening and not line.is_sent and is_position(entry):
            opening.discard(line.who)
            entry["opening"] = True
        if entry.get("closed", {}).get("code") == 1000:
            heard = max(each.at for each in lines if (each.who, each.kind, each.is_sent) == (line.who, "ws", False))
            line = replace(line, at=max(line.at - NOTED_LATER, heard + 0.0001))
        lines.append(line)
    return sorted((_settled(line, lines) for line in lines), key=lambda line: line.at)


def is_position(message: dict[str, Any]) -> bool:
    return str(message.get("hex", "")).startswith("01")


def _settled(line: Line, lines: list[Line]) -> Line:
    """Of two things closed side by side the server noticed one first: which one, the recording tells."""
    if line.entry.get("pc_state") != "closed":
        return line
    for other in lines:
        closing = other.who == line.who and "closed" in other.entry and abs(other.at - line.at) < SIDE_BY_SIDE
        if closing and not any(_still_connected(each, line.at) for each in lines):
            return replace(line, at=max(line.at, other.at + 0.0001))
    return line


def _still_connected(line: Line, after: float) -> bool:
    """Whether this says that a session stopped watching while its WebSocket was still there."""
    state = line.entry.get("payload")
    return (
        after <= line.at < after + NOTED_LATER
        and line.entry.get("event") == "session/state"
        and isinstance(state, dict)
        and (state["is_connected"], state["is_watching"]) == (True, False)
    )


@dataclass
class Heard:
    """What one client has heard on one channel, in order: WebSocket messages, data-channel bytes in hex, or answers
    of REST calls."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    def count(self, name: str) -> int:
        return sum(1 for message in self.messages if name_of(message) == name)


def name_of(message: dict[str, Any]) -> str:
    """The event of a WebSocket message, a candidate's with its type, "closed" for its end; the first byte of a
    data-channel message; "answer"."""
    if "hex" in message:
        return f"data {message['hex'][:2]}"
    if "closed" in message:
        return "closed"
    if message.get("event") == "signal/candidate":
        return f"signal/candidate {message['payload']['candidate'].split()[7]}"
    return str(message.get("event", "answer"))


class Player:
    """One playing of one recording."""

    def __init__(self, server: Server, lines: list[Line], open_peer: OpenPeer, nursery: trio.Nursery) -> None:
        self.heard: dict[tuple[str, str], Heard] = {}
        self.ids: dict[str, str] = {}
        """Recorded session ids, and those of now."""
        self.waited_in_vain: list[str] = []
        self._server = server
        self._lines = lines
        self._open_peer = open_peer
        self._nursery = nursery
        self._sockets: dict[str, tuple[WebSocketConnection, trio.SocketStream]] = {}
        self._peers: dict[str, tuple[AnsweringPeer, trio.Event]] = {}
        self._credentials: dict[str, list[tuple[bytes, bytes]]] = {}
        self._last_login: list[tuple[bytes, bytes]] = [(b"Authorization", b"Bearer wrong")]
        self._news = trio.Event()
        self._opening: set[str] = set()
        self._expected: dict[tuple[str, str], dict[str, int]] = {}

    async def play(self, client: httpx2.AsyncClient, expected: Callable[[Line], bool]) -> None:
        """`expected(line)`: whether to wait for this received line."""
        for line in self._lines:
            if line.is_sent or _acts(line):
                await self._act(client, line)
            if not line.is_sent and line.kind != "note" and expected(line):
                await self._wait_for(line)

    def hear(self, who: str, kind: str, message: dict[str, Any]) -> None:
        if who in self._opening and is_position(message):
            self._opening.discard(who)
            message["opening"] = True
        self.heard.setdefault((who, kind), Heard()).messages.append(message)
        self._news.set()
        self._news = trio.Event()

    async def leave(self) -> None:
        """Close what is still open."""
        for _, stream in self._sockets.values():
            await trio.aclose_forcefully(stream)

    async def _wait_for(self, line: Line) -> None:
        key, name = (line.who, line.kind), name_of(line.entry)
        counts = self._expected.setdefault(key, {})
        counts[name] = counts.get(name, 0) + 1
        with trio.move_on_after(self._server.patience) as scope:
            while self.heard.setdefault(key, Heard()).count(name) < counts[name]:
                await self._news.wait()
        if scope.cancelled_caught:
            self.waited_in_vain.append(f"line {line.number}: {line.who} {line.kind} {name}")

    async def _act(self, client: httpx2.AsyncClient, line: Line) -> None:
        entry, who = line.entry, line.who
        match line.kind:
            case "http" if entry.get("upgrade"):
                await self._open_socket(line)
            case "http":
                await self._call(client, line)
            case "dc":
                peer, _ = self._peers[who]
                await peer.wait_data_channel()
                await peer.send_data(bytes.fromhex(entry["hex"]))
            case "ws" if "closed" in entry:
                socket, stream = self._sockets[who]
                if entry["closed"]["code"] == 1000:
                    with trio.move_on_after(0.3):
                        await socket.aclose(1000)
                    self.hear(who, "ws", {"closed": {"code": 1000, "reason": ""}})
                await trio.aclose_forcefully(stream)
            case "ws":
                await self._send(line)
            case "note" if "pc_state" in entry:
                held = self._peers.pop(who, None)
                if held is not None:
                    await held[0].aclose()
                    held[1].set()
            case "note" if self._server.copy is not None:
                self._server.copy(entry["text"].split()[4])

    # REST

    async def _call(self, client: httpx2.AsyncClient, line: Line) -> None:
        entry, who = line.entry, line.who
        body = self._put_in(entry.get("body"))
        if entry["path"] == "/api/login":
            body = {**body, "password": self._password(line)}
        headers = dict(self._credentials.get(who, [] if who == "http" else self._last_login))
        answer = await client.request(
            entry["method"],
            self._put_in(entry["path"]),
            content=None if body is None else json.dumps(body),
            headers=[(name.decode(), value.decode()) for name, value in headers.items()],
        )
        try:
            shown = answer.json()
        except ValueError:
            shown = answer.text
        heard: dict[str, Any] = {"status": answer.status_code, "body": shown}
        if entry["path"] == "/api/login" and answer.status_code == 200:
            self._logged_in(line, answer, shown, heard)
        self.hear(who, "http", heard)

    def _logged_in(self, line: Line, answer: httpx2.Response, body: dict[str, Any], heard: dict[str, Any]) -> None:
        recorded = next(each for each in self._lines if _answers(each, line))
        self.ids[recorded.entry["body"]["id"]] = body["id"]
        if "token" in body:
            credentials = [(b"Authorization", f"Bearer {body['token']}".encode())]
        else:
            heard["set_cookie"] = answer.headers["set-cookie"]
            credentials = [(b"Cookie", heard["set_cookie"].split(";")[0].encode())]
        self._credentials[line.who] = self._last_login = credentials

    def _password(self, line: Line) -> str:
        recorded = next(each for each in self._lines if _answers(each, line))
        if recorded.entry["status"] != 200:
            return "wrong"
        admin = recorded.entry["body"]["profile"]["is_admin"]
        return self._server.admin_password if admin else self._server.user_password

    def _put_in(self, value: Any) -> Any:
        """`value` with the session ids of now."""
        text = json.dumps(value)
        for recorded, now in self.ids.items():
            text = text.replace(recorded, now)
        return json.loads(text)

    # WebSocket

    async def _open_socket(self, line: Line) -> None:
        target = urlsplit(self._server.url)
        assert target.hostname is not None
        stream = await trio.open_tcp_stream(target.hostname, target.port or 80)
        resource, headers = f"{target.path}/api/ws", self._credentials.get(line.who, self._last_login)
        if line.entry["auth"] == "query":
            resource, headers = f"{resource}?token=wrong", []
        elif line.entry["auth"] == "none":
            headers = []
        tasks = cast("trio.Nursery", Readers(self._nursery))
        socket = await wrap_client_stream(tasks, stream, target.netloc, resource, extra_headers=headers)
        self.hear(line.who, "http", {"status": 101})
        self._sockets[line.who] = socket, stream
        self._nursery.start_soon(self._listen, line.who, socket)

    async def _listen(self, who: str, socket: WebSocketConnection) -> None:
        try:
            while True:
                message = json.loads(await socket.get_message())
                self.hear(who, "ws", message)
        except ConnectionClosed as closed:
            code = 1006 if closed.reason is None else closed.reason.code
            if code != 1000:
                self.hear(who, "ws", {"closed": {"code": code, "reason": ""}})

    async def _send(self, line: Line) -> None:
        entry, (socket, _) = line.entry, self._sockets[line.who]
        if "raw" in entry:
            binary = entry["raw"].startswith("<")
            await socket.send_message(b'{"event":"control/request"}' if binary else entry["raw"])
            return
        payload = self._put_in(entry.get("payload"))
        if entry["event"] == "signal/answer" and not self._is_dead(line):
            payload = {"sdp": await self._answer(line.who)}
        message = {"event": entry["event"], **({"payload": payload} if "payload" in entry else {})}
        await socket.send_message(json.dumps(message))
        if entry["event"] == "signal/answer" and line.who in self._peers:
            self._peers[line.who][0].start()

    def _is_dead(self, line: Line) -> bool:
        """Whether the recorded peer never connected: then its answer is played as it was, with nobody behind it."""
        return not any(
            each.at > line.at and each.who == line.who and each.entry.get("pc_state") == "connected"
            for each in self._lines
        )

    async def _answer(self, who: str) -> str:
        offers = [m for m in self.heard[who, "ws"].messages if m.get("event") == "signal/provide"]
        held = self._peers.pop(who, None)
        if held is not None:
            await held[0].aclose()
            held[1].set()
        return str(await self._nursery.start(self._hold_peer, who, offers[-1]["payload"]["sdp"]))

    async def _hold_peer(
        self, who: str, offer: str, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
    ) -> None:
        ended = trio.Event()

        def heard_data() -> None:
            self.hear(who, "dc", {"hex": peer.data[-1].hex()})

        async with self._open_peer(offer, heard_data) as peer:
            self._peers[who] = peer, ended
            self._opening.add(who)
            task_status.started(peer.answer)
            await ended.wait()


class Readers:
    """What trio-websocket sees of a nursery. Its reader dies of a ping that meets our own close frame (its issue 184):
    then that has been sent, and nothing more is to be read."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start_soon(self, reader: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(self._read, reader)

    async def _read(self, reader: Callable[[], Awaitable[None]]) -> None:
        with suppress(LocalProtocolError):
            await reader()


def _acts(line: Line) -> bool:
    """Whether a received line stands for something that the client did."""
    if line.kind == "note":
        return line.entry.get("pc_state") == "closed" or "copies" in str(line.entry.get("text", ""))
    if "closed" not in line.entry:
        return False
    return line.entry["closed"]["code"] == 1000 or line.who == "second"


def _answers(answer: Line, call: Line) -> bool:
    return not answer.is_sent and answer.kind == "http" and answer.who == call.who and answer.at >= call.at


@asynccontextmanager
async def playing(server: Server, lines: Iterable[Line], open_peer: OpenPeer) -> AsyncGenerator[Player, None]:
    """A player; at the end of the block its sockets and peers are gone."""
    async with trio.open_nursery() as nursery:
        player = Player(server, list(lines), open_peer, nursery)
        try:
            yield player
        finally:
            await player.leave()
            nursery.cancel_scope.cancel()
