"""Reconnecting over real sockets: whatever breaks, the caller's frames, input and host role go on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from time import perf_counter

import pytest
import trio

import neko_trio
from neko_trio import InputInDoubt, LoginRefused, Reconnect, Session, SessionLost
from neko_trio.simulator import Simulator
from neko_trio.testing import LossyNetwork, TestServer
from tests.audio.tones import tones
from tests.integration.conftest import open_watch, unique

POLICY = Reconnect(limit=30)
BACK_WITHIN = 10.0
"""Seconds in which the pictures must be back: benchmarks/outages.py measures it, this is for busy machines."""


class Relay:
    """A TCP way to the server that can be cut, as a proxy that is restarted cuts it."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._scopes: set[trio.CancelScope] = set()
        self.port = 0

    def cut(self) -> int:
        """End every connection; how many those were."""
        for scope in self._scopes:
            scope.cancel()
        return len(self._scopes)

    async def serve(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream(self._host, self._port)
        async with client, server, trio.open_nursery() as nursery:
            self._scopes.add(nursery.cancel_scope)
            nursery.start_soon(self._pass_on, client, server, nursery.cancel_scope)
            nursery.start_soon(self._pass_on, server, client, nursery.cancel_scope)
        self._scopes.discard(nursery.cancel_scope)

    async def _pass_on(self, one: trio.SocketStream, other: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            async for data in one:
                await other.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # either end is gone, which is the end of both
        scope.cancel()


@asynccontextmanager
async def open_relay(server: TestServer) -> AsyncIterator[tuple[Relay, str]]:
    """A relay before the server, and its URL."""
    found = re.fullmatch(r"http://([^:/]+):(\d+)(.*)", server.url)
    assert found is not None
    relay = Relay(found[1], int(found[2]))
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, relay.serve, [listener])
        yield relay, f"http://127.0.0.1:{listener.socket.getsockname()[1]}{found[3]}"
        nursery.cancel_scope.cancel()


async def goes_on(session: Session, *, epoch: int | None) -> None:
    """Pictures come again, in the same session, and input arrives; ``epoch``: of the peer that they come from."""
    since = perf_counter()
    with trio.fail_after(BACK_WITHIN):
        async with session.screen.frames() as frames:
            async for frame in frames:
                if frame.arrived > since and (epoch is None or frame.epoch == epoch):
                    break
        while True:
            try:
                await session.mouse.move(20, 30)
                await session.flush()
                break
            except InputInDoubt:
                continue  # told once, for what went before the outage
        assert session.connected
        assert session.state.is_host


async def test_a_cut_websocket(neko_simulator: TestServer) -> None:
    async with open_watch(neko_simulator) as watch, open_relay(neko_simulator) as (relay, url):
        name = unique("cut")
        opened = neko_trio.open_session(url, username=name, password=neko_simulator.password, reconnect=POLICY)
        async with opened as session, session.control():
            await session.screen.frame()
            for epoch in (2, 3):
                assert relay.cut() >= 1
                await goes_on(session, epoch=epoch)
            assert session.statistics().outages == 2
            await watch.settled()
            assert len(watch.of(name)) == 1  # the same token: nobody else has come
        await watch.gone(name)


async def test_a_clipboard_that_was_lent_for_a_paste_when_the_websocket_was_cut(neko_simulator: TestServer) -> None:
    async with open_relay(neko_simulator) as (relay, url):
        opened = neko_trio.open_session(
            url, username=unique("paste"), password=neko_simulator.password, video="off", reconnect=POLICY
        )
        async with opened as session, session.control():
            await session.clipboard.write("before")
            session.keyboard.paste_time = 1.0

            async def cut() -> None:
                await trio.sleep(0.5)
                assert relay.cut() >= 1

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cut)
                with suppress(InputInDoubt):  # on a machine that is so busy that the keys were still on their way
                    await session.keyboard.type("pasted", paste=True)
            assert await session.clipboard.read() == "before"
            assert session.statistics().outages == 1


