"""The rival: the same connect with aiortc as its documentation shows it, and nothing of ours.

Login, WebSocket, ``signal/request`` with video, the offer's ICE servers, answer, candidates, first decoded frame. It is
an asyncio program; ``connect.py --rival`` runs it between our own connects.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.sdp import candidate_from_sdp
from websockets.asyncio.client import connect as open_websocket


def login(url: str, username: str, password: str) -> str:
    """The token of a new login."""
    request = urllib.request.Request(
        f"{url}/api/login",
        json.dumps({"username": username, "password": password}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        token: str = json.load(answer)["token"]
        return token


def logout(url: str, token: str) -> None:
    """End the login, as we do."""
    request = urllib.request.Request(f"{url}/api/logout", b"", {"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request):
        pass


@dataclass(frozen=True)
class Detour:
    """How the two sides are led to a network in between."""

    candidate: Callable[[str], str | None]
    """A candidate of the server's as this side shall see it; ``None``: not at all."""
    answer: Callable[[str], str]
    """Our answer's SDP as the server shall see it."""


async def connect_once(
    url: str,
    username: str,
    password: str,
    *,
    relay_only: bool = False,
    patience: float = 20.0,
    watch: Callable[[Any], Awaitable[None]] | None = None,
    detour: Detour | None = None,
) -> dict[str, float]:
    """Milliseconds from the dial to ``connected`` and ``first_frame``.

    Raises what went wrong: a :class:`TimeoutError` says where it stood when ``patience`` (seconds) was over, for it
    knows no end of its own. ``watch`` is awaited with the video track after the first frame;
    ``detour`` leads the media over another way.
    """
    stages = ["before the offer"]
    token = await asyncio.to_thread(login, url, username, password)
    try:
        async with asyncio.timeout(patience):
            return await _connect(url, token, relay_only, stages, watch, detour)
    except TimeoutError:
        raise TimeoutError(f"after {patience:g} s {stages[-1]}") from None
    finally:
        await asyncio.to_thread(logout, url, token)


async def _connect(
    url: str,
    token: str,
    relay_only: bool,
    stages: list[str],
    watch: Callable[[Any], Awaitable[None]] | None,
    detour: Detour | None,
) -> dict[str, float]:
    dial = perf_counter()
    marks: dict[str, float] = {}
    address = "ws" + url.removeprefix("http") + "/api/ws"
    headers = {"Authorization": f"Bearer {token}"}
    async with open_websocket(address, additional_headers=headers, max_size=None, close_timeout=1) as socket:
        await socket.send(
            json.dumps({"event": "signal/request", "payload": {"video": {}, "audio": {"disabled": True}}})
        )
        pc: RTCPeerConnection | None = None
        early: list[dict[str, Any]] = []
        shown = asyncio.get_running_loop().create_future()
        tasks: list[asyncio.Task[None]] = []
        reading = asyncio.ensure_future(socket.recv())  # cancelled below
        try:
            while not shown.done():
                await asyncio.wait({reading, shown}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    continue
                message = json.loads(reading.result())
                reading = asyncio.ensure_future(socket.recv())
                if message["event"] == "signal/provide":
                    pc = _make(message["payload"]["iceservers"], relay_only, marks, dial, shown, tasks, stages, watch)
                    await pc.setRemoteDescription(RTCSessionDescription(message["payload"]["sdp"], "offer"))
                    for candidate in early:
                        await _add(pc, candidate, detour)
                    await pc.setLocalDescription(await pc.createAnswer())
                    sdp = pc.localDescription.sdp if detour is None else detour.answer(pc.localDescription.sdp)
                    answer = {"event": "signal/answer", "payload": {"sdp": sdp}}
                    await socket.send(json.dumps(answer))
                elif message["event"] == "signal/candidate":
                    if pc is None:
                        early.append(message["payload"])
                    else:
                        await _add(pc, message["payload"], detour)
            shown.result()
        finally:
            reading.cancel()
            for task in tasks:
                task.cancel()
            if pc is not None:
                await pc.close()
    return marks


def _make(
    servers: list[dict[str, Any]],
    relay_only: bool,
    marks: dict[str, float],
    dial: float,
    shown: asyncio.Future[None],
    tasks: list[asyncio.Task[None]],
    stages: list[str],
    watch: Callable[[Any], Awaitable[None]] | None,
) -> RTCPeerConnection:
    ice = [RTCIceServer(one["urls"], one.get("username"), one.get("credential")) for one in servers]
    policy = RTCIceTransportPolicy.RELAY if relay_only else RTCIceTransportPolicy.ALL
    pc = RTCPeerConnection(RTCConfiguration(iceServers=ice, iceTransportPolicy=policy))
    stages.append(f"in state {pc.connectionState}")

    @pc.on("connectionstatechange")
    def changed() -> None:
        if pc.connectionState != "closed":
            stages.append(f"in state {pc.connectionState}")
        if pc.connectionState == "connected":
            marks.setdefault("connected", (perf_counter() - dial) * 1000)
        elif pc.connectionState == "failed" and not shown.done():
            shown.set_exception(ConnectionError("the peer connection failed"))

    @pc.on("track")
    def started(track: Any) -> None:
        if track.kind == "video":
            tasks.append(asyncio.ensure_future(receive(track)))
            tasks[-1].add_done_callback(received)

    def received(task: asyncio.Task[None]) -> None:
        if task.cancelled() or shown.done():
            return
        error = task.exception()
        if error is None:
            shown.set_result(None)
        else:
            shown.set_exception(error)

    async def receive(track: Any) -> None:
        await track.recv()
        marks["first_frame"] = (perf_counter() - dial) * 1000
        if watch is not None:
            await watch(track)

    return pc


async def _add(pc: RTCPeerConnection, payload: dict[str, Any], detour: Detour | None) -> None:
    text = payload["candidate"] if detour is None else detour.candidate(payload["candidate"])
    if text is None:
        return
    candidate = candidate_from_sdp(text.removeprefix("candidate:"))
    candidate.sdpMid, candidate.sdpMLineIndex = payload.get("sdpMid"), payload.get("sdpMLineIndex")
    await pc.addIceCandidate(candidate)
