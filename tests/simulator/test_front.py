"""HTTP and the ends of WebSockets, as the real server has them (neko-protocol.md §1, §2)."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio

from neko_trio.errors import InvalidInput
from neko_trio.simulator import Cookie, Member, Profile, Timings, open_simulator
from neko_trio.simulator._server import _own_addresses

if TYPE_CHECKING:
    from tests.simulator.conftest import House, OpenHouse

UPGRADE = (
    b"GET /api/ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/health", 200, b"true"),
        ("GET", "/nothing", 404, b"404 page not found\n"),
        ("GET", "/api/nothing", 404, b"404 page not found\n"),
        ("GET", "/api/login", 405, b""),
        ("GET", "/api/whoami", 401, b'{"code":401,"message":"Unauthorized"}\n'),
        ("GET", "/api/room/nothing", 401, b'{"code":401,"message":"Unauthorized"}\n'),
        ("GET", "/api/ws", 400, b'{"code":400,"message":"Bad Request"}\n'),
    ],
)
async def test_what_nobody_in_particular_gets(house: House, method: str, path: str, status: int, body: bytes) -> None:
    answer = await house.call(method, path)
    assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "no data provided"),
        (b"{", 400, "unable to parse provided data"),
        (b'{"username": 5}', 400, "unable to parse provided data"),
        (b"\xff\xfe", 400, "unable to parse provided data"),
        (b"[" * 50_000, 400, "unable to parse provided data"),
        (b'{"username": "x", "password": "no"}', 401, "Unauthorized"),
        (b'{"username": "x"}', 401, "Unauthorized"),
    ],
)
async def test_logins_that_fail(house: House, body: bytes, status: int, message: str) -> None:
    answer = await house.call("POST", "/api/login", body)
    assert answer.json() == {"code": status, "message": message}
    assert answer.status == status


async def test_a_login_without_a_name_and_with_keys_in_another_case(house: House) -> None:
    password = house.simulator.admin_password
    answer = await house.call("POST", "/api/login", json.dumps({"PassWord": password}).encode())
    assert answer.status == 200
    assert answer.json()["id"].startswith("-")
    assert answer.json()["profile"]["is_admin"] is True


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"garbage\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nHost: t\r\nX: " + b"a" * 100_000, b"431"),
        (b"GET /health HTTP/1.1\r\n\r\n", b"400"),
    ],
)
async def test_what_is_no_http_is_answered_and_harms_nobody(house: House, sent: bytes, status: bytes) -> None:
    assert (await house.raw(sent)).split(b" ")[1] == status
    assert (await house.call("GET", "/health")).status == 200


async def test_requests_sent_at_once_on_one_connection_then_an_upgrade(house: House) -> None:
    _, token = await house.login()
    request = f"GET /api/whoami HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    upgrade = UPGRADE + f"Authorization: Bearer {token}\r\n\r\n".encode()
    async with await trio.open_tcp_stream("127.0.0.1", house.port) as stream:
        await stream.send_all(request + request + upgrade)
        received = b""
        while b"openinapp/init" not in received:
            received += await stream.receive_some()
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.count(b"HTTP/1.1 101") == 1


async def test_who_sends_before_the_handshake_is_complete_is_hung_up_on(house: House) -> None:
    _, token = await house.login()
    assert await house.raw(UPGRADE + f"Authorization: Bearer {token}\r\n\r\n".encode() + b"\x81\x80\0\0\0\0") == b""
    assert (await house.call("GET", "/health")).status == 200


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "no authentication provided"),
        ("Authorization: Bearer wrong\r\n", "session not found"),
        ("Authorization: bearer wrong\r\n", "no authentication provided"),
    ],
)
async def test_a_refused_websocket_is_told_why_and_dropped_without_a_close_frame(
    house: House, header: str, message: str
) -> None:
    received = await house.raw(UPGRADE + header.encode() + b"\r\n")
    head, _, frames = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    text = frames[2:]
    assert json.loads(text) == {"event": "system/disconnect", "payload": {"message": message}}
    assert len(text) == frames[1]  # one frame, and nothing behind it


async def test_tcp_stays_open_after_a_close_frame(house: House) -> None:
    _, token = await house.login()
    async with await trio.open_tcp_stream("127.0.0.1", house.port) as stream:
        await stream.send_all(UPGRADE + f"Authorization: Bearer {token}\r\n\r\n".encode())
        received = b""
        while b"openinapp/init" not in received:
            received += await stream.receive_some()
        await stream.send_all(bytes((0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8)))
        while not received.endswith(b"\x88\x02\x03\xe8"):
            received += await stream.receive_some()
        with trio.move_on_after(0.2) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
    session = next(iter(house.simulator.sessions.values()))
    assert not session.is_connected


async def test_what_was_sent_before_a_close_frame_is_handled(house: House) -> None:
    _, token = await house.login()
    async with await trio.open_tcp_stream("127.0.0.1", house.port) as stream:
        await stream.send_all(UPGRADE + f"Authorization: Bearer {token}\r\n\r\n".encode())
        received = b""
        while b"openinapp/init" not in received:
            received += await stream.receive_some()
        message = b'{"event":"control/copy"}'  # takes 10 ms: the others wait behind it
        frame = bytes((0x81, 0x80 | len(message))) + bytes(4) + message
        await stream.send_all(frame * 5 + bytes((0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8)))
        await house.simulator.journal.wait_for(lambda entry: entry.event == "close 1000")
    assert len(house.simulator.journal.select(lambda entry: entry.event == "control/copy")) == 5


async def test_a_host_who_leaves_holds_nothing_any_more(house: House) -> None:
    async with house.client() as client:
        await client.send("control/keydown", {"keysym": 97})
        await client.send("control/buttondown", {"code": 1})
        await client.settle()
        assert house.simulator.held == (frozenset({97}), frozenset({1}))
    await house.simulator.journal.wait_for(lambda entry: entry.event == "close 1000")
    assert house.simulator.held == (frozenset(), frozenset())
    assert house.simulator.host is None


async def test_an_abnormal_loss_leaves_the_session_its_place_for_a_while(open_house: OpenHouse) -> None:
    async with open_house(timings=Timings(reconnect_grace=0.3)) as house:
        async with house.client("watcher", admin=True) as watcher:
            session_id, token = await house.login("bob")
            async with house.socket(session_id, token) as bob:
                await bob.send("control/request")
                await bob.settle()
                await watcher.settle()
                async with house.simulator.faults.drop_websockets() as fault:
                    pass
            assert fault.hits == 2
        async with house.socket(session_id, token) as bob:
            greeting = await bob.wait_for("system/init")
            assert greeting["control_host"]["host_id"] == session_id  # still host
            assert greeting["sessions"][session_id]["state"]["is_connected"] is True
            async with house.client("watcher", admin=True) as watcher, house.simulator.faults.drop_websockets():
                pass
        await house.simulator.journal.wait_for(lambda entry: "close 1006" in entry.event)
        async with house.client("watcher", admin=True) as watcher:
            while (await watcher.wait_for("session/state"))["id"] != session_id:
                pass
            assert house.simulator.host is None


async def test_a_second_websocket_replaces_the_first(house: House) -> None:
    session_id, token = await house.login()
    async with house.socket(session_id, token) as first, house.socket(session_id, token) as second:
        await second.wait_for("system/init")
        heard, code = await first.wait_ended()
        assert heard[-1] == ("system/disconnect", {"message": "connection replaced"})
        assert code == 1006
        await second.settle()
        assert house.simulator.sessions[session_id].is_connected


async def test_without_merciful_reconnect_the_second_is_refused(open_house: OpenHouse) -> None:
    async with open_house(settings={"merciful_reconnect": False}) as house:
        session_id, token = await house.login()
        async with house.socket(session_id, token) as first, house.socket(session_id, token) as second:
            assert await second.wait_ended() == ([("system/disconnect", {"message": "already connected"})], 1006)
            await first.settle()


async def test_heartbeats_come_by_the_clock(open_house: OpenHouse) -> None:
    async with open_house(timings=Timings(heartbeat=0.05)) as house, house.client() as client:
        for _ in range(3):
            assert await client.wait_for("system/heartbeat") is None


async def test_large_messages_pass_both_ways(house: House) -> None:
    async with house.client() as client:
        body = "x" * 5_000_000
        await client.send("send/unicast", {"receiver": client.id, "subject": "large", "body": body})
        assert (await client.wait_for("send/unicast"))["body"] == body


async def test_what_cannot_be_read_is_ignored_and_counted(house: House) -> None:
    async with house.client() as client:
        for text in (
            "{bad",
            '{"event":"no/such"}',
            '{"event":"control/move","payload":{"x":10.7,"y":1}}',
            "[]",
            "null",
        ):
            await client.socket.send(text)
        await client.send("signal/request")
        assert await client.settle() == []
        assert house.simulator.refused["signal/request: malformed"] == 1
        assert house.simulator.refused["control/move: malformed"] == 1


async def test_the_token_in_a_cookie(open_house: OpenHouse) -> None:
    async with open_house(cookie=Cookie()) as house:
        body = {"username": "a", "password": house.simulator.password}
        answer = await house.call("POST", "/api/login", body)
        assert "token" not in answer.json()
        cookie = answer.headers["set-cookie"].split(";")[0]
        assert (await house.call("GET", "/api/whoami", headers=f"Cookie: {cookie}\r\n")).status == 200
        # The first that is present decides: a stale cookie beside a good header is refused.
        token = cookie.partition("=")[2]
        stale = await house.call("GET", "/api/whoami", token=token, headers="Cookie: NEKO_SESSION=stale\r\n")
        assert stale.status == 401


async def test_a_path_prefix_moves_everything(open_house: OpenHouse) -> None:
    async with open_house(path_prefix="/desk") as house:
        assert house.simulator.url.endswith("/desk")
        assert (await house.call("GET", "/desk/health")).status == 200
        assert (await house.call("GET", "/health")).status == 404
        body = {"username": "a", "password": house.simulator.password}
        login = (await house.call("POST", "/desk/api/login", body)).json()
        async with house.socket(login["id"], login["token"]) as client:
            await client.wait_for("system/init")


async def test_fixed_members(open_house: OpenHouse) -> None:
    members = {"ann": Member("secret"), "guest": Member("guest", Profile(name="guest", can_login=False))}
    async with open_house(members=members) as house:
        assert (house.simulator.username, house.simulator.password) == ("ann", "secret")
        session_id, token = await house.login("ann")
        assert session_id == "ann"
        _, second_token = await house.login("ann")
        assert (await house.call("GET", "/api/whoami", token=token)).status == 401  # the second made it invalid
        async with house.socket("ann", second_token) as client:
            await client.wait_for("system/init")
            again = await house.call("POST", "/api/login", {"username": "ann", "password": "secret"})
            assert again.json() == {"code": 422, "message": "session already connected"}
        guest = (await house.call("POST", "/api/login", {"username": "guest", "password": "guest"})).json()
        async with house.socket(guest["id"], guest["token"]) as client:
            assert (await client.wait_for("system/disconnect"))["message"] == "session login disabled"
        assert "secret" not in repr(members).replace("<secret>", "")


async def test_the_end_of_the_block_tells_every_client(open_house: OpenHouse) -> None:
    heard: list[Any] = []
    async with trio.open_nursery() as nursery, open_house() as house:
        session_id, token = await house.login()

        async def listen(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async with house.socket(session_id, token) as client:
                await client.wait_for("system/init")
                task_status.started()
                heard.append(await client.wait_ended())

        await nursery.start(listen)
        port = house.port
    assert heard[0][0][-1] == ("system/disconnect", {"message": "connection shutdown"})
    assert heard[0][1] == 1006
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_an_error_of_the_body_leaves_as_it_is(open_house: OpenHouse) -> None:
    with pytest.raises(KeyError):
        async with open_house():
            raise KeyError("mine")


async def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            async with open_simulator(port=taken.getsockname()[1]):
                raise AssertionError("it opened")


@pytest.mark.parametrize(
    "options", [{"size": (1281, 720)}, {"size": (8, 8)}, {"path_prefix": "desk/"}, {"settings": {"no_such": True}}]
)
async def test_options_that_make_no_sense(open_house: OpenHouse, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        async with open_house(**options):
            raise AssertionError("it opened")


async def test_secrets_are_not_in_the_journal(house: House) -> None:
    session_id, token = await house.login()
    async with house.socket(session_id, token) as client:
        await client.settle()
    for entry in house.simulator.journal:
        text = entry.message if isinstance(entry.message, str) else entry.message.decode()
        assert token not in text
        assert house.simulator.password not in text
        assert token not in str(entry)


@pytest.mark.parametrize(("host", "loopback"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1")])
async def test_peers_are_reached_where_the_front_door_is(host: str, loopback: str) -> None:
    try:
        listeners = await trio.open_tcp_listeners(0, host=host)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    addresses = _own_addresses(listeners)
    for listener in listeners:
        await listener.aclose()
    assert addresses[0] == loopback
    assert addresses == (host,) or (host == "0.0.0.0" and host not in addresses)