async def test_a_media_path_that_is_blocked_for_a_while(neko_simulator: TestServer) -> None:
    network = LossyNetwork()
    async with (
        neko_trio.open_session(
            neko_simulator.url,
            username=unique("blocked"),
            password=neko_simulator.password,
            media=network,
            reconnect=POLICY,
        ) as session,
        session.control(),
    ):
        await session.screen.frame()
        network.change(loss=1.0)
        await session._parts.up.wait(lambda up: not up)
        await trio.sleep(1)
        network.change(loss=0.0)
        await goes_on(session, epoch=2)


@pytest.mark.parametrize("lost", ["websocket", "media"])
async def test_an_open_microphone_goes_on(apart: TestServer, lost: str) -> None:
    network = LossyNetwork()
    async with open_relay(apart) as (relay, url):
        opened = neko_trio.open_session(
            url, username=unique("speaker"), password=apart.password, media=network, reconnect=POLICY
        )
        async with opened as session, session.microphone() as mic:
            await mic.write(tones(0, 9600))
            with trio.fail_after(BACK_WITHIN):
                await mic.flush()
            if lost == "websocket":
                assert relay.cut() >= 1
            else:
                network.change(loss=1.0)
            await session._parts.up.wait(lambda up: not up)
            network.change(loss=0.0)
            with trio.move_on_after(BACK_WITHIN) as limit:
                await mic.write(tones(9600, 48_000))
                await mic.flush()
            assert not limit.cancelled_caught, "nobody takes the sound any more"
            assert session.connected
            assert session.epoch == 2
            assert session.statistics().outages == 1


FAULTS: dict[str, Callable[[Simulator], AbstractAsyncContextManager[object]]] = {
    "the server restarts and has forgotten all tokens": lambda simulator: simulator.faults.restart(down=0.5),
    "the server restarts with its sessions": lambda simulator: simulator.faults.restart(down=0.5, keep=True),
    "the server is shut down and started": lambda simulator: simulator.faults.restart(down=0.5, goodbye=True),
    "the peer is closed": lambda simulator: simulator.faults.kill_peers(),
    "the peer dies": lambda simulator: simulator.faults.kill_peers(silently=True),
    "the server's process stops for seven seconds": lambda simulator: simulator.faults.stall(seconds=7.0),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_what_may_befall_a_server(embedded_only: None, neko_simulator: TestServer, name: str) -> None:
    simulator = neko_simulator.simulator
    assert simulator is not None
    async with (
        neko_trio.open_session(
            simulator.url, username="agent", password=simulator.password, reconnect=POLICY
        ) as session,
        session.control(),
    ):
        await session.screen.frame()
        async with FAULTS[name](simulator):
            await session._parts.up.wait(lambda up: not up)
            await session.wait_connected()
            await goes_on(session, epoch=None)
        assert session.epoch >= 2
        assert session.statistics().outages == 1
    with trio.fail_after(2):
        await simulator.journal.wait_for(lambda entry: entry.event == "POST /api/logout")


async def test_who_may_not_come_back(embedded_only: None, neko_simulator: TestServer) -> None:
    simulator = neko_simulator.simulator
    assert simulator is not None
    opened = partial(neko_trio.open_session, simulator.url, username="agent", password=simulator.password)
    with pytest.raises(SessionLost) as caught:
        async with opened(reconnect=POLICY) as session, open_watch_room(neko_simulator) as admin:
            await admin.room.disconnect(session.state.session_id)
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, neko_trio.Kicked)
    with pytest.raises(SessionLost) as caught:
        async with opened(reconnect=POLICY), simulator.faults.lock_logins(), simulator.faults.restart():
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, LoginRefused)


@asynccontextmanager
async def open_watch_room(server: TestServer) -> AsyncIterator[Session]:
    """An admin's session."""
    async with neko_trio.open_session(
        server.url, username=unique("admin"), password=server.admin_password, video="off"
    ) as session:
        yield session


async def test_a_session_without_pictures_comes_back_too(neko_simulator: TestServer) -> None:
    async with (
        open_relay(neko_simulator) as (relay, url),
        neko_trio.open_session(
            url, username=unique("blind"), password=neko_simulator.password, video="off", reconnect=POLICY
        ) as session,
    ):
        assert relay.cut() >= 1
        await session._parts.up.wait(lambda up: not up)
        with trio.fail_after(BACK_WITHIN):
            await session.wait_connected()
            await session.send_event("send/broadcast", {"subject": "still", "body": "here"})
        assert session.epoch == 0
