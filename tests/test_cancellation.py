"""Cancellation at every step of a session is a normal exit: nothing is left, here or at the server."""

from __future__ import annotations

import pytest
import trio

from neko_trio.protocol import data_channel
from neko_trio.testing import FakeMedia, ScriptedServer, cancel_at_every_step, open_scripted_session


class Scene:
    """A whole session: connect, control, type, hold, give back, close. ``check`` says what a run left behind."""

    def __init__(self, *, token: bool, data_channel: bool) -> None:
        self._token = token
        self._data_channel = data_channel
        self._server: ScriptedServer | None = None
        self._media: FakeMedia | None = None

    async def play(self) -> None:
        self._server = server = ScriptedServer()
        self._media = media = FakeMedia(data_channel=self._data_channel)
        async with open_scripted_session(server, media, token=self._token) as session, session.control():
            await session.keyboard.type("Hé!")
            async with session.keyboard.hold("shift"):
                await session.mouse.click(5, 6, keys="ctrl")
            await session.flush()
            await session.mouse.down(1, 1)

    def check(self) -> None:
        server, media = self._server, self._media
        if server is None or media is None:
            return  # cancelled before it began
        assert server.connections == 0, "a WebSocket is open"
        assert media.leases == 0, "a lease of the media thread is open"
        assert media.open_peers == set(), "a peer is open"
        assert server.logouts == (0 if self._token else server.logins), "a login was left behind"
        assert server.unanswered == 0, "an offer was left unanswered: the server keeps it for ever"
        assert server.host is None, "the host role was not given back"
        assert all(code == 1000 for code in server.close_codes)
        for peer in media.peers:
            assert _held(peer.inputs) == set(), "something stays pressed"


def _held(inputs: list[data_channel.ClientMessage]) -> set[tuple[str, int]]:
    held: set[tuple[str, int]] = set()
    for message in inputs:
        match message:
            case data_channel.KeyDown():
                held.add(("key", message.keysym))
            case data_channel.KeyUp():
                held.discard(("key", message.keysym))
            case data_channel.ButtonDown():
                held.add(("button", message.code))
            case data_channel.ButtonUp():
                held.discard(("button", message.code))
            case _:
                pass
    return held


@pytest.mark.parametrize("token", [False, True], ids=["login", "token"])
@pytest.mark.parametrize("channel", [True, False], ids=["data-channel", "websocket"])
def test_cancelled_at_every_step_nothing_is_left(token: bool, channel: bool) -> None:
    scene = Scene(token=token, data_channel=channel)
    steps = cancel_at_every_step(scene.play, scene.check)
    assert steps > 60, "the sweep ended before the session did"


def test_the_sweep_finds_what_it_is_for() -> None:
    """A cleanup that waits without a shield is cut; the sweep has to see it."""
    opened: list[int] = []

    async def play() -> None:
        opened.append(1)
        try:
            await trio.sleep(1)
        finally:
            await trio.sleep(0.1)
            opened.pop()

    def check() -> None:
        assert not opened

    with pytest.raises(AssertionError):
        cancel_at_every_step(play, check)
