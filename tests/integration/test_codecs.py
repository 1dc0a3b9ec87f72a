"""Each codec from the server's drawing to the caller's pixels: the frame is the one its code says, in its colours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import trio

import neko_trio
from neko_trio.simulator import open_simulator
from neko_trio.simulator._frame_code import FRAME_CODE_SIZE, FrameCode, draw_frame_code, read_frame_code
from neko_trio.simulator._input_events import InputEvent
from neko_trio.simulator._picture import Bytes2D

pytestmark = pytest.mark.real_time

PSNR = 30.0
"""Decibels; a picture of the wrong matrix or range has less than 25."""
KEPT = 64


class ColourChart:
    """Patches of every colour, a ramp, and a block that moves; remembers what it has drawn."""

    def __init__(self, size: tuple[int, int]) -> None:
        width, height = size
        self.background = np.zeros((height, width, 3), np.uint8)
        levels = (0, 128, 255)
        colours = [(r, g, b) for r in levels for g in levels for b in levels]
        for index, colour in enumerate(colours):
            x, y = (index % 9) * width // 9, (1 + index // 9) * height // 5
            self.background[y : y + height // 5, x : x + width // 9] = colour
        self.background[4 * height // 5 :] = np.linspace(0, 255, width, dtype=np.uint8)[None, :, None]
        self.drawn: dict[int, Bytes2D] = {}
        self._number = 0

    def render(self, now: float, /) -> Bytes2D:
        picture = self.background.copy()
        number, self._number = self._number, self._number + 1
        height, width = picture.shape[:2]
        x = number * 16 % (width - 64)
        picture[height // 2 : height // 2 + 64, x : x + 64] = (240, 60, 20)
        draw_frame_code(picture, FrameCode.of(number, now), black=0, white=255)
        self.drawn[number] = picture
        self.drawn.pop(number - KEPT, None)
        return picture

    def on_input(self, event: InputEvent, /) -> None:
        pass


def psnr(one: Bytes2D, other: Bytes2D) -> float:
    """Decibels, over everything but the frame code."""
    below = FRAME_CODE_SIZE[1]
    error = float(np.mean((one[below:].astype(np.float64) - other[below:]) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-9))


@pytest.mark.parametrize("size", [(1280, 720), (640, 480)], ids=["BT.709", "BT.601"])
@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264", "av1"])
async def test_pictures_are_those_that_were_drawn(codec: str, size: tuple[int, int]) -> None:
    chart = ColourChart(size)
    async with (
        open_simulator(size=size, rate=15, codec=codec, desktop=chart) as simulator,
        neko_trio.open_session(simulator.url, username="painter", password=simulator.password) as session,
    ):
        seen: list[int] = []
        with trio.fail_after(20):
            async with session.screen.frames() as frames:
                async for frame in frames:
                    pixels = frame.to_ndarray()
                    code = read_frame_code(pixels)
                    assert code is not None
                    seen.append(code.number)
                    assert psnr(pixels, chart.drawn[code.number]) >= PSNR
                    if len(seen) == 20:
                        break
        assert seen == sorted(set(seen))
        peer = session.statistics().peer
        assert peer is not None
        assert peer.codec == codec.upper()
        assert peer.video is not None
        assert peer.video.decode_errors == peer.video.packets_malformed == 0
