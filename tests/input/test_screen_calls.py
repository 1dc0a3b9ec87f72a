"""What the server answers about its screen by REST, scripted, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from neko_trio import Session
from neko_trio.errors import FeatureOff, InvalidInput, NotAllowed, ProtocolViolation, SessionClosed
from neko_trio.protocol import events
from neko_trio.testing import FakeMedia, RestRefusal, ScriptedServer, cancel_at_every_step, open_scripted_session
from neko_trio.testing._scripted import SESSION_ID, profile, system_init

PATH = "/api/room/screen"
JPEG = b"\xff\xd8\xff\xe0" + bytes(5000)


class Server(ScriptedServer):
    """Does with the calls about the screen what the server does; X takes up to 1920x1080."""

    def __init__(self, *, screencast: bool = False, private: bool = False, **member: Any) -> None:
        super().__init__()
        init = system_init(
            member=msgspec.structs.replace(profile(), **member), settings=events.Settings(private_mode=private)
        )
        self.init = msgspec.structs.replace(init, screencast_enabled=screencast)
        self.rest.on["POST", PATH] = self.resize
        self.rest.on["GET", f"{PATH}/configurations"] = lambda _: [{"width": 1920, "height": 1080, "rate": 0}]

    def resize(self, body: dict[str, int]) -> dict[str, int]:
        if body["width"] > 1920 or body["height"] > 1080:
            raise RestRefusal(422, "cannot set screen size")
        self.say_size(body["width"], body["height"], body["rate"])
        return body

    def say_size(self, width: int, height: int, rate: int, *, by: str = SESSION_ID) -> None:
        self.send(events.ScreenUpdated(id=by, width=width, height=height, rate=rate))

    def picture(self, path: str, answer: Any) -> None:
        self.rest.on["GET", f"{PATH}/{path}"] = answer if callable(answer) else lambda _: answer


def refuse(status: int, message: str) -> Callable[[Any], object]:
    def answer(_body: object) -> object:
        raise RestRefusal(status, message)

    return answer


async def test_the_size_is_changed_and_confirmed(autojump_clock: MockClock) -> None:
    server = Server(is_admin=True)
    async with open_scripted_session(server, FakeMedia()) as session:
        assert session.screen.size == (1280, 720)
        size = await session.screen.set_size(800, 600, 25)
        assert (size.width, size.height, size.rate) == (800, 600, 25)
        assert session.screen.size == (800, 600)
        assert session.state.screen.rate == 25
        assert server.rest.calls == [("POST", PATH, {"width": 800, "height": 600, "rate": 25})]
        assert [(each.width, each.height, each.rate) for each in await session.screen.sizes()] == [(1920, 1080, 0)]


async def test_a_size_that_x_refuses(autojump_clock: MockClock) -> None:
    async with open_scripted_session(Server(is_admin=True), FakeMedia()) as session:
        with pytest.raises(InvalidInput, match="does not take 2000x600 at 25 Hz: 'cannot set screen size'"):
            await session.screen.set_size(2000, 600, 25)
        assert session.screen.size == (1280, 720)


async def test_somebody_elses_size_confirms_nothing(autojump_clock: MockClock) -> None:
    server = Server(is_admin=True)
    server.rest.on["POST", PATH] = lambda _: server.say_size(800, 600, 25, by="other")
    async with open_scripted_session(server, FakeMedia()) as session:
        with pytest.raises(ProtocolViolation, match="screen/updated"):
            await session.screen.set_size(800, 600, 25)


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ((801, 600, 25), "Take 800 or 808"),
        ((4, 600, 25), "Take 8"),
        ((0, 600, 25), "1 to"),
        ((800, -600, 25), "1 to"),
        ((40_000, 600, 25), "1 to"),
        ((800, 600, 0), "Hz"),
        ((800, 600, 40_000), "Hz"),
        ((800.0, 600, 25), "whole"),
        ((800, "600", 25), "whole"),
        ((800, 600, None), "whole"),
    ],
)
async def test_a_size_that_is_none(autojump_clock: MockClock, size: Any, says: str) -> None:
    server = Server(is_admin=True)
    async with open_scripted_session(server, FakeMedia()) as session:
        with pytest.raises(InvalidInput, match=says):
            await session.screen.set_size(*size)
        assert not server.rest.calls


ADMINS_ONLY: dict[str, Callable[[Session], Awaitable[object]]] = {
    "set_size": lambda session: session.screen.set_size(800, 600, 25),
    "sizes": lambda session: session.screen.sizes(),
    "screenshot": lambda session: session.screen.screenshot(),
}


@pytest.mark.parametrize("call", ADMINS_ONLY)
@pytest.mark.parametrize("member", [{"is_admin": False}, {"is_admin": True, "can_watch": False}])
async def test_who_may_not_is_told_at_once(autojump_clock: MockClock, call: str, member: dict[str, bool]) -> None:
    server = Server(**member)
    async with open_scripted_session(server, FakeMedia(), video="off") as session:
        with pytest.raises(NotAllowed, match="admin" if member.get("can_watch", True) else "watch"):
            await ADMINS_ONLY[call](session)
        assert not server.rest.calls


async def test_a_screenshot(autojump_clock: MockClock) -> None:
    server = Server(is_admin=True)
    server.picture("shot.jpg?quality=90", JPEG)
    server.picture("shot.jpg?quality=30", JPEG + b"x")
    async with open_scripted_session(server, FakeMedia(), video="off") as session:
        assert await session.screen.screenshot() == JPEG
        assert await session.screen.screenshot(quality=30) == JPEG + b"x"
        for quality in (0, 101, -5, 1.5, "90", None):
            with pytest.raises(InvalidInput, match="quality"):
                await session.screen.screenshot(quality=quality)  # type: ignore[arg-type]
        assert len(server.rest.calls) == 2


async def test_a_screenshot_that_is_none(autojump_clock: MockClock) -> None:
    server = Server(is_admin=True)
    server.picture("shot.jpg?quality=90", b"<html>")
    async with open_scripted_session(server, FakeMedia()) as session:
        with pytest.raises(ProtocolViolation, match="no JPEG"):
            await session.screen.screenshot()


async def test_the_screencast(autojump_clock: MockClock) -> None:
    server = Server(screencast=True)
    server.picture("cast.jpg", JPEG)
    async with open_scripted_session(server, FakeMedia(), video="off") as session:
        assert session.state.screencast
        assert await session.screen.cast() == JPEG
        server.picture("cast.jpg", refuse(400, "screencast pipeline is not enabled"))
        with pytest.raises(FeatureOff, match=r"capture\.screencast\.enabled"):
            await session.screen.cast()
        server.picture("cast.jpg", refuse(500, "Internal Server Error"))
        with pytest.raises(ProtocolViolation, match="500"):
            await session.screen.cast()


async def test_a_screencast_that_is_off_is_not_asked_for(autojump_clock: MockClock) -> None:
    server = Server()
    async with open_scripted_session(server, FakeMedia()) as session:
        with pytest.raises(FeatureOff):
            await session.screen.cast()
    assert not server.rest.calls


@pytest.mark.parametrize("screencast", [False, True])
async def test_the_screencast_in_private_mode(autojump_clock: MockClock, screencast: bool) -> None:
    """The server may have a picture to show instead, whether its screencast is on or not."""
    server = Server(screencast=screencast, private=True)
    server.picture("cast.jpg", JPEG)
    async with open_scripted_session(server, FakeMedia(), video="off") as session:
        assert await session.screen.cast() == JPEG
        server.picture("cast.jpg", refuse(400, "private mode is enabled but no fallback image available"))
        with pytest.raises(NotAllowed, match="private mode"):
            await session.screen.cast()


async def test_private_mode_hides_nothing_from_an_admin(autojump_clock: MockClock) -> None:
    server = Server(private=True, is_admin=True)
    async with open_scripted_session(server, FakeMedia(), video="off") as session:
        with pytest.raises(FeatureOff, match=r"capture\.screencast\.enabled"):
            await session.screen.cast()
    assert not server.rest.calls


async def test_after_the_session(autojump_clock: MockClock) -> None:
    async with open_scripted_session(Server(is_admin=True, screencast=True), FakeMedia()) as session:
        pass
    for call in ADMINS_ONLY.values():
        with pytest.raises(SessionClosed):
            await call(session)
    with pytest.raises(SessionClosed):
        await session.screen.cast()


def test_cancelled_at_any_step() -> None:
    server = Server()

    async def scenario() -> None:
        nonlocal server
        server = Server(is_admin=True)
        server.picture("shot.jpg?quality=90", JPEG)
        async with open_scripted_session(server, FakeMedia()) as session:
            await session.screen.set_size(800, 600, 25)
            await session.screen.sizes()
            await session.screen.screenshot()

    def check() -> None:
        assert [call[0] for call in server.rest.calls].count("POST") <= 1

    assert cancel_at_every_step(scenario, check) > 20
