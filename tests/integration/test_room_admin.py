"""What an admin does to a whole room, seen by a user in it: on a server whose room is the test's own."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest
import trio

from neko_trio.errors import (
    CallerError,
    ControlLocked,
    ControlLost,
    FeatureOff,
    InvalidInput,
    Kicked,
    LoginRefused,
    NotAllowed,
    ProtocolViolation,
    SessionLost,
)
from neko_trio.events import ControlHost, Settings
from neko_trio.protocol import data_channel
from neko_trio.testing import TestServer
from tests.integration.test_room import SOON, joined

pytestmark = pytest.mark.real_time


async def test_settings_are_everybodys_when_the_call_returns(own_room: TestServer) -> None:
    async with joined(own_room, "root", admin=True) as root, joined(own_room, "bob") as bob:
        before = await root.room.settings()
        assert before == root.state.settings
        changed = await root.room.change_settings(inactive_cursors=True, plugins={"test.a": 1})
        assert changed == root.state.settings == await root.room.settings()
        assert changed == msgspec.structs.replace(before, inactive_cursors=True, plugins={"test.a": 1})
        await root.room.change_settings(plugins={"test.b": [2.5]})
        assert (root.state.settings.plugins or {}) == {"test.a": 1, "test.b": [2.5]}
        with trio.fail_after(SOON):
            await bob.wait_state(lambda state: state.settings == root.state.settings)
        assert (await root.room.change_settings(inactive_cursors=False, plugins=None)).plugins is None


async def test_bad_settings_change_nothing(own_room: TestServer) -> None:
    async with joined(own_room, "root", admin=True) as root:
        before = await root.room.settings()
        with pytest.raises(InvalidInput):
            await root.room.change_settings(private_mode=True, heartbeat_interval="often")  # type: ignore[arg-type]
        assert await root.room.settings() == before


async def test_locked_logins(own_room: TestServer) -> None:
    async with joined(own_room, "root", admin=True) as root:
        await root.room.change_settings(locked_logins=True)
        with pytest.raises(LoginRefused, match="locked"):
            async with joined(own_room, "bob"):
                pass  # pragma: no cover
        async with joined(own_room, "eve", admin=True):
            pass
        await root.room.change_settings(locked_logins=False)
        async with joined(own_room, "bob"):
            pass


async def test_locked_controls_and_private_mode_throw_a_user_out(own_room: TestServer) -> None:
    async with joined(own_room, "root", admin=True) as root, joined(own_room, "bob") as bob:
        closed: dict[Literal["locked_controls", "private_mode"], type[CallerError]] = {
            "locked_controls": ControlLocked,
            "private_mode": NotAllowed,
        }
        for setting, error in closed.items():
            lost = trio.Event()

            async def hold(lost: trio.Event = lost, *, task_status: trio.TaskStatus[None]) -> None:
                with pytest.raises(ControlLost):
                    async with bob.control():
                        task_status.started()
                        await trio.sleep_forever()
                lost.set()

            async with trio.open_nursery() as nursery:
                await nursery.start(hold)
                await root.room.change_settings(**{setting: True})  # type: ignore[arg-type]  # one of the bool ones
                await lost.wait()
            with trio.fail_after(SOON):
                await bob.wait_state(lambda state, name=setting: getattr(state.settings, name))  # type: ignore[misc]
            with pytest.raises(error):
                async with bob.control():
                    pass  # pragma: no cover
            await root.room.change_settings(**{setting: False})  # type: ignore[arg-type]
            with trio.fail_after(SOON):
                await bob.wait_state(lambda state, name=setting: not getattr(state.settings, name))  # type: ignore[misc]


async def test_the_host_role_is_given_taken_and_reset(own_room: TestServer) -> None:
    async with joined(own_room, "root", admin=True) as root, joined(own_room, "bob") as bob:
        mine, theirs = root.state.session_id, bob.state.session_id
        async with bob.expect(ControlHost, timeout=SOON) as told:
            await root.room.give_control(theirs)
        assert (told.value.id, told.value.host_id) == (mine, theirs)
        assert root.state.host == theirs
        assert bob.state.is_host
        await bob.mouse.move(10, 10)  # the role is of use
        await bob.flush()
        await root.room.take_control()
        assert root.state.is_host
        await root.room.reset_control()
        assert root.state.host is None
        await root.room.reset_control()
        with pytest.raises(NotAllowed):
            await bob.room.give_control(mine)
        with pytest.raises(InvalidInput, match="no session"):
            await root.room.give_control("nobody-12345")


async def test_a_host_gives_it_to_another_user(own_room: TestServer) -> None:
    async with joined(own_room, "ann") as ann, joined(own_room, "bob") as bob:
        theirs = bob.state.session_id
        with pytest.raises(ControlLost) as lost:
            async with ann.control():
                await ann.room.give_control(theirs)
        assert lost.value.holder == theirs
        with trio.fail_after(SOON):
            await bob.wait_state(lambda state: state.is_host)


async def test_rights_are_taken_from_a_session_that_is_there(own_room: TestServer) -> None:
    """Also where the provider keeps no members: the session has a profile of its own."""
    async with joined(own_room, "root", admin=True) as root, joined(own_room, "bob") as bob:
        theirs = bob.state.session_id
        await root.room.give_control(theirs)
        await root.room.members.update(theirs, can_host=False, plugins={"chat.can_send": False})
        assert not root.state.sessions[theirs].profile.can_host
        assert root.state.host is None
        with trio.fail_after(SOON):
            await bob.wait_state(lambda state: not state.profile.can_host)
        with pytest.raises(NotAllowed):
            async with bob.control():
                pass  # pragma: no cover
        with pytest.raises(NotAllowed, match="may not say"):
            await bob.chat.say("x")
        with pytest.raises(NotAllowed, match="may not control"):
            await root.room.give_control(theirs)
        assert not (await root.room.members.get(theirs)).can_host
        await root.room.members.update_many([theirs], can_host=True, plugins=None)
        assert root.state.sessions[theirs].profile.can_host
        with trio.fail_after(SOON):
            await bob.wait_state(lambda state: state.profile.can_host and not state.profile.plugins)
        assert await bob.chat.say("again") is not None


async def test_the_rooms_chat_may_be_for_admins_alone(own_room: TestServer) -> None:
    async with joined(own_room, "root", admin=True) as root, joined(own_room, "bob") as bob:
        try:
            await root.room.change_settings(plugins={"chat.can_send": False})
            with trio.fail_after(SOON):
                await bob.wait_state(lambda state: bool(state.settings.plugins))
            with pytest.raises(NotAllowed, match="may not say"):
                await bob.chat.say("x")
            assert await root.chat.say("only I") is not None
            await root.room.change_settings(plugins={"chat.can_receive": False})
            with trio.fail_after(SOON):
                await bob.wait_state(lambda state: len(state.settings.plugins or ()) == 2)
            with pytest.raises(NotAllowed, match="may not hear"):
                async with bob.chat.messages():
                    pass  # pragma: no cover
        finally:
            with trio.move_on_after(SOON, shield=True):
                await root.room.change_settings(plugins=None)


async def test_somebody_is_disconnected_and_removed(own_room: TestServer) -> None:
    async with joined(own_room, "root", admin=True) as root:
        for call in (root.room.disconnect, root.room.remove):
            with pytest.raises(SessionLost) as lost:
                async with joined(own_room, "bob") as bob:
                    theirs = bob.state.session_id
                    assert (await root.room.session(theirs)).state.is_connected
                    await call(theirs)
                    info = root.state.sessions.get(theirs)
                    assert info is None or not info.state.is_connected
                    await trio.sleep_forever()
            assert isinstance(lost.value.__cause__, Kicked)
            await root.room.log("debug", "a barrier: whatever their logout said has been heard")
        for nobody in (root.room.session, root.room.disconnect, root.room.remove):
            with pytest.raises(InvalidInput, match="no session"):
                await nobody("nobody-12345")
        with pytest.raises(InvalidInput):
            await root.room.remove(root.state.session_id)


async def test_a_message_to_one_who_has_gone(own_room: TestServer) -> None:
    async with joined(own_room, "root", admin=True) as root:
        with pytest.raises(SessionLost):
            async with joined(own_room, "bob") as bob:
                theirs = bob.state.session_id
                await root.room.disconnect(theirs)
                with pytest.raises(InvalidInput, match=r"not connected|no session"):
                    await root.room.send(theirs, "test/x")
                await trio.sleep_forever()


async def test_a_name_that_no_path_can_hold(own_room: TestServer) -> None:
    async with joined(own_room, "root", admin=True) as root, joined(own_room, "a b!é%+&") as odd:
        assert (await root.room.session(odd.state.session_id)).id == odd.state.session_id


async def test_the_broadcast_begins_and_ends(own_room: TestServer) -> None:
    url = "rtmp://127.0.0.1:1/live/key-1234"
    async with joined(own_room, "root", admin=True) as root, joined(own_room, "bob") as bob:
        assert not (await root.room.broadcast.status()).is_active
        assert root.state.broadcast is not None
        try:
            await root.room.broadcast.start(url)
        except ProtocolViolation:
            if own_room.simulator is not None:
                raise
            return  # this server's GStreamer has no RTMP: its refusal is typed, and nothing runs
        assert root.state.broadcast.is_active
        assert (await root.room.broadcast.status()).url == url
        assert "key-1234" not in repr(root.state)
        with pytest.raises(NotAllowed, match="already"):
            await root.room.broadcast.start(url)
        await root.room.broadcast.stop()
        assert not root.state.broadcast.is_active
        with pytest.raises(NotAllowed, match="not broadcast"):
            await root.room.broadcast.stop()
        assert bob.state.broadcast is None
        with pytest.raises(NotAllowed):
            await bob.room.broadcast.status()


async def test_the_cursors_of_others(own_room: TestServer) -> None:
    import neko_trio
    from tests.integration.conftest import unique
    from tests.integration.test_session import data_channel_open

    async with (
        joined(own_room, "root", admin=True) as root,
        neko_trio.open_session(own_room.url, username=unique("bob"), password=own_room.password) as bob,
    ):
        await root.room.change_settings(inactive_cursors=True)
        await data_channel_open(bob)
        theirs = bob.state.session_id
        assert bob._parts.peer is not None
        with trio.fail_after(SOON):
            await bob._parts.peer.send_data([data_channel.encode(data_channel.Move(12, 34))])
            await root.wait_state(lambda state: theirs in state.cursors)
        (cursor,) = root.room.cursors[theirs]
        assert (cursor.x, cursor.y) == (12, 34)
        with trio.fail_after(SOON):
            await root.wait_state(lambda state: not state.cursors)
        with pytest.raises(NotAllowed):
            bob.room.cursors  # noqa: B018 - a property that raises


async def test_a_provider_without_members_says_so(own_room: TestServer) -> None:
    async with joined(own_room, "root", admin=True) as root:
        assert await root.room.members.list() == ()
        for call in (
            root.room.members.create("x", "secret"),
            root.room.members.get("nobody-12345"),
            root.room.members.update("nobody-12345", can_host=True),
            root.room.members.set_password("nobody-12345", "secret"),
            root.room.members.delete("nobody-12345"),
            root.room.members.update_many(["nobody-12345"], can_host=True),
            root.room.members.delete_many(["nobody-12345"]),
        ):
            with pytest.raises(FeatureOff, match="provider") as caught:
                await call
            assert "secret" not in str(caught.value)


async def test_a_batch_of_an_admin(own_room: TestServer) -> None:
    async with joined(own_room, "root", admin=True) as root:
        taken, locked = await root.room.batch(
            [("POST", "/api/room/control/take"), ("POST", "/api/room/settings", {"locked_controls": True})]
        )
        assert taken.ok
        assert locked.ok
        assert root.state.is_host
        assert root.state.settings.locked_controls
        await root.room.change_settings(locked_controls=False)
        assert isinstance(root.state.settings, Settings)
