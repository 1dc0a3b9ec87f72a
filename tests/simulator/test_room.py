"""The room's rules, played by persons and by clients over real sockets (neko-protocol.md §2, §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trio

from neko_trio.protocol import data_channel, requests
from neko_trio.simulator import ButtonDown, InputEvent, KeyDown, PersonRefused, PointerMoved, Profile, Timings

if TYPE_CHECKING:
    from tests.simulator.conftest import House, OpenHouse


class Program:
    def __init__(self) -> None:
        self.events: list[InputEvent] = []

    def render(self, now: float) -> Any:
        raise AssertionError("nobody watches")

    def on_input(self, event: InputEvent) -> None:
        self.events.append(event)


async def test_asking_giving_taking_and_releasing_control(house: House) -> None:
    simulator = house.simulator
    async with simulator.person("ann", admin=True) as ann, simulator.person("bob") as bob:
        await bob.request_control()
        assert simulator.host == bob.id
        await ann.request_control()  # admins only ask, too
        assert await bob.wait_for("control/request") == {"id": ann.id}
        assert simulator.host == bob.id
        await ann.take_control()
        assert await bob.wait_for("control/host", lambda p: p["host_id"] == ann.id) == {
            "id": ann.id,
            "has_host": True,
            "host_id": ann.id,
        }
        await ann.give_control(bob.id)
        assert bob.is_host
        with pytest.raises(PersonRefused, match="session is not admin"):
            await bob.take_control()
        await bob.release_control()
        assert simulator.host is None
        assert bob.received[-1] == ("control/host", {"id": bob.id, "has_host": False})


async def test_input_of_a_non_host_asks_the_host_each_time_and_does_nothing(open_house: OpenHouse) -> None:
    program = Program()
    async with open_house(desktop=program) as house, house.simulator.person("ann") as ann:
        await ann.request_control()
        async with house.client("bob") as bob:
            for _ in range(3):
                await bob.send("control/move", {"x": 1, "y": 1})
            await bob.settle()
        assert [event for event, _ in ann.received].count("control/request") == 3
        assert program.events == []


async def test_input_without_a_host_makes_one_and_arrives(open_house: OpenHouse) -> None:
    program = Program()
    async with open_house(desktop=program) as house, house.client("bob") as bob:
        await bob.send("control/buttondown", {"x": 10, "y": 20, "code": 1})
        await bob.send("control/keypress", {"keysym": 97})
        heard = await bob.settle()
        assert heard == [("control/host", {"id": bob.id, "has_host": True, "host_id": bob.id})]
        assert program.events[:2] == [PointerMoved(10, 20), ButtonDown(1, 10, 20)]
        assert KeyDown(97, "a") in program.events
        await bob.send("control/keydown", {"keysym": 98})
        await bob.send("control/release")
        await bob.settle()
        assert house.simulator.held == (frozenset(), frozenset())  # ResetKeys


async def test_implicit_hosting_takes_control_from_another(open_house: OpenHouse) -> None:
    async with (
        open_house(settings={"implicit_hosting": True}) as house,
        house.simulator.person("ann") as ann,
        house.simulator.person("bob") as bob,
    ):
        await ann.send(requests.ControlMove(1, 1))
        await bob.send(requests.ControlMove(2, 2))
        assert house.simulator.host == bob.id


async def test_locked_controls_bind_users_only_and_throw_the_user_out(house: House) -> None:
    simulator = house.simulator
    async with simulator.person("ann", admin=True) as ann, simulator.person("bob") as bob:
        await bob.request_control()
        await ann.set_settings(locked_controls=True)
        assert simulator.host is None
        await bob.request_control()
        assert simulator.host is None
        assert simulator.refused["control/request: is not allowed to host"] == 1
        await ann.request_control()
        assert simulator.host == ann.id


async def test_private_mode_pauses_users_and_refuses_control(house: House) -> None:
    async with house.simulator.person("ann", admin=True) as ann, house.client("bob") as bob:
        await bob.send("signal/request", {})
        await bob.wait_for("signal/provide")
        await bob.send("control/request")
        await bob.settle()
        await ann.set_settings(private_mode=True)
        assert house.media.peers[0].paused
        assert house.simulator.host is None
        await bob.send("control/request")
        await bob.settle()
        assert house.simulator.host is None
        _, token = bob.id, house.simulator.sessions[bob.id].token
        answer = await house.call("POST", "/api/room/control/request", token=token)
        assert answer.json() == {"code": 422, "message": "private mode is enabled"}
        await ann.set_settings(private_mode=False)
        assert not house.media.peers[0].paused


async def test_control_protection_locks_when_the_last_admin_leaves(house: House) -> None:
    simulator = house.simulator
    async with simulator.person("bob") as bob:
        async with simulator.person("ann", admin=True) as ann:
            await ann.set_settings(control_protection=True)
            assert not simulator.settings.locked_controls
        assert simulator.settings.locked_controls
        async with simulator.person("eve", admin=True):
            assert not simulator.settings.locked_controls
        assert bob.received[-1][0] == "session/deleted"


async def test_locked_logins(house: House) -> None:
    async with house.simulator.person("ann", admin=True) as ann:
        await ann.set_settings(locked_logins=True)
        body = {"username": "bob", "password": house.simulator.password}
        answer = await house.call("POST", "/api/login", body)
        assert answer.json() == {"code": 403, "message": "logins are locked"}
        await house.login("eve", admin=True)


async def test_settings_of_a_wrong_type_change_nothing(house: House) -> None:
    async with house.simulator.person("ann", admin=True) as ann:
        before = house.simulator.settings
        with pytest.raises(PersonRefused, match="unable to parse"):
            await ann.set_settings(private_mode=True, heartbeat_interval="often")
        assert house.simulator.settings == before


async def test_disconnect_keeps_the_token_and_delete_ends_it(house: House) -> None:
    session_id, token = await house.login("bob")
    async with house.simulator.person("ann", admin=True) as ann:
        async with house.socket(session_id, token) as bob:
            await bob.settle()
            await ann.disconnect(session_id)
            heard, code = await bob.wait_ended()
            assert (heard[-1], code) == (("system/disconnect", {"message": "session disconnected"}), 1006)
        async with house.socket(session_id, token) as bob:
            await bob.settle()
            await ann.delete(session_id)
            heard, code = await bob.wait_ended()
            assert (heard[-1], code) == (("system/disconnect", {"message": "session deleted"}), 1006)
        assert (await house.call("GET", "/api/whoami", token=token)).status == 401
        assert ("session/deleted", {"id": session_id}) in ann.received


async def test_a_person_who_is_kicked_is_told(house: House) -> None:
    async with house.simulator.person("ann", admin=True) as ann, house.simulator.person("bob") as bob:
        await ann.disconnect(bob.id)
        assert bob.disconnected == "session disconnected"


async def test_the_clipboard_belongs_to_the_host(house: House) -> None:
    async with house.client("bob") as bob:
        token = house.simulator.sessions[bob.id].token
        await bob.send("clipboard/set", {"text": "not host"})
        await bob.settle()
        assert house.simulator.clipboard is None
        await bob.send("control/request")
        await bob.settle()
        assert (await house.call("GET", "/api/room/clipboard", token=token)).status == 500  # nothing owns it
        house.simulator.copy("copied")
        assert await bob.wait_for("clipboard/updated") == {"text": "copied"}
        rich = await house.call("POST", "/api/room/clipboard", {"text": "plain", "html": "<i>"}, token=token)
        assert rich.status == 204
        answer = await house.call("GET", "/api/room/clipboard", token=token)
        assert answer.json() == {"text": "<i>", "html": "<i>"}
        assert b"\\u003ci\\u003e" in answer.body  # Go's encoder
        image = "/api/room/clipboard/image.png"
        assert (await house.call("GET", image, token=token)).body == b"<i>"  # xclip answers any form with what it has
        house.simulator.copy(image=b"\x89PNG")
        assert (await house.call("GET", image, token=token)).body == b"\x89PNG"
        assert (await house.call("GET", "/api/room/clipboard", token=token)).status == 500
        house.simulator.copy("text", html="<b>")
        assert (await house.call("GET", "/api/room/clipboard", token=token)).json() == {"text": "text", "html": "<b>"}
        assert (await house.call("GET", image, token=token)).status == 500


async def test_a_layout_that_there_is_not(house: House) -> None:
    async with house.client("bob") as bob:
        token = house.simulator.sessions[bob.id].token
        await bob.send("control/request")
        await bob.settle()
        wrong, right = ({"layout": name, "variant": ""} for name in ("nowhere", "de"))
        assert (await house.call("POST", "/api/room/keyboard/map", wrong, token=token)).status == 500
        await bob.send("keyboard/map", wrong)
        await bob.settle()
        assert house.simulator.refused["keyboard/map: setxkbmap failed"] == 1
        assert (await house.call("POST", "/api/room/keyboard/map", right, token=token)).status == 204
        answer = await house.call("GET", "/api/room/keyboard/map", token=token)
        assert answer.json() == right


async def test_the_screen_takes_what_x_can_make(house: House) -> None:
    async with house.simulator.person("ann", admin=True) as ann:
        await ann.set_screen(1003, 600, 30)
        assert await ann.wait_for("screen/updated") == {"id": ann.id, "width": 1000, "height": 600, "rate": 30}
        assert house.media.sizes == [((1000, 600), 30)]
        with pytest.raises(PersonRefused, match="422 cannot set screen size"):
            await ann.set_screen(5000, 4000)
        await ann.send(requests.ScreenSet(5000, 4000, 30))
        assert house.simulator.screen_size == (1000, 600)
        # Seen: what X had from the start, without a rate, and not what was made since.
        _, token = await house.login("bea", admin=True)
        sizes = await house.call("GET", "/api/room/screen/configurations", token=token)
        assert sizes.json() == [{"width": 1280, "height": 720, "rate": 0}]


async def test_single_pictures_for_everybody(open_house: OpenHouse) -> None:
    path = "/api/room/screen/cast.jpg"
    async with open_house() as house:
        _, token = await house.login("bob")
        assert (await house.call("GET", path, token=token)).json()["message"] == "screencast pipeline is not enabled"
    async with open_house(screencast=True) as house, house.simulator.person("ann", admin=True) as ann:
        _, token = await house.login("bob")
        answer = await house.call("GET", path, token=token)
        assert (answer.status, answer.body[:3]) == (200, b"\xff\xd8\xff")
        await ann.set_settings(private_mode=True)
        answer = await house.call("GET", path, token=token)
        assert answer.status == 400
        assert "private mode" in answer.json()["message"]


@pytest.mark.parametrize(("asked", "as_for"), [("-5", "1"), ("0", "1"), ("101", "100"), ("abc", "90"), ("", "90")])
async def test_the_quality_of_a_screenshot_is_read_as_go_does(open_house: OpenHouse, asked: str, as_for: str) -> None:
    class Still:
        def render(self, now: float) -> Any:
            return np.arange(64 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)

        def on_input(self, event: InputEvent) -> None:
            raise AssertionError

    async with open_house(desktop=Still(), size=(64, 48)) as house:
        _, token = await house.login("ann", admin=True)
        one, other = [
            (await house.call("GET", f"/api/room/screen/shot.jpg?quality={quality}", token=token)).body
            for quality in (asked, as_for)
        ]
        assert one == other


async def test_inactive_cursors(open_house: OpenHouse) -> None:
    async with (
        open_house(settings={"inactive_cursors": True}, timings=Timings(cursors=0.02)) as house,
        house.simulator.person("ann", admin=True) as ann,
        house.client("bob") as bob,
    ):
        await bob.send("signal/request", {})
        await bob.wait_for("signal/provide")
        house.media.peers[0].callbacks.on_data(data_channel.encode(data_channel.Move(5, 6)))
        assert await ann.wait_for("session/cursors", bool) == [{"id": bob.id, "cursors": [{"x": 5, "y": 6}]}]
        ann.forget()
        assert await ann.wait_for("session/cursors") == []
        assert all(event != "session/cursors" for event, _ in await bob.settle())  # users do not see them


# Peer connections


async def test_the_offer_and_what_comes_with_it(house: House) -> None:
    async with house.client() as client:
        await client.send("signal/request", {"video": {"disabled": True}, "audio": {}})
        heard = dict([*await client.settle(), *await client.settle()])
        shown = {"disabled": True, "id": "main", "video": "main", "auto": False}
        assert heard["signal/provide"] == {
            "sdp": "v=0\r\ns=provided 0\r\n",
            "iceservers": [],
            "video": shown,
            "audio": {"disabled": False},
        }
        assert heard["signal/video"] == shown
        assert heard["signal/audio"] == {"disabled": False}
        assert heard["signal/candidate"]["usernameFragment"] is None


async def test_an_unknown_stream_brings_candidates_and_no_offer(house: House) -> None:
    async with house.client() as client:
        await client.send("signal/request", {"video": {"selector": {"id": "nope"}}})
        heard = [*await client.settle(), *await client.settle()]
        assert [event for event, _ in heard] == ["signal/candidate"]


async def test_watching_closing_and_asking_again(house: House) -> None:
    async with house.client() as client:
        await client.send("signal/request", {})
        await client.wait_for("signal/provide")
        first = house.media.peers[0]
        first.callbacks.on_connected()
        assert (await client.wait_for("session/state"))["is_watching"] is True
        first.callbacks.on_closed("the client closed it")
        assert (await client.wait_for("session/state"))["is_watching"] is False
        assert await client.wait_for("signal/close") is None
        await client.send("signal/video", {"disabled": True})  # without a peer: nothing
        assert await client.settle() == []
        await client.send("signal/request", {})
        await client.wait_for("signal/provide")
        await client.send("signal/request", {})  # replaces the peer, without signal/close
        await client.wait_for("signal/provide")
        await house.media.peers[1].closed.wait()
        house.media.peers[1].callbacks.on_closed("late")
        assert "signal/close" not in dict(await client.settle())


async def test_the_peer_outlives_its_websocket_and_obeys_the_next_one(house: House) -> None:
    session_id, token = await house.login()
    async with house.socket(session_id, token) as client:
        await client.settle()
        await client.send("signal/request", {})
        await client.wait_for("signal/provide")
        house.media.peers[0].callbacks.on_connected()
        await client.wait_for("session/state")
    await house.simulator.journal.wait_for(lambda entry: entry.event == "close 1000")
    assert house.simulator.sessions[session_id].is_watching
    async with house.socket(session_id, token) as client:
        await client.settle()
        await client.send("signal/video", {"disabled": True})
        assert (await client.wait_for("signal/video"))["disabled"] is True
    assert not house.media.peers[0].closed.is_set()
    await house.call("POST", "/api/logout", token=token)
    with trio.fail_after(1):
        await house.media.peers[0].closed.wait()


async def test_an_answer_that_is_none_and_candidates_that_are_none_are_ignored(house: House) -> None:
    async with house.client() as client:
        await client.send("signal/answer", {"sdp": "v=0"})  # no peer
        await client.send("signal/request", {})
        await client.wait_for("signal/provide")
        await client.send("signal/answer", {"sdp": "nonsense"})
        await client.send("signal/candidate", {"candidate": "nonsense"})
        await client.send("signal/answer", {"sdp": "v=0\r\n"})
        await client.send("signal/candidate", {"candidate": "1 1 udp 1 127.0.0.1 9 typ host"})
        await client.settle()
        assert house.media.peers[0].answers == ["v=0\r\n"]
        assert len(house.media.peers[0].candidates) == 1


async def test_streams_are_switched_by_selector(open_house: OpenHouse) -> None:
    async with open_house(streams=("high", "low")) as house, house.client() as client:
        await client.send("signal/request", {"video": {"selector": {"id": "high", "type": "lower"}}})
        assert (await client.wait_for("signal/provide"))["video"]["id"] == "low"
        await client.settle()
        await client.send("signal/video", {"selector": {"id": "low", "type": "higher"}})
        assert (await client.wait_for("signal/video"))["id"] == "high"
        # Lower than the lowest: no answer, but the `disabled` beside it has taken effect.
        await client.send("signal/video", {"disabled": True, "selector": {"id": "low", "type": "lower"}})
        assert await client.settle() == []
        assert house.media.peers[0].video == (True, "high")


async def test_who_may_not_watch_gets_nothing(house: House) -> None:
    async with house.simulator.person("bob", profile=Profile(can_watch=False)) as bob:
        bob.forget()
        await bob.send(requests.SignalRequest())
        assert bob.received == []
        assert house.media.peers == []


# The data channel


async def test_the_data_channel_obeys_the_host_only_and_makes_nobody_host(open_house: OpenHouse) -> None:
    program = Program()
    async with open_house(desktop=program, settings={"implicit_hosting": True}) as house, house.client() as client:
        await client.send("signal/request", {})
        await client.wait_for("signal/provide")
        peer = house.media.peers[0]
        peer.callbacks.on_data_channel_open()
        image, position = (data_channel.decode_server(message) for message in peer.sent)
        assert isinstance(image, data_channel.CursorImage)
        assert position == data_channel.CursorPosition(640, 360)
        for message in (data_channel.Move(5, 5), data_channel.KeyDown(97)):
            peer.callbacks.on_data(data_channel.encode(message))
        assert (program.events, house.simulator.host) == ([], None)
        await client.send("control/request")
        await client.settle()
        peer.callbacks.on_data(b"\xff garbage")
        peer.callbacks.on_data(data_channel.encode(data_channel.Move(5, 5)))
        peer.callbacks.on_data(data_channel.encode(data_channel.KeyDown(97)))
        assert program.events == [PointerMoved(5, 5), KeyDown(97, "a")]
        peer.callbacks.on_data(data_channel.encode(data_channel.Ping(12345)))
        pong = data_channel.decode_server(peer.sent[-1])
        assert isinstance(pong, data_channel.Pong)
        assert pong.timestamp == 12345
        assert len(peer.sent) == 3  # no position of one's own for the host
