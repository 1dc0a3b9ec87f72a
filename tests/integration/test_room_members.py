"""Members, on a server that keeps them: the *object* provider, embedded or real.

With ``--neko-url`` it needs ``--neko-own-room`` and a server started with ``--member.provider object`` whose users are
``admin`` and ``neko``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

import neko_trio
from neko_trio import Session
from neko_trio.errors import FeatureOff, InvalidInput, Kicked, LoginRefused, NotAllowed, SessionLost
from neko_trio.simulator import Member, Profile
from neko_trio.testing import TestServer
from neko_trio.testing._server import named_server, open_test_server
from tests.integration.conftest import unique

pytestmark = pytest.mark.real_time

SOON = 8.0


@dataclass
class Keeper:
    """The server, and its admin in the room."""

    server: TestServer
    admin: Session

    @asynccontextmanager
    async def member(self, name: str, password: str) -> AsyncIterator[Session]:
        with trio.fail_after(SOON):
            async with neko_trio.open_session(
                self.server.url, username=name, password=password, video="off"
            ) as session:
                yield session


@pytest.fixture
def keeps_members(request: pytest.FixtureRequest, room_is_ours: None) -> TestServer | None:
    """The server of ``--neko-url``, which keeps members; not async, because a skip there loses its reason."""
    named = named_server(request.config)

    async def does(server: TestServer) -> bool:
        async with _opened(server) as admin:
            return bool(await admin.room.members.list())

    if named is not None and not trio.run(does, named):
        pytest.skip("needs a server with --member.provider object, and members admin and neko")
    return named


@pytest.fixture
async def keeper(keeps_members: TestServer | None) -> AsyncIterator[Keeper]:
    if keeps_members is None:
        users = {
            "neko": Member("neko", Profile(name="User")),
            "admin": Member("admin", Profile(name="Admin", is_admin=True, can_see_inactive_cursors=True)),
        }
        async with open_test_server(members=users) as server, _opened(server) as admin:
            yield Keeper(server, admin)
        return
    async with _opened(keeps_members) as admin:
        yield Keeper(keeps_members, admin)


@asynccontextmanager
async def _opened(server: TestServer) -> AsyncIterator[Session]:
    async with neko_trio.open_session(
        server.url, username="admin", password=server.admin_password, video="off"
    ) as session:
        yield session


async def test_a_member_from_the_first_day_to_the_last(keeper: Keeper) -> None:
    name, members = unique("eve"), keeper.admin.room.members
    with trio.fail_after(SOON):
        created = await members.create(name, "first", name="Eve", can_host=False)
        assert created.id == name
        assert (created.profile.name, created.profile.can_host, created.profile.can_watch) == ("Eve", False, True)
        assert created in await members.list()
        assert await members.get(name) == created.profile
        with pytest.raises(InvalidInput, match="already"):
            await members.create(name, "second")
        async with keeper.member(name, "first") as eve:
            assert eve.state.session_id == name
            assert eve.state.profile == created.profile
            with pytest.raises(NotAllowed):
                async with eve.control():
                    pass  # pragma: no cover
            await members.update(name, can_host=True)
            assert keeper.admin.state.sessions[name].profile.can_host
            await eve.wait_state(lambda state: state.profile.can_host)
            async with eve.control():
                pass
            await members.set_password(name, "second")
            assert (await eve.room.whoami()).profile.can_host  # the session goes on
        with pytest.raises(LoginRefused):
            async with keeper.member(name, "first"):
                pass  # pragma: no cover
        with pytest.raises(SessionLost) as lost:
            async with keeper.member(name, "second"):
                await members.delete(name)
                assert name not in keeper.admin.state.sessions
                await trio.sleep_forever()
        assert isinstance(lost.value.__cause__, Kicked)
        assert name not in {member.id for member in await members.list()}
        for call in (
            members.get(name),
            members.update(name, can_host=True),
            members.set_password(name, "third"),
            members.delete(name),
        ):
            with pytest.raises(InvalidInput, match="no member"):
                await call


async def test_many_at_once(keeper: Keeper) -> None:
    names, members = [unique("a"), unique("b/c"), unique("d")], keeper.admin.room.members
    with trio.fail_after(SOON):
        for name in names:
            await members.create(name, "password")
        await members.update_many(names, can_share_media=False, plugins={"x": 1})
        profiles = {member.id: member.profile for member in await members.list()}
        assert all(not profiles[name].can_share_media and profiles[name].plugins == {"x": 1} for name in names)
        missing = unique("nobody")
        with pytest.raises(FeatureOff, match=missing):
            await members.update_many([names[0], missing, names[2]], name="changed")
        changed = {member.id for member in await members.list() if member.profile.name == "changed"}
        assert changed == {names[0]}
        with pytest.raises(InvalidInput, match="slash"):
            await members.get(names[1])  # no route can name it; a bulk call can
        await members.delete_many(names)
        assert not set(names) & {member.id for member in await members.list()}


async def test_pages_are_of_the_asked_size(keeper: Keeper) -> None:
    with trio.fail_after(SOON):
        members = keeper.admin.room.members
        everybody = {member.id for member in await members.list()}
        assert {"admin", "neko"} <= everybody
        (one,) = await members.list(limit=1)
        assert one.id in everybody
        assert len(await members.list(offset=1)) == len(everybody) - 1
        assert await members.list(offset=len(everybody)) == ()


async def test_a_user_sees_the_list_and_changes_nothing(keeper: Keeper) -> None:
    async with keeper.member("neko", keeper.server.password) as user:
        assert {"admin", "neko"} <= {member.id for member in await user.room.members.list()}
        with pytest.raises(NotAllowed):
            await user.room.members.create("x", "y")
        with pytest.raises(InvalidInput, match="session"):
            await keeper.admin.room.members.delete("admin")
