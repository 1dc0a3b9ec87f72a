"""A whole session with every log on: no password, token, TURN credential, typed or pasted text shows anywhere."""

from __future__ import annotations

import gc
import json
import re
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import pytest
import trio

import neko_trio
from neko_trio.errors import NekoError
from neko_trio.simulator import open_simulator
from tests.hostile.judge import chain, in_time, logged
from tests.hostile.servers import CREDENTIAL, PASSWORD, TOKEN, HostileNeko, message, recorded
from tests.signaling.conftest import http_answer

pytestmark = pytest.mark.real_time

TYPED = "typed hunter2 Ωmega"
PASTED = "pasted hunter3 words, and many more of them"
WRONG = "wrong-hunter4-password"
USER = "turn-user-t0ken"
RECORDINGS = Path(__file__).parents[1] / "recordings"


def reachable(root: object) -> Iterator[object]:
    """Everything that hangs on ``root``, of this library and of what it uses, each once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type) or type(thing).__name__ == "module":
            continue
        seen.add(id(thing))
        yield thing
        if type(thing).__module__.partition(".")[0] in ("trio", "_pytest", "pytest", "logging", "threading"):
            continue  # from there on it is the process
        if isinstance(thing, FunctionType):
            for cell in thing.__closure__ or ():
                waiting += gc.get_referents(cell)
        else:
            waiting += gc.get_referents(thing)


def shown(root: object) -> Iterator[tuple[str, str]]:
    """The type and repr of each object of this library that can be reached, and of what is bound to something."""
    for thing in reachable(root):
        if type(thing).__module__.startswith("neko_trio") or isinstance(thing, partial | MethodType):
            yield type(thing).__qualname__, f"{thing!r} {thing!s}"


def refuse(secrets: tuple[str, ...], *texts: str, where: str) -> None:
    for secret in secrets:
        spellings = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], secret.encode().hex()}
        for text in texts:
            for spelling in spellings:
                assert spelling not in text, (
                    f"{where} tells {secret!r}: …{text[max(0, text.find(spelling) - 200) :][:400]}"
                )


async def test_a_whole_session_tells_no_secret() -> None:
    with logged() as lines:
        async with (
            open_simulator(size=(320, 240)) as simulator,
            in_time(30),
            neko_trio.open_session(
                simulator.url, username="agent", password=simulator.admin_password, close_timeout=2
            ) as session,
            session.events(buffer=1000) as events,
        ):
            credential: Any = next(thing for thing in reachable(session) if type(thing).__name__ == "Credential")
            token = credential.headers()[0][1].removeprefix("Bearer ")
            assert len(token) > 8
            secrets = (simulator.password, simulator.admin_password, token, TYPED, PASTED)
            await session.screen.frame()
            async with session.control():
                await session.keyboard.type(TYPED)
                await session.clipboard.write(PASTED)
                assert await session.clipboard.read() == PASTED
                await session.keyboard.type(PASTED * 3)
                with pytest.raises(NekoError) as caught:
                    await session.keyboard.press("no such key")
                refuse(secrets, *told(caught.value), where="an error")
            with pytest.raises(NekoError) as caught:
                await session.files.read("nothing.txt")
            refuse(secrets, *told(caught.value), where="an error")
            await session.send_event("unknown/event", {"x": 1})
            for name, text in shown(session):
                refuse(secrets, text, where=f"the repr of {name}")
            refuse(secrets, repr(session.statistics()), repr(session.timeline), repr(session.state), where="a snapshot")
            refuse(secrets, json.dumps(session.timeline.to_dict()), where="the timeline")
            with trio.move_on_after(0.05):
                async for event in events:
                    # What the clipboard holds is what this event is for; its own repr hides it.
                    refuse(secrets[:3], repr(event), where="an event")
            refuse(secrets[:3], *map(repr, simulator.journal), where="the simulator's journal")
            refuse(secrets[:3], repr(simulator), where="the simulator")
    refuse(secrets, *lines, where="a log")


def told(error: BaseException) -> Iterator[str]:
    """All that is shown of an error, its chain and its notes; and of our own errors what they were made with."""
    yield "".join(traceback.format_exception(error))
    for link in chain(error):
        yield from (str(link), repr(link), *getattr(link, "__notes__", ()))
        if isinstance(link, NekoError):
            yield from (repr(link.args), repr(vars(link)), repr(link.timeline))
        for frame, _ in traceback.walk_tb(link.__traceback__):
            # What a debugger, or a traceback with its locals, shows of our own objects on the way.
            if frame.f_globals.get("__name__", "").startswith("neko_trio"):
                for value in frame.f_locals.values():
                    if type(value).__module__.startswith("neko_trio"):
                        yield repr(value)


OFFER = {
    **recorded("signal/provide")[0],
    "iceservers": [
        {"urls": ["turn:127.0.0.1:9?transport=tcp", "turn:bad url"], "username": USER, "credential": CREDENTIAL}
    ],
}
FAILURES: dict[str, dict[str, list[str] | bytes]] = {
    "login": {"login": http_answer("401 Unauthorized", b'{"code": 401, "message": "Unauthorized"}')},
    "login that repeats it": {"login": http_answer("400 Bad", json.dumps({"code": 400, "message": "x"}).encode())},
    "login's cookie": {"login": http_answer("200 OK", b'{"id": "x"}', f"Set-Cookie: NEKO={TOKEN} x; Path=/")},
    "upgrade": {"upgrade": b"HTTP/1.1 302 Found\r\nLocation: https://u:p@other/?token=1\r\n\r\n"},
    "init": {"init": [message("system/init", {"session_id": 1})]},
    "refused": {"init": [message("system/disconnect", {"message": "session not found"})]},
    "offer": {"offer": [message("signal/provide", {**OFFER, "sdp": "v=0\r\nno SDP"})]},
    "ice": {"offer": [message("signal/provide", OFFER)]},
    "messages": {
        "init": [message("system/init", recorded("system/init")[0]), '{"event": "clipboard/updated", "payload": 1}']
    },
}


@pytest.mark.parametrize("token", [False, True], ids=["password", "token"])
@pytest.mark.parametrize("name", FAILURES)
async def test_a_connect_that_fails_tells_no_secret(name: str, token: bool) -> None:
    who: dict[str, str] = {"token": TOKEN} if token else {"username": "bob", "password": PASSWORD}
    secrets = (PASSWORD, TOKEN, CREDENTIAL, USER)
    with logged() as lines:
        async with HostileNeko(sent=FAILURES[name]).served() as served, in_time(8):
            try:
                async with neko_trio.open_session(
                    str(served.url),
                    connect_timeout=1.5,
                    close_timeout=0.3,
                    **who,  # type: ignore[arg-type]
                ):
                    raise AssertionError("it connected")
            except NekoError as error:
                refuse(secrets, *told(error), where=f"the error at {name}")
            except AssertionError:
                assert token
                assert name.startswith("login")
    refuse(secrets, *lines, where="a log")


async def test_a_wrong_password_is_not_told() -> None:
    async with open_simulator(size=(320, 240)) as simulator, in_time(8):
        with logged() as lines, pytest.raises(NekoError) as caught:
            async with neko_trio.open_session(simulator.url, username="bob", password=WRONG):
                raise AssertionError("it connected")
        refuse((WRONG,), *told(caught.value), where="the error")
        refuse((WRONG,), *lines, where="a log")
        refuse((WRONG,), *map(repr, simulator.journal), where="the simulator's journal")


def test_the_recordings_hold_no_secret() -> None:
    """Nobody who records anew forgets to take them out."""
    for path in sorted(RECORDINGS.glob("*.json*")):
        text = path.read_text(encoding="utf-8")
        for key, value in re.findall(
            r'"(password|token|credential|authorization|cookie)":\s*"([^"]*)"', text, re.IGNORECASE
        ):
            assert value in ("", "REDACTED") or "REDACTED" in value, f"{path.name}: {key}"
        assert not re.search(r"Bearer (?!REDACTED)\S|[?&]token=(?!REDACTED)\w|NEKO_SESSION=(?!REDACTED)\w", text), (
            path.name
        )
