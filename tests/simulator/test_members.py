"""Members, the chat's rights, the API token and the rest of what admins do, as the server's providers do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from neko_trio.protocol import requests
from neko_trio.simulator import Member, PersonRefused, Profile, Timings
from neko_trio.simulator._values import admin_profile

if TYPE_CHECKING:
    from tests.simulator.conftest import House, OpenHouse

MEMBERS = {
    "root": Member("rootpw", admin_profile("Root")),
    "bob": Member("bobpw", Profile(name="Bob", can_host=False)),
    "a b!é": Member("pw", Profile(name="odd")),
    "a/b": Member("pw", Profile(name="never found")),
}


async def login_bob(house: House) -> tuple[str, str]:
    answer = await house.call("POST", "/api/login", {"username": "bob", "password": "bobpw"})
    return answer.json()["id"], answer.json()["token"]


async def test_the_object_provider_lets_admins_change_its_members(open_house: OpenHouse) -> None:
    async with open_house(members=MEMBERS) as house, house.simulator.person("ann", admin=True) as ann:
        created = await ann.call(
            "POST",
            "/api/members",
            {"username": "eve", "password": "epw", "profile": {"name": "E", "can_host": False}},
        )
        assert (created["id"], created["profile"]["can_host"]) == ("eve", False)
        assert created["profile"]["can_see_inactive_cursors"] is True  # the server's default for one it makes
        with pytest.raises(PersonRefused, match="422 member already exists"):
            await ann.call("POST", "/api/members", {"username": "eve", "password": "x"})
        for body, said in (({"username": "", "password": "x"}, "username"), ({"username": "x"}, "password")):
            with pytest.raises(PersonRefused, match=f"400 {said} cannot be empty"):
                await ann.call("POST", "/api/members", body)
        await ann.call("POST", "/api/members/eve", {"can_host": True, "plugins": {"a": 1}})
        await ann.call("POST", "/api/members/eve", {"plugins": {"b": 2}})
        profile = await ann.call("GET", "/api/members/eve")
        assert (profile["name"], profile["can_host"], profile["plugins"]) == ("E", True, {"a": 1, "b": 2})
        await ann.call("POST", "/api/members/eve", {"plugins": None})
        assert (await ann.call("GET", "/api/members/eve"))["plugins"] is None
        await ann.call("POST", "/api/members/eve/password", {"password": "new"})
        assert (await house.call("POST", "/api/login", {"username": "eve", "password": "epw"})).status == 401
        assert (await house.call("POST", "/api/login", {"username": "eve", "password": "new"})).status == 200
        await ann.call("DELETE", "/api/members/eve")
        assert "eve" not in house.simulator.sessions
        assert (await house.call("POST", "/api/login", {"username": "eve", "password": "new"})).status == 401
        for method, path in (("GET", "/api/members/eve"), ("POST", "/api/members/eve"), ("DELETE", "/api/members/eve")):
            with pytest.raises(PersonRefused, match="404 member not found"):
                await ann.call(method, path, {})


async def test_the_list_is_in_another_order_each_time(open_house: OpenHouse) -> None:
    async with open_house(members=MEMBERS) as house, house.simulator.person("bob") as bob:
        whole = [member["id"] for member in await bob.call("GET", "/api/members")]
        again = [member["id"] for member in await bob.call("GET", "/api/members")]
        assert sorted(whole) == sorted(again) == sorted(MEMBERS)
        assert whole != again


async def test_pages_of_members(open_house: OpenHouse) -> None:
    async with open_house(members=MEMBERS) as house:
        _, token = await house.login("root", admin=True)
        for query, length in (
            ("limit=2", 2),
            ("limit=2&offset=3", 1),
            ("offset=1", 3),
            ("limit=x", 4),
            ("limit=-1", 0),
        ):
            answer = await house.call("GET", f"/api/members?{query}", token=token)
            assert len(answer.json()) == length, query


async def test_an_id_is_found_only_as_go_escapes_it(open_house: OpenHouse) -> None:
    async with open_house(members=MEMBERS) as house:
        _, token = await house.login("root", admin=True)
        for path, status in (
            ("a%20b%21%C3%A9", 200),
            ("a%20b!%C3%A9", 404),  # the ! is left as it is: then the router takes the path as it came
            ("a%20b%21%c3%a9", 404),
            ("a%2Fb", 404),
        ):
            assert (await house.call("GET", f"/api/members/{path}", token=token)).status == status, path


async def test_a_session_follows_its_member(open_house: OpenHouse) -> None:
    async with open_house(members=MEMBERS) as house, house.simulator.person("ann", admin=True) as ann:
        session_id, token = await login_bob(house)
        async with house.socket(session_id, token) as bob:
            await bob.settle()
            await ann.call("POST", "/api/members/bob", {"can_host": True})
            assert (await bob.wait_for("session/profile"))["can_host"] is True
            await ann.call("POST", "/api/members/bob", {"can_connect": False})
            heard, code = await bob.wait_ended()
            assert (heard[-1], code) == (("system/disconnect", {"message": "profile changed"}), 1006)


async def test_the_peer_of_one_who_may_not_watch_ends_a_moment_later(open_house: OpenHouse) -> None:
    async with (
        open_house(members=MEMBERS, timings=Timings(profile_grace=0.02)) as house,
        house.simulator.person("ann", admin=True) as ann,
    ):
        session_id, token = await login_bob(house)
        async with house.socket(session_id, token) as bob:
            await bob.send("signal/request", {})
            await bob.wait_for("signal/provide")
            house.media.peers[0].callbacks.on_connected()
            await bob.settle()
            await ann.call("POST", "/api/members/bob", {"can_watch": False})
            assert not house.media.peers[0].closed.is_set()
            await house.media.peers[0].closed.wait()


async def test_many_at_once_and_the_first_that_fails(open_house: OpenHouse) -> None:
    async with open_house(members=MEMBERS) as house, house.simulator.person("ann", admin=True) as ann:
        body = {"ids": ["bob", "none", "root"], "profile": {"name": "new"}}
        with pytest.raises(PersonRefused, match="500 failed to update member none"):
            await ann.call("POST", "/api/members_bulk/update", body)
        names = {member["id"]: member["profile"]["name"] for member in await ann.call("GET", "/api/members")}
        assert (names["bob"], names["root"]) == ("new", "Root")
        with pytest.raises(PersonRefused, match="500 failed to delete member none"):
            await ann.call("POST", "/api/members_bulk/delete", {"ids": ["bob", "none", "root"]})
        assert {member["id"] for member in await ann.call("GET", "/api/members")} == set(MEMBERS) - {"bob"}
        with pytest.raises(PersonRefused, match="400 unable to unmarshal payload"):
            await ann.call("POST", "/api/members_bulk/delete", {"ids": "bob"})


async def test_the_multiuser_provider_keeps_nobody_but_knows_the_sessions(house: House) -> None:
    async with house.simulator.person("ann", admin=True) as ann, house.simulator.person("bob") as bob:
        assert await ann.call("GET", "/api/members") == []
        for method, path in (("GET", "/api/members/x"), ("POST", "/api/members/x"), ("DELETE", "/api/members/x")):
            with pytest.raises(PersonRefused, match="500"):
                await ann.call(method, path, {})
        with pytest.raises(PersonRefused, match="500"):
            await ann.call("POST", "/api/members", {"username": "x", "password": "x"})
        await ann.call("POST", f"/api/members/{bob.id}", {"can_host": False})
        assert await bob.wait_for("session/profile", lambda p: not p["can_host"])
        assert (await ann.call("GET", f"/api/members/{bob.id}"))["can_host"] is False
        with pytest.raises(PersonRefused, match="500"):
            await ann.call("POST", f"/api/members/{bob.id}/password", {"password": "x"})
        with pytest.raises(PersonRefused, match="500"):
            await ann.call("DELETE", f"/api/members/{bob.id}")
        assert bob.disconnected == "session deleted"  # all the same


async def test_members_are_for_admins(house: House) -> None:
    async with house.simulator.person("bob") as bob:
        assert await bob.call("GET", "/api/members") == []
        for path in ("/api/members", "/api/members/x", "/api/members_bulk/update", "/api/members_bulk/delete"):
            with pytest.raises(PersonRefused, match="session is not admin"):
                await bob.call("POST", path, {})


async def test_no_password_is_in_the_journal(open_house: OpenHouse) -> None:
    async with open_house(members=MEMBERS) as house:
        _, token = await house.login("root", admin=True)
        await house.call("POST", "/api/members", {"username": "eve", "password": "kept-secret"}, token=token)
        await house.call("POST", "/api/members/eve/password", {"password": "kept-secret"}, token=token)
        await house.call(
            "POST",
            "/api/batch",
            [{"path": "/api/members/eve/password", "method": "POST", "body": {"password": "kept-secret"}}],
            token=token,
        )
        assert not [entry for entry in house.simulator.journal if b"kept-secret" in _bytes(entry.message)]


def _bytes(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


# Chat


@pytest.mark.parametrize(
    ("right", "value", "user", "admin"),
    [("can_send", False, False, True), ("can_receive", False, False, True), ("can_send", "yes", False, False)],
)
async def test_the_rooms_chat_rights_bind_users(house: House, right: str, value: Any, user: bool, admin: bool) -> None:
    async with house.simulator.person("ann", admin=True) as ann, house.simulator.person("bob") as bob:
        await ann.set_settings(plugins={f"chat.{right}": value})
        for person, may in ((ann, admin), (bob, user)):
            person.forget()
            await person.say("x")
            heard = any(event == "chat/message" for event, _ in person.received)
            assert heard is may, person
    if value is False and right == "can_send":
        assert house.simulator.refused["chat/message: is not allowed to send chat messages"] == 1


async def test_a_members_chat_rights_bind_admins_too(house: House) -> None:
    muted = Profile(name="ann", is_admin=True, plugins={"chat.can_send": False})
    async with house.simulator.person("ann", profile=muted) as ann:
        await ann.say("x")
        assert all(event != "chat/message" for event, _ in ann.received)
        with pytest.raises(PersonRefused, match="403 not allowed to send chat messages"):
            await ann.call("POST", "/api/chat", {"text": "x"})


async def test_without_the_chat_plugin(open_house: OpenHouse) -> None:
    async with open_house(chat=False) as house, house.simulator.person("ann", admin=True) as ann:
        assert ("chat/init", {"enabled": False}) in ann.received
        await ann.say("x")
        assert all(event != "chat/message" for event, _ in ann.received)


# The API token, the broadcast, settings, messages


async def test_the_api_token_is_an_admin_in_no_list(open_house: OpenHouse) -> None:
    async with open_house(api_token="the-token") as house, house.simulator.person("bob") as bob:
        me = (await house.call("GET", "/api/whoami", token="the-token")).json()
        assert (me["id"], me["profile"]["is_admin"], me["profile"]["can_connect"]) == ("API", True, False)
        listed = (await house.call("GET", "/api/sessions", token="the-token")).json()
        assert [session["id"] for session in listed] == [bob.id]
        assert (await house.call("POST", "/api/room/control/take", token="the-token")).status == 204
        assert await bob.wait_for("control/host") == {"id": "API", "has_host": True, "host_id": "API"}
        assert (await house.call("GET", "/api/room/control", token="the-token")).json() == {"has_host": False}
        for path, said in (("/api/profile", "session does not exist"), ("/api/logout", "session is not logged in")):
            answer = await house.call("POST", path, {"name": "x"}, token="the-token")
            assert answer.json() == {"code": 400, "message": said}
        assert (await house.call("GET", "/api/whoami", token="another")).status == 401


async def test_a_broadcast_keeps_its_address(house: House) -> None:
    async with house.simulator.person("ann", admin=True) as ann, house.simulator.person("bob") as bob:
        assert await ann.call("GET", "/api/room/broadcast") == {"is_active": False}
        with pytest.raises(PersonRefused, match="400 missing broadcast URL"):
            await ann.call("POST", "/api/room/broadcast/start", {"url": ""})
        await ann.call("POST", "/api/room/broadcast/start", {"url": "rtmp://x"})
        with pytest.raises(PersonRefused, match="422 server is already broadcasting"):
            await ann.call("POST", "/api/room/broadcast/start", {"url": "rtmp://y"})
        await ann.call("POST", "/api/room/broadcast/stop")
        with pytest.raises(PersonRefused, match="422 server is not broadcasting"):
            await ann.call("POST", "/api/room/broadcast/stop")
        told = [payload for event, payload in ann.received if event == "broadcast/status"]
        assert told == [{"is_active": True, "url": "rtmp://x"}, {"is_active": False, "url": "rtmp://x"}]
        assert all(event != "broadcast/status" for event, _ in bob.received)


async def test_plugin_settings_add_up_and_null_empties_them(house: House) -> None:
    async with house.simulator.person("ann", admin=True) as ann:
        await ann.set_settings(plugins={"x.y": 1})
        await ann.set_settings(plugins={"z": {"a": 1}})
        assert house.simulator.settings.plugins == {"x.y": 1, "z": {"a": 1}}
        await ann.set_settings(private_mode=True)
        assert house.simulator.settings.plugins == {"x.y": 1, "z": {"a": 1}}
        await ann.set_settings(plugins=None)
        assert house.simulator.settings.plugins is None


async def test_messages_to_one_and_to_the_others(house: House) -> None:
    async with house.simulator.person("ann") as ann, house.simulator.person("bob") as bob:
        await ann.send(requests.SendUnicast(receiver=bob.id, subject="s", body=[1]))
        await ann.send(requests.SendBroadcast(subject="b", body=None))
        assert bob.received[-2:] == [
            ("send/unicast", {"sender": ann.id, "receiver": bob.id, "subject": "s", "body": [1]}),
            ("send/broadcast", {"sender": ann.id, "subject": "b", "body": None}),
        ]
        assert all(not event.startswith("send/") for event, _ in ann.received)


async def test_under_a_prefix_a_batch_finds_nothing(open_house: OpenHouse) -> None:
    async with open_house(path_prefix="/desk") as house, house.simulator.person("ann", admin=True) as ann:
        for path in ("/api/room/control/take", "/desk/api/room/control/take"):
            answer = await ann.call("POST", "/api/batch", [{"path": path, "method": "POST"}])
            assert answer is None or answer[0]["status"] == 400
        assert house.simulator.host is None


async def test_a_batch_and_the_answer_that_is_no_json(house: House) -> None:
    async with house.simulator.person("ann", admin=True) as ann:
        answers = await ann.call(
            "POST",
            "/api/batch",
            [
                {"path": "/api/room/control/take", "method": "POST"},
                {"path": "/api/login", "method": "DELETE"},
                {"path": "/health", "method": "GET"},
                {"path": "/api/batch", "method": "POST"},
                {"path": "/api/members/none", "method": "GET"},
            ],
        )
        assert [answer["status"] for answer in answers] == [204, 405, 400, 400, 500]
        assert await ann.call("POST", "/api/batch", [{"path": "/api/nope", "method": "GET"}]) is None
