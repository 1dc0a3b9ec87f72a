"""What the pointer looks like on the simulator's desktop."""

from __future__ import annotations

import numpy as np

from neko_trio.simulator._picture import Picture

__all__ = ["draw_pointer"]

_ARROW = (
    "X           ",
    "XX          ",
    "X.X         ",
    "X..X        ",
    "X...X       ",
    "X....X      ",
    "X.....X     ",
    "X......X    ",
    "X.......X   ",
    "X........X  ",
    "X.....XXXXX ",
    "X..X..X     ",
    "X.X X..X    ",
    "XX  X..X    ",
    "X    X..X   ",
    "     X..X   ",
    "      XX    ",
)
_ARROW_LUMA = np.array([[{"X": 16, ".": 235, " ": 0}[pixel] for pixel in row] for row in _ARROW], np.uint8)


def draw_pointer(screen: Picture, x: int, y: int) -> None:
    """An arrow with its tip at (x, y), cut off at the edges. Luma alone: what colour lies below shines through."""
    x, y = min(max(x, 0), screen.width - 1), min(max(y, 0), screen.height - 1)
    spot = screen.y[y : y + _ARROW_LUMA.shape[0], x : x + _ARROW_LUMA.shape[1]]
    arrow = _ARROW_LUMA[: spot.shape[0], : spot.shape[1]]
    np.copyto(spot, arrow, where=arrow > 0)
