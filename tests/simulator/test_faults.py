"""Each fault does what its name says, while its block runs, and counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from neko_trio.simulator import _socket

if TYPE_CHECKING:
    from tests.simulator.conftest import House


async def test_mute_says_nothing(house: House) -> None:
    async with house.simulator.faults.mute() as fault:
        with trio.move_on_after(0.1) as scope:
            await house.raw(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
        assert scope.cancelled_caught
        assert fault.hits == 1
    assert (await house.call("GET", "/health")).status == 200


async def test_trickle_is_slow(house: House) -> None:
    async with house.simulator.faults.trickle(interval=0.001):
        started = trio.current_time()
        assert (await house.call("GET", "/health")).body == b"true"
        assert trio.current_time() - started > 0.05


async def test_answer_replaces_a_call(house: House) -> None:
    async with house.simulator.faults.answer("/api/login", status=200, body=b"<html>") as fault:
        assert (await house.call("POST", "/api/login")).body == b"<html>"
    assert fault.hits == 1
    assert (await house.call("POST", "/api/login")).status == 400


async def test_reset_connections(house: House) -> None:
    async with house.simulator.faults.reset_connections():
        stream = await trio.open_tcp_stream("127.0.0.1", house.port)
        async with stream:
            await stream.send_all(b"GET / HTTP/1.1\r\n")
            with pytest.raises(trio.BrokenResourceError) as broken:
                await stream.receive_some()
            assert isinstance(broken.value.__cause__, ConnectionResetError)


async def test_refuse_websocket(house: House) -> None:
    session_id, token = await house.login()
    async with (
        house.simulator.faults.refuse_websocket("connection disabled"),
        house.socket(session_id, token) as client,
    ):
        assert await client.wait_ended() == ([("system/disconnect", {"message": "connection disabled"})], 1006)


async def test_deaf_and_frozen(house: House) -> None:
    async with house.client() as client:
        async with house.simulator.faults.deaf():
            await client.send("control/request")
            await house.simulator.journal.wait_for(lambda entry: entry.event == "control/request")
        await client.settle()
        assert house.simulator.host is None
        async with house.simulator.faults.frozen():
            await client.send("control/request")
            with trio.move_on_after(0.1) as scope:
                await client.settle()
            assert scope.cancelled_caught
            assert house.simulator.host == client.id
        heard = await client.settle()
        assert ("control/host", {"id": client.id, "has_host": True, "host_id": client.id}) not in heard


async def test_messages_withheld_delayed_garbled_preceded_altered_and_renamed(house: House) -> None:
    faults = house.simulator.faults
    async with house.client() as client:
        async with faults.withhold("signal/provide") as fault:
            await client.send("signal/request", {})
            assert "signal/provide" not in dict([*await client.settle(), *await client.settle()])
            assert fault.hits == 1
        async with (
            faults.delay("signal/provide", 0.1),
            faults.alter("signal/provide", sdp="no SDP", surplus=1),
            faults.rename("signal/provide", "signal/offer"),
            faults.precede("signal/provide", '{"event": "first"}'),
        ):
            started = trio.current_time()
            await client.send("signal/request", {})
            await client.wait_for("first")
            event, payload = await client.receive()
            assert trio.current_time() - started >= 0.1
            assert event == "signal/offer"
            assert (payload["sdp"], payload["surplus"], payload["iceservers"]) == ("no SDP", 1, [])
            await client.settle()
        async with faults.garble("control/host", "{bad"):
            await client.send("control/request")
            assert await client.socket.receive() == "{bad"


async def test_drop_after_ends_the_connection_right_behind_a_message(house: House) -> None:
    session_id, token = await house.login()
    async with house.simulator.faults.drop_after("system/init"), house.socket(session_id, token) as client:
        heard, code = await client.wait_ended()
        assert [event for event, _ in heard] == ["system/init"]
        assert code == 1006


async def test_silent_media_lasts_for_its_block(house: House) -> None:
    async with house.client() as client:
        await client.send("signal/request", {})
        await client.wait_for("signal/provide")
        async with house.simulator.faults.silent_media() as fault:
            assert house.media.peers[0].silent
            assert fault.hits == 1
        assert not house.media.peers[0].silent


async def test_a_client_that_does_not_read_loses_its_connection(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outbox is bounded; everybody else goes on."""
    monkeypatch.setattr(_socket, "MAX_OUTBOX_BYTES", 20 * 2**20)
    session_id, token = await house.login("sleeper")
    stream = await trio.open_tcp_stream("127.0.0.1", house.port)
    async with stream, house.simulator.person("ann") as ann:
        stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4096)
        await stream.send_all(
            b"GET /api/ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer "
            + token.encode()
            + b"\r\n\r\n"
        )
        await ann.wait_for("session/state", lambda state: state["id"] == session_id)
        text = "x" * 2_000_000
        for _ in range(20):
            await ann.say(text)
        with trio.fail_after(20):
            await house.simulator.journal.wait_for(lambda entry: entry.event == "close 1006")
        assert (await house.call("GET", "/health")).status == 200
