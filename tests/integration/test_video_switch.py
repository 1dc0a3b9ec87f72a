"""The video switch over real sockets: fresh frames by the time in their code, and no watcher left behind."""

from __future__ import annotations

import random
import re
import time

import httpx2
import pytest
import trio

import neko_trio
from neko_trio import Session
from neko_trio.simulator import InputEvent, SmallDesktop, Timings, read_frame_code
from neko_trio.testing import TestServer, open_test_server
from tests.integration.conftest import open_watch, unique

pytestmark = pytest.mark.real_time

DELAY = 0.04
"""Seconds from capture to encoding at the simulated server: enough that a frame which is only newer is too old."""
SLOWEST = 0.1
"""Seconds that frames may take where somebody else watches, too: the server's pipeline is not ours to start."""


async def watched(session: Session) -> None:
    """Wait until the server has told that somebody else watches."""
    me = session.state.session_id
    with trio.fail_after(5):
        await session.wait_state(
            lambda state: any(info.state.is_watching for id_, info in state.sessions.items() if id_ != me)
        )


class Witness(SmallDesktop):
    """Knows when input reached it."""

    def __init__(self) -> None:
        super().__init__((320, 200))
        self.reached: list[float] = []

    def on_input(self, event: InputEvent, /) -> None:
        self.reached.append(time.monotonic())
        super().on_input(event)


@pytest.mark.parametrize("video", ["live", "on_demand"])
@pytest.mark.parametrize("others", [False, True], ids=["alone", "watched"])
async def test_a_fresh_frame_was_drawn_after_the_input(embedded_only: None, video: str, others: bool) -> None:
    desktop = Witness()
    async with (
        open_test_server(size=(320, 200), desktop=desktop, timings=Timings(pipeline_delay=DELAY)) as server,
        neko_trio.open_session(server.url, username="agent", password=server.password, video=video) as session,
        trio.open_nursery() as nursery,
    ):
        if others:
            nursery.start_soon(look_on, server)
            await watched(session)
        moments, told = random.Random(6), 0
        async with session.control():
            for number in range(25):
                await trio.sleep(moments.uniform(0, 0.3))
                await session.keyboard.press("a")
                with trio.fail_after(5):
                    frame = await session.screen.frame(fresh=True)
                code = read_frame_code(frame.to_ndarray())
                assert code is not None
                assert len(desktop.reached) == 2 * (number + 1)
                if others and frame.arrived - code.seconds > SLOWEST:
                    continue
                told += 1
                early = desktop.reached[-1] - code.seconds
                assert early < 0, f"drawn {early:.3f} s before the input was there"
        assert told > 0, "this machine is too slow to tell"
        nursery.cancel_scope.cancel()


async def look_on(server: TestServer) -> None:
    async with neko_trio.open_session(server.url, username="other", password=server.password):
        await trio.sleep_forever()


async def test_pictures_of_every_mode(neko_simulator: TestServer) -> None:
    server = neko_simulator
    async with neko_trio.open_session(
        server.url, username="agent", password=server.password, video="on_demand"
    ) as session:
        screen = session.screen
        with trio.fail_after(20):
            first = await screen.frame()
            await trio.sleep(0.5)
            second = await screen.frame()
            assert second.arrived - first.arrived > 0.4
            await screen.pause()
            kept = await screen.frame()
            assert (await screen.frame(fresh=True)).number > kept.number
            await screen.resume()
            async with screen.frames(buffer=10) as frames:
                numbers = [(await anext(frames)).number for _ in range(10)]
            assert numbers == sorted(numbers)
            for stream in screen.streams:
                await screen.select(stream)
                assert (await screen.frame(fresh=True)).stream == stream
        statistics = session.statistics()
        assert statistics.pictures_on_demand >= 3
        assert 0 < statistics.video_seconds_on < statistics.seconds


async def listeners(url: str) -> dict[str, float]:
    """How many watch each stream, as the server itself counts; empty when it does not tell."""
    async with httpx2.AsyncClient() as client:
        answer = await client.get(f"{url.rstrip('/')}/metrics")
    if answer.status_code != 200:
        return {}
    found = re.findall(r'^neko_capture_streamsink_listeners\{.*?video_id="(.*?)"\} (\S+)$', answer.text, re.MULTILINE)
    return {stream: float(count) for stream, count in found}


async def test_no_watcher_is_left_behind(request: pytest.FixtureRequest, neko_simulator: TestServer) -> None:
    """Sessions of every mode, ended at random moments of all that they do with the video."""
    server = neko_simulator
    before = await listeners(server.url)
    if not before:
        assert request.config.getoption("--neko-url") is None, "this server does not tell who watches"
        return  # the embedded one has no metrics; its own tests count its watchers
    moments, name = random.Random(7), unique("leaver")
    async with open_watch(server) as watch:
        for number in range(60):
            mode = ("live", "on_demand")[number % 2]
            with trio.move_on_after(moments.uniform(0, 0.6)):
                async with neko_trio.open_session(
                    server.url, username=name, password=server.password, video=mode, linger=0.05
                ) as session:
                    screen = session.screen
                    while True:
                        await screen.frame(fresh=bool(number % 3))
                        await screen.pause()
                        await screen.select(screen.streams[number % len(screen.streams)])
                        await screen.resume()
                        await trio.sleep(moments.uniform(0, 0.1))
        await watch.gone(name)
    assert await listeners(server.url) == before
